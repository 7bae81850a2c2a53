//! Export and verification: what was changed, cut or removed is found, and nothing else is.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use agent_shell_core::backends::SystemClock;
use agent_shell_core::backends::sqlite::{SqliteOptions, SqliteStore};
use agent_shell_core::data::{ChainBreak, ChainVerifier};
use agent_shell_core::runtime::{VerifyError, verify_export, verify_store};
use agent_shell_core::words::{Digest, Head, Seq, SessionId};
use agent_shell_core::{Outcome, Plan, Shell, Step};
use rusqlite::Connection;
use serde_json::json;

use crate::support::{double, limits};

/// What a forger does to one member of a line.
type Change = fn(&mut serde_json::Value);

/// A store with a few finished turns, closed again, and the heads that were exported.
async fn store(path: &Path) -> (Vec<u8>, BTreeMap<SessionId, Head>) {
    let shell = Shell::at(path).limits(limits()).tool(double()).open().await.unwrap();
    for session in ["anna", "bert"] {
        let session = shell.session(session).unwrap();
        for n in 0..3 {
            let plan = Plan::new([Step::tool("double", "double", json!({ "n": n }))]).unwrap();
            let outcome = session.submit(plan).await.unwrap().outcome().await.unwrap();
            assert_eq!(outcome, Outcome::Answered(json!({ "n": 2 * n })));
        }
    }
    let mut export = Vec::new();
    let heads = shell.export(&mut export, true).await.unwrap();
    shell.shutdown().await.unwrap();
    (export, heads)
}

async fn verify(path: &Path, known: &BTreeMap<SessionId, Head>) -> Result<u64, VerifyError> {
    let store =
        SqliteStore::store(path, SqliteOptions::default(), Arc::new(SystemClock::new())).await.unwrap();
    verify_store(&store, known).await.map(|report| report.records)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_verifies_and_each_change_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let (export, heads) = store(&folder.path().join("shell.db")).await;
    let report = verify_export(&export[..], &heads).unwrap();
    assert_eq!(report.heads, heads);
    let text = String::from_utf8(export).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(report.records, lines.len() as u64);
    assert!(text.contains("\"body\":{"), "an opened export shows what happened");

    let none = BTreeMap::new();
    for (nth, line) in lines.iter().enumerate() {
        let mut record: serde_json::Value = serde_json::from_str(line).unwrap();
        let changes: [(&str, Change); 9] = [
            ("seq", |v| *v = json!(v.as_u64().unwrap() + 1)),
            ("epoch", |v| *v = json!(v.as_u64().unwrap() + 1)),
            ("kind", |v| *v = json!("step.failed")),
            ("version", |v| *v = json!(2)),
            ("time_ms", |v| *v = json!(v.as_u64().unwrap() - 1)),
            ("actor", |v| *v = json!("00".repeat(16))),
            ("body_digest", |v| *v = json!("00".repeat(32))),
            ("hash", |v| *v = json!("00".repeat(32))),
            ("sealed_body", |v| *v = json!(v.as_str().unwrap().replace(['0', '1'], "2"))),
        ];
        for (member, change) in changes {
            let before = record[member].clone();
            change(&mut record[member]);
            assert_ne!(before, record[member], "the change changes something");
            let mut changed: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            changed[nth] = record.to_string();
            assert!(verify_export(changed.join("\n").as_bytes(), &none).is_err(), "line {nth}: {member}");
            record[member] = before;
        }
        let mut without = lines.clone();
        without.remove(nth);
        // Without the last record of a session the chain still holds; only who kept the head can tell.
        assert!(verify_export(without.join("\n").as_bytes(), &heads).is_err(), "line {nth} removed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_byte_in_any_record_is_found_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shell.db");
    let (_, heads) = store(&path).await;
    let none = BTreeMap::new();
    let records = verify(&path, &heads).await.unwrap();
    for row in 1..=i64::try_from(records).unwrap() {
        for column in ["body", "hash", "body_digest", "actor"] {
            let flip = |connection: &Connection| {
                let query = format!("SELECT {column} FROM records WHERE rowid = ?1");
                let mut bytes: Vec<u8> = connection.query_row(&query, [row], |found| found.get(0)).unwrap();
                let at = bytes.len() / 2;
                bytes[at] ^= 1;
                let update = format!("UPDATE records SET {column} = ?2 WHERE rowid = ?1");
                connection.execute(&update, (row, bytes)).unwrap();
            };
            let connection = Connection::open(&path).unwrap();
            flip(&connection);
            let found = verify(&path, &none).await;
            assert!(matches!(found, Err(VerifyError::Broken { .. })), "record {row}, {column}: {found:?}");
            flip(&connection);
        }
    }
    assert_eq!(verify(&path, &heads).await.unwrap(), records, "all flips were undone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_tail_and_a_removed_session_are_found_by_who_kept_the_heads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shell.db");
    let (_, heads) = store(&path).await;
    let connection = Connection::open(&path).unwrap();
    connection.execute("DELETE FROM records WHERE rowid = (SELECT max(rowid) FROM records)", []).unwrap();
    assert!(verify(&path, &BTreeMap::new()).await.is_ok(), "a cut tail alone shows nothing");
    assert!(matches!(verify(&path, &heads).await, Err(VerifyError::Broken { .. })));
    connection.execute_batch("DELETE FROM records; DELETE FROM sessions;").unwrap();
    assert!(matches!(verify(&path, &heads).await, Err(VerifyError::Missing { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_is_checked_from_a_head_that_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shell.db");
    let (_, heads) = store(&path).await;
    let store =
        SqliteStore::store(&path, SqliteOptions::default(), Arc::new(SystemClock::new())).await.unwrap();
    let (&session, &end) = heads.first_key_value().unwrap();
    let records = store.journal.read(session, Seq::ZERO, 1_000).await.unwrap();
    assert_eq!(records.len() as u64, end.seq.number());
    let mut head = Head::EMPTY;
    for (place, record) in records.iter().enumerate() {
        let mut rest = ChainVerifier::after(head);
        records[place..].iter().for_each(|record| rest.next(record).unwrap());
        assert_eq!(rest.finish(), Ok(end));
        let at = record.header.seq;
        let other = Head { hash: Digest::of("another record"), ..head };
        assert_eq!(ChainVerifier::after(other).next(record), Err(ChainBreak::Hash { at }));
        let skipped = ChainVerifier::after(record.head()).next(record);
        assert_eq!(skipped, Err(ChainBreak::Gap { expected: at.next(), found: at }));
        head = record.head();
    }
    assert_eq!(ChainVerifier::after(end).finish(), Ok(end), "nothing follows the end");
}
