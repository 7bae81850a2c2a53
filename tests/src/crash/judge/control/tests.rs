//! The judge on records that are as they must be, and on the same ones with one thing doctored.

mod families;

use std::collections::{BTreeMap, BTreeSet};

use agent_shell_core::data::canonical::canonical_digest;
use agent_shell_core::data::{
    Body, Failure, GuardPlace, GuardRuling, Payload, Plan, PlannerRef, Step, ToolTerms, TurnRequest, Undone,
    Verdict as Ruled, WaitEnd, WaitFor,
};
use agent_shell_core::runtime::HistoryEntry;
use agent_shell_core::words::{
    Digest, Epoch, GuardName, PlannerName, Pseudonym, Seq, SessionId, StepId, Timestamp, ToolName, TurnId,
};
use agent_shell_core::{FailureCode, Outcome};
use serde_json::{Value, json};

use super::turn::Turn;
use super::{Acts, Log, acts, guard, hand_off, steer, undo};
use crate::crash::control::tools;
use crate::crash::control::turn::Submission;
use crate::crash::judge::{Rule, Verdict};
use crate::crash::scenario::TurnKey;
use crate::recorder::{Audit, RecorderClient, audit_log};

const SEED: u64 = 1;

fn turn() -> TurnId {
    TurnId::from_bytes([1; 16])
}

fn other() -> TurnId {
    TurnId::from_bytes([2; 16])
}

fn step(id: &str) -> StepId {
    StepId::new(id).unwrap()
}

/// The first key of a session whose turn is submitted so.
fn key(wanted: impl Fn(Submission) -> bool) -> TurnKey {
    let mut all = (0..).map(|number| TurnKey { session: TurnKey::CONTROLS, number });
    all.find(|key| wanted(Submission::draw(SEED, *key))).unwrap()
}

/// What the journal says, and what the recorder saw.
#[derive(Clone, Default)]
struct Scene {
    records: Vec<Body>,
    calls: Vec<Value>,
}

impl Scene {
    /// A turn that runs these steps, all in one round.
    fn planned(steps: impl IntoIterator<Item = Step>) -> Self {
        let plan = Plan::new(steps).unwrap();
        let client = RecorderClient::new("nowhere");
        let tools = tools::tools(&client).into_iter().map(|tool| tool.build().unwrap());
        let terms = tools.map(|tool| {
            let contract = tool.contract();
            (contract.name.clone(), ToolTerms::of(contract, 300))
        });
        let terms: BTreeMap<ToolName, ToolTerms> = terms.collect();
        let started = started(turn(), key(|submission| submission.names && !submission.steers()));
        let adopted = Body::PlanAdopted { turn: turn(), round: 1, plan, more: false, terms };
        Self { records: vec![started, adopted], calls: Vec::new() }
    }

    fn ruled(&mut self, id: &str, place: GuardPlace, on: &Value, verdict: Ruled, value: Option<Value>) {
        let ruling = GuardRuling::new(GuardName::new("keeper").unwrap(), verdict, "");
        self.records.push(Body::GuardRuled {
            turn: turn(),
            step: step(id),
            place,
            digest: canonical_digest(on).unwrap(),
            rulings: vec![ruling],
            value: value.map(Payload::from),
        });
    }

    fn started(&mut self, id: &str, input: &Value) {
        self.records.push(Body::StepStarted {
            turn: turn(),
            step: step(id),
            attempt: 1,
            input: Some(input.clone().into()),
            context_version: 0,
            key: format!("key-{id}"),
            deadline: Timestamp::default(),
        });
    }

    /// The recorder applies a call.
    fn acted(&mut self, id: &str, class: &str, payload: Value) {
        let number = self.calls.len() + 1;
        self.calls.push(json!({ "call": {
            "effect": {
                "class": class, "turn": turn(), "step": id, "key": format!("key-{id}"), "epoch": 1, "attempt": 1,
                "payload": payload,
            },
            "outcome": { "applied": { "number": number } },
            "at_ms": number,
        } }));
    }

