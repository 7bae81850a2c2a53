//! The external effect recorder: a process of its own that plays the outside world, on which the tools
//! of a test act. It syncs every call to its log before it answers, so its log is the truth about what
//! was done, whatever became of the caller. It keeps the contract of each effect class (a used key is
//! answered or refused, a stale epoch is refused), and it applies an irreversible effect as often as it
//! is called, so that a double is a real double.
//!
//! It speaks JSON Lines on a unix socket: one [`Request`] a line, one [`Answer`] a line, in order.
//! A request counts when its newline has arrived; a line that was cut off is never acted on. A request
//! may still be waiting in the socket when its sender is dead: whoever asks for the truth about an
//! attempt waits for the attempt's deadline first, as with any real target.
#![allow(
    clippy::disallowed_methods,
    reason = "the recorder stands outside of the runtime: a plain program with threads, which really sleeps"
)]

mod audit;
mod chaos;
mod client;
mod command;
mod ledger;
mod log;
mod process;
mod server;
#[cfg(test)]
mod tests;
mod words;

pub use audit::{Application, Audit, StepAudit, Totals, Violation, audit_log};
pub use chaos::Chaos;
pub use client::{ClientError, RecorderClient, Verdict};
pub use command::run;
pub use process::RecorderProcess;
pub use server::{Recorder, RecorderError, Settings};
pub use words::{
    Answer, Applied, Class, Counted, Effect, Fence, Probe, Probed, Refusal, Request, StepName, Truth,
};
