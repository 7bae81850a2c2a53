//! What is too much is left out, and counted.

use std::collections::BTreeMap;

use agent_shell_core::Outcome;
use agent_shell_core::data::{Body, Header, Kind};
use agent_shell_core::runtime::HistoryEntry;
use agent_shell_core::words::{Digest, Seq, SessionId, Tenant, TurnId};
use serde_json::json;

use super::{Journal, TURN, act, call, fails, payload, started, starts};
use crate::timeline::bounds::{ALL_BODY_BYTES, BODY_BYTES, LINE_BYTES, RECORDS, SPANS_PER_STEP};
use crate::timeline::line;
use crate::timeline::model::{self, LeftOut, SpanKind};
use crate::timeline::records::{Opened, Outside, Stored};

#[test]
fn turns_before_the_first_record_of_the_page_are_forgotten_and_counted() {
    let mut journal = Journal::new();
    for nth in 1..=5 {
        let turn = TurnId::from_bytes([nth; 16]);
        for body in [
            started(turn),
            Body::TurnEnded {
                turn,
                outcome: Outcome::Expired,
                answer: None,
                undone: None,
                joined: Vec::new(),
            },
        ] {
            journal.add(body);
            // The third turn begins before the page does, and ends in it.
            journal.turns.forget_before(Seq::new(6));
        }
    }
    let (turns, forgotten) = journal.turns.finish();
    assert_eq!(forgotten, 2);
    assert_eq!(turns.iter().map(|turn| turn.number).collect::<Vec<_>>(), [3, 4, 5]);
}

#[test]
fn the_spans_of_a_step_are_bounded() {
    let mut journal = Journal::planned([call("idempotent")]);
    let attempts = SPANS_PER_STEP as u32;
    for attempt in 1..=attempts {
        journal.add(starts(attempt)).add(fails(attempt, true, true));
    }
    let step = journal.step();
    assert_eq!((step.spans.len(), step.spans_left_out), (SPANS_PER_STEP, SPANS_PER_STEP));
    assert_eq!(step.spans.last().map(|span| span.kind), Some(SpanKind::Pause));
}

/// The records of a page about a session with so many, each with an output of so many bytes.
fn page(records: u64, bytes: usize) -> (Vec<model::Record>, LeftOut) {
    let mut journal = Journal::new();
    let (mut stored, mut opened) = (Stored::default(), Opened::default());
    let output = payload(json!("ä".repeat(bytes / 2)));
    for _ in 0..records {
        let step = act();
        let body = Body::StepSucceeded {
            turn: TURN,
            step,
            attempt: 1,
            output: output.clone(),
            context: BTreeMap::new(),
        };
        let entry = journal.entry(body);
        opened.take(&entry, Some(1));
        stored.take(Outside { header: header(&entry), hash: Digest::ZERO });
    }
    let mut left_out = LeftOut::default();
    (opened.join(stored, &mut left_out), left_out)
}

fn header(entry: &HistoryEntry) -> Header {
    Header {
        tenant: Tenant::default(),
        session: SessionId::from_bytes([2; 16]),
        seq: entry.seq,
        epoch: entry.epoch,
        kind: Kind(entry.body.kind().into()),
        version: 1,
        time: entry.time,
        actor: entry.actor,
        body_digest: Digest::ZERO,
    }
}

#[test]
fn a_page_holds_the_latest_records() {
    let (records, left_out) = page(RECORDS as u64 + 3, 10);
    assert_eq!(records.len(), RECORDS);
    assert_eq!(records[0].seq, Seq::new(4));
    assert!(records.iter().all(|record| record.body.is_some()), "{left_out:?}");
}

#[test]
fn long_bodies_are_cut_and_the_oldest_go_first() {
    let (records, left_out) = page(300, 2 * BODY_BYTES);
    let bodies: Vec<_> = records.iter().map(|record| record.body.as_ref()).collect();
    let kept = ALL_BODY_BYTES / BODY_BYTES;
    // A character of two bytes is not cut apart.
    let whole =
        |body: &model::Text| body.json.len() >= BODY_BYTES - 1 && body.of_bytes.unwrap() > 2 * BODY_BYTES;
    assert!(bodies[300 - kept..].iter().all(|body| body.is_some_and(whole)));
    assert!(bodies[..300 - kept - 1].iter().all(Option::is_none));
    assert_eq!(left_out.bodies as usize, bodies.iter().filter(|body| body.is_none()).count());
    assert_eq!(left_out.cut as usize, bodies.iter().flatten().count());
    assert!(records.iter().all(|record| record.about.len() <= LINE_BYTES + "…".len()));
}

#[test]
fn a_line_is_one() {
    assert_eq!(line::one_line("a\n  b\u{a0}\tc "), "a b c");
    assert_eq!(line::cut("aä", 2), "a", "a character is not cut apart");
    let long = "x".repeat(LINE_BYTES + 1);
    assert_eq!(line::one_line(&long), format!("{}…", &long[1..]));
}
