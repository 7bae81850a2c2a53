//! The journal as the kit sees it: directly before the real one. It counts the records, and asks for the crash.

#![deny(clippy::missing_trait_methods)]

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::crash::Place;
use crate::data::Record;
use crate::ports::{
    Append, AppendError, Appended, Journal, NamedActor, NewSession, SessionEntry, SessionFilter, Snapshot,
    StoreError, TurnEntry,
};
use crate::simulation::{Crashes, Group};
use crate::words::{AppendId, Digest, Pseudonym, Seq, SessionId, Tenant, TurnId};

/// What one run wrote, and where it is to be crashed.
#[derive(Debug, Default)]
pub(super) struct Watch {
    state: Mutex<State>,
    crashes: Crashes,
}

#[derive(Debug, Default)]
struct State {
    written: Vec<(SessionId, Seq, AppendId)>,
    heads: BTreeMap<SessionId, Seq>,
    place: Option<Place>,
    process: Option<Group>,
    is_over: bool,
}

impl Watch {
    pub(super) fn new(place: Option<Place>, crashes: Crashes) -> Self {
        Self { state: Mutex::new(State { place, ..State::default() }), crashes }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process that writes from here on.
    pub(super) fn lives(&self, process: Group) {
        self.lock().process = Some(process);
    }

    /// The process has been polled so often: this may be where it dies.
    pub(super) fn polled(&self, polls: u64) {
        self.dies_if(|place, _| place == Place::Poll(polls));
    }

    /// What was written so far, in this order. From here on nothing crashes any more.
    pub(super) fn finish(&self) -> Vec<(SessionId, Seq, AppendId)> {
        let mut state = self.lock();
        (state.place, state.is_over) = (None, true);
        state.written.clone()
    }

    /// Whether the host has returned.
    pub(super) fn is_over(&self) -> bool {
        self.lock().is_over
    }

    /// Asks for the death of the process if this is its place, and says whether it is.
    fn dies_if(&self, is_it: impl FnOnce(Place, usize) -> bool) -> bool {
        let mut state = self.lock();
        let dies = state.place.is_some_and(|place| is_it(place, state.written.len()));
        if dies {
            state.place = None;
            state.process.into_iter().for_each(|process| self.crashes.ask(process));
        }
        dies
    }

    fn before(&self, append: &Append) -> bool {
        let new = append.records.len();
        self.dies_if(|place, written| matches!(place, Place::Before(n) if n > written && n <= written + new))
    }

    fn after(&self, append: &Append) -> bool {
        {
            let mut state = self.lock();
            for record in &append.records {
                let (session, seq) = (append.session, record.header.seq);
                // An append that is repeated is written once.
                if state.heads.get(&session).is_none_or(|head| *head < seq) {
                    state.heads.insert(session, seq);
                    state.written.push((session, seq, append.id));
                }
            }
        }
        self.dies_if(|place, written| matches!(place, Place::After(n) if n <= written))
    }
}

/// A journal that is watched.
pub(super) struct Watched {
    pub(super) inner: Arc<dyn Journal>,
    pub(super) watch: Arc<Watch>,
}

#[async_trait]
impl Journal for Watched {
    async fn open_session(&self, new: NewSession) -> Result<SessionEntry, StoreError> {
        self.inner.open_session(new).await
    }

    async fn append(&self, append: Arc<Append>) -> Result<Appended, AppendError> {
        if self.watch.before(&append) {
            return pending().await;
        }
        let answer = self.inner.append(append.clone()).await?;
        if self.watch.after(&append) {
            return pending().await;
        }
        Ok(answer)
    }

    async fn read(&self, session: SessionId, after: Seq, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.inner.read(session, after, limit).await
    }

    async fn blob(&self, session: SessionId, address: Digest) -> Result<Vec<u8>, StoreError> {
        self.inner.blob(session, address).await
    }

    async fn snapshot(&self, session: SessionId) -> Result<Option<Snapshot>, StoreError> {
        self.inner.snapshot(session).await
    }

    async fn session(&self, session: SessionId) -> Result<Option<SessionEntry>, StoreError> {
        self.inner.session(session).await
    }

    async fn sessions(
        &self,
        filter: SessionFilter,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<SessionEntry>, StoreError> {
        self.inner.sessions(filter, after, limit).await
    }

    async fn turn(&self, turn: TurnId) -> Result<Option<TurnEntry>, StoreError> {
        self.inner.turn(turn).await
    }

    async fn actor(&self, tenant: &Tenant, actor: Pseudonym) -> Result<Option<NamedActor>, StoreError> {
        self.inner.actor(tenant, actor).await
    }
}