    fn succeeded(&mut self, id: &str, output: &Value) {
        let (output, context) = (output.clone().into(), BTreeMap::new());
        self.records.push(Body::StepSucceeded { turn: turn(), step: step(id), attempt: 1, output, context });
    }

    fn failed(&mut self, id: &str, code: FailureCode) {
        let failure = Failure::of_step(&step(id), code, "");
        self.records.push(Body::StepFailed { turn: turn(), step: step(id), failure, applied: false });
    }

    /// A call that is allowed, acts, and brings what it brings.
    fn done(&mut self, id: &str, class: &str) {
        let (input, output) = (json!({ "own": 0, "of": [], "refuse": false }), json!({ "n": 0 }));
        self.ruled(id, GuardPlace::BeforeTool, &input, Ruled::Allowed, None);
        self.started(id, &input);
        self.acted(id, class, json!({ "input": input }));
        let returned = output.clone().into();
        self.records.push(Body::StepReturned {
            turn: turn(),
            step: step(id),
            attempt: 1,
            output: returned,
            view: None,
        });
        self.ruled(id, GuardPlace::AfterTool, &output, Ruled::Allowed, None);
        self.succeeded(id, &output);
    }

    fn undone(&mut self, id: &str, of: &str, class: &str) {
        self.records.push(Body::UndoPlanned { turn: turn(), steps: [(step(id), step(of))].into() });
        let input = json!({ "own": 0, "of": [], "refuse": false });
        self.started(id, &json!({ "key": format!("key-{of}"), "input": input, "output": { "n": 0 } }));
        self.acted(id, class, json!({ "undoes": format!("key-{of}"), "input": input }));
        self.succeeded(id, &Value::Null);
    }

    fn cancelled(&mut self) {
        self.records.push(Body::TurnCancelled { turn: turn(), reason: String::new() });
    }

    fn ended(&mut self, outcome: Outcome, undone: &[&str], left: &[&str]) {
        let mut all = Undone::default();
        all.undone = undone.iter().map(|id| step(id)).collect();
        all.left = left.iter().map(|id| step(id)).collect();
        let undone = (!all.is_empty()).then(|| Box::new(all));
        self.records.push(Body::TurnEnded { turn: turn(), outcome, answer: None, undone, joined: vec![] });
    }

    fn log(&self) -> Log {
        log_of(SessionId::from_bytes([9; 16]), &self.records)
    }

    fn audit(&self) -> Audit {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text: String = self.calls.iter().map(|call| format!("{call}\n")).collect();
        std::fs::write(file.path(), text).unwrap();
        audit_log(file.path()).unwrap()
    }

    /// The rules that were broken.
    fn judged(&self) -> BTreeSet<Rule> {
        let (audit, people) = (self.audit(), [Pseudonym::RUNTIME].into());
        let of_world = Acts { audit: &audit, people: &people, stops: false };
        let (log, mut verdict) = (self.log(), Verdict::default());
        steer::check(SEED, 1, &log, &of_world, &mut verdict);
        hand_off::check(SEED, &log, &mut verdict);
        let judge = |turn: &Turn, verdict: &mut Verdict| {
            acts::check(turn, &of_world, verdict);
            undo::check(turn, &of_world, verdict);
            guard::check(turn, &of_world, verdict);
        };
        log.turns.iter().for_each(|turn| judge(turn, &mut verdict));
        verdict.violations.iter().map(|violation| violation.rule).collect()
    }

    /// The same with something doctored, and the rules that that breaks.
    #[track_caller]
    fn doctored(&self, rules: impl IntoIterator<Item = Rule>, change: impl FnOnce(&mut Self)) {
        let mut doctored = self.clone();
        change(&mut doctored);
        assert_eq!(doctored.judged(), rules.into_iter().collect());
    }

