//! Marks: one map, in the order of groups and sessions.

use std::collections::BTreeMap;
use std::ops::Bound;

use async_trait::async_trait;

use super::{VolatileStore, lock, room};
use crate::ports::{HighWater, Marks, StoreError};
use crate::words::{GroupName, SessionId};

pub(super) type Kept = BTreeMap<(GroupName, SessionId), HighWater>;

#[async_trait]
impl Marks for VolatileStore {
    async fn load(&self, group: &GroupName, sessions: &[SessionId]) -> Result<Vec<HighWater>, StoreError> {
        let kept = lock(&self.marks);
        let mark = |session: &SessionId| kept.get(&(group.clone(), *session)).copied().unwrap_or_default();
        Ok(sessions.iter().map(mark).collect())
    }

    async fn save(&self, group: &GroupName, marks: &[(SessionId, HighWater)]) -> Result<(), StoreError> {
        let mut kept = lock(&self.marks);
        let is_new = |session: &SessionId| !kept.contains_key(&(group.clone(), *session));
        let new = marks.iter().filter(|(session, _)| is_new(session)).count();
        self.room.take(new as u64 * room::stored(group.as_str().len()))?;
        for (session, mark) in marks {
            let place = kept.entry((group.clone(), *session)).or_default();
            *place = place.max(*mark);
        }
        Ok(())
    }

    async fn behind(
        &self,
        group: &GroupName,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<(SessionId, HighWater)>, StoreError> {
        let kept = lock(&self.marks);
        let first = (group.clone(), SessionId::from_bytes([0; 16]));
        let start = after.map_or(Bound::Included(first), |after| Bound::Excluded((group.clone(), after)));
        let of_group = kept.range((start, Bound::Unbounded)).take_while(|((of, _), _)| of == group);
        let behind = of_group.filter(|(_, mark)| mark.seen > mark.done);
        Ok(behind.take(limit).map(|((_, session), mark)| (*session, *mark)).collect())
    }
}
