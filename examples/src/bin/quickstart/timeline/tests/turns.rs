//! Turns, steps, spans, owners, depths.

use std::collections::BTreeMap;

use agent_shell_core::data::{Body, WaitEnd, WaitFor};
use agent_shell_core::words::{Digest, Seq, StepId, Timestamp, ToolName};
use agent_shell_core::{Failure, FailureCode, Outcome, Resolution, Step, Undone, output};
use serde_json::json;

use super::{Journal, TURN, act, adopted, call, fails, payload, started, starts};
use crate::timeline::model::{self, SpanEnd, SpanKind, StepState, TurnState};

fn succeeds(step: &str, attempt: u32) -> Body {
    let step = StepId::new(step).unwrap();
    Body::StepSucceeded { turn: TURN, step, attempt, output: payload(json!(1)), context: BTreeMap::new() }
}

fn in_doubt() -> Body {
    let not_applied_from = Timestamp::from_millis(6000);
    Body::StepInDoubt { turn: TURN, step: act(), attempt: 1, reason: "who knows".into(), not_applied_from }
}

fn resolved(resolution: Resolution) -> Body {
    Body::StepResolved { turn: TURN, step: act(), resolution, context: BTreeMap::new() }
}

fn failed(code: FailureCode) -> Body {
    Body::StepFailed {
        turn: TURN,
        step: act(),
        failure: Failure::of_step(&act(), code, "no"),
        applied: false,
    }
}

/// Kind, end, from, to, and the places of the records, of each span.
fn spans(step: &model::Step) -> Vec<(SpanKind, SpanEnd, u64, u64, u64, u64)> {
    let number = |seq: Option<Seq>| seq.map_or(0, Seq::number);
    let millis = |time: Option<Timestamp>| time.map_or(0, Timestamp::as_millis);
    let spans = step.spans.iter();
    spans
        .map(|span| {
            (
                span.kind,
                span.end,
                span.from.as_millis(),
                millis(span.to),
                number(span.first),
                number(span.last),
            )
        })
        .collect()
}

#[test]
fn an_attempt_whose_process_dies_is_interrupted_and_repeated() {
    let mut journal = Journal::planned([call("idempotent")]);
    journal.add(starts(1)).dies().add(starts(2)).add(succeeds("act", 2));
    let turn = journal.turn();
    let step = &turn.steps[0];
    assert_eq!((step.state, step.attempts, step.interruptions), (StepState::Succeeded, 2, 1));
    let expected = [
        (SpanKind::Attempt, SpanEnd::Interrupted, 1030, 1140, 3, 4),
        (SpanKind::Attempt, SpanEnd::Done, 1140, 1150, 4, 5),
    ];
    assert_eq!(spans(step), expected);
    let owners: Vec<_> = turn
        .owners
        .iter()
        .map(|owner| (owner.epoch.number(), owner.first.number(), owner.last.number()))
        .collect();
    assert_eq!(owners, [(1, 1, 3), (2, 4, 5)]);
}

#[test]
fn a_pause_ends_when_the_next_attempt_begins() {
    let mut journal = Journal::planned([call("idempotent")]);
    journal.add(starts(1)).add(fails(1, true, true)).add(starts(2)).add(failed(FailureCode::NotApplied));
    let step = journal.step();
    assert_eq!((step.state, step.code), (StepState::Failed, Some(FailureCode::NotApplied)));
    let expected = [
        (SpanKind::Attempt, SpanEnd::Failed, 1030, 1040, 3, 4),
        (SpanKind::Pause, SpanEnd::Done, 1040, 1050, 4, 5),
        (SpanKind::Attempt, SpanEnd::Failed, 1050, 1060, 5, 6),
    ];
    assert_eq!(spans(&step), expected);
}

#[test]
fn what_is_pure_ran_somewhere_between_what_is_recorded() {
    let mut journal = Journal::planned([
        Step::tool("act", "pure", output("before")),
        Step::tool("before", "pure", json!({})),
    ]);
    // The step before ends at 1030. The first attempt fails at 1040, and the next one may begin at 1042.
    journal.add(succeeds("before", 1)).add(fails(1, true, true)).add(succeeds("act", 2));
    let turn = journal.turn();
    let expected = [
        (SpanKind::Unrecorded, SpanEnd::Failed, 1030, 1040, 0, 4),
        (SpanKind::Pause, SpanEnd::Done, 1040, 1042, 4, 0),
        (SpanKind::Unrecorded, SpanEnd::Done, 1042, 1050, 0, 5),
    ];
    assert_eq!(spans(&turn.steps[0]), expected);
    assert_eq!(spans(&turn.steps[1]), [(SpanKind::Unrecorded, SpanEnd::Done, 1020, 1030, 0, 3)]);
}

