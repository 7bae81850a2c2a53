//! The quickstart's side of the conversation: a handle that many steps share, and one thread that
//! owns the ledger's process.
//!
//! Its errors keep apart what a durable agent has to know: that a call was never sent, or that it
//! was and nobody knows what became of it.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use tokio::sync::{mpsc, oneshot};

use super::protocol::{Answer, Call, MAX_LINE_BYTES, Reply, Request};
use super::{Found, Published, Summary, Ticket};

/// Calls that wait for their turn. Past it a caller waits for a place.
const MAX_WAITING_CALLS: usize = 64;

/// Why a call has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LedgerError {
    /// It was not done. It may be tried again.
    #[error("the ledger was not reached ({reason}): nothing was done")]
    NotSent { reason: String },
    /// It may have been done: only the same key may be sent again.
    #[error("the ledger did not answer ({reason}): the call may have been carried out")]
    NoAnswer { reason: String },
    /// It was not done, and will not be.
    #[error("the ledger refused the call: {reason}")]
    Refused { reason: String },
}

/// How the ledger is started.
#[derive(Debug, Clone)]
pub(crate) struct LedgerProgram {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl LedgerProgram {
    /// This same executable, with the given file; one that refuses publications, if it shall.
    pub(crate) fn this_executable(file: &Path, refuses_publications: bool) -> io::Result<Self> {
        let mut arguments: Vec<OsString> = vec!["ledger".into(), "--file".into(), file.into()];
        if refuses_publications {
            arguments.extend(["--refuse".into(), "publish".into()]);
        }
        Ok(Self { program: std::env::current_exe()?, arguments })
    }

    #[cfg(test)]
    pub(super) fn shell(script: &str) -> Self {
        Self { program: "/bin/sh".into(), arguments: vec!["-c".into(), script.into()] }
    }

    #[cfg(test)]
    pub(super) fn missing() -> Self {
        Self { program: "/nonexistent/ledger".into(), arguments: Vec::new() }
    }
}

/// A handle to the ledger. Calls are carried out one after another, in the order they are made.
///
/// When the last handle goes, so does the ledger: its input ends.
///
/// # Cancel safety
/// A call whose future is dropped is as one without an answer, unless it was still waiting for its
/// turn: then it is never sent.
#[derive(Debug, Clone)]
pub(crate) struct LedgerClient {
    calls: mpsc::Sender<Job>,
}

#[derive(Debug)]
struct Job {
    call: Call,
    answer: oneshot::Sender<Result<Answer, LedgerError>>,
}

impl LedgerClient {
    /// Starts the owner thread. It starts the ledger at the first call, and again at the next call
    /// should it have died; one that can't be started makes its calls fail with `NotSent`.
    pub(crate) fn start(program: LedgerProgram) -> Self {
        let (calls, jobs) = mpsc::channel(MAX_WAITING_CALLS);
        // Pipes to a child process block, so a thread of the host's own holds them.
        #[allow(clippy::disallowed_methods)]
        std::thread::spawn(move || own(&program, jobs));
        Self { calls }
    }

    /// Opens a ticket. The same key gives the same ticket.
    pub(crate) async fn open_ticket(
        &self,
        key: &str,
        title: &str,
        finding: &str,
    ) -> Result<Ticket, LedgerError> {
        let (key, title, finding) = (key.to_owned(), title.to_owned(), finding.to_owned());
        match self.call(Call::OpenTicket { key, title, finding }).await? {
            Answer::Ticket(ticket) => Ok(ticket),
            other => Err(unexpected(&other)),
        }
    }

    /// Closes the ticket of a finding that is gone. The same key closes it once.
    pub(crate) async fn close_ticket(&self, key: &str, finding: &str) -> Result<Ticket, LedgerError> {
        match self.call(Call::CloseTicket { key: key.to_owned(), finding: finding.to_owned() }).await? {
            Answer::Ticket(ticket) => Ok(ticket),
            other => Err(unexpected(&other)),
        }
    }

    /// Withdraws the ticket that the call under the key `of` opened. The same key withdraws it once.
    pub(crate) async fn withdraw_ticket(&self, key: &str, of: &str) -> Result<Ticket, LedgerError> {
        match self.call(Call::WithdrawTicket { key: key.to_owned(), of: of.to_owned() }).await? {
            Answer::Ticket(ticket) => Ok(ticket),
            other => Err(unexpected(&other)),
        }
    }

    /// Opens the ticket again that the call under the key `of` closed. The same key opens it once.
    pub(crate) async fn reopen_ticket(&self, key: &str, of: &str) -> Result<Ticket, LedgerError> {
        match self.call(Call::ReopenTicket { key: key.to_owned(), of: of.to_owned() }).await? {
            Answer::Ticket(ticket) => Ok(ticket),
            other => Err(unexpected(&other)),
        }
    }

