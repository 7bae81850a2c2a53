//! The process that is killed.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent_shell_core::{Call, Limits, Plan, Request, Retry, Shell, Step, Tool, ToolError, input};
use serde_json::json;
use tokio::task::JoinSet;

use super::super::BenchError;

/// A word on the pipe: the number of a session whose tool was called, little-endian, or [`OPENED`].
pub(super) const WORD: usize = size_of::<u32>();
/// `open` has returned.
pub(super) const OPENED: u32 = u32::MAX;

/// Submits at once, when the sessions are made.
const SUBMITTERS: usize = 64;
/// What the first step puts out, in bytes.
const OUTPUT_BYTES: usize = 200;

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Named {
    session: u32,
}

/// Opens a shell in the folder; with `submit`, makes so many sessions and a turn in each. Then it waits to be killed.
pub(in super::super) fn run(folder: &Path, sessions: usize, submit: bool) -> Result<(), BenchError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let pipe = Arc::new(File::from(io::stdout().as_fd().try_clone_to_owned()?));
        let shell = open(folder, sessions, pipe.clone()).await?;
        say(&pipe, OPENED).map_err(BenchError::system)?;
        if submit {
            self::submit(&shell, sessions).await?;
        }
        // Whoever started this process closes its standard input when it goes without killing it.
        let end = tokio::task::spawn_blocking(|| io::copy(&mut io::stdin().lock(), &mut io::sink()));
        end.await.map_err(BenchError::system)?.map(drop).map_err(BenchError::system)
    })
}

async fn open(folder: &Path, sessions: usize, pipe: Arc<File>) -> Result<Shell, BenchError> {
    let mut limits = Limits::default();
    // All sessions run at once, and none of their acts ends: a process that holds fewer takes the others over when
    // some of its own have ended.
    limits.held_sessions = sessions + 1;
    limits.running_turns = sessions + 1;
    limits.attempt_ms = Duration::from_secs(24 * 3600).as_millis() as u64 / 2;
    let first = Tool::idempotent("first", "Ends at once", |_: Named, call: Call| async move {
        let mut output = call.key().repeat(OUTPUT_BYTES / 32 + 1);
        output.truncate(OUTPUT_BYTES);
        Ok(output)
    });
    let second = Tool::idempotent("second", "Is interrupted", move |named: Named, _: Call| {
        let said = say(&pipe, named.session);
        async move {
            said.map_err(|error| ToolError::refused(error.to_string()))?;
            std::future::pending::<Result<(), ToolError>>().await
        }
    });
    let opened =
        Shell::at(folder.join("shell.db")).limits(limits).tool(first).tool(second.retry(Retry::ONCE));
    opened.open().await.map_err(BenchError::system)
}

/// One write for each word, so that a kill does not take words with it that were said.
fn say(mut pipe: &File, word: u32) -> io::Result<()> {
    pipe.write_all(&word.to_le_bytes())
}

async fn submit(shell: &Shell, sessions: usize) -> Result<(), BenchError> {
    let mut submitters = JoinSet::new();
    for first in 0..SUBMITTERS.min(sessions) {
        let shell = shell.clone();
        submitters.spawn(async move {
            for session in (first..sessions).step_by(SUBMITTERS) {
                let steps = [
                    Step::tool("first", "first", input("")),
                    Step::tool("second", "second", input("")).after(["first"]),
                ];
                let plan = Plan::new(steps).map_err(BenchError::system)?;
                let request = Request::plan(plan).input(json!({ "session": session }));
                // Each belongs to a user of its own, under a key of its own.
                let session = shell.session(format!("user-{session}")).map_err(BenchError::system)?;
                session.submit(request).await.map_err(BenchError::system)?;
            }
            Ok::<(), BenchError>(())
        });
    }
    while let Some(done) = submitters.join_next().await {
        done.map_err(BenchError::system)??;
    }
    Ok(())
}
