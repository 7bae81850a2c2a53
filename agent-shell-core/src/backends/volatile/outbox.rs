//! The outbox: one list of rows in the order of commits.

use std::collections::BTreeMap;
use std::ops::Bound;

use async_trait::async_trait;

use super::{VolatileStore, lock, room};
use crate::ports::{Outbox, OutboxItem, OutboxPosition, Outgoing, StoreError};
use crate::words::{SessionId, Timestamp};

#[derive(Default)]
pub(super) struct Rows {
    rows: BTreeMap<u64, OutboxItem>,
    by_session: BTreeMap<(SessionId, u64), u64>,
    last: u64,
    acknowledged: u64,
}

impl Rows {
    /// Whether a row of the session stands here, and whether one is not acknowledged.
    pub(super) fn of(&self, session: SessionId) -> (bool, bool) {
        let last = self.by_session.range((session, 0)..=(session, u64::MAX)).next_back();
        (last.is_some(), last.is_some_and(|(_, position)| *position > self.acknowledged))
    }

    /// Adds a row under the next position.
    pub(super) fn push(&mut self, session: SessionId, outgoing: Outgoing) {
        self.last += 1;
        self.by_session.insert((session, outgoing.sequence), self.last);
        let position = OutboxPosition(self.last);
        self.rows.insert(self.last, OutboxItem { position, session, outgoing });
    }
}

#[async_trait]
impl Outbox for VolatileStore {
    async fn pending(&self, after: OutboxPosition, limit: usize) -> Result<Vec<OutboxItem>, StoreError> {
        let rows = lock(&self.rows);
        let start = Bound::Excluded(after.0.max(rows.acknowledged));
        Ok(rows.rows.range((start, Bound::Unbounded)).take(limit).map(|(_, row)| row.clone()).collect())
    }

    async fn kept(&self, after: OutboxPosition, limit: usize) -> Result<Vec<OutboxItem>, StoreError> {
        let rows = lock(&self.rows);
        let later = rows.rows.range((Bound::Excluded(after.0), Bound::Unbounded));
        Ok(later.take(limit).map(|(_, row)| row.clone()).collect())
    }

    async fn acknowledge(&self, through: OutboxPosition) -> Result<(), StoreError> {
        let mut rows = lock(&self.rows);
        // Never beyond what exists: a row to come has not been delivered.
        rows.acknowledged = rows.acknowledged.max(through.0.min(rows.last));
        Ok(())
    }

    async fn replay(
        &self,
        session: SessionId,
        sequence: u64,
        limit: usize,
    ) -> Result<Vec<OutboxItem>, StoreError> {
        let rows = lock(&self.rows);
        let asked = rows.by_session.range((session, sequence)..=(session, u64::MAX)).take(limit);
        Ok(asked.filter_map(|(_, position)| rows.rows.get(position).cloned()).collect())
    }

    async fn trim(&self, before: Timestamp) -> Result<u64, StoreError> {
        let mut guard = lock(&self.rows);
        let rows = &mut *guard;
        let acknowledged = rows.rows.range(..=rows.acknowledged);
        let old: Vec<u64> = acknowledged
            .filter(|(_, row)| row.outgoing.written < before)
            .map(|(&position, _)| position)
            .collect();
        for row in old.iter().filter_map(|position| rows.rows.remove(position)) {
            rows.by_session.remove(&(row.session, row.outgoing.sequence));
            self.room.give_back(room::stored(row.outgoing.envelope.len()));
        }
        Ok(old.len() as u64)
    }
}
