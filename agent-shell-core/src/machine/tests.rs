//! The fold makes every transition of the table, and no other.

mod interruptions;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::state::StepState;
use super::transition::may_come;
use super::*;
use crate::data::TurnRequest;
use crate::data::{
    Answer, Ask, Body, BodyKind, Delegate, EffectClass, Failure, FailureCode, GuardPlace, LatencyStage,
    MailKind, Outcome, Payload, Plan, PlannerRef, Prompt, Resolution, Said, Say, Step, ToolContract,
    ToolTerms, WaitEnd, WaitFor, input,
};
use crate::words::{
    Digest, Epoch, Limits, MailId, ModelName, Pseudonym, Seq, SessionId, SessionName, SignalName, StepId,
    Subject, Timestamp, ToolName, TurnId,
};

const TURN: TurnId = TurnId::from_bytes([1; 16]);

fn step() -> StepId {
    StepId::new("step").unwrap()
}

fn failure() -> Failure {
    Failure::of_turn(FailureCode::NotApplied, "it did not work")
}

fn waits() -> [WaitFor; 3] {
    let name = SignalName::new("signal").unwrap();
    let shown = Payload::from(Value::Null);
    [
        WaitFor::Approval { digest: Digest::ZERO, tool: None, shown, expires: None },
        WaitFor::Signal { name, expires: None },
        WaitFor::Timer { due: Timestamp::default() },
    ]
}

