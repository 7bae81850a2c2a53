//! A small host of the runtime in a process of its own, for tests of several owners: it opens a shell, does what it is
//! told on standard input, one JSON object a line, and says what happened on standard output. Its tools act on the
//! recorder with their first instruction.
#![allow(clippy::disallowed_methods, reason = "it is a host, and lives in real time")]

mod log;
mod process;
mod tools;
mod words;

use std::io::{self, BufRead};
use std::process::ExitCode;

use agent_shell_core::failpoint::{Action, Arm, arm};
use agent_shell_core::{Plan, Shell, Step};
use serde_json::json;
use tokio::sync::mpsc;

pub use process::OwnerProcess;
pub use tools::{tool, tool_name};
pub use words::{Command, Event, Setting, Stop};

use crate::recorder::RecorderClient;

/// Runs the program.
pub fn run() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = runtime.map_err(|error| error.to_string()).and_then(|runtime| runtime.block_on(host()));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            Event::Trouble { what }.say();
            ExitCode::FAILURE
        }
    }
}

/// Commands come through a thread. When standard input closes the process ends as it is, without a shutdown.
fn commands() -> Result<(Setting, mpsc::Receiver<Command>), String> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(|error| error.to_string())?;
    let setting = serde_json::from_str(&line).map_err(|error| format!("`{line}`: {error}"))?;
    let (sender, receiver) = mpsc::channel(64);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            match serde_json::from_str(&line) {
                Ok(command) => drop(sender.blocking_send(command)),
                Err(error) => Event::Trouble { what: format!("`{line}`: {error}") }.say(),
            }
        }
        std::process::exit(0);
    });
    Ok((setting, receiver))
}

async fn host() -> Result<(), String> {
    let (setting, mut commands) = commands()?;
    log::tell();
    if let Some(Stop { at, nth }) = &setting.stop {
        let at = at.parse().map_err(|error| format!("{error}"))?;
        arm(Arm { at, nth: *nth, action: Action::Stop });
    }
    let client = RecorderClient::new(&setting.recorder);
    let shell = Shell::at(&setting.journal).limits(setting.limits.clone());
    let shell = setting.tools.iter().fold(shell, |shell, class| shell.tool(tool(*class, &client)));
    let shell = shell.open().await.map_err(|error| error.to_string())?;
    Event::Opened { recovered: shell.recovered() }.say();
    while let Some(command) = commands.recv().await {
        match command {
            Command::Submit { session, tool, waits_ms } => {
                submit(&shell, &session, tool_name(tool), waits_ms).await?;
            }
            Command::Archive { folder } => {
                let report = shell.archive(folder).await.map_err(|error| error.to_string())?;
                Event::Archived { sessions: report.archived.len() }.say();
            }
            Command::Shutdown => {
                shell.shutdown().await.map_err(|error| error.to_string())?;
                Event::Closed.say();
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Submits a turn that waits for a while, when it is to, and then calls a tool.
async fn submit(shell: &Shell, session: &str, tool: &str, waits_ms: Option<u64>) -> Result<(), String> {
    let mut act = Step::tool("act", tool, json!({ "n": 1 }));
    let mut plan = Plan::builder();
    if let Some(ms) = waits_ms {
        plan = plan.step(Step::timer("wait", std::time::Duration::from_millis(ms)));
        act = act.after(["wait"]);
    }
    let plan = plan.step(act).build().map_err(|error| error.to_string())?;
    let session = shell.session(session).map_err(|error| error.to_string())?;
    let turn = session.submit(plan).await.map_err(|error| error.to_string())?;
    Event::Submitted { turn: turn.id() }.say();
    Ok(())
}

/// A plan that calls a tool at once, as [`Command::Submit`] makes it.
pub fn plan_of(tool: &str) -> Result<Plan, agent_shell_core::data::PlanError> {
    Plan::new([Step::tool("act", tool, json!({ "n": 1 }))])
}
