//! The page of a session, `quickstart --html`: that it holds what the journal holds, loads nothing, and lets no text
//! of a journal become markup. `browser` looks at it in a real browser.

// Not all that may unwrap here is marked as a test.
#![allow(clippy::unwrap_used)]

mod browser;
mod journal;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use sha2::{Digest, Sha256};

use journal::{HOSTILE, Journal, NAME};

/// A page, as it was written.
struct Page {
    html: String,
    file: PathBuf,
}

impl Page {
    /// The page of a journal whose every text is hostile.
    fn of(journal: &Journal) -> Self {
        let file = journal.folder().join("page.html");
        let output = write(journal.folder(), &file, &[]);
        assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
        Self { html: fs::read_to_string(&file).unwrap(), file }
    }

    /// What stands between two texts, the first time.
    fn between(&self, start: &str, end: &str) -> &str {
        let (_, rest) = self.html.split_once(start).unwrap_or_else(|| panic!("there is no {start}"));
        rest.split_once(end).unwrap().0
    }

    fn data_text(&self) -> &str {
        self.between(r#"<script type="application/json" id="data">"#, "</script>")
    }

    fn data(&self) -> Value {
        serde_json::from_str(self.data_text()).unwrap()
    }

    fn script(&self) -> &str {
        self.between("<script>", "</script>")
    }

    fn style(&self) -> &str {
        self.between("<style>", "</style>")
    }

    fn policy(&self) -> &str {
        self.between(r#"<meta http-equiv="Content-Security-Policy" content=""#, "\"")
    }
}

fn write(state: &Path, file: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quickstart"));
    command.stdin(Stdio::null()).arg("--state").arg(state).arg("--html").arg(file).args(more);
    command.output().unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The source by which a policy allows an inline text: its SHA-256 in base 64, six bits a digit.
fn source(text: &str) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: String = Sha256::digest(text).iter().map(|byte| format!("{byte:08b}")).collect();
    // 256 bits are 42 digits of six bits and one of four.
    let digits = bits.as_bytes().chunks(6).map(|six| {
        let six = format!("{:0<6}", std::str::from_utf8(six).unwrap());
        char::from(DIGITS[usize::from_str_radix(&six, 2).unwrap()])
    });
    format!("'sha256-{}='", digits.collect::<String>())
}

/// Every text in a JSON value, names of members too.
fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(members) => members.iter().for_each(|(name, member)| {
            found.push(name.clone());
            texts(member, found);
        }),
        _ => {}
    }
}

#[test]
fn the_page_loads_nothing_and_allows_nothing_but_itself() {
    let page = Page::of(&Journal::hostile());
    let expected = format!(
        "default-src 'none'; style-src {}; script-src {}; base-uri 'none'; form-action 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
        source(page.style()),
        source(page.script())
    );
    assert_eq!(page.policy(), expected);
    let policy = page.html.find("Content-Security-Policy").unwrap();
    for later in ["<style", "<script", "<title"] {
        assert!(policy < page.html.find(later).unwrap(), "the policy stands before {later}");
    }

    let own = page.html.replace(page.data_text(), "");
    assert_eq!(own.matches("<script").count(), 2);
    assert_eq!(own.matches("<style").count(), 1);
    let loads = [
        "src=",
        "<link",
        "<img",
        "<iframe",
        "<object",
        "<embed",
        "<base",
        "http-equiv=\"refresh",
        "url(",
        "@import",
        "fetch(",
        "XMLHttpRequest",
        "WebSocket",
        "EventSource",
        "sendBeacon",
        "import(",
        "https:",
        "onclick=",
        "onload=",
        "onerror=",
    ];
    let markup = own.replace(page.script(), "");
    for load in loads {
        assert!(!own.contains(load), "the page has {load}");
    }
    let links = markup.split("href=\"").skip(1);
    assert!(links.clone().count() > 0 && links.clone().all(|link| link.starts_with('#')));
}

#[test]
fn hostile_texts_are_data_and_stay_what_they_are() {
    let page = Page::of(&Journal::hostile());
    assert!(!page.data_text().contains(['<', '>', '&']));
    let data = page.data();
    assert_eq!(data["session"]["name"], NAME);
    assert!(data["actors"].as_object().unwrap().values().any(|who| who["name"] == HOSTILE));
    let turns = data["turns"].as_array().unwrap();
    let step = |turn: usize, action: &str| {
        let steps = turns[turn]["steps"].as_array().unwrap();
        steps.iter().find(|step| step["name"] == action || step["action"] == action).unwrap()
    };
    assert_eq!(step(0, "echo")["id"], NAME);
    assert!(step(2, "send")["reason"].as_str().unwrap().contains(HOSTILE));
    let kinds =
        ["turn.started", "attempt.failed", "step.succeeded", "step.failed", "step.in_doubt", "wait.opened"];
    for kind in kinds {
        let records = data["records"].as_array().unwrap().iter().filter(|record| record["kind"] == kind);
        let bodies = records.map(|record| record["body"]["json"].as_str().unwrap());
        let mut found = Vec::new();
        bodies.for_each(|body| texts(&serde_json::from_str(body).unwrap(), &mut found));
        assert!(found.iter().any(|text| text.contains(HOSTILE)), "{kind}: {found:?}");
    }
}

