//! A member of a group.

use std::sync::Arc;

use async_trait::async_trait;

use super::Shared;
use super::topic::MemberId;
use crate::ports::{BusError, BusMember, Delivery};
use crate::words::{GroupName, TopicName};

pub(super) struct LocalMember {
    shared: Arc<Shared>,
    topic: TopicName,
    group: GroupName,
    id: MemberId,
}

impl LocalMember {
    pub(super) fn new(shared: Arc<Shared>, topic: TopicName, group: GroupName, id: MemberId) -> Self {
        Self { shared, topic, group, id }
    }
}

#[async_trait]
impl BusMember for LocalMember {
    async fn poll(&mut self, limit: usize) -> Result<Vec<Delivery>, BusError> {
        loop {
            // Asked to be told before it is looked, so that nothing comes in between unnoticed.
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let read =
                self.shared.on(&self.topic, |topic| Ok(topic.read(&self.group, self.id, limit.max(1))))?;
            if !read.is_empty() {
                return Ok(read);
            }
            changed.await;
        }
    }

    async fn commit(&mut self, offsets: &[(u32, u64)]) -> Result<(), BusError> {
        self.shared.on(&self.topic, |topic| topic.commit(&self.group, self.id, offsets))
    }

    fn assigned(&self) -> Vec<u32> {
        let assigned = self.shared.on(&self.topic, |topic| Ok(topic.assigned(&self.group, self.id)));
        assigned.unwrap_or_default()
    }
}

impl Drop for LocalMember {
    fn drop(&mut self) {
        // A topic is never removed, so there is one.
        let _ = self.shared.on(&self.topic, |topic| {
            topic.leave(&self.group, self.id);
            Ok(())
        });
        self.shared.changed.notify_waiters();
    }
}
