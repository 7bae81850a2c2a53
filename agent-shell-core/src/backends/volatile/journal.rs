//! The journal's port: finding, appending, reading.

use std::collections::hash_map::Entry;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;

use super::session::Session;
use super::{LOCKED, VolatileStore, lock, room};
use crate::data::Record;
use crate::ports::{
    Append, AppendError, Appended, Journal, NamedActor, NewSession, SessionEntry, SessionFilter,
    SessionStatus, Snapshot, StoreError, TurnEntry,
};
use crate::words::{Digest, Pseudonym, Seq, SessionId, Tenant, TurnId};

#[async_trait]
impl Journal for VolatileStore {
    async fn open_session(&self, new: NewSession) -> Result<SessionEntry, StoreError> {
        let mut names = lock(&self.names);
        let session = match names.entry((new.tenant.clone(), new.name)) {
            Entry::Occupied(place) => place.get().clone(),
            Entry::Vacant(place) => {
                let mut sessions = self.sessions.write().expect(LOCKED);
                if sessions.contains_key(&new.id) {
                    let detail = format!("session {} is registered under another name", new.id);
                    return Err(StoreError::Corrupt { detail });
                }
                self.room.take(room::of_session(&new))?;
                let session = Arc::new(Session::new(new, self.claims.load(Ordering::Relaxed)));
                sessions.insert(session.new.id, session.clone());
                place.insert(session).clone()
            }
        };
        Ok(session.entry(&lock(&session.state)))
    }

    async fn append(&self, append: Arc<Append>) -> Result<Appended, AppendError> {
        self.append_now(&append)
    }

    async fn read(&self, session: SessionId, after: Seq, limit: usize) -> Result<Vec<Record>, StoreError> {
        let Some(session) = self.find(session) else { return Ok(Vec::new()) };
        let state = lock(&session.state);
        let records = &state.records[state.up_to(after)..];
        Ok(records.iter().take(limit).map(|kept| (**kept).clone()).collect())
    }

    async fn blob(&self, session: SessionId, address: Digest) -> Result<Vec<u8>, StoreError> {
        let blob = self.find(session).and_then(|session| lock(&session.state).blobs.get(&address).cloned());
        blob.ok_or_else(|| StoreError::NotFound { what: format!("blob {address} of session {session}") })
    }

    async fn snapshot(&self, session: SessionId) -> Result<Option<Snapshot>, StoreError> {
        Ok(self.find(session).and_then(|session| lock(&session.state).snapshot.clone()))
    }

    async fn session(&self, session: SessionId) -> Result<Option<SessionEntry>, StoreError> {
        Ok(self.find(session).map(|session| session.entry(&lock(&session.state))))
    }

    async fn sessions(
        &self,
        filter: SessionFilter,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<SessionEntry>, StoreError> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let sessions = self.sessions.read().expect(LOCKED);
        let listed = sessions.range((start, Bound::Unbounded)).filter_map(|(_, session)| {
            let new = &session.new;
            if filter.tenant.as_ref().is_some_and(|tenant| *tenant != new.tenant) {
                return None;
            }
            let state = lock(&session.state);
            let purged = state.mark.status == SessionStatus::Purged;
            let is_listed = filter.name.is_none_or(|name| name == new.name && !purged)
                && filter.status.is_none_or(|status| status == state.mark.status)
                && filter.owner.is_none_or(|owner| Some(owner) == state.owner)
                && filter.key.is_none_or(|key| key == new.key);
            is_listed.then(|| session.entry(&state))
        });
        Ok(listed.take(limit).collect())
    }

    async fn turn(&self, turn: TurnId) -> Result<Option<TurnEntry>, StoreError> {
        Ok(lock(&self.turns).get(&turn).copied())
    }

    async fn actor(&self, tenant: &Tenant, actor: Pseudonym) -> Result<Option<NamedActor>, StoreError> {
        Ok(lock(&self.actors).get(&(tenant.clone(), actor)).cloned())
    }
}
