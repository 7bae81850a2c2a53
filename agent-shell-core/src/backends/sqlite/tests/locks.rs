//! A second opening in one process leaves the first one's locks in force.
//!
//! POSIX drops all locks that a process has on a file as soon as the process closes any descriptor of it. SQLite
//! knows of all that it opened itself and keeps them open as long as it must; nobody else may open the file.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use super::run;
use crate::backends::SystemClock;
use crate::backends::sqlite::{OpenError, SqliteKeys, SqliteOptions, SqliteStore};

const FILE: &str = "AGENT_SHELL_TEST_LOCKED_FILE";

/// What the other process does: tries to begin a transaction that writes, and says whether it may.
#[test]
#[ignore = "is the other process of the tests here, which start it"]
fn another_process() {
    let Ok(path) = std::env::var(FILE) else { return };
    let connection = Connection::open(path).unwrap();
    connection.busy_timeout(Duration::ZERO).unwrap();
    let begun = connection.execute_batch("BEGIN IMMEDIATE");
    println!("it {}", if begun.is_ok() { "may write" } else { "must wait" });
}

fn another_process_may_write(path: &Path) -> bool {
    let name = "backends::sqlite::tests::locks::another_process";
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", name])
        .env(FILE, path)
        .output()
        .expect("this test's program can be started again");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    match (said.contains("it may write"), said.contains("it must wait")) {
        (true, false) => true,
        (false, true) => false,
        _ => panic!("the other process said: {said}"),
    }
}

/// Opens a file a second time while a transaction of the first runs.
async fn the_first_keeps_its_lock<T>(path: &Path, open: impl AsyncFn(SqliteOptions) -> Result<T, OpenError>) {
    drop(open(SqliteOptions::default()).await.expect("the file is made"));
    let first = Connection::open(path).unwrap();
    first.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(!another_process_may_write(path), "a transaction runs");
    let impatient = SqliteOptions { busy_timeout_ms: 10, ..SqliteOptions::default() };
    assert!(open(impatient).await.is_err(), "the opening waits for the transaction, in vain");
    assert!(!another_process_may_write(path), "the transaction still runs, and its lock must be in force");
    first.execute_batch("COMMIT").unwrap();
    assert!(another_process_may_write(path), "the transaction is over");
}

#[test]
fn a_second_opening_leaves_the_locks_of_the_keys() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let open = async |options| SqliteKeys::open(&path, options, Arc::new(SystemClock::new())).await;
        the_first_keeps_its_lock(&path, open).await;
    });
}

/// With a write-ahead log, who writes is settled by locks on the log's index, and who is the last to close the log by
/// locks on the file itself: only the latter would be lost with the file, and are looked for where the kernel lists
/// them.
#[test]
fn a_second_opening_leaves_the_locks_of_the_journal() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shell.db");
        let open = async |options| SqliteStore::open(&path, options, Arc::new(SystemClock::new())).await;
        the_first_keeps_its_lock(&path, open).await;
        if cfg!(target_os = "linux") {
            let first = Connection::open(&path).unwrap();
            first.execute_batch("SELECT * FROM sqlite_schema").unwrap();
            assert!(is_locked(&path), "who has read has a lock on the file");
            let second = open(SqliteOptions::default()).await.unwrap();
            assert!(is_locked(&path), "the first's lock must be in force");
            drop(second);
            assert!(is_locked(&path), "the first's lock must still be in force");
        }
    });
}

/// Whether the kernel knows of a POSIX lock on the file.
fn is_locked(path: &Path) -> bool {
    let file = format!(":{}", std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap()));
    let locks = std::fs::read_to_string("/proc/locks").unwrap();
    let mut posix = locks.lines().filter(|lock| lock.contains(" POSIX "));
    posix.any(|lock| lock.split_whitespace().any(|field| field.ends_with(&file)))
}
