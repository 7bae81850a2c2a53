//! A worker as the benchmark holds it: a process that says on a pipe whose tool was called, until it is killed.

use std::io::Read;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::super::machine;
use super::super::{BenchError, machine::Used};
use super::Plan;
use super::worker::{OPENED, WORD};

/// One life, from before the process is started.
pub(super) struct Life {
    child: Child,
    said: Receiver<(Instant, Vec<u8>)>,
    started: Instant,
    sessions: usize,
}

/// What a life took until the tool of every session was called.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recovered {
    /// Until the first call.
    pub(super) first: Duration,
    /// Until `open` returned.
    pub(super) opened: Duration,
    /// Until the last of the calls.
    pub(super) all: Duration,
    pub(super) used: Used,
}

impl Life {
    /// Starts a worker on the files in a folder; with `submit`, it makes the sessions first.
    pub(super) fn begin(
        plan: &Plan<'_>,
        folder: &Path,
        sessions: usize,
        submit: bool,
    ) -> Result<Self, BenchError> {
        let started = Instant::now();
        let mut command = Command::new(&plan.program);
        command.args(["interrupted", "--sessions", &sessions.to_string(), "--dir"]).arg(folder);
        if submit {
            command.arg("--submit");
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().ok_or_else(|| BenchError::system("a worker without a pipe"))?;
        let (sender, said) = channel();
        thread::spawn(move || forward(stdout, |heard| sender.send(heard).is_ok()));
        Ok(Self { child, said, started, sessions })
    }

    /// Waits until the tool was called once for every session, and kills the worker with SIGKILL.
    pub(super) fn until_all_act(mut self, within: Duration) -> Result<Recovered, BenchError> {
        let mut tally = Tally::new(self.sessions);
        let (mut first, mut opened, mut last) = (None, None, self.started);
        while !(tally.is_complete() && opened.is_some()) {
            let left = within.saturating_sub(self.started.elapsed());
            let (at, bytes) = self.said.recv_timeout(left).map_err(|error| {
                let (acting, sessions) = (tally.acting, self.sessions);
                let why = match error {
                    RecvTimeoutError::Timeout => format!("took longer than {} s", within.as_secs()),
                    RecvTimeoutError::Disconnected => "ended by itself".into(),
                };
                BenchError::system(format!("a worker {why}: {acting} of {sessions} sessions acted"))
            })?;
            let before = tally.acting;
            if tally.hear(&bytes)? {
                opened = Some(at);
            }
            if tally.acting > before {
                first.get_or_insert(at);
                last = at;
            }
        }
        let used = machine::used_by(self.child.id())?;
        self.child.kill()?;
        self.child.wait()?;
        let since = |at: Option<Instant>| at.unwrap_or(last).saturating_duration_since(self.started);
        Ok(Recovered { first: since(first), opened: since(opened), all: since(Some(last)), used })
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Passes on what comes, with the instant at which it came.
fn forward(mut pipe: ChildStdout, mut pass: impl FnMut((Instant, Vec<u8>)) -> bool) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read) = pipe.read(&mut buffer) {
        if read == 0 || !pass((Instant::now(), buffer[..read].to_vec())) {
            return;
        }
    }
}

/// Whose tool was called: each must be, and only once in a life.
pub(super) struct Tally {
    called: Vec<bool>,
    pub(super) acting: usize,
    /// The beginning of a word whose end has not come yet.
    rest: Vec<u8>,
}

impl Tally {
    pub(super) fn new(sessions: usize) -> Self {
        Self { called: vec![false; sessions], acting: 0, rest: Vec::new() }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.acting == self.called.len()
    }

    /// Takes what a worker said. True when it said that it is open.
    pub(super) fn hear(&mut self, bytes: &[u8]) -> Result<bool, BenchError> {
        self.rest.extend_from_slice(bytes);
        let mut opened = false;
        let (words, rest) = self.rest.as_chunks::<WORD>();
        for word in words.iter().map(|word| u32::from_le_bytes(*word)) {
            if word == OPENED {
                opened = true;
                continue;
            }
            match self.called.get_mut(word as usize) {
                Some(called) if !*called => *called = true,
                Some(_) => return Err(BenchError::system(format!("session {word} acted twice in one life"))),
                None => return Err(BenchError::system(format!("session {word} acted, and was never made"))),
            }
            self.acting += 1;
        }
        self.rest = rest.to_vec();
        Ok(opened)
    }
}
