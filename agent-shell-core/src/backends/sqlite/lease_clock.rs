//! What leases are measured with: time that all processes of a machine share, and that no one can set.

use std::sync::Arc;

use super::options::LeaseTime;
use crate::words::{Clock, Monotonic, Timestamp};

/// A clock for leases, and the name of the run of the machine in which it counts.
pub(super) struct LeaseClock {
    boot: String,
    clock: Arc<dyn Clock>,
    time: LeaseTime,
}

impl LeaseClock {
    pub(super) fn new(time: LeaseTime, clock: Arc<dyn Clock>) -> Self {
        let boot = match time {
            LeaseTime::Boot => boot_id(),
            LeaseTime::Clock => "clock".into(),
        };
        Self { boot, clock, time }
    }

    /// Wall time, for what people read.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Names the machine's boot: a lease of another one is over.
    pub(super) fn boot(&self) -> &str {
        &self.boot
    }

    /// Milliseconds since the boot.
    pub(super) fn now_ms(&self) -> u64 {
        match self.time {
            LeaseTime::Boot => since_boot_ms().unwrap_or_else(|| self.clock.now().as_millis()),
            LeaseTime::Clock => {
                let since_zero = self.clock.monotonic().since(Monotonic::default());
                u64::try_from(since_zero.as_millis()).unwrap_or(u64::MAX)
            }
        }
    }
}

#[cfg(target_os = "linux")]
fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

#[cfg(target_os = "linux")]
fn since_boot_ms() -> Option<u64> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let millis = time.tv_sec.checked_mul(1000)?.checked_add(time.tv_nsec / 1_000_000)?;
    u64::try_from(millis).ok()
}

#[cfg(not(target_os = "linux"))]
fn boot_id() -> String {
    String::new()
}

/// No safe way to ask: leases then run on wall time, and the locks of [`owner_files`](super::owner_files) still
/// tell at once who has died.
#[cfg(not(target_os = "linux"))]
fn since_boot_ms() -> Option<u64> {
    None
}
