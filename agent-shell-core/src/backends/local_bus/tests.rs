//! The conformance suite on the local bus, and what it promises besides.

#![cfg(feature = "conformance")]

use std::sync::Arc;

use async_trait::async_trait;

use super::{LocalBus, LocalBusOptions};
use crate::conformance::{BusFixture, TestClock, run, unique};
use crate::ports::{Bus, BusError, BusMember, Message};
use crate::words::{Clock, GroupName, Timestamp, TopicName};

#[derive(Default)]
struct Local(TestClock);

#[async_trait]
impl BusFixture for Local {
    async fn bus(&self) -> Arc<dyn Bus> {
        Arc::new(LocalBus::with_clock(LocalBusOptions::default(), Arc::new(self.0.clone())))
    }

    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn capacity(&self) -> Option<usize> {
        Some(LocalBusOptions::default().messages)
    }
}

crate::bus_conformance!(Local::default());

fn message(key: &str, bytes: usize) -> Message {
    Message { id: unique(), key: key.into(), written: Timestamp::default(), payload: vec![7; bytes] }
}

fn names() -> (TopicName, GroupName) {
    (TopicName::new("topic").unwrap(), GroupName::new("group").unwrap())
}

async fn read_and_commit(member: &mut Box<dyn BusMember>) -> usize {
    let read = member.poll(100).await.unwrap();
    let offsets: Vec<_> = read.iter().map(|delivery| (delivery.partition, delivery.offset)).collect();
    member.commit(&offsets).await.unwrap();
    read.len()
}

#[test]
fn bytes_are_bounded_too() {
    run(async {
        let bus = LocalBus::new(LocalBusOptions { bytes: 1000, ..LocalBusOptions::default() });
        let (topic, group) = names();
        bus.open(&topic).await.unwrap();
        let mut member = bus.join(&topic, &group).await.unwrap();
        bus.publish(&topic, vec![message("a", 899)]).await.unwrap();
        assert_eq!(bus.publish(&topic, vec![message("b", 100)]).await, Err(BusError::Full));
        bus.publish(&topic, vec![message("b", 99)]).await.unwrap();
        assert_eq!(bus.publish(&topic, vec![message("b", 0)]).await, Err(BusError::Full));
        assert_eq!(read_and_commit(&mut member).await, 2);
        bus.publish(&topic, vec![message("b", 999)]).await.unwrap();
    });
}

#[test]
fn a_group_that_is_forgotten_keeps_nothing() {
    run(async {
        let bus = LocalBus::new(LocalBusOptions { messages: 2, ..LocalBusOptions::default() });
        let (topic, group) = names();
        let gone = GroupName::new("gone").unwrap();
        bus.open(&topic).await.unwrap();
        let mut member = bus.join(&topic, &group).await.unwrap();
        let mut idle = bus.join(&topic, &gone).await.unwrap();
        bus.publish(&topic, vec![message("a", 1), message("b", 1)]).await.unwrap();
        assert_eq!(read_and_commit(&mut member).await, 2);
        assert_eq!(bus.publish(&topic, vec![message("a", 1)]).await, Err(BusError::Full));
        assert!(bus.forget(&topic, &gone));
        assert!(!bus.forget(&topic, &gone));
        bus.publish(&topic, vec![message("a", 1)]).await.unwrap();
        assert!(idle.assigned().is_empty());
        assert!(matches!(idle.commit(&[(0, 0)]).await, Err(BusError::NotAssigned { .. })));
    });
}

#[test]
fn a_topic_is_awaited_from_its_first_group_to_its_last() {
    run(async {
        let bus = LocalBus::default();
        let (topic, group) = names();
        assert!(matches!(bus.is_awaited(&topic).await, Err(BusError::NoTopic { .. })));
        bus.open(&topic).await.unwrap();
        assert_eq!(bus.is_awaited(&topic).await, Ok(false));
        drop(bus.join(&topic, &group).await.unwrap());
        assert_eq!(bus.is_awaited(&topic).await, Ok(true), "a group stays that has no member");
        bus.forget(&topic, &group);
        assert_eq!(bus.is_awaited(&topic).await, Ok(false));
    });
}

#[test]
fn topics_and_groups_are_bounded() {
    run(async {
        let bus = LocalBus::new(LocalBusOptions { topics: 1, groups: 1, ..LocalBusOptions::default() });
        let (topic, group) = names();
        bus.open(&topic).await.unwrap();
        let other = TopicName::new("other").unwrap();
        assert!(matches!(bus.open(&other).await, Err(BusError::NoTopic { .. })));
        let _member = bus.join(&topic, &group).await.unwrap();
        assert!(bus.join(&topic, &group).await.is_ok(), "another member of the same group");
        let other = GroupName::new("other").unwrap();
        assert!(matches!(bus.join(&topic, &other).await.err(), Some(BusError::NoTopic { .. })));
    });
}