/// One body of every kind, and of every variety that may lead elsewhere.
fn bodies() -> Vec<Body> {
    let (turn, at, context) = (TURN, Timestamp::default(), Default::default());
    let payload = || Payload::from(json!(1));
    let attempt_failed = |not_applied| Body::AttemptFailed {
        turn,
        step: step(),
        attempt: 1,
        not_applied,
        counts: true,
        reason: String::new(),
        retry_at: at,
    };
    let resolved =
        |resolution| Body::StepResolved { turn, step: step(), resolution, context: Default::default() };
    let wait_ended = |end| Body::WaitEnded { turn, step: step(), end, context: Default::default() };
    let plan = Plan::new([Step::timer("other", std::time::Duration::ZERO)]).unwrap();
    let of_steer = plan.clone();
    let steered = move |at_once| {
        let planner = PlannerRef::Fixed(of_steer.clone());
        let request = Box::new(TurnRequest::new(TurnId::from_bytes([2; 16]), json!(1), planner));
        Body::TurnSteered { turn, request, posted: at, at_once }
    };
    let breached = |step: Option<StepId>| {
        let stage = if step.is_some() { LatencyStage::Tool } else { LatencyStage::Plan };
        Body::LatencyBreached { turn, step, stage, budget_ms: 1, took_ms: 2 }
    };
    let ruled = |place| Body::GuardRuled {
        turn,
        step: step(),
        place,
        digest: Digest::ZERO,
        rulings: Vec::new(),
        value: None,
    };
    vec![
        Body::SessionOpened {
            name: SessionName::new("name").unwrap(),
            subject: Subject::None,
            child_of: None,
        },
        Body::SessionForked {
            parent: SessionId::from_bytes([8; 16]),
            seq: Seq::new(3),
            hash: Digest::ZERO,
            root: SessionId::from_bytes([8; 16]),
            effects: false,
            copies: 0,
            handles_from: 3,
            state: Box::new(carried(&Folded::new(SessionId::from_bytes([8; 16]))).into()),
            calls: Box::new(json!([]).into()),
        },
        Body::TurnStarted {
            turn,
            input: payload(),
            planner: Box::new(PlannerRef::Fixed(plan.clone())),
            posted: at,
            deadline: None,
            wants: None,
            budget: None,
            untrusted: false,
            latency: None,
        },
        breached(None),
        breached(Some(step())),
        Body::PromptSet { turn, digest: Digest::ZERO, prompt: json!(Prompt::default()).into() },
        Body::PlanAdopted { turn, round: 2, plan, more: false, terms: Default::default() },
        Body::PlanAnswered { turn, answer: payload() },
        Body::PlanFailed { turn, failure: failure() },
        Body::WaitOpened { turn, step: step(), wait: waits()[0].clone() },
        wait_ended(WaitEnd::Approved),
        wait_ended(WaitEnd::Signalled(payload())),
        wait_ended(WaitEnd::Fired { late_ms: 0 }),
        Body::StepStarted {
            turn,
            step: step(),
            attempt: 1,
            input: Some(payload()),
            context_version: 0,
            key: String::new(),
            deadline: at,
        },
        attempt_failed(true),
        attempt_failed(false),
        Body::StepOutdated { turn, step: step(), attempt: 1, changed: Vec::new() },
        Body::ProbeFailed { turn, step: step(), reason: String::new(), retry_at: at },
        Body::StepSucceeded { turn, step: step(), attempt: 1, output: payload(), context },
        Body::ModelAnswered {
            turn,
            step: step(),
            attempt: 1,
            answer: json!(Answer::new(vec![Said::text("yes")])).into(),
            view: None,
            context: Default::default(),
        },
        Body::StepFailed { turn, step: step(), failure: failure(), applied: false },
        Body::StepInDoubt { turn, step: step(), attempt: 1, reason: String::new(), not_applied_from: at },
        resolved(Resolution::Applied(json!(1))),
        resolved(Resolution::Retry),
        resolved(Resolution::GiveUp),
        Body::SignalReceived { name: SignalName::new("signal").unwrap(), payload: payload() },
        Body::MailRefused {
            mail: MailId::from_bytes([2; 16]),
            mail_kind: MailKind::Decide,
            turn: None,
            reason: String::new(),
        },
        Body::TurnInterrupted { turn, times: 1, failure: None },
        Body::TurnInterrupted { turn, times: 2, failure: Some(failure()) },
        ruled(GuardPlace::BeforeTool),
        ruled(GuardPlace::BeforeModel),
        ruled(GuardPlace::AfterTool),
        ruled(GuardPlace::AfterModel),
        Body::StepReturned { turn, step: step(), attempt: 1, output: payload(), view: None },
        Body::TurnExpired { turn },
        Body::TurnCancelled { turn, reason: String::new() },
        steered(false),
        steered(true),
        Body::TurnWithdrawn { turn, reason: String::new() },
        Body::UndoPlanned { turn, steps: [(StepId::new("undo:step").unwrap(), step())].into() },
        Body::UndoParked { turn, step: step(), failure: failure() },
        Body::ChildStarted {
            turn,
            step: step(),
            session: SessionId::from_bytes([8; 16]),
            child: TURN,
            input: payload(),
            deadline: None,
        },
        Body::ChildCancelled { turn, step: step() },
        Body::ChildEnded { turn, step: step(), waits: false, applied: false, untrusted: false },
        Body::TurnAnswered { turn, answer: payload() },
        Body::SessionHandedOff { planner: "other".try_into().unwrap(), reason: String::new() },
        Body::SessionPurged { turn: None, open: None },
        Body::TurnEnded { turn, outcome: Outcome::Expired, answer: None, undone: None, joined: Vec::new() },
    ]
}

fn take(state: &mut Folded, body: Body) -> Result<&'static Transition, FoldError> {
    let (seq, epoch, time) = (state.seq.next(), Epoch::new(1), Timestamp::default());
    fold(state, &Entry { seq, epoch, time, actor: Pseudonym::RUNTIME, body })
}

/// A session whose turn has one step: a call of a tool of this class, or a wait.
fn with_step(class: Option<EffectClass>) -> Folded {
    match class {
        Some(_) => with(Step::tool("step", "tool", json!(null)), class),
        None => with(Step::signal("step", "signal"), None),
    }
}

/// A session whose turn asks a model.
fn with_question() -> Folded {
    let ask = Ask::new(ModelName::new("model").unwrap(), Prompt::default(), Say::User(input("")));
    with(Step::model("step", ask.in_conversation(0)), None)
}

