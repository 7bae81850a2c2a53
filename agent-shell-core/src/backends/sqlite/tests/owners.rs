//! How the death of an owner is known: by its lock, its lease, or another boot of the machine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use super::{opened, run};
use crate::backends::SystemClock;
use crate::backends::sqlite::SqliteStore;
use crate::conformance::{digest_of, tenant, unique};
use crate::data::KeyId;
use crate::ports::{ClaimFilter, Journal, NewSession, Ownership, OwnershipError, StoreError};
use crate::words::{Clock, OwnerId, SessionId, Timestamp};

/// Longer than any test.
const LONG: Duration = Duration::from_secs(3600);

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("shell.db");
    (folder, path)
}

fn files(path: &Path) -> usize {
    let folder = PathBuf::from(format!("{}.owners", path.display()));
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

async fn session(store: &SqliteStore) -> SessionId {
    let id: SessionId = unique();
    let new = NewSession {
        id,
        tenant: tenant("default"),
        name: digest_of(id.to_bytes()),
        sealed: Vec::new(),
        key: KeyId(digest_of("a key")),
        created: Timestamp::default(),
    };
    store.open_session(new).await.expect("a session is registered").id
}

async fn enlisted(store: &SqliteStore) -> OwnerId {
    let owner = unique();
    store.enlist(owner, LONG).await.expect("an owner is enlisted");
    owner
}

/// Whether an owner gets the session.
async fn gets(store: &SqliteStore, owner: OwnerId, session: SessionId) -> bool {
    let filter = ClaimFilter { sessions: Some(vec![session]), ..ClaimFilter::default() };
    !store.claim(owner, filter, 9).await.expect("an owner may claim").is_empty()
}

#[test]
fn a_dead_owner_is_replaced_at_once_and_a_living_one_is_left_alone() {
    run(async {
        let (_folder, path) = folder();
        let (one, two) = (opened(&path).await, opened(&path).await);
        let session = session(&one).await;
        let (first, heir) = (enlisted(&one).await, enlisted(&two).await);
        assert!(gets(&one, first, session).await);
        assert!(
            !gets(&two, heir, session).await,
            "a living owner's session is left, also within one process"
        );
        assert_eq!(files(&path), 2, "each owner has a file");
        // As long as its writer works off its queue, something of the store is still there.
        let still_there = one.files.clone();
        drop(one);
        assert!(gets(&two, heir, session).await, "its lock is gone, though its lease would run for an hour");
        assert_eq!(files(&path), 1, "the dead owner's file is removed");
        drop(still_there);
    });
}

#[test]
fn who_resigns_leaves_no_file() {
    run(async {
        let (_folder, path) = folder();
        let store = opened(&path).await;
        let owner = enlisted(&store).await;
        store.resign(owner).await.unwrap();
        assert_eq!(files(&path), 0);
    });
}

#[test]
fn an_owners_id_is_taken_while_it_lives() {
    run(async {
        let (_folder, path) = folder();
        let (one, two) = (opened(&path).await, opened(&path).await);
        let owner = enlisted(&one).await;
        let taken = two.enlist(owner, LONG).await;
        assert!(matches!(taken, Err(OwnershipError::Store(StoreError::Unavailable { .. }))), "{taken:?}");
        drop(one);
        assert!(two.enlist(owner, LONG).await.is_ok(), "a dead owner's id may come back");
    });
}

/// Whoever opens the store, or claims, looks whether owners are dead, and has the lock of each for a moment. How long
/// that is, the scheduler decides.
#[test]
fn an_owner_waits_for_those_who_only_look() {
    run(async {
        let (_folder, path) = folder();
        let store = opened(&path).await;
        let owner: OwnerId = unique();
        let files = PathBuf::from(format!("{}.owners", path.display()));
        std::fs::create_dir_all(&files).unwrap();
        let looks = std::fs::File::create(files.join(owner.to_string())).unwrap();
        looks.lock().unwrap();
        let looking = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(30));
            drop(looks);
        });
        let enlisted = store.enlist(owner, LONG).await;
        looking.join().unwrap();
        assert!(enlisted.is_ok(), "nobody has this owner's id: {enlisted:?}");
        assert_eq!(self::files(&path), 1);
    });
}

#[test]
fn a_lease_of_another_boot_is_over() {
    run(async {
        let (_folder, path) = folder();
        let (one, two) = (opened(&path).await, opened(&path).await);
        let session = session(&one).await;
        let (first, heir) = (enlisted(&one).await, enlisted(&two).await);
        assert!(gets(&one, first, session).await);
        let row = Connection::open(&path).unwrap();
        let before = row.execute("UPDATE owners SET boot = 'before' WHERE id = ?1", (first.to_bytes(),));
        assert_eq!(before, Ok(1));
        assert!(gets(&two, heir, session).await, "whoever held it was another run of the machine");
    });
}

#[test]
fn a_lease_runs_out_on_the_machines_own_time() {
    run(async {
        let (_folder, path) = folder();
        let store = opened(&path).await;
        let session = session(&store).await;
        let (first, heir): (OwnerId, _) = (unique(), enlisted(&store).await);
        store.enlist(first, Duration::from_millis(50)).await.unwrap();
        assert!(gets(&store, first, session).await);
        SystemClock::new().sleep(Duration::from_millis(80)).await;
        assert!(gets(&store, heir, session).await, "fifty milliseconds are over");
        assert_eq!(store.renew(first).await, Err(OwnershipError::NotEnlisted));
    });
}

#[test]
fn files_that_nobody_will_ask_for_are_removed() {
    run(async {
        let (_folder, path) = folder();
        let one = opened(&path).await;
        let living = enlisted(&one).await;
        let folder = PathBuf::from(format!("{}.owners", path.display()));
        // As a process leaves it that dies between its lock and its row.
        std::fs::write(folder.join(unique::<OwnerId>().to_string()), "").unwrap();
        std::fs::write(folder.join("notes.txt"), "not an owner").unwrap();
        let two = opened(&path).await;
        two.renew(living).await.unwrap();
        let mut left: Vec<_> =
            std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [living.to_string().as_str(), "notes.txt"]);
    });
}
