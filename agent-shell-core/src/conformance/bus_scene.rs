//! What the properties of a bus share: a topic of its own for each, and a member's steps.

use std::sync::Arc;

use futures::FutureExt;

use super::BusFixture;
use super::scene::unique;
use crate::ports::{At, Bus, BusMember, Delivery, Lag, Message, Peeked};
use crate::words::{GroupName, Timestamp, TopicName};

/// A topic of its own on the fixture's bus.
pub(super) struct Place {
    pub(super) bus: Arc<dyn Bus>,
    pub(super) topic: TopicName,
    pub(super) partitions: u32,
    pub(super) now: Timestamp,
}

pub(super) fn group(name: &str) -> GroupName {
    GroupName::new(name).expect("the suite's groups have valid names")
}

/// A name that nobody has used.
pub(super) fn fresh_topic() -> TopicName {
    let id: crate::words::SessionId = unique();
    TopicName::new(format!("suite-{id}")).expect("the suite's topics have valid names")
}

impl Place {
    pub(super) async fn of(fixture: &dyn BusFixture) -> Self {
        let (bus, topic) = (fixture.bus().await, fresh_topic());
        let partitions = bus.open(&topic).await.expect("a bus must open a topic");
        assert!(partitions >= 1, "a topic must have a partition");
        Self { bus, topic, partitions, now: fixture.now() }
    }

    pub(super) fn message(&self, key: &str, text: &str) -> Message {
        Message { id: unique(), key: key.into(), written: self.now, payload: text.into() }
    }

    /// Messages with these keys, each telling its place in the list.
    pub(super) fn messages<'a>(&self, keys: impl IntoIterator<Item = &'a str>) -> Vec<Message> {
        let keys = keys.into_iter().enumerate();
        keys.map(|(place, key)| self.message(key, &format!("{key} {place}"))).collect()
    }

    pub(super) async fn publish(&self, messages: &[Message]) {
        let published = self.bus.publish(&self.topic, messages.to_vec()).await;
        assert_eq!(published, Ok(()), "a bus must accept what it has room for");
    }

    pub(super) async fn join(&self, name: &str) -> Box<dyn BusMember> {
        self.bus.join(&self.topic, &group(name)).await.expect("a group must let a member join")
    }

    /// Reads and commits until so many messages were handed out.
    pub(super) async fn drain(&self, member: &mut Box<dyn BusMember>, count: usize) -> Vec<Delivery> {
        let mut read: Vec<Delivery> = Vec::new();
        while read.len() < count {
            let batch = poll(member, 100).await;
            commit(member, &batch).await;
            read.extend(batch);
        }
        read
    }

    pub(super) async fn lag(&self, name: &str) -> Lag {
        self.bus.lag(&self.topic, &group(name)).await.expect("a bus must tell the lag")
    }

    pub(super) async fn peek(&self, partition: u32, at: At) -> Peeked {
        self.bus.peek(&self.topic, partition, at).await.expect("a bus must let a place be looked at")
    }
}

pub(super) async fn poll(member: &mut Box<dyn BusMember>, limit: usize) -> Vec<Delivery> {
    let read = member.poll(limit).await.expect("a member must be allowed to read");
    assert!(!read.is_empty(), "a poll must wait until there is something");
    read
}

pub(super) async fn commit(member: &mut Box<dyn BusMember>, read: &[Delivery]) {
    let offsets: Vec<_> = read.iter().map(|delivery| (delivery.partition, delivery.offset)).collect();
    assert_eq!(member.commit(&offsets).await, Ok(()), "a member may commit what it has read");
}

/// Whether a poll finds nothing.
pub(super) async fn finds_nothing(member: &mut Box<dyn BusMember>) -> bool {
    for _ in 0..50 {
        if let Some(read) = member.poll(100).now_or_never() {
            return read.is_ok_and(|read| read.is_empty());
        }
        tokio::task::yield_now().await;
    }
    true
}

pub(super) fn texts(read: &[Delivery]) -> Vec<String> {
    let mut texts: Vec<_> =
        read.iter().map(|delivery| String::from_utf8_lossy(&delivery.message.payload).into_owned()).collect();
    texts.sort();
    texts
}

pub(super) fn sorted(messages: &[Message]) -> Vec<String> {
    let mut texts: Vec<_> =
        messages.iter().map(|message| String::from_utf8_lossy(&message.payload).into_owned()).collect();
    texts.sort();
    texts
}
