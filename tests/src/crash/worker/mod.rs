//! The worker: an ordinary host of the runtime, in a process that is killed.

mod controls;
mod follower;
mod person;
mod session;

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use agent_shell_core::backends::SystemClock;
use agent_shell_core::backends::sqlite::{SqliteKeys, SqliteOptions, SqliteStore};
use agent_shell_core::data::Ceiling;
use agent_shell_core::ports::{PlanView, SessionFilter, SessionStatus};
use agent_shell_core::runtime::Ceilings;
use agent_shell_core::{Planned, Planner, PlannerError, Shell, ShellBuilder};
use async_trait::async_trait;
use tokio::task::JoinSet;

use self::person::Person;
use super::control::{Controlled, Keeper};
use super::scenario::{Scenario, TurnKey};
use super::words::{Assignment, Event, Mode};
use super::{CrashError, control, hits, talk, tools};
use crate::recorder::RecorderClient;

/// The name of the planner that draws a turn again from its input.
pub(super) const PLANNER: &str = "scenario";

/// Pages of the write-ahead log after which it is copied into the file.
const CHECKPOINT_PAGES: u32 = 60;

/// Runs a worker: reads its assignment from standard input and does it. It goes when standard input closes, so that it
/// never outlives the harness.
pub(super) fn run() -> ExitCode {
    let result = read_assignment().and_then(|assignment| {
        std::thread::spawn(exit_at_end_of_stdin);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.map_err(CrashError::system("the worker's runtime"))?.block_on(work(assignment))
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(Event::Trouble { what: format!("the worker stopped: {error}") }.say());
            ExitCode::FAILURE
        }
    }
}

fn read_assignment() -> Result<Assignment, CrashError> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(CrashError::system("the worker's assignment"))?;
    Ok(serde_json::from_str(&line)?)
}

fn exit_at_end_of_stdin() {
    let mut buffer = [0; 64];
    while !matches!(io::stdin().lock().read(&mut buffer), Ok(0) | Err(_)) {}
    std::process::exit(0);
}

/// Says an event; without a harness there is nothing left to do.
fn say(event: &Event) {
    if event.say().is_err() {
        std::process::exit(0);
    }
}

fn trouble(what: String) {
    say(&Event::Trouble { what });
}

async fn work(assignment: Assignment) -> Result<(), CrashError> {
    hits::note(&assignment.hits, assignment.armed.as_ref())?;
    let client = RecorderClient::new(&assignment.recorder);
    let builder = tools::tools(&client)
        .into_iter()
        .fold(on(&assignment.journal).await?, |shell, tool| shell.tool(tool));
    let planner = Drawn { seed: assignment.seed };
    let talker = talk::Talker::open(assignment.seed, &assignment.journal)?;
    let builder = builder.model(talker).named_planner(talk::PLANNER, talk::planner());
    let builder = builder.named_planner(PLANNER, planner).budgeted(|_| ceilings());
    let builder = match assignment.controls {
        0 => builder,
        _ => meddled(builder, &assignment, &client),
    };
    let mut limits = assignment.limits.clone();
    if let Mode::Follow { .. } = assignment.mode {
        limits.held_sessions = 0;
    }
    let shell = builder.limits(limits).open().await?;
    say(&Event::Opened { recovered: shell.recovered() });
    let person = Arc::new(Person::new(&assignment, client));
    let watching = tokio::spawn(watch(shell.clone()));
    match assignment.mode {
        Mode::Follow { to_the_end } => follower::follow(&shell, &assignment, to_the_end).await?,
        Mode::Attend { ms } => person.attend(&shell, Duration::from_millis(ms)).await?,
        Mode::UntilKilled | Mode::Finish | Mode::Leave { .. } => {
            let (all, of_all) = (shell.clone(), person.clone());
            let strangers = tokio::spawn(async move { of_all.see_to_strangers(&all).await });
            let mut sessions = JoinSet::new();
            for work in assignment.sessions.clone() {
                let driver = session::Driver::new(&shell, person.clone(), &assignment, work)?;
                sessions.spawn(driver.drive());
            }
            let driven = async {
                while let Some(ended) = sessions.join_next().await {
                    ended.map_err(|error| {
                        CrashError::system("a session's driver")(io::Error::other(error))
                    })??;
                }
                Ok::<_, CrashError>(())
            };
            match assignment.mode {
                Mode::Leave { ms } => tokio::select! {
                    driven = driven => driven?,
                    () = tokio::time::sleep(Duration::from_millis(ms)) => {}
                },
                _ => driven.await?,
            }
            sessions.abort_all();
            while sessions.join_next().await.is_some() {}
            strangers.abort();
        }
    }
    watching.abort();
    shell.shutdown().await?;
    say(&Event::Finished);
    Ok(())
}