#[test]
fn a_probe_is_asked_until_it_answers() {
    let mut journal = Journal::planned([call("probed")]);
    journal.add(starts(1)).dies().add(fails(1, false, false));
    let probe = Body::ProbeFailed {
        turn: TURN,
        step: act(),
        reason: "dead line".into(),
        retry_at: Timestamp::from_millis(1500),
    };
    journal.add(probe).add(fails(1, true, false)).add(starts(2));
    let step = journal.step();
    assert_eq!((step.state, step.reason.as_deref()), (StepState::Running, Some("it did not work")));
    let expected = [
        (SpanKind::Attempt, SpanEnd::Interrupted, 1030, 1140, 3, 4),
        (SpanKind::Probe, SpanEnd::Done, 1140, 1160, 4, 6),
        (SpanKind::Pause, SpanEnd::Done, 1160, 1170, 6, 7),
        (SpanKind::Attempt, SpanEnd::Open, 1170, 0, 7, 0),
    ];
    assert_eq!(spans(&step), expected);
}

#[test]
fn what_is_in_doubt_waits_for_an_operator() {
    let mut journal = Journal::planned([call("irreversible")]);
    journal.add(starts(1)).dies().add(in_doubt());
    journal.add(resolved(Resolution::Applied(json!("sent"))));
    let step = journal.step();
    assert_eq!((step.state, step.interruptions), (StepState::Succeeded, 1));
    let expected = [
        (SpanKind::Attempt, SpanEnd::Interrupted, 1030, 1140, 3, 4),
        (SpanKind::InDoubt, SpanEnd::Done, 1140, 1150, 4, 5),
    ];
    assert_eq!(spans(&step), expected);
    assert_eq!(step.spans[1].note.as_deref(), Some(r#"it was applied: "sent""#));

    let mut journal = Journal::planned([call("irreversible")]);
    journal.add(starts(1)).add(in_doubt());
    journal.add(resolved(Resolution::GiveUp)).add(failed(FailureCode::ResolvedNotApplied));
    let step = journal.step();
    assert_eq!(step.spans[0].end, SpanEnd::Unknown, "its process still lived");
    assert_eq!((step.state, step.spans.len()), (StepState::Failed, 2));
}

/// A step that waits for an approval before it acts.
fn asks(tool: Option<&str>) -> Body {
    let tool = tool.map(|tool| ToolName::new(tool).unwrap());
    let expires = Some(Timestamp::from_millis(9000));
    let wait = WaitFor::Approval { digest: Digest::ZERO, tool, shown: payload(json!({})), expires };
    Body::WaitOpened { turn: TURN, step: act(), wait }
}

#[test]
fn an_approval_is_a_wait_before_the_call() {
    let mut journal = Journal::planned([call("irreversible")]);
    let approved =
        Body::WaitEnded { turn: TURN, step: act(), end: WaitEnd::Approved, context: BTreeMap::new() };
    journal.add(asks(Some("irreversible"))).add(approved.clone());
    let step = journal.step();
    assert_eq!((step.state, step.until), (StepState::Approved, None), "it is not done yet");
    assert_eq!(spans(&step), [(SpanKind::Approval, SpanEnd::Done, 1030, 1040, 3, 4)]);

    let mut journal = Journal::planned([Step::approval("act", json!({}))]);
    journal.add(asks(None)).add(approved);
    assert_eq!(journal.step().state, StepState::Succeeded, "nothing is called");

    let mut journal = Journal::planned([call("irreversible")]);
    journal.add(asks(Some("irreversible"))).add(failed(FailureCode::Denied));
    let step = journal.step();
    assert_eq!((step.state, step.code), (StepState::Failed, Some(FailureCode::Denied)));
    assert_eq!(spans(&step), [(SpanKind::Approval, SpanEnd::Failed, 1030, 1040, 3, 4)]);
}

#[test]
fn a_step_stands_behind_those_that_it_needs_and_a_round_behind_the_one_before() {
    let scans = ["files", "notes"].map(|id| Step::tool(id, "pure", json!({})));
    let mut journal = Journal::planned(scans);
    let steps = [
        // In an order that is none of the graph's.
        Step::tool("last", "pure", output("middle")).after(["notes"]),
        Step::tool("middle", "pure", output("first")),
        Step::tool("first", "pure", json!({})),
    ];
    journal.add(adopted(2, steps));
    let turn = journal.turn();
    let depths: Vec<_> = turn.steps.iter().map(|step| (step.id.as_str(), step.round, step.depth)).collect();
    assert_eq!(depths, [("files", 1, 0), ("notes", 1, 0), ("last", 2, 3), ("middle", 2, 2), ("first", 2, 1)]);
    assert_eq!(turn.steps[2].after, [3, 1]);
    assert_eq!(turn.rounds.len(), 2);
}

/// A turn whose only act is undone by a tool named after its class.
fn undoing() -> (Journal, StepId) {
    let mut journal = Journal::planned([call("idempotent")]);
    journal.add(starts(1)).add(succeeds("act", 1));
    let undo = StepId::new("undo:act").unwrap();
    journal.add(Body::UndoPlanned { turn: TURN, steps: [(undo.clone(), act())].into() });
    (journal, undo)
}

fn undo_starts(undo: &StepId, attempt: u32) -> Body {
    match starts(attempt) {
        Body::StepStarted { turn, attempt, input, context_version, key, deadline, .. } => {
            Body::StepStarted { turn, step: undo.clone(), attempt, input, context_version, key, deadline }
        }
        other => other,
    }
}

#[test]
fn what_undoes_a_step_stands_behind_it_and_changes_its_state() {
    let (mut journal, undo) = undoing();
    journal.add(undo_starts(&undo, 1));
    journal.dies().add(undo_starts(&undo, 2)).add(succeeds("undo:act", 2));
    let mut undone = Undone::default();
    undone.undone.push(act());
    journal.add(Body::TurnEnded {
        turn: TURN,
        outcome: Outcome::Failed(Failure::of_step(&act(), FailureCode::NotApplied, "no")),
        answer: None,
        undone: Some(Box::new(undone.clone())),
        joined: Vec::new(),
    });
    let turn = journal.turn();
    let [step, undoing] = turn.steps.as_slice() else { panic!("{:?}", turn.steps) };
    assert_eq!((step.state, step.undoes), (StepState::Undone, None));
    assert_eq!((undoing.undoes, undoing.after.as_slice(), undoing.depth), (Some(0), &[0][..], 1));
    assert_eq!((undoing.action, undoing.name.as_deref()), ("tool", Some("pure")));
    assert_eq!((undoing.state, undoing.interruptions), (StepState::Succeeded, 1));
    assert_eq!(turn.aftermath, Some(undone));
    let end = "not_applied at `act`: no; 1 step undone, nothing is left of it";
    assert_eq!(turn.end.as_deref(), Some(end));
}

#[test]
fn what_can_not_undo_a_step_waits_for_a_person() {
    let (mut journal, undo) = undoing();
    let failure = Failure::of_step(&undo, FailureCode::NotApplied, "the door is shut");
    journal.add(undo_starts(&undo, 1)).add(Body::UndoParked { turn: TURN, step: undo, failure });
    let turn = journal.turn();
    assert_eq!(turn.steps[0].state, StepState::Succeeded, "it stays as it is");
    let step = &turn.steps[1];
    assert_eq!((step.state, step.reason.as_deref()), (StepState::Stuck, Some("the door is shut")));
    let expected = [
        (SpanKind::Attempt, SpanEnd::Failed, 1060, 1070, 6, 7),
        (SpanKind::Stuck, SpanEnd::Open, 1070, 0, 7, 0),
    ];
    assert_eq!(spans(step), expected);
}

#[test]
fn a_turn_says_how_it_ended() {
    let ends = [
        (Outcome::Answered(json!({ "a": 1 })), TurnState::Answered, r#"{"a":1}"#),
        (Outcome::Expired, TurnState::Expired, ""),
        (Outcome::Abandoned { reason: "out of date".into() }, TurnState::Abandoned, "out of date"),
        (
            Outcome::Failed(Failure::of_step(&act(), FailureCode::TooLarge, "much")),
            TurnState::Failed,
            "too_large at `act`: much",
        ),
    ];
    for (outcome, state, end) in ends {
        let mut journal = Journal::new();
        journal.add(started(TURN)).add(Body::TurnEnded {
            turn: TURN,
            outcome,
            answer: None,
            undone: None,
            joined: Vec::new(),
        });
        let turn = journal.turn();
        assert_eq!((turn.state, turn.end.as_deref()), (state, Some(end)));
        assert_eq!(turn.ended, Some(Timestamp::from_millis(1020)));
    }
}