    fn without_records_of(&mut self, id: &str) {
        let names = |body: &Body| match body {
            Body::UndoPlanned { steps, .. } => steps.contains_key(&step(id)),
            body => body.step() == Some(&step(id)),
        };
        self.records.retain(|body| !names(body));
    }

    fn without_calls_of(&mut self, id: &str) {
        self.calls.retain(|call| call["call"]["effect"]["step"] != id);
    }
}

/// A session with these records.
fn log_of(id: SessionId, records: &[Body]) -> Log {
    let entries = records.iter().zip(1..).map(|(body, seq)| HistoryEntry {
        seq: Seq::new(seq),
        epoch: Epoch::new(1),
        time: Timestamp::default(),
        actor: Pseudonym::RUNTIME,
        body: body.clone(),
    });
    Log::new(id, entries.collect())
}

fn started(turn: TurnId, key: TurnKey) -> Body {
    let planner = match Submission::draw(SEED, key) {
        Submission { names: true, .. } => "controlled",
        _ => "default",
    };
    Body::TurnStarted {
        turn,
        input: json!(key).into(),
        planner: Box::new(PlannerRef::Named(PlannerName::new(planner).unwrap())),
        posted: Timestamp::default(),
        deadline: None,
        wants: None,
        budget: None,
        untrusted: false,
        latency: None,
    }
}

/// Two steps, the second with what the first brought, both undone.
fn undone() -> Scene {
    let steps = [Step::tool("a", "rent", json!({})), Step::tool("b", "seat", json!({})).after(["a"])];
    let mut scene = Scene::planned(steps);
    scene.done("a", "idempotent");
    scene.done("b", "probed");
    scene.cancelled();
    scene.undone("undo:b", "b", "probed");
    scene.undone("undo:a", "a", "idempotent");
    scene.ended(Outcome::Cancelled, &["b", "a"], &[]);
    scene
}

#[test]
fn what_is_undone_in_reverse_breaks_nothing() {
    assert_eq!(undone().judged(), BTreeSet::new());
}

#[test]
fn what_is_not_undone_or_undone_in_another_way_is_found() {
    let scene = undone();
    // Nothing undoes it, and the end says so; or says nothing of it.
    scene.doctored([Rule::Undo], |scene| {
        scene.without_records_of("undo:a");
        scene.without_calls_of("undo:a");
        scene.records.pop();
        scene.ended(Outcome::Cancelled, &["b"], &["a"]);
    });
    scene.doctored([Rule::Undo], |scene| {
        scene.records.pop();
        scene.ended(Outcome::Cancelled, &["a", "b"], &[]);
    });
    // In the world it did not happen, happened twice, or under another name.
    scene.doctored([Rule::Effect], |scene| scene.without_calls_of("undo:a"));
    scene.doctored([Rule::Undo], |scene| {
        scene.calls[3]["call"]["effect"]["payload"]["undoes"] = json!("key-b");
    });
    // Undone in the order in which it was done.
    scene.doctored([Rule::Undo], |scene| {
        let before = scene.records.len() - 7;
        let mut undoing = scene.records.split_off(before);
        undoing.pop();
        scene.records.extend(undoing.split_off(3).into_iter().chain(undoing));
        scene.ended(Outcome::Cancelled, &["a", "b"], &[]);
    });
    // In that order in the world alone.
    scene.doctored([Rule::Undo], |scene| {
        scene.calls[2]["call"]["at_ms"] = json!(9);
    });
    // Undone twice, each time by a step of its own.
    scene.doctored([Rule::Undo], |scene| {
        scene.records.pop();
        scene.undone("undo:c", "a", "idempotent");
        scene.ended(Outcome::Cancelled, &["b", "a", "a"], &[]);
    });
    // Undone although the turn has answered.
    scene.doctored([Rule::Undo], |scene| {
        scene.records.retain(|body| !matches!(body, Body::TurnCancelled { .. } | Body::TurnEnded { .. }));
        scene.ended(Outcome::Answered(json!(1)), &[], &[]);
    });
}

