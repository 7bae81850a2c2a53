//! The ledger's file: one JSON line per act, on the disk before the act is answered.
//!
//! A line that lost its end in a crash was never answered, so it is cut off at the next start. Any
//! other damage stops the ledger: it repairs nothing by guessing.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::protocol::{Found, MAX_LINE_BYTES, Published, Ticket, TicketNumber};

/// Acts that one file holds. They are all kept in memory.
const MAX_ACTS: u64 = 1_000_000;
const LOCK_ATTEMPTS: u32 = 1500;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// An act, as a line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    Opened { key: String, ticket: TicketNumber, finding: String, title: String },
    Closed { key: String, ticket: TicketNumber, finding: String },
    Published { key: String, path: String, digest: String },
    Withdrawn { key: String, of: String, ticket: TicketNumber, finding: String },
    Reopened { key: String, of: String, ticket: TicketNumber, finding: String },
}

/// Where a ticket stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Open,
    Closed,
    Withdrawn,
}

/// Why the ledger stops.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BookError {
    #[error("{}: another ledger holds this file and does not end: stop it first", path.display())]
    InUse { path: PathBuf },
    #[error("{}: line {line} is not the ledger's: restore the file from a backup", path.display())]
    Damaged { path: PathBuf, line: u64 },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// Why an act is refused: it was not done, and nothing was written.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the key was used for something else")]
    KeyUsed,
    #[error("the finding has no open ticket")]
    NoOpenTicket,
    #[error("there is no such call to undo")]
    NothingToUndo,
    #[error("the ticket is not as that call left it")]
    ChangedSince,
    #[error("the ledger is full: it holds {MAX_ACTS} acts")]
    Full,
}

/// An act is done, refused with nothing written, or (outer error) of unknown fate.
pub(super) type Outcome<T> = Result<Result<T, Refusal>, BookError>;

/// The open file, locked, and what it says.
#[derive(Debug)]
pub(super) struct Book {
    path: PathBuf,
    file: File,
    acts: u64,
    /// The first act under each key, and how many there were.
    keys: BTreeMap<String, (Line, u64)>,
    /// The open tickets of each finding, oldest first.
    open: BTreeMap<String, Vec<TicketNumber>>,
    tickets: BTreeMap<TicketNumber, Standing>,
    last_ticket: u64,
}

