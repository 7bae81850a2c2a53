//! The ledger: judged under the lock of the attempt's session, so that a turn can't end meanwhile.

use async_trait::async_trait;

use super::{VolatileStore, books, lock, no_session};
use crate::data::{Account, Amounts, AttemptId, Balance};
use crate::ports::{
    Append, Fence, Ledger, Operation, ReconcileError, ReopenError, Reserve, ReserveError, Reserved,
    SettleError, Settlement, StoreError, TurnMark, alarm_of_bill,
};
use crate::words::{SessionId, TurnId};

impl VolatileStore {
    fn reserve_now(&self, reserve: &Reserve) -> Result<Reserved, ReserveError> {
        let (id, turn) = (reserve.attempt.session, reserve.attempt.turn);
        let session = self.find(id).ok_or_else(|| no_session(id))?;
        let state = lock(&session.state);
        if !state.is_owned_under(reserve.fence) {
            return Err(ReserveError::Fenced { actual: state.epoch });
        }
        let entry = lock(&self.turns).get(&turn).copied();
        let mut books = lock(&self.books);
        if let Some(first) = books.repeated(reserve) {
            return first;
        }
        match entry.filter(|entry| entry.session == id) {
            None => return Err(no_turn(turn).into()),
            Some(entry) if entry.ended.is_some() => return Err(ReserveError::Ended),
            Some(_) => {}
        }
        let accounts = reserve.in_order();
        books.judge(&accounts, &reserve.amounts)?;
        self.room.take(books.room_for(&accounts))?;
        Ok(books.reserve(reserve, accounts, self.clock.now()))
    }

    /// Does something under a fence of the session.
    fn fenced<T>(
        &self,
        id: SessionId,
        fence: Fence,
        act: impl FnOnce(&mut books::Books) -> T,
    ) -> Result<T, SettleError> {
        let session = self.find(id).ok_or_else(|| no_session(id))?;
        let state = lock(&session.state);
        if !state.is_owned_under(fence) {
            return Err(SettleError::Fenced { actual: state.epoch });
        }
        Ok(act(&mut lock(&self.books)))
    }

    /// Settles what an append says, and what is left of turns that end with it; returns the room that this frees.
    pub(super) fn settle_with(&self, append: &Append) -> u64 {
        let ended = append.turns.iter().filter_map(|mark| match mark {
            TurnMark::Ended(turn, _) => Some(*turn),
            TurnMark::Started(..) => None,
        });
        let mut ended = ended.peekable();
        if append.settle.is_empty() && ended.peek().is_none() {
            return 0;
        }
        let (mut books, at) = (lock(&self.books), self.clock.now());
        books.settle(append.session, &append.settle, at);
        ended.map(|turn| books.end_turn(append.session, turn, at)).sum()
    }

    /// Settles what is left of a session that is purged; returns the room that this frees.
    pub(super) fn settle_purged(&self, session: SessionId, turns: &[TurnId]) -> u64 {
        let (mut books, at) = (lock(&self.books), self.clock.now());
        books.end_session(session, at);
        turns.iter().map(|turn| books.end_turn(session, *turn, at)).sum()
    }
}

fn no_turn(turn: TurnId) -> StoreError {
    StoreError::NotFound { what: format!("turn {turn}") }
}

#[async_trait]
impl Ledger for VolatileStore {
    async fn reserve(&self, reserve: Reserve) -> Result<Reserved, ReserveError> {
        self.reserve_now(&reserve)
    }

    async fn settle(
        &self,
        session: SessionId,
        fence: Fence,
        settlements: Vec<Settlement>,
    ) -> Result<(), SettleError> {
        let at = self.clock.now();
        self.fenced(session, fence, |books| books.settle(session, &settlements, at))
    }

    async fn sweep(&self, session: SessionId, fence: Fence) -> Result<u64, SettleError> {
        let at = self.clock.now();
        self.fenced(session, fence, |books| books.sweep(session, fence.epoch, at))
    }

    async fn reconcile(&self, attempt: AttemptId, billed: Amounts) -> Result<(), ReconcileError> {
        let id = attempt.digest();
        let mut books = lock(&self.books);
        let wanted = books.room_for_bill(id);
        self.room.take(wanted)?;
        let taken = books.reconcile(id, billed, self.clock.now());
        drop(books);
        match taken {
            Ok(Some(movement)) => {
                alarm_of_bill(&attempt, &billed, &movement.overrun);
                Ok(())
            }
            passed_over => {
                self.room.give_back(wanted);
                passed_over.map(drop)
            }
        }
    }

    async fn balance(&self, account: Account) -> Result<Option<Balance>, StoreError> {
        Ok(lock(&self.books).balance(account))
    }

    async fn reopen(&self, account: Account, overrun_seen: Amounts) -> Result<(), ReopenError> {
        let mut books = lock(&self.books);
        self.room.take(books::room_to_reopen())?;
        let opened = books.reopen(account, overrun_seen, self.clock.now());
        if !matches!(opened, Ok(true)) {
            self.room.give_back(books::room_to_reopen());
        }
        opened.map(drop)
    }

    async fn operations(&self, after: u64, limit: usize) -> Result<Vec<Operation>, StoreError> {
        Ok(lock(&self.books).operations(after, limit))
    }

    async fn trim(&self, through: u64) -> Result<u64, StoreError> {
        let (removed, freed) = lock(&self.books).trim(through);
        self.room.give_back(freed);
        Ok(removed)
    }
}
