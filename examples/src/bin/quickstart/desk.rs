//! What the tools of one process share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use agent_shell_core::words::TurnId;

use crate::briefing;
use crate::crash::Fuse;
use crate::ledger::LedgerClient;
use crate::progress::{Progress, State};
use crate::scan::{Folder, FolderError, Limits};

/// The shared parts. A tool must not take from here what a call depends on: a shell resumes every run that it finds,
/// also one of another folder, so what a call is about stands in its input.
pub(crate) struct Desk {
    /// The folder that this process was started for.
    folder: String,
    /// The program's own files, which no review is about.
    state: PathBuf,
    pub(crate) ledger: LedgerClient,
    pub(crate) progress: Progress,
    pub(crate) fuse: Fuse,
    /// One folder for the scans of a turn, which share its walk.
    folders: Mutex<BTreeMap<TurnId, Arc<Folder>>>,
}

impl Desk {
    pub(crate) fn new(
        folder: String,
        state: &Path,
        ledger: LedgerClient,
        progress: Progress,
        fuse: Fuse,
    ) -> Self {
        Self { folder, state: state.to_owned(), ledger, progress, fuse, folders: Mutex::default() }
    }

    /// The folder that a turn reviews.
    pub(crate) fn open(&self, turn: TurnId, path: &str) -> Result<Arc<Folder>, FolderError> {
        let mut folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(folder) = folders.get(&turn) {
            return Ok(Arc::clone(folder));
        }
        let folder = Arc::new(Folder::open(Path::new(path), Limits::default())?.without(&self.state));
        folders.insert(turn, Arc::clone(&folder));
        Ok(folder)
    }

    /// Shows how far a step is.
    pub(crate) fn show(&self, folder: &str, step: &str, state: State) {
        if folder == self.folder {
            self.progress.step(step, state);
        } else {
            self.progress.step(&format!("{step} of {folder}"), state);
        }
    }
}

/// A short name of a folder, by which the ledger and the state tell the findings of one folder from those of
/// another.
pub(crate) fn scope(folder: &str) -> String {
    briefing::digest(folder).chars().take(16).collect()
}
