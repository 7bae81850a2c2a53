//! Group commit: a thread drains its queue into one transaction at a time, so that all who wait share a sync.

use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::mpsc::Receiver;

use super::fault::{self, Health};
use super::queue::Item;
use crate::failpoint::reach;
use crate::ports::StoreError;

/// What the jobs of a transaction work with.
pub(super) trait Workplace: 'static {
    fn connection(&self) -> &Connection;

    /// A transaction began; nobody else can commit until it ends.
    fn begun(&mut self) -> rusqlite::Result<()>;

    /// What the open transaction did was undone.
    fn rolled_back(&mut self);

    /// The group is committed and answered: time for what nobody waits for.
    fn answered(&mut self) -> rusqlite::Result<()>;
}

/// What one transaction takes at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) jobs: usize,
    pub(super) bytes: usize,
}

/// Stands in the way of a commit, so that tests can make one fail.
pub(super) type BeforeCommit = Box<dyn FnMut() -> rusqlite::Result<()> + Send>;

/// How often the thread gives way, one time after another, to callers that are about to come back.
const PATIENCE: usize = 16;

/// The loop of a thread that owns a workplace.
pub(super) struct Groups<C> {
    workplace: C,
    receiver: Receiver<Item<C>>,
    health: Arc<Health>,
    bounds: Bounds,
    before_commit: Option<BeforeCommit>,
    /// A job that was taken from the queue and did not fit its group.
    left_over: Option<Item<C>>,
    /// How many jobs a group is likely to get.
    expected: usize,
}

/// Where a group failed.
enum Failure {
    /// Before any job was run.
    AtBegin(rusqlite::Error),
    /// In a job or at the commit; everything was rolled back.
    Inside(rusqlite::Error),
}

impl<C: Workplace> Groups<C> {
    pub(super) fn new(
        workplace: C,
        receiver: Receiver<Item<C>>,
        health: Arc<Health>,
        bounds: Bounds,
        before_commit: Option<BeforeCommit>,
    ) -> Self {
        Self { workplace, receiver, health, bounds, before_commit, left_over: None, expected: 1 }
    }

    /// Works until every sender is gone and the queue is empty.
    pub(super) fn run(mut self) {
        let mut group = Vec::new();
        while self.gather(&mut group) {
            self.commit(&mut group);
            if self.health.check().is_ok() {
                self.after_answers();
            }
        }
    }

    /// Waits for a job and takes what else comes, up to the bounds.
    ///
    /// Who was answered a moment ago is likely to come back at once. To leave without them would cost them, and
    /// the disk, a sync of their own, so the thread gives way a few times while fewer have come than lately.
    fn gather(&mut self, group: &mut Vec<Item<C>>) -> bool {
        let Some(first) = self.left_over.take().or_else(|| self.receiver.blocking_recv()) else {
            return false;
        };
        let mut bytes = first.bytes;
        group.push(first);
        let mut gave_way = 0;
        while group.len() < self.bounds.jobs {
            let Ok(next) = self.receiver.try_recv() else {
                if group.len() >= self.expected || gave_way == PATIENCE {
                    break;
                }
                gave_way += 1;
                std::thread::yield_now();
                continue;
            };
            gave_way = 0;
            bytes = bytes.saturating_add(next.bytes);
            if bytes > self.bounds.bytes {
                self.left_over = Some(next);
                break;
            }
            group.push(next);
        }
        // Forgotten slowly, because groups differ; one caller alone never makes it wait.
        self.expected = group.len().max(self.expected - self.expected.div_ceil(8));
        true
    }

    fn after_answers(&mut self) {
        match self.workplace.answered() {
            Ok(()) => {}
            Err(error) if fault::is_disk_failure(&error) => {
                self.health.poison(format!("a checkpoint failed: {error}"));
            }
            // A full disk, say: the log is whole, and the next checkpoint begins where this one did.
            Err(error) => tracing::warn!(%error, "the write-ahead log was not copied into the file"),
        }
    }

    /// Commits a group and answers it; leaves the group empty.
    fn commit(&mut self, group: &mut Vec<Item<C>>) {
        if let Err(poisoned) = self.health.check() {
            return answer(group, &Err(poisoned));
        }
        match self.attempt(group) {
            Ok(()) => {
                reach!(GroupCommitted);
                answer(group, &Ok(()));
                reach!(GroupAnswered);
            }
            // One job that SQLite could not do must not harm the others: each goes alone.
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

    fn attempt(&mut self, group: &mut [Item<C>]) -> Result<(), Failure> {
        let _guard = PoisonByPanic(self.health.clone());
        reach!(GroupGathered);
        self.execute("BEGIN IMMEDIATE").map_err(Failure::AtBegin)?;
        reach!(GroupBegun);
        self.run_and_commit(group).map_err(|error| {
            self.workplace.rolled_back();
            // Some failures end the transaction by themselves.
            if !self.workplace.connection().is_autocommit()
                && let Err(error) = self.execute("ROLLBACK")
            {
                self.health.poison(format!("a transaction could not be rolled back: {error}"));
            }
            Failure::Inside(error)
        })
    }

    fn run_and_commit(&mut self, group: &mut [Item<C>]) -> rusqlite::Result<()> {
        self.workplace.begun()?;
        for item in group {
            item.job.run(&mut self.workplace)?;
        }
        if let Some(before_commit) = &mut self.before_commit {
            before_commit()?;
        }
        reach!(GroupRun);
        self.execute("COMMIT")
    }

    fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.workplace.connection().prepare_cached(sql)?.execute(()).map(drop)
    }
}

/// Poisons when it is dropped by a panic: before the jobs are, whose callers then learn that the thread ended.
struct PoisonByPanic(Arc<Health>);

impl Drop for PoisonByPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.poison("the thread that writes panicked");
        }
    }
}

fn answer<C>(group: &mut Vec<Item<C>>, end: &Result<(), StoreError>) {
    for item in group.drain(..) {
        item.job.answer(end.clone());
    }
}
