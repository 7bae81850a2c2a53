//! What a run of the kit found.

use std::fmt;
use std::time::Duration;

use super::crash::Crash;

/// Why a test fails. Its `Debug` is its `Display`, so that `unwrap` says it in words.
pub struct Trouble {
    /// What is wrong.
    pub problem: Problem,
    /// The crash of the run in which it is wrong; none when that run was not crashed.
    pub crash: Option<Crash>,
    /// The seed of the run.
    pub seed: u64,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The shell did not open, or the host said so.
    #[error("the host failed: {0}")]
    Failed(String),
    /// Nothing is ready and nothing sleeps: something waits for what is not simulated, or for nothing at all.
    #[error(
        "nothing will ever happen again, and the host is not done: does a tool wait for something outside the run?"
    )]
    Stuck,
    /// It took longer than it may.
    #[error("the host is not done after {0:?} of simulated time: see `TestKit::longest`")]
    TooLong(Duration),
    /// It was polled too often.
    #[error("the host is not done after {0} polls: is there a loop in which no time passes?")]
    TooManyPolls(u64),
    /// The run never came to the place of the crash.
    #[error("the run never came to the place of the crash: is it the same each time?")]
    NotReached,
    /// What the host returned depends on the crash.
    #[error("the outcome is {with}, and without the crash it is {without}")]
    OtherOutcome {
        /// Without the crash.
        without: String,
        /// With it.
        with: String,
    },
    /// What was done to the world depends on the crash.
    #[error("the effects are {with}, and without the crash they are {without}")]
    OtherEffects {
        /// Without the crash.
        without: String,
        /// With it.
        with: String,
    },
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { problem, crash, seed } = self;
        match crash {
            Some(crash) => write!(f, "with {crash}: {problem} (seed {seed})"),
            None => write!(f, "{problem} (seed {seed})"),
        }
    }
}

impl fmt::Debug for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl std::error::Error for Trouble {}
