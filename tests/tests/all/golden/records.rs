//! The bodies of records.

use std::collections::BTreeSet;

use agent_shell_core::data::{Body, CodecError, RECORD_VERSION, decode, encode};
use agent_shell_core::machine::{Entry, Folded, fold};
use agent_shell_core::words::{Epoch, Pseudonym, Seq, SessionId, Timestamp};
use serde_json::Value;

use super::bodies::{PARENT, TURN, bodies, forked};
use super::golden;

/// A line of a golden file of records.
struct Line {
    kind: String,
    version: u16,
    /// The members, byte for byte.
    body: String,
}

fn lines(file: &str) -> Vec<Line> {
    let text = golden(file);
    let parse = |line: &str| {
        let value: Value = serde_json::from_str(line).unwrap();
        let (_, body) = line.split_once(",\"body\":").unwrap();
        let body = body.strip_suffix('}').unwrap().to_owned();
        let version = value["version"].as_u64().unwrap().try_into().unwrap();
        Line { kind: value["kind"].as_str().unwrap().to_owned(), version, body }
    };
    text.lines().map(parse).collect()
}

#[test]
fn records_of_version_1_are_read_as_they_were_meant() {
    let (lines, expected) = (lines("records-v1.jsonl"), bodies());
    assert_eq!(lines.len(), expected.len());
    for (line, expected) in lines.iter().zip(expected) {
        assert_eq!((line.version, line.kind.as_str()), (1, expected.kind()));
        let body = decode(&line.kind, line.version, line.body.as_bytes());
        assert_eq!(body.unwrap(), expected, "{}: {}", line.kind, line.body);
    }
}

/// Where a body's form changes, this compares with the golden file of the version that is written then.
#[test]
fn records_are_written_byte_for_byte_as_in_the_golden_file() {
    let lines = lines(&format!("records-v{RECORD_VERSION}.jsonl"));
    for (line, body) in lines.iter().zip(bodies()) {
        assert_eq!(String::from_utf8(encode(&body)).unwrap(), line.body, "{}", line.kind);
    }
}

#[test]
fn every_kind_has_a_golden_record() {
    let lines = lines(&format!("records-v{RECORD_VERSION}.jsonl"));
    let found: BTreeSet<&str> = lines.iter().map(|line| line.kind.as_str()).collect();
    assert_eq!(found, Body::KINDS.iter().copied().collect());
}

/// What a fork begins with is part of its record, so it is read for ever, too.
#[test]
fn a_fork_of_version_1_is_folded_as_it_was_meant() {
    let mut state = Folded::new(SessionId::from_bytes([5; 16]));
    let body = forked().remove(0);
    let (epoch, time, actor) = (Epoch::new(1), Timestamp::default(), Pseudonym::HOST);
    fold(&mut state, &Entry { seq: Seq::new(1), epoch, time, actor, body }).unwrap();
    let forked = state.forked.as_ref().unwrap();
    assert_eq!((forked.parent, forked.at.seq, forked.effects), (PARENT, Seq::new(17), false));
    assert_eq!((state.turns, state.signals.len(), state.talk.end()), (2, 1, 5));
    assert_eq!((state.talk.messages[1].untrusted, state.talk.prompts.len()), (true, 1));
    assert_ne!(*forked.calls, Default::default());
}

#[test]
fn what_a_newer_version_wrote_is_told_from_what_is_damaged() {
    let newer = |kind, version| matches!(decode(kind, version, b"{}"), Err(CodecError::Newer { .. }));
    assert!(newer("turn.expired", 0) && newer("turn.expired", RECORD_VERSION + 1) && newer("turn.forked", 1));
    assert!(matches!(decode("turn.expired", 1, b"{}"), Err(CodecError::Malformed { .. })));
    assert!(matches!(decode("turn.expired", 1, b"{\"turn\":7}"), Err(CodecError::Malformed { .. })));
}

/// What is read back is what was written, to the last bit: else a step would be repeated with another input than the
/// one under whose key it was recorded, and an outcome would not be final.
#[test]
fn doubles_are_read_back_as_they_were_written() {
    let mut random = 1_u64;
    for _ in 0..10_000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let double = f64::from_bits(random);
        let Some(number) = serde_json::Number::from_f64(double) else { continue };
        let body = Body::PlanAnswered { turn: TURN, answer: Value::Number(number).into() };
        assert_eq!(decode(body.kind(), RECORD_VERSION, &encode(&body)).unwrap(), body, "{double:?}");
    }
}
