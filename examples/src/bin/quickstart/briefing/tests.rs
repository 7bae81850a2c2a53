//! The page says what was reviewed, what changed and what was left out.

use std::fs;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;
use crate::findings::{diff, findings, known};
use crate::ledger::TicketNumber;
use crate::scan::{self, Folder, Limits};

fn review(folder: &TempDir, limits: Limits) -> Review {
    let folder = Folder::open(folder.path(), limits).unwrap();
    let commit = scan::Commit {
        id: "0123456789abcdef".to_owned(),
        author: "Ann".to_owned(),
        date: "2026-01-31".to_owned(),
        subject: "Use *stars*".to_owned(),
    };
    Review {
        folder: "/home/ann/project".to_owned(),
        files: scan::files(&folder).unwrap(),
        languages: scan::languages(&folder).unwrap(),
        headings: scan::headings(&folder).unwrap(),
        notes: scan::notes(&folder).unwrap(),
        history: History::Commits(vec![commit]),
    }
}

/// The two words are masked, so that a review of this repository takes neither for a note.
const PAGE: &str = "\
# Briefing: `/home/ann/project`

Reviewed 3 files in 1 folder below it, 52 bytes.

## Findings

2 new, 1 gone, 1 unchanged.

### New

- ticket #7, broken symbolic link, `away`
- ticket #8, todo note, `src/a.rs:2`: TODO_: see \\[docs\\](https://example.org) \\<b\\>

### Gone

- ticket #5, old.rs: FIXME_: it

## Languages

| Language | Files | Lines | Size |
| --- | ---: | ---: | ---: |
| Rust | 1 | 2 | 45 bytes |
| Markdown | 2 | 2 | 7 bytes |

The largest files:

- `src/a.rs`, 45 bytes
- ``b`.md``, 7 bytes

## Documents

- ``b`.md``: A\\_B (1 heading)

## Recent history

- 2026-01-31 `0123456789`: Use \\*stars\\* (Ann)

## Left out

Not counted: what `.gitignore` names, `.git`, and the state of this program.

- 1 symbolic links that lead nowhere
  - `away`
";

#[test]
fn the_page_is_a_function_of_its_input() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("src")).unwrap();
    fs::write(folder.path().join("src/a.rs"), "\n// TODO: see [docs](https://example.org) <b>").unwrap();
    fs::write(folder.path().join("b`.md"), "# A_B\n\n").unwrap();
    fs::write(folder.path().join("empty.md"), "").unwrap();
    symlink("nowhere", folder.path().join("away")).unwrap();
    let review = review(&folder, Limits::default());
    let found = findings(&review);
    let numbers = (7..).map(TicketNumber);
    let tickets: Tickets = found.items.iter().map(|it| it.id.clone()).zip(numbers).collect();
    let mut before = known(&found, &tickets);
    before.drain(..2);
    let mut gone = before[0].clone();
    gone.id = found_elsewhere();
    gone.title = "old.rs: FIXME: it".to_owned();
    gone.ticket = Some(TicketNumber(5));
    before.push(gone);
    let page = briefing(&review, &found, &diff(&before, &found), &tickets);
    assert_eq!(page, PAGE.replace("_:", ":"));
    assert_eq!(digest(&page).len(), 64);
}

/// The id of a finding that this folder does not have.
fn found_elsewhere() -> FindingId {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("old.rs"), "// FIXME: it\n").unwrap();
    findings(&review(&folder, Limits::default())).items.remove(0).id
}

#[test]
fn an_empty_folder_is_said_to_be_empty() {
    let review = review(&TempDir::new().unwrap(), Limits::default());
    let page = briefing(&review, &findings(&review), &Diff::default(), &Tickets::new());
    assert!(page.contains("There is no file to review in this folder."), "{page}");
}

#[test]
fn what_was_left_out_is_said() {
    let folder = TempDir::new().unwrap();
    for name in ["a.rs", "b.rs", "c.rs"] {
        fs::write(folder.path().join(name), "12345\n").unwrap();
    }
    let limits = Limits { max_files: 2, max_bytes_per_file: 3, max_bytes_total: 5, ..Limits::default() };
    let mut review = review(&folder, limits);
    review.files.ended_early = true;
    let page = briefing(&review, &findings(&review), &Diff::default(), &Tickets::new());
    for expected in [
        "- 1 files beyond the limit of files",
        "the walk ended before",
        "counting lines: 1 long files",
        "looking for notes: 1 files unread",
    ] {
        assert!(page.contains(expected), "{expected}\n{page}");
    }
}

#[test]
fn text_from_files_stays_text() {
    assert_eq!(text("a\nb\t\u{1b}[2J"), "a b \u{fffd}\\[2J");
    assert_eq!(text("\u{202e}x"), "\u{fffd}x");
    assert_eq!(text("&lt; ~~x~~ <!-- $y$"), "\\&lt; \\~\\~x\\~\\~ \\<!-- \\$y\\$");
    assert_eq!(code("a``b`"), "``` a``b` ```");
    assert_eq!(code("a\nb"), "`a b`");
}

#[test]
fn sizes_are_for_people() {
    assert_eq!(
        [size(1), size(999), size(1_049), size(2_560_000)],
        ["1 byte", "999 bytes", "1.0 kB", "2.5 MB"]
    );
}