#[test]
fn what_did_not_happen_and_is_undone_is_found() {
    let mut scene = Scene::planned([Step::tool("a", "rent", json!({}))]);
    let input = json!({ "own": 0, "of": [], "refuse": true });
    scene.ruled("a", GuardPlace::BeforeTool, &input, Ruled::Allowed, None);
    scene.started("a", &input);
    scene.failed("a", FailureCode::NotApplied);
    let ended = |scene: &mut Scene, undone: &[&str]| {
        let failure = Failure::of_step(&step("a"), FailureCode::NotApplied, "");
        scene.ended(Outcome::Failed(failure), undone, &[]);
    };
    scene.doctored([], |scene| ended(scene, &[]));
    scene.doctored([Rule::Undo], |scene| {
        scene.undone("undo:a", "a", "idempotent");
        ended(scene, &["a"]);
    });
}

#[test]
fn a_compensation_that_is_given_up_or_done_by_hand_is_told() {
    use agent_shell_core::Resolution;
    let mut scene = Scene::planned([Step::tool("a", "rent", json!({}))]);
    scene.done("a", "idempotent");
    scene.cancelled();
    scene.undone("undo:a", "a", "idempotent");
    scene.calls.pop();
    scene.records.pop();
    let failure = Failure::of_step(&step("undo:a"), FailureCode::NotApplied, "");
    scene.records.push(Body::UndoParked { turn: turn(), step: step("undo:a"), failure });
    let by_hand = Body::StepResolved {
        turn: turn(),
        step: step("undo:a"),
        resolution: Resolution::Applied(Value::Null),
        context: BTreeMap::new(),
    };
    let by_hand = |scene: &mut Scene| {
        scene.records.push(by_hand);
        scene.ended(Outcome::Cancelled, &["a"], &[]);
    };
    scene.doctored([], by_hand.clone());
    scene.doctored([Rule::Effect], |scene| {
        scene.acted("undo:a", "idempotent", json!({ "undoes": "key-a" }));
        by_hand(scene);
    });
    let given_up = |scene: &mut Scene, left: &[&str]| {
        scene.failed("undo:a", FailureCode::ResolvedNotApplied);
        scene.ended(Outcome::Cancelled, &[], left);
    };
    scene.doctored([], |scene| given_up(scene, &["a"]));
    scene.doctored([Rule::Undo], |scene| given_up(scene, &[]));
}

