//! The crash harness. It starts a worker, a process that runs turns with steps of every class against the recorder,
//! kills it with SIGKILL at a random instant, starts it again, and so on; at last it lets a worker finish, and judges
//! from the recorder's log and the journal whether every promise was kept.
//!
//! Several workers may live beside each other on one journal, workers may kill themselves at each failpoint of the
//! runtime, and they may be stopped for longer than their lease and then go on.
//!
//! What a turn does, and what it must answer, follows from the seed alone (`scenario`); the judge works the answer
//! out without the runtime. The instants of the kills follow from the seed as well, but what a kill hits depends on
//! the machine, so a seed replays the load and not the schedule.
#![allow(
    clippy::disallowed_methods,
    reason = "the harness and its tools stand outside of the runtime, and live in real time"
)]

mod book;
mod child;
mod command;
mod control;
mod followed;
mod harness;
mod hits;
mod jobs;
pub(crate) mod judge;
mod life;
mod report;
pub(crate) mod scenario;
mod talk;
mod tools;
pub(crate) mod violation;
mod words;
mod worker;

pub use command::run;
pub use jobs::is_elsewhere;

use crate::arguments::UsageError;
use crate::recorder::RecorderError;

/// Why the harness can't go on; not a verdict on what it tests.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CrashError {
    /// The command line.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// The recorder.
    #[error(transparent)]
    Recorder(#[from] RecorderError),
    /// The shell.
    #[error("the shell: {0}")]
    Shell(#[from] agent_shell_core::Error),
    /// Files and processes.
    #[error("{what}: {source}")]
    System {
        /// What was being done.
        what: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// What one process says to the other could not be read.
    #[error("between harness and worker: {0}")]
    Words(#[from] serde_json::Error),
    /// The journal's file, read past the runtime.
    #[error("the journal's file: {0}")]
    File(#[from] rusqlite::Error),
}

impl CrashError {
    fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::System { what, source }
    }
}
