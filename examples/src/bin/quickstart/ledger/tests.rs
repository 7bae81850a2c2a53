//! The ledger tells the truth about what happened, whatever happened to it.

// These tests start tasks and threads of their own: there is no runtime here whose ports they
// could use.
#![allow(clippy::disallowed_methods)]

mod undo;

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::book::{Book, Line, Refusal};
use super::*;

fn open_ticket(book: &mut Book, key: &str, finding: &str) -> Result<(u64, bool), Refusal> {
    let told = book.open_ticket(key.to_owned(), "title".to_owned(), finding.to_owned()).unwrap();
    told.map(|ticket| (ticket.number.0, ticket.repeated))
}

fn close_ticket(book: &mut Book, key: &str, finding: &str) -> Result<(u64, bool), Refusal> {
    let told = book.close_ticket(key.to_owned(), finding.to_owned()).unwrap();
    told.map(|ticket| (ticket.number.0, ticket.repeated))
}

fn publish(book: &mut Book, key: &str) -> u64 {
    book.publish(key.to_owned(), "path".to_owned(), "digest".to_owned()).unwrap().unwrap().times
}

fn file() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("ledger.jsonl");
    (folder, file)
}

#[test]
fn the_same_key_is_the_same_ticket_also_after_a_restart() {
    let (_folder, file) = file();
    let mut book = Book::open(&file).unwrap();
    assert_eq!(open_ticket(&mut book, "k1", "f1"), Ok((1, false)));
    assert_eq!(open_ticket(&mut book, "k2", "f2"), Ok((2, false)));
    assert_eq!(open_ticket(&mut book, "k1", "f1"), Ok((1, true)));
    drop(book);
    let mut book = Book::open(&file).unwrap();
    assert_eq!(open_ticket(&mut book, "k2", "f2"), Ok((2, true)));
    assert_eq!(open_ticket(&mut book, "k3", "f3"), Ok((3, false)));
    let expected = Summary { tickets: 3, calls: 5, keys: 3, repeated: 2, ..Summary::default() };
    assert_eq!(audit::summary(&file).unwrap(), expected);
    assert_eq!(book.lookup("k2"), Found { calls: 2, ticket: Some(TicketNumber(2)), published: None });
    assert_eq!(book.lookup("k9"), Found::default());
}

#[test]
fn a_key_is_used_for_one_thing() {
    let (_folder, file) = file();
    let mut book = Book::open(&file).unwrap();
    open_ticket(&mut book, "k1", "f1").unwrap();
    let before = fs::read(&file).unwrap();
    assert_eq!(open_ticket(&mut book, "k1", "f2"), Err(Refusal::KeyUsed));
    assert_eq!(close_ticket(&mut book, "k1", "f1"), Err(Refusal::KeyUsed));
    assert_eq!(close_ticket(&mut book, "k2", "f2"), Err(Refusal::NoOpenTicket));
    assert_eq!(fs::read(&file).unwrap(), before, "a refused call leaves no line");
}

#[test]
fn what_was_done_twice_is_seen() {
    let (_folder, file) = file();
    let mut book = Book::open(&file).unwrap();
    open_ticket(&mut book, "k1", "f1").unwrap();
    assert_eq!(audit::summary(&file).unwrap().doubled, 0);
    // A caller whose key was not stable: the key protects nothing.
    assert_eq!(open_ticket(&mut book, "k2", "f1"), Ok((2, false)));
    assert_eq!(audit::summary(&file).unwrap().doubled, 1);
    assert_eq!((publish(&mut book, "p1"), publish(&mut book, "p2")), (1, 1));
    assert_eq!(audit::summary(&file).unwrap().doubled, 1);
    assert_eq!(publish(&mut book, "p1"), 2);
    let summary = audit::summary(&file).unwrap();
    assert_eq!((summary.doubled, summary.published, summary.repeated), (2, 3, 0));
}

#[test]
fn a_ledger_that_forgot_its_keys_would_be_seen() {
    // The file of a broken ledger: the same key got two tickets.
    let (_folder, file) = file();
    let line = |ticket| Line::Opened {
        key: "k1".to_owned(),
        ticket: TicketNumber(ticket),
        finding: "f1".to_owned(),
        title: "title".to_owned(),
    };
    let lines = [line(1), line(2)].map(|line| serde_json::to_string(&line).unwrap() + "\n");
    fs::write(&file, lines.concat()).unwrap();
    let summary = audit::summary(&file).unwrap();
    assert_eq!((summary.tickets, summary.keys, summary.doubled), (2, 1, 1));
}

#[test]
fn a_finding_that_comes_back_is_not_doubled() {
    let (_folder, file) = file();
    let mut book = Book::open(&file).unwrap();
    open_ticket(&mut book, "k1", "f1").unwrap();
    assert_eq!(close_ticket(&mut book, "c1", "f1"), Ok((1, false)));
    assert_eq!(close_ticket(&mut book, "c1", "f1"), Ok((1, true)));
    // A late repeat of the first call opens nothing.
    assert_eq!(open_ticket(&mut book, "k1", "f1"), Ok((1, true)));
    drop(book);
    let mut book = Book::open(&file).unwrap();
    assert_eq!(close_ticket(&mut book, "c2", "f1"), Err(Refusal::NoOpenTicket));
    assert_eq!(open_ticket(&mut book, "k2", "f1"), Ok((2, false)));
    let summary = audit::summary(&file).unwrap();
    assert_eq!((summary.tickets, summary.closed, summary.doubled), (2, 1, 0));
}

