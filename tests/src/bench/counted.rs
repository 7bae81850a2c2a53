//! How many bytes are given to a journal (bodies, blobs, envelopes and snapshots), and how many records are read of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use agent_shell_core::Tenant;
use agent_shell_core::data::Record;
use agent_shell_core::ports::{
    Append, AppendError, Appended, Journal, NamedActor, NewSession, SessionEntry, SessionFilter, Snapshot,
    StoreError, TurnEntry,
};
use agent_shell_core::words::{Digest, Pseudonym, Seq, SessionId, TurnId};
use async_trait::async_trait;

/// A journal that counts what is given to it.
pub(super) struct Counted {
    inner: Arc<dyn Journal>,
    written: Arc<AtomicU64>,
    reads: Reads,
}

/// How often records were read, and how many.
#[derive(Clone, Debug, Default)]
pub(super) struct Reads {
    pub(super) calls: Arc<AtomicU64>,
    pub(super) records: Arc<AtomicU64>,
}

impl Counted {
    /// Adds what is given to `inner` to `written`.
    pub(super) fn new(inner: Arc<dyn Journal>, written: Arc<AtomicU64>) -> Self {
        Self { inner, written, reads: Reads::default() }
    }

    /// Adds what is read of `inner` to `reads`.
    pub(super) fn read(inner: Arc<dyn Journal>, reads: Reads) -> Self {
        Self { inner, written: Arc::default(), reads }
    }
}

/// What an append gives to the journal, in bytes.
fn bytes_of(append: &Append) -> usize {
    append.records.iter().map(|record| record.body.len()).sum::<usize>()
        + append.blobs.iter().map(|blob| blob.sealed.len()).sum::<usize>()
        + append.outbox.iter().map(|row| row.envelope.len()).sum::<usize>()
        + append.snapshot.as_ref().map_or(0, |snapshot| snapshot.sealed.len())
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Journal for Counted {
    async fn open_session(&self, new: NewSession) -> Result<SessionEntry, StoreError> {
        self.inner.open_session(new).await
    }

    async fn append(&self, append: Arc<Append>) -> Result<Appended, AppendError> {
        self.written.fetch_add(bytes_of(&append) as u64, Ordering::Relaxed);
        self.inner.append(append).await
    }

    async fn read(&self, session: SessionId, after: Seq, limit: usize) -> Result<Vec<Record>, StoreError> {
        let records = self.inner.read(session, after, limit).await?;
        self.reads.calls.fetch_add(1, Ordering::Relaxed);
        self.reads.records.fetch_add(records.len() as u64, Ordering::Relaxed);
        Ok(records)
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
