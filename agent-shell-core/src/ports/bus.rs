//! The bus: how events reach others. It moves what the outbox holds, and is never the only copy of it.

use std::time::Duration;

use async_trait::async_trait;
use sha2::{Digest as _, Sha256};

use crate::words::{GroupName, OutgoingId, Timestamp, TopicName};

/// Topics with partitions, read by groups of consumers.
///
/// # What an implementation must do
/// - **Order**: a partition is a list to which messages are only ever added; each has an offset, one higher than the
///   one before. A message goes to the partition that [`route`] says, and the messages of one `publish` to one
///   partition follow one another as they were given, after those of every `publish` that had returned before. So
///   the messages of a key have an order. Between partitions there is none.
/// - **At least once**: a message that was accepted is handed to every group, until a member of the group commits it.
///   What a member was handed and did not commit is handed out again. A message may be there twice, because its
///   publisher repeats what it is not sure of; the bus need not notice.
/// - **Accepted** means: it has an offset, and is handed out as long as the bus itself is not lost. A bus may lose its
///   tail when it crashes, and use the offsets again. It may not lose anything in front of a message that it has
///   kept. [`Bus::peek`] is how a publisher finds out. A member that had joined before such a loss is cut off: it reads
///   nothing more, and what it commits is refused, for its offsets may be other messages' by now. It joins again.
/// - **Bounded**: what has no room is refused as [`BusError::Full`]. Nothing that was accepted is dropped to make room
///   before every group has committed it.
/// - A group is there from its first `join`, and begins with the first message that the bus still has.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// What the bus can do. It does not change.
    fn capabilities(&self) -> BusCapabilities;

    /// Opens a topic, making it where that is the bus's to do, and returns how many partitions it has. They are
    /// numbered from zero.
    ///
    /// # Errors
    /// [`BusError::NoTopic`] when it is not there and can't be made.
    ///
    /// # Cancel safety
    /// Dropping the future may leave the topic made.
    async fn open(&self, topic: &TopicName) -> Result<u32, BusError>;

    /// Adds messages to a topic that was opened.
    ///
    /// # Errors
    /// After [`BusError::Indeterminate`] any of the messages may have been accepted; after any other error none was.
    ///
    /// # Cancel safety
    /// Dropping the future leaves any of the messages accepted.
    async fn publish(&self, topic: &TopicName, messages: Vec<Message>) -> Result<(), BusError>;

    /// What stands at a place of a partition, whoever has committed it. [`At::Last`] is never [`Peeked::Past`]. A bus that
    /// reaches other processes does well to show the last 256 messages of a partition also when all groups have committed
    /// them: a publisher that takes over and is shown less publishes all rows again that the outbox keeps.
    ///
    /// # Errors
    /// [`BusError`].
    ///
    /// # Cancel safety
    /// Reading has no effect.
    async fn peek(&self, topic: &TopicName, partition: u32, at: At) -> Result<Peeked, BusError>;

    /// Joins a group. Each partition of the topic is assigned to one member of the group at a time; whenever one
    /// joins or leaves, they may be assigned anew. Dropping the member leaves.
    ///
    /// # Errors
    /// [`BusError`].
    ///
    /// # Cancel safety
    /// Dropping the future joins nothing, soon after.
    async fn join(&self, topic: &TopicName, group: &GroupName) -> Result<Box<dyn BusMember>, BusError>;

    /// Whether a topic that was opened has a group: whether anybody waits for what is published there. A bus that
    /// reaches other processes and does not know may say so.
    ///
    /// # Errors
    /// [`BusError::NoTopic`] when the topic was not opened.
    ///
    /// # Cancel safety
    /// Reading has no effect.
    async fn is_awaited(&self, _topic: &TopicName) -> Result<bool, BusError> {
        Ok(true)
    }

    /// How far a group is behind.
    ///
    /// # Errors
    /// [`BusError`]. A group that never joined has everything before it.
    ///
    /// # Cancel safety
    /// Reading has no effect.
    async fn lag(&self, topic: &TopicName, group: &GroupName) -> Result<Lag, BusError>;
}

