//! What the publisher knows of each partition: how far it has the outbox's rows, and by which messages it can tell.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::data::Envelope;
use crate::ports::{
    At, Bus, BusError, Delivery, Message, Outbox, OutboxItem, OutboxPosition, Peeked, Reach, StoreError,
    route,
};
use crate::words::{InvalidName, OutgoingId, TopicName};

/// Messages of a partition by which its publisher finds the end of what was not lost.
const REMEMBERED: usize = 64;

/// Messages that a partition is given at once: so few that three batches which arrive late, from publishers that have died,
/// do not hide from whoever takes over what stood before them.
const AT_ONCE: usize = REMEMBERED / 4;

/// Messages of a partition that are looked at to find as many rows, when some stand there twice or are no rows any more.
const LOOKED_AT: usize = 4 * REMEMBERED;

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
    /// The offset after the last message, when it was last looked at: a partition that is shorter later has lost some.
    end: u64,
}

#[derive(Clone, Copy)]
struct Seen {
    offset: u64,
    id: OutgoingId,
    /// The partition's rows up to here stood at this offset or before it when it was looked at: a bus that has the message in
    /// its place has lost none of them.
    through: OutboxPosition,
}

/// The end of a partition, as the bus shows it to whoever takes over.
#[derive(Default)]
struct Tail {
    /// Messages whose rows are there, in the order of the bus: their offsets, their ids, and where their rows are.
    messages: Vec<(u64, OutgoingId, OutboxPosition)>,
    /// Rows up to here are taken to stand before these messages.
    after: OutboxPosition,
    /// The offset after the last message, whoever's it is.
    end: u64,
}

impl Lane {
    /// The rows of this partition up to here are on the bus.
    fn through(&self) -> OutboxPosition {
        self.seen.back().map_or_else(OutboxPosition::default, |seen| seen.through)
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
                let mut is_lost = false;
                while let Some(seen) = lane.seen.back() {
                    match self.bus.peek(topic, partition, At::Offset(seen.offset)).await? {
                        Peeked::Found(delivery) if delivery.message.id == seen.id => break,
                        // Where a later one was lost, others may have stood here, and have been read.
                        Peeked::Past if !is_lost => break,
                        Peeked::Found(_) | Peeked::Nothing | Peeked::Past => is_lost = true,
                    }
                    tracing::warn!(%topic, partition, "the bus lost events; they are published again");
                    lane.seen.pop_back();
                    // At least so far it reaches, if what is left is there.
                    lane.end = lane.seen.back().map_or(0, |seen| seen.offset + 1);
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
            // For each partition what it gets: the ids, in order, and the last row.
            let mut gets: BTreeMap<u32, (Vec<OutgoingId>, OutboxPosition)> = BTreeMap::new();
            let mut taken = 0;
            for row in rest.iter().take_while(|row| row.outgoing.topic == topic.as_str()) {
                let message = message(row);
                let partition = route(&message.key, partitions);
                if row.position > lanes[partition as usize].through() {
                    let is_full = batch.len() >= capabilities.batch_messages
                        || bytes + message.bytes() > capabilities.batch_bytes
                        || gets.get(&partition).is_some_and(|(ids, _)| ids.len() >= AT_ONCE);
                    if is_full && !batch.is_empty() {
                        break;
                    }
                    let (ids, through) = gets.entry(partition).or_default();
                    bytes += message.bytes();
                    ids.push(message.id);
                    *through = row.position;
                    batch.push(message);
                }
                taken += 1;
            }
            if !batch.is_empty() {
                self.bus.publish(&topic, batch).await?;
            }
            let mut not_shown = None;
            // All of them are looked at, so that the next round knows how long each has become.
            for (partition, (ids, through)) in gets {
                let lane = &mut lanes[partition as usize];
                match shown(&*self.bus, (&topic, partition), &ids, lane).await? {
                    Shown::All { offset, id } => lane.remember(Seen { offset, id, through }),
                    Shown::NotAll => not_shown = not_shown.or(Some(partition)),
                    Shown::Shorter => {
                        tracing::warn!(%topic, partition, "the bus lost events; all that are kept are published again");
                        lane.seen.clear();
                        self.back = Some(OutboxPosition::default());
                        not_shown = not_shown.or(Some(partition));
                    }
                }
            }
            if let Some(partition) = not_shown {
                return Err(Trouble::NotShown { topic, partition });
            }
            rest = &rest[taken..];
        }
        Ok(())
    }

    /// Opens a topic that was not met yet, and finds out what is in it: how far the partition has all rows one after
    /// another. The last message alone does not tell, for the bus may have lost some before it and taken it in their place.
    async fn meet(&mut self, topic: &TopicName) -> Result<(), Trouble> {
        if self.topics.contains_key(topic) {
            return Ok(());
        }
        let partitions = self.bus.open(topic).await?.max(1);
        let mut lanes = Vec::new();
        for partition in 0..partitions {
            let tail = self.tail(topic, partition).await?;
            let mut rows = self.rows_there(topic, (partition, partitions), &tail).await?;
            let mut lane = Lane { end: tail.end, ..Lane::default() };
            let mut there = BTreeSet::new();
            let mut newest = None;
            for &(offset, id, position) in &tail.messages {
                there.insert(id);
                newest = newest.max(Some(position));
                let before = lane.through();
                let mut through = before;
                while let Some((_, position)) = rows.pop_front_if(|(id, _)| there.contains(id)) {
                    through = position;
                }
                if through > before {
                    lane.remember(Seen { offset, id, through });
                }
            }
            if newest > Some(lane.through()) {
                tracing::warn!(%topic, partition, "the bus does not show all events before its last ones; they are published again");
            }
            lanes.push(lane);
        }
        self.topics.insert(topic.clone(), lanes);
        Ok(())
    }

