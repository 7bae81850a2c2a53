//! What happens at a failpoint.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::Failpoint;

/// What an armed failpoint does to this process. Needs Linux to kill and to stop: elsewhere both abort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// SIGKILL: the process ends before the next instruction of this thread, and nothing is unwound or flushed.
    Kill,
    /// SIGSTOP: the whole process stands still until somebody sends it SIGCONT.
    Stop,
    /// The thread that reached the place stands still for so long, and with it every task on it.
    Delay(Duration),
}

/// An order: at the `nth` time from now on that `at` is reached, `action` is done, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arm {
    /// The place.
    pub at: Failpoint,
    /// The time, from 1.
    pub nth: u64,
    /// What is done.
    pub action: Action,
}

/// Long enough for a stop to reach every thread: the signal may be taken by another one than the caller.
const UNTIL_STOPPED: Duration = Duration::from_millis(50);

/// Whether anything was armed, observed or counted. All that a place costs as long as it was not.
static ACTIVE: AtomicBool = AtomicBool::new(false);
static HITS: [AtomicU64; Failpoint::ALL.len()] = [const { AtomicU64::new(0) }; Failpoint::ALL.len()];
static ARMED: Mutex<Vec<Arm>> = Mutex::new(Vec::new());
static OBSERVER: OnceLock<Box<dyn Fn(Failpoint) + Send + Sync>> = OnceLock::new();

/// Counts from now on how often each place is reached.
pub fn count() {
    ACTIVE.store(true, Ordering::Release);
}

/// How often each place was reached since counting began, or anything was armed or observed.
pub fn hits() -> impl Iterator<Item = (Failpoint, u64)> {
    Failpoint::ALL.iter().zip(&HITS).map(|(point, hits)| (*point, hits.load(Ordering::Acquire)))
}

/// Arms a failpoint, besides those that are armed already.
pub fn arm(arm: Arm) {
    ARMED.lock().unwrap_or_else(PoisonError::into_inner).push(arm);
    count();
}

/// Lets `observer` see each place that is reached, before anything is done there. It runs on the thread that reached
/// the place and must not wait for it. False, and nothing changes, when there is an observer already.
pub fn observe(observer: impl Fn(Failpoint) + Send + Sync + 'static) -> bool {
    let is_first = OBSERVER.set(Box::new(observer)).is_ok();
    count();
    is_first
}

/// The process is at a place.
#[inline]
pub(crate) fn reached(point: Failpoint) {
    if ACTIVE.load(Ordering::Acquire) {
        act(point);
    }
}

#[cold]
fn act(point: Failpoint) {
    HITS[point as usize].fetch_add(1, Ordering::AcqRel);
    if let Some(observer) = OBSERVER.get() {
        observer(point);
    }
    for action in due(point) {
        match action {
            Action::Kill => die(),
            Action::Stop => stop(),
            Action::Delay(duration) => dawdle(duration),
        }
    }
}

/// What is to be done now, and not again.
fn due(point: Failpoint) -> Vec<Action> {
    let mut due = Vec::new();
    ARMED.lock().unwrap_or_else(PoisonError::into_inner).retain_mut(|arm| {
        if arm.at != point {
            return true;
        }
        arm.nth = arm.nth.saturating_sub(1);
        if arm.nth == 0 {
            due.push(arm.action);
        }
        arm.nth > 0
    });
    due
}

#[allow(
    clippy::disallowed_methods,
    reason = "a real process is to be late, whatever clock its shell runs on"
)]
fn dawdle(duration: Duration) {
    std::thread::sleep(duration);
}

#[cfg(target_os = "linux")]
fn die() -> ! {
    use rustix::process::{Signal, getpid, kill_process};

    // The signal can't be caught, and reaches the caller at the latest when the call returns.
    let _ = kill_process(getpid(), Signal::KILL);
    std::process::abort()
}

#[cfg(target_os = "linux")]
fn stop() {
    use rustix::process::{Signal, getpid, kill_process};

    let _ = kill_process(getpid(), Signal::STOP);
    dawdle(UNTIL_STOPPED);
}

#[cfg(not(target_os = "linux"))]
fn die() -> ! {
    std::process::abort()
}

#[cfg(not(target_os = "linux"))]
fn stop() {
    std::process::abort()
}