impl Book {
    /// Opens or creates the file, waits until a predecessor is gone, and reads what is there.
    pub(super) fn open(path: &Path) -> Result<Self, BookError> {
        let file = create_durably(path).map_err(|source| io_error(path, source))?;
        lock(path, &file)?;
        let (keys, open, tickets) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut book = Self { path: path.to_owned(), file, acts: 0, keys, open, tickets, last_ticket: 0 };
        let end = read_lines(path, |line| book.apply(line))?;
        book.cut_after(end).map_err(|source| io_error(path, source))?;
        Ok(book)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn open_ticket(&mut self, key: String, title: String, finding: String) -> Outcome<Ticket> {
        let (ticket, repeated) = match self.keys.get(&key) {
            None => (TicketNumber(self.last_ticket + 1), false),
            Some((Line::Opened { ticket, finding: first, .. }, _)) if *first == finding => (*ticket, true),
            Some(_) => return Ok(Err(Refusal::KeyUsed)),
        };
        let done = self.append(Line::Opened { key, ticket, finding, title })?;
        Ok(done.map(|()| Ticket { number: ticket, repeated }))
    }

    pub(super) fn close_ticket(&mut self, key: String, finding: String) -> Outcome<Ticket> {
        let (ticket, repeated) = match self.keys.get(&key) {
            None => match self.open.get(&finding).and_then(|tickets| tickets.last()) {
                Some(ticket) => (*ticket, false),
                None => return Ok(Err(Refusal::NoOpenTicket)),
            },
            Some((Line::Closed { ticket, finding: first, .. }, _)) if *first == finding => (*ticket, true),
            Some(_) => return Ok(Err(Refusal::KeyUsed)),
        };
        let done = self.append(Line::Closed { key, ticket, finding })?;
        Ok(done.map(|()| Ticket { number: ticket, repeated }))
    }

    pub(super) fn publish(&mut self, key: String, path: String, digest: String) -> Outcome<Published> {
        let times = match self.keys.get(&key) {
            None => 1,
            Some((Line::Published { .. }, calls)) => calls + 1,
            Some(_) => return Ok(Err(Refusal::KeyUsed)),
        };
        let done = self.append(Line::Published { key, path, digest })?;
        Ok(done.map(|()| Published { times }))
    }

    /// Withdraws the ticket that the call under the key `of` opened, if it is open.
    pub(super) fn withdraw_ticket(&mut self, key: String, of: String) -> Outcome<Ticket> {
        let (ticket, finding) = match self.keys.get(&of) {
            Some((Line::Opened { ticket, finding, .. }, _)) => (*ticket, finding.clone()),
            _ => return Ok(Err(Refusal::NothingToUndo)),
        };
        let may_begin = self.tickets.get(&ticket) == Some(&Standing::Open);
        self.undo(Line::Withdrawn { key, of, ticket, finding }, ticket, may_begin)
    }

    /// Opens the ticket again that the call under the key `of` closed, if it is closed.
    pub(super) fn reopen_ticket(&mut self, key: String, of: String) -> Outcome<Ticket> {
        let (ticket, finding) = match self.keys.get(&of) {
            Some((Line::Closed { ticket, finding, .. }, _)) => (*ticket, finding.clone()),
            _ => return Ok(Err(Refusal::NothingToUndo)),
        };
        let may_begin = self.tickets.get(&ticket) == Some(&Standing::Closed);
        self.undo(Line::Reopened { key, of, ticket, finding }, ticket, may_begin)
    }

    /// Does what a line says, under a new key if it may; under a key that did the same it is a repeat.
    fn undo(&mut self, line: Line, number: TicketNumber, may_begin: bool) -> Outcome<Ticket> {
        let repeated = match self.keys.get(line.key()) {
            None if may_begin => false,
            None => return Ok(Err(Refusal::ChangedSince)),
            Some((first, _)) if *first == line => true,
            Some(_) => return Ok(Err(Refusal::KeyUsed)),
        };
        Ok(self.append(line)?.map(|()| Ticket { number, repeated }))
    }

    pub(super) fn lookup(&self, key: &str) -> Found {
        let Some((first, calls)) = self.keys.get(key) else { return Found::default() };
        let (ticket, published) = match first {
            Line::Opened { ticket, .. }
            | Line::Closed { ticket, .. }
            | Line::Withdrawn { ticket, .. }
            | Line::Reopened { ticket, .. } => (Some(*ticket), None),
            Line::Published { digest, .. } => (None, Some(digest.clone())),
        };
        Found { calls: *calls, ticket, published }
    }

    /// Writes a line and waits for the disk. After an error nobody knows what the file holds, so
    /// the ledger must end without an answer and read it again.
    fn append(&mut self, line: Line) -> Outcome<()> {
        if self.acts >= MAX_ACTS {
            return Ok(Err(Refusal::Full));
        }
        let mut text = serde_json::to_vec(&line).map_err(|error| io_error(&self.path, error.into()))?;
        text.push(b'\n');
        let written = self.file.write_all(&text).and_then(|()| self.file.sync_data());
        written.map_err(|source| io_error(&self.path, source))?;
        self.apply(line);
        Ok(Ok(()))
    }

    fn apply(&mut self, line: Line) {
        self.acts += 1;
        let known = self.keys.entry(line.key().to_owned()).or_insert_with(|| (line.clone(), 0));
        known.1 += 1;
        if known.1 > 1 {
            return;
        }
        match line {
            Line::Opened { ticket, finding, .. } => {
                self.last_ticket = self.last_ticket.max(ticket.0);
                self.stands(ticket, finding, Standing::Open);
            }
            Line::Reopened { ticket, finding, .. } => self.stands(ticket, finding, Standing::Open),
            Line::Closed { ticket, finding, .. } => self.stands(ticket, finding, Standing::Closed),
            Line::Withdrawn { ticket, finding, .. } => self.stands(ticket, finding, Standing::Withdrawn),
            Line::Published { .. } => {}
        }
    }

    fn stands(&mut self, ticket: TicketNumber, finding: String, standing: Standing) {
        self.tickets.insert(ticket, standing);
        let open = self.open.entry(finding).or_default();
        open.retain(|other| *other != ticket);
        if standing == Standing::Open {
            open.push(ticket);
            open.sort_unstable();
        }
    }

    /// Drops what follows the last whole line, and stands there to append.
    fn cut_after(&mut self, end: u64) -> io::Result<()> {
        if self.file.metadata()?.len() > end {
            self.file.set_len(end)?;
            self.file.sync_all()?;
        }
        self.file.seek(SeekFrom::Start(end)).map(drop)
    }
}

impl Line {
    /// The key of the call.
    fn key(&self) -> &str {
        match self {
            Self::Opened { key, .. }
            | Self::Closed { key, .. }
            | Self::Published { key, .. }
            | Self::Withdrawn { key, .. }
            | Self::Reopened { key, .. } => key,
        }
    }
}

/// Gives every whole line of the file to `visit`, and returns where the last of them ends.
pub(super) fn read_lines(path: &Path, mut visit: impl FnMut(Line)) -> Result<u64, BookError> {
    let file = File::open(path).map_err(|source| io_error(path, source))?;
    let mut reader = BufReader::new(file);
    let (mut end, mut number) = (0, 0);
    let mut text = Vec::new();
    loop {
        text.clear();
        let read = reader.by_ref().take(MAX_LINE_BYTES as u64).read_until(b'\n', &mut text);
        let bytes = read.map_err(|source| io_error(path, source))?;
        if bytes < MAX_LINE_BYTES && text.last() != Some(&b'\n') {
            return Ok(end);
        }
        number += 1;
        let line = serde_json::from_slice(&text);
        visit(line.map_err(|_| BookError::Damaged { path: path.to_owned(), line: number })?);
        end += bytes as u64;
    }
}

/// Opens the file, creating it so that it outlives a power failure.
fn create_durably(path: &Path) -> io::Result<File> {
    let is_new = !path.exists();
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    if let (true, Some(folder)) = (is_new, path.parent()) {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        File::open(folder)?.sync_all()?;
    }
    Ok(file)
}

/// Locks the file. A predecessor whose parent was killed is still ending, so this waits for it, but
/// not without end.
fn lock(path: &Path, file: &File) -> Result<(), BookError> {
    for _ in 0..LOCK_ATTEMPTS {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            // The ledger stands for a foreign program: it has no clock port and no runtime.
            #[allow(clippy::disallowed_methods)]
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(source)) => return Err(io_error(path, source)),
        }
    }
    Err(BookError::InUse { path: path.to_owned() })
}

pub(super) fn io_error(path: &Path, source: io::Error) -> BookError {
    BookError::Io { path: path.to_owned(), source }
}
