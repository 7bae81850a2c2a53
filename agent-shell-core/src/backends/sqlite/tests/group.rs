//! The loop of group commit, on a workplace that only counts.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, mpsc};

use rusqlite::{Connection, ffi};

use super::run;
use crate::backends::sqlite::fault::{Health, Work};
use crate::backends::sqlite::group::{BeforeCommit, Bounds, Groups, Workplace};
use crate::backends::sqlite::queue::{Queue, queue};
use crate::ports::StoreError;

/// A table in memory, and how often a transaction began.
struct Table {
    connection: Connection,
    begun: Arc<AtomicU32>,
    checkpoint: fn() -> rusqlite::Result<()>,
}

impl Workplace for Table {
    fn connection(&self) -> &Connection {
        &self.connection
    }

    fn begun(&mut self) -> rusqlite::Result<()> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn rolled_back(&mut self) {}

    fn answered(&mut self) -> rusqlite::Result<()> {
        (self.checkpoint)()
    }
}

/// A running loop.
struct Running {
    jobs: Queue<Table>,
    begun: Arc<AtomicU32>,
}

const BOUNDS: Bounds = Bounds { jobs: 100, bytes: 1 << 20 };

fn start(
    bounds: Bounds,
    before_commit: Option<BeforeCommit>,
    checkpoint: fn() -> rusqlite::Result<()>,
) -> Running {
    let health = Arc::new(Health::default());
    let (jobs, receiver) = queue(1000, 1 << 30, health.clone());
    let begun = Arc::new(AtomicU32::new(0));
    let counted = begun.clone();
    std::thread::Builder::new()
        .spawn(move || {
            let connection = Connection::open_in_memory().unwrap();
            connection.execute_batch("CREATE TABLE t (n INTEGER NOT NULL)").unwrap();
            let workplace = Table { connection, begun: counted, checkpoint };
            Groups::new(workplace, receiver, health, bounds, before_commit).run();
        })
        .unwrap();
    Running { jobs, begun }
}

/// Adds a number; NULL, which the table refuses, for none.
fn add(table: &mut Table, number: Option<u32>) -> Work<(), StoreError> {
    table.connection.execute("INSERT INTO t VALUES (-1)", ())?;
    table.connection.execute("INSERT INTO t VALUES (?1)", (number,))?;
    table.connection.execute("DELETE FROM t WHERE n = -1", ())?;
    Ok(Ok(()))
}

impl Running {
    /// Asks for all at once, while the thread is held up, so that they stand in the queue together.
    async fn add_together(&self, numbers: &[Option<u32>], bytes: usize) -> Vec<Result<(), StoreError>> {
        let (go, wait) = mpsc::channel::<()>();
        let (started, has_started) = tokio::sync::oneshot::channel();
        let mut started = Some(started);
        let mut hold = Box::pin(self.jobs.ask(0, move |_: &mut Table| {
            if let Some(started) = started.take() {
                let _ = started.send(());
            }
            let _ = wait.recv();
            Ok(Ok::<(), StoreError>(()))
        }));
        assert!(futures::poll!(&mut hold).is_pending(), "the thread is held up");
        has_started.await.expect("the thread took the job");
        self.begun.store(0, Ordering::Relaxed);
        let adds =
            numbers.iter().map(|&number| self.jobs.ask(bytes, move |table: &mut Table| add(table, number)));
        // All are asked for before the last of these is polled.
        let release = async { drop(go) };
        let (answers, _, ()) = futures::join!(futures::future::join_all(adds), hold, release);
        answers
    }

    async fn contents(&self) -> Vec<u32> {
        let read = self.jobs.ask(0, |table: &mut Table| {
            let mut all = table.connection.prepare("SELECT n FROM t ORDER BY n")?;
            Ok(Ok::<_, StoreError>(all.query_map((), |row| row.get(0))?.collect::<Result<Vec<u32>, _>>()?))
        });
        read.await.expect("the table can be read")
    }
}

fn fails(code: i32) -> rusqlite::Result<()> {
    Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some("as the test wants it".into())))
}

#[test]
fn what_waits_together_shares_a_transaction() {
    run(async {
        let running = start(BOUNDS, None, || Ok(()));
        let answers = running.add_together(&[Some(1), Some(2), Some(3)], 10).await;
        assert_eq!(answers, [Ok(()), Ok(()), Ok(())]);
        assert_eq!(running.begun.load(Ordering::Relaxed), 1, "three jobs that wait are one group");
    });
}

