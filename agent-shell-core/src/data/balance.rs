//! What a ledger knows of an account and of an attempt, and how both change: one arithmetic for every backend.

use serde::{Deserialize, Serialize};

use super::budget::{Amounts, Ceiling, Dimension};

/// How an account stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Balance {
    /// What was spent.
    pub settled: Amounts,
    /// What attempts that run have set aside.
    pub reserved: Amounts,
    /// What was spent above reservations, ever. It only grows, up to the largest number.
    pub overrun: Amounts,
    /// Whether an overrun closed it: it takes no reservation until it is reopened.
    pub closed: bool,
}

impl Balance {
    /// The first dimension in which `asked` does not fit under the ceiling, and what is left there.
    pub fn exceeded(&self, ceiling: &Ceiling, asked: &Amounts) -> Option<(Dimension, u64)> {
        Dimension::ALL.into_iter().find_map(|dimension| {
            let used = self.settled.of(dimension).saturating_add(self.reserved.of(dimension));
            let ceiling = ceiling.of(dimension);
            let fits =
                used.checked_add(asked.of(dimension)).is_some_and(|sum| sum <= ceiling.unwrap_or(u64::MAX));
            (!fits).then(|| (dimension, ceiling.unwrap_or(u64::MAX).saturating_sub(used)))
        })
    }

    /// The balance after a movement.
    #[must_use]
    pub fn after(self, movement: &Movement) -> Self {
        Self {
            settled: self.settled.less(movement.unsettled).plus(movement.settled),
            reserved: self.reserved.less(movement.released).plus(movement.reserved),
            overrun: self.overrun.plus(movement.overrun),
            closed: self.closed || !movement.overrun.is_zero(),
        }
    }
}

/// What an operation moves, in every account that it touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Movement {
    /// Set aside.
    pub reserved: Amounts,
    /// Set aside no more.
    pub released: Amounts,
    /// Spent.
    pub settled: Amounts,
    /// Taken for spent before, and no more.
    pub unsettled: Amounts,
    /// Spent above the reservation, beyond what was known of.
    pub overrun: Amounts,
}

impl Movement {
    /// Sets amounts aside.
    pub fn reserve(reserved: Amounts) -> Self {
        Self { reserved, ..Self::default() }
    }
}

/// What a ledger knows of an attempt that it has reserved for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spending {
    /// What was set aside.
    pub reserved: Amounts,
    /// What it cost, as far as is known; none as long as it runs.
    pub settled: Option<Amounts>,
    /// The most that it was known to have cost above its reservation.
    pub overrun: Amounts,
    /// Each bill that came, once.
    pub bills: Vec<Amounts>,
}

impl Spending {
    /// Bills that are kept of one attempt, at most.
    pub const MOST_BILLS: usize = 32;

    /// An attempt for which amounts were set aside.
    pub fn of(reserved: Amounts) -> Self {
        Self { reserved, settled: None, overrun: Amounts::ZERO, bills: Vec::new() }
    }

    /// The most that it can have cost, for its accounts to hold that: what is left in each, up to the largest number, when what
    /// the attempt has there now is taken away. `balances` are those of its accounts that are there.
    #[must_use]
    pub fn room(&self, balances: impl IntoIterator<Item = Balance>) -> Amounts {
        let (released, unsettled) = self.held();
        balances.into_iter().fold(Amounts::MOST, |room, balance| {
            let others = balance.settled.less(unsettled).plus(balance.reserved.less(released));
            room.min(Amounts::MOST.less(others))
        })
    }

    /// Whether its accounts can hold these amounts without a look at them: they hold its reservation.
    pub fn fits(&self, amounts: Amounts) -> bool {
        self.settled.is_none() && amounts.less(self.reserved).is_zero()
    }

    /// Settles it; none when it is settled already. Of more than there is [`room`](Self::room) for, so much is settled: an
    /// outcome is never held up by it. The overrun is the whole.
    pub fn settle(&mut self, amounts: Amounts, room: Amounts) -> Option<Movement> {
        match self.settled {
            Some(_) => None,
            None => Some(self.becomes(amounts.min(room), amounts)),
        }
    }

    /// Takes a bill; none when the same came before.
    ///
    /// # Errors
    /// [`BillError`] when it is one too many, or above the [`room`](Self::room) that there is; nothing changes.
    pub fn bill(&mut self, billed: Amounts, room: Amounts) -> Result<Option<Movement>, BillError> {
        if self.bills.contains(&billed) {
            return Ok(None);
        }
        if self.bills.len() >= Self::MOST_BILLS {
            return Err(TooManyBills.into());
        }
        let is_above = |dimension: &Dimension| billed.of(*dimension) > room.of(*dimension);
        if let Some(dimension) = Dimension::ALL.into_iter().find(is_above) {
            let (billed, room) = (billed.of(dimension), room.of(dimension));
            return Err(BillTooLarge { dimension, billed, room }.into());
        }
        self.bills.push(billed);
        Ok(Some(self.becomes(billed, billed)))
    }

