//! The books of the ledger: accounts, attempts and operations, and how they change together.

use std::collections::{BTreeMap, HashMap};

use super::room;
use crate::data::{Account, Amounts, Balance, Ceiling, Movement, Spending};
use crate::ports::{
    Operation, OperationKind, ReconcileError, ReopenError, Reserve, ReserveError, Reserved, Settlement,
};
use crate::words::{Digest, Epoch, SessionId, Timestamp, TurnId};

/// Operations that one call removes at most.
const TRIMMED_AT_ONCE: usize = 1_000;

/// All that the ledger knows.
#[derive(Default)]
pub(super) struct Books {
    accounts: HashMap<Account, Balance>,
    attempts: HashMap<Digest, Attempt>,
    /// The attempts of each session for which something is reserved, by the operations that reserved it.
    live: HashMap<SessionId, BTreeMap<u64, Digest>>,
    operations: BTreeMap<u64, Operation>,
    last: u64,
}

struct Attempt {
    session: SessionId,
    turn: TurnId,
    /// Of the owner that reserved.
    epoch: Epoch,
    accounts: Vec<(Account, Ceiling)>,
    spending: Spending,
    /// The operation that reserved.
    first: u64,
    /// The latest operation.
    latest: u64,
}

/// The room of an operation on so many accounts.
fn of_operation(accounts: usize) -> u64 {
    room::stored(accounts * size_of::<(Account, Ceiling)>())
}

impl Books {
    /// What an attempt that is known gets when its reservation is repeated.
    pub(super) fn repeated(&self, reserve: &Reserve) -> Option<Result<Reserved, ReserveError>> {
        let attempt = self.attempts.get(&reserve.attempt.digest())?;
        let accounts = reserve.in_order();
        let same = attempt.spending.reserved == reserve.amounts
            && attempt
                .accounts
                .iter()
                .map(|(account, _)| account)
                .eq(accounts.iter().map(|(account, _)| account));
        Some(if same { Ok(Reserved { operation: attempt.first }) } else { Err(ReserveError::Mismatch) })
    }

    /// Whether every account is open and has enough left.
    pub(super) fn judge(&self, accounts: &[(Account, Ceiling)], asked: &Amounts) -> Result<(), ReserveError> {
        for &(account, ceiling) in accounts {
            let balance = self.accounts.get(&account).copied().unwrap_or_default();
            if balance.closed {
                return Err(ReserveError::Closed { account });
            }
            if let Some((dimension, left)) = balance.exceeded(&ceiling, asked) {
                let asked = asked.of(dimension);
                return Err(ReserveError::Exceeded { account, dimension, asked, left });
            }
        }
        Ok(())
    }

    /// The room that a reservation takes, and its settlement later on, so that this needs none.
    pub(super) fn room_for(&self, accounts: &[(Account, Ceiling)]) -> u64 {
        let new = accounts.iter().filter(|(account, _)| !self.accounts.contains_key(account)).count();
        (new as u64 + 1) * room::stored(0) + 2 * of_operation(accounts.len())
    }

    /// Reserves what was judged.
    pub(super) fn reserve(
        &mut self,
        reserve: &Reserve,
        accounts: Vec<(Account, Ceiling)>,
        at: Timestamp,
    ) -> Reserved {
        let (id, attempt) = (reserve.attempt.digest(), &reserve.attempt);
        for (account, _) in &accounts {
            self.accounts.entry(*account).or_default();
        }
        let movement = Movement::reserve(reserve.amounts);
        let (kind, session) = (OperationKind::Reserved, Some(attempt.session));
        let first = self.record(at, kind, Some(id), session, accounts.clone(), movement);
        self.live.entry(attempt.session).or_default().insert(first, id);
        let unbounded = accounts.into_iter().map(|(account, _)| (account, Ceiling::NONE)).collect();
        let kept = Attempt {
            session: attempt.session,
            turn: attempt.turn,
            epoch: reserve.fence.epoch,
            accounts: unbounded,
            spending: Spending::of(reserve.amounts),
            first,
            latest: first,
        };
        self.attempts.insert(id, kept);
        Reserved { operation: first }
    }

    /// Settles what is reserved of these.
    pub(super) fn settle(&mut self, session: SessionId, settlements: &[Settlement], at: Timestamp) {
        for Settlement { attempt, amounts } in settlements {
            let id = attempt.digest();
            if self.attempts.get(&id).is_some_and(|known| known.session == session) {
                self.settle_one(id, OperationKind::Settled, Some(*amounts), at);
            }
        }
    }

    /// Settles at its reservation what is reserved of a turn, and removes its account; returns the room that this frees.
    pub(super) fn end_turn(&mut self, session: SessionId, turn: TurnId, at: Timestamp) -> u64 {
        self.settle_live(session, OperationKind::Ended, at, |attempt| attempt.turn == turn);
        self.remove(Account::turn(turn))
    }

    /// Removes an account; returns the room that this frees.
    pub(super) fn remove(&mut self, account: Account) -> u64 {
        self.accounts.remove(&account).map_or(0, |_| room::stored(0))
    }

    /// Settles at its reservation what is reserved of a session.
    pub(super) fn end_session(&mut self, session: SessionId, at: Timestamp) {
        self.settle_live(session, OperationKind::Ended, at, |_| true);
    }

    /// Settles at its reservation what is reserved of a session under earlier epochs; returns how many attempts.
    pub(super) fn sweep(&mut self, session: SessionId, epoch: Epoch, at: Timestamp) -> u64 {
        self.settle_live(session, OperationKind::Swept, at, |attempt| attempt.epoch < epoch)
    }

