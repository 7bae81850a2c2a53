//! The folder in which everything that outlives a run is kept: the journal with its keys, the ledger, the briefing.

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent_shell_core::backends::SystemClock;
use agent_shell_core::words::Clock;

use crate::desk::scope;

const JOURNAL: &str = "shell.db";
/// Characters of a folder's name in the name of its briefing.
const MAX_NAME: usize = 40;
const LOCK_ATTEMPTS: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Why the state can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    #[error("the state folder {} can't be used ({source}): choose another with --state", path.display())]
    Unusable { path: PathBuf, source: io::Error },
    #[error("the path of the state folder {} is not UTF-8, and the journal holds text: choose another with --state", path.display())]
    NotUtf8 { path: PathBuf },
    #[error("another quickstart is at work in {}: let it end, or choose another folder with --state", path.display())]
    InUse { path: PathBuf },
    #[error("there is no journal in {}: nothing has run there yet", path.display())]
    Nothing { path: PathBuf },
}

/// The state folder, for one quickstart at a time. The journal could be shared between processes; the ledger, a
/// plain file, can't.
pub(crate) struct StateFolder {
    path: PathBuf,
    name: String,
    /// The kernel lets go of it when the process ends, however it ends.
    _lock: File,
}

/// The journal of a state folder, for those who only look.
pub(crate) fn journal_in(folder: &Path) -> Result<PathBuf, StateError> {
    let journal = folder.join(JOURNAL);
    if journal.is_file() { Ok(journal) } else { Err(StateError::Nothing { path: folder.to_owned() }) }
}

impl StateFolder {
    /// Opens the folder, making it if it is not there, and waits a moment for a predecessor that is just ending.
    pub(crate) async fn open(path: &Path) -> Result<Self, StateError> {
        let unusable = |source| StateError::Unusable { path: path.to_owned(), source };
        std::fs::create_dir_all(path).map_err(unusable)?;
        let path = std::fs::canonicalize(path).map_err(unusable)?;
        let name = path.to_str().ok_or_else(|| StateError::NotUtf8 { path: path.clone() })?.to_owned();
        let lock = File::create(path.join("lock")).map_err(unusable)?;
        for _ in 0..LOCK_ATTEMPTS {
            match lock.try_lock() {
                Ok(()) => return Ok(Self { path, name, _lock: lock }),
                Err(TryLockError::WouldBlock) => SystemClock::new().sleep(LOCK_PAUSE).await,
                Err(TryLockError::Error(source)) => return Err(unusable(source)),
            }
        }
        Err(StateError::InUse { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.path.join(JOURNAL)
    }

    pub(crate) fn ledger(&self) -> PathBuf {
        self.path.join("ledger.jsonl")
    }

    /// The path as text.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// How many runs of a folder have shown their summary. A run that was killed between its end and its summary is
    /// found by it.
    pub(crate) fn told(&self, scope: &str) -> u64 {
        let text = std::fs::read_to_string(self.told_file(scope)).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    /// Remembers that a summary was shown.
    pub(crate) fn tell(&self, scope: &str, runs: u64) -> Result<(), StateError> {
        let file = self.told_file(scope);
        write_durably(&file, &format!("{runs}\n"))
            .map_err(|source| StateError::Unusable { path: file, source })
    }

    /// How often a review of a folder was started while its latest run was not over.
    pub(crate) fn restarts(&self, scope: &str) -> u64 {
        let text = std::fs::read_to_string(self.restarts_file(scope)).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    /// Remembers it.
    pub(crate) fn keep_restarts(&self, scope: &str, restarts: u64) -> Result<(), StateError> {
        let file = self.restarts_file(scope);
        write_durably(&file, &format!("{restarts}\n"))
            .map_err(|source| StateError::Unusable { path: file, source })
    }

    fn restarts_file(&self, scope: &str) -> PathBuf {
        self.path.join(format!("restarts-{scope}"))
    }

    fn told_file(&self, scope: &str) -> PathBuf {
        self.path.join(format!("told-{scope}"))
    }
}

/// Where the briefing about a folder is published: each folder has its own, also when several share a state.
pub(crate) fn briefing_of(state: &str, folder: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    let name = folder.rsplit('/').next().unwrap_or_default().chars().take(MAX_NAME);
    let name: String = name.map(|character| if plain(character) { character } else { '-' }).collect();
    format!("{state}/briefing-{name}-{}.md", scope(folder))
}

/// Writes a file so that at any instant, and after any crash, there is the old text or the new one.
fn write_durably(path: &Path, text: &str) -> io::Result<()> {
    Prepared::write(path, text)?.put_in_place()
}

/// A file that is on the disk under another name, and goes again unless it is put in its place.
pub(crate) struct Prepared {
    path: PathBuf,
    draft: PathBuf,
}

impl Prepared {
    /// Writes the draft.
    pub(crate) fn write(path: &Path, text: &str) -> io::Result<Self> {
        let prepared = Self { path: path.to_owned(), draft: path.with_added_extension("draft") };
        let mut file = File::create(&prepared.draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        Ok(prepared)
    }

    /// Puts it in its place, instead of what was there.
    pub(crate) fn put_in_place(self) -> io::Result<()> {
        std::fs::rename(&self.draft, &self.path)?;
        match self.path.parent() {
            // The name is on the disk when its folder is.
            Some(folder) if cfg!(unix) => File::open(folder)?.sync_all(),
            _ => Ok(()),
        }
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        // After it was put in its place there is none.
        let _ = std::fs::remove_file(&self.draft);
    }
}