#[test]
fn what_is_called_otherwise_than_guards_ruled_is_found() {
    let (input, put) = (json!({ "own": 3, "of": [] }), json!({ "own": 19, "of": [] }));
    let call = |verdict: Ruled, value: Option<&Value>, with: Option<&Value>, approved: Option<&Value>| {
        let mut scene = Scene::planned([Step::tool("a", "mark", json!({})).may_fail()]);
        scene.ruled("a", GuardPlace::BeforeTool, &input, verdict, value.cloned());
        if let Some(shown) = approved {
            let (tool, shown) = (Some(ToolName::new("mark").unwrap()), shown.clone().into());
            let wait = WaitFor::Approval { digest: Digest::of("call"), tool, shown, expires: None };
            scene.records.push(Body::WaitOpened { turn: turn(), step: step("a"), wait });
            let (end, context) = (WaitEnd::Approved, BTreeMap::new());
            scene.records.push(Body::WaitEnded { turn: turn(), step: step("a"), end, context });
        }
        if let Some(with) = with {
            scene.started("a", with);
            scene.acted("a", "idempotent", json!({ "input": with }));
            let output: Payload = json!(1).into();
            let (turn, step) = (turn(), step("a"));
            scene.records.push(Body::StepReturned { turn, step, attempt: 1, output, view: None });
            scene.ruled("a", GuardPlace::AfterTool, &json!(1), Ruled::Allowed, None);
            scene.succeeded("a", &json!(1));
        } else {
            scene.failed("a", FailureCode::Guard);
        }
        scene.ended(Outcome::Answered(json!(1)), &[], &[]);
        scene
    };
    assert_eq!(call(Ruled::Denied, None, None, None).judged(), BTreeSet::new());
    assert_eq!(call(Ruled::Failed, None, Some(&input), None).judged(), [Rule::Guard].into());
    assert_eq!(call(Ruled::Rewritten, Some(&put), Some(&put), None).judged(), BTreeSet::new());
    assert_eq!(call(Ruled::Rewritten, Some(&put), Some(&input), None).judged(), [Rule::Guard].into());
    assert_eq!(call(Ruled::Allowed, None, Some(&put), None).judged(), [Rule::Guard].into());
    assert_eq!(call(Ruled::Asked, None, Some(&input), Some(&input)).judged(), BTreeSet::new());
    assert_eq!(call(Ruled::Asked, None, Some(&input), Some(&put)).judged(), [Rule::Guard].into());
    assert_eq!(call(Ruled::Allowed, None, Some(&input), Some(&input)).judged(), [Rule::Guard].into());
    assert_eq!(call(Ruled::Asked, None, Some(&input), None).judged(), [Rule::Guard, Rule::Person].into());
    let allowed = call(Ruled::Allowed, None, Some(&input), None);
    assert_eq!(allowed.judged(), BTreeSet::new());
    allowed.doctored([Rule::Guard], |scene| {
        scene.ruled("a", GuardPlace::BeforeTool, &input, Ruled::Allowed, None);
    });
    allowed.doctored([Rule::Guard], |scene| drop(scene.records.remove(2)));
    // It told the world something else than its record says.
    allowed.doctored([Rule::Guard], |scene| {
        scene.calls[0]["call"]["effect"]["payload"]["input"] = put.clone();
    });
    // What it brought is not what guards left of it.
    allowed.doctored([Rule::Guard], |scene| {
        let at = scene.records.len() - 2;
        scene.records.truncate(at);
        scene.succeeded("a", &json!(2));
        scene.ended(Outcome::Answered(json!(1)), &[], &[]);
    });
    allowed.doctored([Rule::Guard], |scene| drop(scene.records.remove(5)));
}

fn said(to: TurnId, what: TurnId, key: TurnKey, at_once: bool) -> Body {
    let planner = PlannerRef::Named(PlannerName::new("default").unwrap());
    let request = Box::new(TurnRequest::new(what, json!(key), planner));
    Body::TurnSteered { turn: to, request, posted: Timestamp::default(), at_once }
}

/// A turn to which something is said, which gives up a step for it, takes it up and ends with it.
fn steered() -> Scene {
    let mut scene = Scene::planned([Step::tool("a", "mark", json!({}))]);
    let says = key(|submission| submission.steers() && !submission.names);
    scene.records.push(said(turn(), other(), says, true));
    scene.failed("a", FailureCode::Superseded);
    let plan = Plan::builder().step(Step::tool("b", "mark", json!({}))).takes_up(1).build().unwrap();
    let (turn, terms) = (turn(), BTreeMap::new());
    scene.records.push(Body::PlanAdopted { turn, round: 2, plan, more: false, terms });
    scene.done("b", "idempotent");
    scene.ended(Outcome::Answered(json!(1)), &[], &[]);
    if let Some(Body::TurnEnded { joined, .. }) = scene.records.last_mut() {
        joined.push(other());
    }
    scene
}

