//! The ledger port, and what appends do to the ledger.

use async_trait::async_trait;
use rusqlite::Connection;

use super::fault::Work;
use super::sessions::Known;
use super::writer::Tx;
use super::{SqliteStore, books, turns};
use crate::data::{Account, Amounts, AttemptId, Balance, Movement};
use crate::ports::{
    Append, Fence, Ledger, Operation, OperationKind, ReconcileError, ReopenError, Reserve, ReserveError,
    Reserved, SettleError, Settlement, StoreError, TurnMark, alarm_of_bill,
};
use crate::words::{SessionId, Timestamp};

/// Operations that one transaction removes at most, so that a trim does not hold up appends.
const TRIMMED_AT_ONCE: usize = 1_000;

/// Settles what an append says, and what is left of turns that end with it.
pub(super) fn settle_with(connection: &Connection, append: &Append, at: Timestamp) -> rusqlite::Result<()> {
    books::settle(connection, append.session, &append.settle, at)?;
    for mark in &append.turns {
        if let TurnMark::Ended(turn, _) = *mark {
            let (session, kind) = (append.session, OperationKind::Ended);
            books::settle_live(connection, session, kind, at, |attempt| attempt.turn == turn)?;
            books::close(connection, Account::turn(turn))?;
        }
    }
    Ok(())
}

/// Settles what is left of a session that is purged. Its turns are still open.
pub(super) fn settle_purged(
    connection: &Connection,
    nr: i64,
    session: SessionId,
    at: Timestamp,
) -> rusqlite::Result<()> {
    books::settle_live(connection, session, OperationKind::Ended, at, |_| true)?;
    turns::open(connection, nr)?
        .into_iter()
        .try_for_each(|turn| books::close(connection, Account::turn(turn)))
}

fn no_session(id: SessionId) -> StoreError {
    StoreError::NotFound { what: format!("session {id}") }
}

fn reserve(tx: &mut Tx, reserve: &Reserve) -> Work<Reserved, ReserveError> {
    let attempt = &reserve.attempt;
    let Some(session) = tx.sessions.find(&tx.connection, attempt.session)? else {
        return Ok(Err(no_session(attempt.session).into()));
    };
    if !session.is_owned_under(reserve.fence) {
        return Ok(Err(ReserveError::Fenced { actual: session.epoch }));
    }
    let accounts = reserve.in_order();
    if let Some(known) = books::find(&tx.connection, attempt.digest())? {
        let named = accounts.iter().map(|(account, _)| account);
        let same = known.spending.reserved == reserve.amounts
            && known.accounts.iter().map(|(account, _)| account).eq(named);
        return Ok(if same { Ok(Reserved { operation: known.first }) } else { Err(ReserveError::Mismatch) });
    }
    match turns::stand(&tx.connection, attempt.turn)?.filter(|stand| stand.is_of(session.nr)) {
        None => return Ok(Err(StoreError::NotFound { what: format!("turn {}", attempt.turn) }.into())),
        Some(stand) if stand.has_ended() => return Ok(Err(ReserveError::Ended)),
        Some(_) => {}
    }
    if let Err(refusal) = books::judge(&tx.connection, &accounts, &reserve.amounts)? {
        return Ok(Err(refusal));
    }
    books::reserve(&tx.connection, reserve, accounts, tx.now()).map(Ok)
}

/// The session, if the fence holds.
fn fenced(tx: &mut Tx, session: SessionId, fence: Fence) -> Work<Known, SettleError> {
    Ok(match tx.sessions.find(&tx.connection, session)? {
        None => Err(no_session(session).into()),
        Some(known) if known.is_owned_under(fence) => Ok(known),
        Some(known) => Err(SettleError::Fenced { actual: known.epoch }),
    })
}

/// Takes a bill, and returns what it moved.
fn reconcile(tx: &mut Tx, attempt: &AttemptId, billed: Amounts) -> Work<Movement, ReconcileError> {
    let Some(mut known) = books::find(&tx.connection, attempt.digest())? else {
        return Ok(Err(ReconcileError::NotFound));
    };
    let room = books::room(&tx.connection, &known)?;
    match known.spending.bill(billed, room) {
        Err(error) => Ok(Err(error.into())),
        Ok(None) => Ok(Ok(Movement::default())),
        Ok(Some(movement)) => {
            books::moved(&tx.connection, known, OperationKind::Reconciled, movement, tx.now())?;
            Ok(Ok(movement))
        }
    }
}

fn reopen(tx: &mut Tx, account: Account, seen: Amounts) -> Work<(), ReopenError> {
    Ok(match books::balance(&tx.connection, account)? {
        None => Err(ReopenError::NotFound),
        Some(Balance { overrun, .. }) if overrun != seen => Err(ReopenError::Overrun { overrun }),
        Some(Balance { closed: false, .. }) => Ok(()),
        Some(_) => Ok(books::reopen(&tx.connection, account, tx.now())?),
    })
}

#[async_trait]
impl Ledger for SqliteStore {
    async fn reserve(&self, asked: Reserve) -> Result<Reserved, ReserveError> {
        self.on_writer(0, move |tx| reserve(tx, &asked)).await
    }

    async fn settle(
        &self,
        session: SessionId,
        fence: Fence,
        settlements: Vec<Settlement>,
    ) -> Result<(), SettleError> {
        let bytes = settlements.len() * size_of::<Settlement>();
        self.on_writer(bytes, move |tx| match fenced(tx, session, fence)? {
            Err(refusal) => Ok(Err(refusal)),
            Ok(_) => books::settle(&tx.connection, session, &settlements, tx.now()).map(Ok),
        })
        .await
    }

    async fn sweep(&self, session: SessionId, fence: Fence) -> Result<u64, SettleError> {
        self.on_writer(0, move |tx| match fenced(tx, session, fence)? {
            Err(refusal) => Ok(Err(refusal)),
            Ok(_) => {
                let (kind, at) = (OperationKind::Swept, tx.now());
                let is_before = |attempt: &books::Attempt| attempt.epoch < fence.epoch;
                books::settle_live(&tx.connection, session, kind, at, is_before).map(Ok)
            }
        })
        .await
    }

    async fn reconcile(&self, attempt: AttemptId, billed: Amounts) -> Result<(), ReconcileError> {
        let of = attempt.clone();
        let movement = self.on_writer(0, move |tx| reconcile(tx, &of, billed)).await?;
        alarm_of_bill(&attempt, &billed, &movement.overrun);
        Ok(())
    }

    async fn balance(&self, account: Account) -> Result<Option<Balance>, StoreError> {
        self.on_reader(move |reader| books::balance(&reader.connection, account)).await
    }

    async fn reopen(&self, account: Account, overrun_seen: Amounts) -> Result<(), ReopenError> {
        self.on_writer(0, move |tx| reopen(tx, account, overrun_seen)).await
    }

    async fn operations(&self, after: u64, rows: usize) -> Result<Vec<Operation>, StoreError> {
        self.on_reader(move |reader| books::operations(&reader.connection, after, rows)).await
    }

    async fn trim(&self, through: u64) -> Result<u64, StoreError> {
        self.on_writer(0, move |tx| books::trim(&tx.connection, through, TRIMMED_AT_ONCE).map(Ok)).await
    }
}
