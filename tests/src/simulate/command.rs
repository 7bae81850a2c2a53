//! The simulation as a program.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sha2::{Digest, Sha256};

use super::bugs::Bug;
use super::report::Report;
use super::run::{Outcome, simulate};
use crate::arguments::{Arguments, UsageError};

const USAGE: &str = "simulate [--seeds N] [--from S] [--threads N] [--bug NAME] [--json FILE], or simulate --seed S [--trace] \
[--bug NAME] [--json FILE]";

/// How often each fault and each transition must have been reached in a run of at least [`MANY`] seeds.
const LEAST: u64 = 10;
const MANY: u64 = 2_000;
/// The same where there are so many.
const LEAST_OF_MORE: u64 = 20;
const MORE: u64 = 5_000;

/// Of so many seeds one runs twice: a seed whose second run is another one can't be replayed.
const ONE_OF: u64 = 50;

/// Breaches of one run that are printed.
const SHOWN: usize = 5;

/// Runs the program with these arguments (without its name).
pub fn run(arguments: impl IntoIterator<Item = String>) -> ExitCode {
    match runs(Arguments::new(arguments)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(Failed::Usage(error)) => {
            eprintln!("simulate: {error}\nusage: {USAGE}");
            ExitCode::from(2)
        }
        Err(Failed::File(file, error)) => {
            eprintln!("simulate: {}: {error}", file.display());
            ExitCode::FAILURE
        }
    }
}

enum Failed {
    Usage(UsageError),
    File(PathBuf, std::io::Error),
}

impl From<UsageError> for Failed {
    fn from(error: UsageError) -> Self {
        Self::Usage(error)
    }
}

/// Runs seeds. True when every promise was kept, and enough was reached.
fn runs(mut given: Arguments) -> Result<bool, Failed> {
    let one: Option<u64> = given.option("--seed")?;
    let trace = given.flag("--trace");
    let seeds = given.option("--seeds")?;
    let from = given.option("--from")?;
    let threads: Option<usize> = given.option("--threads")?;
    let bug: Option<Bug> = given.option("--bug")?;
    let json: Option<PathBuf> = given.option("--json")?;
    given.finish()?;
    if one.is_some() && (seeds.is_some() || from.is_some() || threads.is_some()) {
        return Err(
            UsageError::new("--seed runs one seed: --seeds, --from and --threads don't go with it").into()
        );
    }
    if trace && one.is_none() {
        return Err(UsageError::new("--trace goes with --seed").into());
    }
    let report = match one {
        Some(seed) => one_run(seed, bug, trace),
        None => {
            let threads =
                threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
            many_runs(from.unwrap_or(0), seeds.unwrap_or(300), threads.max(1), bug)
        }
    };
    print(&report.table());
    if let Some(file) = json {
        fs::write(&file, format!("{}\n", report.json())).map_err(|error| Failed::File(file, error))?;
    }
    tell(&report, bug);
    let least = if report.runs >= MORE { LEAST_OF_MORE } else { LEAST };
    let missing =
        if report.runs >= MANY && bug.is_none() { report.coverage.missing(least) } else { Vec::new() };
    for (name, count) in &missing {
        eprintln!("simulate: reached {count} times, and {least} are wanted: {name}");
    }
    Ok(report.broken.is_empty() && missing.is_empty())
}

/// Whoever reads may have gone.
fn print(text: &str) {
    std::io::stdout().write_all(text.as_bytes()).ok();
}

fn one_run(seed: u64, bug: Option<Bug>, trace: bool) -> Report {
    let outcome = simulate(seed, bug, trace);
    outcome.trace.iter().for_each(|line| print(&format!("{line}\n")));
    let digest = Sha256::digest(&outcome.journals);
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    print(&format!("seed {seed}: {} bytes of journals, SHA-256 {digest}\n", outcome.journals.len()));
    let mut report = Report::default();
    report.add(outcome);
    report
}

/// Each seed runs on one thread; which one does not matter.
fn many_runs(from: u64, seeds: u64, threads: usize, bug: Option<Bug>) -> Report {
    let next = AtomicU64::new(from);
    let enough = AtomicBool::new(false);
    let report = Mutex::new(Report::default());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from.saturating_add(seeds) || enough.load(Ordering::Relaxed) {
                        return;
                    }
                    let mut outcome = simulate(seed, bug, false);
                    if seed.is_multiple_of(ONE_OF) {
                        outcome.compare(&simulate(seed, bug, false));
                    }
                    let mut report = report.lock().expect("a run does not panic: it is a breach");
                    report.add(Outcome { journals: Vec::new(), ..outcome });
                    // Many broken runs tell no more than some.
                    enough.store(report.broken.len() >= 20, Ordering::Relaxed);
                }
            });
        }
    });
    let mut report = report.into_inner().expect("a run does not panic: it is a breach");
    report.broken.sort_by_key(|run| run.seed);
    report
}

fn tell(report: &Report, bug: Option<Bug>) {
    let with = bug.map_or(String::new(), |bug| format!(" --bug {bug}"));
    for run in &report.broken {
        for breach in run.breaches.iter().take(SHOWN) {
            eprintln!("simulate: seed {}: {breach}", run.seed);
        }
        eprintln!("simulate: seed {}: replay with --seed {}{with} --trace", run.seed, run.seed);
    }
}
