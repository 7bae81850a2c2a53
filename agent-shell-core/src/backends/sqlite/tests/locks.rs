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

const STATEMENT: &str = "AGENT_SHELL_TEST_STATEMENT";
/// Begins to write.
const WRITE: &str = "BEGIN IMMEDIATE";
/// Brings the write-ahead log into the file and removes it, which nobody may who is not alone with the file.
const REMOVE_THE_LOG: &str = "PRAGMA journal_mode = delete";

/// What the other process does: tries a statement, and says whether it may.
#[test]
#[ignore = "is the other process of the tests here, which start it"]
fn another_process() {
    let (Ok(path), Ok(statement)) = (std::env::var(FILE), std::env::var(STATEMENT)) else { return };
    let connection = Connection::open(path).unwrap();
    connection.busy_timeout(Duration::ZERO).unwrap();
    let done = connection.execute_batch(&statement);
    println!("it {}", if done.is_ok() { "may do it" } else { "must wait" });
}

fn another_process_may(statement: &str, path: &Path) -> bool {
    let name = "backends::sqlite::tests::locks::another_process";
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", name])
        .env(FILE, path)
        .env(STATEMENT, statement)
        .output()
        .expect("this test's program can be started again");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    match (said.contains("it may do it"), said.contains("it must wait")) {
        (true, false) => true,
        (false, true) => false,
        _ => panic!("the other process said: {said}"),
    }
}

/// Opens a file a second time while a transaction of the first runs, which keeps others from this statement.
async fn the_first_keeps_its_lock<T>(
    path: &Path,
    statement: &str,
    open: impl AsyncFn(SqliteOptions) -> Result<T, OpenError>,
) {
    drop(open(SqliteOptions::default()).await.expect("the file is made"));
    let first = Connection::open(path).unwrap();
    first.execute_batch("BEGIN IMMEDIATE; SELECT * FROM sqlite_schema").unwrap();
    assert!(!another_process_may(statement, path), "a transaction runs");
    let impatient = SqliteOptions { busy_timeout_ms: 10, ..SqliteOptions::default() };
    assert!(open(impatient).await.is_err(), "the opening waits for the transaction, in vain");
    assert!(
        !another_process_may(statement, path),
        "the transaction still runs, and its lock must be in force"
    );
    first.execute_batch("COMMIT").unwrap();
    drop(first);
    // A store that is dropped closes its connections a little later.
    let is_over = (0..250).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        another_process_may(statement, path)
    });
    assert!(is_over, "the transaction is over");
}

#[test]
fn a_second_opening_leaves_the_locks_of_the_keys() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let open = async |options| SqliteKeys::open(&path, options, Arc::new(SystemClock::new())).await;
        the_first_keeps_its_lock(&path, WRITE, open).await;
    });
}

#[test]
fn a_second_opening_leaves_the_locks_of_the_journal() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shell.db");
        let open = async |options| SqliteStore::open(&path, options, Arc::new(SystemClock::new())).await;
        the_first_keeps_its_lock(&path, WRITE, open).await;
        // The lock on the file itself, and not the one on the log's index.
        the_first_keeps_its_lock(&path, REMOVE_THE_LOG, open).await;
    });
}
