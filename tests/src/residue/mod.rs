//! A search for what should be gone: markers that were planted in a shell's data, looked for in every file of a
//! folder, in the raw bytes and under every key that is left there.
//!
//! Raw bytes are searched as UTF-8, UTF-16 in both byte orders, Base64 in all three alignments, and inside zlib, gzip
//! and raw deflate streams wherever one may begin. Sealed texts are opened with every key in every key file, for the
//! place where they stand, in journals and in archive files. What lies in a free page under a key that is still there would not be found sealed: SQLite
//! tells of no lengths there.

mod archived;
mod encodings;
mod sealed;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// A marker that was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The marker.
    pub marker: String,
    /// In which file, or in which table of it.
    pub place: String,
    /// How it stands there.
    pub form: &'static str,
}

/// Searches every file in a folder, and in those below it, for markers.
///
/// # Errors
/// What the file system says, or SQLite about a file of keys or a journal.
pub fn search(folder: &Path, markers: &[&str]) -> io::Result<BTreeSet<Finding>> {
    let mut found = BTreeSet::new();
    let files = files_below(folder)?;
    for file in &files {
        let bytes = fs::read(file)?;
        for (marker, form) in encodings::search(&bytes, markers) {
            found.insert(Finding { marker, place: file.display().to_string(), form });
        }
    }
    let keys: Vec<_> = files.iter().filter(|file| sealed::is_key_file(file)).collect();
    let mut opened = Vec::new();
    for file in &keys {
        opened.extend(sealed::keys_in(file).map_err(io::Error::other)?);
    }
    for file in files.iter().filter(|file| sealed::is_journal(file)) {
        found.extend(sealed::search(file, &opened, markers).map_err(io::Error::other)?);
    }
    for file in files.iter().filter(|file| archived::is_lines(file)) {
        found.extend(archived::search(file, &opened, markers)?);
    }
    Ok(found)
}

fn files_below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()? {
            kind if kind.is_dir() => files.extend(files_below(&entry.path())?),
            kind if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
    Ok(files)
}
