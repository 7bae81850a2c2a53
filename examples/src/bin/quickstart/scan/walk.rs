//! One sorted walk over a folder: which files are reviewed, and what is left out and why.
//!
//! It honours `.gitignore` the way git does, looks at hidden files, never at `.git` or
//! `.agent-shell`, and never through a symbolic link.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use ignore::{DirEntry, WalkBuilder};
use serde::{Deserialize, Serialize};

use super::folder::{Limits, Probe};

/// Paths that are listed as left out. The counts go on past it.
const MAX_LEFT_OUT: usize = 500;
/// `ELOOP`, whose `io::ErrorKind` is not stable yet.
const TOO_MANY_LINKS: i32 = if cfg!(target_os = "linux") { 40 } else { 62 };

/// Something in the folder that was not reviewed as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LeftOut {
    pub(crate) path: String,
    pub(crate) reason: Reason,
}

/// Why something was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reason {
    /// A file or folder that can't be opened.
    Unreadable,
    /// A symbolic link to nothing.
    BrokenLink,
    /// A symbolic link that leads back to itself or to a folder that holds it.
    LoopingLink,
    /// A symbolic link to something that exists.
    LinkNotFollowed,
    /// A socket, pipe or device.
    NotAFile,
    /// Reviewed, under a name in which the bytes that are not UTF-8 are written `\xE9`.
    NameNotUtf8,
    /// A folder deeper than the limit.
    TooDeep,
    /// A file beyond the limit of files. These are counted, not listed.
    BeyondFileLimit,
}

/// A file under review.
#[derive(Debug)]
pub(super) struct FileEntry {
    /// Its path below the folder.
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
}

impl FileEntry {
    /// Its path as people read it, and as results name it.
    pub(super) fn name(&self) -> String {
        readable(&self.path).0
    }
}

/// What one walk saw, in the order of the walk: names sorted within each folder.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) files: Vec<FileEntry>,
    pub(super) folders: u64,
    pub(super) left_out: Vec<LeftOut>,
    pub(super) counts: BTreeMap<Reason, u64>,
    /// The walk ended at the limit of entries: what lies beyond is not even counted.
    pub(super) ended_early: bool,
}

/// Walks `root`, whose path must be resolved.
pub(super) fn walk(root: &Path, limits: &Limits, not_reviewed: &[PathBuf], probe: Probe) -> Listing {
    let mut listing = Listing::default();
    for (seen, entry) in (0_u64..).zip(builder(root, limits, not_reviewed).build()) {
        // The first entry is the folder itself.
        if seen > limits.max_entries {
            listing.ended_early = true;
            break;
        }
        match entry {
            Ok(entry) if entry.depth() == 0 => {}
            Ok(entry) => listing.add(root, &entry, limits, probe),
            Err(error) => listing.leave_out(&below(root, failed_path(&error)), Reason::Unreadable),
        }
    }
    listing
}

/// Opens a file to see that it can be read, and says how many bytes it has.
pub(super) fn open_and_measure(path: &Path) -> io::Result<u64> {
    Ok(File::open(path)?.metadata()?.len())
}

/// A path as text, and whether that says it all: bytes that are not UTF-8 become `\xE9`, so that
/// two names never look the same.
pub(super) fn readable(path: &Path) -> (String, bool) {
    if let Some(text) = path.to_str() {
        return (text.to_owned(), true);
    }
    let mut text = String::new();
    for chunk in path.as_os_str().as_encoded_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02X}"));
        }
    }
    (text, false)
}

impl Listing {
    fn add(&mut self, root: &Path, entry: &DirEntry, limits: &Limits, probe: Probe) {
        let path = below(root, entry.path());
        let Some(kind) = entry.file_type() else { return };
        if kind.is_symlink() {
            self.leave_out(&path, link_reason(entry.path()));
        } else if kind.is_dir() {
            self.folders += 1;
            if entry.depth() >= limits.max_depth {
                self.leave_out(&path, Reason::TooDeep);
            }
        } else if !kind.is_file() {
            // It is not even opened: a pipe without a writer would never return.
            self.leave_out(&path, Reason::NotAFile);
        } else if self.files.len() as u64 >= limits.max_files {
            *self.counts.entry(Reason::BeyondFileLimit).or_default() += 1;
        } else {
            match probe(entry.path()) {
                Ok(bytes) => self.keep(FileEntry { path, bytes }),
                Err(_) => self.leave_out(&path, Reason::Unreadable),
            }
        }
    }

    fn keep(&mut self, file: FileEntry) {
        if file.path.to_str().is_none() {
            self.leave_out(&file.path, Reason::NameNotUtf8);
        }
        self.files.push(file);
    }

    fn leave_out(&mut self, path: &Path, reason: Reason) {
        *self.counts.entry(reason).or_default() += 1;
        if self.left_out.len() < MAX_LEFT_OUT {
            self.left_out.push(LeftOut { path: readable(path).0, reason });
        }
    }
}

fn builder(root: &Path, limits: &Limits, not_reviewed: &[PathBuf]) -> WalkBuilder {
    let not_reviewed = not_reviewed.to_vec();
    let mut builder = WalkBuilder::new(root);
    builder
        .hidden(false)
        // Only git's own rules, but those also where the folder is not a repository.
        .ignore(false)
        .require_git(false)
        .follow_links(false)
        .max_depth(Some(limits.max_depth))
        .sort_by_file_name(OsStr::cmp)
        .filter_entry(move |entry| {
            let ours = entry.file_name() == ".git" || entry.file_name() == ".agent-shell";
            let named = not_reviewed.iter().any(|path| path == entry.path());
            entry.depth() == 0 || !(ours || named)
        });
    builder
}

fn link_reason(link: &Path) -> Reason {
    match std::fs::canonicalize(link) {
        Err(error) if error.raw_os_error() == Some(TOO_MANY_LINKS) => Reason::LoopingLink,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Reason::LinkNotFollowed,
        Err(_) => Reason::BrokenLink,
        // The walk starts at a resolved path and follows no link, so this path is resolved too.
        Ok(target) if link.starts_with(&target) => Reason::LoopingLink,
        Ok(_) => Reason::LinkNotFollowed,
    }
}

fn below(root: &Path, path: &Path) -> PathBuf {
    path.strip_prefix(root).unwrap_or(path).to_owned()
}

/// The path that an error of the walk is about. One without a path is about the folder itself.
pub(super) fn failed_path(error: &ignore::Error) -> &Path {
    match error {
        ignore::Error::WithPath { path, .. } => path,
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => failed_path(err),
        _ => Path::new(""),
    }
}
