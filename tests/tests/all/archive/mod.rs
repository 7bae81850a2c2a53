//! Finished sessions leave the journal as files that verify, can be read, come back, are purged, and expire.

mod beside;
mod killed;
mod refused;
mod verifier;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent_shell_core::ports::{SessionFilter, SessionStatus};
use agent_shell_core::runtime::{ArchiveReport, verify_export, verify_store};
use agent_shell_core::words::{Head, SessionId, UserId};
use agent_shell_core::{
    Actor, Error, ErrorKind, Outcome, Plan, Request, Shell, ShellBuilder, Step, Tenant, Turn,
};
use agent_shell_tests::residue;
use serde_json::json;
use tempfile::TempDir;

use crate::support::{double, limits, on_each};

/// What a shell does well within, unless it stands still.
const SOON: Duration = Duration::from_secs(20);
/// A text that is planted in a session.
const MARKER: &str = "Marker-in-an-archive";

/// A shell on SQLite in a folder, whose payloads are mostly blobs.
fn at(folder: &Path) -> ShellBuilder {
    let mut small = limits();
    small.inline_bytes = 200;
    Shell::at(folder.join("shell.db")).limits(small).tool(double())
}

fn archive_in(folder: &TempDir) -> PathBuf {
    let archive = folder.path().join("archive");
    std::fs::create_dir_all(&archive).unwrap();
    archive
}

/// A turn of a session that has ended, with an input that is kept as a blob.
async fn turn(shell: &Shell, name: &str, key: &str) -> Turn {
    let input = json!({ "n": 2, "remark": format!("{MARKER}{}", "x".repeat(300)) });
    let plan = Plan::new([Step::tool("double", "double", agent_shell_core::input(""))]).unwrap();
    let request = Request::plan(plan).input(input);
    let turn = shell.session(name).unwrap().submit(request).dedupe(key).await.unwrap();
    assert!(matches!(turn.outcome().await.unwrap(), Outcome::Answered(_)));
    turn
}

async fn kind<T: std::fmt::Debug>(asked: impl Future<Output = agent_shell_core::Result<T>>) -> ErrorKind {
    tokio::time::timeout(SOON, asked).await.expect("it is answered").unwrap_err().kind()
}

async fn bodies(mut history: agent_shell_core::runtime::History) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let page = history.next(3).await.unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page.iter().map(|entry| format!("{} {:?}", entry.seq, entry.body)));
    }
}

/// Archives what is there, which must be one session.
async fn archive_one(shell: &Shell, folder: &Path) -> (SessionId, Head, PathBuf) {
    let report: ArchiveReport = shell.archive(folder).await.unwrap();
    let [left] = &report.archived[..] else { panic!("one session leaves: {report:?}") };
    assert_eq!((report.passed_over.len(), report.more), (0, false), "{report:?}");
    (left.session, left.head, left.file.clone())
}

