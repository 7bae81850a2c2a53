//! What workers write down as they go: one line of JSON each, appended in one piece to a file that all of them share, so that
//! a kill right after loses none.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use agent_shell_core::data::{Account, Amounts, AttemptId, Ceiling, Dimension};
use agent_shell_core::words::Digest;
use serde::{Deserialize, Serialize};

use super::SpendError;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    /// An owner is about to reserve.
    Asked { id: AttemptId, amounts: Amounts, accounts: Vec<(Account, Ceiling)> },
    /// The ledger refused, somewhere between these two operations, the second included.
    Refused {
        attempt: Digest,
        account: Account,
        dimension: Dimension,
        asked: u64,
        left: u64,
        before: u64,
        after: u64,
    },
    /// The ledger refused, in the same way, because an overrun had closed this account.
    Closed { attempt: Digest, account: Account, before: u64, after: u64 },
    /// A vendor bills an attempt more than it said to be the most.
    Overran { attempt: Digest },
    /// Somebody hands in a later bill.
    Invoiced { id: AttemptId, amounts: Amounts },
    /// A vendor or a target has billed an attempt.
    Billed { attempt: Digest, amounts: Amounts },
}

/// The file of the lines.
pub(super) struct Log(Mutex<File>);

impl Log {
    pub(super) fn open(folder: &Path) -> Result<Self, SpendError> {
        Ok(Self(Mutex::new(OpenOptions::new().create(true).append(true).open(path(folder))?)))
    }

    /// Writes a line. What can't be written ends the process: without it nothing can be judged.
    pub(super) fn say(&self, line: &Line) {
        let written = serde_json::to_vec(line).map_err(std::io::Error::other).and_then(|mut line| {
            line.push(b'\n');
            self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)
        });
        if let Err(error) = written {
            eprintln!("spend: the log: {error}");
            std::process::exit(1);
        }
    }

    /// Every line of a run.
    pub(super) fn read(folder: &Path) -> Result<Vec<Line>, SpendError> {
        let text = std::fs::read_to_string(path(folder))?;
        // What is being written while this is read is not whole yet.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join("spend.log")
}

/// The attempt of a call, as the ledger names it.
pub(super) fn attempt_of(call: &agent_shell_core::Call) -> AttemptId {
    let (session, turn, step, epoch) = (call.session, call.turn, call.step.clone(), call.epoch);
    AttemptId { session, turn, step, epoch, attempt: call.attempt }
}
