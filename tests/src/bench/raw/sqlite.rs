//! Group commit at its barest: one thread owns the connection, drains a bounded queue into one
//! transaction with a prepared insert, and answers when it is committed. Each session chains its
//! records and waits for each append.

use std::path::Path;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{CachedStatement, Connection, params};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::bench::{BODY_BYTES, BenchError, Load, Measured, Quota, Stopwatch, System, body};

/// Appends that may wait for the owner.
const QUEUE_LIMIT: usize = 1024;
/// Appends in one transaction.
const GROUP_LIMIT: usize = 256;

const SCHEMA: &str = "
    CREATE TABLE records (
        session INTEGER NOT NULL, seq INTEGER NOT NULL, epoch INTEGER NOT NULL, kind INTEGER NOT NULL,
        version INTEGER NOT NULL, time INTEGER NOT NULL, actor BLOB NOT NULL, digest BLOB NOT NULL,
        chain BLOB NOT NULL, body BLOB NOT NULL
    );
    CREATE UNIQUE INDEX by_session ON records (session, seq);";
const INSERT: &str = "INSERT INTO records VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";

pub(in crate::bench) struct SqliteGroupCommit;

impl System for SqliteGroupCommit {
    fn name(&self) -> &'static str {
        "sqlite-group-commit"
    }

    fn journal(&self) -> &'static str {
        "sqlite"
    }

    fn class(&self) -> &'static str {
        "none"
    }

    fn run(&self, load: &Load) -> Result<Measured, BenchError> {
        let connection = open(&load.folder.join("records.db"))?;
        let (queue, appends) = mpsc::channel(QUEUE_LIMIT);
        let owner = thread::Builder::new().name("owner".into()).spawn(move || own(&connection, appends))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?;
        let measured = runtime.block_on(drive(load, queue))?;
        owner.join().map_err(|_| BenchError::system("the owner panicked"))??;
        Ok(measured)
    }
}

struct Record {
    session: u64,
    sequence: u64,
    time_ms: u64,
    digest: [u8; 32],
    chain: [u8; 32],
    body: [u8; BODY_BYTES],
}

const EPOCH: u64 = 1;
const KIND: u64 = 7;
const VERSION: u64 = 1;
const ACTOR: [u8; 16] = [7; 16];

impl Record {
    /// The next in the session's chain: over the header, the head before it, and the body's digest.
    fn after(head: &[u8; 32], session: u64, sequence: u64) -> Self {
        let body = body(session, sequence);
        let digest: [u8; 32] = Sha256::digest(body).into();
        let time_ms =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let mut hash = Sha256::new();
        hash.update(b"bench.record.1");
        hash.update(head);
        for field in [session, sequence, EPOCH, KIND, VERSION, time_ms] {
            hash.update(field.to_be_bytes());
        }
        hash.update(ACTOR);
        hash.update(digest);
        Self { session, sequence, time_ms, digest, chain: hash.finalize().into(), body }
    }
}

struct Append {
    record: Record,
    done: oneshot::Sender<()>,
}

async fn drive(load: &Load, queue: mpsc::Sender<Append>) -> Result<Measured, BenchError> {
    let watch = Stopwatch::start();
    let quota = Quota::start(load.until);
    let mut sessions = JoinSet::new();
    for session in 0..load.sessions as u64 {
        sessions.spawn(append_all(session, queue.clone(), quota.clone()));
    }
    drop(queue);
    let mut steps = 0;
    while let Some(done) = sessions.join_next().await {
        steps += done.map_err(BenchError::system)?;
    }
    Ok(watch.stop(steps))
}

/// Ends early when the owner is gone; its own error says why.
async fn append_all(session: u64, queue: mpsc::Sender<Append>, quota: Quota) -> u64 {
    let (mut head, mut steps) = ([0; 32], 0);
    while quota.take() {
        let record = Record::after(&head, session, steps);
        head = record.chain;
        let (done, waiting) = oneshot::channel();
        if queue.send(Append { record, done }).await.is_err() || waiting.await.is_err() {
            break;
        }
        steps += 1;
    }
    steps
}

fn open(path: &Path) -> Result<Connection, BenchError> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute_batch(SCHEMA)?;
    let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    let synchronous: i64 = connection.pragma_query_value(None, "synchronous", |row| row.get(0))?;
    if (mode.as_str(), synchronous) != ("wal", 2) {
        return Err(BenchError::system(format!("SQLite runs with {mode} and synchronous {synchronous}")));
    }
    Ok(connection)
}

fn own(connection: &Connection, mut appends: mpsc::Receiver<Append>) -> Result<(), BenchError> {
    let mut begin = connection.prepare_cached("BEGIN IMMEDIATE")?;
    let mut insert = connection.prepare_cached(INSERT)?;
    let mut commit = connection.prepare_cached("COMMIT")?;
    let mut group = Vec::with_capacity(GROUP_LIMIT);
    while appends.blocking_recv_many(&mut group, GROUP_LIMIT) > 0 {
        begin.execute([])?;
        for append in &group {
            write(&mut insert, &append.record)?;
        }
        commit.execute([])?;
        for append in group.drain(..) {
            // A session that no longer waits has no use for the answer.
            let _ = append.done.send(());
        }
    }
    Ok(())
}

fn write(insert: &mut CachedStatement<'_>, record: &Record) -> rusqlite::Result<usize> {
    let (session, sequence) = (record.session as i64, record.sequence as i64);
    let (epoch, kind, version, time_ms) = (EPOCH as i64, KIND as i64, VERSION as i64, record.time_ms as i64);
    insert.execute(params![
        session,
        sequence,
        epoch,
        kind,
        version,
        time_ms,
        &ACTOR[..],
        &record.digest[..],
        &record.chain[..],
        &record.body[..],
    ])
}