#[test]
fn a_group_keeps_to_its_bounds() {
    let numbers: Vec<_> = (0..10).map(Some).collect();
    for (bounds, bytes, groups) in
        [(Bounds { jobs: 4, ..BOUNDS }, 0, 3), (Bounds { bytes: 2500, ..BOUNDS }, 1000, 5), (BOUNDS, 1000, 1)]
    {
        run(async {
            let running = start(bounds, None, || Ok(()));
            running.add_together(&numbers, bytes).await;
            assert_eq!(
                running.begun.load(Ordering::Relaxed),
                groups,
                "ten jobs of {bytes} bytes in {bounds:?}"
            );
            assert_eq!(running.contents().await.len(), 10, "and none is lost");
        });
    }
}

#[test]
fn a_job_that_fails_midway_harms_no_other() {
    run(async {
        let running = start(BOUNDS, None, || Ok(()));
        let answers = running.add_together(&[Some(1), None, Some(3)], 10).await;
        assert_eq!((&answers[0], &answers[2]), (&Ok(()), &Ok(())));
        assert!(matches!(answers[1], Err(StoreError::Corrupt { .. })), "{:?}", answers[1]);
        assert_eq!(running.contents().await, [1, 3], "nothing of the failed job stays");
    });
}

#[test]
fn a_full_disk_is_survived() {
    run(async {
        let is_full = Arc::new(AtomicBool::new(true));
        let disk = is_full.clone();
        let before_commit: BeforeCommit =
            Box::new(move || if disk.load(Ordering::Relaxed) { fails(ffi::SQLITE_FULL) } else { Ok(()) });
        let running = start(BOUNDS, Some(before_commit), || Ok(()));
        for answer in running.add_together(&[Some(1), Some(2)], 0).await {
            assert!(matches!(answer, Err(StoreError::Unavailable { .. })), "{answer:?}");
        }
        is_full.store(false, Ordering::Relaxed);
        assert_eq!(running.contents().await, [0; 0], "what was refused is not there");
        assert_eq!(running.add_together(&[Some(7)], 0).await, [Ok(())], "and when there is room it goes on");
        assert_eq!(running.contents().await, [7]);
    });
}

/// Asserts that a loop accepts nothing more.
async fn assert_poisoned(running: &Running) {
    let later = running.jobs.ask(0, |table: &mut Table| add(table, Some(9))).await;
    assert!(
        matches!(later, Err(StoreError::Poisoned { .. })),
        "a poisoned handle accepts nothing: {later:?}"
    );
}

#[test]
fn a_disk_that_fails_at_a_commit_poisons() {
    run(async {
        let running = start(BOUNDS, Some(Box::new(|| fails(ffi::SQLITE_IOERR_FSYNC))), || Ok(()));
        let answers = running.add_together(&[Some(1), Some(2)], 0).await;
        for answer in answers {
            assert!(matches!(answer, Err(StoreError::Poisoned { .. })), "{answer:?}");
        }
        assert_poisoned(&running).await;
    });
}

#[test]
fn a_disk_that_fails_in_a_job_poisons() {
    run(async {
        let running = start(BOUNDS, None, || Ok(()));
        let failed = running.jobs.ask(0, |_: &mut Table| -> Work<(), StoreError> {
            fails(ffi::SQLITE_IOERR_WRITE)?;
            Ok(Ok(()))
        });
        let failed = failed.await;
        assert!(matches!(failed, Err(StoreError::Poisoned { .. })), "{failed:?}");
        assert_poisoned(&running).await;
    });
}

#[test]
fn a_disk_that_fails_at_a_checkpoint_poisons_and_what_was_answered_stays_answered() {
    run(async {
        let running = start(BOUNDS, None, || fails(ffi::SQLITE_IOERR_FSYNC));
        let first = running.jobs.ask(0, |table: &mut Table| add(table, Some(1))).await;
        assert_eq!(first, Ok(()), "its commit was synced before the checkpoint");
        // The answer may overtake the checkpoint; the next one can't.
        let _ = running.jobs.ask(0, |table: &mut Table| add(table, Some(2))).await;
        assert_poisoned(&running).await;
    });
}

#[test]
fn a_checkpoint_without_room_is_tried_again() {
    run(async {
        let running = start(BOUNDS, None, || fails(ffi::SQLITE_FULL));
        for number in 0..3 {
            let added = running.jobs.ask(0, move |table: &mut Table| add(table, Some(number))).await;
            assert_eq!(added, Ok(()), "the log is whole");
        }
    });
}

#[test]
fn a_thread_that_panics_poisons() {
    run(async {
        let running = start(BOUNDS, None, || Ok(()));
        let job =
            running.jobs.ask(0, |_: &mut Table| -> Work<(), StoreError> { panic!("as the test wants it") });
        let answer = job.await;
        assert!(matches!(answer, Err(StoreError::Indeterminate { .. })), "{answer:?}");
        assert_poisoned(&running).await;
    });
}
