//! The frame of the benchmarks: systems are measured side by side in one run, alternating, with the
//! same durability, and the medians go into a table and a file. Nothing here passes or fails.
#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark reads the real clock and runs the raw systems on threads of its own"
)]

mod age;
mod command;
mod counted;
mod folder;
mod followers;
mod fsyncs;
mod load;
mod long_session;
mod machine;
mod measure;
mod raw;
mod recovery;
mod report;
mod rounds;
mod runtime;
mod systems;
#[cfg(test)]
mod tests;

pub use command::run;
pub use load::{BODY_BYTES, Load, Quota, Until, body};
pub use measure::{Measured, Stopwatch};

use crate::arguments::UsageError;

/// Something whose durable steps can be counted: a runtime on a journal, or the bare journal itself.
pub trait System {
    /// What it is, as in `agent-shell` or `sqlite-group-commit`.
    fn name(&self) -> &'static str;

    /// What it writes to: `sqlite`, `volatile`, `file`.
    fn journal(&self) -> &'static str;

    /// The effect class of its steps, or `none` where it knows no classes.
    fn class(&self) -> &'static str;

    /// Sets up in the folder of the load, which is empty and its own, and then does steps from as many
    /// sessions at once, each waiting for one step before it begins the next, for as long as the load's
    /// [`Quota`] allows. Only what comes after the setup is measured. With [`Until::Steps`] of zero it
    /// does nothing but the setup.
    fn run(&self, load: &Load) -> Result<Measured, BenchError>;
}

/// Why a benchmark can't go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// The command line.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// The folder for the data files.
    #[error("{0}")]
    Folder(String),
    /// A system did not do what was asked.
    #[error("{0}")]
    System(Box<dyn std::error::Error + Send + Sync>),
}

impl BenchError {
    /// Any error of a system.
    pub fn system(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::System(error.into())
    }
}

impl From<std::io::Error> for BenchError {
    fn from(error: std::io::Error) -> Self {
        Self::system(error)
    }
}

impl From<rusqlite::Error> for BenchError {
    fn from(error: rusqlite::Error) -> Self {
        Self::system(error)
    }
}
