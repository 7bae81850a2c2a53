//! Events under SIGKILL: workers run turns on one SQLite file, each with a bus of its own in memory, and are killed at
//! random instants, between publishing and acknowledging, between an effect and its mark, anywhere. At last one worker
//! finishes, and the judge looks whether every event that was told reached a handler at least once and in order, and
//! had its effect exactly once where the handler raises its mark in one transaction with the effect.
#![allow(
    clippy::disallowed_methods,
    reason = "the harness stands outside of the runtime, and lives in real time"
)]

mod judge;
mod worker;

use std::env;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::arguments::{Arguments, UsageError};
use crate::random::Random;

const USAGE: &str = "crash_events [--kills N] [--workers N] [--seed S] [--finish-within SECONDS] [--dir D]";

/// Why the harness can't go on; not a verdict on what it tests.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventsError {
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
    /// The file, read past the runtime.
    #[error("the journal's file: {0}")]
    File(#[from] rusqlite::Error),
    /// A worker did not do what it should.
    #[error("a worker {0}")]
    Worker(&'static str),
}

/// Runs the program with these arguments (without its name).
pub fn run(arguments: impl IntoIterator<Item = String>) -> ExitCode {
    let mut given = Arguments::new(arguments);
    let result = match given.word().as_deref() {
        None => harness(given),
        Some("worker") => worker::run(given).map(|()| true),
        Some(other) => Err(UsageError::new(format!("{other}: there is no such command")).into()),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(EventsError::Usage(error)) => {
            eprintln!("crash_events: {error}\nusage: {USAGE}");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("crash_events: {error}");
            ExitCode::FAILURE
        }
    }
}

fn harness(mut given: Arguments) -> Result<bool, EventsError> {
    let kills: u64 = given.option("--kills")?.unwrap_or(40);
    let workers: usize = given.option("--workers")?.unwrap_or(2);
    let seed = given.option("--seed")?.unwrap_or(1);
    let finish_within = Duration::from_secs(given.option("--finish-within")?.unwrap_or(120));
    let folder: Option<PathBuf> = given.option("--dir")?;
    given.finish()?;
    if workers == 0 || workers > 8 {
        return Err(UsageError::new("--workers: at least 1, and at most 8").into());
    }
    let made = tempfile::tempdir()?;
    let folder = folder.unwrap_or_else(|| made.path().to_owned());
    std::fs::create_dir_all(&folder)?;
    let mut random = Random::new(seed);
    let mut running = Vec::new();
    for _ in 0..workers {
        running.push(Worker::start(&folder, random.next(), false)?);
    }
    for _ in 0..kills {
        thread::sleep(Duration::from_millis(40 + random.below(500)));
        let place = random.below(running.len() as u64) as usize;
        running.swap_remove(place).kill()?;
        running.push(Worker::start(&folder, random.next(), false)?);
    }
    running.into_iter().try_for_each(Worker::kill)?;
    Worker::start(&folder, random.next(), true)?.finish(finish_within)?;
    let verdict = judge::judge(&folder)?;
    println!(
        "seed        {seed}\nkills       {kills}\nsessions    {}\nevents      {}",
        verdict.sessions, verdict.events
    );
    println!("repeats     {}\nviolations  {}", verdict.repeats, verdict.violations.len());
    verdict
        .violations
        .iter()
        .take(20)
        .for_each(|violation| eprintln!("crash_events: violation: {violation}"));
    Ok(verdict.violations.is_empty() && verdict.events > 0)
}

/// A worker's process. It is killed when this is dropped, and goes when this process dies.
struct Worker(Child);

impl Worker {
    /// Starts one, and returns when its shell is open.
    fn start(folder: &Path, seed: u64, finish: bool) -> Result<Self, EventsError> {
        let mut program = Command::new(env::current_exe()?);
        program.args(["worker", "--seed", &seed.to_string(), "--dir"]).arg(folder);
        if finish {
            program.arg("--finish");
        }
        let mut child = program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take();
        let worker = Self(child);
        let mut line = String::new();
        if let Some(stdout) = stdout {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        if line.trim_end() == "open" {
            Ok(worker)
        } else {
            Err(EventsError::Worker("did not open its shell"))
        }
    }

    fn kill(mut self) -> Result<(), EventsError> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }

    fn finish(mut self, within: Duration) -> Result<(), EventsError> {
        let end = Instant::now() + within;
        while Instant::now() < end {
            match self.0.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(_) => return Err(EventsError::Worker("ended with an error")),
                None => thread::sleep(Duration::from_millis(10)),
            }
        }
        Err(EventsError::Worker("did not come to an end"))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may be dead already; in either case it is gone afterwards.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The journal in the folder of a run.
fn journal(folder: &Path) -> PathBuf {
    folder.join("shell.db")
}

/// What the handler that repeats things wrote, a line for each event.
fn log(folder: &Path) -> PathBuf {
    folder.join("events.log")
}