/// A session whose turn heeds its context.
fn with_optimistic() -> Folded {
    with(Step::tool("step", "tool", json!(null)).optimistic(), None)
}

/// A session whose turn has a child.
fn with_child() -> Folded {
    let delegate = Delegate::to_planner("planner", json!(null));
    let mut state = with(Step::child("step", delegate), None);
    let (session, turn) = (SessionId::from_bytes([8; 16]), TURN);
    let child = Child { session, turn, cancelled: false, waits: true, applied: true };
    state.turn.as_mut().unwrap().steps[0].child = Some(Box::new(child));
    state
}

fn with(made: Step, class: Option<EffectClass>) -> Folded {
    let mut state = Folded::new(SessionId::from_bytes([7; 16]));
    let tool = ToolName::new("tool").unwrap();
    let plan = Plan::new([made]).unwrap();
    let terms = class.map(|class| {
        let mut contract = ToolContract::new(tool.clone(), "", class, json!({}));
        contract.compensation = Some(tool.clone());
        (tool, ToolTerms::of(&contract, 1_000))
    });
    let input = Payload::from(Value::Null);
    let planner = PlannerRef::Fixed(plan.clone());
    let started = Body::TurnStarted {
        turn: TURN,
        input,
        planner: Box::new(planner),
        posted: Timestamp::default(),
        deadline: None,
        wants: None,
        budget: None,
        untrusted: false,
        latency: None,
    };
    take(&mut state, started).unwrap();
    let terms = terms.into_iter().collect();
    take(&mut state, Body::PlanAdopted { turn: TURN, round: 1, plan, more: true, terms }).unwrap();
    state
}

/// A session in every stage of its own and of a step.
fn states() -> Vec<Folded> {
    let at = Timestamp::default();
    let phases = [
        Phase::Pending,
        Phase::Approved,
        Phase::Started { epoch: Epoch::new(1), seq: Seq::new(1) },
        Phase::Delegated,
        Phase::Paused { until: at },
        Phase::Probing { from: at, tries: 0 },
        Phase::InDoubt { reason: String::new(), not_applied_from: at },
        Phase::Returned(Arc::new(json!(Answer::new(vec![Said::text("yes")])))),
        Phase::Parked { failure: failure() },
        Phase::Succeeded(Default::default()),
        Phase::Failed(failure()),
    ];
    let phases = phases.into_iter().chain(waits().map(Phase::Waiting));
    let empty = Folded::new(SessionId::from_bytes([7; 16]));
    let mut states = vec![empty.clone(), Folded { purged: true, ..empty }];
    for phase in phases {
        let classes = [Some(EffectClass::Idempotent), Some(EffectClass::Probed), None];
        for mut state in
            classes.map(with_step).into_iter().chain([with_question(), with_child(), with_optimistic()])
        {
            let StepState { phase: of_step, .. } = &mut state.turn.as_mut().unwrap().steps[0];
            *of_step = phase.clone();
            states.push(state.clone());
            let turn = state.turn.as_mut().unwrap();
            turn.ending = Some(Ending::Expired);
            if matches!(phase, Phase::Succeeded(_)) {
                turn.to_undo.insert(0);
            }
            states.push(state.clone());
            // As if it undid another.
            state.turn.as_mut().unwrap().steps[0].undoes = Some(0);
            states.push(state.clone());
            state.turn.as_mut().unwrap().steps[0].key = Some("key".into());
            states.push(state);
        }
    }
    states
}

fn stage_for(state: &Folded, body: &Body) -> Option<Stage> {
    match body.step() {
        Some(_) => state.turn.as_ref().map(|turn| turn.steps[0].phase.stage()),
        None => Some(state.stage()),
    }
}

