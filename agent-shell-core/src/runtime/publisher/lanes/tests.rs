//! What a bus may lose, and how its publisher finds out. The bus is the local one, as if others had it too.

#![cfg(feature = "simulation")]

use std::sync::Mutex;

use serde_json::Value;

use super::*;
use crate::backends::local_bus::{LocalBus, LocalBusOptions};
use crate::ports::{BusCapabilities, BusMember, Lag, Outgoing};
use crate::words::{GroupName, SessionId, Tenant, Timestamp};

/// The rows of one session, which never change.
struct Rows(Vec<OutboxItem>);

#[async_trait::async_trait]
impl Outbox for Rows {
    async fn pending(&self, after: OutboxPosition, limit: usize) -> Result<Vec<OutboxItem>, StoreError> {
        self.kept(after, limit).await
    }

    async fn kept(&self, after: OutboxPosition, limit: usize) -> Result<Vec<OutboxItem>, StoreError> {
        Ok(self.0.iter().filter(|row| row.position > after).take(limit).cloned().collect())
    }

    async fn acknowledge(&self, _through: OutboxPosition) -> Result<(), StoreError> {
        Ok(())
    }

    async fn replay(&self, _: SessionId, sequence: u64, limit: usize) -> Result<Vec<OutboxItem>, StoreError> {
        self.kept(OutboxPosition(sequence - 1), limit).await
    }

    async fn trim(&self, _before: Timestamp) -> Result<u64, StoreError> {
        Ok(0)
    }
}

/// A bus that, once something was published, may lose what stands from an offset on, and take the last message again.
struct Losing {
    inner: LocalBus,
    next_crash: Mutex<Option<u64>>,
    /// Reads all that is published before anybody can look at it.
    reads: Mutex<Option<Box<dyn BusMember>>>,
    /// The most messages that came at once.
    largest: Mutex<u64>,
}

impl Losing {
    async fn crash(&self, from: u64) {
        let last = self.inner.peek(&topic(), 0, At::Last).await.unwrap();
        let Peeked::Found(last) = last else { panic!("nothing to lose") };
        assert!(self.inner.lose_from(&topic(), 0, from) > 0);
        self.inner.publish(&topic(), vec![last.message]).await.unwrap();
    }
}

#[async_trait::async_trait]
impl Bus for Losing {
    fn capabilities(&self) -> BusCapabilities {
        let BusCapabilities { batch_messages, batch_bytes, .. } = self.inner.capabilities();
        BusCapabilities::new(Reach::Everywhere, batch_messages, batch_bytes)
    }

    async fn open(&self, topic: &TopicName) -> Result<u32, BusError> {
        self.inner.open(topic).await
    }

    async fn publish(&self, topic: &TopicName, messages: Vec<Message>) -> Result<(), BusError> {
        let largest = (*self.largest.lock().unwrap()).max(messages.len() as u64);
        *self.largest.lock().unwrap() = largest;
        self.inner.publish(topic, messages).await?;
        let crash = self.next_crash.lock().unwrap().take();
        if let Some(from) = crash {
            self.crash(from).await;
        }
        let reads = self.reads.lock().unwrap().take();
        if let Some(mut member) = reads {
            read_all(&mut *member).await;
            *self.reads.lock().unwrap() = Some(member);
        }
        Ok(())
    }

    async fn peek(&self, topic: &TopicName, partition: u32, at: At) -> Result<Peeked, BusError> {
        self.inner.peek(topic, partition, at).await
    }

    async fn join(&self, topic: &TopicName, group: &GroupName) -> Result<Box<dyn BusMember>, BusError> {
        self.inner.join(topic, group).await
    }

    async fn lag(&self, topic: &TopicName, group: &GroupName) -> Result<Lag, BusError> {
        self.inner.lag(topic, group).await
    }
}

struct Scene {
    rows: Arc<Rows>,
    bus: Arc<Losing>,
    /// Reads and commits nothing unless it is told to.
    member: Box<dyn BusMember>,
}

fn topic() -> TopicName {
    TopicName::new("events").unwrap()
}

