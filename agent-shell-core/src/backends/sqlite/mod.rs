//! The embedded store: one SQLite file, no server. It is the default.
//!
//! Two threads own a connection each. The writer drains a bounded queue into one transaction after another, so that
//! all sessions that append at the same time share one sync of the disk; the reader answers from a snapshot of the
//! file. No caller runs SQLite on its own thread. When a queue is full, callers wait in the order in which they came.
//!
//! Any number of processes of one machine may open the same file. It never opens a file on a network, never goes on
//! after the disk failed under a write, and never reads a body.

mod amounts;
mod append;
mod archive;
mod books;
mod claim;
mod columns;
mod fault;
mod file;
mod group;
mod journal;
mod keys;
mod lease_clock;
mod ledger;
mod mail;
mod mailbox;
mod marks;
mod mounts;
mod options;
mod outbox;
mod owner_files;
mod owners;
mod ownership;
mod purge;
mod queue;
mod reader;
mod records;
mod rounds;
mod sessions;
#[cfg(test)]
mod tests;
mod turns;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::oneshot;

pub use fault::OpenError;
pub use keys::SqliteKeys;
pub use options::{LeaseTime, SqliteOptions};

use self::fault::{Health, Work};
use self::group::{BeforeCommit, Bounds, Groups};
use self::lease_clock::LeaseClock;
use self::owner_files::OwnerFiles;
use self::owners::Owners;
use self::queue::{Queue, queue};
use self::reader::Reader;
use self::writer::Tx;
use crate::ports::{Store, StoreError};
use crate::words::Clock;

/// Journal, mailbox, ownership, outbox, marks, archive and ledger in one SQLite file.
///
/// A write returns after its transaction is synced to the disk. Beside the file at `path` lie SQLite's own
/// `path-wal` and `path-shm`, and the folder `path.owners` with one empty file for each process that owns sessions.
/// All of them belong together.
///
/// An append of more than 64 MiB is refused as `TooLarge`. After the disk failed under a write, a commit or a
/// checkpoint, every call returns `Poisoned`; a full disk is `Unavailable`, and nothing is lost by it.
///
/// Dropping the store lets go of its owners' locks at once, as the end of the process would; writes that were
/// handed over before are still made.
///
/// ```
/// use std::sync::Arc;
/// use agent_shell_core::backends::SystemClock;
/// use agent_shell_core::backends::sqlite::{SqliteKeys, SqliteOptions, SqliteStore};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("shell.db");
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let clock = Arc::new(SystemClock::new());
/// let mut options = SqliteOptions::default();
/// options.cache_kib = 64 << 10;
/// let keys = SqliteKeys::open(SqliteKeys::path_beside(&path), options.clone(), clock.clone()).await?;
/// let store = SqliteStore::store(&path, options, clock).await?;
/// assert!(store.journal.sessions(Default::default(), None, 10).await.unwrap().is_empty());
/// # Ok::<(), agent_shell_core::backends::sqlite::OpenError>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SqliteStore {
    writes: Queue<Tx>,
    reads: Queue<Reader>,
    files: Arc<OwnerFiles>,
    path: PathBuf,
}

impl SqliteStore {
    /// The largest append, in bytes of bodies, blobs, mail, envelopes and snapshot.
    pub const MAX_APPEND_BYTES: usize = append::MAX_APPEND_BYTES;

    /// Opens the store in the file at `path`, making it if there is none. What a crash left in the write-ahead log
    /// is brought into the file before this returns.
    ///
    /// # Errors
    /// [`OpenError`]: the folder in which the file should lie is not there, the path is a folder, the file is another
    /// program's or a newer version's, lies on a file system of a network, can't be set as durability needs it, or can't
    /// be opened.
    ///
    /// # Cancel safety
    /// Dropping the future may leave the file made, and nothing open.
    pub async fn open(
        path: impl AsRef<Path>,
        options: SqliteOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        Self::open_with(path.as_ref(), options, clock, Seams::default()).await
    }