    fn settle_live(
        &mut self,
        session: SessionId,
        kind: OperationKind,
        at: Timestamp,
        settles: impl Fn(&Attempt) -> bool,
    ) -> u64 {
        let live = self.live.get(&session).into_iter().flatten().map(|(_, id)| *id);
        let settled: Vec<Digest> = live.filter(|id| self.attempts.get(id).is_some_and(&settles)).collect();
        settled.iter().for_each(|id| self.settle_one(*id, kind, None, at));
        settled.len() as u64
    }

    /// Settles an attempt, at its reservation when no amounts are named.
    fn settle_one(&mut self, id: Digest, kind: OperationKind, amounts: Option<Amounts>, at: Timestamp) {
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        let amounts = amounts.unwrap_or(attempt.spending.reserved);
        let fits = attempt.spending.fits(amounts);
        let room = if fits { Amounts::MOST } else { room_in(&self.accounts, attempt) };
        if let Some(movement) = attempt.spending.settle(amounts, room) {
            self.moved(id, kind, movement, at);
        }
    }

    /// Whether an attempt has its settlement before it, for which there is room.
    pub(super) fn is_live(&self, id: Digest) -> bool {
        self.attempts.get(&id).is_some_and(|attempt| attempt.spending.settled.is_none())
    }

    /// The room that a bill takes.
    pub(super) fn room_for_bill(&self, id: Digest) -> u64 {
        let accounts = self.attempts.get(&id).map_or(0, |attempt| attempt.accounts.len());
        if self.is_live(id) { 0 } else { of_operation(accounts) }
    }

    /// Takes a bill, and returns what it moves; none when it came before.
    pub(super) fn reconcile(
        &mut self,
        id: Digest,
        billed: Amounts,
        at: Timestamp,
    ) -> Result<Option<Movement>, ReconcileError> {
        let attempt = self.attempts.get_mut(&id).ok_or(ReconcileError::NotFound)?;
        let room = room_in(&self.accounts, attempt);
        let Some(movement) = attempt.spending.bill(billed, room)? else { return Ok(None) };
        self.moved(id, OperationKind::Reconciled, movement, at);
        Ok(Some(movement))
    }

    /// Moves the accounts of an attempt that was settled.
    fn moved(&mut self, id: Digest, kind: OperationKind, movement: Movement, at: Timestamp) {
        let Some(attempt) = self.attempts.get(&id) else { return };
        let (session, first, accounts) = (attempt.session, attempt.first, attempt.accounts.clone());
        let number = self.record(at, kind, Some(id), Some(session), accounts, movement);
        if let Some(attempt) = self.attempts.get_mut(&id) {
            attempt.latest = number;
        }
        if let Some(live) = self.live.get_mut(&session) {
            live.remove(&first);
            if live.is_empty() {
                self.live.remove(&session);
            }
        }
    }

    pub(super) fn balance(&self, account: Account) -> Option<Balance> {
        self.accounts.get(&account).copied()
    }

    /// Opens an account; false when it is open.
    pub(super) fn reopen(
        &mut self,
        account: Account,
        seen: Amounts,
        at: Timestamp,
    ) -> Result<bool, ReopenError> {
        let balance = self.accounts.get(&account).ok_or(ReopenError::NotFound)?;
        if balance.overrun != seen {
            return Err(ReopenError::Overrun { overrun: balance.overrun });
        }
        let closed = balance.closed;
        if closed {
            let accounts = vec![(account, Ceiling::NONE)];
            self.record(at, OperationKind::Reopened, None, None, accounts, Movement::default());
        }
        Ok(closed)
    }

    /// Adds an operation, and applies it to its accounts.
    fn record(
        &mut self,
        at: Timestamp,
        kind: OperationKind,
        attempt: Option<Digest>,
        session: Option<SessionId>,
        accounts: Vec<(Account, Ceiling)>,
        movement: Movement,
    ) -> u64 {
        self.last += 1;
        let operation = Operation { number: self.last, at, kind, attempt, session, accounts, movement };
        for (account, _) in &operation.accounts {
            // A turn's account is gone with the turn.
            if let Some(balance) = self.accounts.get_mut(account) {
                *balance = operation.apply(*account, *balance);
            }
        }
        self.operations.insert(self.last, operation);
        self.last
    }

    pub(super) fn operations(&self, after: u64, limit: usize) -> Vec<Operation> {
        let later = self.operations.range(after.saturating_add(1)..);
        later.take(limit).map(|(_, operation)| operation.clone()).collect()
    }

    /// Removes the first operations; returns how many, and the room that this frees.
    pub(super) fn trim(&mut self, through: u64) -> (u64, u64) {
        let (mut removed, mut freed) = (0, 0);
        while removed < TRIMMED_AT_ONCE as u64
            && let Some(first) = self.operations.first_entry()
            && *first.key() <= through
        {
            let (number, operation) = first.remove_entry();
            removed += 1;
            freed += of_operation(operation.accounts.len());
            let is_over = |attempt: &Attempt| attempt.latest == number && attempt.spending.settled.is_some();
            if let Some(id) = operation.attempt
                && self.attempts.get(&id).is_some_and(is_over)
            {
                self.attempts.remove(&id);
                freed += room::stored(0);
            }
        }
        (removed, freed)
    }
}

/// What an attempt can have cost for its accounts to hold it.
fn room_in(accounts: &HashMap<Account, Balance>, attempt: &Attempt) -> Amounts {
    let named = attempt.accounts.iter();
    attempt.spending.room(named.filter_map(|(account, _)| accounts.get(account).copied()))
}

/// The room of reopening an account.
pub(super) fn room_to_reopen() -> u64 {
    of_operation(1)
}