#[test]
fn a_torn_last_line_is_cut_off() {
    let (_folder, file) = file();
    let mut book = Book::open(&file).unwrap();
    open_ticket(&mut book, "k1", "f1").unwrap();
    let whole = fs::read(&file).unwrap();
    open_ticket(&mut book, "k2", "f2").unwrap();
    drop(book);
    let both = fs::read(&file).unwrap();
    // Every place at which the second line can tear, also just before its end.
    for end in whole.len()..both.len() {
        fs::write(&file, &both[..end]).unwrap();
        let mut book = Book::open(&file).unwrap();
        assert_eq!(fs::read(&file).unwrap(), whole, "torn at {end}");
        assert_eq!(open_ticket(&mut book, "k2", "f2"), Ok((2, false)));
        assert_eq!(fs::read(&file).unwrap(), both);
    }
}

#[test]
fn other_damage_stops_the_ledger() {
    let (_folder, file) = file();
    let mut book = Book::open(&file).unwrap();
    open_ticket(&mut book, "k1", "f1").unwrap();
    drop(book);
    let mut appended = fs::OpenOptions::new().append(true).open(&file).unwrap();
    appended.write_all(b"rubbish\n").unwrap();
    let before = fs::read(&file).unwrap();
    assert!(matches!(Book::open(&file), Err(BookError::Damaged { line: 2, .. })));
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[test]
fn a_successor_waits_for_the_lock() {
    let (_folder, file) = file();
    let first = Book::open(&file).unwrap();
    let second = {
        let file = file.clone();
        std::thread::spawn(move || Book::open(&file).map(drop))
    };
    std::thread::sleep(Duration::from_millis(100));
    assert!(!second.is_finished());
    drop(first);
    second.join().unwrap().unwrap();
}

/// What the ledger answers to these lines.
fn conversation(input: &[u8]) -> Vec<String> {
    let (_folder, file) = file();
    let mut output = Vec::new();
    serve(&file, false, input, &mut output).unwrap();
    String::from_utf8(output).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn who_is_told_to_publishes_nothing_and_does_the_rest() {
    let (_folder, file) = file();
    let input = concat!(
        r#"{"id":1,"open_ticket":{"key":"k","title":"t","finding":"f"}}"#,
        "\n",
        r#"{"id":2,"publish":{"key":"p","path":"x","digest":"d"}}"#,
        "\n",
        r#"{"id":3,"withdraw_ticket":{"key":"u","of":"k"}}"#,
        "\n",
    );
    let mut output = Vec::new();
    serve(&file, true, input.as_bytes(), &mut output).unwrap();
    let expected = concat!(
        r#"{"id":1,"answer":{"ticket":{"number":1,"repeated":false}}}"#,
        "\n",
        r#"{"id":2,"answer":{"refused":{"reason":"it takes no publications now (--fail publish)"}}}"#,
        "\n",
        r#"{"id":3,"answer":{"ticket":{"number":1,"repeated":false}}}"#,
        "\n",
    );
    assert_eq!(String::from_utf8(output).unwrap(), expected);
    assert_eq!(audit::summary(&file).unwrap().published, 0);
}

#[test]
fn the_protocol_is_json_lines() {
    let input = concat!(
        r#"{"id":1,"open_ticket":{"key":"k","title":"t","finding":"f"}}"#,
        "\n",
        r#"{"id":2,"close_ticket":{"key":"c","finding":"f"}}"#,
        "\n",
        r#"{"id":3,"publish":{"key":"p","path":"x","digest":"d"}}"#,
        "\n",
        r#"{"id":4,"lookup":{"key":"p"}}"#,
        "\n",
        r#"{"id":5,"reopen_ticket":{"key":"r","of":"c"}}"#,
        "\n",
        r#"{"id":6,"withdraw_ticket":{"key":"w","of":"k"}}"#,
        "\n",
        r#"{"id":7,"summary":{}}"#,
        "\n",
        r#"{"id":8,"open_ticket":{"key":"","title":"t","finding":"f"}}"#,
        "\n",
        "hello\n",
    );
    let answers = conversation(input.as_bytes());
    let expected = [
        r#"{"id":1,"answer":{"ticket":{"number":1,"repeated":false}}}"#,
        r#"{"id":2,"answer":{"ticket":{"number":1,"repeated":false}}}"#,
        r#"{"id":3,"answer":{"published":{"times":1}}}"#,
        r#"{"id":4,"answer":{"found":{"calls":1,"ticket":null,"published":"d"}}}"#,
        r#"{"id":5,"answer":{"ticket":{"number":1,"repeated":false}}}"#,
        r#"{"id":6,"answer":{"ticket":{"number":1,"repeated":false}}}"#,
        r#"{"id":7,"answer":{"summary":{"tickets":1,"calls":1,"keys":1,"repeated":0,"doubled":0,"closed":1,"withdrawn":1,"reopened":1,"published":1}}}"#,
        r#"{"id":8,"answer":{"refused":{"reason":"a text is empty or longer than 4096 bytes"}}}"#,
    ];
    assert_eq!(answers[..8], expected);
    assert!(answers[8].starts_with(r#"{"id":null,"answer":{"refused""#), "{}", answers[8]);
}

#[test]
fn half_a_request_is_not_carried_out() {
    let request = br#"{"id":1,"open_ticket":{"key":"k","title":"t","finding":"f"}}"#;
    assert!(conversation(request).is_empty());
    assert_eq!(conversation(&[request, &b"\n"[..]].concat()).len(), 1);
}

#[tokio::test]
async fn a_ledger_that_cannot_start_was_not_sent_anything() {
    let client = LedgerClient::start(LedgerProgram::missing());
    assert!(matches!(client.summary().await, Err(LedgerError::NotSent { .. })));
}

#[tokio::test]
async fn a_ledger_that_dies_leaves_a_doubt_and_is_started_again() {
    let (_folder, file) = file();
    let script = format!(
        "read line; if [ -e {0} ]; then echo '{1}'; else touch {0}; fi",
        file.display(),
        r#"{"id":2,"answer":{"ticket":{"number":7,"repeated":true}}}"#,
    );
    let client = LedgerClient::start(LedgerProgram::shell(&script));
    let first = client.open_ticket("k", "t", "f").await;
    assert!(matches!(first, Err(LedgerError::NoAnswer { .. })), "{first:?}");
    let second = client.open_ticket("k", "t", "f").await;
    assert_eq!(second, Ok(Ticket { number: TicketNumber(7), repeated: true }));
}

#[tokio::test]
async fn an_answer_to_another_call_is_a_doubt() {
    let script = r#"read line; echo '{"id":9,"answer":{"ticket":{"number":7,"repeated":true}}}'; read line"#;
    let client = LedgerClient::start(LedgerProgram::shell(script));
    let answer = client.open_ticket("k", "t", "f").await;
    assert!(matches!(answer, Err(LedgerError::NoAnswer { .. })), "{answer:?}");
}

#[tokio::test]
async fn a_refusal_is_neither() {
    let script = r#"read line; echo '{"id":1,"answer":{"refused":{"reason":"no"}}}'; read line"#;
    let client = LedgerClient::start(LedgerProgram::shell(script));
    let answer = client.close_ticket("k", "f").await;
    assert_eq!(answer, Err(LedgerError::Refused { reason: "no".to_owned() }));
}

#[tokio::test]
async fn who_gives_up_waiting_is_not_served() {
    let (folder, gate) = file();
    let log = folder.path().join("log");
    let script = format!(
        "n=0; while read line; do while [ ! -e {} ]; do sleep 0.01; done; \
         echo \"$line\" >> {}; n=$((n+1)); echo '{{\"id\":'$n',\"answer\":{{\"published\":{{\"times\":1}}}}}}'; done",
        gate.display(),
        log.display(),
    );
    let client = LedgerClient::start(LedgerProgram::shell(&script));
    let call = |key: &'static str| {
        let client = client.clone();
        tokio::spawn(async move { client.publish(key, "path", "digest").await })
    };
    let (first, second) = (call("first"), call("second"));
    // Both are in the queue, and the ledger is busy with the first.
    tokio::time::sleep(Duration::from_millis(50)).await;
    second.abort();
    assert!(second.await.unwrap_err().is_cancelled());
    fs::write(&gate, "").unwrap();
    assert!(first.await.unwrap().is_ok());
    assert!(call("third").await.unwrap().is_ok());
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("first") && log.contains("third") && !log.contains("second"), "{log}");
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn an_interrupt_at_the_terminal_does_not_reach_it() {
    // The fifth field of the process's line is its group: its own, if the group's number is its own.
    let script = r#"read line; set -- $(cat /proc/$$/stat)
        echo '{"id":1,"answer":{"ticket":{"number":'$5',"repeated":'$([ $5 = $$ ] && echo true || echo false)'}}}'
        read line"#;
    let client = LedgerClient::start(LedgerProgram::shell(script));
    assert!(client.open_ticket("k", "t", "f").await.unwrap().repeated);
}

#[tokio::test]
async fn it_ends_with_the_last_handle() {
    let (_folder, ended) = file();
    let answer = r#"{"id":1,"answer":{"published":{"times":1}}}"#;
    let script = format!("read line; echo '{answer}'; read line; touch {}", ended.display());
    let client = LedgerClient::start(LedgerProgram::shell(&script));
    let other = client.clone();
    client.publish("k", "path", "digest").await.unwrap();
    drop(client);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!ended.exists());
    drop(other);
    let is_gone = (0..1000).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        ended.exists()
    });
    assert!(is_gone);
}