impl Scene {
    /// Rows from 1 on, of a session whose partition is the only one.
    async fn new(rows: u64) -> Self {
        let mut bytes = [7; 16];
        let session = SessionId::from_bytes(bytes);
        let row = |position: u64| {
            bytes[8..].copy_from_slice(&position.to_be_bytes());
            let envelope = Envelope {
                specversion: "1.0".into(),
                id: OutgoingId::from_bytes(bytes),
                source: "test".into(),
                event_type: "test".into(),
                subject: None,
                time: String::new(),
                datacontenttype: "application/json".into(),
                dataschema: None,
                partitionkey: session.to_string(),
                traceparent: None,
                tenant: Tenant::new("test").unwrap(),
                session,
                sequence: position,
                causation: None,
                correlation: None,
                data: Value::Null,
            };
            let outgoing = Outgoing {
                id: envelope.id,
                sequence: position,
                topic: topic().to_string(),
                written: Timestamp::from_millis(0),
                envelope: serde_json::to_vec(&envelope).unwrap(),
            };
            OutboxItem { position: OutboxPosition(position), session, outgoing }
        };
        let inner = LocalBus::new(LocalBusOptions { partitions: 1, ..LocalBusOptions::default() });
        inner.open(&topic()).await.unwrap();
        let member = inner.join(&topic(), &GroupName::new("group").unwrap()).await.unwrap();
        let bus = Arc::new(Losing {
            inner,
            next_crash: Mutex::new(None),
            largest: Mutex::new(0),
            reads: Mutex::new(None),
        });
        Self { rows: Arc::new(Rows((1..=rows).map(row).collect())), bus, member }
    }

    /// What a process has that has just become the publisher.
    fn lanes(&self) -> Lanes {
        Lanes::new(self.bus.clone(), self.rows.clone())
    }

    fn rows(&self, positions: impl IntoIterator<Item = u64>) -> Vec<OutboxItem> {
        let place = |position: u64| usize::try_from(position - 1).unwrap();
        positions.into_iter().map(|position| self.rows.0[place(position)].clone()).collect()
    }

    /// What another publisher has sent.
    async fn sent(&self, positions: impl IntoIterator<Item = u64>) {
        let messages = self.rows(positions).iter().map(message).collect();
        self.bus.inner.publish(&topic(), messages).await.unwrap();
    }

    /// The rows that the group is still to be handed, in order, and from then on others.
    async fn handed(&mut self) -> Vec<u64> {
        read_all(&mut *self.member).await
    }
}

async fn read_all(member: &mut dyn BusMember) -> Vec<u64> {
    let read = member.poll(1_000).await.unwrap();
    let ends: Vec<_> = read.last().map(|last| (0, last.offset)).into_iter().collect();
    member.commit(&ends).await.unwrap();
    let positions = read.iter().map(|delivery| {
        let envelope: Envelope = serde_json::from_slice(&delivery.message.payload).unwrap();
        envelope.sequence
    });
    positions.collect()
}

