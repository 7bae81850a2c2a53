//! What callers of the ports meet when the disk fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use rusqlite::ffi;

use super::run;
use crate::backends::SystemClock;
use crate::backends::sqlite::{Seams, SqliteOptions, SqliteStore};
use crate::conformance::{Scene, StoreFixture, post};
use crate::data::MailKind;
use crate::ports::{AppendError, Journal, Mailbox, OwnershipError, PostError, Store, StoreError};
use crate::words::Seq;

/// One store whose commits fail with a code, from when it is not zero.
struct Failing {
    store: Arc<SqliteStore>,
    code: Arc<AtomicI32>,
    _folder: tempfile::TempDir,
}

impl Failing {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let code = Arc::new(AtomicI32::new(0));
        let fails = code.clone();
        let before_commit = Box::new(move || match fails.load(Ordering::Relaxed) {
            0 => Ok(()),
            code => Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)),
        });
        let seams = Seams { before_commit: Some(before_commit), ..Seams::default() };
        let (path, options) = (folder.path().join("shell.db"), SqliteOptions::default());
        let store = SqliteStore::open_with(&path, options, Arc::new(SystemClock::new()), seams).await;
        Self { store: Arc::new(store.expect("the store opens")), code, _folder: folder }
    }
}

#[async_trait::async_trait]
impl StoreFixture for Failing {
    async fn store(&self) -> Store {
        Store::new(self.store.clone())
    }

    async fn reopen(&self, _: Store) -> Option<Store> {
        None
    }

    async fn advance(&self, _: std::time::Duration) {}
}

#[test]
fn after_a_failed_sync_nothing_is_accepted() {
    run(async {
        let failing = Failing::new().await;
        let scene = Scene::new(&failing).await;
        let writer = scene.owned().await;
        failing.code.store(ffi::SQLITE_IOERR_FSYNC, Ordering::Relaxed);
        let lost = scene.store.journal.append(writer.append(["lost"]).into()).await;
        assert!(matches!(lost, Err(AppendError::Poisoned { .. })), "{lost:?}");
        failing.code.store(0, Ordering::Relaxed);

        let poisoned = |error: &StoreError| matches!(error, StoreError::Poisoned { .. });
        let again = scene.store.journal.append(writer.append(["again"]).into()).await;
        assert!(matches!(again, Err(AppendError::Poisoned { .. })), "{again:?}");
        let mail = scene.store.mailbox.post(post(writer.session, MailKind::Signal, "x")).await;
        assert!(matches!(&mail, Err(PostError::Store(error)) if poisoned(error)), "{mail:?}");
        let renewed = scene.store.ownership.renew(writer.fence.owner).await;
        assert!(matches!(&renewed, Err(OwnershipError::Store(error)) if poisoned(error)), "{renewed:?}");
        let read = failing.store.read(writer.session, Seq::ZERO, 9).await;
        assert!(matches!(&read, Err(error) if poisoned(error)), "{read:?}");
        let trimmed = scene.store.outbox.trim(crate::words::Timestamp::from_millis(1)).await;
        assert!(matches!(&trimmed, Err(error) if poisoned(error)), "{trimmed:?}");
    });
}

#[test]
fn a_full_disk_refuses_and_loses_nothing() {
    run(async {
        let failing = Failing::new().await;
        let scene = Scene::new(&failing).await;
        let mut writer = scene.owned().await;
        let kept = writer.append(["kept"]);
        writer.write(&scene.store, kept).await;
        failing.code.store(ffi::SQLITE_FULL, Ordering::Relaxed);
        let append = writer.append(["later"]);
        let refused = scene.store.journal.append(append.clone().into()).await;
        assert!(matches!(refused, Err(AppendError::Unavailable { .. })), "{refused:?}");
        let mail = failing.store.post(post(writer.session, MailKind::Signal, "x")).await;
        assert!(matches!(&mail, Err(PostError::Store(StoreError::Unavailable { .. }))), "{mail:?}");
        failing.code.store(0, Ordering::Relaxed);
        // The same append, so that what was remembered of the failed one would show.
        writer.write(&scene.store, append).await;
        assert_eq!(
            failing.store.read(writer.session, Seq::ZERO, 9).await.map(|records| records.len()),
            Ok(2)
        );
    });
}

/// The file itself may not grow: SQLite's own refusal, not a simulated one.
#[test]
fn a_file_that_may_not_grow_refuses_and_loses_nothing() {
    run(async {
        let failing = Failing::new().await;
        let scene = Scene::new(&failing).await;
        let mut writer = scene.owned().await;
        let limit = |pages: u32| {
            failing.store.on_writer(0, move |tx| {
                tx.connection.query_row(&format!("PRAGMA max_page_count = {pages}"), (), |_| Ok(()))?;
                Ok(Ok::<(), StoreError>(()))
            })
        };
        limit(1).await.unwrap();
        let large = writer.append(["x".repeat(1 << 20)]);
        let small = writer.append(["small"]);
        let refused = scene.store.journal.append(large.clone().into()).await;
        assert!(matches!(refused, Err(AppendError::Unavailable { .. })), "{refused:?}");
        writer.clone().write(&scene.store, small.clone()).await;
        let small_head = small.records[0].head();
        limit(1 << 20).await.unwrap();
        let conflict = scene.store.journal.append(large.into()).await;
        assert_eq!(
            conflict,
            Err(AppendError::Conflict { actual: small_head }),
            "the refused one left nothing"
        );
        writer.head = small_head;
        let next = writer.append(["next"]);
        writer.write(&scene.store, next).await;
    });
}