    /// What it has of each of its accounts now: reserved, and settled.
    fn held(&self) -> (Amounts, Amounts) {
        match self.settled {
            None => (self.reserved, Amounts::ZERO),
            Some(before) => (Amounts::ZERO, before),
        }
    }

    fn becomes(&mut self, settled: Amounts, spent: Amounts) -> Movement {
        let (released, unsettled) = self.held();
        let overrun = spent.less(self.reserved).less(self.overrun);
        self.settled = Some(settled);
        self.overrun = self.overrun.plus(overrun);
        Movement { reserved: Amounts::ZERO, released, settled, unsettled, overrun }
    }
}

/// An attempt has had more bills than are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the attempt has had {} bills: none more is taken", Spending::MOST_BILLS)]
pub struct TooManyBills;

/// A bill is more than an account can hold beside what others have spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bill says {billed} of {dimension}, and an account has room for {room}: look at the bill")]
pub struct BillTooLarge {
    /// Of what.
    pub dimension: Dimension,
    /// What the bill says.
    pub billed: u64,
    /// What there is room for.
    pub room: u64,
}

/// Why an attempt does not take a bill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BillError {
    /// It has had too many.
    #[error(transparent)]
    TooMany(#[from] TooManyBills),
    /// It is too large.
    #[error(transparent)]
    TooLarge(#[from] BillTooLarge),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(nano_usd: u64) -> Amounts {
        Amounts { nano_usd, ..Amounts::ZERO }
    }

    fn at_most(nano_usd: u64) -> Ceiling {
        Ceiling { nano_usd: Some(nano_usd), ..Ceiling::NONE }
    }

    #[test]
    fn a_ceiling_is_reached_and_not_passed() {
        let balance = Balance { settled: money(3), reserved: money(4), ..Balance::default() };
        assert_eq!(balance.exceeded(&at_most(10), &money(3)), None);
        assert_eq!(balance.exceeded(&at_most(10), &money(4)), Some((Dimension::NanoUsd, 3)));
        assert_eq!(balance.exceeded(&at_most(5), &Amounts::ZERO), Some((Dimension::NanoUsd, 0)));
        assert_eq!(balance.exceeded(&Ceiling::NONE, &money(u64::MAX - 7)), None);
        let left = u64::MAX - 7;
        assert_eq!(balance.exceeded(&Ceiling::NONE, &money(u64::MAX - 6)), Some((Dimension::NanoUsd, left)));
        let full = Balance { settled: money(u64::MAX), reserved: money(u64::MAX), ..Balance::default() };
        assert_eq!(full.exceeded(&Ceiling::NONE, &money(1)), Some((Dimension::NanoUsd, 0)));
    }

    #[test]
    fn an_attempt_moves_what_it_held() {
        let mut attempt = Spending::of(money(10));
        let mut balance = Balance::default().after(&Movement::reserve(money(10)));
        balance = balance.after(&attempt.settle(money(12), Amounts::MOST).unwrap());
        let stood = Balance { settled: money(12), reserved: money(0), overrun: money(2), closed: true };
        assert_eq!(balance, stood);
        assert_eq!(attempt.settle(money(13), Amounts::MOST), None, "once");
        // Down, up to what was known, and above it.
        for (billed, overrun) in [(5, 2), (12, 2), (15, 5), (14, 5)] {
            let room = attempt.room([balance]);
            balance = balance.after(&attempt.bill(money(billed), room).unwrap().unwrap());
            assert_eq!((balance.settled, balance.overrun), (money(billed), money(overrun)));
            assert_eq!(attempt.bill(money(billed), room), Ok(None), "once");
        }
    }

    #[test]
    fn a_balance_is_the_exact_sum_of_its_attempts() {
        let mut balance = Balance::default().after(&Movement::reserve(money(110)));
        let (mut other, mut attempt) = (Spending::of(money(100)), Spending::of(money(10)));
        balance = balance.after(&other.settle(money(100), Amounts::MOST).unwrap());
        // More than there is room for is settled as far as it goes, and all of it is an overrun.
        assert!(!attempt.fits(money(11)) && attempt.fits(money(10)));
        assert_eq!(attempt.room([balance]), Amounts::MOST.less(money(100)));
        let movement = attempt.settle(money(u64::MAX), attempt.room([balance])).unwrap();
        assert_eq!(movement.overrun, money(u64::MAX - 10));
        balance = balance.after(&movement);
        assert_eq!(balance.settled, money(u64::MAX));
        // What others spent is there when it is corrected.
        let too_large =
            BillTooLarge { dimension: Dimension::NanoUsd, billed: u64::MAX, room: u64::MAX - 100 };
        let room = attempt.room([balance]);
        assert_eq!(attempt.bill(money(u64::MAX), room), Err(BillError::TooLarge(too_large)));
        balance = balance.after(&attempt.bill(money(12), room).unwrap().unwrap());
        assert_eq!(balance.settled, money(112));
        assert_eq!(attempt.room([balance, Balance::default()]), Amounts::MOST.less(money(100)));
    }
}
