//! A bus before which a network and a process's death stand.

#![deny(clippy::missing_trait_methods)]

use std::sync::Arc;

use async_trait::async_trait;

use super::faults::Operation;
use super::way::{Lost, Way};
use crate::ports::{At, Bus, BusCapabilities, BusError, BusMember, Delivery, Lag, Message, Peeked};
use crate::words::{GroupName, TopicName};

/// A bus as one process reaches it, made by [`UnreliableStore::bus`](super::UnreliableStore::bus). Each call may be slow,
/// refused, done without an answer, or not done without an answer; and the process may die before or after it.
#[derive(Clone)]
pub struct UnreliableBus {
    inner: Arc<dyn Bus>,
    way: Arc<Way>,
}

impl UnreliableBus {
    pub(super) fn new(inner: Arc<dyn Bus>, way: Arc<Way>) -> Self {
        Self { inner, way }
    }
}

impl From<Lost> for BusError {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Unknown => Self::Indeterminate { detail: "the answer was lost".into() },
            Lost::Refused => Self::Unavailable { detail: "it was refused".into() },
        }
    }
}

#[async_trait]
impl Bus for UnreliableBus {
    fn capabilities(&self) -> BusCapabilities {
        self.inner.capabilities()
    }

    async fn open(&self, topic: &TopicName) -> Result<u32, BusError> {
        let (inner, topic) = (self.inner.clone(), topic.clone());
        self.way.ask(Operation::OpenTopic, async move { inner.open(&topic).await }).await?
    }

    async fn publish(&self, topic: &TopicName, messages: Vec<Message>) -> Result<(), BusError> {
        let (inner, topic) = (self.inner.clone(), topic.clone());
        self.way.ask(Operation::Publish, async move { inner.publish(&topic, messages).await }).await?
    }

    async fn peek(&self, topic: &TopicName, partition: u32, at: At) -> Result<Peeked, BusError> {
        let (inner, topic) = (self.inner.clone(), topic.clone());
        self.way.ask(Operation::Peek, async move { inner.peek(&topic, partition, at).await }).await?
    }

    async fn join(&self, topic: &TopicName, group: &GroupName) -> Result<Box<dyn BusMember>, BusError> {
        let (inner, topic, group) = (self.inner.clone(), topic.clone(), group.clone());
        let joined = self.way.ask(Operation::Join, async move { inner.join(&topic, &group).await }).await??;
        Ok(Box::new(UnreliableMember { inner: joined, way: self.way.clone() }))
    }

    async fn is_awaited(&self, topic: &TopicName) -> Result<bool, BusError> {
        // A local bus knows by itself, and nobody asks another.
        self.inner.is_awaited(topic).await
    }

    async fn lag(&self, topic: &TopicName, group: &GroupName) -> Result<Lag, BusError> {
        let (inner, topic, group) = (self.inner.clone(), topic.clone(), group.clone());
        self.way.ask(Operation::Lag, async move { inner.lag(&topic, &group).await }).await?
    }
}

/// A member whose calls travel the same way.
struct UnreliableMember {
    inner: Box<dyn BusMember>,
    way: Arc<Way>,
}

#[async_trait]
impl BusMember for UnreliableMember {
    async fn poll(&mut self, limit: usize) -> Result<Vec<Delivery>, BusError> {
        self.way.ask_while_there(Operation::PollBus, self.inner.poll(limit)).await?
    }

    async fn commit(&mut self, offsets: &[(u32, u64)]) -> Result<(), BusError> {
        self.way.ask_while_there(Operation::CommitBus, self.inner.commit(offsets)).await?
    }

    fn assigned(&self) -> Vec<u32> {
        self.inner.assigned()
    }
}