#[test]
fn the_page_tells_what_happened_to_each_turn_and_step() {
    let data = Page::of(&Journal::hostile()).data();
    let states: Vec<_> =
        data["turns"].as_array().unwrap().iter().map(|turn| turn["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["answered", "failed", "running"]);
    assert_eq!(data["session"]["status"], "resting");
    let rest = &data["turns"][2];
    let steps = rest["steps"].as_array().unwrap();
    let of = |action: &str, member: &str| {
        steps.iter().find(|step| step["name"] == action || step["action"] == action).unwrap()[member].clone()
    };
    assert_eq!(of("send", "state"), "in_doubt");
    assert_eq!(of("approval", "state"), "asking");
    assert_eq!(of("go", "state"), "waiting");
    assert_eq!(of("echo", "state"), "pending", "it comes after the approval");
    assert_eq!(of("send", "class"), "irreversible");
    assert!(of("send", "key").as_str().unwrap().len() == 32);
    let flaky =
        data["turns"][0]["steps"].as_array().unwrap().iter().find(|step| step["name"] == "flaky").unwrap();
    let spans: Vec<_> = flaky["spans"]
        .as_array()
        .unwrap()
        .iter()
        .map(|span| format!("{} {}", span["kind"], span["end"]))
        .collect();
    assert_eq!(spans, [r#""attempt" "failed""#, r#""pause" "done""#, r#""attempt" "done""#]);
    assert_eq!(data["chain"]["broken"], Value::Null);
    assert_eq!(data["chain"]["records"], data["records"].as_array().unwrap().len());
    let last = data["records"].as_array().unwrap().last().unwrap();
    assert_eq!(data["chain"]["head"][1], last["hash"], "the last record's hash is the head");
}

#[test]
fn a_broken_chain_is_told_and_what_is_left_is_shown() {
    let journal = Journal::hostile();
    let whole = Page::of(&journal).data();
    let database = rusqlite::Connection::open(journal.folder().join("shell.db")).unwrap();
    assert_eq!(database.execute("UPDATE records SET time = time + 1 WHERE seq = 7", ()).unwrap(), 1);
    drop(database);
    let file = journal.folder().join("broken.html");
    let output = write(journal.folder(), &file, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        errors(&output).contains("the header or the hash of record 7 was changed"),
        "{}",
        errors(&output)
    );
    let page = Page { html: fs::read_to_string(&file).unwrap(), file };
    let data = page.data();
    assert_eq!(data["chain"]["broken"]["from"], 7);
    assert_eq!(data["chain"]["unopened"]["from"], 7);
    let (records, before) = (data["records"].as_array().unwrap(), whole["records"].as_array().unwrap());
    assert_eq!(records.len(), before.len(), "the headers are all there");
    assert_eq!(records[..6], before[..6]);
    assert!(records[6..].iter().all(|record| record["body"].is_null()));
}

#[test]
fn the_session_is_the_one_that_is_named() {
    let journal = Journal::hostile();
    journal.add_session("another");
    let file = journal.folder().join("page.html");
    let output = write(journal.folder(), &file, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        errors(&output).contains("several sessions") && errors(&output).contains("another"),
        "{}",
        errors(&output)
    );
    assert!(!file.exists());
    let output = write(journal.folder(), &file, &["nowhere"]);
    assert!(errors(&output).contains("there is no session of nowhere"), "{}", errors(&output));
    let output = write(journal.folder(), &file, &["another"]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let page = Page { html: fs::read_to_string(&file).unwrap(), file };
    assert_eq!(page.data()["session"]["name"], "another");
    assert_eq!(page.data()["others"], serde_json::json!([NAME]));
}

#[test]
fn whoever_looks_changes_nothing_and_shows_it_to_nobody_else() {
    use std::os::unix::fs::PermissionsExt;
    let journal = Journal::hostile();
    let rows = || {
        let database = rusqlite::Connection::open(journal.folder().join("shell.db")).unwrap();
        let query = "SELECT (SELECT count(*) FROM sessions), (SELECT max(epoch) FROM sessions), (SELECT count(*) FROM records)";
        let row = |row: &rusqlite::Row<'_>| Ok([row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?]);
        database.query_row(query, (), row).unwrap()
    };
    let before = rows();
    let page = Page::of(&journal);
    assert_eq!(rows(), before);
    assert_eq!(fs::metadata(&page.file).unwrap().permissions().mode() & 0o777, 0o600);
    let output = write(journal.folder(), &journal.folder().join("no/such/folder.html"), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(errors(&output).contains("can't be written"), "{}", errors(&output));
}
