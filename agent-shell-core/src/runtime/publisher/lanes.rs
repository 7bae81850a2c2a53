//! What the publisher knows of each partition: how far it has the outbox's rows, and by which messages it can tell.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::data::Envelope;
use crate::ports::{
    At, Bus, BusError, Delivery, Message, Outbox, OutboxItem, OutboxPosition, Peeked, StoreError, route,
};
use crate::words::{InvalidName, OutgoingId, TopicName};

/// Messages of a partition by which its publisher finds the end of what was not lost.
const REMEMBERED: usize = 64;

/// Rows of the outbox read at once.
const PAGE: usize = 256;

/// Why a round of publishing did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the bus does not show what it accepted in partition {partition} of `{topic}`")]
    NotShown { topic: TopicName, partition: u32 },
    #[error("a row of the outbox has no valid topic: {0}")]
    Topic(#[from] InvalidName),
}

/// The partitions of all topics that were met.
pub(super) struct Lanes {
    bus: Arc<dyn Bus>,
    outbox: Arc<dyn Outbox>,
    topics: BTreeMap<TopicName, Vec<Lane>>,
    /// Rows after this position must be read again, because the bus has lost some of them.
    back: Option<OutboxPosition>,
}

/// One partition.
#[derive(Default)]
struct Lane {
    /// Messages that were seen in their places, the latest last.
    seen: VecDeque<Seen>,
}

#[derive(Clone, Copy)]
struct Seen {
    offset: u64,
    id: OutgoingId,
    /// The row that it is.
    position: OutboxPosition,
}

impl Lane {
    /// The rows of this partition up to here are on the bus.
    fn through(&self) -> OutboxPosition {
        self.seen.back().map_or_else(OutboxPosition::default, |seen| seen.position)
    }

    /// The offset that a message gets at least that is published now.
    fn end(&self) -> u64 {
        self.seen.back().map_or(0, |seen| seen.offset + 1)
    }

    fn remember(&mut self, seen: Seen) {
        if self.seen.len() >= REMEMBERED {
            self.seen.pop_front();
        }
        self.seen.push_back(seen);
    }
}

impl Lanes {
    pub(super) fn new(bus: Arc<dyn Bus>, outbox: Arc<dyn Outbox>) -> Self {
        Self { bus, outbox, topics: BTreeMap::new(), back: None }
    }

    /// Forgets everything; the bus is asked again.
    pub(super) fn forget(&mut self) {
        self.topics.clear();
        self.back = None;
    }

    /// Looks whether the bus still has what it had. Returns after which position rows must be read again, if it has
    /// not.
    pub(super) async fn look_back(&mut self) -> Result<Option<OutboxPosition>, Trouble> {
        for (topic, lanes) in &mut self.topics {
            for (partition, lane) in (0..).zip(lanes) {
                while let Some(seen) = lane.seen.back() {
                    match self.bus.peek(topic, partition, At::Offset(seen.offset)).await? {
                        Peeked::Found(delivery) if delivery.message.id == seen.id => break,
                        Peeked::Past => break,
                        Peeked::Found(_) | Peeked::Nothing => {}
                    }
                    tracing::warn!(%topic, partition, "the bus lost events; they are published again");
                    lane.seen.pop_back();
                    // Noted at once: the next look may fail, and this one would be forgotten.
                    let through = lane.through();
                    self.back = Some(self.back.map_or(through, |back| back.min(through)));
                }
            }
        }
        Ok(self.back.take())
    }

    /// Publishes rows, in order, except those that the bus has.
    pub(super) async fn publish(&mut self, rows: &[OutboxItem]) -> Result<(), Trouble> {
        let capabilities = self.bus.capabilities();
        let mut rest = rows;
        while let Some(first) = rest.first() {
            let topic = TopicName::new(&first.outgoing.topic)?;
            self.meet(&topic).await?;
            let lanes = self.topics.entry(topic.clone()).or_default();
            let partitions = u32::try_from(lanes.len()).unwrap_or(u32::MAX);
            let mut batch = Vec::new();
            let mut bytes = 0;
            // For each partition what it gets: how many messages, and the last of them.
            let mut ends: BTreeMap<u32, (u64, &OutboxItem)> = BTreeMap::new();
            let mut taken = 0;
            for row in rest.iter().take_while(|row| row.outgoing.topic == topic.as_str()) {
                let message = message(row);
                let partition = route(&message.key, partitions);
                if row.position > lanes[partition as usize].through() {
                    let is_full = batch.len() >= capabilities.batch_messages
                        || bytes + message.bytes() > capabilities.batch_bytes;
                    if is_full && !batch.is_empty() {
                        break;
                    }
                    bytes += message.bytes();
                    batch.push(message);
                    let end = ends.entry(partition).or_insert((0, row));
                    *end = (end.0 + 1, row);
                }
                taken += 1;
            }
            if !batch.is_empty() {
                self.bus.publish(&topic, batch).await?;
            }
            for (partition, (count, row)) in ends {
                let lane = &mut lanes[partition as usize];
                let last = self.bus.peek(&topic, partition, At::Last).await?;
                match last {
                    Peeked::Found(Delivery { offset, message, .. })
                        if message.id == row.outgoing.id && offset + 1 >= lane.end() + count =>
                    {
                        lane.remember(Seen { offset, id: message.id, position: row.position });
                    }
                    _ => return Err(Trouble::NotShown { topic, partition }),
                }
            }
            rest = &rest[taken..];
        }
        Ok(())
    }

