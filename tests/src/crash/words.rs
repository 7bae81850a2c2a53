//! What harness and worker say to each other: one line of JSON to the worker's standard input, then one event a line
//! from its standard output. A line is written in one piece, so a kill never leaves half of one.

use std::io::{self, Write};
use std::path::PathBuf;

use agent_shell_core::failpoint::Failpoint;
use agent_shell_core::words::{Head, SessionId, TurnId};
use agent_shell_core::{Limits, Outcome};
use serde::{Deserialize, Serialize};

use super::CrashError;
use super::scenario::TurnKey;
use crate::arguments::UsageError;

/// What a worker is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Assignment {
    pub(super) journal: PathBuf,
    pub(super) recorder: PathBuf,
    /// Where failpoints are noted that are reached.
    pub(super) hits: PathBuf,
    pub(super) seed: u64,
    /// Which worker this is, from 1.
    pub(super) life: u64,
    /// How many workers live beside each other; the numbers of their turns don't meet.
    pub(super) owners: u64,
    /// How many sessions there are with whose turns people meddle; with none, nobody guards.
    pub(super) controls: u64,
    pub(super) mode: Mode,
    pub(super) armed: Option<Armed>,
    pub(super) limits: Limits,
    /// Turns of one session that may be open at once.
    pub(super) depth: usize,
    pub(super) sessions: Vec<SessionWork>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Mode {
    /// Submit on and on.
    UntilKilled,
    /// Bring to an end what was accepted, then one closing turn in each session, then shut down.
    Finish,
    /// Submit for this many milliseconds, then shut down, and leave what is open to others.
    Leave { ms: u64 },
    /// Submit nothing; approve and resolve what rests in any session, for this many milliseconds, then shut down.
    Attend { ms: u64 },
    /// Drive nothing, and follow every turn: until killed, or to the end of all.
    Follow { to_the_end: bool },
}

/// What a worker does to itself, when it reaches a failpoint for the `nth` time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Armed {
    pub(super) at: String,
    pub(super) nth: u64,
    pub(super) action: ArmedAction,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ArmedAction {
    Kill,
    Stop,
}

impl Armed {
    pub(super) fn failpoint(&self) -> Result<Failpoint, CrashError> {
        self.at.parse().map_err(|error| UsageError::new(format!("{error}")).into())
    }
}

/// What is known of a session.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SessionWork {
    pub(super) session: u64,
    /// Accepted, and not seen to end.
    pub(super) open: Vec<(TurnKey, TurnId)>,
    /// Submitted, and not seen to be accepted.
    pub(super) unanswered: Vec<TurnKey>,
    /// Submitted once, not seen to be accepted, and not to be submitted again: it is there or not.
    pub(super) orphans: Vec<TurnKey>,
    /// The number of the next turn.
    pub(super) next: u64,
}

/// What a worker says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Event {
    /// The shell is open.
    Opened { recovered: usize },
    /// The turn is about to be submitted.
    Submitting { key: TurnKey },
    /// The submit returned.
    Accepted { key: TurnKey, turn: TurnId },
    /// The turn ended.
    Ended { key: TurnKey, outcome: Outcome },
    /// How many sessions are in which state.
    Marks { running: usize, resting: usize },
    /// The end of a session's chain, which is durable.
    Head { session: SessionId, head: Head },
    /// Somebody has meddled, and was answered.
    Done { deed: Deed },
    /// Something that must not be.
    Trouble { what: String },
    /// All is done.
    Finished,
}

/// What people do to turns and sessions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Deed {
    /// A turn was cancelled, for this reason.
    Cancelled { turn: TurnId, reason: String },
    /// A session was handed over, for this reason.
    HandedOff { session: SessionId, reason: String },
    /// A session was forked under this name.
    Forked { name: String, fork: SessionId },
}

impl Event {
    /// Says it to the harness. Fails when nobody listens any more.
    pub(super) fn say(&self) -> io::Result<()> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        let mut out = io::stdout().lock();
        out.write_all(&line)?;
        out.flush()
    }
}
