//! Faults of marks.

use async_trait::async_trait;

use super::{Broken, Fault};
use crate::ports::{HighWater, Marks, StoreError};
use crate::words::{GroupName, SessionId};

impl Broken {
    /// The group under which the inner store keeps the marks of a group.
    fn group(&self, group: &GroupName) -> GroupName {
        let shared = GroupName::new("shared").unwrap();
        if self.is(Fault::GroupsShareMarks) { shared } else { group.clone() }
    }
}

#[async_trait]
impl Marks for Broken {
    async fn load(&self, group: &GroupName, sessions: &[SessionId]) -> Result<Vec<HighWater>, StoreError> {
        if self.is(Fault::MarksGoDown) {
            let seen = self.seen();
            let mark = |session: &SessionId| seen.lowered.get(&(group.clone(), *session)).copied();
            return Ok(sessions.iter().map(|session| mark(session).unwrap_or_default()).collect());
        }
        self.inner.load(&self.group(group), sessions).await
    }

    async fn save(&self, group: &GroupName, marks: &[(SessionId, HighWater)]) -> Result<(), StoreError> {
        if self.is(Fault::MarksAreDropped) {
            return Ok(());
        }
        for (session, mark) in marks {
            self.seen().lowered.insert((group.clone(), *session), *mark);
        }
        self.inner.save(&self.group(group), marks).await
    }

    async fn behind(
        &self,
        group: &GroupName,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<(SessionId, HighWater)>, StoreError> {
        if self.is(Fault::NobodyIsBehind) {
            return Ok(Vec::new());
        }
        self.inner.behind(&self.group(group), after, self.limit(limit)).await
    }
}
