//! The events of one session, in order: what was done is dropped, what is missing is read from the outbox.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;

use super::Subscription;
use crate::data::Envelope;
use crate::ports::{HandlerError, OutboxItem};
use crate::words::SessionId;

/// Rows of the outbox read at once.
const PAGE: usize = 64;

impl Subscription {
    /// Handles `events`, which are in order, and everything between `done` and them; then everything up to `through`.
    /// After a full page of the outbox it leaves the rest for another time: who waits for this session does not wait for
    /// a long gap, and a crash does not take all of it back. `done` tells how far it came, also when it fails.
    ///
    /// # Errors
    /// Why it could not go on.
    pub(super) async fn advance(
        &self,
        session: SessionId,
        events: Vec<Envelope>,
        through: u64,
        done: &mut u64,
    ) -> Result<(), String> {
        for event in events {
            let sequence = event.sequence;
            if sequence <= *done {
                continue;
            }
            self.fill(session, sequence - 1, done).await?;
            if *done < sequence - 1 {
                return Ok(());
            }
            self.handle(event).await?;
            *done = sequence;
        }
        self.fill(session, through, done).await
    }

    /// Handles what the outbox has up to `through`, one full page of it at most.
    async fn fill(&self, session: SessionId, through: u64, done: &mut u64) -> Result<(), String> {
        while *done < through {
            let rows = self.core.store.outbox.replay(session, *done + 1, PAGE).await;
            let rows = rows.map_err(|error| error.to_string())?;
            // All of them were committed before this was asked: what is not there now will not come.
            let is_full = rows.len() >= PAGE;
            if rows.is_empty() {
                self.miss(session, through, done).await?;
            }
            for row in rows {
                self.miss(session, through.min(row.outgoing.sequence.saturating_sub(1)), done).await?;
                if *done >= through {
                    break;
                }
                self.handle_row(&row).await?;
                *done = row.outgoing.sequence;
            }
            if is_full {
                break;
            }
        }
        Ok(())
    }

    /// Passes over what can't be had any more, once the handler knows.
    async fn miss(&self, session: SessionId, through: u64, done: &mut u64) -> Result<(), String> {
        if *done < through {
            let missed = self.handler.missed(session, *done + 1..=through);
            self.in_time(missed.map(Ok)).await?;
            *done = through;
        }
        Ok(())
    }

    async fn handle_row(&self, row: &OutboxItem) -> Result<(), String> {
        // A session's sequence goes through all topics; what is for another one is no business of this consumer.
        if row.outgoing.topic != self.topic.as_str() {
            return Ok(());
        }
        let event = serde_json::from_slice(&row.outgoing.envelope);
        self.handle(event.map_err(|error| format!("its envelope can't be read: {error}"))?).await
    }

    async fn handle(&self, event: Envelope) -> Result<(), String> {
        self.in_time(self.handler.handle(event)).await
    }

    /// Waits for the handler, for as long as it may take.
    async fn in_time(&self, handled: impl Future<Output = Result<(), HandlerError>>) -> Result<(), String> {
        let limit = Duration::from_millis(self.core.limits.handler_ms);
        let handled = AssertUnwindSafe(handled).catch_unwind();
        tokio::select! {
            // What is done in the last moment is done. And what is simulated has one order.
            biased;
            handled = handled => match handled {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("the handler panicked".into()),
            },
            () = self.core.clock.sleep(limit) => Err(format!("the handler took more than {} ms", limit.as_millis())),
        }
    }
}
