//! The documents say what is so: their links lead somewhere, the tests that they name as proof exist, and they tell
//! of every kind of record, every error, every limit and every gap that the architecture review found.

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
    documents.extend(["CHANGELOG.md", "README.md"].map(|name| root().join(name)));
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
    let review = read("docs/REVIEW.md");
    let documents = [&*guarantees, invariants, &review];
    let named: BTreeSet<_> = documents.into_iter().flat_map(tests_named_in).collect();
    assert!(named.len() > 60, "{named:?}");
    for name in named {
        assert!(sources.contains(&format!("fn {name}(")), "there is no test `{name}`");
    }
}

/// A row of docs/REVIEW.md.
struct Answer<'a> {
    gap: &'a str,
    answer: &'a str,
    state: &'a str,
    proof: &'a str,
}

fn answers(review: &str) -> Vec<Answer<'_>> {
    let rows = review.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let cells = rows.map(|row| row.split(" | ").collect::<Vec<_>>());
    let answer = |cells: Vec<_>| match cells[..] {
        ["gap", ..] => None,
        [gap, answer, state, proof] => Some(Answer { gap, answer, state, proof }),
        _ => panic!("not four cells: {cells:?}"),
    };
    cells.filter_map(answer).collect()
}

/// The file that a proof names, wherever such files lie.
fn proof(name: &str) -> Option<PathBuf> {
    let folders = ["", "tests/tests/all", "agent-shell-core/src", "examples/tests"];
    folders.into_iter().map(|folder| root().join(folder).join(name)).find(|path| path.is_file())
}

/// Whether a source has a test of this name, or a property of the suites.
fn is_tested(source: &str, name: &str) -> bool {
    if source.contains(&format!("\npub async fn {name}(fixture: &dyn ")) {
        return true;
    }
    let Some((before, _)) = source.split_once(&format!("fn {name}(")) else { return false };
    let attributes = before.rsplit("\n\n").next().unwrap();
    attributes.contains("#[test]") || attributes.contains("#[tokio::test")
}

#[test]
fn each_answer_to_the_review_has_the_proof_that_it_names() {
    let review = read("docs/REVIEW.md");
    let answers = answers(&review);
    assert!(answers.len() > 50, "only {} rows", answers.len());
    for Answer { gap, answer, state, proof: named } in answers {
        assert!(!gap.is_empty() && !answer.is_empty() && !named.is_empty(), "{gap}: an empty cell");
        let (mut file, mut files, mut tests) = (None, 0, 0);
        for quoted in named.split('`').skip(1).step_by(2) {
            let is_file = state != "planned" && (quoted.contains('.') || quoted.contains('/'));
            if is_file {
                let path = proof(quoted).unwrap_or_else(|| panic!("{gap}: there is no file `{quoted}`"));
                file = Some(fs::read_to_string(path).unwrap());
                files += 1;
            } else if !tests_named_in(&format!("`{quoted}`")).is_empty() || file.is_some() {
                let source = file.as_ref().unwrap_or_else(|| panic!("{gap}: in which file is `{quoted}`?"));
                assert!(
                    is_tested(source, quoted),
                    "{gap}: no test `{quoted}` is in the file named before it"
                );
                tests += 1;
            }
        }
        match state {
            "holds" => assert!(tests > 0, "{gap}: holds, and names no test"),
            "partly" => assert!(tests + files > 0, "{gap}: holds partly, and names no proof"),
            "planned" => assert!(tests == 0, "{gap}: is planned, and can't be proven"),
            other => panic!("{gap}: what is {other}?"),
        }
    }
}

/// What the review found, in its own words.
const GAPS: [&str; 55] = [
    "failover topology",
    "quorum",
    "upgrade path",
    "schema registry",
    "compatibility tests",
    "dead letters: creation",
    "dead letters: retention",
    "dead letters: replay",
    "dead letters: alerts",
    "hot partitions",
    "resharding",
    "cross-partition order",
    "step dag",
    "parallel state",
    "idempotent effects",
    "duplicate suppression: a turn",
    "from the turn to the step",
    "the last processed step after a crash",
    "compensation",
    "latency budgets: per stage",
    "slos",
    "stale reads after writes",
    "backup",
    "point-in-time restore",
    "deletion per user",
    "tenancy under contention",
    "back-pressure from model providers to the planner",
    "connection reuse: the store",
    "connection reuse: providers",
    "enforced budgets per tenant",
    "sandboxed tools",
    "egress rules",
    "version skew across a hot reload",
    "signed pack artifacts",
    "scanned pack artifacts",
    "authentication flows",
    "websocket scaling",
    "mcp contracts with versions",
    "grpc contracts with versions",
    "sampling policy",
    "dashboards",
    "lag above 5 s",
    "step failures above 2 %",
    "broker disk above 80 %",
    "log retention",
    "redaction of personal data",
    "threat model",
    "secret rotation",
    "ci stages",
    "canary deployment",
    "rpo",
    "rto",
    "restore drills",
    "immutable audit log",
    "compliance controls",
];

#[test]
fn the_review_leaves_no_gap_out() {
    let review = read("docs/REVIEW.md");
    let gaps: BTreeSet<_> = answers(&review).iter().map(|answer| answer.gap.to_lowercase()).collect();
    for gap in GAPS {
        assert!(gaps.iter().any(|row| row.contains(gap)), "no row answers `{gap}`");
    }
}

/// What an expression such as `1 << 20` or `30_000` comes to.
fn number(expression: &str) -> u64 {
    let parse = |digits: &str| digits.trim().replace(['_', ','], "").parse::<u64>().unwrap();
    match expression.split_once("<<") {
        Some((base, shift)) => parse(base) << parse(shift),
        None => parse(expression),
    }
}

#[test]
fn every_limit_tells_its_default() {
    let source = read("agent-shell-core/src/words/limits.rs");
    let (fields, defaults) = source.split_once("impl Default for Limits").unwrap();
    let (_, fields) = fields.split_once("pub struct Limits {\n").unwrap();
    let mut told = 0;
    for field in fields.split("\n    /// Default: ").skip(1) {
        let (default, rest) = field.split_once(".\n").unwrap();
        let name = rest.trim_start().strip_prefix("pub ").unwrap().split(':').next().unwrap();
        let written = defaults.split_once(&format!(" {name}: ")).unwrap().1.split_once(",\n").unwrap().0;
        // `1 MiB (1,048,576)`, or the number alone.
        let digits = default.split_once('(').map_or(default, |(_, exact)| exact.trim_end_matches(')'));
        assert_eq!(number(digits), number(written), "`{name}`");
        told += 1;
    }
    assert_eq!(told, fields.matches("\n    pub ").count(), "a limit without its default");
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
        ("data/plan.rs", "PlanError", 9),
        ("backends/sqlite/fault.rs", "OpenError", 8),
        ("ports/journal.rs", "AppendError", 8),
        ("ports/bus.rs", "BusError", 6),
        ("ports/model.rs", "ModelErrorKind", 7),
        ("backends/models/recorded.rs", "RecordingError", 3),
        ("runtime/verify.rs", "VerifyError", 6),
        ("ports/archive.rs", "ArchiveError", 7),
        ("ports/archive.rs", "Busy", 4),
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
