//! The publisher: moves the rows of the outbox onto the bus, at least once.
//!
//! Of all processes of a store one publishes ([`Duty::Publish`]), and none whose bus nobody reads. It reads the rows in order from a place in memory,
//! and acknowledges them when the bus has accepted them and shows them where they must be. Before each page it looks
//! whether the bus still has what it had; what was lost or overwritten is published again. It never takes a row away
//! that was not acknowledged, and keeps the others for `Limits::outbox_keep_ms`: whoever takes over reads all of them,
//! and passes over what the bus shows to have. So faults lead to
//! duplicates; what no publisher can see any more (docs/GUARANTEES.md), consumers see as a gap.

mod lanes;

use std::sync::Arc;
use std::time::Duration;

use self::lanes::{Lanes, Trouble};
use super::core::{Core, Stopping};
use super::events::Events;
use crate::ports::{Bus, BusError, Duty, OutboxPosition, OwnershipError, Reach};
use crate::words::Monotonic;

/// Rows read at once.
const PAGE: usize = 256;
/// The pause after a failure; it doubles with each one that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Between two removals of old rows, at most.
const TRIM: Duration = Duration::from_secs(60);

/// Publishes until the shell has stopped.
pub(crate) async fn keep(core: Arc<Core>, events: Arc<Events>, bus: Arc<dyn Bus>) {
    let poll = Duration::from_millis(core.limits.poll_ms.max(1));
    let mut publisher = Publisher {
        lanes: Lanes::new(bus.clone(), core.store.outbox.clone()),
        bus,
        core: core.clone(),
        events: events.clone(),
        held: None,
        cursor: OutboxPosition::default(),
        trim_at: Monotonic::default(),
        was_awaited: true,
    };
    let mut pause = FIRST_PAUSE;
    loop {
        let round = tokio::select! {
            biased;
            () = core.stop.reached(Stopping::Abrupt) => return,
            round = publisher.round() => round,
        };
        let wait = match &round {
            Ok(()) => {
                pause = FIRST_PAUSE;
                poll
            }
            Err(trouble) => {
                match trouble {
                    // Consumers are slow: what there is no room for waits in the outbox.
                    Trouble::Bus(BusError::Full) => tracing::debug!(%trouble, "publishing waits"),
                    _ => tracing::warn!(%trouble, "events are not published; it is tried again"),
                }
                let wait = pause;
                pause = (pause * 2).min(LONGEST_PAUSE);
                wait
            }
        };
        tokio::select! {
            biased;
            () = core.stop.reached(Stopping::Abrupt) => return,
            () = events.woken(), if round.is_ok() && publisher.held.is_some() => {}
            () = core.clock.sleep(wait) => {}
        }
    }
}

struct Publisher {
    core: Arc<Core>,
    events: Arc<Events>,
    bus: Arc<dyn Bus>,
    lanes: Lanes,
    /// The lease under which this process has the duty.
    held: Option<u64>,
    /// Rows up to here are on the bus.
    cursor: OutboxPosition,
    trim_at: Monotonic,
    /// Whether somebody waited for what is published, when it was last asked.
    was_awaited: bool,
}

impl Publisher {
    /// Publishes what is there.
    async fn round(&mut self) -> Result<(), Trouble> {
        let outbox = self.core.store.outbox.clone();
        loop {
            if !self.hold().await? {
                return Ok(());
            }
            // Before each page: a publisher that never catches up, or whose bus is full, trims as well.
            self.trim().await?;
            let written = self.events.written();
            if let Some(back) = self.lanes.look_back().await? {
                self.cursor = self.cursor.min(back);
            }
            let rows = outbox.kept(self.cursor, PAGE).await?;
            let Some(last) = rows.last().map(|row| row.position) else {
                self.events.were_published(written);
                return Ok(());
            };
            self.lanes.publish(&rows).await?;
            outbox.acknowledge(last).await?;
            // Not before: rows that were not acknowledged are passed over and acknowledged in the next round.
            self.cursor = last;
        }
    }

    /// Whether this process is the one that publishes. Who becomes it knows nothing of what its predecessor did.
    async fn hold(&mut self) -> Result<bool, Trouble> {
        if !self.is_awaited().await? {
            self.events.publishes(false);
            return Ok(false);
        }
        let lease = self.core.lease.generation();
        if self.held == Some(lease) && self.core.lease.allows_acts(&*self.core.clock, lease) {
            return Ok(true);
        }
        let holds = match self.core.store.ownership.hold(self.core.owner, Duty::Publish).await {
            Ok(holds) => holds,
            Err(OwnershipError::NotEnlisted) => false,
            Err(OwnershipError::Store(error)) => return Err(error.into()),
        };
        if !holds || self.held != Some(lease) {
            self.lanes.forget();
            self.cursor = OutboxPosition::default();
        }
        self.held = holds.then_some(lease);
        self.events.publishes(holds);
        Ok(holds)
    }

    /// Whether somebody waits for what this process publishes. A bus that reaches one process only and has no group
    /// delivers nothing: what it took would be acknowledged, kept from the processes that have consumers, and fill it.
    async fn is_awaited(&mut self) -> Result<bool, Trouble> {
        if self.bus.capabilities().reach != Reach::Process {
            return Ok(true);
        }
        let topic = &self.events.topic;
        let is_awaited = match self.bus.is_awaited(topic).await {
            // Whoever joins a group opens the topic first.
            Err(BusError::NoTopic { .. }) => false,
            answer => answer?,
        };
        if self.was_awaited && !is_awaited {
            tracing::warn!(
                %topic,
                "nobody reads the bus of this process: events wait in the outbox for one with a consumer"
            );
        }
        self.was_awaited = is_awaited;
        Ok(is_awaited)
    }

    /// Removes old rows that are acknowledged, from time to time.
    async fn trim(&mut self) -> Result<(), Trouble> {
        let now = self.core.clock.monotonic();
        if now < self.trim_at {
            return Ok(());
        }
        let keep = Duration::from_millis(self.core.limits.outbox_keep_ms);
        self.trim_at = now.plus(TRIM.min(keep / 4));
        let before = self.core.clock.now().as_millis().saturating_sub(self.core.limits.outbox_keep_ms);
        // A row that was written in this very millisecond is kept for none when nothing is to be kept.
        let before = before.saturating_add(u64::from(keep.is_zero()));
        self.core.store.outbox.trim(crate::words::Timestamp::from_millis(before)).await?;
        Ok(())
    }
}
