//! What a test and a host on a bad disk say to each other, one JSON object a line.

use std::collections::BTreeMap;
use std::path::PathBuf;

use agent_shell_core::words::{Head, SessionId, TurnId};
use agent_shell_core::{ErrorKind, Limits};
use serde::{Deserialize, Serialize};

/// What a host is made of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setting {
    /// The journal's file; its keys lie beside it.
    pub journal: PathBuf,
    /// The bounds of its shell.
    pub limits: Limits,
    /// The pages of the log after which it is copied into the file; as `Shell::at` has it, where none are named.
    pub checkpoint_pages: Option<u32>,
}

/// What a host is told. It answers each with one event.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Submit a turn whose input has so many bytes, under a dedupe key.
    Submit {
        /// The session.
        session: String,
        /// The dedupe key.
        key: String,
        /// The size of the input.
        bytes: usize,
    },
    /// Wait for the end of a turn.
    Outcome {
        /// The turn.
        turn: TurnId,
        /// How long it is waited for.
        within_ms: u64,
    },
    /// Submit a turn to each of so many sessions at once, and wait for all of them at once.
    Crowd {
        /// How many.
        sessions: usize,
        /// How long each is waited for.
        within_ms: u64,
    },
    /// Export all sessions into a file.
    Export {
        /// The file.
        to: PathBuf,
    },
    /// Verify every chain in the store, through heads that were kept.
    Verify {
        /// The heads.
        known: BTreeMap<SessionId, Head>,
    },
    /// Shut down and end.
    Shutdown,
}

/// What a host says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The shell is open.
    Opened,
    /// A turn is on disk.
    Submitted {
        /// The turn.
        turn: TurnId,
    },
    /// A turn has ended as it should.
    Ended {
        /// Its answer.
        answer: String,
    },
    /// What came of a crowd: how many of it ended as they should, were late, or met an error of a kind.
    Crowd {
        /// How many, by what came of them.
        of: BTreeMap<String, usize>,
    },
    /// A turn has not ended in time.
    Late,
    /// The export is written, every chain holds, or the shell has shut down.
    Done,
    /// What was asked for failed.
    Failed {
        /// The kind, by its name.
        kind: String,
        /// The message.
        message: String,
    },
}

impl Event {
    /// Whether this is an error of a kind.
    pub fn is(&self, wanted: ErrorKind) -> bool {
        matches!(self, Self::Failed { kind, .. } if *kind == format!("{wanted:?}"))
    }
}
