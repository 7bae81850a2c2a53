//! The documents say what is so: their links lead somewhere, the tests that they name as proof exist, and they tell
//! of every kind of record and every error.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use agent_shell_core::data::Body;

use crate::workspace::root;

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files below `folder` whose names end so.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.to_string_lossy().ends_with(ending) {
                found.push(entry);
            }
        }
    }
    found
}

/// The heading of each section as a link names it.
fn anchors(document: &str) -> BTreeSet<String> {
    let headings = document.lines().filter_map(|line| line.trim_start_matches('#').strip_prefix(' '));
    let kept = |letter: &char| letter.is_alphanumeric() || " -_".contains(*letter);
    headings
        .map(|heading| heading.chars().filter(kept).collect::<String>().to_lowercase().replace(' ', "-"))
        .collect()
}

#[test]
fn links_lead_somewhere() {
    let mut documents = files("docs", ".md");
    documents.push(root().join("CHANGELOG.md"));
    for path in documents {
        let text = fs::read_to_string(&path).unwrap();
        for link in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: `{link}` leads nowhere", path.display());
            let there = anchor.is_empty() || anchors(&fs::read_to_string(target).unwrap()).contains(anchor);
            assert!(there, "{}: `{link}` names no section", path.display());
        }
    }
}

/// What stands between backticks and looks like the name of a test: at least three words, maybe after a module.
fn tests_named_in(text: &str) -> BTreeSet<&str> {
    let quoted = text.split('`').skip(1).step_by(2);
    let names = quoted.map(|quoted| quoted.rsplit("::").next().unwrap());
    let words = |name: &&str| name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_');
    names.filter(words).filter(|name| name.matches('_').count() >= 2).collect()
}

#[test]
fn the_tests_that_are_named_as_proof_exist() {
    let sources =
        ["agent-shell-core/src", "tests", "examples"].into_iter().flat_map(|folder| files(folder, ".rs"));
    let sources: String = sources.map(|path| fs::read_to_string(path).unwrap()).collect();
    let (guarantees, architecture) = (read("docs/GUARANTEES.md"), read("docs/ARCHITECTURE.md"));
    let (_, invariants) = architecture.split_once("\n## Invariants").unwrap();
    let (invariants, _) = invariants.split_once("\n## ").unwrap();
    let named: BTreeSet<_> =
        tests_named_in(&guarantees).into_iter().chain(tests_named_in(invariants)).collect();
    assert!(named.len() > 30, "{named:?}");
    for name in named {
        assert!(sources.contains(&format!("fn {name}(")), "there is no test `{name}`");
    }
}

#[test]
fn the_format_tells_of_every_event() {
    let format = read("docs/FORMAT.md");
    let source = read("agent-shell-core/src/data/envelope.rs");
    let types: BTreeSet<_> = source.split('"').filter(|text| text.starts_with("agent-shell.")).collect();
    assert!(types.len() >= 4, "{types:?}");
    for name in types {
        assert!(format.contains(&format!("\n| `{name}` | ")), "no row for `{name}`");
    }
    let members = source.split("pub struct Envelope {").nth(1).unwrap().split("\n}").next().unwrap();
    for member in members.lines().filter_map(|line| line.trim().strip_prefix("pub ")?.split(':').next()) {
        let name = if member == "event_type" { "type" } else { member };
        assert!(format.contains(&format!("`{name}`")), "nothing on `{name}`");
    }
}

#[test]
fn the_format_tells_of_every_kind_of_record() {
    let format = read("docs/FORMAT.md");
    for kind in Body::KINDS {
        assert!(format.contains(&format!("\n| `{kind}` | ")), "no row for `{kind}`");
    }
}

/// The names of an enum's variants, as they stand in its source.
fn variants(source: &str, name: &str) -> Vec<String> {
    let source = read(Path::new("agent-shell-core/src").join(source));
    let (_, body) = source.split_once(&format!("pub enum {name} {{\n")).unwrap();
    let (body, _) = body.split_once("\n}\n").unwrap();
    let name_of = |line: &str| {
        let name = line.strip_prefix("    ")?.split([',', ' ', '(', '{']).next()?;
        name.starts_with(|letter: char| letter.is_ascii_uppercase()).then(|| name.to_owned())
    };
    body.lines().filter_map(name_of).collect()
}

#[test]
fn the_page_of_errors_tells_of_every_error() {
    let page = read("docs/ERRORS.md");
    let enums = [
        ("words/error.rs", "ErrorKind", 14),
        ("data/outcome.rs", "FailureCode", 12),
        ("data/plan.rs", "PlanError", 8),
        ("backends/sqlite/fault.rs", "OpenError", 5),
        ("ports/journal.rs", "AppendError", 8),
        ("ports/bus.rs", "BusError", 6),
        ("runtime/export.rs", "VerifyError", 5),
        ("data/chain.rs", "ChainBreak", 6),
    ];
    for (source, name, at_least) in enums {
        let variants = variants(source, name);
        assert!(variants.len() >= at_least, "{name}: {variants:?}");
        for variant in variants {
            let told = ["`", "::"].iter().any(|before| {
                ["`", " {"].iter().any(|after| page.contains(&format!("{before}{variant}{after}")))
            });
            assert!(told, "{name}::{variant} is not on the page");
        }
    }
}
