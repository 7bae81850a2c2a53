//! What the review found worth a ticket, and what changed since the last run.
//!
//! A finding keeps its id while what it is about stays the same: the id is a hash of kind, path and
//! text, without the line, so that an edit above a note does not make it a new one.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ledger::TicketNumber;
use crate::scan::{NoteKind, Reason, Review, json_bytes, shorten};

/// Findings that become tickets in one run.
pub(crate) const MAX_FINDINGS: usize = 200;
/// What they take as JSON, because a journal holds them.
const MAX_FINDINGS_BYTES: usize = 192 * 1024;
/// Findings beyond those whose ids are still known, so that they do not count as gone.
const MAX_BEYOND: usize = 4000;
const MAX_TITLE_CHARS: usize = 160;
const ID_BYTES: usize = 8;

/// The tickets of findings.
pub(crate) type Tickets = BTreeMap<FindingId, TicketNumber>;

/// A stable name of a finding: 16 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct FindingId(String);

impl FindingId {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for FindingId {
    fn from(id: String) -> Self {
        Self(id)
    }
}

impl fmt::Display for FindingId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What a finding is about. The order is the order of importance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FindingKind {
    Unreadable,
    BrokenLink,
    LoopingLink,
    Fixme,
    Todo,
    VeryLargeFile,
    LongSourceFile,
    DocumentWithoutHeading,
}

impl FindingKind {
    /// The kind in words, for people and for the hash.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Unreadable => "can't be read",
            Self::BrokenLink => "broken symbolic link",
            Self::LoopingLink => "looping symbolic link",
            Self::Fixme => "fixme note",
            Self::Todo => "todo note",
            Self::VeryLargeFile => "very large file",
            Self::LongSourceFile => "long source file",
            Self::DocumentWithoutHeading => "document without a heading",
        }
    }
}

/// One thing that somebody should look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Finding {
    pub(crate) id: FindingId,
    pub(crate) kind: FindingKind,
    pub(crate) title: String,
    /// More than the title says: the text of a note, the size of a file. May be empty.
    pub(crate) detail: String,
    pub(crate) path: String,
    /// The first line is 1.
    pub(crate) line: Option<u64>,
}

/// The findings of one run: by kind, and within a kind in the order of the walk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Findings {
    /// The first ones, at most [`MAX_FINDINGS`].
    pub(crate) items: Vec<Finding>,
    /// The ids of those that came after, which get no ticket in this run.
    pub(crate) beyond: Vec<FindingId>,
    /// A list on the way here was cut, so that a finding may exist and be in neither list.
    pub(crate) cut: bool,
}

/// What an earlier run knew about a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) id: FindingId,
    pub(crate) title: String,
    pub(crate) ticket: Option<TicketNumber>,
}

/// What changed from an earlier run to this one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Diff {
    /// In the order of the findings.
    pub(crate) new: Vec<FindingId>,
    /// In the order of the earlier run.
    pub(crate) gone: Vec<Known>,
    /// In the order of the findings.
    pub(crate) unchanged: Vec<FindingId>,
}

/// Turns a review into findings.
pub(crate) fn findings(review: &Review) -> Findings {
    let mut all: Vec<Draft> = drafts(review).collect();
    all.sort_by_key(|draft| draft.kind);
    let mut seen: BTreeMap<(FindingKind, String, String), u64> = BTreeMap::new();
    let mut found = Findings { items: Vec::new(), beyond: Vec::new(), cut: !is_complete(review) };
    let mut bytes = 0;
    for draft in all {
        let same = seen.entry((draft.kind, draft.path.clone(), draft.identity.clone())).or_default();
        *same += 1;
        let finding = draft.number(*same);
        bytes += json_bytes(&finding);
        if found.items.len() < MAX_FINDINGS && bytes <= MAX_FINDINGS_BYTES {
            found.items.push(finding);
        } else if found.beyond.len() < MAX_BEYOND {
            found.beyond.push(finding.id);
        } else {
            found.cut = true;
        }
    }
    found
}