#[test]
fn what_is_said_and_is_in_no_turn_or_in_two_is_found() {
    let scene = steered();
    let says = key(|submission| submission.steers() && !submission.names);
    assert_eq!(scene.judged(), BTreeSet::new());
    let joins_nothing = |scene: &mut Scene| {
        if let Some(Body::TurnEnded { joined, .. }) = scene.records.last_mut() {
            joined.clear();
        }
    };
    let own = |scene: &mut Scene| {
        scene.records.push(started(other(), says));
        let (turn, outcome) = (other(), Outcome::Answered(json!(2)));
        scene.records.push(Body::TurnEnded { turn, outcome, answer: None, undone: None, joined: vec![] });
    };
    scene.doctored([Rule::Steer], joins_nothing);
    scene.doctored([], |scene| {
        joins_nothing(scene);
        own(scene);
    });
    scene.doctored([Rule::Steer], own);
    scene.doctored([Rule::Steer], |scene| scene.records.insert(3, said(turn(), other(), says, true)));
    // Another turn came before it.
    scene.doctored([Rule::Steer], |scene| {
        joins_nothing(scene);
        let queued = key(|submission| submission.names && !submission.steers());
        scene.records.push(started(TurnId::from_bytes([3; 16]), TurnKey { number: queued.number, ..queued }));
        let (turn, outcome) = (TurnId::from_bytes([3; 16]), Outcome::Answered(json!(2)));
        scene.records.push(Body::TurnEnded { turn, outcome, answer: None, undone: None, joined: vec![] });
        own(scene);
    });
    // No plan took it up, and it has ended with the turn.
    scene.doctored([Rule::Steer], |scene| {
        let adopted = |body: &Body| matches!(body, Body::PlanAdopted { round: 2, .. });
        scene.records.retain(|body| !adopted(body) && body.step() != Some(&step("b")));
        scene.calls.clear();
    });
}

#[test]
fn what_is_given_up_although_it_had_begun_is_found() {
    let scene = steered();
    let input = json!({ "own": 0, "of": [] });
    let begun = |scene: &mut Scene, at: usize| {
        let mut aside = Scene::default();
        aside.ruled("a", GuardPlace::BeforeTool, &input, Ruled::Allowed, None);
        aside.started("a", &input);
        scene.records.splice(at..at, aside.records);
    };
    scene.doctored([Rule::Steer], |scene| begun(scene, 2));
    scene.doctored([Rule::Steer], |scene| begun(scene, 4));
    scene.doctored([Rule::Effect, Rule::Intent, Rule::Key, Rule::Steer], |scene| {
        scene.acted("a", "idempotent", json!({}));
    });
    // Nobody had interrupted.
    scene.doctored([Rule::Steer], |scene| {
        let says = key(|submission| submission.steers() && !submission.names);
        scene.records[2] = said(turn(), other(), says, false);
    });
}

#[test]
fn what_is_said_in_another_order_is_found() {
    let steers = |submission: Submission| submission.steers() && !submission.names;
    let first = key(steers);
    let second = key(|submission| steers(submission) && submission != Submission::draw(SEED, first));
    let said_so = |order: [TurnKey; 2]| {
        let mut scene = Scene::planned([Step::tool("a", "peek", json!({}))]);
        for (key, id) in order.into_iter().zip([3, 4]) {
            scene.records.push(said(turn(), TurnId::from_bytes([id; 16]), key, false));
            let (turn, reason) = (TurnId::from_bytes([id; 16]), String::new());
            scene.records.push(Body::TurnWithdrawn { turn, reason });
        }
        scene.ended(Outcome::Answered(json!(1)), &[], &[]);
        scene.judged()
    };
    assert_eq!(said_so([first, second]), BTreeSet::new());
    assert_eq!(said_so([second, first]), [Rule::Steer].into());
}

#[test]
fn a_turn_of_another_planner_than_the_one_it_was_handed_to_is_found() {
    let by_default = key(|submission| !submission.names && !submission.steers());
    let mut scene = Scene::default();
    let planner = PlannerName::new("other").unwrap();
    scene.records.push(Body::SessionHandedOff { planner: planner.clone(), reason: String::new() });
    scene.records.push(started(turn(), by_default));
    scene.ended(Outcome::Answered(json!(1)), &[], &[]);
    assert_eq!(scene.judged(), [Rule::HandOff].into());
    if let Body::TurnStarted { planner: planned, .. } = &mut scene.records[1] {
        **planned = PlannerRef::Named(planner);
    }
    assert_eq!(scene.judged(), BTreeSet::new());
}
