//! What a system is asked to do.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The size of a step's body, in bytes.
pub const BODY_BYTES: usize = 300;

/// When to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// When this much time has passed since the setup.
    Elapsed(Duration),
    /// When this many steps were done by all sessions together.
    Steps(u64),
}

/// One run of one system.
#[derive(Clone, Debug)]
pub struct Load {
    /// How many sessions at once.
    pub sessions: usize,
    /// When to stop.
    pub until: Until,
    /// An empty folder on a real disk, for the system's files; removed after the run.
    pub folder: PathBuf,
}

/// Says to every session whether it may do one more step. Made when the setup is over; clones count
/// together.
#[derive(Clone, Debug)]
pub struct Quota {
    end: Option<Instant>,
    left: Arc<AtomicU64>,
}

impl Quota {
    /// Starts now.
    pub fn start(until: Until) -> Self {
        let (end, left) = match until {
            Until::Elapsed(duration) => (Some(Instant::now() + duration), 0),
            Until::Steps(steps) => (None, steps),
        };
        Self { end, left: Arc::new(AtomicU64::new(left)) }
    }

    /// True if one more step may be begun; it is then counted as done.
    pub fn take(&self) -> bool {
        match self.end {
            Some(end) => Instant::now() < end,
            None => self
                .left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                .is_ok(),
        }
    }
}

/// The body of a step: bytes that differ from step to step and can't be compressed.
pub fn body(session: u64, sequence: u64) -> [u8; BODY_BYTES] {
    let mut body = [0; BODY_BYTES];
    let mut state = session.rotate_left(32) ^ sequence ^ 0x9e37_79b9_7f4a_7c15;
    for chunk in body.chunks_mut(8) {
        // Xorshift64 (Marsaglia, "Xorshift RNGs", 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
    }
    body
}
