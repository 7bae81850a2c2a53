//! Sessions that leave the journal while somebody else reads them: another archiver, an export, a check, a removal.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_shell_core::backends::SystemClock;
use agent_shell_core::backends::sqlite::{SqliteKeys, SqliteOptions, SqliteStore};
use agent_shell_core::data::Record;
use agent_shell_core::ports::{
    Append, AppendError, Appended, Archive, ArchiveError, Archived, Blob, Journal, NamedActor, NewSession,
    Restore, SessionEntry, SessionFilter, Snapshot, Store, StoreError, TurnEntry,
};
use agent_shell_core::runtime::{ExportError, WhyNot, verify_export, verify_store};
use agent_shell_core::words::{Digest, Head, Pseudonym, Seq, SessionId, TurnId};
use agent_shell_core::{ErrorKind, Shell, Tenant};
use async_trait::async_trait;

use super::{archive_in, archive_one, at, turn};
use crate::support::{double, limits};

type Act = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// Where something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// Before blobs are read, once the records were.
    Blobs,
    /// Before the records of a session are read from the first on.
    First,
    /// Before further ones are.
    Further,
    /// After the sessions were listed.
    Listed,
    /// Before a session is removed wholly.
    Expires,
}

/// A store, beside which something happens once, and that gives two records at once at most.
struct Beside {
    inner: Store,
    act: Mutex<Option<(When, Act)>>,
}

impl Beside {
    fn store(inner: Store, when: When, act: Act) -> Store {
        let beside = Arc::new(Self { inner: inner.clone(), act: Mutex::new(Some((when, act))) });
        let mut store = inner;
        (store.journal, store.archive) = (beside.clone(), beside);
        store
    }

    async fn reached(&self, when: When) {
        let act = self.act.lock().unwrap().take_if(|(at, _)| *at == when);
        if let Some((_, act)) = act {
            act().await;
        }
    }
}

#[async_trait]
impl Journal for Beside {
    async fn open_session(&self, new: NewSession) -> Result<SessionEntry, StoreError> {
        self.inner.journal.open_session(new).await
    }

    async fn append(&self, append: Arc<Append>) -> Result<Appended, AppendError> {
        self.inner.journal.append(append).await
    }

    async fn read(&self, session: SessionId, after: Seq, limit: usize) -> Result<Vec<Record>, StoreError> {
        // Who looks only for one record reads no session.
        if limit > 1 {
            self.reached(if after == Seq::ZERO { When::First } else { When::Further }).await;
        }
        self.inner.journal.read(session, after, limit.min(2)).await
    }

    async fn blob(&self, session: SessionId, address: Digest) -> Result<Vec<u8>, StoreError> {
        self.inner.journal.blob(session, address).await
    }

    async fn snapshot(&self, session: SessionId) -> Result<Option<Snapshot>, StoreError> {
        self.inner.journal.snapshot(session).await
    }

    async fn session(&self, session: SessionId) -> Result<Option<SessionEntry>, StoreError> {
        self.inner.journal.session(session).await
    }

    async fn sessions(
        &self,
        filter: SessionFilter,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<SessionEntry>, StoreError> {
        let listed = self.inner.journal.sessions(filter, after, limit).await;
        self.reached(When::Listed).await;
        listed
    }

    async fn turn(&self, turn: TurnId) -> Result<Option<TurnEntry>, StoreError> {
        self.inner.journal.turn(turn).await
    }

    async fn actor(&self, tenant: &Tenant, actor: Pseudonym) -> Result<Option<NamedActor>, StoreError> {
        self.inner.journal.actor(tenant, actor).await
    }
}

#[async_trait]
impl Archive for Beside {
    async fn blobs(
        &self,
        session: SessionId,
        after: Option<Digest>,
        rows: usize,
    ) -> Result<Vec<Blob>, StoreError> {
        self.reached(When::Blobs).await;
        self.inner.archive.blobs(session, after, rows).await
    }

    async fn archive(&self, id: SessionId, expected: Head, archived: Archived) -> Result<(), ArchiveError> {
        self.inner.archive.archive(id, expected, archived).await
    }

    async fn restore(&self, restore: Arc<Restore>) -> Result<(), ArchiveError> {
        self.inner.archive.restore(restore).await
    }

    async fn expire(&self, session: SessionId, archived: Archived) -> Result<(), ArchiveError> {
        self.reached(When::Expires).await;
        self.inner.archive.expire(session, archived).await
    }
}

/// A journal with a finished session that nobody holds, and a shell that archives it.
struct World {
    folder: tempfile::TempDir,
    archive: PathBuf,
    other: Shell,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let archive = archive_in(&folder);
        let shell = at(folder.path()).open().await.unwrap();
        turn(&shell, "anna", "one").await;
        shell.shutdown().await.unwrap();
        let other = at(folder.path()).open().await.unwrap();
        Self { folder, archive, other }
    }

    async fn store(&self, when: When, act: Act) -> Store {
        let path = self.folder.path().join("shell.db");
        let store = SqliteStore::store(path, SqliteOptions::default(), Arc::new(SystemClock::new()));
        Beside::store(store.await.unwrap(), when, act)
    }

    async fn shell(&self, when: When, act: Act) -> Shell {
        let keys = SqliteKeys::path_beside(self.folder.path().join("shell.db"));
        let keys = SqliteKeys::open(keys, SqliteOptions::default(), Arc::new(SystemClock::new()));
        let store = self.store(when, act).await;
        Shell::on(store, Arc::new(keys.await.unwrap())).limits(limits()).tool(double()).open().await.unwrap()
    }

    /// The session leaves by another's hand.
    fn leaves(&self) -> Act {
        let (other, archive) = (self.other.clone(), self.archive.clone());
        Box::new(move || Box::pin(async move { drop(archive_one(&other, &archive).await) }))
    }

