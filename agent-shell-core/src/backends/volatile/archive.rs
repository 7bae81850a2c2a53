//! The archive: what leaves, comes back, or goes, under the lock of the session.

use std::sync::{Arc, MutexGuard};

use async_trait::async_trait;

use super::ownership::Owners;
use super::session::{Kept, Session, State};
use super::{LOCKED, VolatileStore, lock, room};
use crate::data::Account;
use crate::ports::{Archive, ArchiveError, Archived, Blob, Busy, Restore, SessionStatus, StoreError};
use crate::words::{Digest, Head, SessionId};

impl VolatileStore {
    /// The owners that live now. Locked for as long as a session may not change hands.
    fn living(&self) -> MutexGuard<'_, Owners> {
        let mut owners = lock(&self.owners);
        owners.bury(self.clock.monotonic());
        owners
    }

    fn archived_one(&self, id: SessionId) -> Result<Arc<Session>, ArchiveError> {
        self.find(id).ok_or(ArchiveError::NoSession)
    }

    fn archive_now(&self, id: SessionId, expected: Head, archived: Archived) -> Result<(), ArchiveError> {
        let owners = self.living();
        let session = self.archived_one(id)?;
        let mut state = lock(&session.state);
        if let Some(before) = state.archived {
            return if before == archived { Ok(()) } else { Err(ArchiveError::NotArchived) };
        }
        let leaves = match state.mark.status {
            SessionStatus::Idle if state.mark.wake_at.is_none() => 0,
            // The record of the purge stays.
            SessionStatus::Purged => 1,
            _ => return Err(ArchiveError::Busy(Busy::Working)),
        };
        if state.head() != expected {
            return Err(ArchiveError::Changed { actual: state.head() });
        }
        let last = state.records.len().checked_sub(leaves + 1).and_then(|last| state.records.get(last));
        if last.map(|last| last.head()) != Some(archived.head) {
            let detail = "the archived head is not the one up to which the session is finished".into();
            return Err(ArchiveError::Wrong { detail });
        }
        is_free(&state, &owners)?;
        if lock(&self.rows).of(id).1 {
            return Err(ArchiveError::Busy(Busy::Outbox));
        }
        let leaving = state.up_to(archived.head.seq);
        let records =
            state.records.drain(..leaving).map(|record| room::stored(record.body.len())).sum::<u64>();
        let blobs = std::mem::take(&mut state.blobs).into_values().map(|sealed| room::stored(sealed.len()));
        let snapshot = state.snapshot.take().map(|snapshot| room::stored(snapshot.sealed.len()));
        self.room.give_back(records + blobs.chain(snapshot).sum::<u64>());
        state.records.shrink_to_fit();
        state.requires.clear();
        state.owner = None;
        state.archived = Some(archived);
        if state.mark.status == SessionStatus::Idle {
            state.mark.status = SessionStatus::Archived;
        }
        Ok(())
    }

    fn restore_now(&self, restore: &Restore) -> Result<(), ArchiveError> {
        if let Some(detail) = restore.problem() {
            return Err(ArchiveError::Wrong { detail });
        }
        let owners = self.living();
        let session = self.archived_one(restore.session)?;
        let mut state = lock(&session.state);
        if state.archived != Some(restore.archived) {
            return Err(ArchiveError::NotArchived);
        }
        is_free(&state, &owners)?;
        let things = (restore.records.len() + restore.blobs.len()) as u64;
        self.room.take(restore.bytes() as u64 + things * room::stored(0))?;
        let back = restore.records.iter().map(|record| Kept::Alone(Box::new(record.clone())));
        state.records.splice(..0, back);
        state.blobs.extend(restore.blobs.iter().map(|blob| (blob.address, blob.sealed.clone())));
        state.archived = None;
        if state.mark.status == SessionStatus::Archived {
            state.mark.status = SessionStatus::Idle;
            state.requires = restore.requires.clone();
        }
        Ok(())
    }

    fn expire_now(&self, id: SessionId, archived: Archived) -> Result<(), ArchiveError> {
        let owners = self.living();
        let mut names = lock(&self.names);
        let mut sessions = self.sessions.write().expect(LOCKED);
        let session = sessions.get(&id).cloned().ok_or(ArchiveError::NoSession)?;
        let state = lock(&session.state);
        if state.archived != Some(archived) {
            return Err(ArchiveError::NotArchived);
        }
        is_free(&state, &owners)?;
        if lock(&self.rows).of(id).0 {
            return Err(ArchiveError::Busy(Busy::Outbox));
        }
        lock(&self.turns).retain(|_, turn| turn.session != id);
        names.retain(|_, named| !Arc::ptr_eq(named, &session));
        sessions.remove(&id);
        let records = state.records.iter().map(|record| room::stored(record.body.len())).sum::<u64>();
        let account = lock(&self.books).remove(Account::session(id));
        self.room.give_back(records + state.mail.bytes() + room::of_session(&session.new) + account);
        Ok(())
    }
}

/// Whether nobody alive holds the session and nothing waits in it.
fn is_free(state: &State, owners: &Owners) -> Result<(), ArchiveError> {
    if state.owner.is_some_and(|owner| owners.lives(owner)) {
        return Err(ArchiveError::Busy(Busy::Held));
    }
    if state.mail.waiting() > 0 {
        return Err(ArchiveError::Busy(Busy::Mail));
    }
    Ok(())
}

#[async_trait]
impl Archive for VolatileStore {
    async fn blobs(
        &self,
        session: SessionId,
        after: Option<Digest>,
        limit: usize,
    ) -> Result<Vec<Blob>, StoreError> {
        let Some(session) = self.find(session) else { return Ok(Vec::new()) };
        let state = lock(&session.state);
        let mut later: Vec<_> = state
            .blobs
            .keys()
            .filter(|address| after.is_none_or(|after| **address > after))
            .copied()
            .collect();
        later.sort_unstable();
        later.truncate(limit);
        Ok(later.into_iter().map(|address| Blob { address, sealed: state.blobs[&address].clone() }).collect())
    }

    async fn archive(
        &self,
        session: SessionId,
        expected: Head,
        archived: Archived,
    ) -> Result<(), ArchiveError> {
        self.archive_now(session, expected, archived)
    }

    async fn restore(&self, restore: Arc<Restore>) -> Result<(), ArchiveError> {
        self.restore_now(&restore)
    }

    async fn expire(&self, session: SessionId, archived: Archived) -> Result<(), ArchiveError> {
        self.expire_now(session, archived)
    }
}
