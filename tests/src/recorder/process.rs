//! A recorder as a child process, for a harness.

use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::client::RecorderClient;
use super::command;
use super::server::{RecorderError, Settings};

/// A recorder in a process of its own. It is killed when this is dropped, and when this process dies.
#[derive(Debug)]
pub struct RecorderProcess {
    child: Child,
    settings: Settings,
}

impl RecorderProcess {
    /// Starts it, and returns when it can be called. `program` is the recorder, or a program that hands
    /// the rest of its arguments to [`run`](super::run) (then with the words before them).
    pub fn start(mut program: Command, settings: Settings) -> Result<Self, RecorderError> {
        program.args(command::arguments(&settings)).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = program.spawn().map_err(RecorderError::Process)?;
        let stdout = child.stdout.take();
        let process = Self { child, settings };
        let mut line = String::new();
        if let Some(stdout) = stdout {
            BufReader::new(stdout).read_line(&mut line).map_err(RecorderError::Process)?;
        }
        if line.trim_end() == "listening" {
            return Ok(process);
        }
        Err(RecorderError::Process(io::Error::other("it ended before it listened; see its message above")))
    }

    /// What it was started with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A new client.
    pub fn client(&self) -> RecorderClient {
        RecorderClient::new(&self.settings.socket)
    }

    /// Kills it with SIGKILL and waits for its end.
    pub fn kill(mut self) -> Settings {
        self.end();
        self.settings.clone()
    }

    fn end(&mut self) {
        // It may be dead already; in either case it is gone afterwards.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for RecorderProcess {
    fn drop(&mut self) {
        self.end();
    }
}
