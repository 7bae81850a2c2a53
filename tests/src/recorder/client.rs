//! The caller's side. Blocking: from an async tool it is called through `spawn_blocking`.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::audit::Totals;
use super::words::{Answer, Applied, Counted, Effect, Probe, Probed, Refusal, Request, StepName, Truth};

/// Idle connections that a client keeps for later.
const IDLE_LIMIT: usize = 64;

/// What is known when a call fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The whole request never left: nothing was done, and nothing will be.
    #[error("not sent: {0}")]
    NotSent(#[source] io::Error),
    /// The request left, and no answer came: it was done, or not, or will be.
    #[error("sent, and not answered: {0}")]
    Unanswered(#[source] io::Error),
    /// The recorder did not understand, and did nothing.
    #[error("the recorder says: {0}")]
    Rejected(String),
}

/// What came of an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is done, now or (an idempotent key) before.
    Applied(Applied),
    /// It was pure.
    Counted(Counted),
    /// It was not done by this call.
    Refused(Refusal),
}

/// A handle on a recorder. Clones share their idle connections; any number of threads may call at once,
/// each on a connection of its own.
#[derive(Clone, Debug)]
pub struct RecorderClient {
    socket: PathBuf,
    timeout: Duration,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl RecorderClient {
    /// A client of the recorder at this socket; connects with the first call. Calls give up after five
    /// seconds.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into(), timeout: Duration::from_secs(5), idle: Arc::default() }
    }

    /// Calls give up after this long, once for the request and once for the answer.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, idle: Arc::default(), ..self }
    }

    /// Asks for an effect.
    pub fn effect(&self, effect: &Effect) -> Result<Verdict, ClientError> {
        match self.call(&Request::Effect(effect.clone()))? {
            Answer::Applied(applied) => Ok(Verdict::Applied(applied)),
            Answer::Counted(counted) => Ok(Verdict::Counted(counted)),
            Answer::Refused(refusal) => Ok(Verdict::Refused(refusal)),
            other => Err(unexpected(&other)),
        }
    }

    /// Asks whether a key was applied.
    pub fn probe(&self, probe: &Probe) -> Result<Option<Applied>, ClientError> {
        match self.call(&Request::Probe(probe.clone()))? {
            Answer::Probed(Probed { applied }) => Ok(applied),
            other => Err(unexpected(&other)),
        }
    }

    /// Asks what was done for a step.
    pub fn truth(&self, step: &StepName) -> Result<Truth, ClientError> {
        match self.call(&Request::Truth(step.clone()))? {
            Answer::Truth(truth) => Ok(truth),
            other => Err(unexpected(&other)),
        }
    }

    /// Asks for the totals.
    pub fn audit(&self) -> Result<Totals, ClientError> {
        match self.call(&Request::Audit {})? {
            Answer::Audit(totals) => Ok(totals),
            other => Err(unexpected(&other)),
        }
    }

    /// An idle connection may have been closed meanwhile; then nothing was sent on it, and the request
    /// is tried on another. On a new connection there is one try.
    fn call(&self, request: &Request) -> Result<Answer, ClientError> {
        let mut line = serde_json::to_vec(request).map_err(|why| ClientError::NotSent(why.into()))?;
        line.push(b'\n');
        while let Some(connection) = self.take_idle() {
            match self.exchange(connection, &line) {
                Err(ClientError::NotSent(_)) => {}
                other => return other,
            }
        }
        let connection = Connection::open(self).map_err(ClientError::NotSent)?;
        self.exchange(connection, &line)
    }

    /// A connection on which anything went wrong is closed, so that no later call reads its answer.
    fn exchange(&self, mut connection: Connection, line: &[u8]) -> Result<Answer, ClientError> {
        // The newline goes last, and without it the recorder does nothing: a failed write is no request.
        connection.stream.get_mut().write_all(line).map_err(ClientError::NotSent)?;
        let answer = connection.read().map_err(ClientError::Unanswered)?;
        if let Answer::Error(message) = answer {
            return Err(ClientError::Rejected(message));
        }
        let mut idle = self.lock();
        if idle.len() < IDLE_LIMIT {
            idle.push(connection);
        }
        Ok(answer)
    }

    /// In a function of its own, so that the lock is free again during the exchange.
    fn take_idle(&self) -> Option<Connection> {
        self.lock().pop()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Connection {
    stream: BufReader<UnixStream>,
}

impl Connection {
    fn open(client: &RecorderClient) -> io::Result<Self> {
        let stream = UnixStream::connect(&client.socket)?;
        stream.set_read_timeout(Some(client.timeout))?;
        stream.set_write_timeout(Some(client.timeout))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    fn read(&mut self) -> io::Result<Answer> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_slice(&line)?)
    }
}

fn unexpected(answer: &Answer) -> ClientError {
    let source =
        io::Error::new(io::ErrorKind::InvalidData, format!("answer to another question: {answer:?}"));
    ClientError::Unanswered(source)
}
