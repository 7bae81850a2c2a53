//! The locks by which a dead process is known at once: each owner holds one on a file of its own, and the kernel
//! lets go of it when the process ends, however it ends.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use crate::words::OwnerId;

/// How often a lock is tried for which another process only looks, or whose file it replaced, and how long the pauses
/// are: two tenths of a second in all. Whoever looks has the lock for microseconds, as long as the scheduler lets it.
const ATTEMPTS: usize = 40;
const PAUSE: Duration = Duration::from_millis(5);

/// The folder beside the store, and the locks that this handle holds.
#[derive(Debug)]
pub(super) struct OwnerFiles {
    folder: PathBuf,
    held: Mutex<HashMap<OwnerId, File>>,
}

impl OwnerFiles {
    /// The folder of the store in the file at `path`.
    pub(super) fn beside(path: &Path) -> Self {
        let mut folder = path.as_os_str().to_owned();
        folder.push(".owners");
        Self { folder: folder.into(), held: Mutex::default() }
    }

    /// Takes the lock of an owner and keeps it; false when another handle has it.
    pub(super) fn hold(&self, owner: OwnerId) -> io::Result<bool> {
        let mut held = self.held();
        if held.contains_key(&owner) {
            return Ok(true);
        }
        std::fs::create_dir_all(&self.folder)?;
        match lock(&self.path(owner), true)? {
            Locked::Mine(file) => {
                held.insert(owner, file);
                Ok(true)
            }
            Locked::Others | Locked::Absent => Ok(false),
        }
    }

    /// Whether no process lives that holds the lock of an owner. Removes the file if so. Where it can't be told,
    /// the owner is taken to live, and its lease decides.
    pub(super) fn is_dead(&self, owner: OwnerId) -> bool {
        // An own lock is not asked for: on some systems a second one within a process would be granted.
        if self.held().contains_key(&owner) {
            return false;
        }
        match lock(&self.path(owner), false) {
            Ok(Locked::Mine(file)) => {
                // Removed while it is locked, so that nobody can take a file that is about to go.
                let _ = std::fs::remove_file(self.path(owner));
                drop(file);
                true
            }
            Ok(Locked::Absent) => true,
            Ok(Locked::Others) | Err(_) => false,
        }
    }

    /// Removes the files of processes that ended and that nobody will ask for any more.
    pub(super) fn clean(&self) {
        let Ok(files) = std::fs::read_dir(&self.folder) else { return };
        for file in files.flatten() {
            if let Some(owner) = file.file_name().to_str().and_then(|name| name.parse().ok()) {
                self.is_dead(owner);
            }
        }
    }

    /// Lets go of an owner's lock if this handle has it, and removes its file.
    pub(super) fn let_go(&self, owner: OwnerId) {
        if let Some(file) = self.held().remove(&owner) {
            let _ = std::fs::remove_file(self.path(owner));
            drop(file);
        }
    }

    /// Lets go of every lock, as the end of the process would.
    pub(super) fn let_go_of_all(&self) {
        self.held().clear();
    }

    fn path(&self, owner: OwnerId) -> PathBuf {
        self.folder.join(owner.to_string())
    }

    fn held(&self) -> MutexGuard<'_, HashMap<OwnerId, File>> {
        self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

enum Locked {
    Mine(File),
    Others,
    Absent,
}

/// Locks the file that stands at `path`. One that was removed or replaced before it was locked does not count.
fn lock(path: &Path, create: bool) -> io::Result<Locked> {
    for _ in 0..ATTEMPTS {
        let file = match OpenOptions::new().read(true).write(true).create(create).truncate(false).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !create => return Ok(Locked::Absent),
            Err(error) => return Err(error),
        };
        match file.try_lock() {
            Ok(()) if stands_at(&file, path) => return Ok(Locked::Mine(file)),
            Ok(()) => {}
            // Whoever looks whether the owner is dead has the lock for a moment.
            Err(TryLockError::WouldBlock) if create => pause(),
            Err(TryLockError::WouldBlock) => return Ok(Locked::Others),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(Locked::Others)
}

/// The thread that writes waits here, and no task does.
fn pause() {
    #[allow(clippy::disallowed_methods)] // The Clock port's sleep is for tasks.
    std::thread::sleep(PAUSE);
}

#[cfg(unix)]
fn stands_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(locked), Ok(standing)) => locked.dev() == standing.dev() && locked.ino() == standing.ino(),
        _ => false,
    }
}

/// Elsewhere an open file can't be removed.
#[cfg(not(unix))]
fn stands_at(_file: &File, _path: &Path) -> bool {
    true
}