    /// The latest messages of a partition whose rows are there, and what may be said of the rows before them: nothing, where
    /// the bus has let go of what stood there. A crash may have taken it, and other messages its place. A bus of this process
    /// alone loses nothing. Further back than so many rows no loss is looked for.
    async fn tail(&self, topic: &TopicName, partition: u32) -> Result<Tail, Trouble> {
        let mut messages = Vec::new();
        let mut positions = BTreeSet::new();
        let mut is_known_before = self.bus.capabilities().reach == Reach::Process;
        let (mut at, mut end) = (At::Last, 0);
        for _ in 0..LOOKED_AT {
            let Peeked::Found(Delivery { offset, message, .. }) = self.bus.peek(topic, partition, at).await?
            else {
                break;
            };
            end = end.max(offset + 1);
            if let Some(position) = self.row_of(&message).await? {
                messages.push((offset, message.id, position));
                positions.insert(position);
            }
            let Some(before) = offset.checked_sub(1) else {
                // Nothing ever stood before it, so what is not among these is not there.
                is_known_before = false;
                break;
            };
            if positions.len() >= REMEMBERED {
                is_known_before = true;
                break;
            }
            at = At::Offset(before);
        }
        messages.reverse();
        let first = positions.first().filter(|_| is_known_before);
        let after = first.map(|first| OutboxPosition(first.0.saturating_sub(1))).unwrap_or_default();
        Ok(Tail { messages, after, end })
    }

    /// The rows of a partition that are among its latest messages, in order, up to the first that is not.
    async fn rows_there(
        &self,
        topic: &TopicName,
        (partition, partitions): (u32, u32),
        tail: &Tail,
    ) -> Result<VecDeque<(OutgoingId, OutboxPosition)>, Trouble> {
        let ids: BTreeSet<OutgoingId> = tail.messages.iter().map(|(_, id, _)| *id).collect();
        let last = tail.messages.iter().map(|(_, _, position)| *position).max().unwrap_or_default();
        let (mut there, mut after) = (VecDeque::new(), tail.after);
        while after < last {
            let rows = self.outbox.kept(after, PAGE).await?;
            let Some(read) = rows.last() else { break };
            after = read.position;
            for row in rows.iter().take_while(|row| row.position <= last) {
                if row.outgoing.topic != topic.as_str()
                    || route(&row.session.to_string(), partitions) != partition
                {
                    continue;
                }
                if !ids.contains(&row.outgoing.id) {
                    return Ok(there);
                }
                there.push_back((row.outgoing.id, row.position));
            }
        }
        Ok(there)
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

/// What a bus shows of messages that it has accepted.
enum Shown {
    /// All of them, and what stood before. This is the last one's place.
    All { offset: u64, id: OutgoingId },
    /// Not all of them, or another's behind them, or not what stood before.
    NotAll,
    /// The partition is shorter than what it had, and these added to it: it has lost some.
    Shorter,
}

/// Looks whether a partition ends with these messages, which it was just given, and still has what it had before. That the
/// last one is there does not tell of the others: the bus may have lost them and taken the last one again. What it has let
/// go of, because all groups have read it, is taken to be theirs if the partition has grown by as many as they are.
async fn shown(
    bus: &dyn Bus,
    (topic, partition): (&TopicName, u32),
    ids: &[OutgoingId],
    lane: &mut Lane,
) -> Result<Shown, BusError> {
    let Peeked::Found(last) = bus.peek(topic, partition, At::Last).await? else { return Ok(Shown::NotAll) };
    let grown_to = lane.end + ids.len() as u64;
    let end = last.offset + 1;
    lane.end = end;
    if end < grown_to {
        return Ok(Shown::Shorter);
    }
    if ids.last() != Some(&last.message.id) {
        return Ok(Shown::NotAll);
    }
    let all = Shown::All { offset: last.offset, id: last.message.id };
    // A bus of this process alone loses nothing.
    if bus.capabilities().reach == Reach::Process {
        return Ok(all);
    }
    if let Some(seen) = lane.seen.back() {
        match bus.peek(topic, partition, At::Offset(seen.offset)).await? {
            Peeked::Found(delivery) if delivery.message.id == seen.id => {}
            Peeked::Past => {}
            Peeked::Found(_) | Peeked::Nothing => return Ok(Shown::NotAll),
        }
    }
    for (before, id) in (1..).zip(ids.iter().rev().skip(1)) {
        let Some(offset) = last.offset.checked_sub(before) else { return Ok(Shown::NotAll) };
        match bus.peek(topic, partition, At::Offset(offset)).await? {
            Peeked::Found(delivery) if delivery.message.id == *id => {}
            Peeked::Past if end == grown_to => break,
            Peeked::Found(_) | Peeked::Nothing | Peeked::Past => return Ok(Shown::NotAll),
        }
    }
    Ok(all)
}
