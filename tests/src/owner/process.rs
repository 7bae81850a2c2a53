//! An owner as a test holds it: a process, and what it says.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command as Program, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::words::{Command, Event, Setting};

/// How often it is looked whether a process stands still.
const LOOK: Duration = Duration::from_millis(2);

/// An owner in a process of its own. It is killed when this is dropped.
#[derive(Debug)]
pub struct OwnerProcess {
    child: Child,
    stdin: Option<ChildStdin>,
    events: Receiver<Event>,
    /// What it has said.
    heard: Vec<Event>,
}

impl OwnerProcess {
    /// Starts it. It opens its shell meanwhile.
    pub fn start(mut program: Program, setting: &Setting) -> io::Result<Self> {
        let mut child = program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let (sender, events) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line)
                    .unwrap_or_else(|error| Event::Trouble { what: format!("said `{line}`: {error}") });
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        let mut owner = Self { child, stdin, events, heard: Vec::new() };
        owner.write(&serde_json::to_string(setting)?)?;
        Ok(owner)
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        let stdin = self.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        stdin.write_all(format!("{line}\n").as_bytes())
    }

    /// Tells it to do something.
    pub fn tell(&mut self, command: &Command) -> io::Result<()> {
        let line = serde_json::to_string(command)?;
        self.write(&line)
    }

    /// Waits until it says what is wanted, or has said so since it was last asked for it. Fails when it says that
    /// something is wrong, ends, or takes too long.
    pub fn hear<T>(&mut self, within: Duration, wanted: impl Fn(&Event) -> Option<T>) -> Result<T, String> {
        let end = Instant::now() + within;
        loop {
            if let Some((place, found)) =
                self.heard.iter().enumerate().find_map(|(place, event)| Some((place, wanted(event)?)))
            {
                self.heard.remove(place);
                return Ok(found);
            }
            match self.events.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(Event::Trouble { what }) => return Err(what),
                Ok(event) => self.heard.push(event),
                Err(RecvTimeoutError::Timeout) => return Err(format!("only said {:?}", self.heard)),
                Err(RecvTimeoutError::Disconnected) => return Err(format!("ended after {:?}", self.heard)),
            }
        }
    }

    /// Waits until it is stopped, as the kernel says; false when it is not in time.
    pub fn stands_still(&self, within: Duration) -> bool {
        let end = Instant::now() + within;
        let path = format!("/proc/{}/stat", self.child.id());
        loop {
            let stat = std::fs::read_to_string(&path).unwrap_or_default();
            // The name of the program, in parentheses, may hold anything.
            if stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')) {
                return true;
            }
            if Instant::now() >= end {
                return false;
            }
            thread::sleep(LOOK);
        }
    }

    /// Lets it go on with SIGCONT.
    pub fn go_on(&self) -> io::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::CONT)?)
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

impl Drop for OwnerProcess {
    fn drop(&mut self) {
        drop(self.kill());
    }
}
