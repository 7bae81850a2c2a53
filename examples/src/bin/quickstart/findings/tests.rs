//! A finding keeps its id while it is the same finding.

use std::fs;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;
use crate::scan::{self, Folder, History, Limits};

/// The review of a folder, without its history.
fn review(folder: &TempDir) -> Review {
    let folder = Folder::open(folder.path(), Limits::default()).unwrap();
    Review {
        folder: "folder".to_owned(),
        files: scan::files(&folder).unwrap(),
        languages: scan::languages(&folder).unwrap(),
        headings: scan::headings(&folder).unwrap(),
        notes: scan::notes(&folder).unwrap(),
        history: History::Absent { reason: "not asked".to_owned() },
    }
}

fn found(files: &[(&str, &str)]) -> Findings {
    let folder = TempDir::new().unwrap();
    for (path, text) in files {
        fs::write(folder.path().join(path), text).unwrap();
    }
    findings(&review(&folder))
}

fn ids(findings: &Findings) -> Vec<&str> {
    findings.items.iter().map(|finding| finding.id.as_str()).collect()
}

#[test]
fn every_kind_is_found_in_its_order() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("a.md"), "no heading\n").unwrap();
    fs::write(at("b.rs"), "// TODO: one\n// FIXME: two\n").unwrap();
    fs::File::create(at("c.bin")).unwrap().set_len(5 << 20).unwrap();
    fs::write(at("f.rs"), "\n".repeat(301)).unwrap();
    fs::write(at("g.rs"), "\n".repeat(300)).unwrap();
    fs::write(at("h.json"), "\n".repeat(301)).unwrap();
    symlink("nowhere", at("d")).unwrap();
    symlink("e", at("e")).unwrap();
    let mut review = review(&folder);
    let left_out = scan::LeftOut { path: "secret".to_owned(), reason: Reason::Unreadable };
    review.files.left_out.items.push(left_out);
    let found = findings(&review);
    let rows: Vec<_> =
        found.items.iter().map(|it| (it.kind, it.path.as_str(), it.line, it.title.as_str())).collect();
    let expected = [
        (FindingKind::Unreadable, "secret", None, "secret: can't be read"),
        (FindingKind::BrokenLink, "d", None, "d: broken symbolic link"),
        (FindingKind::LoopingLink, "e", None, "e: looping symbolic link"),
        (FindingKind::Fixme, "b.rs", Some(2), "b.rs: FIXME: two"),
        (FindingKind::Todo, "b.rs", Some(1), "b.rs: TODO: one"),
        (FindingKind::VeryLargeFile, "c.bin", None, "c.bin: very large file"),
        (FindingKind::LongSourceFile, "f.rs", None, "f.rs: long source file"),
        (FindingKind::DocumentWithoutHeading, "a.md", None, "a.md: document without a heading"),
    ];
    assert_eq!(rows, expected);
    assert!(!found.cut);
}

#[test]
fn an_id_outlives_edits_around_it() {
    let before = found(&[("a.rs", "// TODO: one\n// TODO: two\n")]);
    let after = found(&[("a.rs", "fn new() {}\n\n// TODO: two\n\n\n// TODO: one\n")]);
    let mut sorted = (ids(&before), ids(&after));
    assert_ne!(sorted.0, sorted.1, "the order of lines is the order of findings");
    sorted.0.sort_unstable();
    sorted.1.sort_unstable();
    assert_eq!(sorted.0, sorted.1);
    // A golden id: what is filed today is known by the same name tomorrow.
    assert_eq!(ids(&before)[0], "58eccf06fc95a324");
}

#[test]
fn an_id_tells_kind_path_and_text_apart() {
    let found = found(&[
        ("a.rs", "// TODO: x\n// FIXME: x\n// TODO: y\n// TODO: x\n"),
        ("b.rs", "// TODO: x\n"),
        ("a.md", ""),
    ]);
    let different: BTreeSet<_> = ids(&found).into_iter().collect();
    assert_eq!((different.len(), found.items.len()), (6, 6));
}

