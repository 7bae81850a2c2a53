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
    /// What was spent above reservations, ever. It only grows.
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

    /// Settles it; none when it is settled already.
    pub fn settle(&mut self, amounts: Amounts) -> Option<Movement> {
        match self.settled {
            Some(_) => None,
            None => Some(self.becomes(amounts)),
        }
    }

    /// Takes a bill; none when the same came before.
    ///
    /// # Errors
    /// [`TooManyBills`] when [`Spending::MOST_BILLS`] came before; nothing changes.
    pub fn bill(&mut self, billed: Amounts) -> Result<Option<Movement>, TooManyBills> {
        if self.bills.contains(&billed) {
            return Ok(None);
        }
        if self.bills.len() >= Self::MOST_BILLS {
            return Err(TooManyBills);
        }
        self.bills.push(billed);
        Ok(Some(self.becomes(billed)))
    }

    fn becomes(&mut self, settled: Amounts) -> Movement {
        let (released, unsettled) = match self.settled {
            None => (self.reserved, Amounts::ZERO),
            Some(before) => (Amounts::ZERO, before),
        };
        let overrun = settled.less(self.reserved).less(self.overrun);
        self.settled = Some(settled);
        self.overrun = self.overrun.plus(overrun);
        Movement { reserved: Amounts::ZERO, released, settled, unsettled, overrun }
    }
}

/// An attempt has had more bills than are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the attempt has had {} bills: none more is taken", Spending::MOST_BILLS)]
pub struct TooManyBills;

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
        balance = balance.after(&attempt.settle(money(12)).unwrap());
        let stood = Balance { settled: money(12), reserved: money(0), overrun: money(2), closed: true };
        assert_eq!(balance, stood);
        assert_eq!(attempt.settle(money(13)), None, "once");
        // Down, up to what was known, and above it.
        for (billed, overrun) in [(5, 2), (12, 2), (15, 5), (14, 5)] {
            balance = balance.after(&attempt.bill(money(billed)).unwrap().unwrap());
            assert_eq!((balance.settled, balance.overrun), (money(billed), money(overrun)));
            assert_eq!(attempt.bill(money(billed)), Ok(None), "once");
        }
    }
}
