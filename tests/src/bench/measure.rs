//! What a run cost.

use std::time::{Duration, Instant};

use super::machine::process_cpu;

/// What was done in one run, and what it took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Durable steps.
    pub steps: u64,
    /// Wall time from the end of the setup to the last step.
    pub elapsed: Duration,
    /// User and system time of this process (all threads, ended ones too) in the same span.
    pub cpu: Duration,
}

impl Measured {
    /// Durable steps per second of wall time.
    pub fn steps_per_second(&self) -> f64 {
        self.steps as f64 / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }

    /// Microseconds of CPU for a step; none if there was no step.
    pub fn cpu_us_per_step(&self) -> Option<f64> {
        (self.steps > 0).then(|| self.cpu.as_secs_f64() * 1e6 / self.steps as f64)
    }
}

/// Measures from the end of the setup.
#[derive(Debug)]
pub struct Stopwatch {
    begin: Instant,
    cpu: Duration,
}

impl Stopwatch {
    /// Starts now.
    pub fn start() -> Self {
        Self { cpu: process_cpu(), begin: Instant::now() }
    }

    /// Stops now.
    pub fn stop(self, steps: u64) -> Measured {
        Measured { steps, elapsed: self.begin.elapsed(), cpu: process_cpu().saturating_sub(self.cpu) }
    }
}
