//! What the operating system gives: time, randomness and tasks. The only place that calls for them directly.

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use futures::future::BoxFuture;
use tokio::runtime::Handle;
use zeroize::{Zeroize, Zeroizing};

use crate::ports::Spawn;
use crate::words::{Clock, Entropy, Monotonic, Timestamp};

/// The operating system's clocks. All values of this type have the same zero of monotonic time.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct SystemClock;

impl SystemClock {
    /// The clock.
    pub fn new() -> Self {
        Self
    }
}

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[allow(clippy::disallowed_methods)] // This is the Clock port.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::default().plus(since_epoch)
    }

    fn monotonic(&self) -> Monotonic {
        static ZERO: OnceLock<Duration> = OnceLock::new();
        let now = since_boot();
        Monotonic::from_duration(now.saturating_sub(*ZERO.get_or_init(|| now)))
    }

    /// Tokio's timers stand still while the machine sleeps, and the monotonic time does not: a long sleep looks at it now and
    /// then, and ends at most so much later.
    async fn sleep(&self, duration: Duration) {
        const LOOK: Duration = Duration::from_secs(5);
        let until = self.monotonic().plus(duration);
        let mut left = duration;
        while !left.is_zero() {
            let slice = left.min(LOOK);
            #[allow(clippy::disallowed_methods)] // This is the Clock port.
            tokio::time::sleep(slice).await;
            left = (left - slice).min(until.since(self.monotonic()));
        }
    }
}

/// The time since the machine started, the time that it slept included: a lease runs out, and a deadline passes, while
/// nothing runs here.
#[cfg(target_os = "linux")]
fn since_boot() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or_default(), nanos.unwrap_or_default())
}

/// The time since this was asked first. Whether it counts the time that the machine slept is the platform's choice.
#[cfg(not(target_os = "linux"))]
fn since_boot() -> Duration {
    static ZERO: OnceLock<std::time::Instant> = OnceLock::new();
    #[allow(clippy::disallowed_methods)] // This is the Clock port.
    let now = std::time::Instant::now();
    now.saturating_duration_since(*ZERO.get_or_init(|| now))
}

/// The operating system's random source, asked for a few thousand bytes at a time; what was handed out is wiped.
///
/// A process that forks and goes on without `exec` would hand out the same bytes twice; Rust programs do not.
pub struct SystemEntropy {
    buffer: Mutex<Buffer>,
}

struct Buffer {
    bytes: Zeroizing<[u8; Buffer::BYTES]>,
    /// Where the bytes begin that nobody has had.
    next: usize,
}

impl Buffer {
    const BYTES: usize = 4096;
    /// Requests above this many bytes go to the operating system directly.
    const LARGE: usize = 256;
}

impl SystemEntropy {
    /// The source, with nothing buffered yet.
    pub fn new() -> Self {
        Self { buffer: Mutex::new(Buffer { bytes: Zeroizing::new([0; _]), next: Buffer::BYTES }) }
    }
}

impl Default for SystemEntropy {
    fn default() -> Self {
        Self::new()
    }
}

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        if bytes.len() > Buffer::LARGE {
            return ask(bytes);
        }
        let mut guard =
            self.buffer.lock().expect("only a failing random source panics here, and it ends the process");
        let buffer = &mut *guard;
        if Buffer::BYTES - buffer.next < bytes.len() {
            ask(&mut *buffer.bytes);
            buffer.next = 0;
        }
        let fresh = &mut buffer.bytes[buffer.next..buffer.next + bytes.len()];
        bytes.copy_from_slice(fresh);
        fresh.zeroize();
        buffer.next += bytes.len();
    }
}

impl fmt::Debug for SystemEntropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SystemEntropy(..)")
    }
}

fn ask(bytes: &mut [u8]) {
    #[allow(clippy::disallowed_methods)] // This is the Entropy port.
    let answer = getrandom::fill(bytes);
    if let Err(error) = answer {
        panic!("the operating system gives no random bytes, and without them nothing can be sealed: {error}");
    }
}

/// Spawns onto a Tokio runtime.
#[derive(Debug, Clone)]
pub struct TokioSpawn {
    handle: Handle,
}

impl TokioSpawn {
    /// Spawns onto the runtime of this handle.
    pub fn new(handle: Handle) -> Self {
        Self { handle }
    }

    /// Spawns onto the runtime that runs the caller; none outside of one.
    pub fn current() -> Option<Self> {
        Handle::try_current().ok().map(Self::new)
    }
}

impl Spawn for TokioSpawn {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        #[allow(clippy::disallowed_methods)] // This is the Spawn port.
        drop(self.handle.spawn(task));
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        #[allow(clippy::disallowed_methods)] // This is the Spawn port.
        drop(self.handle.spawn_blocking(work));
    }
}