#[test]
fn the_fold_makes_every_transition_of_the_table_and_no_other() {
    let mut made = BTreeSet::new();
    for state in states() {
        for body in bodies() {
            let (stage, record) = (stage_for(&state, &body), body.about());
            let mut after = state.clone();
            match take(&mut after, body.clone()) {
                Ok(row) => {
                    assert_eq!((row.record, Some(row.from)), (record, stage), "{body:?} in {state:?}");
                    assert_eq!(
                        Some(row.to),
                        stage_for(&after, &body).or(Some(Stage::NoTurn)),
                        "{body:?} in {state:?}"
                    );
                    made.insert(*row);
                }
                Err(error) => assert!(!error.problem.is_empty()),
            }
            let is_refused = stage.is_none_or(|stage| !may_come(record, stage));
            assert!(!is_refused || take(&mut state.clone(), body.clone()).is_err(), "{body:?} in {state:?}");
        }
    }
    let table: BTreeSet<Transition> = TRANSITIONS.iter().copied().collect();
    let missing: Vec<String> = table.difference(&made).map(ToString::to_string).collect();
    assert_eq!(missing, [""; 0], "no state of these leads there");
    assert_eq!(made, table);
}

#[test]
fn every_kind_of_record_is_in_the_table() {
    let kinds: BTreeSet<&str> = TRANSITIONS.iter().map(|row| row.record.name()).collect();
    assert_eq!(kinds, Body::KINDS.iter().copied().collect());
    assert_eq!(TRANSITIONS[0].to_string(), "session.opened: no turn -> no turn");
    assert_eq!(BodyKind::COUNT, Body::KINDS.len());
}

#[test]
fn what_took_too_long_is_told_once_for_each_step_and_is_no_progress() {
    let mut state = with_step(Some(EffectClass::Pure));
    (state.epoch, state.turn.as_mut().unwrap().interruptions) = (Epoch::new(7), 3);
    let breach = |step, stage| Body::LatencyBreached { turn: TURN, step, stage, budget_ms: 1, took_ms: 2 };
    for (step, stage) in
        [(None, LatencyStage::Plan), (None, LatencyStage::Append), (Some(step()), LatencyStage::Tool)]
    {
        take(&mut state, breach(step.clone(), stage)).unwrap();
        let again = take(&mut state.clone(), breach(step, stage)).unwrap_err();
        assert_eq!(again.problem, "it was told before");
    }
    assert_eq!((state.epoch, state.turn.as_ref().unwrap().interruptions), (Epoch::new(7), 3));
    let stranger = Some(StepId::new("stranger").unwrap());
    assert!(take(&mut state, breach(stranger, LatencyStage::Tool)).is_err());
}

#[test]
fn nothing_follows_an_end() {
    let ends = |stage: &Stage| matches!(stage, Stage::Succeeded | Stage::Failed | Stage::Purged);
    assert!(TRANSITIONS.iter().all(|row| !ends(&row.from)));
}

#[test]
fn an_act_without_a_lease_does_not_count_against_the_retries() {
    let mut state = with_step(Some(EffectClass::Idempotent));
    let limits = Limits::default();
    for attempt in 1..20 {
        let env = Env {
            epoch: Epoch::new(1),
            now: Timestamp::default(),
            heard: Timestamp::default(),
            limits: &limits,
            random: 7,
            guards: Default::default(),
            latency: None,
        };
        let step = &mut state.turn.as_mut().unwrap().steps[0];
        (step.attempt, step.phase) = (attempt, Phase::Started { epoch: env.epoch, seq: Seq::new(1) });
        let records = react(
            &state,
            Event::Finished { step: 0, attempt, read: 0, end: AttemptEnd::Unleased, took: None },
            &env,
        );
        let [record @ Body::AttemptFailed { not_applied: true, counts: false, .. }] = &records[..] else {
            panic!("{records:?}");
        };
        take(&mut state, record.clone()).unwrap();
        let step = &state.turn.as_ref().unwrap().steps[0];
        assert_eq!((step.failures, step.unknown, step.phase.stage()), (0, false, Stage::Paused));
    }
}
