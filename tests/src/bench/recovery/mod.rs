//! How long it takes from the start of a process until everything that a killed one left has gone on: each session
//! claimed, folded, and its next step dispatched.
//!
//! A worker submits a turn to each session and is killed with SIGKILL when the second step of every turn runs. The
//! next worker is a new process on the same files; its time runs from before it is started until the tool of every
//! session's second step was called again. It is killed, too, and the next round begins with what it left: one more
//! record in each session.

mod life;
mod report;
#[cfg(test)]
mod tests;
mod worker;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub(super) use report::{Row, table};
pub(super) use worker::run as work;

use self::life::{Life, Recovered};
use super::{BenchError, folder};

/// The settings of a run.
pub(super) struct Plan<'a> {
    pub(super) sessions: &'a [usize],
    pub(super) rounds: usize,
    /// How long a worker may take.
    pub(super) within: Duration,
    /// This program, which hands the rest of its arguments to the command line of the benchmarks.
    pub(super) program: PathBuf,
    pub(super) folder: &'a Path,
}

/// Runs everything, the numbers of sessions one after another. `say` is told what runs next.
pub(super) fn run(plan: &Plan<'_>, mut say: impl FnMut(&str)) -> Result<Vec<Row>, BenchError> {
    let mut rows = Vec::with_capacity(plan.sessions.len());
    for &sessions in plan.sessions {
        let folder = folder::empty(plan.folder)?;
        say(&format!("{sessions} sessions: they are made, and interrupted"));
        Life::begin(plan, folder.path(), sessions, true)?.until_all_act(plan.within)?;
        let mut rounds = Vec::with_capacity(plan.rounds);
        for round in 1..=plan.rounds {
            say(&format!("{sessions} sessions: recovery {round} of {}", plan.rounds));
            rounds.push(Life::begin(plan, folder.path(), sessions, false)?.until_all_act(plan.within)?);
        }
        rows.push(Row::new(sessions, &rounds));
    }
    Ok(rows)
}
