//! Faults of the outbox.

use async_trait::async_trait;

use super::{Broken, Fault};
use crate::ports::{Outbox, OutboxItem, OutboxPosition, StoreError};
use crate::words::{SessionId, Timestamp};

#[async_trait]
impl Outbox for Broken {
    async fn pending(&self, after: OutboxPosition, limit: usize) -> Result<Vec<OutboxItem>, StoreError> {
        let reached = self.seen().acknowledged;
        let ahead = self.is(Fault::AcknowledgementsReachAhead);
        let after = if ahead { after.max(OutboxPosition(reached)) } else { after };
        let mut rows = self.inner.pending(after, self.limit(limit)).await?;
        if self.is(Fault::RowsAreInAnyOrder) {
            rows.reverse();
        }
        Ok(rows)
    }

    async fn kept(&self, after: OutboxPosition, limit: usize) -> Result<Vec<OutboxItem>, StoreError> {
        match self.fault {
            Some(Fault::OnlyPendingRowsAreKept) => self.inner.pending(after, limit).await,
            _ => self.inner.kept(after, self.limit(limit)).await,
        }
    }

    async fn acknowledge(&self, through: OutboxPosition) -> Result<(), StoreError> {
        self.seen().acknowledged = through.0;
        if self.is(Fault::AcknowledgementsAreForgotten) {
            return Ok(());
        }
        self.inner.acknowledge(through).await
    }

    async fn replay(
        &self,
        session: SessionId,
        sequence: u64,
        limit: usize,
    ) -> Result<Vec<OutboxItem>, StoreError> {
        let mut rows = self.inner.replay(session, sequence, self.limit(limit)).await?;
        if self.is(Fault::OnlyPendingRowsAreReplayed) {
            let pending = self.inner.pending(OutboxPosition::default(), usize::MAX).await?;
            rows.retain(|row| pending.contains(row));
        }
        Ok(rows)
    }

    async fn trim(&self, before: Timestamp) -> Result<u64, StoreError> {
        if self.is(Fault::TrimsTakeAll) {
            self.inner.acknowledge(OutboxPosition(u64::MAX)).await?;
        }
        self.inner.trim(before).await
    }
}
