//! The books of the ledger: accounts, attempts and operations, and how they change together. All of it happens in the
//! transaction of whoever calls.

use rusqlite::{Connection, OptionalExtension, Row};

use super::amounts::{self, Written};
use super::columns::{self, kept, limit, ordered};
use super::fault::damaged;
use crate::data::{Account, Amounts, Balance, Ceiling, Movement, Spending};
use crate::ports::{Operation, OperationKind, Reserve, ReserveError, Reserved, Settlement};
use crate::words::{Digest, Epoch, SessionId, Timestamp, TurnId};

/// An attempt that the ledger knows.
pub(super) struct Attempt {
    pub(super) id: Digest,
    pub(super) session: SessionId,
    pub(super) turn: TurnId,
    /// Of the owner that reserved.
    pub(super) epoch: Epoch,
    pub(super) first: u64,
    pub(super) spending: Spending,
    pub(super) accounts: Vec<(Account, Ceiling)>,
}

const ATTEMPT: &str =
    "SELECT attempt, session, turn, epoch, first, live, spending, accounts FROM ledger_attempts ";

fn attempt(row: &Row<'_>) -> rusqlite::Result<Attempt> {
    Ok(Attempt {
        id: columns::digest(row, 0)?,
        session: columns::session_id(row, 1)?,
        turn: row.get(2).map(TurnId::from_bytes)?,
        epoch: Epoch::new(columns::number(row, 3)?),
        first: columns::number(row, 4)?,
        spending: amounts::spending(row, 6, row.get(5)?)?,
        accounts: amounts::accounts(row, 7)?,
    })
}

pub(super) fn find(connection: &Connection, id: Digest) -> rusqlite::Result<Option<Attempt>> {
    connection
        .prepare_cached(&format!("{ATTEMPT} WHERE attempt = ?1"))?
        .query_row((id.as_bytes(),), attempt)
        .optional()
}

pub(super) fn balance(connection: &Connection, account: Account) -> rusqlite::Result<Option<Balance>> {
    connection
        .prepare_cached("SELECT amounts, closed FROM ledger_accounts WHERE kind = ?1 AND id = ?2")?
        .query_row((account.kind.number(), account.id.as_bytes()), |row| {
            let [settled, reserved, overrun] = amounts::three(row, 0)?;
            Ok(Balance { settled, reserved, overrun, closed: row.get(1)? })
        })
        .optional()
}

fn keep(connection: &Connection, account: Account, balance: &Balance) -> rusqlite::Result<()> {
    let amounts = Written::default()
        .amounts(&balance.settled)
        .amounts(&balance.reserved)
        .amounts(&balance.overrun)
        .bytes();
    connection
        .prepare_cached(
            "INSERT INTO ledger_accounts (kind, id, amounts, closed) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT DO UPDATE SET amounts = excluded.amounts, closed = excluded.closed",
        )?
        .execute((account.kind.number(), account.id.as_bytes(), amounts, balance.closed))
        .map(drop)
}

/// Removes an account: that of a turn that ends, or of a session that goes.
pub(super) fn close(connection: &Connection, account: Account) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM ledger_accounts WHERE kind = ?1 AND id = ?2")?
        .execute((account.kind.number(), account.id.as_bytes()))
        .map(drop)
}

/// Whether every account is open and has enough left; with their balances.
pub(super) fn judge(
    connection: &Connection,
    accounts: &[(Account, Ceiling)],
    asked: &Amounts,
) -> rusqlite::Result<Result<(), ReserveError>> {
    for &(account, ceiling) in accounts {
        let balance = balance(connection, account)?.unwrap_or_default();
        if balance.closed {
            return Ok(Err(ReserveError::Closed { account }));
        }
        if let Some((dimension, left)) = balance.exceeded(&ceiling, asked) {
            let asked = asked.of(dimension);
            return Ok(Err(ReserveError::Exceeded { account, dimension, asked, left }));
        }
    }
    Ok(Ok(()))
}

/// Reserves what was judged.
pub(super) fn reserve(
    connection: &Connection,
    reserve: &Reserve,
    accounts: Vec<(Account, Ceiling)>,
    at: Timestamp,
) -> rusqlite::Result<Reserved> {
    for (account, _) in &accounts {
        connection
            .prepare_cached(
                "INSERT INTO ledger_accounts (kind, id, amounts, closed) VALUES (?1, ?2, ?3, 0) \
                 ON CONFLICT DO NOTHING",
            )?
            .execute((account.kind.number(), account.id.as_bytes(), [0_u8; 15]))?;
    }
    let mut operation = Operation {
        number: 0,
        at,
        kind: OperationKind::Reserved,
        attempt: Some(reserve.attempt.digest()),
        session: Some(reserve.attempt.session),
        accounts,
        movement: Movement::reserve(reserve.amounts),
    };
    record(connection, &mut operation)?;
    operation.accounts.iter_mut().for_each(|(_, ceiling)| *ceiling = Ceiling::NONE);
    connection
        .prepare_cached(
            "INSERT INTO ledger_attempts (attempt, session, turn, epoch, live, first, latest, spending, accounts) \
             VALUES (?1, ?2, ?3, ?4, 1, ?5, ?5, ?6, ?7)",
        )?
        .execute((
            operation.attempt.map(|id| *id.as_bytes()),
            reserve.attempt.session.to_bytes(),
            reserve.attempt.turn.to_bytes(),
            kept(reserve.fence.epoch.number()),
            ordered(operation.number),
            amounts::spending_to_bytes(&Spending::of(reserve.amounts)),
            amounts::accounts_to_bytes(&operation.accounts),
        ))?;
    Ok(Reserved { operation: operation.number })
}

