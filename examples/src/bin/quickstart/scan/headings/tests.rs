//! Which lines are headings.

use super::super::tests::{folder_of, open};
use super::*;

/// The headings of a document, as level, text and line.
fn check(name: &str, text: &str) -> Vec<(u8, String, u64)> {
    let folder = folder_of(&[(name, text)]);
    let found = headings(&open(&folder)).unwrap();
    let documents = found.documents.items.into_iter();
    documents.flat_map(|document| document.headings).map(|it| (it.level, it.text, it.line)).collect()
}

fn rows<const N: usize>(rows: [(u8, &str, u64); N]) -> Vec<(u8, String, u64)> {
    rows.map(|(level, text, line)| (level, text.to_owned(), line)).to_vec()
}

#[test]
fn markdown_has_three_kinds_of_headings() {
    let text = "# One #\n\nTwo\n===\ntext\n\n## C#\n<h3 align=\"center\">A <b>B</b></h3>\nFour\n---\n";
    let expected = rows([(1, "One", 1), (1, "Two", 3), (2, "C#", 7), (3, "A B", 8), (2, "Four", 9)]);
    assert_eq!(check("a.md", text), expected);
}

#[test]
fn markdown_code_and_front_matter_hold_none() {
    let fenced =
        "---\n# comment\n---\n```sh\n# comment\n~~~\n# comment\n```\n    # code\n#hashtag\n####### 7\n";
    assert_eq!(check("a.md", fenced), []);
    assert_eq!(check("a.md", "````\n```\n# no\n````\n# yes\n"), rows([(1, "yes", 5)]));
    assert_eq!(check("a.md", "```\n``` no end\n# no\n```\n"), []);
    assert_eq!(check("a.md", "- item\n---\n\n---\n| a |\n---\n"), []);
    // Three backticks with one more behind are code within a line.
    assert_eq!(check("a.md", "```a``` b\n# yes\n"), rows([(1, "yes", 2)]));
}

#[test]
fn other_formats_have_theirs() {
    let text = "=====\nTitle\n=====\n\nPart\n----\n\ntoo long a line\n---\n\nOther\n=====\n\nDeep\n~~~~\n";
    assert_eq!(
        check("a.rst", text),
        rows([(1, "Title", 2), (2, "Part", 5), (1, "Other", 11), (3, "Deep", 14)])
    );
    let text = "= Title\n\n== Part\n....\n----\n== code\n....\n=== Deep\n";
    assert_eq!(check("a.adoc", text), rows([(1, "Title", 1), (2, "Part", 3), (3, "Deep", 8)]));
}

#[test]
fn documents_without_a_heading_are_named() {
    let folder = folder_of(&[("a.md", "text\n"), ("b.md", ""), ("c.md", "# C\n"), ("d.txt", "text\n")]);
    let found = headings(&open(&folder)).unwrap();
    assert_eq!(found.without_heading.items, ["a.md", "b.md"]);
    assert_eq!(found.coverage.read, 3);
}

#[test]
fn outlines_are_bounded() {
    let folder = folder_of(&[("a.md", &format!("# {}\n", "x".repeat(500)).repeat(50))]);
    let document = headings(&open(&folder)).unwrap().documents.items.remove(0);
    assert_eq!((document.headings.len(), document.total), (MAX_HEADINGS_PER_DOCUMENT, 50));
    assert_eq!(document.headings[0].text.chars().count(), MAX_HEADING_CHARS + 1);
}