#[tokio::test]
async fn a_publisher_that_takes_over_passes_over_what_is_there() {
    let mut scene = Scene::new(5).await;
    scene.sent(1..=3).await;
    scene.lanes().publish(&scene.rows(1..=5)).await.unwrap();
    assert_eq!(scene.handed().await, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_loss_is_found_where_all_that_was_kept_is_out_of_sight() {
    let mut scene = Scene::new(5).await;
    scene.sent(1..=2).await;
    scene.handed().await;
    scene.sent(3..=5).await;
    scene.bus.crash(2).await;

    scene.lanes().publish(&scene.rows(1..=5)).await.unwrap();
    let handed = scene.handed().await;
    assert!([3, 4].iter().all(|row| handed.contains(row)), "{handed:?}");
}

#[tokio::test]
async fn the_last_message_of_a_batch_does_not_speak_for_the_others() {
    let mut scene = Scene::new(3).await;
    // It stands there three times: so the end of the partition is further off than rows make believe.
    for _ in 0..3 {
        scene.sent([1]).await;
    }
    let mut lanes = scene.lanes();
    *scene.bus.next_crash.lock().unwrap() = Some(2);
    let trouble = lanes.publish(&scene.rows(1..=3)).await.unwrap_err();
    assert!(matches!(trouble, Trouble::NotShown { .. }), "{trouble}");

    lanes.publish(&scene.rows(1..=3)).await.unwrap();
    let handed = scene.handed().await;
    assert!(handed.ends_with(&[2, 3]), "{handed:?}");
}

#[tokio::test]
async fn what_is_lost_while_more_is_published_comes_again() {
    for reads in [false, true] {
        let Scene { rows, bus, member } = Scene::new(40).await;
        let mut lanes = Lanes::new(bus.clone(), rows.clone());
        lanes.publish(&rows.0[..10]).await.unwrap();
        assert_eq!(lanes.look_back().await.unwrap(), None);
        assert_eq!(bus.inner.lose_from(&topic(), 0, 5), 5);
        // The next ones take the places of what was lost; and the groups may have read them before anybody can look.
        let mut member = Some(member);
        if reads {
            *bus.reads.lock().unwrap() = member.take();
        }
        let trouble = lanes.publish(&rows.0[10..20]).await.unwrap_err();
        assert!(matches!(trouble, Trouble::NotShown { .. }), "{trouble}");
        let back = lanes.look_back().await.unwrap().unwrap();
        assert!(back <= OutboxPosition(5), "{back:?}");

        let again = rows.kept(back, 1_000).await.unwrap();
        lanes.publish(&again).await.unwrap();
        assert_eq!(lanes.topics[&topic()][0].through(), OutboxPosition(40));
        let Some(mut member) = member else { continue };
        let handed = read_all(&mut *member).await;
        assert!((1..=40).all(|row| handed.contains(&row)), "{handed:?}");
    }
}

#[tokio::test]
async fn what_is_lost_while_another_publishes_in_its_place_comes_again() {
    let Scene { rows, bus, .. } = Scene::new(12).await;
    let mut lanes = Lanes::new(bus.clone(), rows.clone());
    lanes.publish(&rows.0[..10]).await.unwrap();
    assert_eq!(bus.inner.lose_from(&topic(), 0, 8), 2);
    bus.inner.publish(&topic(), rows.0[..2].iter().map(message).collect()).await.unwrap();
    let trouble = lanes.publish(&rows.0[10..]).await.unwrap_err();
    assert!(matches!(trouble, Trouble::NotShown { .. }), "{trouble}");
    assert!(lanes.look_back().await.unwrap().is_some_and(|back| back <= OutboxPosition(8)));
}

#[tokio::test]
async fn where_a_later_one_was_lost_what_is_out_of_sight_may_be_lost_too() {
    let mut scene = Scene::new(6).await;
    let mut lanes = scene.lanes();
    lanes.publish(&scene.rows(1..=3)).await.unwrap();
    lanes.publish(&scene.rows(4..=6)).await.unwrap();
    // From the second on all is lost. Late messages of others take the places, and most of them are read and let go of.
    assert_eq!(scene.bus.inner.lose_from(&topic(), 0, 1), 5);
    scene.sent([6, 4, 5]).await;
    scene.handed().await;
    scene.sent([4, 5]).await;

    let back = lanes.look_back().await.unwrap();
    assert!(back.is_some_and(|back| back <= OutboxPosition(1)), "{back:?}");
    lanes.publish(&scene.rows(1..=6)).await.unwrap();
    let handed = scene.handed().await;
    assert!([2, 3].iter().all(|row| handed.contains(row)), "{handed:?}");
}

#[tokio::test]
async fn what_stands_twice_counts_where_all_before_it_is_there() {
    let scene = Scene::new(4).await;
    scene.sent([1, 2, 4, 3, 4]).await;
    let mut lanes = scene.lanes();
    lanes.publish(&scene.rows(1..=4)).await.unwrap();
    assert!(lanes.look_back().await.unwrap().is_none(), "all of it is there");

    // The first 4 is still there, and 3 is not.
    assert_eq!(scene.bus.inner.lose_from(&topic(), 0, 3), 2);
    assert_eq!(lanes.look_back().await.unwrap(), Some(OutboxPosition(2)));
}

#[tokio::test]
async fn a_batch_that_comes_late_hides_no_loss() {
    // What a publisher may have under way when it dies.
    let scene = Scene::new(300).await;
    scene.lanes().publish(&scene.rows(1..=300)).await.unwrap();
    let most = *scene.bus.largest.lock().unwrap();

    // One that comes twice, or two after one another.
    for late in [[12, 12], [12, 12 + most]] {
        let mut scene = Scene::new(300).await;
        scene.sent(1..=11).await;
        scene.bus.crash(6).await;
        for first in late {
            scene.sent(first..first + most).await;
        }
        scene.lanes().publish(&scene.rows(1..=300)).await.unwrap();
        let handed = scene.handed().await;
        assert!((7..=10).all(|row| handed.contains(&row)), "{handed:?}");
    }
}

#[tokio::test]
async fn what_all_have_read_before_it_could_be_looked_at_was_there() {
    let Scene { rows, bus, member } = Scene::new(40).await;
    *bus.reads.lock().unwrap() = Some(member);
    let mut lanes = Lanes::new(bus.clone(), rows.clone());
    lanes.publish(&rows.0[..20]).await.unwrap();

    // Another's has come between: once it is not sure, and then it is.
    bus.inner.publish(&topic(), vec![message(&rows.0[0])]).await.unwrap();
    let trouble = lanes.publish(&rows.0).await.unwrap_err();
    assert!(matches!(trouble, Trouble::NotShown { .. }), "{trouble}");
    lanes.publish(&rows.0).await.unwrap();
    assert_eq!(lanes.topics[&topic()][0].through(), OutboxPosition(40));
}
