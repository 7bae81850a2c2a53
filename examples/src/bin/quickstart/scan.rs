//! The work that reviews a folder: five scanners, each a plain function from a [`Folder`] to a
//! typed result.
//!
//! A result goes into a journal, so it is bounded (`MAX_RESULT_BYTES` of JSON), says what it left
//! out, and depends on nothing but what the folder holds: two scans of one state are equal. The
//! scanners block and share one walk, so they may run side by side on blocking threads. They never
//! write, and never follow a symbolic link.

mod bounded;
mod files;
mod folder;
mod headings;
mod history;
mod languages;
mod notes;
mod read;
mod walk;

#[cfg(test)]
mod tests;

pub(crate) use bounded::{Bounded, json_bytes, shorten};
pub(crate) use files::{Files, files};
pub(crate) use folder::{Folder, FolderError, Limits};
pub(crate) use headings::{Headings, headings};
#[cfg(test)]
pub(crate) use history::Commit;
pub(crate) use history::{History, history};
pub(crate) use languages::{Languages, languages};
pub(crate) use notes::{NoteKind, Notes, notes};
pub(crate) use read::Coverage;
pub(crate) use walk::{LeftOut, Reason};

use serde::{Deserialize, Serialize};

/// The most JSON that one scanner's result may take, in bytes. The limits of the lists inside each
/// result are chosen so that their sum stays below it.
#[cfg(test)]
pub(crate) const MAX_RESULT_BYTES: usize = 256 * 1024;

/// What all five scanners found in one folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Review {
    /// The folder, as people read it.
    pub(crate) folder: String,
    pub(crate) files: Files,
    pub(crate) languages: Languages,
    pub(crate) headings: Headings,
    pub(crate) notes: Notes,
    pub(crate) history: History,
}