    async fn close(self, shell: Shell) {
        shell.shutdown().await.unwrap();
        self.other.shutdown().await.unwrap();
    }
}

fn files(archive: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(archive).unwrap().map(|found| found.unwrap().path()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archiver_that_comes_late_spoils_no_file() {
    let world = World::new().await;
    let shell = world.shell(When::Blobs, world.leaves()).await;
    let report = shell.archive(&world.archive).await.unwrap();
    let why: Vec<_> = report.passed_over.iter().map(|over| &over.why).collect();
    assert_eq!((report.archived.len(), why), (0, vec![&WhyNot::Changed]), "another was faster");
    let files = files(&world.archive);
    let [file] = &files[..] else { panic!("nothing is left of the late one: {files:?}") };
    assert!(!shell.restore(file).await.unwrap().was_there, "the file that left is good");
    assert!(turn(&shell, "anna", "one").await.outcome().await.is_ok(), "with its blobs");
    world.close(shell).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_says_of_a_session_that_leaves_beside_it_where_it_stands() {
    let world = World::new().await;
    let shell = world.shell(When::First, world.leaves()).await;
    let mut export = Vec::new();
    let heads = shell.export(&mut export, false).await.unwrap();
    let report = verify_export(&*export, &heads).unwrap();
    assert_eq!((report.records, heads.len()), (0, 1), "all of it left before it was read");
    assert_eq!(report.archived, heads, "and the export says so");
    assert!(heads.values().all(|head| head.seq > Seq::new(2)), "with the head that it had: {heads:?}");
    world.close(shell).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_of_which_a_part_left_is_not_taken_for_whole() {
    let world = World::new().await;
    let shell = world.shell(When::Further, world.leaves()).await;
    let ended = shell.export(&mut Vec::new(), false).await;
    let Err(ExportError::Shell(error)) = ended else { panic!("{ended:?}") };
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("repeat the export"), "{error}");
    assert_eq!(shell.export(&mut Vec::new(), false).await.unwrap().len(), 1, "and then it is whole");
    world.close(shell).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_begins_a_session_anew_that_leaves_beside_it() {
    for when in [When::First, When::Further] {
        let world = World::new().await;
        let heads = world.other.export(&mut Vec::new(), false).await.unwrap();
        let store = world.store(when, world.leaves()).await;
        let report = verify_store(&store, &heads).await.unwrap();
        assert_eq!((report.records, &report.heads), (0, &heads), "{when:?}");
        assert_eq!(report.archived, heads, "{when:?}: it is named");
        world.other.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_left_anew_keeps_its_file() {
    for when in [When::Listed, When::Expires] {
        let world = World::new().await;
        let (_, _, file) = archive_one(&world.other, &world.archive).await;
        let copy = world.folder.path().join("copy.jsonl");
        std::fs::copy(&file, &copy).unwrap();
        let (other, archive) = (world.other.clone(), world.archive.clone());
        let anew: Act = Box::new(move || {
            Box::pin(async move {
                other.restore(&copy).await.unwrap();
                drop(archive_one(&other, &archive).await);
            })
        });
        let shell = world.shell(when, anew).await;
        let report = shell.expire(Duration::ZERO).folder(&world.archive).await.unwrap();
        let why: Vec<_> = report.passed_over.iter().map(|over| &over.why).collect();
        assert_eq!((report.expired.len(), why), (0, vec![&WhyNot::Changed]), "{when:?}");
        assert_eq!(files(&world.archive), std::slice::from_ref(&file), "{when:?}: its file is there");
        assert!(!shell.restore(&file).await.unwrap().was_there, "{when:?}: and good");
        world.close(shell).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expiry_that_was_cut_short_is_ended_by_the_next() {
    // Before the journal let the session go: its file gets its name back, and it goes in this call.
    let world = World::new().await;
    let (_, _, file) = archive_one(&world.other, &world.archive).await;
    let aside = world.archive.join(format!("{}.expired", file.file_name().unwrap().to_str().unwrap()));
    std::fs::rename(&file, &aside).unwrap();
    let early = world.other.expire(Duration::from_secs(3600)).folder(&world.archive).await.unwrap();
    assert_eq!(
        (early.expired.len(), files(&world.archive)),
        (0, vec![file.clone()]),
        "it has its name again"
    );
    // After it: what was set aside is removed.
    std::fs::rename(&file, &aside).unwrap();
    assert_eq!(world.other.expire(Duration::ZERO).await.unwrap().expired.len(), 1);
    let report = world.other.expire(Duration::ZERO).folder(&world.archive).await.unwrap();
    assert_eq!((report.expired.len(), files(&world.archive)), (0, vec![]), "nothing is left");
    world.other.shutdown().await.unwrap();
}

/// A pipe holds whoever reads it until somebody writes to it: as a slow disk would.
#[cfg(unix)]
#[tokio::test]
async fn a_file_that_is_slow_keeps_no_task_waiting() {
    let world = World::new().await;
    let pipe = world.archive.join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (tell, told) = std::sync::mpsc::channel();
    let writer = pipe.clone();
    #[allow(clippy::disallowed_methods)] // It stands for the disk.
    let disk = std::thread::spawn(move || {
        let ran = told.recv_timeout(Duration::from_secs(20)).is_ok();
        drop(std::fs::OpenOptions::new().write(true).open(writer).unwrap());
        ran
    });
    let (read, ()) = futures::join!(world.other.read_archive(&pipe), async { tell.send(()).unwrap() });
    assert_eq!(read.map(drop).unwrap_err().kind(), ErrorKind::Corrupt, "nothing was written");
    assert!(disk.join().unwrap(), "another task ran while the file was slow");
    world.other.shutdown().await.unwrap();
}
