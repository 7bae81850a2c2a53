//! A worker as the harness holds it: a process, and what it says.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process};

use super::CrashError;
use super::words::{Assignment, Event};

pub(super) struct Worker {
    child: Child,
    /// Closed when this is dropped; then the worker goes, if it has not gone yet.
    _stdin: ChildStdin,
    events: Receiver<Event>,
    /// When it was started.
    pub(super) started: Instant,
    /// The same in wall time, in milliseconds.
    pub(super) started_ms: u64,
}

/// What came of waiting for a worker.
pub(super) enum Heard {
    Event(Event),
    /// The time is over.
    Nothing,
    /// It has closed its standard output: it has ended, or is about to.
    End,
}

impl Worker {
    /// Starts a worker. `program` hands the rest of its arguments to the command line of this module.
    pub(super) fn start(mut program: Command, assignment: &Assignment) -> Result<Self, CrashError> {
        let failed = || CrashError::system("a worker's process");
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let started = Instant::now();
        program.arg("worker").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = program.spawn().map_err(failed())?;
        let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed()(std::io::ErrorKind::BrokenPipe.into()));
        };
        let mut line = serde_json::to_vec(assignment)?;
        line.push(b'\n');
        stdin.write_all(&line).map_err(failed())?;
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
        let started_ms = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
        Ok(Self { child, _stdin: stdin, events, started, started_ms })
    }

    /// The next event before `end`.
    pub(super) fn hear(&self, end: Instant) -> Heard {
        match self.events.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(event) => Heard::Event(event),
            Err(RecvTimeoutError::Timeout) => Heard::Nothing,
            Err(RecvTimeoutError::Disconnected) => Heard::End,
        }
    }

    /// Kills it with SIGKILL, waits for its end, and returns what it had still said.
    pub(super) fn kill(mut self) -> Result<(ExitStatus, Vec<Event>), CrashError> {
        self.child.kill().map_err(CrashError::system("killing a worker"))?;
        self.wait()
    }

    /// Waits for its end.
    pub(super) fn wait(mut self) -> Result<(ExitStatus, Vec<Event>), CrashError> {
        let status = self.child.wait().map_err(CrashError::system("waiting for a worker"))?;
        Ok((status, self.events.iter().collect()))
    }

    /// Stops it with SIGSTOP.
    pub(super) fn stop(&self) -> Result<(), CrashError> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on with SIGCONT.
    pub(super) fn go_on(&self) -> Result<(), CrashError> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<(), CrashError> {
        let sent = kill_process(Pid::from_child(&self.child), signal);
        sent.map_err(|error| CrashError::system("a signal to a worker")(error.into()))
    }

    /// Whether it is stopped, as the kernel says.
    pub(super) fn stands_still(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        // The name of the program, in parentheses, may hold anything.
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    }

    /// How long ago it was started.
    pub(super) fn age(&self) -> Duration {
        self.started.elapsed()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
