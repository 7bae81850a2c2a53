//! The recorder's socket: a thread for each connection, up to a limit.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use super::chaos::{Chaos, Dice, Trouble};
use super::ledger::Ledger;
use super::log::{Entry, Position, Syncer, Writer};
use super::words::{Answer, Effect, Probe, Request};

/// The longest request, in bytes.
const LINE_LIMIT_BYTES: u64 = 1 << 20;

/// Where a recorder listens and writes, and how badly it behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The socket's path: at most about 100 bytes, says the kernel.
    pub socket: PathBuf,
    /// The log's path.
    pub log: PathBuf,
    /// Trouble on purpose.
    pub chaos: Chaos,
    /// How many clients it serves at once; one more is told so, and disconnected.
    pub connections: usize,
}

impl Settings {
    /// A well-behaved recorder for up to 256 clients.
    pub fn new(socket: impl Into<PathBuf>, log: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into(), log: log.into(), chaos: Chaos::default(), connections: 256 }
    }
}

/// Why a recorder can't start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecorderError {
    /// The log can't be read or written.
    #[error("recorder's log {}: {source}", path.display())]
    Log {
        /// The log.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another recorder has the log open.
    #[error("recorder's log {}: another recorder is using it", path.display())]
    InUse {
        /// The log.
        path: PathBuf,
    },
    /// A whole line of the log is not an entry.
    #[error("recorder's log {}, line {line}: {source}", path.display())]
    Corrupt {
        /// The log.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// Why it can't be read.
        source: serde_json::Error,
    },
    /// The socket can't be listened on.
    #[error("recorder's socket {}: {source}", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The recorder's process could not be started.
    #[error("recorder's process: {0}")]
    Process(io::Error),
}

/// A recorder that is listening.
#[derive(Debug)]
pub struct Recorder {
    listener: UnixListener,
    socket: PathBuf,
    connections: usize,
    shared: Arc<Shared>,
}

impl Recorder {
    /// Replays the log and listens. A socket that a dead recorder left behind is replaced.
    pub fn open(settings: Settings) -> Result<Self, RecorderError> {
        let Settings { socket, log, chaos, connections } = settings;
        let mut ledger = Ledger::default();
        let writer = Writer::open(&log, |entry| ledger.observe(&entry))?;
        let syncer = writer.syncer().map_err(|source| RecorderError::Log { path: log, source })?;
        let listener =
            listen(&socket).map_err(|source| RecorderError::Socket { path: socket.clone(), source })?;
        let book = Mutex::new(Book { ledger, writer });
        let shared = Shared { book, syncer, dice: Dice::new(chaos), open: AtomicUsize::new(0) };
        Ok(Self { listener, socket, connections, shared: Arc::new(shared) })
    }

    /// Serves until the log fails or the process is killed.
    pub fn serve(self) -> Result<(), RecorderError> {
        let failed = |source| RecorderError::Socket { path: self.socket.clone(), source };
        loop {
            let (stream, _) = self.listener.accept().map_err(failed)?;
            if self.shared.syncer.has_failed() {
                return Err(failed(io::Error::other("a sync of the log failed")));
            }
            let guard = Guard::new(&self.shared);
            if guard.number > self.connections {
                drop(write_line(&stream, &Answer::Error("too many connections".into())));
                continue;
            }
            let serving = thread::Builder::new().name("recorder-client".into()).spawn(move || {
                // A client that goes away is no trouble of ours.
                drop(guard.shared.attend(&stream));
            });
            serving.map_err(failed)?;
        }
    }
}

#[derive(Debug)]
struct Shared {
    book: Mutex<Book>,
    syncer: Syncer,
    dice: Dice,
    open: AtomicUsize,
}

/// The ledger and the log it mirrors change together.
#[derive(Debug)]
struct Book {
    ledger: Ledger,
    writer: Writer,
}

impl Book {
    fn record(&mut self, entry: &Entry) -> io::Result<Position> {
        let position = self.writer.append(entry)?;
        self.ledger.observe(entry);
        Ok(position)
    }

    fn effect(&mut self, effect: Effect) -> io::Result<Answer> {
        let outcome = self.ledger.decide(&effect);
        let at_ms = now_ms();
        self.record(&Entry::Call { effect: effect.clone(), outcome, at_ms })?;
        Ok(self.ledger.answer(&effect, outcome))
    }

    fn probe(&mut self, probe: Probe) -> io::Result<Answer> {
        if let Some(fence) = probe.fence
            && self.ledger.is_news(&fence)
        {
            self.record(&Entry::Fence(fence))?;
        }
        Ok(Answer::Probed(self.ledger.probe(&probe.key)))
    }
}

impl Shared {
    fn attend(&self, stream: &UnixStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        loop {
            line.clear();
            (&mut reader).take(LINE_LIMIT_BYTES).read_until(b'\n', &mut line)?;
            if line.last() != Some(&b'\n') {
                return Ok(());
            }
            let request = match serde_json::from_slice(&line) {
                Ok(request) => request,
                Err(why) => {
                    write_line(stream, &Answer::Error(why.to_string()))?;
                    continue;
                }
            };
            let meets_trouble = matches!(request, Request::Effect(_) | Request::Probe(_));
            let answer = self.handle(request)?;
            match if meets_trouble { self.dice.draw() } else { Trouble::None } {
                Trouble::Broken => return Ok(()),
                Trouble::Late(delay) => thread::sleep(delay),
                Trouble::None => {}
            }
            write_line(stream, &answer)?;
        }
    }

    /// Whatever the answer rests on is synced before it is returned, also where another client wrote it.
    fn handle(&self, request: Request) -> io::Result<Answer> {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = match request {
            Request::Effect(effect) => book.effect(effect)?,
            Request::Probe(probe) => book.probe(probe)?,
            Request::Truth(name) => Answer::Truth(book.ledger.truth(&name)),
            Request::Audit {} => Answer::Audit(book.ledger.totals()),
        };
        let position = book.writer.position();
        drop(book);
        self.syncer.wait(position)?;
        Ok(answer)
    }
}

/// Counts a connection for as long as it lives.
struct Guard {
    shared: Arc<Shared>,
    number: usize,
}

impl Guard {
    fn new(shared: &Arc<Shared>) -> Self {
        let number = shared.open.fetch_add(1, Ordering::Relaxed) + 1;
        Self { shared: Arc::clone(shared), number }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.shared.open.fetch_sub(1, Ordering::Relaxed);
    }
}

fn listen(socket: &Path) -> io::Result<UnixListener> {
    if UnixStream::connect(socket).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another recorder listens there"));
    }
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => UnixListener::bind(socket),
    }
}

fn write_line(mut stream: &UnixStream, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    stream.write_all(&line)
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
