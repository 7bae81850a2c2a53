//! What follows from a review and from what earlier runs left.

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::ledger::TicketNumber;
use crate::scan::{self, Folder, Limits};

/// The review of a folder with these notes in one file.
fn review(notes: &[&str]) -> Review {
    let folder = TempDir::new().unwrap();
    let text: String = notes.iter().map(|note| format!("// TODO: {note}\n")).collect();
    fs::write(folder.path().join("a.rs"), text).unwrap();
    let folder = Folder::open(folder.path(), Limits::default()).unwrap();
    Review {
        folder: "folder".to_owned(),
        files: scan::files(&folder).unwrap(),
        languages: scan::languages(&folder).unwrap(),
        headings: scan::headings(&folder).unwrap(),
        notes: scan::notes(&folder).unwrap(),
        history: scan::history(&folder),
    }
}

/// The tickets that a run opens, numbered from `first`.
fn opened(changes: &Changes, first: u64) -> Vec<Known> {
    let known = |(number, finding): (u64, &Finding)| Known {
        id: finding.id.clone(),
        title: finding.title.clone(),
        ticket: Some(TicketNumber(number)),
    };
    (first..).zip(&changes.to_open).map(known).collect()
}

fn told(changes: &Changes, review: &Review, past: &Remembered, opened: &[Known]) -> [u64; 5] {
    let Told { new, gone, unchanged, opened, closed } = changes.draft(review, past, opened).told;
    [new, gone, unchanged, opened, closed]
}

#[test]
fn a_second_run_tells_only_what_changed() {
    let (first, past) = (review(&["one", "two"]), Remembered::default());
    let changes = Changes::between(&first, &past);
    let open = opened(&changes, 1);
    assert_eq!(told(&changes, &first, &past, &open), [2, 0, 0, 2, 0]);

    let past = Remembered { reported: changes.draft(&first, &past, &open).reported, open };
    let changes = Changes::between(&first, &past);
    assert_eq!(told(&changes, &first, &past, &[]), [0, 0, 2, 0, 0]);

    let second = review(&["two", "three"]);
    let changes = Changes::between(&second, &past);
    let open = opened(&changes, 3);
    assert_eq!(told(&changes, &second, &past, &open), [1, 1, 1, 1, 1]);
    assert_eq!(changes.to_close[0].ticket, Some(TicketNumber(1)));
}

#[test]
fn what_was_not_published_is_still_new_and_keeps_its_ticket() {
    let review = review(&["one"]);
    let changes = Changes::between(&review, &Remembered::default());
    let past = Remembered { open: opened(&changes, 7), reported: Vec::new() };
    let changes = Changes::between(&review, &past);
    assert!(changes.to_open.is_empty());
    let draft = changes.draft(&review, &past, &[]);
    assert_eq!((draft.told.new, draft.told.opened), (1, 0));
    assert!(draft.text.contains("ticket #7"), "{}", draft.text);
    assert_eq!(draft.digest, digest(&draft.text));
}

#[test]
fn what_was_not_reviewed_keeps_its_ticket() {
    let (one, mut none) = (review(&["one"]), review(&[]));
    let open = opened(&Changes::between(&one, &Remembered::default()), 1);
    let past = Remembered { reported: open.clone(), open };
    assert_eq!(Changes::between(&none, &past).to_close.len(), 1);
    none.files.ended_early = true;
    assert!(Changes::between(&none, &past).to_close.is_empty());
}

#[test]
fn tickets_are_opened_as_long_as_there_is_room() {
    let review = review(&["one", "two"]);
    let known = |number: usize| Known { id: format!("{number}").into(), title: String::new(), ticket: None };
    let past = Remembered { open: (1..MAX_OPEN_TICKETS).map(known).collect(), reported: Vec::new() };
    assert_eq!(Changes::between(&review, &past).to_open.len(), 1);
}