/// A shell as `Shell::at` makes it, whose log is copied into the file so often that a kill may well fall into it.
async fn on(journal: &Path) -> Result<ShellBuilder, CrashError> {
    let clock = Arc::new(SystemClock::new());
    let mut options = SqliteOptions::default();
    options.checkpoint_pages = CHECKPOINT_PAGES;
    let keys = SqliteKeys::open(SqliteKeys::path_beside(journal), options.clone(), clock.clone()).await;
    let keys = keys.map_err(agent_shell_core::Error::from)?;
    let store = SqliteStore::store(journal, options, clock).await.map_err(agent_shell_core::Error::from)?;
    Ok(Shell::on(store, Arc::new(keys)))
}

/// With what the sessions need with whose turns people meddle.
fn meddled(builder: ShellBuilder, assignment: &Assignment, client: &RecorderClient) -> ShellBuilder {
    let builder = control::tools::tools(client).into_iter().fold(builder, |shell, tool| shell.tool(tool));
    let planners = control::DEFAULTS.into_iter().chain([control::PLANNER]);
    let named = |shell: ShellBuilder, name| shell.named_planner(name, Controlled { seed: assignment.seed });
    planners.fold(builder, named).guard(Keeper)
}

/// Ceilings that every attempt is judged under and that no run reaches: what a turn does follows from the seed alone.
fn ceilings() -> Ceilings {
    let plenty = Ceiling { tool_calls: Some(1 << 40), steps: Some(1 << 40), ..Ceiling::NONE };
    Ceilings { tenant: plenty, user: plenty, session: plenty, turn: plenty }
}

/// Tells the harness how far the sessions are, and which heads are durable.
async fn watch(shell: Shell) {
    let (mut last, mut heads) = (None, BTreeMap::new());
    for tick in 0_u64.. {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let Ok(entries) = shell.sessions(SessionFilter::default(), None, 1024).await else { return };
        let count = |status| entries.iter().filter(|entry| entry.mark.status == status).count();
        let marks = (count(SessionStatus::Running), count(SessionStatus::Resting));
        if last.replace(marks) != Some(marks) {
            say(&Event::Marks { running: marks.0, resting: marks.1 });
        }
        if tick.is_multiple_of(8) {
            for entry in &entries {
                if heads.insert(entry.id, entry.head) != Some(entry.head) {
                    say(&Event::Head { session: entry.id, head: entry.head });
                }
            }
        }
    }
}

/// Plans a turn by drawing it again from its name.
struct Drawn {
    seed: u64,
}

#[async_trait]
impl Planner for Drawn {
    async fn plan(&self, view: PlanView) -> Result<Planned, PlannerError> {
        let key: TurnKey = serde_json::from_value((*view.input).clone())?;
        let scenario = Scenario::draw(self.seed, key);
        let round = view.round as usize - 1;
        let plan = scenario.plan(round)?;
        Ok(if round + 1 == scenario.rounds { Planned::Whole(plan) } else { Planned::Next(plan) })
    }
}
