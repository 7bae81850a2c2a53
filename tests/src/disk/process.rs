//! A host as a test holds it.

use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::process::{Child, ChildStdin, Command as Program, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use super::words::{Command, Event, Setting};

/// A host in a process of its own. It is killed when this is dropped.
#[derive(Debug)]
pub struct HostProcess {
    child: Child,
    stdin: Option<ChildStdin>,
    events: Receiver<Event>,
    errors: std::fs::File,
}

impl HostProcess {
    /// Starts it. Its first event says whether its shell is open.
    pub fn start(mut program: Program, setting: &Setting) -> io::Result<Self> {
        let errors = tempfile::tempfile()?;
        program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors.try_clone()?);
        let mut child = program.spawn()?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let (sender, events) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let Ok(event) = serde_json::from_str(&line) else { return };
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        let mut host = Self { child, stdin, events, errors };
        // One that ends before it reads says so by its end.
        let _ = host.write(&serde_json::to_string(setting)?);
        Ok(host)
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        let stdin = self.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        stdin.write_all(format!("{line}\n").as_bytes())
    }

    /// Waits for what it says next; none when it has ended.
    pub fn hear(&mut self, within: Duration) -> Result<Option<Event>, String> {
        match self.events.recv_timeout(within) {
            Ok(event) => Ok(Some(event)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => Err(format!("it said nothing for {within:?}")),
        }
    }

    /// Tells it to do something, and waits for its answer; none when it has ended.
    pub fn ask(&mut self, command: &Command, within: Duration) -> Result<Option<Event>, String> {
        let line = serde_json::to_string(command).map_err(|error| error.to_string())?;
        // One that has ended is heard to have.
        let _ = self.write(&line);
        self.hear(within)
    }

    /// The process, to look at it from outside.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end, and returns it with what it wrote to standard error.
    pub fn end(mut self) -> io::Result<(ExitStatus, String)> {
        self.stdin = None;
        let status = self.child.wait()?;
        self.errors.rewind()?;
        let mut text = Vec::new();
        self.errors.read_to_end(&mut text)?;
        Ok((status, String::from_utf8_lossy(&text).into_owned()))
    }
}

impl Drop for HostProcess {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
