//! A bus in the memory of this process: topics, partitions and groups, bounded, and gone with the process.
//!
//! It never drops a message that a group has not committed: what has no room is refused, and stays in the outbox. A group
//! is there from its first `join` until [`LocalBus::forget`], whether it has members or not, and without any group a topic
//! keeps what it has for the first one. A shell publishes nothing to a topic without a group. One bus is for the shells of
//! one store. After the process has ended, the outbox delivers again what was in it. It never does I/O, and starts nothing.

mod member;
mod options;
#[cfg(test)]
mod tests;
mod topic;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use tokio::sync::Notify;

pub use options::LocalBusOptions;

use self::member::LocalMember;
use self::topic::Topic;
use super::SystemClock;
use crate::ports::{At, Bus, BusCapabilities, BusError, BusMember, Lag, Message, Peeked, Reach, route};
use crate::words::{Clock, GroupName, TopicName};

/// A bus in memory. Clones are the same bus.
///
/// ```
/// use agent_shell_core::backends::local_bus::LocalBus;
/// use agent_shell_core::ports::{Bus, Message};
/// use agent_shell_core::words::{GroupName, OutgoingId, Timestamp, TopicName};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let bus = LocalBus::default();
/// let (topic, group) = (TopicName::new("orders")?, GroupName::new("billing")?);
/// bus.open(&topic).await?;
/// let message = Message {
///     id: OutgoingId::from_bytes([1; 16]),
///     key: "A-17".into(),
///     written: Timestamp::default(),
///     payload: b"paid".to_vec(),
/// };
/// bus.publish(&topic, vec![message.clone()]).await?;
/// let mut member = bus.join(&topic, &group).await?;
/// let read = member.poll(10).await?;
/// assert_eq!(read[0].message, message);
/// member.commit(&[(read[0].partition, read[0].offset)]).await?;
/// assert_eq!(bus.lag(&topic, &group).await?.messages, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct LocalBus {
    shared: Arc<Shared>,
}

struct Shared {
    options: LocalBusOptions,
    clock: Arc<dyn Clock>,
    topics: Mutex<BTreeMap<TopicName, Topic>>,
    /// Told whenever a member may find something that it did not find before.
    changed: Notify,
}

impl Shared {
    fn topics(&self) -> MutexGuard<'_, BTreeMap<TopicName, Topic>> {
        self.topics.lock().expect("nothing panics while it holds the lock of this bus")
    }

    /// Does something with a topic that was opened.
    fn on<T>(
        &self,
        name: &TopicName,
        work: impl FnOnce(&mut Topic) -> Result<T, BusError>,
    ) -> Result<T, BusError> {
        match self.topics().get_mut(name) {
            Some(topic) => work(topic),
            None => Err(BusError::NoTopic { what: format!("topic `{name}`") }),
        }
    }
}

impl LocalBus {
    /// An empty bus on the operating system's clock.
    pub fn new(options: LocalBusOptions) -> Self {
        Self::with_clock(options, Arc::new(SystemClock::new()))
    }

    /// An empty bus whose lag is measured by this clock.
    pub fn with_clock(options: LocalBusOptions, clock: Arc<dyn Clock>) -> Self {
        let (topics, changed) = (Mutex::default(), Notify::new());
        Self { shared: Arc::new(Shared { options, clock, topics, changed }) }
    }

    /// Forgets a group that will not come back, so that nothing is kept for it. Its members are assigned nothing from
    /// then on. Returns whether there was one.
    pub fn forget(&self, topic: &TopicName, group: &GroupName) -> bool {
        let forgotten = self.shared.on(topic, |topic| Ok(topic.forget(group))).unwrap_or(false);
        self.shared.changed.notify_waiters();
        forgotten
    }

    /// Loses the messages of a partition from an offset on, as a bus does that crashes: the offsets are used again, and no
    /// group is further than there. Returns how many offsets are free again. For simulations.
    #[cfg(feature = "simulation")]
    pub fn lose_from(&self, topic: &TopicName, partition: u32, offset: u64) -> u64 {
        let lost = self.shared.on(topic, |topic| Ok(topic.lose_from(partition, offset))).unwrap_or(0);
        self.shared.changed.notify_waiters();
        lost
    }
}

impl Default for LocalBus {
    fn default() -> Self {
        Self::new(LocalBusOptions::default())
    }
}

#[async_trait]
impl Bus for LocalBus {
    fn capabilities(&self) -> BusCapabilities {
        let options = &self.shared.options;
        BusCapabilities::new(Reach::Process, options.messages.min(options.batch_messages), options.bytes)
    }

    async fn open(&self, topic: &TopicName) -> Result<u32, BusError> {
        let options = &self.shared.options;
        let mut topics = self.shared.topics();
        if !topics.contains_key(topic) && topics.len() >= options.topics {
            return Err(BusError::NoTopic { what: format!("room for a topic `{topic}`") });
        }
        Ok(topics.entry(topic.clone()).or_insert_with(|| Topic::new(options.partitions)).partitions())
    }

    async fn publish(&self, topic: &TopicName, messages: Vec<Message>) -> Result<(), BusError> {
        let (count, bytes) = (messages.len(), messages.iter().map(Message::bytes).sum());
        let capabilities = self.capabilities();
        if count > capabilities.batch_messages || bytes > capabilities.batch_bytes {
            return Err(BusError::TooLarge { messages: count, bytes });
        }
        let options = &self.shared.options;
        self.shared.on(topic, |topic| {
            if topic.messages() + count > options.messages || topic.bytes() + bytes > options.bytes {
                return Err(BusError::Full);
            }
            let partitions = topic.partitions();
            messages.into_iter().for_each(|message| topic.add(route(&message.key, partitions), message));
            Ok(())
        })?;
        self.shared.changed.notify_waiters();
        Ok(())
    }

    async fn peek(&self, topic: &TopicName, partition: u32, at: At) -> Result<Peeked, BusError> {
        self.shared.on(topic, |topic| topic.peek(partition, at))
    }

    async fn join(&self, topic: &TopicName, group: &GroupName) -> Result<Box<dyn BusMember>, BusError> {
        let id = self.shared.on(topic, |topic| topic.join(group, self.shared.options.groups))?;
        self.shared.changed.notify_waiters();
        Ok(Box::new(LocalMember::new(self.shared.clone(), topic.clone(), group.clone(), id)))
    }

    async fn is_awaited(&self, topic: &TopicName) -> Result<bool, BusError> {
        self.shared.on(topic, |topic| Ok(topic.has_groups()))
    }

    async fn lag(&self, topic: &TopicName, group: &GroupName) -> Result<Lag, BusError> {
        let now = self.shared.clock.now();
        self.shared.on(topic, |topic| Ok(topic.lag(group, now)))
    }
}

impl fmt::Debug for LocalBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalBus").field("options", &self.shared.options).finish_non_exhaustive()
    }
}
