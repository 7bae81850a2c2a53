//! How amounts, accounts and movements stand in columns: schema_4.sql says how.

use rusqlite::Row;

use super::fault::damaged;
use crate::data::{Account, AccountKind, Amounts, Ceiling, Dimension, Movement, Spending};
use crate::words::Digest;

/// Writes numbers one after another.
#[derive(Default)]
pub(super) struct Written(Vec<u8>);

impl Written {
    pub(super) fn bytes(self) -> Vec<u8> {
        self.0
    }

    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
    }

    pub(super) fn amounts(mut self, amounts: &Amounts) -> Self {
        Dimension::ALL.into_iter().for_each(|dimension| self.number(amounts.of(dimension)));
        self
    }
}

/// Reads them back.
struct Read<'a>(&'a [u8]);

impl Read<'_> {
    fn byte(&mut self) -> rusqlite::Result<u8> {
        let (first, rest) =
            self.0.split_first().ok_or_else(|| damaged("a row of the ledger ends too early"))?;
        self.0 = rest;
        Ok(*first)
    }

    fn number(&mut self) -> rusqlite::Result<u64> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if part << shift >> shift != part {
                break;
            }
            number |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(damaged("a number of the ledger is too large"))
    }

    fn amounts(&mut self) -> rusqlite::Result<Amounts> {
        Ok(Amounts {
            nano_usd: self.number()?,
            tokens: self.number()?,
            tool_calls: self.number()?,
            steps: self.number()?,
            time_ms: self.number()?,
        })
    }

    fn digest(&mut self) -> rusqlite::Result<Digest> {
        let (digest, rest) =
            self.0.split_first_chunk().ok_or_else(|| damaged("a row of the ledger ends too early"))?;
        self.0 = rest;
        Ok(Digest::from_bytes(*digest))
    }

    fn end(self) -> rusqlite::Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(damaged("a row of the ledger goes on after its end")) }
    }
}

/// Settled, reserved and overrun of an account.
pub(super) fn three(row: &Row<'_>, column: usize) -> rusqlite::Result<[Amounts; 3]> {
    let mut read = Read(row.get_ref(column)?.as_blob()?);
    let three = [read.amounts()?, read.amounts()?, read.amounts()?];
    read.end().map(|()| three)
}

pub(super) fn spending_to_bytes(spending: &Spending) -> Vec<u8> {
    let settled = spending.settled.unwrap_or_default();
    let first = Written::default().amounts(&spending.reserved).amounts(&settled).amounts(&spending.overrun);
    spending.bills.iter().fold(first, |written, bill| written.amounts(bill)).bytes()
}

pub(super) fn spending(row: &Row<'_>, column: usize, live: bool) -> rusqlite::Result<Spending> {
    let mut read = Read(row.get_ref(column)?.as_blob()?);
    let (reserved, settled, overrun) = (read.amounts()?, read.amounts()?, read.amounts()?);
    let mut bills = Vec::new();
    while !read.0.is_empty() {
        bills.push(read.amounts()?);
    }
    Ok(Spending { reserved, settled: (!live).then_some(settled), overrun, bills })
}

pub(super) fn accounts_to_bytes(accounts: &[(Account, Ceiling)]) -> Vec<u8> {
    let mut written = Written(Vec::with_capacity(accounts.len() * 40));
    for (account, ceiling) in accounts {
        written.0.push(account.kind.number());
        written.0.extend_from_slice(account.id.as_bytes());
        let bounded = Dimension::ALL.map(|dimension| ceiling.of(dimension).is_some());
        written.0.push(mask(bounded));
        Dimension::ALL
            .into_iter()
            .filter_map(|dimension| ceiling.of(dimension))
            .for_each(|bound| written.number(bound));
    }
    written.bytes()
}

pub(super) fn accounts(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<(Account, Ceiling)>> {
    let mut read = Read(row.get_ref(column)?.as_blob()?);
    let mut accounts = Vec::new();
    while !read.0.is_empty() {
        let kind = AccountKind::from_number(read.byte()?)
            .ok_or_else(|| damaged("an account's kind is none of this version's"))?;
        let id = read.digest()?;
        let [nano_usd, tokens, tool_calls, steps, time_ms] = masked(read.byte()?)?;
        let mut bound = |is_bounded: bool| is_bounded.then(|| read.number()).transpose();
        let ceiling = Ceiling {
            nano_usd: bound(nano_usd)?,
            tokens: bound(tokens)?,
            tool_calls: bound(tool_calls)?,
            steps: bound(steps)?,
            time_ms: bound(time_ms)?,
        };
        accounts.push((Account { kind, id }, ceiling));
    }
    Ok(accounts)
}

pub(super) fn movement_to_bytes(movement: &Movement) -> Vec<u8> {
    let Movement { reserved, released, settled, unsettled, overrun } = movement;
    let all = [reserved, released, settled, unsettled, overrun];
    let first = Written(vec![mask(all.map(|amounts| !amounts.is_zero()))]);
    all.into_iter().filter(|amounts| !amounts.is_zero()).fold(first, Written::amounts).bytes()
}

pub(super) fn movement(row: &Row<'_>, column: usize) -> rusqlite::Result<Movement> {
    let mut read = Read(row.get_ref(column)?.as_blob()?);
    let [reserved, released, settled, unsettled, overrun] = masked(read.byte()?)?;
    let mut amounts = |is_there: bool| if is_there { read.amounts() } else { Ok(Amounts::ZERO) };
    let movement = Movement {
        reserved: amounts(reserved)?,
        released: amounts(released)?,
        settled: amounts(settled)?,
        unsettled: amounts(unsettled)?,
        overrun: amounts(overrun)?,
    };
    read.end().map(|()| movement)
}

fn mask(set: [bool; 5]) -> u8 {
    set.into_iter().zip(0..).map(|(set, bit)| u8::from(set) << bit).sum()
}

fn masked(mask: u8) -> rusqlite::Result<[bool; 5]> {
    if mask >= 1 << 5 {
        return Err(damaged("a row of the ledger holds more than this version knows"));
    }
    Ok([0, 1, 2, 3, 4].map(|bit| mask >> bit & 1 == 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_were_written() {
        for number in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX >> 1, u64::MAX - 1, u64::MAX] {
            let mut written = Written::default();
            written.number(number);
            let bytes = written.bytes();
            let mut read = Read(&bytes);
            assert_eq!(read.number().unwrap(), number);
            read.end().unwrap();
        }
        assert!(Read(&[0xff; 9]).number().is_err(), "it ends too early");
        assert!(
            Read(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]).number().is_err(),
            "too large"
        );
    }
}