#[test]
fn a_size_is_not_what_a_finding_is() {
    let of_size = |bytes| {
        let folder = TempDir::new().unwrap();
        fs::File::create(folder.path().join("a.bin")).unwrap().set_len(bytes).unwrap();
        findings(&review(&folder)).items.remove(0)
    };
    let (small, large) = (of_size(2 << 20), of_size(3 << 20));
    assert_eq!(small.id, large.id);
    assert_ne!(small.detail, large.detail);
}

#[test]
fn a_second_run_reports_what_changed() {
    let before = found(&[("a.rs", "// TODO: stays\n// TODO: goes\n// TODO: twice\n// TODO: twice\n")]);
    let tickets = (1..).map(TicketNumber);
    let tickets: Tickets = before.items.iter().map(|it| it.id.clone()).zip(tickets).collect();
    let known = known(&before, &tickets);
    let after = found(&[("a.rs", "// TODO: comes\n// TODO: twice\n// TODO: stays\n")]);
    let diff = diff(&known, &after);
    let title = |id: &FindingId| after.items.iter().find(|it| it.id == *id).unwrap().title.clone();
    assert_eq!(diff.new.iter().map(title).collect::<Vec<_>>(), ["a.rs: TODO: comes"]);
    assert_eq!(
        diff.unchanged.iter().map(title).collect::<Vec<_>>(),
        ["a.rs: TODO: twice", "a.rs: TODO: stays"]
    );
    let gone: Vec<_> = diff.gone.iter().map(|it| (it.title.as_str(), it.ticket.unwrap().0)).collect();
    assert_eq!(gone, [("a.rs: TODO: goes", 2), ("a.rs: TODO: twice", 4)]);
}

#[test]
fn what_has_no_room_is_not_gone() {
    let notes = |from: u32, to: u32| -> Vec<(String, String)> {
        (from..to).map(|number| (format!("{number:04}.rs"), "// TODO: x\n".to_owned())).collect()
    };
    let found_in = |notes: &[(String, String)]| {
        found(&notes.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect::<Vec<_>>())
    };
    let before = found_in(&notes(10, 220));
    assert_eq!((before.items.len(), before.beyond.len(), before.cut), (MAX_FINDINGS, 10, false));
    // Ten more in front push the last ten out of the room.
    let after = found_in(&notes(0, 220));
    let diff = diff(&known(&before, &Tickets::new()), &after);
    assert_eq!((diff.new.len(), diff.gone.len(), diff.unchanged.len()), (10, 0, 190));
}

#[test]
fn a_list_that_was_cut_is_told() {
    let mut review = review(&TempDir::new().unwrap());
    assert!(!findings(&review).cut);
    review.notes.notes.left_out = 1;
    assert!(findings(&review).cut);
    review.notes.notes.left_out = 0;
    review.files.left_out_by_reason.insert(Reason::BeyondFileLimit, 1);
    assert!(findings(&review).cut);
}

#[test]
fn findings_are_bounded_in_bytes() {
    let long = "ü".repeat(120);
    let note = format!("// TODO: {}\n", "ü".repeat(200));
    let folder = TempDir::new().unwrap();
    for number in 0..MAX_FINDINGS {
        fs::write(folder.path().join(format!("{number}{long}.rs")), &note).unwrap();
    }
    let mut review = review(&folder);
    assert_eq!(review.notes.notes.left_out, 0);
    for number in 0..MAX_BEYOND + 500 {
        review.headings.without_heading.items.push(number.to_string());
    }
    let found = findings(&review);
    let bytes = serde_json::to_vec(&found.items).unwrap().len();
    assert!((MAX_FINDINGS_BYTES - 2000..=MAX_FINDINGS_BYTES).contains(&bytes), "{bytes} bytes");
    assert_eq!((found.beyond.len(), found.cut), (MAX_BEYOND, true));
}
