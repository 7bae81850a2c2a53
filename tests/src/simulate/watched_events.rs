//! The outbox and the marks of a watched store.

#![deny(clippy::missing_trait_methods)]

use agent_shell_core::ports::{HighWater, Marks, Outbox, OutboxItem, OutboxPosition, StoreError};
use agent_shell_core::words::{GroupName, SessionId, Timestamp};
use async_trait::async_trait;

use super::watched::Watched;

#[async_trait]
impl Outbox for Watched {
    async fn pending(&self, after: OutboxPosition, limit: usize) -> Result<Vec<OutboxItem>, StoreError> {
        self.inner.outbox.pending(after, limit).await
    }

    async fn kept(&self, after: OutboxPosition, limit: usize) -> Result<Vec<OutboxItem>, StoreError> {
        let rows = self.inner.outbox.kept(after, limit).await?;
        self.truth.kept(after, limit, &rows);
        Ok(rows)
    }

    async fn acknowledge(&self, through: OutboxPosition) -> Result<(), StoreError> {
        self.inner.outbox.acknowledge(through).await?;
        self.truth.acknowledged(through);
        Ok(())
    }

    async fn replay(
        &self,
        session: SessionId,
        sequence: u64,
        limit: usize,
    ) -> Result<Vec<OutboxItem>, StoreError> {
        self.inner.outbox.replay(session, sequence, limit).await
    }

    async fn trim(&self, before: Timestamp) -> Result<u64, StoreError> {
        let count = self.inner.outbox.trim(before).await?;
        self.truth.trimmed(before, count);
        Ok(count)
    }
}

#[async_trait]
impl Marks for Watched {
    async fn load(&self, group: &GroupName, sessions: &[SessionId]) -> Result<Vec<HighWater>, StoreError> {
        self.inner.marks.load(group, sessions).await
    }

    async fn save(&self, group: &GroupName, marks: &[(SessionId, HighWater)]) -> Result<(), StoreError> {
        self.inner.marks.save(group, marks).await?;
        self.truth.marked(group, marks);
        Ok(())
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
