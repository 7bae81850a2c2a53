//! Two handles onto one file, and the index in two parts.

use std::sync::Arc;
use std::time::Duration;

use super::{opened, run};
use crate::backends::sqlite::SqliteStore;
use crate::conformance::{Scene, StoreFixture, Writer, unique};
use crate::ports::{
    AppendError, ClaimFilter, Journal, OutboxPosition, Ownership, OwnershipError, SessionFilter, Store,
};
use crate::words::{OwnerId, Seq, SessionId};

/// Any number of handles onto one file.
pub(super) struct Handles {
    folder: tempfile::TempDir,
}

impl Handles {
    pub(super) fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder can be made") }
    }

    async fn handle(&self) -> Arc<SqliteStore> {
        Arc::new(opened(&self.folder.path().join("shell.db")).await)
    }
}

#[async_trait::async_trait]
impl StoreFixture for Handles {
    async fn store(&self) -> Store {
        Store::new(self.handle().await)
    }

    async fn reopen(&self, store: Store) -> Option<Store> {
        drop(store);
        Some(Store::new(self.handle().await))
    }

    async fn advance(&self, _: Duration) {}
}

fn named(session: SessionId) -> ClaimFilter {
    ClaimFilter { sessions: Some(vec![session]), ..ClaimFilter::default() }
}

async fn claim(store: &SqliteStore, owner: OwnerId, session: SessionId) -> Result<usize, OwnershipError> {
    store.claim(owner, named(session), 1).await.map(|claims| claims.len())
}

#[test]
fn pages_cross_the_parts_of_the_index() {
    run(async {
        let handles = Handles::new();
        let scene = Scene::new(&handles).await;
        let mut writers = [scene.owned().await, scene.owned().await, scene.owned().await];
        for round in 0..15 {
            for writer in &mut writers {
                let append = writer.append([format!("{round}")]);
                writer.write(&scene.store, append).await;
            }
        }
        for writer in &writers {
            for page in 1..16 {
                let mut seen = Vec::new();
                loop {
                    let after = Seq::new(seen.len() as u64);
                    let records = scene.store.journal.read(writer.session, after, page).await.unwrap();
                    assert!(records.len() <= page, "a page is not longer than asked");
                    if records.is_empty() {
                        break;
                    }
                    seen.extend(records.into_iter().map(|record| record.header.seq.number()));
                }
                assert_eq!(seen, (1..16).collect::<Vec<_>>(), "in pages of {page}");
            }
        }
    });
}

#[test]
fn a_handle_sees_what_another_committed() {
    run(async {
        let handles = Handles::new();
        let (here, there) = (handles.handle().await, handles.handle().await);
        let scene = Scene { store: Store::new(here.clone()), fixture: &handles };
        let mut writer = scene.owned().await;
        let append = writer.append(["here"]);
        writer.write(&scene.store, append).await;
        // Appended through the other handle, under the same fence: this one must not trust what it remembers.
        let append = writer.append(["there"]);
        writer.write(&Store::new(there.clone()), append).await;
        let append = writer.append(["here again"]);
        writer.write(&scene.store, append).await;
        assert_eq!(there.read(writer.session, Seq::ZERO, 9).await.unwrap().len(), 3);
        assert_eq!(there.sessions(SessionFilter::default(), None, 9).await.unwrap().len(), 1);
    });
}

#[test]
fn a_handle_is_fenced_by_a_claim_through_another() {
    run(async {
        let handles = Handles::new();
        let (here, there) = (handles.handle().await, handles.handle().await);
        let scene = Scene { store: Store::new(here.clone()), fixture: &handles };
        let mut stale = scene.owned().await;
        let append = stale.append(["before"]);
        stale.write(&scene.store, append).await;
        let heir: OwnerId = unique();
        there.enlist(heir, Duration::from_secs(60)).await.unwrap();
        there.release(stale.fence.owner, vec![(stale.session, stale.fence.epoch)]).await.unwrap();
        assert_eq!(claim(&there, heir, stale.session).await, Ok(1));
        let fenced = here.append(stale.append(["late"]).into()).await;
        assert_eq!(fenced, Err(AppendError::Fenced { actual: stale.fence.epoch.next() }));
    });
}

#[test]
fn handles_that_contend_commit_everything_once() {
    const ROUNDS: usize = 40;
    crate::conformance::run(async {
        let handles = Handles::new();
        let mut tasks = Vec::new();
        for _ in 0..2 {
            let store = Store::new(handles.handle().await);
            for _ in 0..4 {
                let scene = Scene { store: store.clone(), fixture: &handles };
                let mut writer = scene.owned().await;
                tasks.push(async move {
                    for _ in 0..ROUNDS {
                        let append = writer.envelopes(1);
                        writer.write(&scene.store, append).await;
                    }
                    writer
                });
            }
        }
        let writers: Vec<Writer> = futures::future::join_all(tasks).await;
        let store = handles.store().await;
        for writer in &writers {
            let records = store.journal.read(writer.session, Seq::ZERO, 1000).await.unwrap();
            assert_eq!(records.len(), ROUNDS);
            assert_eq!(records.last().map(crate::data::Record::head), Some(writer.head));
        }
        let rows = store.outbox.pending(OutboxPosition::default(), 10_000).await.unwrap();
        assert_eq!(rows.len(), writers.len() * ROUNDS);
        assert!(rows.is_sorted_by_key(|row| row.position), "one order for all handles");
    });
}
