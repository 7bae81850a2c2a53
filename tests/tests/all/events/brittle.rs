//! A bus that can be broken in the ways in which buses break: it loses its tail, takes other messages in its place,
//! accepts and does not say so, refuses, and passes over a message.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use agent_shell_core::ports::{
    At, Bus, BusCapabilities, BusError, BusMember, Delivery, Lag, Message, Peeked, Reach, route,
};
use agent_shell_core::words::{GroupName, OutgoingId, TopicName};
use async_trait::async_trait;
use tokio::sync::Notify;

const PARTITIONS: u32 = 3;

/// One topic. Clones are the same bus.
#[derive(Clone, Default)]
pub(super) struct Brittle(Arc<Inner>);

#[derive(Default)]
struct Inner {
    log: Mutex<Log>,
    changed: Notify,
    refuses: AtomicBool,
    /// Members are told that they have no partition, though they are given messages that were on their way.
    unassigned: AtomicBool,
    /// So many calls are carried out and not answered.
    unanswered: AtomicU32,
}

#[derive(Default)]
struct Log {
    partitions: BTreeMap<u32, Vec<Message>>,
    committed: BTreeMap<(GroupName, u32), u64>,
    hidden: BTreeSet<OutgoingId>,
}

impl Brittle {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.0.log.lock().unwrap()
    }

    pub(super) fn refuse(&self, refuses: bool) {
        self.0.refuses.store(refuses, Ordering::SeqCst);
    }

    pub(super) fn assign(&self, assigned: bool) {
        self.0.unassigned.store(!assigned, Ordering::SeqCst);
    }

    pub(super) fn do_not_answer(&self, calls: u32) {
        self.0.unanswered.store(calls, Ordering::SeqCst);
    }

    /// Loses all but the first `kept` messages of each partition. What was committed stays committed, as offsets.
    pub(super) fn lose_after(&self, kept: usize) {
        self.log().partitions.values_mut().for_each(|partition| partition.truncate(kept));
    }

    /// Loses the last message of each partition, and takes another in its place.
    pub(super) fn overwrite_last(&self) {
        for message in self.log().partitions.values_mut().filter_map(|partition| partition.last_mut()) {
            message.id = OutgoingId::from_bytes([0xff; 16]);
            message.payload = b"something else".to_vec();
        }
    }

    /// Keeps so many messages of each partition, and takes the last one in the place of those that it lost.
    pub(super) fn overwrite_after(&self, kept: usize) {
        for partition in self.log().partitions.values_mut().filter(|partition| partition.len() > kept + 1) {
            let last = partition.pop();
            partition.truncate(kept);
            partition.extend(last);
        }
    }

    /// Hands out no message of this id any more.
    pub(super) fn hide(&self, id: OutgoingId) {
        self.log().hidden.insert(id);
    }

    /// The ids of all messages, with repeats.
    pub(super) fn ids(&self) -> Vec<OutgoingId> {
        self.log().partitions.values().flatten().map(|message| message.id).collect()
    }
}

#[async_trait]
impl Bus for Brittle {
    fn capabilities(&self) -> BusCapabilities {
        BusCapabilities::new(Reach::Everywhere, 5, 100_000)
    }

    async fn open(&self, _: &TopicName) -> Result<u32, BusError> {
        Ok(PARTITIONS)
    }

    async fn publish(&self, _: &TopicName, messages: Vec<Message>) -> Result<(), BusError> {
        assert!(messages.len() <= 5, "the bus said how much it takes at once");
        if self.0.refuses.load(Ordering::SeqCst) {
            return Err(BusError::Unavailable { detail: "it refuses".into() });
        }
        for message in messages {
            let partition = route(&message.key, PARTITIONS);
            self.log().partitions.entry(partition).or_default().push(message);
        }
        self.0.changed.notify_waiters();
        let one_less = |left: u32| left.checked_sub(1);
        match self.0.unanswered.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less) {
            Ok(_) => Err(BusError::Indeterminate { detail: "the answer was lost".into() }),
            Err(_) => Ok(()),
        }
    }

    async fn peek(&self, _: &TopicName, partition: u32, at: At) -> Result<Peeked, BusError> {
        let log = self.log();
        let messages = log.partitions.get(&partition).map(Vec::as_slice).unwrap_or_default();
        let offset = match at {
            At::Last => (messages.len() as u64).wrapping_sub(1),
            At::Offset(offset) => offset,
        };
        let message = usize::try_from(offset).ok().and_then(|offset| messages.get(offset));
        Ok(message.map_or(Peeked::Nothing, |message| {
            Peeked::Found(Delivery { partition, offset, message: message.clone() })
        }))
    }

    async fn join(&self, _: &TopicName, group: &GroupName) -> Result<Box<dyn BusMember>, BusError> {
        Ok(Box::new(Member { bus: self.clone(), group: group.clone() }))
    }

    async fn lag(&self, _: &TopicName, _: &GroupName) -> Result<Lag, BusError> {
        Ok(Lag::default())
    }
}

struct Member {
    bus: Brittle,
    group: GroupName,
}

#[async_trait]
impl BusMember for Member {
    async fn poll(&mut self, limit: usize) -> Result<Vec<Delivery>, BusError> {
        loop {
            let changed = self.bus.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let mut read = Vec::new();
            {
                let log = self.bus.log();
                for (&partition, messages) in &log.partitions {
                    let next = log.committed.get(&(self.group.clone(), partition)).copied().unwrap_or(0);
                    let rest = (0..).zip(messages).skip(next as usize);
                    let rest = rest.filter(|(_, message)| !log.hidden.contains(&message.id));
                    read.extend(rest.map(|(offset, message)| Delivery {
                        partition,
                        offset,
                        message: message.clone(),
                    }));
                }
            }
            read.truncate(limit);
            if !read.is_empty() {
                return Ok(read);
            }
            changed.await;
        }
    }

    async fn commit(&mut self, offsets: &[(u32, u64)]) -> Result<(), BusError> {
        for &(partition, offset) in offsets {
            let mut log = self.bus.log();
            let next = log.committed.entry((self.group.clone(), partition)).or_default();
            *next = (*next).max(offset + 1);
        }
        Ok(())
    }

    fn assigned(&self) -> Vec<u32> {
        if self.bus.0.unassigned.load(Ordering::SeqCst) { Vec::new() } else { (0..PARTITIONS).collect() }
    }
}