/// Gives an operation its number, writes it, and applies it to its accounts.
fn record(connection: &Connection, operation: &mut Operation) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO ledger_operations (at, kind, attempt, session, accounts, movement) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute((
            kept(operation.at.as_millis()),
            operation.kind.number(),
            operation.attempt.map(|id| *id.as_bytes()),
            operation.session.map(SessionId::to_bytes),
            amounts::accounts_to_bytes(&operation.accounts),
            amounts::movement_to_bytes(&operation.movement),
        ))?;
    operation.number = connection.last_insert_rowid().cast_unsigned();
    for &(account, _) in &operation.accounts {
        // A turn's account is gone with the turn.
        if let Some(before) = balance(connection, account)? {
            keep(connection, account, &operation.apply(account, before))?;
        }
    }
    Ok(())
}

/// Moves the accounts of an attempt that was settled, and keeps what it cost.
pub(super) fn moved(
    connection: &Connection,
    attempt: Attempt,
    kind: OperationKind,
    movement: Movement,
    at: Timestamp,
) -> rusqlite::Result<()> {
    let Attempt { id, session, spending, accounts, .. } = attempt;
    let (attempt, session) = (Some(id), Some(session));
    let mut operation = Operation { number: 0, at, kind, attempt, session, accounts, movement };
    record(connection, &mut operation)?;
    connection
        .prepare_cached("UPDATE ledger_attempts SET live = 0, latest = ?2, spending = ?3 WHERE attempt = ?1")?
        .execute((id.as_bytes(), ordered(operation.number), amounts::spending_to_bytes(&spending)))
        .map(drop)
}

/// What an attempt can have cost for its accounts to hold it.
pub(super) fn room(connection: &Connection, attempt: &Attempt) -> rusqlite::Result<Amounts> {
    let balances =
        attempt.accounts.iter().filter_map(|(account, _)| balance(connection, *account).transpose());
    Ok(attempt.spending.room(balances.collect::<rusqlite::Result<Vec<_>>>()?))
}

/// Settles what is reserved of these.
pub(super) fn settle(
    connection: &Connection,
    session: SessionId,
    settlements: &[Settlement],
    at: Timestamp,
) -> rusqlite::Result<()> {
    for Settlement { attempt, amounts } in settlements {
        let known = find(connection, attempt.digest())?.filter(|known| known.session == session);
        let Some(mut known) = known else { continue };
        let room = if known.spending.fits(*amounts) { Amounts::MOST } else { room(connection, &known)? };
        if let Some(movement) = known.spending.settle(*amounts, room) {
            moved(connection, known, OperationKind::Settled, movement, at)?;
        }
    }
    Ok(())
}

/// Settles at its reservation what is reserved of a session, where this is so; returns how many attempts.
pub(super) fn settle_live(
    connection: &Connection,
    session: SessionId,
    kind: OperationKind,
    at: Timestamp,
    settles: impl Fn(&Attempt) -> bool,
) -> rusqlite::Result<u64> {
    let live: Vec<Attempt> = connection
        .prepare_cached(&format!("{ATTEMPT} WHERE session = ?1 AND live = 1 ORDER BY first"))?
        .query_map((session.to_bytes(),), attempt)?
        .collect::<rusqlite::Result<_>>()?;
    let mut settled = 0;
    for mut attempt in live.into_iter().filter(settles) {
        if let Some(movement) = attempt.spending.settle(attempt.spending.reserved, Amounts::MOST) {
            moved(connection, attempt, kind, movement, at)?;
            settled += 1;
        }
    }
    Ok(settled)
}

/// Opens an account that is closed.
pub(super) fn reopen(connection: &Connection, account: Account, at: Timestamp) -> rusqlite::Result<()> {
    let mut operation = Operation {
        number: 0,
        at,
        kind: OperationKind::Reopened,
        attempt: None,
        session: None,
        accounts: vec![(account, Ceiling::NONE)],
        movement: Movement::default(),
    };
    record(connection, &mut operation)
}

pub(super) fn operations(
    connection: &Connection,
    after: u64,
    rows: usize,
) -> rusqlite::Result<Vec<Operation>> {
    let operation = |row: &Row<'_>| {
        Ok(Operation {
            number: columns::number(row, 0)?,
            at: columns::timestamp(row, 1)?,
            kind: OperationKind::from_number(row.get(2)?)
                .ok_or_else(|| damaged("an operation's kind is none of this version's"))?,
            attempt: row.get::<_, Option<_>>(3)?.map(Digest::from_bytes),
            session: row.get::<_, Option<_>>(4)?.map(SessionId::from_bytes),
            accounts: amounts::accounts(row, 5)?,
            movement: amounts::movement(row, 6)?,
        })
    };
    connection
        .prepare_cached(
            "SELECT number, at, kind, attempt, session, accounts, movement FROM ledger_operations \
             WHERE number > ?1 ORDER BY number LIMIT ?2",
        )?
        .query_map((ordered(after), limit(rows)), operation)?
        .collect()
}

/// Removes the first `most` operations up to one, and the attempts that were settled by then; returns how many.
pub(super) fn trim(connection: &Connection, through: u64, most: usize) -> rusqlite::Result<u64> {
    let first: Vec<(i64, Option<[u8; 32]>)> = connection
        .prepare_cached(
            "SELECT number, attempt FROM ledger_operations WHERE number <= ?1 ORDER BY number LIMIT ?2",
        )?
        .query_map((ordered(through), limit(most)), |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (number, attempt) in &first {
        connection.prepare_cached("DELETE FROM ledger_operations WHERE number = ?1")?.execute((number,))?;
        connection
            .prepare_cached("DELETE FROM ledger_attempts WHERE attempt = ?1 AND latest = ?2 AND live = 0")?
            .execute((attempt, number))?;
    }
    Ok(first.len() as u64)
}
