//! The folder under review, opened once and walked once.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::walk::{self, Listing};

/// How much of a folder is reviewed. What lies beyond is counted, and the briefing says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// Files that are reviewed, first in the order of the walk.
    pub(crate) max_files: u64,
    /// Entries that are walked at all. Past this even counting ends.
    pub(crate) max_entries: u64,
    /// Folders within folders.
    pub(crate) max_depth: usize,
    /// Bytes that one scanner reads of one file, from its start.
    pub(crate) max_bytes_per_file: u64,
    /// Bytes that one scanner reads of all files together.
    pub(crate) max_bytes_total: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_files: 200_000,
            max_entries: 2_000_000,
            max_depth: 128,
            max_bytes_per_file: 1024 * 1024,
            max_bytes_total: 256 * 1024 * 1024,
        }
    }
}

/// Why a folder can't be reviewed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    #[error("there is no folder {}: give the path of an existing folder", path.display())]
    Missing { path: PathBuf },
    #[error("{} is not a folder: give the folder that holds it", path.display())]
    NotAFolder { path: PathBuf },
    #[error("the folder {} can't be read ({source}): check its permissions", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
}

/// Opens a file for reading and says how long it is. A seam: the tests need files that can't be
/// read, also when they run as root.
pub(super) type Probe = fn(&Path) -> io::Result<u64>;

/// A folder that existed and could be read when it was opened.
///
/// The first scanner that needs the list of files walks the folder; the others wait for it and
/// share the list.
#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    limits: Limits,
    not_reviewed: Vec<PathBuf>,
    probe: Probe,
    listing: Mutex<Option<Arc<Listing>>>,
}

impl Folder {
    /// Opens a folder. Nothing is walked yet.
    pub(crate) fn open(path: &Path, limits: Limits) -> Result<Self, FolderError> {
        let root = std::fs::canonicalize(path).map_err(|source| failure(path, source))?;
        std::fs::read_dir(&root).map_err(|source| failure(path, source))?;
        let probe = walk::open_and_measure;
        Ok(Self { root, limits, not_reviewed: Vec::new(), probe, listing: Mutex::new(None) })
    }

    /// Leaves a path out of the review without a word: the program's own state, say, if it lies
    /// inside the folder. It need not exist yet.
    pub(crate) fn without(mut self, path: &Path) -> Self {
        self.not_reviewed.push(resolve(path));
        self
    }

    #[cfg(test)]
    pub(super) fn with_probe(mut self, probe: Probe) -> Self {
        self.probe = probe;
        self
    }

    /// The folder's absolute path, with no symbolic link in it.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The folder's path as people read it.
    pub(crate) fn name(&self) -> String {
        walk::readable(&self.root).0
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The files under review, sorted, from one walk that all scanners share.
    pub(super) fn listing(&self) -> Result<Arc<Listing>, FolderError> {
        // The lock is held through the walk so that scanners that start together walk once.
        let mut listing = self.listing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(listing) = listing.as_ref() {
            return Ok(Arc::clone(listing));
        }
        std::fs::read_dir(&self.root).map_err(|source| failure(&self.root, source))?;
        let walked = Arc::new(walk::walk(&self.root, &self.limits, &self.not_reviewed, self.probe));
        *listing = Some(Arc::clone(&walked));
        Ok(walked)
    }
}

fn failure(path: &Path, source: io::Error) -> FolderError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound => FolderError::Missing { path },
        io::ErrorKind::NotADirectory => FolderError::NotAFolder { path },
        _ => FolderError::Unreadable { path, source },
    }
}

/// The absolute path of something that may not exist yet: its parent is resolved instead.
fn resolve(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    if let Ok(resolved) = std::fs::canonicalize(&absolute) {
        return resolved;
    }
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => resolve(parent).join(name),
        _ => absolute,
    }
}
