//! What a test and an owner's process say to each other.

use std::io::{self, Write};
use std::path::PathBuf;

use agent_shell_core::Limits;
use agent_shell_core::words::TurnId;
use serde::{Deserialize, Serialize};

use crate::recorder::Class;

/// What an owner is made of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setting {
    /// The journal's file.
    pub journal: PathBuf,
    /// The recorder's socket.
    pub recorder: PathBuf,
    /// The bounds of its shell.
    pub limits: Limits,
    /// A tool of each of these classes.
    pub tools: Vec<Class>,
    /// Where it stops itself, if anywhere.
    pub stop: Option<Stop>,
}

/// A process stops itself when it reaches a failpoint for the `nth` time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stop {
    /// The failpoint's name.
    pub at: String,
    /// Which time, from 1.
    pub nth: u64,
}

/// What an owner is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Submit a turn that calls a tool, after a while if it says so.
    Submit {
        /// The session.
        session: String,
        /// The class of the tool.
        tool: Class,
        /// How long the turn waits before the call.
        waits_ms: Option<u64>,
    },
    /// Archive what is finished.
    Archive {
        /// The folder.
        folder: PathBuf,
    },
    /// Shut down and end.
    Shutdown,
}

/// What an owner says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The shell is open.
    Opened {
        /// The sessions that it took over.
        recovered: usize,
    },
    /// A turn is on disk.
    Submitted {
        /// The turn.
        turn: TurnId,
    },
    /// Finished sessions left.
    Archived {
        /// How many.
        sessions: usize,
    },
    /// The shell warned its host of something.
    Warned {
        /// What it said.
        what: String,
    },
    /// The shell has shut down.
    Closed,
    /// Something that must not be.
    Trouble {
        /// What.
        what: String,
    },
}

impl Event {
    /// Says it in one piece. Nobody may listen any more.
    pub(super) fn say(&self) {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        drop(io::stdout().lock().write_all(&line));
    }
}
