//! The thread that writes: it drains its queue into one transaction at a time, so that all who wait share a sync.

use std::cell::Cell;
use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::mpsc::Receiver;

use super::fault::{self, Health};
use super::options::SqliteOptions;
use super::owners::Owners;
use super::queue::Item;
use super::sessions::Sessions;
use crate::ports::StoreError;

thread_local! {
    /// Pages in the write-ahead log after the latest commit of this thread, which has one connection.
    static LOG_PAGES: Cell<u32> = const { Cell::new(0) };
}

/// What the jobs of an open transaction work with.
pub(super) struct Tx {
    pub(super) connection: Connection,
    pub(super) sessions: Sessions,
    pub(super) owners: Owners,
    /// Which of the tenants a claim serves first; moves on with every claim.
    pub(super) turn: usize,
}

/// Stands in the way of a commit, so that tests can make one fail.
pub(super) type BeforeCommit = Box<dyn FnMut() -> rusqlite::Result<()> + Send>;

pub(super) struct Writer {
    tx: Tx,
    receiver: Receiver<Item<Tx>>,
    health: Arc<Health>,
    options: SqliteOptions,
    before_commit: Option<BeforeCommit>,
    /// What SQLite calls the version of the file that `tx.sessions` was read from.
    data_version: i64,
    /// A write that was taken from the queue and did not fit its group.
    left_over: Option<Item<Tx>>,
    checkpoint_at: u32,
    log_pages: u32,
}

/// Where a group failed.
enum Failure {
    /// Before any job was run.
    AtBegin(rusqlite::Error),
    /// In a job or at the commit; everything was rolled back.
    Inside(rusqlite::Error),
}

impl Writer {
    pub(super) fn new(
        tx: Tx,
        receiver: Receiver<Item<Tx>>,
        health: Arc<Health>,
        options: SqliteOptions,
        before_commit: Option<BeforeCommit>,
    ) -> Self {
        let checkpoint_at = options.checkpoint_pages;
        Self {
            tx,
            receiver,
            health,
            options,
            before_commit,
            data_version: 0,
            left_over: None,
            checkpoint_at,
            log_pages: 0,
        }
    }

    /// Works until every sender is gone and the queue is empty.
    pub(super) fn run(mut self) {
        self.tx.connection.wal_hook(Some(|_, pages| {
            LOG_PAGES.set(pages.unsigned_abs());
            Ok(())
        }));
        let mut group = Vec::new();
        while self.gather(&mut group) {
            self.commit(&mut group);
            self.checkpoint();
        }
    }

    /// Waits for a write and takes what else is queued, up to the bounds of a group.
    fn gather(&mut self, group: &mut Vec<Item<Tx>>) -> bool {
        let Some(first) = self.left_over.take().or_else(|| self.receiver.blocking_recv()) else {
            return false;
        };
        let mut bytes = first.bytes;
        group.push(first);
        while group.len() < self.options.group_writes {
            let Ok(next) = self.receiver.try_recv() else { break };
            bytes = bytes.saturating_add(next.bytes);
            if bytes > self.options.group_bytes {
                self.left_over = Some(next);
                break;
            }
            group.push(next);
        }
        true
    }

    /// Commits a group and answers it; leaves the group empty.
    fn commit(&mut self, group: &mut Vec<Item<Tx>>) {
        if let Err(poisoned) = self.health.check() {
            return answer(group, &Err(poisoned));
        }
        match self.attempt(group) {
            Ok(()) => answer(group, &Ok(())),
            // One write that SQLite could not do must not harm the others: each goes alone.
            Err(Failure::Inside(error)) if group.len() > 1 && !fault::is_disk_failure(&error) => {
                let mut alone = Vec::with_capacity(1);
                for item in group.drain(..) {
                    alone.push(item);
                    self.commit(&mut alone);
                }
            }
            Err(Failure::AtBegin(error) | Failure::Inside(error)) => {
                if fault::is_disk_failure(&error) {
                    self.health.poison(error.to_string());
                }
                let error = self.health.check().err().unwrap_or_else(|| fault::store_error(&error));
                answer(group, &Err(error));
            }
        }
    }

    fn attempt(&mut self, group: &mut [Item<Tx>]) -> Result<(), Failure> {
        self.execute("BEGIN IMMEDIATE").map_err(Failure::AtBegin)?;
        self.run_and_commit(group).map_err(|error| {
            self.tx.sessions.clear();
            // Some failures end the transaction by themselves.
            if !self.tx.connection.is_autocommit()
                && let Err(error) = self.execute("ROLLBACK")
            {
                self.health.poison(format!("a transaction could not be rolled back: {error}"));
            }
            Failure::Inside(error)
        })
    }

    fn run_and_commit(&mut self, group: &mut [Item<Tx>]) -> rusqlite::Result<()> {
        // Under the lock for writing the version can't change any more before the commit.
        let version: i64 =
            self.tx.connection.prepare_cached("PRAGMA data_version")?.query_row((), |row| row.get(0))?;
        if version != self.data_version {
            self.tx.sessions.clear();
            self.data_version = version;
        }
        for item in group {
            item.job.run(&mut self.tx)?;
        }
        if let Some(before_commit) = &mut self.before_commit {
            before_commit()?;
        }
        self.execute("COMMIT")
    }

    fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.tx.connection.prepare_cached(sql)?.execute(()).map(drop)
    }

    /// Copies the log into the file when it has grown by so many pages. Nobody waits for an answer meanwhile that
    /// was not asked for after the latest commit.
    fn checkpoint(&mut self) {
        let pages = LOG_PAGES.get();
        if pages < self.log_pages {
            // The log began anew.
            self.checkpoint_at = self.options.checkpoint_pages;
        }
        self.log_pages = pages;
        if pages < self.checkpoint_at || self.health.check().is_err() {
            return;
        }
        self.checkpoint_at = pages.saturating_add(self.options.checkpoint_pages);
        let done = self.tx.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(()));
        match done {
            Ok(()) => {}
            Err(error) if fault::is_disk_failure(&error) => {
                self.health.poison(format!("a checkpoint failed: {error}"));
            }
            // A full disk, say: the log is whole, and the next checkpoint begins where this one did.
            Err(error) => {
                tracing::warn!(%error, pages, "the write-ahead log could not be copied into the file")
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.health.poison("the thread that writes panicked");
        }
    }
}

fn answer(group: &mut Vec<Item<Tx>>, end: &Result<(), StoreError>) {
    for item in group.drain(..) {
        item.job.answer(end.clone());
    }
}