    /// Publishes a document. Called twice, it is published twice.
    pub(crate) async fn publish(
        &self,
        key: &str,
        path: &str,
        digest: &str,
    ) -> Result<Published, LedgerError> {
        let (key, path, digest) = (key.to_owned(), path.to_owned(), digest.to_owned());
        match self.call(Call::Publish { key, path, digest }).await? {
            Answer::Published(published) => Ok(published),
            other => Err(unexpected(&other)),
        }
    }

    /// What happened under a key: how an operator learns the fate of a call without an answer.
    pub(crate) async fn lookup(&self, key: &str) -> Result<Found, LedgerError> {
        match self.call(Call::Lookup { key: key.to_owned() }).await? {
            Answer::Found(found) => Ok(found),
            other => Err(unexpected(&other)),
        }
    }

    /// What happened in all.
    pub(crate) async fn summary(&self) -> Result<Summary, LedgerError> {
        match self.call(Call::Summary {}).await? {
            Answer::Summary(summary) => Ok(summary),
            other => Err(unexpected(&other)),
        }
    }

    async fn call(&self, call: Call) -> Result<Answer, LedgerError> {
        let (answer, answered) = oneshot::channel();
        let sent = self.calls.send(Job { call, answer }).await;
        sent.map_err(|_| not_sent(&"its thread has ended"))?;
        let answer = answered.await.unwrap_or_else(|_| Err(no_answer(&"its thread has ended")))?;
        match answer {
            Answer::Refused { reason } => Err(LedgerError::Refused { reason }),
            other => Ok(other),
        }
    }
}

/// The owner thread: one call at a time, until every handle is gone.
fn own(program: &LedgerProgram, mut jobs: mpsc::Receiver<Job>) {
    let mut running: Option<Process> = None;
    let mut next_id = 0;
    while let Some(job) = jobs.blocking_recv() {
        // Who asked is gone, so it is too late for the act.
        if job.answer.is_closed() {
            continue;
        }
        next_id += 1;
        let result = match running.take().map_or_else(|| Process::start(program), Ok) {
            Err(error) => Err(not_sent(&error)),
            Ok(mut process) => {
                let result = process.ask(Request { id: next_id, call: job.call });
                match &result {
                    Ok(_) => running = Some(process),
                    Err(_) => process.kill(),
                }
                result
            }
        };
        let _ = job.answer.send(result);
    }
    if let Some(process) = running {
        process.end();
    }
}

/// A running ledger.
struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start(program: &LedgerProgram) -> io::Result<Self> {
        let mut command = Command::new(&program.program);
        command.args(&program.arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        // In a group of its own Ctrl-C does not reach it: it ends when its input does, after it has
        // finished what it is doing.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        match (input, output) {
            (Some(input), Some(output)) => Ok(Self { child, input, output: BufReader::new(output) }),
            _ => Err(io::Error::other("its pipes are missing")),
        }
    }

    fn ask(&mut self, request: Request) -> Result<Answer, LedgerError> {
        let mut line = serde_json::to_vec(&request).map_err(|error| not_sent(&error))?;
        line.push(b'\n');
        if line.len() > MAX_LINE_BYTES {
            return Err(not_sent(&"the call is too long"));
        }
        // The ledger carries out whole lines only, and after an error the line's end was not sent.
        self.input.write_all(&line).map_err(|error| not_sent(&error))?;
        let mut line = Vec::new();
        let read = self.output.by_ref().take(MAX_LINE_BYTES as u64).read_until(b'\n', &mut line);
        read.map_err(|error| no_answer(&error))?;
        if line.last() != Some(&b'\n') {
            return Err(no_answer(&"it ended"));
        }
        let reply: Reply = serde_json::from_slice(&line).map_err(|error| no_answer(&error))?;
        if reply.id != Some(request.id) {
            return Err(no_answer(&"it answered another call"));
        }
        Ok(reply.answer)
    }

    /// Ends a ledger that can't be talked to any more.
    fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Ends its input and waits until it is gone, and with it its lock.
    fn end(self) {
        let Self { mut child, input, output } = self;
        drop((input, output));
        let _ = child.wait();
    }
}

fn not_sent(reason: &impl ToString) -> LedgerError {
    LedgerError::NotSent { reason: reason.to_string() }
}

fn no_answer(reason: &impl ToString) -> LedgerError {
    LedgerError::NoAnswer { reason: reason.to_string() }
}

fn unexpected(answer: &Answer) -> LedgerError {
    no_answer(&format!("it answered something else: {answer:?}"))
}
