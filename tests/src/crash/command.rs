//! The harness as a program.

use std::env;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::harness::{Harness, Lives, Run};
use super::judge::{Verdict, judge};
use super::violation::by_rule;
use super::{CrashError, hits, report, worker};
use crate::arguments::{Arguments, UsageError};
use crate::recorder::{self, Chaos, RecorderProcess, Settings};

const USAGE: &str = "crash [--kills N] [--failpoints N] [--owners N] [--stops] [--seed S] [--sessions N] [--talks N] \
[--controls N] [--finish-within SECONDS] [--dir D] [--keep] [--json FILE]";

/// Violations of one kind that are printed.
const SHOWN: usize = 5;

/// Runs the program with these arguments (without its name).
pub fn run(arguments: impl IntoIterator<Item = String>) -> ExitCode {
    let mut given = Arguments::new(arguments);
    let result = match given.word().as_deref() {
        None => harness(given),
        Some("worker") => return worker::run(),
        Some("recorder") => return recorder::run(given.left()),
        Some(other) => Err(UsageError::new(format!("{other}: there is no such command")).into()),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(CrashError::Usage(error)) => {
            eprintln!("crash: {error}\nusage: {USAGE}");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("crash: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the harness. True when every promise was kept.
fn harness(mut given: Arguments) -> Result<bool, CrashError> {
    let kills = given.option("--kills")?.unwrap_or(300);
    let at_failpoints = given.option("--failpoints")?.unwrap_or(0);
    let owners = given.option("--owners")?.unwrap_or(1);
    let stops = given.flag("--stops");
    let seed = given.option("--seed")?.unwrap_or_else(any_seed);
    let sessions = given.option("--sessions")?.unwrap_or(8);
    let talks = given.option("--talks")?.unwrap_or(3);
    let controls = given.option("--controls")?.unwrap_or(3);
    let finish_within = Duration::from_secs(given.option("--finish-within")?.unwrap_or(60));
    let folder: Option<PathBuf> = given.option("--dir")?;
    let json: Option<PathBuf> = given.option("--json")?;
    let keep = given.flag("--keep");
    given.finish()?;
    if sessions == 0 || sessions > 256 {
        return Err(UsageError::new("--sessions: at least 1, and at most 256").into());
    }
    if talks > 64 {
        return Err(UsageError::new("--talks: at most 64").into());
    }
    if controls > 64 {
        return Err(UsageError::new("--controls: at most 64").into());
    }
    if owners == 0 || owners > 64 {
        return Err(UsageError::new("--owners: at least 1, and at most 64").into());
    }
    let folder = Folder::make(folder)?;
    let [journal, recorder, log, hits] =
        ["shell.db", "recorder", "recorder.log", "failpoints.hits"].map(|name| folder.path().join(name));
    let run = Run {
        kills,
        at_failpoints,
        stops,
        owners,
        seed,
        sessions,
        talks,
        controls,
        finish_within,
        journal,
        recorder,
        log,
        hits,
    };
    eprintln!("crash: seed {seed}");
    let (lives, verdict) = lives_and_verdict(&run)?;
    let hits = hits::counted(&run.hits)?;
    print!("{}", report::table(&run, &lives, &verdict, &hits));
    if let Some(file) = json {
        let text = format!("{}\n", report::json(&run, &lives, &verdict, &hits));
        fs::write(&file, text).map_err(CrashError::system(file.display().to_string()))?;
    }
    let is_well = verdict.violations.is_empty();
    if !is_well {
        for rule in by_rule(&verdict.violations).into_keys() {
            let of_rule = verdict.violations.iter().filter(|violation| violation.rule == rule);
            of_rule.take(SHOWN).for_each(|violation| eprintln!("crash: violation: {violation}"));
        }
        eprintln!("crash: {} violations; replay with --seed {seed}", verdict.violations.len());
    }
    folder.close(keep || !is_well);
    Ok(is_well)
}

fn lives_and_verdict(run: &Run) -> Result<(Lives, Verdict), CrashError> {
    let program = env::current_exe().map_err(CrashError::system("this program's own file"))?;
    let mut settings = Settings::new(&run.recorder, &run.log);
    settings.chaos =
        Chaos { seed: run.seed, delay_per_thousand: 60, delay_ms: 1..=380, drop_per_thousand: 25 };
    let mut of_recorder = Command::new(&program);
    of_recorder.arg("recorder");
    let recorder = RecorderProcess::start(of_recorder, settings)?;
    let lives = Harness::new(run.clone(), &program).drive(progress)?;
    clear_progress();
    drop(recorder);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(CrashError::system("the judge's runtime"))?;
    let verdict = runtime.block_on(judge(run, &lives.book))?;
    Ok((lives, verdict))
}

fn progress(lives: &Lives) {
    if io::stderr().is_terminal() {
        let (kills, turns) = (lives.kills.all(), lives.book.turns.len());
        eprint!("\r\x1b[Kkills {kills}, turns {turns}, troubles {}", lives.book.troubles.len());
        drop(io::stderr().flush());
    }
}

fn clear_progress() {
    if io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
}

fn any_seed() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_nanos() as u64 % 1_000_000_000
}

/// Where journal and log lie. One of our own making goes when all is well.
enum Folder {
    Given(PathBuf),
    Made(tempfile::TempDir),
}

impl Folder {
    fn make(given: Option<PathBuf>) -> Result<Self, CrashError> {
        let Some(path) = given else {
            return tempfile::tempdir().map(Self::Made).map_err(CrashError::system("a folder for the run"));
        };
        let failed = || CrashError::system(path.display().to_string());
        fs::create_dir_all(&path).map_err(failed())?;
        let path = path.canonicalize().map_err(failed())?;
        if path.join("shell.db").exists() {
            let message = format!("{}: holds a journal already; give an empty folder", path.display());
            return Err(UsageError::new(message).into());
        }
        Ok(Self::Given(path))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Given(path) => path,
            Self::Made(folder) => folder.path(),
        }
    }

    fn close(self, keep: bool) {
        if let Self::Made(folder) = self
            && keep
        {
            eprintln!("crash: journal and log are in {}", folder.keep().display());
        }
    }
}
