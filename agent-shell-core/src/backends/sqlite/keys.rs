//! Keys in a SQLite file of their own, apart from what they seal.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension};

use super::columns::kept;
use super::fault::{Health, OpenError, Work, damaged};
use super::group::{Bounds, Groups, Workplace};
use super::options::SqliteOptions;
use super::queue::{Queue, queue};
use super::{file, mounts, start, tell};
use crate::data::{DataKey, KeyId};
use crate::ports::{KeyError, KeyStore, StoreError};
use crate::words::Clock;

/// A key store in one SQLite file, which only its owner can read (mode 0600).
///
/// Keep it out of the backups of the journal: whoever has both can read what was purged since. A destroyed key is
/// overwritten in the file, and the file's rollback journal is emptied, before `destroy` returns. What a disk or a
/// file system keeps of overwritten blocks is beyond its reach.
///
/// Keys that are made at the same time share a sync.
pub struct SqliteKeys {
    jobs: Queue<Keys>,
    clock: Arc<dyn Clock>,
    path: PathBuf,
}

impl SqliteKeys {
    /// Where the keys of the store at `store` lie by custom: beside it, with `.keys` at the end.
    pub fn path_beside(store: impl AsRef<Path>) -> PathBuf {
        let mut path = store.as_ref().as_os_str().to_owned();
        path.push(".keys");
        path.into()
    }

    /// Opens the key store in the file at `path`, making it if there is none.
    ///
    /// # Errors
    /// As [`SqliteStore::open`](super::SqliteStore::open).
    ///
    /// # Cancel safety
    /// Dropping the future may leave the file made, and nothing open.
    pub async fn open(
        path: impl AsRef<Path>,
        options: SqliteOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let (at, path) = (path.as_ref().to_owned(), path.as_ref());
        let health = Arc::new(Health::default());
        let (jobs, receiver) = queue(options.queued_writes, options.queued_bytes, health.clone());
        let path = start("agent-shell-keys", path, move |ready| {
            let opened = file::real_path(&at, &options, mounts::file_system_of).and_then(|path| {
                make_private(&path).map_err(|error| OpenError::io(&path, &error))?;
                Ok((file::open_keys(&path, &options)?, path))
            });
            let (connection, path) = match opened {
                Ok(opened) => opened,
                Err(error) => return tell(ready, Err(error)),
            };
            tell(ready, Ok(path));
            let bounds = Bounds { jobs: options.group_writes, bytes: options.group_bytes };
            Groups::new(Keys { connection }, receiver, health, bounds, None).run();
        })
        .await?;
        Ok(Self { jobs, clock, path })
    }

    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnMut(&mut Keys) -> Work<Result<T, KeyError>, StoreError> + Send + 'static,
    ) -> Result<T, KeyError> {
        match self.jobs.ask(0, work).await {
            Ok(answer) => answer,
            Err(StoreError::Corrupt { detail }) => Err(KeyError::Corrupt { detail }),
            Err(StoreError::Poisoned { detail }) => Err(KeyError::Poisoned { detail }),
            Err(error) => Err(KeyError::Unavailable { detail: error.to_string() }),
        }
    }
}

/// Held while a file is made, so that whoever finds it there finds it closed as well.
static MAKING: Mutex<()> = Mutex::new(());

/// Makes the file, if there is none, so that nobody else can read what will be in it.
///
/// A file that is there is not opened, because another handle of this process may be at work in it: POSIX drops all
/// locks that a process has on a file when the process closes any descriptor of it.
fn make_private(path: &Path) -> std::io::Result<()> {
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(made) => drop(made),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    #[cfg(unix)]
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(())
}

struct Keys {
    connection: Connection,
}

/// The length of the proof of a key, in bytes.
const PROOF: usize = 16;

/// By what a key is told from one with a flipped bit, under which names would not be found and texts not be opened.
fn proof_of(id: KeyId, key: &DataKey) -> [u8; PROOF] {
    let mut proof = [0; PROOF];
    proof.copy_from_slice(&key.digest("stored-key", &[id.0.as_bytes()]).as_bytes()[..PROOF]);
    proof
}

impl Keys {
    /// The key, or its absence if it was destroyed; the outer option says whether there is a row.
    fn find(&self, id: KeyId) -> rusqlite::Result<Option<Option<DataKey>>> {
        self.connection
            .prepare_cached("SELECT key, proof, destroyed_at FROM keys WHERE id = ?1")?
            .query_row((id.0.as_bytes(),), |row| {
                let key = row.get::<_, Option<_>>(0)?.map(DataKey::from_bytes);
                let (proof, destroyed_at): (Option<[u8; PROOF]>, Option<i64>) = (row.get(1)?, row.get(2)?);
                let is_whole = match &key {
                    Some(key) => {
                        destroyed_at.is_none() && proof.is_none_or(|proof| proof == proof_of(id, key))
                    }
                    None => destroyed_at.is_some(),
                };
                is_whole.then_some(key).ok_or_else(|| damaged(format!("the row of key {}", id.0)))
            })
            .optional()
    }
}

impl Workplace for Keys {
    fn connection(&self) -> &Connection {
        &self.connection
    }

    fn begun(&mut self) -> rusqlite::Result<()> {
        Ok(())
    }

    fn rolled_back(&mut self) {}

    fn answered(&mut self) -> rusqlite::Result<()> {
        Ok(())
    }
}

#[async_trait]
impl KeyStore for SqliteKeys {
    async fn create(&self, id: KeyId, fresh: DataKey) -> Result<DataKey, KeyError> {
        let now = kept(self.clock.now().as_millis());
        self.ask(move |keys| {
            if let Some(found) = keys.find(id)? {
                return Ok(Ok(found.ok_or(KeyError::Destroyed)));
            }
            keys.connection
                .prepare_cached("INSERT INTO keys (id, key, created_at, proof) VALUES (?1, ?2, ?3, ?4)")?
                .execute((id.0.as_bytes(), fresh.expose(), now, proof_of(id, &fresh)))?;
            Ok(Ok(Ok(fresh.clone())))
        })
        .await
    }

    async fn fetch(&self, id: KeyId) -> Result<DataKey, KeyError> {
        self.ask(move |keys| {
            let found = keys.find(id)?;
            Ok(Ok(found.ok_or(KeyError::Lost).and_then(|key| key.ok_or(KeyError::Destroyed))))
        })
        .await
    }

    async fn destroy(&self, id: KeyId) -> Result<(), KeyError> {
        let now = kept(self.clock.now().as_millis());
        self.ask(move |keys| {
            keys.connection
                .prepare_cached(
                    "INSERT INTO keys (id, key, created_at, destroyed_at) VALUES (?1, NULL, ?2, ?2) \
                     ON CONFLICT DO UPDATE SET key = NULL, proof = NULL, destroyed_at = ?2 WHERE key IS NOT NULL",
                )?
                .execute((id.0.as_bytes(), now))?;
            Ok(Ok(Ok(())))
        })
        .await
    }
}

impl fmt::Debug for SqliteKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteKeys").field("path", &self.path).finish_non_exhaustive()
    }
}
