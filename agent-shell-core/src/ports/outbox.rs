//! The outbox: envelopes that were committed with the records they tell of, on their way to a bus.

use async_trait::async_trait;

use super::store::StoreError;
use crate::words::{OutgoingId, SessionId, Timestamp};

/// What a publisher reads and acknowledges. Rows are written inside appends
/// ([`Append::outbox`](super::Append::outbox)).
///
/// # What an implementation must do
/// - `pending` returns rows in the order of their positions, which is an order of commit: a row that is committed
///   later has a higher position, so that a publisher which remembers a position misses nothing.
/// - A session's rows have contiguous sequences from 1; an append that breaks this is refused as `Corrupt`.
/// - Rows stay until they are acknowledged **and** trimmed.
#[async_trait]
pub trait Outbox: Send + Sync + 'static {
    /// The rows after `after` that are not acknowledged, in order, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    ///
    /// # Cancel safety
    /// Reading has no effect.
    async fn pending(&self, after: OutboxPosition, limit: usize) -> Result<Vec<OutboxItem>, StoreError>;

    /// The rows after `after`, acknowledged or not, in order, at most `limit`: for a publisher that has to find out
    /// what a bus has lost.
    ///
    /// # Errors
    /// [`StoreError`].
    ///
    /// # Cancel safety
    /// Reading has no effect.
    async fn kept(&self, after: OutboxPosition, limit: usize) -> Result<Vec<OutboxItem>, StoreError>;

    /// Marks every row up to and including `through` as delivered.
    ///
    /// # Errors
    /// [`StoreError`].
    ///
    /// # Cancel safety
    /// Dropping the future does not withdraw the acknowledgement.
    async fn acknowledge(&self, through: OutboxPosition) -> Result<(), StoreError>;

    /// A session's rows from `sequence` on, acknowledged or not, in order, at most `limit`: for a consumer that
    /// found a gap.
    ///
    /// # Errors
    /// [`StoreError`].
    ///
    /// # Cancel safety
    /// Reading has no effect.
    async fn replay(
        &self,
        session: SessionId,
        sequence: u64,
        limit: usize,
    ) -> Result<Vec<OutboxItem>, StoreError>;

    /// Removes acknowledged rows that were written before `before`; returns how many. It may leave those that stand
    /// behind very many younger ones to a later call.
    ///
    /// # Errors
    /// [`StoreError`].
    ///
    /// # Cancel safety
    /// Dropping the future does not withdraw the removal.
    async fn trim(&self, before: Timestamp) -> Result<u64, StoreError>;
}

/// A place in the outbox, in the order of commits. Zero stands before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct OutboxPosition(pub u64);

/// An envelope to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Its id.
    pub id: OutgoingId,
    /// Contiguous within the session, from 1.
    pub sequence: u64,
    /// The topic it is for.
    pub topic: String,
    /// When it was written.
    pub written: Timestamp,
    /// The envelope's JSON.
    pub envelope: Vec<u8>,
}

/// An envelope in the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxItem {
    /// Its place.
    pub position: OutboxPosition,
    /// The session it tells of.
    pub session: SessionId,
    /// What was written.
    pub outgoing: Outgoing,
}
