//! Handlers: the host's own code for events.

use std::fmt;
use std::ops::RangeInclusive;

use async_trait::async_trait;

use crate::data::Envelope;
use crate::words::SessionId;

/// Handles events. A closure that takes an [`Envelope`] and returns a future is one, too.
///
/// It is called for the events of a session in the order of their sequences, one after another, and for those of
/// different sessions at once. Each event comes **at least once**: after a crash, or when another process takes the
/// work over, some come again. What must happen once is done under [`Envelope::id`], or in one transaction with the
/// mark (docs/GUARANTEES.md says how).
#[async_trait]
pub trait EventHandler: Send + Sync + 'static {
    /// Handles one event. After an error, a panic, or more than `Limits::handler_ms`, the session's events wait, those
    /// of others go on, and the same event is tried again after a pause that grows up to `Limits::handler_pause_ms`.
    /// There is no end to the tries: dead letters do not exist yet.
    ///
    /// # Errors
    /// [`HandlerError`]: any error, by `?`.
    ///
    /// # Cancel safety
    /// It is dropped when it takes too long, or when the shell stops; the event then comes again.
    async fn handle(&self, event: Envelope) -> Result<(), HandlerError>;

    /// Is told of events that can't be delivered any more: they were written so long ago that the outbox has let go of
    /// them (`Limits::outbox_keep_ms`). A new group is told so of what happened long before it. What they told of
    /// stands in the journal. After a panic, or more than `Limits::handler_ms`, it is told again, as an event is handled
    /// again, and the session's events wait.
    ///
    /// # Cancel safety
    /// As `handle`.
    async fn missed(&self, session: SessionId, sequences: RangeInclusive<u64>) {
        tracing::warn!(%session, ?sequences, "events can't be delivered any more");
    }
}

#[async_trait]
impl<H, F> EventHandler for H
where
    H: Fn(Envelope) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), HandlerError>> + Send,
{
    async fn handle(&self, event: Envelope) -> Result<(), HandlerError> {
        self(event).await
    }
}

/// Why an event was not handled. Any error becomes one by `?`; it does not implement [`std::error::Error`], so that
/// `?` can do so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandlerError {
    reason: String,
}

impl HandlerError {
    /// An event was not handled, for this reason. It goes into the log: it must hold no text of a user.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl<E: std::error::Error> From<E> for HandlerError {
    fn from(error: E) -> Self {
        Self::new(error.to_string())
    }
}
