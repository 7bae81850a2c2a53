//! Where the data files go: on a real disk, because a sync to memory costs nothing.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::statfs;
use tempfile::TempDir;

use super::BenchError;

/// `linux/magic.h`.
const MEMORY_FILE_SYSTEMS: [(u64, &str); 2] = [(0x0102_1994, "tmpfs"), (0x8584_58f6, "ramfs")];

/// Makes sure that the folder is there and on a disk.
pub(super) fn on_disk(folder: &Path) -> Result<PathBuf, BenchError> {
    let failed = |why: &dyn std::fmt::Display| BenchError::Folder(format!("{}: {why}", folder.display()));
    fs::create_dir_all(folder).map_err(|error| failed(&error))?;
    let kind = statfs(folder).map_err(|error| failed(&error))?.f_type;
    // The type is signed on some machines, unsigned on others, and never wider than 32 bits.
    if let Some(name) = memory((kind as u64) & 0xffff_ffff) {
        return Err(failed(&format!(
            "this is {name}, where a sync costs nothing; name a folder on a disk with --dir"
        )));
    }
    folder.canonicalize().map_err(|error| failed(&error))
}

/// The name of the file system of this type, if its files are in memory.
pub(super) fn memory(magic: u64) -> Option<&'static str> {
    MEMORY_FILE_SYSTEMS.iter().find(|(known, _)| *known == magic).map(|(_, name)| *name)
}

/// A new, empty folder in `parent`, removed at the end of its life.
pub(super) fn empty(parent: &Path) -> Result<TempDir, BenchError> {
    tempfile::Builder::new().prefix("bench-").tempdir_in(parent).map_err(BenchError::from)
}
