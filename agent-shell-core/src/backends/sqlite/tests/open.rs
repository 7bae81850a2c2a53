//! Opening: settings that are in force, and files that are refused.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;

use super::{open, opened, run};
use crate::backends::SystemClock;
use crate::backends::sqlite::{OpenError, Seams, SqliteOptions, SqliteStore, file};
use crate::ports::{Journal, Marks};
use crate::words::{Clock, ErrorKind, GroupName};

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("shell.db");
    (folder, path)
}

fn setting(connection: &Connection, name: &str) -> String {
    let value: rusqlite::types::Value =
        connection.query_row(&format!("PRAGMA {name}"), (), |row| row.get(0)).unwrap();
    match value {
        rusqlite::types::Value::Integer(number) => number.to_string(),
        rusqlite::types::Value::Text(text) => text,
        other => panic!("{name} is {other:?}"),
    }
}

#[test]
fn what_durability_rests_on_is_in_force() {
    let (_folder, path) = folder();
    let journal = file::open_journal(&path, &SqliteOptions::default()).unwrap();
    for (name, value) in [
        ("journal_mode", "wal"),
        ("synchronous", "2"),
        ("fullfsync", "1"),
        ("checkpoint_fullfsync", "1"),
        ("wal_autocheckpoint", "0"),
        ("busy_timeout", "5000"),
        ("application_id", "1097290600"),
        ("user_version", "4"),
    ] {
        assert_eq!(setting(&journal, name), value, "{name} of a journal");
    }
    let reader = file::open_reader(&path, &SqliteOptions::default()).unwrap();
    assert_eq!(setting(&reader, "query_only"), "1");
    let keys = file::open_keys(&path.with_extension("keys"), &SqliteOptions::default()).unwrap();
    for (name, value) in [("journal_mode", "truncate"), ("synchronous", "2"), ("secure_delete", "1")] {
        assert_eq!(setting(&keys, name), value, "{name} of a key store");
    }
}

#[test]
fn statements_are_compiled_once_whatever_is_bound() {
    let (_folder, path) = folder();
    let journal = file::open_journal(&path, &SqliteOptions::default()).unwrap();
    let reader = file::open_reader(&path, &SqliteOptions::default()).unwrap();
    for connection in [journal, reader] {
        let mut page =
            connection.prepare("SELECT nr FROM sessions WHERE nr > ?1 ORDER BY nr LIMIT ?2").unwrap();
        for rows in 1..4 {
            assert!(!page.exists((rows, rows)).unwrap());
        }
        assert_eq!(page.get_status(rusqlite::StatementStatus::RePrepare), 0);
    }
}

#[test]
fn a_setting_that_does_not_take_is_refused() {
    let connection = Connection::open_in_memory().unwrap();
    // A database in memory has no write-ahead log, and does not say so when it is asked for one.
    let refused = file::settle(Path::new("somewhere"), &connection, &[("journal_mode", "wal".into())]);
    let Err(OpenError::Setting { setting, wanted, found, .. }) = &refused else {
        panic!("a setting that is not in force must be refused: {refused:?}");
    };
    assert_eq!((*setting, wanted.as_str(), found.as_str()), ("journal_mode", "wal", "memory"));
    // Accepted silently by SQLite, and weaker than it looks.
    let weaker = file::settle(Path::new("somewhere"), &connection, &[("synchronous", "WAL".into())]);
    assert!(matches!(weaker, Err(OpenError::Setting { .. })), "{weaker:?}");
}

/// Makes a file with these statements, and returns why it is not opened.
fn refusal_of(statements: &str) -> OpenError {
    let (_folder, path) = folder();
    Connection::open(&path).unwrap().execute_batch(statements).unwrap();
    let before = std::fs::read(&path).unwrap();
    let mut refusal = None;
    run(async { refusal = open(&path).await.err() });
    assert_eq!(std::fs::read(&path).unwrap(), before, "a file that is refused must be left as it was");
    refusal.expect("the file must be refused")
}

