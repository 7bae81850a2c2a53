//! The followers in other processes on the same file.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use agent_shell_core::words::{SessionId, TurnId};
use serde::{Deserialize, Serialize};

use super::super::{BenchError, machine};
use super::follower::{Crowd, Told};
use super::{Settings, counts, ids, open};

/// What the other process says at its end.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Said {
    pub(super) told: Told,
    pub(super) peak_bytes: u64,
    /// Calls that read records, and the records.
    pub(super) reads: (u64, u64),
}

/// The other process, as the one that drives the turns holds it.
pub(super) struct Elsewhere {
    child: Child,
}

impl Elsewhere {
    pub(super) fn start(
        settings: &Settings<'_>,
        folder: &Path,
        turns: &[(TurnId, SessionId)],
        place: usize,
    ) -> Result<Self, BenchError> {
        let number = |number: u64| number.to_string();
        let mut command = Command::new(&settings.program);
        command.arg("followers-elsewhere").arg("--dir").arg(folder);
        command.args(["--followers", &number(settings.followers as u64)]);
        command.args(["--slow-ms", &number(settings.slow_ms), "--poll-ms", &number(settings.poll_ms)]);
        command.args(["--seed", &number(settings.seed), "--place", &number(place as u64)]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let text: String = turns.iter().map(|(turn, session)| format!("{turn} {session}\n")).collect();
        let stdin = child.stdin.take();
        let mut this = Self { child };
        stdin.ok_or_else(|| BenchError::system("a process without a pipe"))?.write_all(text.as_bytes())?;
        this.child.stdin = None;
        Ok(this)
    }

    /// Waits for its end.
    pub(super) async fn end(mut self) -> Result<Said, BenchError> {
        let said = tokio::task::spawn_blocking(move || -> io::Result<(bool, String)> {
            let mut text = String::new();
            if let Some(mut stdout) = self.child.stdout.take() {
                stdout.read_to_string(&mut text)?;
            }
            Ok((self.child.wait()?.success(), text))
        });
        let (is_well, text) = said.await.map_err(BenchError::system)??;
        if !is_well {
            return Err(BenchError::system("the followers in the other process ended badly"));
        }
        serde_json::from_str(&text).map_err(BenchError::system)
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The other process itself: it drives nothing, and follows turns that it reads from its input.
pub(in super::super) fn run(
    folder: &Path,
    followers: usize,
    (slow_ms, poll_ms, seed): (u64, u64, u64),
    place: usize,
) -> Result<(), BenchError> {
    let mut text = String::new();
    io::stdin().lock().read_to_string(&mut text)?;
    let turns = ids(&text)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let said = runtime.block_on(async {
        let (shell, reads) = open(folder, 0, poll_ms).await?;
        let told = Crowd::of(turns, followers, slow_ms, 500, seed).at(&shell, place).await?;
        shell.shutdown().await.map_err(BenchError::system)?;
        let peak_bytes = machine::used_by(std::process::id())?.peak_bytes;
        Ok::<_, BenchError>(Said { told, peak_bytes, reads: counts(&reads) })
    })?;
    println!("{}", serde_json::to_string(&said).map_err(BenchError::system)?);
    Ok(())
}
