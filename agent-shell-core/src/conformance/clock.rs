//! A clock that a test moves.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::words::{Clock, Monotonic, Timestamp};

/// A clock that stands still until it is moved. Clones are the same clock.
#[derive(Debug, Clone)]
pub struct TestClock {
    passed: Arc<watch::Sender<Duration>>,
}

impl TestClock {
    /// Wall time zero of a test clock: 2026-01-01T00:00:00Z.
    pub const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);

    /// Moves the clock, and wakes who has slept long enough.
    pub fn advance(&self, time: Duration) {
        self.passed.send_modify(|passed| *passed += time);
    }
}

impl Default for TestClock {
    fn default() -> Self {
        Self { passed: Arc::new(watch::Sender::new(Duration::ZERO)) }
    }
}

#[async_trait]
impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Self::START.plus(*self.passed.borrow())
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic::from_duration(*self.passed.borrow())
    }

    async fn sleep(&self, duration: Duration) {
        let mut passed = self.passed.subscribe();
        let until = *passed.borrow() + duration;
        // The sender lives as long as `self`, so the wait ends only when the time has come.
        let _ = passed.wait_for(|passed| *passed >= until).await;
    }
}
