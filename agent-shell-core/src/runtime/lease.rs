//! The process's lease: kept up by one task, and looked at in the poll that calls an act.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;

use super::core::{Core, Stopping};
use crate::failpoint::reach;
use crate::ports::OwnershipError;
use crate::words::{Clock, Monotonic};

/// The share of the lease that must be left when an act begins: a fifth.
const MARGIN: u32 = 5;

/// How often a lease is renewed while it lasts; a renewal that failed is tried so often in the time of one.
const RENEWALS: u32 = 3;

/// Until when the lease is known to last, on the monotonic clock, which counts the time that the machine slept.
pub(crate) struct LeaseGuard {
    valid_until_us: AtomicU64,
    /// Counts the leases: a session that was taken under an earlier one may be another's by now.
    generation: AtomicU64,
    /// Held by whoever begins a new lease.
    beginning: Mutex<()>,
    margin: Duration,
}

impl LeaseGuard {
    pub(crate) fn new(lease: Duration) -> Self {
        Self {
            valid_until_us: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            beginning: Mutex::new(()),
            margin: lease / MARGIN,
        }
    }

    /// The lease was given for `lasts`, asked for at `asked`.
    pub(crate) fn extend(&self, asked: Monotonic, lasts: Duration) {
        let until = asked.plus(lasts).since(Monotonic::default());
        self.valid_until_us.store(u64::try_from(until.as_micros()).unwrap_or(u64::MAX), Ordering::Release);
    }

    /// Which lease this process holds.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn was_lost(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether an act may begin in a session that was taken under the lease `generation`: it is the one that this
    /// process holds, it lasts, and its margin is not used up.
    pub(crate) fn allows_acts(&self, clock: &dyn Clock, generation: u64) -> bool {
        if generation != self.generation() {
            return false;
        }
        let until = Duration::from_micros(self.valid_until_us.load(Ordering::Acquire));
        clock.monotonic().plus(self.margin) < Monotonic::from_duration(until)
    }
}

/// Enlists this process, or enlists it again after its lease was taken away.
///
/// # Errors
/// What the store says.
pub(crate) async fn enlist(core: &Core) -> Result<(), OwnershipError> {
    let asked = core.clock.monotonic();
    reach!(EnlistBegins);
    let lease = core.store.ownership.enlist(core.owner, Duration::from_millis(core.limits.lease_ms)).await?;
    reach!(EnlistEnds);
    core.lease.extend(asked, lease.lasts);
    Ok(())
}

/// The lease `generation` had run out, and another process noticed: what this one held is gone. It enlists again, under
/// a new lease; the sessions that it took under the old one are fenced and let go one by one. Two who notice begin one
/// lease: what was taken under it must not look as if it were lost.
///
/// # Errors
/// What the store says.
pub(crate) async fn begin_anew(core: &Core, generation: u64) -> Result<(), OwnershipError> {
    let _beginning = core.lease.beginning.lock().await;
    if core.lease.generation() != generation {
        return Ok(());
    }
    tracing::warn!("the lease had run out; this process enlists again");
    core.lease.was_lost();
    enlist(core).await
}

/// Renews the lease at a third of its length until the shell has stopped; what failed is tried again sooner.
pub(crate) async fn keep(core: Arc<Core>) {
    let lease = Duration::from_millis(core.limits.lease_ms);
    let mut pause = lease / RENEWALS;
    loop {
        tokio::select! {
            biased;
            () = core.stop.reached(Stopping::Abrupt) => return,
            () = core.clock.sleep(pause) => {}
        }
        let (asked, generation) = (core.clock.monotonic(), core.lease.generation());
        reach!(RenewBegins);
        let renewed = core.store.ownership.renew(core.owner).await;
        reach!(RenewEnds);
        let kept = match renewed {
            Ok(lease) => {
                core.lease.extend(asked, lease.lasts);
                Ok(())
            }
            Err(OwnershipError::NotEnlisted) => begin_anew(&core, generation).await,
            Err(error) => Err(error),
        };
        pause = lease / RENEWALS;
        if let Err(error) = kept {
            tracing::warn!(%error, "the lease was not renewed");
            pause /= RENEWALS;
        }
    }
}