    /// Opens the store in the file at `path` as the set of ports that a shell takes.
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    ///
    /// # Cancel safety
    /// As [`SqliteStore::open`].
    pub async fn store(
        path: impl AsRef<Path>,
        options: SqliteOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Store, OpenError> {
        Ok(Store::new(Arc::new(Self::open(path, options, clock).await?)))
    }

    async fn open_with(
        path: &Path,
        options: SqliteOptions,
        clock: Arc<dyn Clock>,
        seams: Seams,
    ) -> Result<Self, OpenError> {
        let health = Arc::new(Health::default());
        let (writes, write_jobs) = queue(options.queued_writes, options.queued_bytes, health.clone());
        let (reads, read_jobs) = queue(options.queued_reads, usize::MAX, health.clone());

        let (at, settings, writer_health) = (path.to_owned(), options.clone(), health.clone());
        let (path, files) = start("agent-shell-write", path, move |ready| {
            let opened = file::real_path(&at, &settings, seams.file_system_of)
                .and_then(|path| Ok((file::open_journal(&path, &settings)?, path)));
            let (connection, path) = match opened {
                Ok(opened) => opened,
                Err(error) => return tell(ready, Err(error)),
            };
            let files = Arc::new(OwnerFiles::beside(&path));
            files.clean();
            let owners = Owners { clock: LeaseClock::new(settings.lease_time, clock), files: files.clone() };
            tell(ready, Ok((path, files)));
            let bounds = Bounds { jobs: settings.group_writes, bytes: settings.group_bytes };
            let workplace = Tx::new(connection, owners, settings.checkpoint_pages);
            Groups::new(workplace, write_jobs, writer_health, bounds, seams.before_commit).run();
        })
        .await?;

        let at = path.clone();
        start("agent-shell-read", &path, move |ready| match file::open_reader(&at, &options) {
            Ok(connection) => {
                tell(ready, Ok(()));
                Reader::new(connection).run(read_jobs, &health);
            }
            Err(error) => tell(ready, Err(error)),
        })
        .await?;
        Ok(Self { writes, reads, files, path })
    }

    /// Runs a read on the thread that reads.
    async fn on_reader<T: Send + 'static>(
        &self,
        mut work: impl FnMut(&mut Reader) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.reads.ask(0, move |reader: &mut Reader| work(reader).map(Ok)).await
    }

    /// Runs a write on the thread that writes, in a transaction that it may share with others.
    async fn on_writer<T, E>(
        &self,
        bytes: usize,
        work: impl FnMut(&mut Tx) -> Work<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.writes.ask(bytes, work).await
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.files.let_go_of_all();
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Where tests put something in the place of the world.
struct Seams {
    before_commit: Option<BeforeCommit>,
    file_system_of: mounts::FileSystemOf,
}

impl Default for Seams {
    fn default() -> Self {
        Self { before_commit: None, file_system_of: mounts::file_system_of }
    }
}

type Ready<T> = oneshot::Sender<Result<T, OpenError>>;

/// Starts a thread of the store and waits until it has opened what it opens.
async fn start<T: Send + 'static>(
    name: &str,
    path: &Path,
    work: impl FnOnce(Ready<T>) + Send + 'static,
) -> Result<T, OpenError> {
    let (ready, opened) = oneshot::channel();
    #[allow(clippy::disallowed_methods)] // SQLite blocks: each connection has a thread of its own.
    let started = std::thread::Builder::new().name(name.into()).spawn(move || work(ready));
    started.map_err(|error| OpenError::io(path, &error))?;
    let ended = || OpenError::io(path, &std::io::Error::other("the thread of the store ended"));
    opened.await.unwrap_or_else(|_| Err(ended()))
}

/// Tells how the opening went. A caller that went away has dropped its end of the queues too, so that the thread
/// finds nothing to do and ends.
fn tell<T>(ready: Ready<T>, opened: Result<T, OpenError>) {
    let _ = ready.send(opened);
}
