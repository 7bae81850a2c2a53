//! Notes that programmers leave for later, in source and in documents.
//!
//! A note is one of the two words, whole and in capitals, that either comes first in a comment or
//! has a colon or a parenthesis after it. One that stands in quotes is talked about, not left.

#[cfg(test)]
mod tests;

use std::path::Path;

use memchr::memmem::Finder;
use serde::{Deserialize, Serialize};

use super::bounded::ListLimit;
use super::languages::language_of;
use super::read::each_text;
use super::{Bounded, Coverage, Folder, FolderError, shorten};

const NOTES: ListLimit = ListLimit { max_items: 1000, max_bytes: 192 * 1024 };
/// Notes that are looked for in one file: a generated file must not crowd out the others.
const MAX_NOTES_PER_FILE: usize = 200;
const MAX_TEXT_CHARS: usize = 200;
/// How far back in a line a comment or a quote is looked for. Minified files have endless lines.
const MAX_CONTEXT_BYTES: usize = 1000;
/// How much of a line a note's text is cut from.
const MAX_NOTE_BYTES: usize = 1000;
/// What opens a comment, or goes on with one, in the languages that the review knows.
const COMMENTS: [&str; 9] = ["//", "/*", "*", "#", "--", ";", "%", "<!--", "\"\"\""];

/// The notes in the folder, in the order of the walk and of lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Notes {
    pub(crate) notes: Bounded<Note>,
    /// Files with more notes than are looked for in one file.
    pub(crate) crowded_files: u64,
    pub(crate) coverage: Coverage,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) kind: NoteKind,
    pub(crate) path: String,
    /// The first line is 1.
    pub(crate) line: u64,
    /// From the word to the end of the line.
    pub(crate) text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NoteKind {
    Todo,
    Fixme,
}

impl NoteKind {
    const ALL: [Self; 2] = [Self::Todo, Self::Fixme];

    /// The word itself.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Todo => "TODO",
            Self::Fixme => "FIXME",
        }
    }
}

/// Finds the notes.
pub(crate) fn notes(folder: &Folder) -> Result<Notes, FolderError> {
    let mut found = Vec::new();
    let mut crowded_files = 0;
    let finders = NoteKind::ALL.map(|kind| (kind, Finder::new(kind.word())));
    let coverage = each_text(
        folder,
        |_| true,
        |file, text| {
            let notes = notes_in(&finders, &file.path, text);
            crowded_files += u64::from(notes.len() > MAX_NOTES_PER_FILE);
            let notes = notes.into_iter().take(MAX_NOTES_PER_FILE);
            found.extend(notes.map(|(kind, line, text)| Note { kind, path: file.name(), line, text }));
        },
    )?;
    Ok(Notes { notes: Bounded::take(found, NOTES), crowded_files, coverage })
}

/// The notes of one file, at most one more than the limit, by line.
fn notes_in(finders: &[(NoteKind, Finder)], path: &Path, text: &[u8]) -> Vec<(NoteKind, u64, String)> {
    let is_document = matches!(language_of(path), "Markdown" | "reStructuredText" | "AsciiDoc" | "Text");
    let mut found = Vec::new();
    for (kind, finder) in finders {
        let (mut line, mut counted_to) = (1, 0);
        let mut of_this_kind = 0;
        for start in finder.find_iter(text) {
            if of_this_kind > MAX_NOTES_PER_FILE {
                break;
            }
            if let Some(note) = note_at(*kind, text, start, is_document) {
                line += memchr::memchr_iter(b'\n', &text[counted_to..start]).count() as u64;
                counted_to = start;
                of_this_kind += 1;
                found.push((*kind, line, note));
            }
        }
    }
    found.sort_by_key(|(_, line, _)| *line);
    found.dedup_by_key(|(_, line, _)| *line);
    found
}

/// The note whose word begins at `start`, if it is one.
fn note_at(kind: NoteKind, text: &[u8], start: usize, is_document: bool) -> Option<String> {
    let end = start + kind.word().len();
    let line_start = memchr::memrchr(b'\n', &text[..start]).map_or(0, |position| position + 1);
    let before =
        String::from_utf8_lossy(&text[line_start.max(start.saturating_sub(MAX_CONTEXT_BYTES))..start]);
    let after = text.get(end).copied().unwrap_or(b'\n');
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii();
    if is_word(after) || before.bytes().next_back().is_some_and(is_word) || is_quoted(&before) {
        return None;
    }
    let marked = matches!(after, b':' | b'(');
    if !marked && !opens_comment(&before, is_document) {
        return None;
    }
    let rest = &text[start..text.len().min(start + MAX_NOTE_BYTES)];
    let rest = &rest[..memchr::memchr(b'\n', rest).unwrap_or(rest.len())];
    let rest = String::from_utf8_lossy(rest);
    let rest = rest.trim().trim_end_matches("*/").trim_end_matches("-->").trim_end();
    Some(shorten(rest, MAX_TEXT_CHARS))
}

/// Whether what stands before the word on its line ends in the mark of a comment. In a document
/// most of these marks mean something else.
fn opens_comment(before: &str, is_document: bool) -> bool {
    // `//!`, `///`, `/**` and `##` are the same marks, drawn out.
    let before = before.trim_end().trim_end_matches('!');
    if is_document {
        return before.ends_with("<!--");
    }
    COMMENTS.iter().any(|mark| before.ends_with(mark))
}

fn is_quoted(before: &str) -> bool {
    // Three quotes open a comment of their own; they would leave an odd number behind.
    let before = before.trim_end().strip_suffix("\"\"\"").unwrap_or(before);
    // An escaped quote ends nothing.
    let before = before.replace("\\\"", "");
    before.ends_with('\'') || ['"', '`'].iter().any(|quote| before.matches(*quote).count() % 2 == 1)
}
