//! The recorder's log: one entry a line, only ever appended to, synced before anything is answered.
//! Several writers that wait share one sync.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::server::RecorderError;
use super::words::{Effect, Fence};

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Entry {
    Call {
        effect: Effect,
        outcome: Outcome,
        /// When it arrived, in wall time.
        #[serde(default)]
        at_ms: u64,
    },
    Fence(Fence),
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    Counted,
    Applied { number: u64 },
    Repeated { number: u64 },
    UsedKey,
    StaleEpoch,
}

/// The end of an entry in the log, in bytes from its start. What is said to a client waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position(u64);

/// The writing end. Held by one owner; the syncing end is shared.
#[derive(Debug)]
pub(super) struct Writer {
    file: File,
    end: u64,
    failed: bool,
}

impl Writer {
    /// Opens or makes the log, cuts off a torn last line, and shows every entry to `observe`. The file
    /// is locked: two recorders can't share one log.
    pub(super) fn open(path: &Path, observe: impl FnMut(Entry)) -> Result<Self, RecorderError> {
        let failed = |source| RecorderError::Log { path: path.to_owned(), source };
        let file = OpenOptions::new().create(true).append(true).read(true).open(path).map_err(failed)?;
        file.try_lock().map_err(|_| RecorderError::InUse { path: path.to_owned() })?;
        let end = replay(path, observe)?;
        file.set_len(end).and_then(|()| file.sync_all()).map_err(failed)?;
        sync_folder(path).map_err(failed)?;
        Ok(Self { file, end, failed: false })
    }

    /// A handle that syncs what this one writes.
    pub(super) fn syncer(&self) -> io::Result<Syncer> {
        Ok(Syncer { file: self.file.try_clone()?, state: Mutex::default(), changed: Condvar::new() })
    }

    /// Writes, without syncing. After a failure the end of the file is unknown, so nothing is written
    /// any more.
    pub(super) fn append(&mut self, entry: &Entry) -> io::Result<Position> {
        if self.failed {
            return Err(io::Error::other("an earlier write to the log failed"));
        }
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        self.failed = true;
        self.file.write_all(&line)?;
        self.failed = false;
        self.end += line.len() as u64;
        Ok(self.position())
    }

    /// Where the log ends now.
    pub(super) fn position(&self) -> Position {
        Position(self.end)
    }
}

/// The syncing end: many threads wait, one of them syncs for all.
#[derive(Debug)]
pub(super) struct Syncer {
    file: File,
    state: Mutex<SyncState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct SyncState {
    written: u64,
    synced: u64,
    syncing: bool,
    failed: bool,
}

impl Syncer {
    /// Returns when everything up to `position` is on stable storage. Once a sync has failed, every
    /// later one does: the kernel may have thrown away what it could not write.
    pub(super) fn wait(&self, position: Position) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.written = state.written.max(position.0);
        while state.synced < position.0 {
            if state.failed {
                return Err(io::Error::other("a sync of the log failed"));
            }
            if state.syncing {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.syncing = true;
            let target = state.written;
            drop(state);
            let result = self.file.sync_data();
            state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.syncing = false;
            state.failed |= result.is_err();
            if result.is_ok() {
                state.synced = state.synced.max(target);
            }
            self.changed.notify_all();
        }
        Ok(())
    }

    /// True once a sync has failed.
    pub(super) fn has_failed(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).failed
    }
}

/// Shows every whole line to `observe`, and returns where the last of them ends, in bytes. A line
/// without its newline was never answered, and is left out; any other line that can't be read is an
/// error.
pub(super) fn replay(path: &Path, mut observe: impl FnMut(Entry)) -> Result<u64, RecorderError> {
    let failed = |source| RecorderError::Log { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    let mut reader = BufReader::new(file);
    let (mut line, mut number, mut end) = (Vec::new(), 0, 0);
    loop {
        line.clear();
        let length = reader.read_until(b'\n', &mut line).map_err(failed)?;
        if line.last() != Some(&b'\n') {
            return Ok(end);
        }
        number += 1;
        let entry = serde_json::from_slice(&line).map_err(|source| RecorderError::Corrupt {
            path: path.to_owned(),
            line: number,
            source,
        })?;
        observe(entry);
        end += length as u64;
    }
}

/// A new file survives a crash only when its folder is synced too.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.map_or_else(|| PathBuf::from("."), Path::to_owned))?.sync_all()
}
