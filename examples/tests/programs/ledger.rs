//! The quickstart's ledger, as a process that can be killed.

// These tests wait for processes, and have no clock port to wait with.
#![allow(clippy::disallowed_methods)]

use std::fs;
use std::io::{BufRead, BufReader, PipeReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

const PAUSE: Duration = Duration::from_millis(10);

struct Ledger {
    child: Child,
    input: ChildStdin,
    output: Option<BufReader<ChildStdout>>,
}

impl Ledger {
    fn start(file: &Path, output: Stdio) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quickstart"));
        command.arg("ledger").arg("--file").arg(file);
        let mut child = command.stdin(Stdio::piped()).stdout(output).spawn().expect("the ledger starts");
        let input = child.stdin.take().expect("its input is a pipe");
        let output = child.stdout.take().map(BufReader::new);
        Self { child, input, output }
    }

    fn send(&mut self, request: &Value) {
        writeln!(self.input, "{request}").expect("the ledger listens");
    }

    fn ask(&mut self, request: &Value) -> Value {
        self.send(request);
        let mut line = String::new();
        let output = self.output.as_mut().expect("its output is a pipe");
        output.read_line(&mut line).expect("the ledger answers");
        serde_json::from_str::<Value>(&line).expect("an answer is JSON")["answer"].take()
    }

    fn kill(mut self) {
        self.child.kill().expect("the ledger runs");
        self.child.wait().expect("the ledger ends");
    }
}

fn open_ticket(key: &str, finding: &str) -> Value {
    json!({"id": 1, "open_ticket": {"key": key, "title": "title", "finding": finding}})
}

fn ledger_file() -> (TempDir, PathBuf) {
    let folder = TempDir::new().expect("there is a folder for temporary files");
    let file = folder.path().join("ledger.jsonl");
    (folder, file)
}

fn lines(file: &Path) -> usize {
    fs::read_to_string(file).map_or(0, |text| text.lines().count())
}

/// The writing end of a pipe that takes no byte more, and what keeps it open.
fn full_pipe() -> (Stdio, PipeReader) {
    let (reader, mut writer) = std::io::pipe().expect("there is a pipe");
    let full = writer.try_clone().expect("a pipe has many writers");
    let written = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&written);
    std::thread::spawn(move || {
        while writer.write_all(b"x").is_ok() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let mut before = 0;
    loop {
        std::thread::sleep(PAUSE * 10);
        let now = written.load(Ordering::Relaxed);
        if now > 0 && now == before {
            return (full.into(), reader);
        }
        before = now;
    }
}

#[test]
fn killed_between_its_write_and_its_answer_it_knows_the_call() {
    let (_folder, file) = ledger_file();
    let (output, _reader) = full_pipe();
    let mut ledger = Ledger::start(&file, output);
    ledger.send(&open_ticket("k1", "f1"));
    let written = (0..1000).any(|_| {
        std::thread::sleep(PAUSE);
        lines(&file) == 1
    });
    assert!(written, "it writes before it answers");
    // The line is written, and the answer can't be: nobody has it when the ledger dies.
    ledger.kill();

    let mut ledger = Ledger::start(&file, Stdio::piped());
    let expected = json!({"ticket": {"number": 1, "repeated": true}});
    assert_eq!(ledger.ask(&open_ticket("k1", "f1")), expected);
    let summary = ledger.ask(&json!({"id": 2, "summary": {}}));
    let expected = json!({
        "tickets": 1, "calls": 2, "keys": 1, "repeated": 1, "doubled": 0, "closed": 0,
        "withdrawn": 0, "reopened": 0, "published": 0,
    });
    assert_eq!(summary["summary"], expected);
}

#[test]
fn what_it_answered_outlives_it() {
    let (_folder, file) = ledger_file();
    for round in 1..=20_u64 {
        let mut ledger = Ledger::start(&file, Stdio::piped());
        let answer = ledger.ask(&open_ticket(&format!("k{round}"), &format!("f{round}")));
        // The ticket that all rounds ask for has a number, too, once one of them was not killed before it was written.
        let number = answer["ticket"]["number"].as_u64();
        assert!(number == Some(round) || number == Some(round + 1), "round {round}: {answer}");
        ledger.send(&open_ticket("all", "all"));
        ledger.kill();
    }
    let mut ledger = Ledger::start(&file, Stdio::piped());
    let summary = ledger.ask(&json!({"id": 1, "summary": {}}))["summary"].take();
    assert_eq!(summary["doubled"], 0);
    let tickets = summary["tickets"].as_u64().expect("a number");
    assert!((20..=21).contains(&tickets), "{summary}");
    assert_eq!(summary["tickets"], summary["keys"]);
}

#[test]
fn it_ends_with_its_input() {
    let (_folder, file) = ledger_file();
    let mut ledger = Ledger::start(&file, Stdio::piped());
    ledger.ask(&open_ticket("k1", "f1"));
    drop(ledger.input);
    assert!(ledger.child.wait().expect("the ledger ends").success());
}

#[test]
fn a_successor_waits_for_a_predecessor_that_ends() {
    let (_folder, file) = ledger_file();
    let mut first = Ledger::start(&file, Stdio::piped());
    first.ask(&open_ticket("k1", "f1"));
    let mut second = Ledger::start(&file, Stdio::piped());
    second.send(&open_ticket("k1", "f1"));
    std::thread::sleep(PAUSE * 10);
    assert_eq!(lines(&file), 1, "the second has nothing to say while the first lives");
    drop(first.input);
    let answer = second.ask(&open_ticket("k1", "f1"));
    assert_eq!(answer["ticket"]["repeated"], true);
    first.child.wait().expect("the first ends");
}

#[test]
fn a_damaged_file_is_refused_with_a_message() {
    let (_folder, file) = ledger_file();
    fs::write(&file, "rubbish\n").expect("the file can be written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_quickstart"));
    let output = command.arg("ledger").arg("--file").arg(&file).stdin(Stdio::null()).output();
    let output = output.expect("the ledger starts");
    assert!(!output.status.success());
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("line 1 is not the ledger's"), "{message}");
}