async fn status(shell: &Shell, session: SessionId) -> Option<SessionStatus> {
    let listed = shell.sessions(SessionFilter::default(), None, 100).await.unwrap();
    listed.iter().find(|entry| entry.id == session).map(|entry| entry.mark.status)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_leaves_is_read_and_comes_back() {
    on_each(|shell, _| async move {
        let folder = tempfile::tempdir().unwrap();
        let archive = archive_in(&folder);
        let shell = shell.tool(double()).open().await.unwrap();
        let first = turn(&shell, "anna", "one").await;
        let session = shell.session("anna").unwrap();
        let before = bodies(session.history().await.unwrap()).await;
        let young = shell.archive(&archive).idle_for(Duration::from_secs(3600)).await.unwrap();
        assert_eq!(young, ArchiveReport::default(), "what was used lately stays");
        let (id, head, file) = archive_one(&shell, &archive).await;
        assert_eq!((id, head), (session.id().await.unwrap(), session.head().await.unwrap()));
        assert_eq!(status(&shell, id).await, Some(SessionStatus::Archived), "it is listed");
        let name = file.file_name().unwrap().to_str().unwrap();
        let digest = agent_shell_core::words::Digest::of(std::fs::read(&file).unwrap()).to_string();
        let expected = format!("{id}-{:010}-{}.jsonl", head.seq.number(), &digest[..16]);
        assert_eq!(name, expected, "no name of a person");
        assert!(std::fs::read_dir(&archive).unwrap().count() == 1, "nothing else is left there");
        assert_eq!(shell.archive(&archive).await.unwrap(), ArchiveReport::default(), "it leaves once");

        let plan = || Plan::new([Step::timer("t", Duration::ZERO)]).unwrap();
        let error: Error = session.submit(plan()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Archived, "{error}");
        assert!(error.to_string().contains("Shell::restore"), "it says what to do: {error}");
        assert_eq!(kind(session.signal("go", 1, None, &Actor::Host)).await, ErrorKind::Archived);
        assert_eq!(kind(first.outcome()).await, ErrorKind::Archived);
        assert_eq!(kind(first.ended()).await, ErrorKind::Archived);
        assert_eq!(kind(async { session.history().await?.next(9).await }).await, ErrorKind::Archived);
        assert_eq!(kind(async { shell.history(id).await?.next(9).await }).await, ErrorKind::Archived);
        assert_eq!((shell.rests().await.unwrap(), shell.unclaimable().await.unwrap()), (vec![], vec![]));

        assert_eq!(bodies(shell.read_archive(&file).await.unwrap()).await, before, "the file says the same");
        let restored = shell.restore(&file).await.unwrap();
        assert_eq!((restored.session, restored.head, restored.was_there), (id, head, false));
        assert!(shell.restore(&file).await.unwrap().was_there, "a repeat is safe");
        assert_eq!(bodies(session.history().await.unwrap()).await, before, "the history is complete");
        assert!(matches!(first.outcome().await.unwrap(), Outcome::Answered(_)));
        assert_eq!(turn(&shell, "anna", "one").await.id(), first.id(), "its dedupe keys are recognised");
        assert_ne!(turn(&shell, "anna", "two").await.id(), first.id(), "and it goes on");

        let (_, later, newer) = archive_one(&shell, &archive).await;
        assert!(later.seq > head.seq && newer != file);
        assert_eq!(
            kind(shell.restore(&file)).await,
            ErrorKind::InvalidInput,
            "the older file is not the one"
        );
        assert!(!shell.restore(&newer).await.unwrap().was_there);
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn archives_verify_beside_the_journal_and_outlive_a_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let archive = archive_in(&folder);
    let shell = at(folder.path()).open().await.unwrap();
    turn(&shell, "anna", "one").await;
    let (id, head, file) = archive_one(&shell, &archive).await;
    turn(&shell, "bert", "one").await;
    shell.shutdown().await.unwrap();

    let shell = at(folder.path()).open().await.unwrap();
    assert_eq!(shell.recovered(), 0, "nothing is left to do in it");
    let mut export = Vec::new();
    let heads = shell.export(&mut export, true).await.unwrap();
    assert_eq!(heads[&id], head, "the head of an archived session is exported, too");
    let file = std::fs::read(file).unwrap();
    let alone = verify_export(&*file, &BTreeMap::from([(id, head)])).unwrap();
    assert_eq!((alone.heads[&id], alone.archived.len()), (head, 0));
    let unseen = verify_export(&*export, &heads).unwrap();
    assert_eq!(unseen.archived, BTreeMap::from([(id, head)]), "the report names what was not seen");
    assert_eq!(unseen.heads, heads);
    let both = verify_export(&*[&file[..], &export].concat(), &heads).unwrap();
    assert_eq!((both.archived.len(), both.records), (0, unseen.records + alone.records), "now all was seen");
    let store = agent_shell_core::backends::sqlite::SqliteStore::store(
        folder.path().join("shell.db"),
        Default::default(),
        std::sync::Arc::new(agent_shell_core::backends::SystemClock::new()),
    );
    let store = store.await.unwrap();
    assert_eq!(verify_store(&store, &heads).await.unwrap(), unseen, "in place it is the same");
    let beyond = Head { seq: head.seq.next(), hash: head.hash };
    assert!(
        verify_export(&*export, &BTreeMap::from([(id, beyond)])).is_err(),
        "nothing hides behind an archive"
    );
    assert!(verify_store(&store, &BTreeMap::from([(id, beyond)])).await.is_err());
    let other = Head { hash: agent_shell_core::words::Digest::of("x"), ..head };
    assert!(verify_export(&*export, &BTreeMap::from([(id, other)])).is_err(), "nor another history");
    shell.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subject_with_archived_sessions_is_purged_without_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let archive = archive_in(&folder);
    let shell = at(folder.path()).open().await.unwrap();
    let ended = turn(&shell, "anna", "one").await;
    let (id, head, file) = archive_one(&shell, &archive).await;
    let found = |place: &Path| residue::search(place, &[MARKER]).unwrap();
    let copy = file.with_extension("copy");
    std::fs::rename(&file, &copy).unwrap(); // A purge needs no file.
    let purge = async || {
        let by = Actor::named("an officer").unwrap();
        shell.purge(&Tenant::default(), &UserId::new("anna").unwrap(), &by).await.unwrap()
    };
    let receipt = purge().await;
    std::fs::rename(&copy, &file).unwrap();
    let [purged] = &receipt.sessions[..] else { panic!("{receipt:?}") };
    assert_eq!((purged.session, purged.archived, purged.turn), (id, Some(head), None));
    assert_eq!(purged.open.as_deref(), Some(&[][..]), "no act of a finished session is open");
    assert_eq!(purged.head.seq, head.seq.next(), "the purge stands after what was archived");
    assert_eq!(purge().await.sessions, receipt.sessions, "a repeat changes nothing");
    assert_eq!(kind(ended.outcome()).await, ErrorKind::Purged);
    assert_eq!(kind(async { shell.read_archive(&file).await.map(drop) }).await, ErrorKind::Purged);
    let mut export = Vec::new();
    let heads = shell.export(&mut export, true).await.unwrap();
    assert_eq!(heads[&id], purged.head);
    let both = [std::fs::read(&file).unwrap(), export].concat();
    assert!(
        verify_export(&*both, &heads).unwrap().archived.is_empty(),
        "the chain goes from file to journal"
    );
    assert!(!shell.restore(&file).await.unwrap().was_there, "for an auditor, it can still come back");
    assert_eq!(status(&shell, id).await, Some(SessionStatus::Purged), "and stays purged");
    // And leave again, up to the record of its purge.
    assert_eq!(archive_one(&shell, &archive).await, (id, head, file));
    shell.shutdown().await.unwrap();
    assert_eq!(found(folder.path()).len(), 0, "the text is nowhere, the archive's folder included");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_marker_in_an_archive_is_found_before_the_purge() {
    let folder = tempfile::tempdir().unwrap();
    let archive = archive_in(&folder);
    let shell = at(folder.path()).open().await.unwrap();
    turn(&shell, "anna", "one").await;
    let (_, _, file) = archive_one(&shell, &archive).await;
    shell.shutdown().await.unwrap();
    let found = residue::search(folder.path(), &[MARKER]).unwrap();
    let places: Vec<_> = found.iter().map(|finding| finding.place.as_str()).collect();
    assert!(places.iter().any(|place| place.contains(file.to_str().unwrap())), "{places:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_for_long_enough_expires_wholly() {
    on_each(|shell, _| async move {
        let folder = tempfile::tempdir().unwrap();
        let archive = archive_in(&folder);
        let shell = shell.tool(double()).open().await.unwrap();
        let ended = turn(&shell, "anna", "one").await;
        let (id, head, file) = archive_one(&shell, &archive).await;
        turn(&shell, "bert", "one").await;
        let early = shell.expire(Duration::from_secs(3600)).folder(&archive).await.unwrap();
        assert_eq!((early.expired.len(), early.passed_over.len()), (0, 0));
        let bounded = shell.expire(Duration::ZERO).at_most(0).await.unwrap();
        assert!(bounded.more && file.exists(), "a bound holds");
        let begun = file.with_extension("jsonl.01K.part"); // A process died while it wrote.
        std::fs::write(&begun, "{").unwrap();
        let report = shell.expire(Duration::ZERO).folder(&archive).await.unwrap();
        let [gone] = &report.expired[..] else { panic!("{report:?}") };
        assert_eq!((gone.session, gone.head, &gone.files), (id, head, &vec![file.clone(), begun]));
        assert_eq!(std::fs::read_dir(&archive).unwrap().count(), 0, "its files are gone");
        assert_eq!(status(&shell, id).await, None);
        assert_eq!(kind(ended.outcome()).await, ErrorKind::NotFound);
        assert_eq!(kind(async { shell.history(id).await.map(drop) }).await, ErrorKind::NotFound);
        let anew = turn(&shell, "anna", "one").await;
        assert_ne!(anew.id(), ended.id(), "the name and the key can be used anew");
        assert_eq!(shell.sessions(SessionFilter::default(), None, 9).await.unwrap().len(), 2);
        shell.shutdown().await.unwrap();
    })
    .await;
}
