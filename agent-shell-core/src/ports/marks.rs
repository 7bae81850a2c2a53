//! Marks: how far each group of consumers is in each session.

use async_trait::async_trait;

use super::store::StoreError;
use crate::words::{GroupName, SessionId};

/// One high-water mark for each group and session.
///
/// # What an implementation must do
/// - **Only upwards**: each number of a mark only grows, whoever saves what in which order.
/// - **Durable on return**, as the store that it belongs to.
#[async_trait]
pub trait Marks: Send + Sync + 'static {
    /// The marks of these sessions, in the same order; zeros for a session that has none.
    ///
    /// # Errors
    /// [`StoreError`].
    ///
    /// # Cancel safety
    /// Reading has no effect.
    async fn load(&self, group: &GroupName, sessions: &[SessionId]) -> Result<Vec<HighWater>, StoreError>;

    /// Raises marks, all of them or none. What is lower than what is kept changes nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    ///
    /// # Cancel safety
    /// Dropping the future withdraws nothing.
    async fn save(&self, group: &GroupName, marks: &[(SessionId, HighWater)]) -> Result<(), StoreError>;

    /// The sessions after `after`, in the order of their ids, of which the group has seen more than it has done; at
    /// most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    ///
    /// # Cancel safety
    /// Reading has no effect.
    async fn behind(
        &self,
        group: &GroupName,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<(SessionId, HighWater)>, StoreError>;
}

/// How far a group is in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HighWater {
    /// Every event up to this sequence is done: one that comes again is dropped.
    pub done: u64,
    /// The highest sequence that the group has taken from the bus. What lies between is owed, and read from the outbox.
    pub seen: u64,
}

impl HighWater {
    /// The higher of both numbers.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self { done: self.done.max(other.done), seen: self.seen.max(other.seen) }
    }
}
