//! What is undone is undone once, and a ledger that undid it twice would be seen.

use std::fs;

use super::super::book::{Book, Line, Refusal};
use super::super::{Found, TicketNumber, audit};
use super::{close_ticket, file, open_ticket};

fn withdraw(book: &mut Book, key: &str, of: &str) -> Result<(u64, bool), Refusal> {
    let told = book.withdraw_ticket(key.to_owned(), of.to_owned()).unwrap();
    told.map(|ticket| (ticket.number.0, ticket.repeated))
}

fn reopen(book: &mut Book, key: &str, of: &str) -> Result<(u64, bool), Refusal> {
    let told = book.reopen_ticket(key.to_owned(), of.to_owned()).unwrap();
    told.map(|ticket| (ticket.number.0, ticket.repeated))
}

#[test]
fn what_is_undone_is_undone_once_also_after_a_restart() {
    let (_folder, file) = file();
    let mut book = Book::open(&file).unwrap();
    open_ticket(&mut book, "k1", "f1").unwrap();
    open_ticket(&mut book, "k2", "f2").unwrap();
    close_ticket(&mut book, "c1", "f1").unwrap();
    assert_eq!(reopen(&mut book, "u1", "c1"), Ok((1, false)));
    assert_eq!(withdraw(&mut book, "u2", "k2"), Ok((2, false)));
    drop(book);
    let mut book = Book::open(&file).unwrap();
    assert_eq!(reopen(&mut book, "u1", "c1"), Ok((1, true)));
    assert_eq!(withdraw(&mut book, "u2", "k2"), Ok((2, true)));
    // Late repeats of what was undone do nothing again.
    assert_eq!(close_ticket(&mut book, "c1", "f1"), Ok((1, true)));
    assert_eq!(open_ticket(&mut book, "k2", "f2"), Ok((2, true)));
    assert_eq!(book.lookup("u1"), Found { calls: 2, ticket: Some(TicketNumber(1)), published: None });
    let summary = audit::summary(&file).unwrap();
    assert_eq!((summary.tickets, summary.withdrawn, summary.reopened, summary.doubled), (2, 1, 1, 0));

    // What stood before stands, and what was withdrawn makes room for a new ticket.
    assert_eq!(close_ticket(&mut book, "c2", "f1"), Ok((1, false)));
    assert_eq!(close_ticket(&mut book, "c3", "f2"), Err(Refusal::NoOpenTicket));
    assert_eq!(open_ticket(&mut book, "k3", "f2"), Ok((3, false)));
    assert_eq!(audit::summary(&file).unwrap().doubled, 0);
}

#[test]
fn nothing_is_undone_but_what_a_call_did_and_left_so() {
    let (_folder, file) = file();
    let mut book = Book::open(&file).unwrap();
    open_ticket(&mut book, "k1", "f1").unwrap();
    close_ticket(&mut book, "c1", "f1").unwrap();
    open_ticket(&mut book, "k2", "f2").unwrap();
    withdraw(&mut book, "u2", "k2").unwrap();
    let before = fs::read(&file).unwrap();
    assert_eq!(withdraw(&mut book, "u1", "k9"), Err(Refusal::NothingToUndo));
    assert_eq!(withdraw(&mut book, "u1", "c1"), Err(Refusal::NothingToUndo), "it opened nothing");
    assert_eq!(reopen(&mut book, "u1", "k1"), Err(Refusal::NothingToUndo), "it closed nothing");
    assert_eq!(withdraw(&mut book, "u1", "k1"), Err(Refusal::ChangedSince), "the ticket is closed");
    assert_eq!(withdraw(&mut book, "u3", "k2"), Err(Refusal::ChangedSince), "it is withdrawn");
    assert_eq!(withdraw(&mut book, "k1", "k2"), Err(Refusal::KeyUsed));
    assert_eq!(withdraw(&mut book, "u2", "k1"), Err(Refusal::KeyUsed));
    assert_eq!(reopen(&mut book, "u2", "c1"), Err(Refusal::KeyUsed));
    assert_eq!(fs::read(&file).unwrap(), before, "a refused call leaves no line");
}

#[test]
fn a_ledger_that_undid_something_twice_would_be_seen() {
    let (_folder, file) = file();
    let line = |line: Line| serde_json::to_string(&line).unwrap() + "\n";
    let ticket = TicketNumber(1);
    let text = |text: &str| text.to_owned();
    let (finding, title) = (text("f1"), text("title"));
    let opened = line(Line::Opened { key: text("k1"), ticket, finding: finding.clone(), title });
    let closed = line(Line::Closed { key: text("c1"), ticket, finding: finding.clone() });
    let withdrawn =
        |key| line(Line::Withdrawn { key: text(key), of: text("k1"), ticket, finding: finding.clone() });
    let reopened =
        |key| line(Line::Reopened { key: text(key), of: text("c1"), ticket, finding: finding.clone() });
    let doubled = |lines: &[&String]| {
        fs::write(&file, lines.iter().map(|line| line.as_str()).collect::<String>()).unwrap();
        audit::summary(&file).unwrap().doubled
    };
    assert_eq!(doubled(&[&opened, &withdrawn("u1"), &withdrawn("u1")]), 0, "a repeat under its key");
    assert_eq!(doubled(&[&opened, &withdrawn("u1"), &withdrawn("u2")]), 1);
    assert_eq!(doubled(&[&opened, &closed, &reopened("u1"), &reopened("u1"), &closed]), 0);
    assert_eq!(doubled(&[&opened, &closed, &reopened("u1"), &reopened("u2")]), 1);
}
