//! Simulated time: it stands still until somebody moves it.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;

use crate::words::{Clock, Monotonic, Timestamp};

/// The time of a simulated world, counted from its beginning. Clones are the same time.
#[derive(Debug, Clone, Default)]
pub struct SimTime {
    shared: Arc<Mutex<Timers>>,
}

#[derive(Debug, Default)]
struct Timers {
    now: Duration,
    /// Counts the sleepers, so that no two have the same place.
    next: u64,
    sleepers: BTreeMap<(Duration, u64), Waker>,
}

impl SimTime {
    fn lock(&self) -> MutexGuard<'_, Timers> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long the world has lasted.
    pub fn now(&self) -> Duration {
        self.lock().now
    }

    /// When the next sleeper wakes.
    pub fn next_due(&self) -> Option<Duration> {
        self.lock().sleepers.first_key_value().map(|(&(due, _), _)| due)
    }

    /// Moves time forward to `to` and wakes who has slept long enough. Time never goes back.
    pub fn advance_to(&self, to: Duration) {
        let due = {
            let mut timers = self.lock();
            let now = timers.now.max(to);
            timers.now = now;
            let later = timers.sleepers.split_off(&(now, u64::MAX));
            std::mem::replace(&mut timers.sleepers, later)
        };
        due.into_values().for_each(Waker::wake);
    }

    /// Returns after `duration`, never in its first poll: also a sleep of no length lets all others run before.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        Sleep { time: self.clone(), duration, place: None }
    }
}

/// A sleep in simulated time. Dropping it ends the wait.
#[derive(Debug)]
pub struct Sleep {
    time: SimTime,
    duration: Duration,
    place: Option<(Duration, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let time = self.time.clone();
        let mut timers = time.lock();
        match self.place {
            Some(place) => match timers.sleepers.get_mut(&place) {
                Some(waker) => {
                    waker.clone_from(context.waker());
                    Poll::Pending
                }
                None => Poll::Ready(()),
            },
            None => {
                let place = (timers.now.saturating_add(self.duration), timers.next);
                timers.next += 1;
                timers.sleepers.insert(place, context.waker().clone());
                self.place = Some(place);
                Poll::Pending
            }
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            let sleeper = self.time.lock().sleepers.remove(&place);
            drop(sleeper);
        }
    }
}

/// The clock of one simulated process: its monotonic time begins when it is made, its wall time may be off, and may jump.
#[derive(Debug, Clone)]
pub struct SimClock {
    time: SimTime,
    zero: Duration,
    wall_off_ms: Arc<AtomicI64>,
}

impl SimClock {
    /// The wall time at which every world begins: 2026-01-01T00:00:00Z.
    pub const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);

    /// A clock whose wall time is off by so many milliseconds.
    pub fn new(time: SimTime, wall_off_ms: i64) -> Self {
        Self { zero: time.now(), time, wall_off_ms: Arc::new(AtomicI64::new(wall_off_ms)) }
    }

    /// Moves the wall time by so many milliseconds, forward or back. Nobody is woken by it.
    pub fn jump_ms(&self, by: i64) {
        self.wall_off_ms.fetch_add(by, Ordering::Relaxed);
    }
}

#[async_trait]
impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let true_ms = Self::START.plus(self.time.now()).as_millis();
        Timestamp::from_millis(true_ms.saturating_add_signed(self.wall_off_ms.load(Ordering::Relaxed)))
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic::from_duration(self.time.now() - self.zero)
    }

    async fn sleep(&self, duration: Duration) {
        self.time.sleep(duration).await;
    }
}
