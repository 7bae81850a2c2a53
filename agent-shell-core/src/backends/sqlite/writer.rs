//! What the thread that writes works with: its connection, and what it remembers of the file.

use std::cell::Cell;

use rusqlite::Connection;

use super::group::Workplace;
use super::owners::Owners;
use super::records::Places;
use super::rounds::Rounds;
use super::sessions::Sessions;
use crate::failpoint::reach;
use crate::words::{SessionId, Timestamp};

thread_local! {
    /// Pages in the write-ahead log after the latest commit of this thread, which has one such connection.
    static LOG_PAGES: Cell<u32> = const { Cell::new(0) };
}

/// What a write works with.
pub(super) struct Tx {
    pub(super) connection: Connection,
    pub(super) sessions: Sessions,
    pub(super) places: Places,
    pub(super) owners: Owners,
    /// Whose turn it is when a claim can't serve all.
    pub(super) rounds: Rounds,
    /// What SQLite calls the version of the file that `sessions` was read from.
    data_version: i64,
    log: Log,
}

/// When the write-ahead log is copied into the file.
struct Log {
    every_pages: u32,
    next_at: u32,
    pages: u32,
}

impl Tx {
    /// Must be called on the thread that will write.
    pub(super) fn new(connection: Connection, owners: Owners, checkpoint_pages: u32) -> Self {
        connection.wal_hook(Some(|_, pages| {
            LOG_PAGES.set(pages.unsigned_abs());
            Ok(())
        }));
        let log = Log { every_pages: checkpoint_pages, next_at: checkpoint_pages, pages: 0 };
        Self {
            connection,
            sessions: Sessions::default(),
            places: Places::default(),
            owners,
            rounds: Rounds::default(),
            data_version: 0,
            log,
        }
    }

    /// Wall time.
    pub(super) fn now(&self) -> Timestamp {
        self.owners.clock.now()
    }

    /// A session left, came back or went, and with it some of the index: what is remembered of both is read again.
    pub(super) fn changed(&mut self, session: SessionId) {
        self.sessions.forget(session);
        self.places = Places::default();
    }

    /// Forgets what was read from the file.
    fn forget(&mut self) {
        self.sessions.clear();
        self.places = Places::default();
    }
}

impl Workplace for Tx {
    fn connection(&self) -> &Connection {
        &self.connection
    }

    fn begun(&mut self) -> rusqlite::Result<()> {
        // The version changes with the commits of others only, and under the lock for writing not at all.
        let version =
            self.connection.prepare_cached("PRAGMA data_version")?.query_row((), |row| row.get(0))?;
        if version != self.data_version {
            self.forget();
            self.data_version = version;
        }
        self.places.merge_if_grown(&self.connection)
    }

    fn rolled_back(&mut self) {
        self.forget();
    }

    /// A checkpoint, when the log has grown by so many pages: made here and not by SQLite within a commit, because
    /// it would keep a failed sync to itself, and because nobody should wait for it who waits for a commit.
    fn answered(&mut self) -> rusqlite::Result<()> {
        let pages = LOG_PAGES.get();
        if pages < self.log.pages {
            // The log began anew.
            self.log.next_at = self.log.every_pages;
        }
        self.log.pages = pages;
        if pages < self.log.next_at {
            return Ok(());
        }
        // A reader in the way leaves the rest to the next time.
        self.log.next_at = pages.saturating_add(self.log.every_pages);
        reach!(CheckpointBegins);
        let copied = self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(()));
        reach!(CheckpointEnds);
        copied
    }
}