/// A member of a group.
#[async_trait]
pub trait BusMember: Send + 'static {
    /// The messages after the committed ones in the partitions that are this member's: those of a partition in order,
    /// at most `limit` together. Waits until there is one. Asked again without a commit, it answers the same messages
    /// again.
    ///
    /// # Errors
    /// [`BusError`].
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    async fn poll(&mut self, limit: usize) -> Result<Vec<Delivery>, BusError>;

    /// Commits partitions up to and including these offsets. One that is behind what is committed changes nothing.
    ///
    /// # Errors
    /// [`BusError::NotAssigned`] when one of the partitions is another member's by now; the others are committed.
    ///
    /// # Cancel safety
    /// Dropping the future withdraws nothing.
    async fn commit(&mut self, offsets: &[(u32, u64)]) -> Result<(), BusError>;

    /// The partitions that are this member's now, in order.
    fn assigned(&self) -> Vec<u32>;
}

/// The partition, of so many, to which the messages of a key go: the first eight bytes of the key's SHA-256, as a
/// big-endian number, modulo the number of partitions. Zero partitions count as one.
pub fn route(key: &str, partitions: u32) -> u32 {
    let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
    let first = digest.iter().take(8).fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
    u32::try_from(first % u64::from(partitions.max(1))).unwrap_or(0)
}

/// What a bus can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BusCapabilities {
    /// Who reads what a process publishes.
    pub reach: Reach,
    /// Messages that one `publish` takes at most.
    pub batch_messages: usize,
    /// Bytes of keys and payloads that one `publish` takes at most.
    pub batch_bytes: usize,
}

impl BusCapabilities {
    /// What a bus can do that reaches so far and takes so much at once.
    pub const fn new(reach: Reach, batch_messages: usize, batch_bytes: usize) -> Self {
        Self { reach, batch_messages, batch_bytes }
    }
}

/// Who reads what a process publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reach {
    /// Members in the same process, and nobody else.
    Process,
    /// Members in any process.
    Everywhere,
}

/// A message to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its id, the same whenever it is published again.
    pub id: OutgoingId,
    /// What keeps it in order with others.
    pub key: String,
    /// When it was written; lag in time counts from here.
    pub written: Timestamp,
    /// What it says.
    pub payload: Vec<u8>,
}

impl Message {
    /// What counts against [`BusCapabilities::batch_bytes`].
    pub fn bytes(&self) -> usize {
        self.key.len() + self.payload.len()
    }
}

/// A message as it is handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The partition in which it stands.
    pub partition: u32,
    /// Its place there.
    pub offset: u64,
    /// The message.
    pub message: Message,
}

/// Where to look in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// At the last message.
    Last,
    /// At this offset.
    Offset(u64),
}

/// What stands at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peeked {
    /// This message.
    Found(Delivery),
    /// A message stood there, and the bus has let go of it since, as it may.
    Past,
    /// No message stands there, or it has been lost.
    Nothing,
}

/// How far a group is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lag {
    /// Messages that it has not committed.
    pub messages: u64,
    /// How long ago the oldest of them was written; nothing when there is none.
    pub time: Duration,
}

/// What a bus could not do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BusError {
    /// There is no room until consumers have committed more. Nothing was accepted; try again later.
    #[error("the bus is full: try again when its consumers have read more")]
    Full,
    /// More than one call may bring. Nothing was accepted; bring less.
    #[error("{messages} messages with {bytes} bytes are more than the bus takes at once: bring less")]
    TooLarge {
        /// What was brought.
        messages: usize,
        /// What it holds.
        bytes: usize,
    },
    /// There is no such topic or partition, and it can't be made.
    #[error("there is no {what} on the bus: make it, or ask for another")]
    NoTopic {
        /// What was asked for.
        what: String,
    },
    /// The partition is another member's now: what was read from it will be read there.
    #[error("partition {partition} belongs to another member now: leave it")]
    NotAssigned {
        /// The partition.
        partition: u32,
    },
    /// It is not known what the bus has accepted. Repeat it.
    #[error("the bus did not say what it has accepted: repeat it ({detail})")]
    Indeterminate {
        /// What was said.
        detail: String,
    },
    /// The bus can't be reached. Nothing was done; try again later.
    #[error("the bus is not available: try again ({detail})")]
    Unavailable {
        /// What was said.
        detail: String,
    },
}
