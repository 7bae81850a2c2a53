//! The benchmarks as a program.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;
use std::{env, fs};

use serde::Serialize;

use super::load::Until;
use super::report::{self, Row};
use super::rounds::{self, Plan};
use super::{BenchError, age, folder, followers, fsyncs, long_session, machine, recovery, systems};
use crate::arguments::{Arguments, UsageError};

const USAGE: &str = "bench steps [--seconds S] [--sessions 1,16,64] [--rounds R] [--json FILE] \
[--only SYSTEM[/JOURNAL[/CLASS]]] [--dir FOLDER] [--no-fsyncs]
       bench recovery [--sessions 1000,10000,100000] [--rounds R] [--within SECONDS] [--json FILE] [--dir FOLDER]
       bench age [--sessions N] [--turns 10,1000] [--rounds R] [--json FILE] [--dir FOLDER]
       bench long-session [--turns N] [--young N] [--json FILE] [--dir FOLDER]
       bench followers [--followers N] [--turns N] [--steps N] [--pace-ms MS] [--slow-ms MS] [--poll-ms MS] [--seed N] \
[--json FILE] [--dir FOLDER]";

/// Runs the program with these arguments (without its name).
pub fn run(arguments: impl IntoIterator<Item = String>) -> ExitCode {
    let mut given = Arguments::new(arguments);
    let result = match given.word().as_deref() {
        Some("steps") => steps(given),
        Some("once") => once(given),
        Some("recovery") => recover(given),
        Some("age") => aged(given),
        Some("long-session") => long(given),
        Some("followers") => followed(given),
        Some("followers-elsewhere") => followed_elsewhere(given),
        Some("interrupted") => interrupted(given),
        Some(other) => Err(UsageError::new(format!("{other}: there is no such benchmark")).into()),
        None => Err(UsageError::new("which benchmark?").into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(BenchError::Usage(error)) => {
            eprintln!("bench: {error}\nusage: {USAGE}");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures every system, prints the table, writes the file.
fn steps(mut given: Arguments) -> Result<(), BenchError> {
    let seconds: f64 = given.option("--seconds")?.unwrap_or(3.0);
    let sessions: Sessions = given.option("--sessions")?.unwrap_or(Sessions(vec![1, 16, 64]));
    let rounds: usize = given.option("--rounds")?.unwrap_or(3);
    let json: Option<PathBuf> = given.option("--json")?;
    let systems = selected(&mut given)?;
    let folder = data_folder(&mut given)?;
    let no_fsyncs = given.flag("--no-fsyncs");
    given.finish()?;
    if rounds == 0 || !(seconds > 0.0 && seconds <= 3600.0) {
        return Err(UsageError::new("at least one round, of more than zero seconds and at most 3600").into());
    }

    let until = Until::Elapsed(Duration::from_secs_f64(seconds));
    let plan = Plan { systems: &systems, sessions: &sessions.0, rounds, until, folder: &folder };
    let watch = machine::Watch::start();
    let all = rounds::run(&plan, progress)?;
    let warning = watch.warning();
    let counting = !no_fsyncs && fsyncs::can_count();
    if !counting && !no_fsyncs {
        eprintln!("bench: strace is missing or may not trace, so syncs are not counted");
    }
    let program = env::current_exe()?;
    let mut rows = Vec::with_capacity(all.len());
    for series in &all {
        let label = systems::label(series.system);
        let count = || {
            progress(&format!("counting syncs: {label}, {} sessions", series.sessions));
            fsyncs::per_step(&program, &label, series.sessions, &folder)
        };
        let fsyncs_per_step = if counting { Some(count()?) } else { None };
        rows.push(Row::new(series, fsyncs_per_step));
    }
    progress("");
    show(&report::table(&rows), &rows, warning, json)
}

/// Prints the table, and writes the file.
fn show(
    table: &str,
    rows: &[impl Serialize],
    warning: Option<String>,
    json: Option<PathBuf>,
) -> Result<(), BenchError> {
    print!("{table}");
    if let Some(warning) = warning {
        eprintln!("bench: {warning}");
    }
    if let Some(file) = json {
        let lines = report::json(rows).map_err(BenchError::system)?;
        fs::write(&file, lines)
            .map_err(|error| BenchError::Folder(format!("{}: {error}", file.display())))?;
    }
    Ok(())
}

/// Measures how long a process takes until all that a killed one left goes on.
fn recover(mut given: Arguments) -> Result<(), BenchError> {
    let sessions: Sessions = given.option("--sessions")?.unwrap_or(Sessions(vec![1_000, 10_000, 100_000]));
    let rounds: usize = given.option("--rounds")?.unwrap_or(3);
    let within: u64 = given.option("--within")?.unwrap_or(600);
    let json: Option<PathBuf> = given.option("--json")?;
    let folder = data_folder(&mut given)?;
    given.finish()?;
    if rounds == 0 {
        return Err(UsageError::new("at least one round").into());
    }
    let within = Duration::from_secs(within);
    let program = env::current_exe()?;
    let plan = recovery::Plan { sessions: &sessions.0, rounds, within, program, folder: &folder };
    let rows = recovery::run(&plan, progress)?;
    progress("");
    show(&recovery::table(&rows), &rows, None, json)
}

/// Measures what a turn costs an old session beside a young one.
fn aged(mut given: Arguments) -> Result<(), BenchError> {
    let sessions: usize = given.option("--sessions")?.unwrap_or(16);
    let rounds: usize = given.option("--rounds")?.unwrap_or(5);
    let turns: Sessions = given.option("--turns")?.unwrap_or(Sessions(vec![10, 1000]));
    let json: Option<PathBuf> = given.option("--json")?;
    let folder = data_folder(&mut given)?;
    given.finish()?;
    let ages: [usize; 2] =
        turns.0.try_into().map_err(|_| UsageError::new("--turns: two numbers, with a comma between"))?;
    if sessions == 0 || rounds == 0 {
        return Err(UsageError::new("at least one session and one round").into());
    }
    let watch = machine::Watch::start();
    let rows = age::run(&age::Settings { sessions, rounds, ages, folder: &folder }, progress)?;
    let warning = watch.warning();
    progress("");
    show(&age::table(&rows), &rows, warning, json)
}

/// Measures what a turn costs a long conversation beside a short one.
fn long(mut given: Arguments) -> Result<(), BenchError> {
    let turns: u64 = given.option("--turns")?.unwrap_or(10_000);
    let young: usize = given.option("--young")?.unwrap_or(20);
    let json: Option<PathBuf> = given.option("--json")?;
    let folder = data_folder(&mut given)?;
    given.finish()?;
    let marks = long_session::marks(turns);
    if marks.is_empty() || young == 0 || turns > 10_000_000 {
        return Err(UsageError::new("--turns: from 10 to 10000000, and at least one new session").into());
    }
    let watch = machine::Watch::start();
    let rows = long_session::run(&long_session::Settings { marks, young, folder: &folder }, progress)?;
    let warning = watch.warning();
    progress("");
    show(&long_session::table(&rows), &rows, warning, json)
}

/// Measures what many followers of many turns cost, and fails when one of them is not told everything.
fn followed(mut given: Arguments) -> Result<(), BenchError> {
    let mut number = |name: &str, default: u64| Ok::<u64, UsageError>(given.option(name)?.unwrap_or(default));
    let followers = number("--followers", 10_000)?;
    let turns = number("--turns", 100)?;
    let steps = number("--steps", 110)?;
    let (pace_ms, slow_ms) = (number("--pace-ms", 150)?, number("--slow-ms", 250)?);
    let (poll_ms, seed) = (number("--poll-ms", 500)?, number("--seed", 1)?);
    let json: Option<PathBuf> = given.option("--json")?;
    let folder = data_folder(&mut given)?;
    given.finish()?;
    let bounds = [followers, turns, steps, pace_ms, slow_ms, poll_ms];
    if bounds.into_iter().any(|bound| !(1..=1_000_000).contains(&bound)) {
        return Err(UsageError::new("numbers from 1 to 1000000").into());
    }
    let program = env::current_exe()?;
    let (followers, turns, steps) = (followers as usize, turns as usize, steps as usize);
    let folder = &folder;
    let settings =
        followers::Settings { followers, turns, steps, pace_ms, slow_ms, poll_ms, seed, program, folder };
    let watch = machine::Watch::start();
    let row = followers::run(&settings, progress)?;
    let warning = watch.warning();
    progress("");
    show(&followers::table(&row), std::slice::from_ref(&row), warning, json)?;
    row.problem().map_or(Ok(()), |problem| Err(BenchError::system(problem)))
}

/// The followers in another process than the one that drives the turns.
fn followed_elsewhere(mut given: Arguments) -> Result<(), BenchError> {
    let folder: PathBuf = given.required("--dir")?;
    let followers: usize = given.required("--followers")?;
    let paces = (given.required("--slow-ms")?, given.required("--poll-ms")?, given.required("--seed")?);
    let place: usize = given.required("--place")?;
    given.finish()?;
    followers::watch_elsewhere(&folder, followers, paces, place)
}

/// The process that the benchmark of recovery kills.
fn interrupted(mut given: Arguments) -> Result<(), BenchError> {
    let sessions: usize = given.required("--sessions")?;
    let folder: PathBuf = given.required("--dir")?;
    let submit = given.flag("--submit");
    given.finish()?;
    recovery::work(&folder, sessions, submit)
}

/// One run with a fixed number of steps, which strace watches.
fn once(mut given: Arguments) -> Result<(), BenchError> {
    let sessions: usize = given.required("--sessions")?;
    let steps: u64 = given.required("--steps")?;
    let systems = selected(&mut given)?;
    let folder = data_folder(&mut given)?;
    given.finish()?;
    let [system] = &systems[..] else {
        return Err(UsageError::new("--only names more than one system").into());
    };
    let measured = rounds::once(system.as_ref(), sessions, Until::Steps(steps), &folder)?;
    println!("{} steps", measured.steps);
    Ok(())
}

fn selected(given: &mut Arguments) -> Result<Vec<Box<dyn super::System>>, UsageError> {
    let wanted: Option<String> = given.option("--only")?;
    let systems = systems::only(wanted.as_deref());
    if systems.is_empty() {
        let known: Vec<String> =
            systems::all().iter().map(|system| systems::label(system.as_ref())).collect();
        return Err(UsageError::new(format!("--only: no such system; there are {}", known.join(", "))));
    }
    Ok(systems)
}

/// By default below the folder that cargo builds into, which is on the disk of the sources.
fn data_folder(given: &mut Arguments) -> Result<PathBuf, BenchError> {
    let folder: Option<PathBuf> = given.option("--dir")?;
    folder::on_disk(&folder.unwrap_or_else(|| PathBuf::from("target/bench")))
}

/// On a terminal only, one line that is written over.
fn progress(what: &str) {
    if io::stderr().is_terminal() {
        eprint!("\r\x1b[K{what}");
    }
}

/// `1,16,64`.
struct Sessions(Vec<usize>);

impl FromStr for Sessions {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = |number: &str| number.parse().ok().filter(|sessions| (1..=1_000_000).contains(sessions));
        let sessions: Option<Vec<usize>> = text.split(',').map(parse).collect();
        sessions.map(Self).ok_or("numbers from 1 to 1000000, with commas between")
    }
}
