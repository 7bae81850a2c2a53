//! Time: wall time for what people and other machines read, monotonic time for what is measured.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// Wall time in milliseconds since 1970-01-01T00:00:00Z. It may jump; nothing relies on its order for safety.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The instant so many milliseconds after the epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Later by `duration`, counted in whole milliseconds; stops at the largest instant.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How far `earlier` lies before this instant, or nothing when it lies after.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, millis) = (self.0 / 86_400_000, self.0 % 86_400_000);
        let (year, month, day) = civil(days);
        let (seconds, millis) = (millis / 1000, millis % 1000);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }
}

/// Year, month and day of a count of days since 1970-01-01 in the proleptic Gregorian calendar
/// (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// Time since some fixed instant of this process. It never goes back and means nothing to another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Monotonic(Duration);

impl Monotonic {
    /// The instant so long after the process's own zero.
    pub const fn from_duration(since_zero: Duration) -> Self {
        Self(since_zero)
    }

    /// Later by `duration`; stops at the largest instant.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }

    /// How far `earlier` lies before this instant, or nothing when it lies after.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// When an attempt must have ended: wall time for the record and for others, monotonic time for this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deadline {
    /// The deadline as others read it.
    pub wall: Timestamp,
    /// The deadline as this process measures it; a jump of the wall clock does not move it.
    pub monotonic: Monotonic,
}

impl Deadline {
    /// The deadline `after` from now on both clocks.
    pub fn after(clock: &dyn Clock, after: Duration) -> Self {
        Self { wall: clock.now().plus(after), monotonic: clock.monotonic().plus(after) }
    }

    /// Whether the deadline has passed on either clock.
    pub fn has_passed(&self, clock: &dyn Clock) -> bool {
        clock.monotonic() >= self.monotonic || clock.now() >= self.wall
    }
}

/// Where time comes from. A simulation supplies its own.
///
/// `now` and `monotonic` are called from many threads, must not block, and `monotonic` must never go back.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// The wall time.
    fn now(&self) -> Timestamp;

    /// The monotonic time. It should count the time that the machine sleeps, because leases run out meanwhile.
    fn monotonic(&self) -> Monotonic;

    /// Returns after `duration` has passed on the monotonic clock; where the machine slept, it may be some seconds later.
    ///
    /// # Cancel safety
    /// Dropping the future ends the wait and has no other effect.
    async fn sleep(&self, duration: Duration);
}
