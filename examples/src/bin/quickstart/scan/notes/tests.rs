//! What counts as a note, and what only looks like one.

use super::super::tests::{folder_of, open};
use super::*;

/// The notes of a file, as line and text.
fn check(name: &str, text: &str) -> Vec<(u64, String)> {
    let folder = folder_of(&[(name, text)]);
    let found = notes(&open(&folder)).unwrap();
    assert!(found.notes.is_complete());
    found.notes.items.into_iter().map(|note| (note.line, note.text)).collect()
}

fn is_note(name: &str, line: &str) -> bool {
    !check(name, line).is_empty()
}

#[test]
fn notes_have_a_mark_or_stand_first_in_a_comment() {
    for line in [
        "// TODO fix this",
        "/// TODO fix this",
        "//! FIXME fix this",
        "let a = 1; // TODO fix this",
        "/* TODO fix this */",
        " * FIXME fix this",
        "# TODO fix this",
        "-- TODO fix this",
        "let a = b; TODO: fix this",
        "   TODO(ann): fix this",
        "// later, FIXME: fix this",
        "println!(\"x\"); // FIXME",
    ] {
        assert!(is_note("a.rs", line), "{line}");
    }
    assert!(is_note("a.py", "\"\"\"TODO fix this"));
    assert!(is_note("a.md", "<!-- TODO fix this -->"));
    assert!(is_note("a.md", "- TODO: fix this"));
}

#[test]
fn words_and_quotes_are_not_notes() {
    for line in [
        "// TODOS are fun",
        "// MYTODO: x",
        "// TODO_LIST: x",
        "// my_TODO: x",
        "// todo: x",
        "// ÄTODO: x",
        "enum Kind { TODO, FIXME }",
        "let word = \"TODO: x\";",
        "let word = \"the \\\"TODO: x\\\" of old\";",
        "// the mark `TODO:` starts a note",
        "assert!('TODO(x)')",
        "// these TODO and FIXME notes",
    ] {
        assert!(!is_note("a.rs", line), "{line}");
    }
    assert!(!is_note("a.md", "# TODO"));
    assert!(!is_note("a.md", "* TODO list"));
}

#[test]
fn a_note_has_its_line_and_text() {
    let text = "\n// FIXME(bob): one */\nfn a() {}\n\n  # TODO two -->  \r\n// TODO: FIXME: three";
    let expected = [(2, "FIXME(bob): one"), (5, "TODO two"), (6, "TODO: FIXME: three")];
    assert_eq!(check("a.rs", text), expected.map(|(line, text)| (line, text.to_owned())));
}

#[test]
fn long_lines_and_crowded_files_are_cut() {
    let long = format!("// TODO: {}", "x".repeat(5000));
    let found = check("a.rs", &long);
    assert_eq!(found[0].1.chars().count(), MAX_TEXT_CHARS + 1);
    let folder = folder_of(&[("a.rs", &"// TODO: x\n".repeat(500)), ("b.rs", "// TODO: y\n")]);
    let found = notes(&open(&folder)).unwrap();
    assert_eq!(found.notes.items.len(), MAX_NOTES_PER_FILE + 1);
    assert_eq!(found.crowded_files, 1);
}

#[test]
fn bytes_that_are_no_text_do_no_harm() {
    let folder = folder_of(&[]);
    std::fs::write(folder.path().join("a.c"), b"\xff\xfe // TODO: \xe9t\xe9\n").unwrap();
    std::fs::write(folder.path().join("b.c"), b"// TODO: x\0\n").unwrap();
    let found = notes(&open(&folder)).unwrap();
    assert_eq!(found.notes.items.len(), 1);
    assert_eq!(found.notes.items[0].text, "TODO: \u{fffd}t\u{fffd}");
    assert_eq!(found.coverage.binary, 1);
}