#[test]
fn a_file_of_another_program_is_refused() {
    for statements in [
        "PRAGMA application_id = 7",
        "CREATE TABLE theirs (a)",
        "PRAGMA user_version = 1",
        "PRAGMA application_id = 7; PRAGMA user_version = 1; CREATE TABLE sessions (a)",
    ] {
        let refusal = refusal_of(statements);
        assert!(matches!(refusal, OpenError::Foreign { .. }), "{statements}: {refusal}");
        assert_eq!(refusal.kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let (_folder, path) = folder();
    std::fs::write(&path, "a letter to my aunt, and not a short one".repeat(100)).unwrap();
    run(async {
        let refusal = open(&path).await.unwrap_err();
        assert!(matches!(refusal, OpenError::Foreign { .. }), "{refusal}");
    });
}

#[test]
fn a_key_store_is_no_journal() {
    let (_folder, path) = folder();
    drop(file::open_keys(&path, &SqliteOptions::default()).unwrap());
    run(async {
        let refusal = open(&path).await.unwrap_err();
        assert!(matches!(refusal, OpenError::Foreign { .. }), "{refusal}");
    });
}

#[test]
fn a_newer_format_is_refused() {
    let refusal = refusal_of("PRAGMA application_id = 1097290600; PRAGMA user_version = 5");
    let OpenError::Newer { found: 5, known: 4, .. } = refusal else { panic!("{refusal}") };
    assert_eq!(refusal.kind(), ErrorKind::Unsupported);
    assert!(refusal.to_string().contains("upgrade agent-shell-core"), "{refusal}");
}

#[test]
fn a_file_of_the_first_format_is_brought_to_the_current_one() {
    let (_folder, path) = folder();
    let first = file::Format { migrations: &file::JOURNAL.migrations[..1], ..file::JOURNAL };
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(first.migrations[0]).unwrap();
    let stamp = format!("PRAGMA application_id = {}; PRAGMA user_version = 1", first.application_id);
    connection.execute_batch(&stamp).unwrap();
    drop(connection);
    run(async {
        let store = opened(&path).await;
        let group = GroupName::new("group").unwrap();
        assert_eq!(
            store.behind(&group, None, 1).await,
            Ok(Vec::new()),
            "the tables of the new format are there"
        );
    });
    assert_eq!(setting(&Connection::open(&path).unwrap(), "user_version"), "4");
}

#[test]
fn a_network_file_system_is_refused() {
    let (_folder, path) = folder();
    let clock = Arc::new(SystemClock::new());
    let on_a_network = || Seams { file_system_of: |_| Some("nfs4".into()), ..Seams::default() };
    run(async {
        let refused = SqliteStore::open_with(&path, SqliteOptions::default(), clock.clone(), on_a_network());
        let refusal = refused.await.unwrap_err();
        assert!(
            matches!(&refusal, OpenError::NetworkFileSystem { file_system, .. } if file_system == "nfs4")
        );
        assert!(!path.exists(), "nothing is made where it would be refused");
        let options = SqliteOptions { any_file_system: true, ..SqliteOptions::default() };
        let opened = SqliteStore::open_with(&path, options, clock.clone(), on_a_network()).await;
        assert!(opened.is_ok(), "who asks for it may have it: {opened:?}");
    });
}

#[test]
fn a_folder_that_is_missing_is_said() {
    let (folder, _) = folder();
    run(async {
        let refusal = open(&folder.path().join("nowhere").join("shell.db")).await.unwrap_err();
        assert!(
            matches!(&refusal, OpenError::NoFolder { folder, .. } if folder.ends_with("nowhere")),
            "{refusal}"
        );
        assert_eq!(refusal.kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn names_that_mean_something_to_sqlite_are_files() {
    for name in [":memory:", "file:shell.db?mode=memory"] {
        let path = file::real_path(Path::new(name), &SqliteOptions::default(), |_| None).unwrap();
        assert!(path.is_absolute() && path.ends_with(name), "{name} must be a file, not {path:?}");
    }
}

#[cfg(unix)]
#[test]
fn all_paths_to_a_file_are_one_store() {
    let (folder, path) = folder();
    run(async {
        drop(opened(&path).await);
        let link = folder.path().join("link.db");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let store = opened(&link).await;
        assert_eq!(
            store.path,
            path.canonicalize().unwrap(),
            "what lies beside the file is found by its real path"
        );
    });
}

#[test]
fn a_process_that_reads_does_not_hold_up_an_opening() {
    let (_folder, path) = folder();
    run(async {
        let _first = opened(&path).await;
        let other = Connection::open(&path).unwrap();
        // Something in the log, and a reader of it.
        other.execute_batch("PRAGMA user_version = 4; BEGIN; SELECT count(*) FROM sessions").unwrap();
        let options = SqliteOptions { busy_timeout_ms: 20_000, ..SqliteOptions::default() };
        let clock = SystemClock::new();
        let begun = clock.monotonic();
        let second = SqliteStore::open(&path, options, Arc::new(clock)).await.unwrap();
        assert!(clock.monotonic().since(begun).as_secs() < 10, "an opening waits for nobody's reading");
        drop(second);
    });
}

#[test]
fn what_a_crash_left_in_the_log_is_in_the_file_when_it_is_open() {
    let (folder, path) = folder();
    let crashed = folder.path().join("crashed.db");
    let log_of = |path: &Path| PathBuf::from(format!("{}-wal", path.display()));
    run(async {
        let store = opened(&path).await;
        let new = crate::ports::NewSession {
            id: crate::words::SessionId::from_bytes([1; 16]),
            tenant: crate::words::Tenant::default(),
            name: crate::words::Digest::ZERO,
            sealed: Vec::new(),
            key: crate::data::KeyId(crate::words::Digest::ZERO),
            created: crate::words::Timestamp::default(),
        };
        let entry = store.open_session(new).await.unwrap();
        // What a loss of power would leave.
        std::fs::copy(&path, &crashed).unwrap();
        std::fs::copy(log_of(&path), log_of(&crashed)).unwrap();
        assert!(std::fs::metadata(log_of(&crashed)).unwrap().len() > 0, "the log must hold something");

        let reopened = opened(&crashed).await;
        assert_eq!(std::fs::metadata(log_of(&crashed)).unwrap().len(), 0, "the log must be empty");
        assert_eq!(reopened.session(entry.id).await.unwrap(), Some(entry));
    });
}
