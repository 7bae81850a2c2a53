//! Reading the files under review, within the limits.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::folder::{Folder, FolderError};
use super::walk::FileEntry;

/// A file with a NUL byte among its first bytes is binary. (The rule that git uses.)
const BINARY_PREFIX_BYTES: u64 = 8000;

/// How much of the files a scanner read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Coverage {
    /// Text files that were read, in full or in part.
    pub(crate) read: u64,
    /// Those of them that were longer than the limit: their start was read.
    pub(crate) cut_short: u64,
    /// Files that hold no text.
    pub(crate) binary: u64,
    /// Files that could be opened at the walk and not be read now.
    pub(crate) failed: u64,
    /// Files left unread because the limit for all files was reached.
    pub(crate) beyond_limit: u64,
}

/// Reads each wanted file and gives its text, as bytes, to `visit`, in the order of the walk.
pub(super) fn each_text(
    folder: &Folder,
    wanted: impl Fn(&FileEntry) -> bool,
    mut visit: impl FnMut(&FileEntry, &[u8]),
) -> Result<Coverage, FolderError> {
    let listing = folder.listing()?;
    let limits = folder.limits();
    let mut coverage = Coverage::default();
    let mut bytes_left = limits.max_bytes_total;
    let mut text = Vec::new();
    for file in listing.files.iter().filter(|file| wanted(file)) {
        let length = file.bytes.min(limits.max_bytes_per_file);
        if length > bytes_left {
            coverage.beyond_limit += 1;
            continue;
        }
        let is_text = read_text(&folder.root().join(&file.path), length, &mut text);
        bytes_left -= text.len() as u64;
        match is_text {
            Err(_) => coverage.failed += 1,
            Ok(false) => coverage.binary += 1,
            Ok(true) => {
                coverage.read += 1;
                coverage.cut_short += u64::from(file.bytes > length);
                visit(file, &text);
            }
        }
    }
    Ok(coverage)
}

/// Reads the first `length` bytes and says whether they are text. Of a binary file little is read,
/// so that such files do not use up the limit. A file of no length is not opened: what the kernel
/// offers under such names may never end, or never begin.
fn read_text(path: &Path, length: u64, text: &mut Vec<u8>) -> io::Result<bool> {
    text.clear();
    if length == 0 {
        return Ok(true);
    }
    let mut file = File::open(path)?.take(length.min(BINARY_PREFIX_BYTES));
    file.read_to_end(text)?;
    if memchr::memchr(0, text).is_some() {
        return Ok(false);
    }
    file.set_limit(length.saturating_sub(BINARY_PREFIX_BYTES));
    file.read_to_end(text)?;
    Ok(true)
}