/// Compares a run's findings with what the run before it knew.
pub(crate) fn diff(previous: &[Known], now: &Findings) -> Diff {
    let known: BTreeSet<&FindingId> = previous.iter().map(|known| &known.id).collect();
    let here: BTreeSet<&FindingId> = now.items.iter().map(|finding| &finding.id).chain(&now.beyond).collect();
    let (unchanged, new) =
        now.items.iter().map(|finding| finding.id.clone()).partition(|id| known.contains(id));
    let gone = previous.iter().filter(|known| !here.contains(&known.id)).cloned().collect();
    Diff { new, gone, unchanged }
}

/// What this run leaves for the next one to compare with.
pub(crate) fn known(findings: &Findings, tickets: &Tickets) -> Vec<Known> {
    let known = |finding: &Finding| Known {
        id: finding.id.clone(),
        title: finding.title.clone(),
        ticket: tickets.get(&finding.id).copied(),
    };
    findings.items.iter().map(known).collect()
}

/// Whether the review saw all that there is: else what it does not show may still be there.
fn is_complete(review: &Review) -> bool {
    review.files.left_out.is_complete()
        && !review.files.ended_early
        && !review.files.left_out_by_reason.contains_key(&Reason::BeyondFileLimit)
        && review.notes.notes.is_complete()
        && review.notes.crowded_files == 0
        && review.notes.coverage.beyond_limit == 0
        && review.headings.without_heading.is_complete()
        && review.headings.coverage.beyond_limit == 0
        && review.languages.very_large.is_complete()
        && review.languages.long.is_complete()
}

/// A finding before it is known how many others are just like it.
struct Draft {
    kind: FindingKind,
    path: String,
    /// What tells it from another of the same kind and path, and stays while it stays.
    identity: String,
    detail: String,
    line: Option<u64>,
}

impl Draft {
    /// Names the finding, the `count`th of its kind, path and identity.
    fn number(self, count: u64) -> Finding {
        let mut hash = Sha256::new();
        for part in [self.kind.words(), &self.path, &self.identity, &count.to_string()] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        let id = hash.finalize().iter().take(ID_BYTES).map(|byte| format!("{byte:02x}")).collect();
        let title = match self.identity.as_str() {
            "" => format!("{}: {}", self.path, self.kind.words()),
            text => format!("{}: {text}", self.path),
        };
        let title = shorten(&title, MAX_TITLE_CHARS);
        let Self { kind, path, detail, line, .. } = self;
        Finding { id: FindingId(id), kind, title, detail, path, line }
    }
}

fn drafts(review: &Review) -> impl Iterator<Item = Draft> {
    let left_out = review.files.left_out.items.iter().filter_map(|left| {
        let kind = match left.reason {
            Reason::Unreadable => FindingKind::Unreadable,
            Reason::BrokenLink => FindingKind::BrokenLink,
            Reason::LoopingLink => FindingKind::LoopingLink,
            _ => return None,
        };
        Some(plain(kind, &left.path, String::new()))
    });
    let notes = review.notes.notes.items.iter().map(|note| Draft {
        kind: if note.kind == NoteKind::Fixme { FindingKind::Fixme } else { FindingKind::Todo },
        path: note.path.clone(),
        identity: note.text.clone(),
        detail: note.text.clone(),
        line: Some(note.line),
    });
    // A size may change with every run: it is told, but it is not what the finding is.
    let large = review.languages.very_large.items.iter();
    let large =
        large.map(|file| plain(FindingKind::VeryLargeFile, &file.path, format!("{} bytes", file.bytes)));
    let long = review.languages.long.items.iter();
    let long =
        long.map(|file| plain(FindingKind::LongSourceFile, &file.path, format!("{} lines", file.lines)));
    let bare = review.headings.without_heading.items.iter();
    let bare = bare.map(|path| plain(FindingKind::DocumentWithoutHeading, path, String::new()));
    left_out.chain(notes).chain(large).chain(long).chain(bare)
}

fn plain(kind: FindingKind, path: &str, detail: String) -> Draft {
    Draft { kind, path: path.to_owned(), identity: String::new(), detail, line: None }
}
