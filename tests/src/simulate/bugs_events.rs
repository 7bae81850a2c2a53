//! The outbox, the marks and the keys of a store with a deliberate fault.

#![deny(clippy::missing_trait_methods)]

use std::sync::Arc;

use agent_shell_core::backends::volatile::VolatileKeys;
use agent_shell_core::data::{DataKey, KeyId};
use agent_shell_core::ports::{
    HighWater, KeyError, KeyStore, Marks, Outbox, OutboxItem, OutboxPosition, StoreError,
};
use agent_shell_core::words::{GroupName, SessionId, Timestamp};
use async_trait::async_trait;

use super::bugs::{Bug, Faulty};

#[async_trait]
impl Outbox for Faulty {
    async fn pending(&self, after: OutboxPosition, limit: usize) -> Result<Vec<OutboxItem>, StoreError> {
        self.inner.outbox.pending(after, limit).await
    }

    async fn kept(&self, after: OutboxPosition, limit: usize) -> Result<Vec<OutboxItem>, StoreError> {
        let rows = self.inner.outbox.kept(after, limit).await?;
        if let (Bug::OutboxCursorEarly, Some(last)) = (self.bug, rows.last()) {
            self.inner.outbox.acknowledge(last.position).await?;
        }
        Ok(rows)
    }

    async fn acknowledge(&self, through: OutboxPosition) -> Result<(), StoreError> {
        self.inner.outbox.acknowledge(through).await
    }

    async fn replay(
        &self,
        session: SessionId,
        sequence: u64,
        limit: usize,
    ) -> Result<Vec<OutboxItem>, StoreError> {
        if self.bug == Bug::ReplayForgotten {
            return Ok(Vec::new());
        }
        self.inner.outbox.replay(session, sequence, limit).await
    }

    async fn trim(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.inner.outbox.trim(before).await
    }
}

#[async_trait]
impl Marks for Faulty {
    async fn load(&self, group: &GroupName, sessions: &[SessionId]) -> Result<Vec<HighWater>, StoreError> {
        self.inner.marks.load(group, sessions).await
    }

    async fn save(&self, group: &GroupName, marks: &[(SessionId, HighWater)]) -> Result<(), StoreError> {
        let mut early = marks.to_vec();
        if self.bug == Bug::MarkBeforeEffect {
            early.iter_mut().for_each(|(_, mark)| mark.done = mark.seen);
        }
        self.inner.marks.save(group, &early).await
    }

    async fn behind(
        &self,
        group: &GroupName,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<(SessionId, HighWater)>, StoreError> {
        self.inner.marks.behind(group, after, limit).await
    }
}

/// A key store that destroys nothing.
pub(super) struct KeptKeys(pub(super) Arc<VolatileKeys>);

#[async_trait]
impl KeyStore for KeptKeys {
    async fn create(&self, id: KeyId, fresh: DataKey) -> Result<DataKey, KeyError> {
        self.0.create(id, fresh).await
    }

    async fn fetch(&self, id: KeyId) -> Result<DataKey, KeyError> {
        self.0.fetch(id).await
    }

    async fn destroy(&self, _: KeyId) -> Result<(), KeyError> {
        Ok(())
    }
}
