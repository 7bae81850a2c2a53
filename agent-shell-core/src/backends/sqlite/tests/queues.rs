//! Queues are bounded: callers wait, and nothing is refused or lost.

use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::task::{Context, Waker};

use futures::future::BoxFuture;

use super::run;
use crate::backends::SystemClock;
use crate::backends::sqlite::{SqliteOptions, SqliteStore};
use crate::conformance::{digest_of, tenant, unique};
use crate::data::KeyId;
use crate::ports::{Journal, NewSession, StoreError};
use crate::words::Timestamp;

async fn store(options: SqliteOptions) -> (tempfile::TempDir, SqliteStore) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path: PathBuf = folder.path().join("shell.db");
    let store =
        SqliteStore::open(path, options, Arc::new(SystemClock::new())).await.expect("the store opens");
    (folder, store)
}

/// Holds up the writer until the sender is dropped.
async fn hold_up(store: &SqliteStore) -> (mpsc::Sender<()>, BoxFuture<'_, Result<(), StoreError>>) {
    let (go, wait) = mpsc::channel::<()>();
    let (started, has_started) = tokio::sync::oneshot::channel();
    let mut started = Some(started);
    let held = store.on_writer(0, move |_| {
        if let Some(started) = started.take() {
            let _ = started.send(());
        }
        let _ = wait.recv();
        Ok(Ok(()))
    });
    let mut held: BoxFuture<'_, _> = Box::pin(held);
    assert!(!is_ready(&mut held), "the writer is held up");
    has_started.await.expect("the writer took the job");
    (go, held)
}

fn is_ready<T>(future: &mut BoxFuture<'_, T>) -> bool {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

/// A write of so many bytes.
fn write(store: &SqliteStore, bytes: usize) -> BoxFuture<'_, Result<(), StoreError>> {
    Box::pin(store.on_writer(bytes, |_| Ok(Ok(()))))
}

/// How many writes of so many bytes the queue takes while the writer is held up.
async fn taken(options: SqliteOptions, bytes: usize) -> usize {
    let (_folder, store) = store(options).await;
    let (go, held) = hold_up(&store).await;
    let mut writes: Vec<_> = (0..10).map(|_| write(&store, bytes)).collect();
    for write in &mut writes {
        assert!(!is_ready(write), "nothing is answered while the writer is held up, and nothing is refused");
    }
    let room = store.writes.room_left();
    drop(go);
    held.await.expect("the job that held up the writer ends");
    for write in writes {
        write.await.expect("who waited for room is served");
    }
    room
}

#[test]
fn a_full_queue_makes_callers_wait() {
    run(async {
        let options = SqliteOptions { queued_writes: 4, ..SqliteOptions::default() };
        assert_eq!(taken(options, 0).await, 0, "four wait in the queue and six for it");
        let options = SqliteOptions { queued_writes: 12, ..SqliteOptions::default() };
        assert_eq!(taken(options, 0).await, 2, "ten wait in a queue of twelve");
    });
}

#[test]
fn a_queue_is_bounded_in_bytes() {
    run(async {
        let options = SqliteOptions { queued_bytes: 1 << 20, queued_writes: 12, ..SqliteOptions::default() };
        assert_eq!(taken(options.clone(), 300 << 10).await, 9, "three of 300 KiB fit a MiB");
        assert_eq!(taken(options, 5 << 20).await, 12, "what is larger than the room waits for all of it");
    });
}

fn new_session() -> NewSession {
    NewSession {
        id: unique(),
        tenant: tenant("default"),
        name: digest_of("a session"),
        sealed: Vec::new(),
        key: KeyId(digest_of("a key")),
        created: Timestamp::default(),
    }
}

#[test]
fn a_dropped_call_withdraws_nothing_that_was_handed_over() {
    run(async {
        let (_folder, store) = store(SqliteOptions::default()).await;
        let (go, held) = hold_up(&store).await;
        let new = new_session();
        let id = new.id;
        let mut call: BoxFuture<'_, _> =
            Box::pin(store.on_writer(0, move |tx| crate::backends::sqlite::sessions::open(tx, &new)));
        assert!(!is_ready(&mut call), "the writer is held up");
        drop(call);
        drop(go);
        held.await.expect("the job that held up the writer ends");
        write(&store, 0).await.expect("what was queued before is done before");
        assert!(store.session(id).await.unwrap().is_some(), "the registration happened");
    });
}

#[test]
fn reads_do_not_wait_for_the_writer() {
    run(async {
        let (_folder, store) = store(SqliteOptions::default()).await;
        let (go, held) = hold_up(&store).await;
        assert_eq!(store.session(unique()).await, Ok(None), "a read is answered while a write is under way");
        drop(go);
        held.await.expect("the job that held up the writer ends");
    });
}

#[test]
fn a_read_sees_what_was_committed_before_it_was_asked_for() {
    run(async {
        let (_folder, store) = store(SqliteOptions::default()).await;
        let (go, wait) = mpsc::channel::<()>();
        let (started, has_started) = tokio::sync::oneshot::channel();
        let mut started = Some(started);
        // A read that has begun, with its snapshot taken.
        let mut slow: BoxFuture<'_, _> = Box::pin(store.on_reader(move |reader| {
            reader.connection.query_row("SELECT count(*) FROM sessions", (), |_| Ok(()))?;
            if let Some(started) = started.take() {
                let _ = started.send(());
            }
            let _ = wait.recv();
            Ok(())
        }));
        assert!(!is_ready(&mut slow), "the reader is held up");
        has_started.await.expect("the reader took the job");
        let new = new_session();
        let id = new.id;
        store.on_writer(0, move |tx| crate::backends::sqlite::sessions::open(tx, &new)).await.unwrap();
        let mut read: BoxFuture<'_, _> = Box::pin(store.session(id));
        assert!(!is_ready(&mut read), "it waits behind the slow one");
        drop(go);
        slow.await.expect("the slow read ends");
        assert!(read.await.unwrap().is_some(), "it must not share the snapshot of the slow one");
    });
}