    /// Opens a topic that was not met yet, and finds out what is in it: the last message of a partition names the row
    /// up to which the partition has everything, unless the bus lost some before it and took it in their place. So those
    /// before it are looked at, too. Where their rows are not there any more, all rows that are there are newer.
    async fn meet(&mut self, topic: &TopicName) -> Result<(), Trouble> {
        if self.topics.contains_key(topic) {
            return Ok(());
        }
        let partitions = self.bus.open(topic).await?.max(1);
        let mut lanes = Vec::new();
        for partition in 0..partitions {
            let (seen, is_all) = self.latest(topic, partition).await?;
            let hole = self.first_missing(topic, (partition, partitions), &seen, is_all).await?;
            let mut lane = Lane::default();
            for seen in seen {
                if seen.position > lane.through() && hole.is_none_or(|hole| seen.position < hole) {
                    lane.remember(seen);
                }
            }
            if hole.is_some() {
                tracing::warn!(%topic, partition, "the bus lost events before later ones; they are published again");
            }
            lanes.push(lane);
        }
        self.topics.insert(topic.clone(), lanes);
        Ok(())
    }

    /// The latest messages of a partition whose rows are there, in the order of the bus; and whether those are all that it
    /// ever took.
    async fn latest(&self, topic: &TopicName, partition: u32) -> Result<(Vec<Seen>, bool), Trouble> {
        let mut latest = Vec::new();
        let (mut at, mut is_all) = (At::Last, false);
        for _ in 0..REMEMBERED {
            let Peeked::Found(Delivery { offset, message, .. }) = self.bus.peek(topic, partition, at).await?
            else {
                break;
            };
            if let Some(position) = self.row_of(&message).await? {
                latest.push(Seen { offset, id: message.id, position });
            }
            let Some(before) = offset.checked_sub(1) else {
                is_all = true;
                break;
            };
            at = At::Offset(before);
        }
        latest.reverse();
        Ok((latest, is_all))
    }

    /// The first row of a partition that is not on the bus although a later one is, and an earlier one or none at all.
    async fn first_missing(
        &self,
        topic: &TopicName,
        (partition, partitions): (u32, u32),
        seen: &[Seen],
        is_all: bool,
    ) -> Result<Option<OutboxPosition>, Trouble> {
        let ids: BTreeSet<OutgoingId> = seen.iter().map(|seen| seen.id).collect();
        let positions = || seen.iter().map(|seen| seen.position);
        let (Some(first), Some(last)) = (positions().min(), positions().max()) else { return Ok(None) };
        let mut after = if is_all { OutboxPosition::default() } else { first };
        while after < last {
            let rows = self.outbox.kept(after, PAGE).await?;
            let missing = rows.iter().take_while(|row| row.position < last).find(|row| {
                row.outgoing.topic == topic.as_str()
                    && route(&row.session.to_string(), partitions) == partition
                    && !ids.contains(&row.outgoing.id)
            });
            if let Some(missing) = missing {
                return Ok(Some(missing.position));
            }
            let Some(read) = rows.last() else { break };
            after = read.position;
        }
        Ok(None)
    }

    async fn row_of(&self, message: &Message) -> Result<Option<OutboxPosition>, Trouble> {
        let Ok(envelope) = serde_json::from_slice::<Envelope>(&message.payload) else { return Ok(None) };
        let rows = self.outbox.replay(envelope.session, envelope.sequence, 1).await?;
        Ok(rows.first().filter(|row| row.outgoing.id == message.id).map(|row| row.position))
    }
}

fn message(row: &OutboxItem) -> Message {
    Message {
        id: row.outgoing.id,
        key: row.session.to_string(),
        written: row.outgoing.written,
        payload: row.outgoing.envelope.clone(),
    }
}
