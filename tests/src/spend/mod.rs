//! Budgets under load. Several owners on one SQLite file drive many turns at once under one tenant's ceiling, with
//! ceilings of users, sessions and turns within it. Models fail, hang, are cut off and bill more than usual; tools fail;
//! turns expire, are cancelled and are abandoned; now and then a model uses more than it said, which closes accounts until somebody opens them,
//! and later bills come; owners are killed with SIGKILL and replaced, and stopped for longer than their lease. At
//! last the judge replays the ledger's own order of operations, and looks whether a ceiling was ever passed, anything is
//! still reserved, anything was settled for less than its bill, or refused although it did fit.
#![allow(
    clippy::disallowed_methods,
    reason = "the harness stands outside of the runtime, and lives in real time"
)]

mod finance;
mod harness;
mod judge;
mod records;
mod report;
mod tools;
mod vendor;
mod watched;
mod words;
mod worker;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use crate::arguments::{Arguments, UsageError};

const USAGE: &str = "spend [--sessions N] [--rounds N] [--workers N] [--kills N] [--stops N] [--seed S] \
[--finish-within SECONDS] [--dir D] [--json FILE]";

/// Violations that are printed.
const SHOWN: usize = 20;

/// Why the program can't go on; not a verdict on what it tests.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpendError {
    /// The command line.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// The shell.
    #[error("the shell: {0}")]
    Shell(#[from] agent_shell_core::Error),
    /// The store.
    #[error("the store: {0}")]
    Store(#[from] agent_shell_core::ports::StoreError),
    /// Files and processes.
    #[error("files and processes: {0}")]
    System(#[from] std::io::Error),
    /// A line of the log, or a name.
    #[error("what was written down: {0}")]
    Words(#[from] serde_json::Error),
    /// Something did not do what it should.
    #[error("{0}")]
    Stuck(String),
}

/// What is done, and how much of it.
#[derive(Clone, Copy, Debug)]
struct Load {
    seed: u64,
    /// Each with a turn that runs at the same time as those of the others.
    sessions: u64,
    /// Turns of one session, one after another.
    rounds: u64,
}

impl Load {
    fn take(given: &mut Arguments) -> Result<Self, UsageError> {
        let seed = given.option("--seed")?.unwrap_or(1);
        let sessions = given.option("--sessions")?.unwrap_or(1_000);
        let rounds = given.option("--rounds")?.unwrap_or(3);
        if !(1..=4_000).contains(&sessions) || !(1..=100).contains(&rounds) {
            return Err(UsageError::new("--sessions: at least 1, at most 4000; --rounds: at most 100"));
        }
        Ok(Self { seed, sessions, rounds })
    }

    fn arguments(&self) -> [String; 6] {
        let Self { seed, sessions, rounds } = self;
        ["--seed", &seed.to_string(), "--sessions", &sessions.to_string(), "--rounds", &rounds.to_string()]
            .map(String::from)
    }

    /// In how many answers of models one is an overrun: a few in a run, for each stops everybody until somebody has looked at
    /// it, and whoever asks meanwhile is refused.
    fn overrun_in(&self) -> u64 {
        (self.sessions * self.rounds / 7).max(2)
    }

    /// How many users share the sessions.
    fn users(&self) -> u64 {
        self.sessions.div_ceil(20)
    }
}

/// What is done to workers.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    workers: usize,
    kills: u64,
    stops: u64,
    finish_within: Duration,
}

/// Runs the program with these arguments (without its name).
pub fn run(arguments: impl IntoIterator<Item = String>) -> ExitCode {
    let mut given = Arguments::new(arguments);
    let result = match given.word().as_deref() {
        None => whole(given),
        Some("worker") => worker::run(given).map(|()| true),
        Some(other) => Err(UsageError::new(format!("{other}: there is no such command")).into()),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(SpendError::Usage(error)) => {
            eprintln!("spend: {error}\nusage: {USAGE}");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("spend: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs all of it. True when every promise was kept.
fn whole(mut given: Arguments) -> Result<bool, SpendError> {
    let trouble = Trouble {
        workers: given.option("--workers")?.unwrap_or(4),
        kills: given.option("--kills")?.unwrap_or(40),
        stops: given.option("--stops")?.unwrap_or(8),
        finish_within: Duration::from_secs(given.option("--finish-within")?.unwrap_or(300)),
    };
    let folder: Option<PathBuf> = given.option("--dir")?;
    let json: Option<PathBuf> = given.option("--json")?;
    let load = Load::take(&mut given)?;
    given.finish()?;
    if trouble.workers == 0 || trouble.workers > 16 {
        return Err(UsageError::new("--workers: at least 1, and at most 16").into());
    }
    let made = tempfile::tempdir()?;
    let folder = folder.unwrap_or_else(|| made.path().to_owned());
    std::fs::create_dir_all(&folder)?;
    if journal(&folder).exists() {
        return Err(UsageError::new("--dir: holds a journal already; give an empty folder").into());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (lives, verdict) = runtime.block_on(async {
        let shell = worker::open(&folder, &load, 0).await?;
        let lives = harness::drive(&shell, &folder, load, trouble).await?;
        let verdict = judge::judge(&shell, &folder, load.sessions).await?;
        Ok::<_, SpendError>((lives, verdict))
    })?;
    print!("{}", report::table(&load, &lives, &verdict));
    if let Some(file) = json {
        std::fs::write(file, format!("{}\n", report::json(&load, &lives, &verdict)))?;
    }
    for violation in verdict.violations.iter().take(SHOWN) {
        eprintln!("spend: violation: {violation}");
    }
    Ok(verdict.violations.is_empty())
}

/// The journal in the folder of a run.
fn journal(folder: &Path) -> PathBuf {
    folder.join("shell.db")
}
