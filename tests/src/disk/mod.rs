//! A host of the runtime on a disk that may fail, in a process of its own: it opens a shell, does what it is told on
//! standard input, and answers on standard output. What makes its disk fail is [`Fault`].
#![allow(clippy::disallowed_methods, reason = "it is a host, and lives in real time")]

mod fault;
mod process;
mod words;

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use agent_shell_core::backends::SystemClock;
use agent_shell_core::backends::sqlite::{OpenError, SqliteKeys, SqliteOptions, SqliteStore};
use agent_shell_core::ports::Store;
use agent_shell_core::runtime::verify_store;
use agent_shell_core::words::{Head, SessionId};
use agent_shell_core::{
    Call, Error, Outcome, Plan, Request, Shell, ShellBuilder, Step, Template, Tool, ToolError, from, input,
};
use serde_json::{Value, json};

pub use fault::{Fault, FaultLibrary, Mode, Op};
pub use process::HostProcess;
pub use words::{Command, Event, Setting};

/// Runs the program.
pub fn run() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = runtime.map_err(|error| error.to_string()).and_then(|runtime| runtime.block_on(host()));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("{what}");
            ExitCode::FAILURE
        }
    }
}

/// The tools that the turns of these hosts call: one that looks and one that acts.
pub fn tools(shell: ShellBuilder) -> ShellBuilder {
    let look = Tool::pure("look", "Looks how long a text is", |text: String, _: Call| async move {
        Ok::<_, ToolError>(text.len())
    });
    let act = Tool::idempotent("act", "Acts under its key", |input: Value, _: Call| async move {
        Ok::<_, ToolError>(json!(format!("acted on {}", input["bytes"])))
    });
    shell.tool(look).tool(act)
}

/// A turn with an input of so many bytes.
pub fn request(bytes: usize) -> Result<Request, String> {
    let act = Template::object([("bytes", from("look", ""))]);
    let steps = [Step::tool("look", "look", input("")), Step::tool("act", "act", act)];
    let plan = Plan::new(steps).map_err(|error| error.to_string())?;
    Ok(Request::plan(plan).input("x".repeat(bytes)))
}

/// How a turn with an input of so many bytes ends.
pub fn answer(bytes: usize) -> String {
    format!("acted on {bytes}")
}

async fn open(setting: &Setting) -> Result<Shell, Error> {
    let shell = match setting.checkpoint_pages {
        None => Shell::at(&setting.journal),
        Some(checkpoint_pages) => {
            let mut options = SqliteOptions::default();
            options.checkpoint_pages = checkpoint_pages;
            let store = store(&setting.journal, options.clone()).await?;
            let path = SqliteKeys::path_beside(&setting.journal);
            Shell::on(store, Arc::new(SqliteKeys::open(path, options, Arc::new(SystemClock::new())).await?))
        }
    };
    tools(shell.limits(setting.limits.clone())).open().await
}

async fn store(journal: &Path, options: SqliteOptions) -> Result<Store, OpenError> {
    SqliteStore::store(journal, options, Arc::new(SystemClock::new())).await
}

/// Verifies every chain through a handle of its own.
async fn verify(journal: &Path, known: &BTreeMap<SessionId, Head>) -> Result<(), String> {
    let store = store(journal, SqliteOptions::default()).await.map_err(|error| error.to_string())?;
    verify_store(&store, known).await.map(drop).map_err(|error| error.to_string())
}

async fn host() -> Result<(), String> {
    let mut lines = io::stdin().lock().lines().map_while(Result::ok);
    let setting = lines.next().ok_or("a setting is needed")?;
    let setting: Setting = serde_json::from_str(&setting).map_err(|error| error.to_string())?;
    let shell = match open(&setting).await {
        Ok(shell) => shell,
        Err(error) => return say(&failed(&error)),
    };
    say(&Event::Opened)?;
    for line in lines {
        let command = serde_json::from_str(&line).map_err(|error| error.to_string())?;
        let ends = matches!(command, Command::Shutdown);
        say(&obey(&shell, &setting.journal, command).await?)?;
        if ends {
            break;
        }
    }
    Ok(())
}

async fn obey(shell: &Shell, journal: &Path, command: Command) -> Result<Event, String> {
    let done = match command {
        Command::Submit { session, key, bytes } => {
            let session = shell.session(session).map_err(|error| error.to_string())?;
            let turn = session.submit(request(bytes)?).dedupe(key).await;
            turn.map(|turn| Event::Submitted { turn: turn.id() })
        }
        Command::Outcome { turn, within_ms } => {
            let within = Duration::from_millis(within_ms);
            match tokio::time::timeout(within, shell.turn(turn).outcome()).await {
                Err(_) => Ok(Event::Late),
                Ok(Ok(Outcome::Answered(answer))) => {
                    Ok(Event::Ended { answer: Outcome::Answered(answer).text() })
                }
                Ok(Ok(other)) => return Err(format!("a turn ended as {other:?}")),
                Ok(Err(error)) => Err(error),
            }
        }
        Command::Crowd { sessions, within_ms } => return crowd(shell, sessions, within_ms).await,
        Command::Export { to } => match std::fs::File::create(to).map_err(|error| error.to_string()) {
            Err(message) => return Ok(Event::Failed { kind: "Write".into(), message }),
            Ok(mut file) => match shell.export(&mut file, false).await {
                Ok(_) => Ok(Event::Done),
                Err(error) => return Ok(Event::Failed { kind: "Write".into(), message: error.to_string() }),
            },
        },
        Command::Verify { known } => match verify(journal, &known).await {
            Ok(()) => Ok(Event::Done),
            Err(message) => return Ok(Event::Failed { kind: "Verify".into(), message }),
        },
        Command::Shutdown => shell.shutdown().await.map(|()| Event::Done),
    };
    Ok(done.unwrap_or_else(|error| failed(&error)))
}

/// The size of the inputs of a crowd.
const CROWDS_BYTES: usize = 100;

async fn crowd(shell: &Shell, sessions: usize, within_ms: u64) -> Result<Event, String> {
    let one = |nth: usize| async move {
        let session = shell.session(format!("crowd {nth}")).map_err(|error| error.to_string())?;
        let ends = async {
            let turn = session.submit(request(CROWDS_BYTES)?).await;
            let outcome = match turn {
                Ok(turn) => turn.outcome().await,
                Err(error) => Err(error),
            };
            Ok(match outcome {
                Ok(outcome) if outcome.text() == answer(CROWDS_BYTES) => "ended".to_owned(),
                Ok(outcome) => return Err(format!("a turn ended as {outcome:?}")),
                Err(error) => format!("{:?}", error.kind()),
            })
        };
        tokio::time::timeout(Duration::from_millis(within_ms), ends)
            .await
            .unwrap_or_else(|_| Ok("late".into()))
    };
    let mut of = BTreeMap::new();
    for came in futures::future::join_all((0..sessions).map(one)).await {
        *of.entry(came?).or_default() += 1;
    }
    Ok(Event::Crowd { of })
}

fn failed(error: &Error) -> Event {
    Event::Failed { kind: format!("{:?}", error.kind()), message: error.to_string() }
}

fn say(event: &Event) -> Result<(), String> {
    let mut line = serde_json::to_vec(event).map_err(|error| error.to_string())?;
    line.push(b'\n');
    io::stdout().lock().write_all(&line).map_err(|error| error.to_string())
}
