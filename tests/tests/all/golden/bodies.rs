//! What the lines of `records-v1.jsonl` say, in their order: every kind of body, and every variant inside.

use std::collections::BTreeMap;
use std::time::Duration;

use agent_shell_core::data::{
    Answer, AnswerFormat, Ask, Body, CallResult, Ceiling, EffectClass, Failure, FailureCode, Finish,
    GuardPlace, GuardRuling, LatencyBudgets, LatencyStage, MailKind, Opaque, OpenAct, Outcome, Payload, Plan,
    PlannerRef, Prompt, PromptRef, Reducer, RequirementId, Resolution, ResultOf, Retry, Said, Say, Step,
    Template, ToolCall, ToolContract, ToolSpec, ToolTerms, TurnRequest, Undone, Verdict, WaitEnd, WaitFor,
    context, from, input, output,
};
use agent_shell_core::words::{
    ContextKey, Digest, MailId, ModelName, PlannerName, Seq, SessionId, SessionName, SignalName, StepId,
    Subject, Timestamp, ToolName, TurnId, UserId,
};
use serde_json::{Value, json};

pub(super) const TURN: TurnId = TurnId::from_bytes([3; 16]);
pub(super) const AT: Timestamp = Timestamp::from_millis(1_764_000_000_000);
pub(super) const LATER: Timestamp = Timestamp::from_millis(1_764_000_060_000);

/// Every body of the file.
pub(super) fn bodies() -> Vec<Body> {
    let mut bodies = opened();
    bodies.extend(planned());
    bodies.extend(waits());
    bodies.extend(attempts());
    bodies.extend(ends());
    bodies.extend(asked());
    bodies.extend(guarded());
    bodies.extend(undoing());
    bodies.extend(forked());
    bodies.extend(super::children::bodies());
    bodies.extend(steered());
    bodies.extend(timed());
    bodies
}

pub(super) const PARENT: SessionId = SessionId::from_bytes([4; 16]);

/// What a fork without effects begins with, small and large.
pub(super) fn forked() -> Vec<Body> {
    let state = json!({
        "signals": [["payment", { "cents": 5 }]],
        "talk": {
            "first": 3,
            "messages": [
                { "bytes": 27, "message": { "user": [{ "text": "hello" }] } },
                { "bytes": 30, "message": { "model": [{ "text": { "text": "hello" } }] }, "untrusted": true },
            ],
            "prompts": [[Digest::from_bytes([9; 32]), { "instructions": "You refund orders.", "settings": { "output_tokens": 4_096 } }, 60]],
        },
        "turns": 2,
    });
    let call = |end: Value| json!({ "call": Digest::from_bytes([7; 32]), "end": end, "tool": "charge" });
    let calls = json!([
        call(json!({ "succeeded": value() })),
        call(json!({ "failed": { "code": "denied", "message": "not today", "step": "charge" } })),
    ]);
    let forked = |effects, state, calls| Body::SessionForked {
        parent: PARENT,
        seq: Seq::new(17),
        hash: Digest::from_bytes([8; 32]),
        root: PARENT,
        effects,
        copies: 0,
        handles_from: 17,
        state: Box::new(state),
        calls: Box::new(calls),
    };
    let code = FailureCode::EffectsOff;
    vec![
        forked(false, state.into(), calls.into()),
        forked(true, blob(), json!([]).into()),
        Body::StepFailed {
            turn: TURN,
            step: step("charge"),
            failure: Failure::of_step(&step("charge"), code, "it failed"),
            applied: false,
        },
        Body::MailRefused {
            mail: MailId::from_bytes([6; 16]),
            mail_kind: MailKind::Fork,
            turn: None,
            reason: "the turn has ended".into(),
        },
    ]
}

pub(super) fn step(name: &str) -> StepId {
    StepId::new(name).unwrap()
}

/// Numbers of all forms, texts of all kinds.
pub(super) fn value() -> Value {
    json!({
        "fraction": 2.5,
        "large": u64::MAX,
        "negative": i64::MIN,
        "nested": [{ "a": null, "b": true }, [], {}],
        "small": 1e-7,
        "text": "ä€𝄞 \"quoted\" \\ \n\u{1f}/",
    })
}

pub(super) fn blob() -> Payload {
    Payload::Blob { address: Digest::from_bytes([8; 32]), bytes: 40_000 }
}

fn context_values() -> BTreeMap<ContextKey, Value> {
    [("list", json!(["a", 1])), ("sum", json!(-7))]
        .map(|(key, value)| (ContextKey::new(key).unwrap(), value))
        .into()
}

fn opened() -> Vec<Body> {
    let opened = |name: &str, subject| Body::SessionOpened {
        name: SessionName::new(name).unwrap(),
        subject,
        child_of: None,
    };
    let started = |input, planner, deadline| Body::TurnStarted {
        turn: TURN,
        input,
        planner: Box::new(planner),
        posted: AT,
        deadline,
        wants: None,
        budget: None,
        untrusted: false,
        latency: None,
    };
    let named = PlannerRef::Named(PlannerName::new("default").unwrap());
    vec![
        opened("customer-42", Subject::User(UserId::new("ada@example.org").unwrap())),
        opened("nightly", Subject::None),
        started(value().into(), named, None),
        started(blob(), PlannerRef::Fixed(small_plan()), Some(LATER)),
    ]
}

pub(super) fn small_plan() -> Plan {
    Plan::new([Step::tool("only", "charge", json!({ "cents": 900 }))]).unwrap()
}

/// Every action, template and reducer, and every setting of a step.
fn large_plan() -> Plan {
    let retry = Retry { attempts: 2, base_ms: 10, max_ms: 1_000 };
    let deadline = Duration::from_millis(2_500);
    let steps = [
        Step::tool("search", "search", Template::object([("all", input("")), ("part", input("/query"))]))
            .writes("found", Reducer::Union, "/ids")
            .writes("most", Reducer::Max, "/score")
            .writes("least", Reducer::Min, "/score")
            .writes("total", Reducer::Sum, "/count"),
        Step::tool("charge", "charge", Template::list([output("search"), from("search", "/ids/0")]))
            .lock("account")
            .retry(retry)
            .attempt_deadline(deadline)
            .writes("log", Reducer::Append, "")
            .writes("last", Reducer::Replace, ""),
        Step::approval("ask", context("total")).after(["search"]).expires(deadline),
        Step::approval("ask-for-ever", value()).after(["before"]),
        Step::signal("paid", "payment").expires(deadline),
        Step::signal("shipped", "parcel"),
        Step::timer("nap", deadline),
        Step::timer_at("noon", LATER),
        Step::tool("letter", "post", Value::Null).held(),
    ];
    Plan::builder().steps(steps).earlier([step("before")]).answer(output("charge")).build().unwrap()
}

fn terms() -> BTreeMap<ToolName, ToolTerms> {
    let of = |name: &str, class, change: &dyn Fn(&mut ToolTerms)| {
        let name = ToolName::new(name).unwrap();
        let mut terms = ToolTerms::of(&ToolContract::new(name.clone(), "", class, json!({})), 30_000);
        terms.requirement = RequirementId(Digest::from_bytes([9; 32]));
        change(&mut terms);
        (name, terms)
    };
    let asks = |terms: &mut ToolTerms| (terms.ask_first, terms.approval_ms) = (true, Some(60_000));
    BTreeMap::from([
        of("search", EffectClass::Pure, &|_| ()),
        of("charge", EffectClass::Idempotent, &asks),
        of("ship", EffectClass::Probed, &|terms| terms.version = 3),
        of("post", EffectClass::Irreversible, &|terms| terms.held = true),
    ])
}

fn planned() -> Vec<Body> {
    vec![
        Body::PlanAdopted { turn: TURN, round: 1, plan: large_plan(), more: true, terms: terms() },
        Body::PlanAdopted { turn: TURN, round: 2, plan: small_plan(), more: false, terms: BTreeMap::new() },
        Body::PlanAnswered { turn: TURN, answer: json!("done").into() },
        Body::PlanAnswered { turn: TURN, answer: blob() },
        Body::PlanFailed { turn: TURN, failure: Failure::of_turn(FailureCode::Planner, "no idea") },
    ]
}

fn waits() -> Vec<Body> {
    let opened = |name: &str, wait| Body::WaitOpened { turn: TURN, step: step(name), wait };
    let digest = Digest::from_bytes([7; 32]);
    let tool = Some(ToolName::new("charge").unwrap());
    let ended = |name: &str, end, context| Body::WaitEnded { turn: TURN, step: step(name), end, context };
    let signal = |expires| WaitFor::Signal { name: SignalName::new("payment").unwrap(), expires };
    vec![
        opened("charge", WaitFor::Approval { digest, tool, shown: value().into(), expires: Some(LATER) }),
        opened("ask", WaitFor::Approval { digest, tool: None, shown: blob(), expires: None }),
        opened("paid", signal(Some(LATER))),
        opened("paid", signal(None)),
        opened("nap", WaitFor::Timer { due: LATER }),
        ended("charge", WaitEnd::Approved, BTreeMap::new()),
        ended("paid", WaitEnd::Signalled(value().into()), context_values()),
        ended("paid", WaitEnd::Signalled(blob()), BTreeMap::new()),
        ended("nap", WaitEnd::Fired { late_ms: 12 }, BTreeMap::new()),
        Body::SignalReceived { name: SignalName::new("payment").unwrap(), payload: value().into() },
        Body::SignalReceived { name: SignalName::new("payment").unwrap(), payload: blob() },
    ]
}

fn attempts() -> Vec<Body> {
    let started = |attempt, input| Body::StepStarted {
        turn: TURN,
        step: step("charge"),
        attempt,
        input,
        context_version: 4,
        key: "000102030405060708090a0b0c0d0e0f".into(),
        deadline: LATER,
    };
    let attempt_failed = |not_applied, counts| Body::AttemptFailed {
        turn: TURN,
        step: step("charge"),
        attempt: 1,
        not_applied,
        counts,
        reason: "cut off".into(),
        retry_at: LATER,
    };
    let succeeded = |output, context| Body::StepSucceeded {
        turn: TURN,
        step: step("charge"),
        attempt: 2,
        output,
        context,
    };
    let resolved =
        |resolution, context| Body::StepResolved { turn: TURN, step: step("charge"), resolution, context };
    let reason = || "the line went dead".to_owned();
    let changed = || ["list", "sum"].map(|key| ContextKey::new(key).unwrap()).to_vec();
    vec![
        started(1, Some(value().into())),
        started(1, Some(blob())),
        started(2, None),
        attempt_failed(true, true),
        attempt_failed(false, false),
        Body::StepOutdated { turn: TURN, step: step("charge"), attempt: 2, changed: changed() },
        Body::ProbeFailed { turn: TURN, step: step("ship"), reason: reason(), retry_at: LATER },
        succeeded(value().into(), context_values()),
        succeeded(blob(), BTreeMap::new()),
        Body::StepInDoubt {
            turn: TURN,
            step: step("post"),
            attempt: 1,
            reason: reason(),
            not_applied_from: LATER,
        },
        resolved(Resolution::Applied(value()), context_values()),
        resolved(Resolution::Retry, BTreeMap::new()),
        resolved(Resolution::GiveUp, BTreeMap::new()),
    ]
}

fn ends() -> Vec<Body> {
    let codes = [
        FailureCode::NotApplied,
        FailureCode::InvalidArguments,
        FailureCode::UnresolvedInput,
        FailureCode::DeadlineExceeded,
        FailureCode::TooLarge,
        FailureCode::Denied,
        FailureCode::Expired,
        FailureCode::ResolvedNotApplied,
        FailureCode::Panicked,
        FailureCode::Planner,
        FailureCode::Context,
        FailureCode::Skipped,
        FailureCode::Unreadable,
        FailureCode::Interrupted,
    ];
    let failure = |code| Failure::of_step(&step("charge"), code, "it failed");
    let failed =
        |code| Body::StepFailed { turn: TURN, step: step("charge"), failure: failure(code), applied: false };
    let kinds = [MailKind::Submit, MailKind::Decide, MailKind::Signal, MailKind::Resolve, MailKind::Abandon];
    let refused = |mail_kind| Body::MailRefused {
        mail: MailId::from_bytes([6; 16]),
        mail_kind,
        turn: (mail_kind == MailKind::Submit).then_some(TURN),
        reason: "the turn has ended".into(),
    };
    let of_turn = Failure::of_turn(FailureCode::Interrupted, "it failed");
    let ended =
        |outcome, answer| Body::TurnEnded { turn: TURN, outcome, answer, undone: None, joined: Vec::new() };
    let mut bodies: Vec<Body> = codes.into_iter().map(failed).chain(kinds.into_iter().map(refused)).collect();
    bodies.extend([
        Body::TurnInterrupted { turn: TURN, times: 1, failure: None },
        Body::TurnInterrupted { turn: TURN, times: 2, failure: Some(of_turn) },
        Body::TurnExpired { turn: TURN },
        ended(Outcome::Answered(Value::Null), Some(value().into())),
        ended(Outcome::Answered(Value::Null), Some(blob())),
        ended(Outcome::Answered(value()), None),
        ended(Outcome::Failed(failure(FailureCode::NotApplied)), None),
        ended(Outcome::Cancelled, None),
        ended(Outcome::Expired, None),
        ended(Outcome::Abandoned { reason: "out of date".into() }, None),
        ended(Outcome::Purged, None),
        Body::SessionPurged { turn: None, open: None },
        Body::SessionPurged { turn: Some(TURN), open: Some(vec![open_act()]) },
    ]);
    bodies
}

fn open_act() -> OpenAct {
    let deadline = Timestamp::from_millis(1_764_000_060_000);
    let key = "00112233445566778899aabbccddeeff".to_owned();
    OpenAct::new("charge".try_into().unwrap(), EffectClass::Irreversible, key, 2, deadline)
}

/// What models are asked and answer.
fn asked() -> Vec<Body> {
    let form = AnswerFormat::new("Refund", json!({ "type": "object" }));
    let named = PlannerRef::Named(PlannerName::new("default").unwrap());
    let wants = Some(Box::new(form.clone()));
    let started = Body::TurnStarted {
        turn: TURN,
        input: value().into(),
        planner: Box::new(named),
        posted: AT,
        deadline: None,
        wants,
        budget: Some(Box::new(Ceiling { nano_usd: Some(5_000_000), ..Ceiling::NONE })),
        untrusted: false,
        latency: None,
    };
    let mut prompt = Prompt::new("You refund orders.");
    prompt.tools =
        vec![ToolSpec::new(ToolName::new("refund").unwrap(), "Refunds", json!({ "type": "object" }))];
    prompt.answer = Some(form);
    prompt.settings.thinking_tokens = Some(1_024);
    prompt.settings.temperature = Some(0.5);
    prompt.settings.further.insert("seed".into(), json!(7));
    let digest = prompt.digest().unwrap();
    let ask = |say, first: Option<u64>| {
        let mut ask = Ask::new(ModelName::new("large").unwrap(), Prompt::default(), say);
        ask.prompt = PromptRef::Recorded(digest);
        match first {
            Some(first) => ask.in_conversation(first).handles_above(Some(4_096)),
            None => ask,
        }
    };
    let result = |of| CallResult::new("c1", "refund", of);
    let rejected = ResultOf::Rejected("there is no such tool".into());
    let results = Say::Results(vec![result(ResultOf::Step(step("call"))), result(rejected)]);
    let plan = Plan::new([
        Step::tool("call", "refund", json!({ "cents": 900 })).may_fail(),
        Step::model("alone", ask(Say::User(input("/question")), None)),
        Step::model("user", ask(Say::User(input("")), Some(3))),
        Step::model("results", ask(results, Some(3))).after(["user"]),
        Step::model("correction", ask(Say::Correction("no JSON".into()), Some(4))).after(["results"]),
        Step::model("steps", ask(Say::Steps(vec![step("call")]), Some(4))).after(["correction"]),
        Step::model("summary", ask(Say::Summary { through: 7, words: "Summarise.".into() }, Some(4)))
            .after(["steps"]),
    ]);
    let signature = || Opaque::new("a.wire", json!({ "signature": "c2ln" }));
    let opaque = || Some(signature());
    let mut answer = Answer::new(vec![
        Said::Thinking { text: "Which order?".into(), opaque: opaque() },
        Said::Text { text: "I look.".into(), opaque: None },
        Said::Call(ToolCall::new("c1", "refund", json!({ "cents": 900 })).with_opaque(signature())),
        Said::Call(ToolCall::unreadable("c2", "refund", "{")),
        Said::Opaque(Opaque::new("a.wire", json!([1])).of_model("large-2")),
    ]);
    answer.usage.input_tokens = Some(1_200);
    answer.usage.cached_tokens = Some(1_000);
    answer.usage.output_tokens = Some(80);
    answer.usage.thinking_tokens = Some(40);
    answer.usage.cost_nano_usd = Some(1_500_000);
    answer.model = Some("large-2".into());
    let answered = |answer: Payload, context: BTreeMap<_, _>| Body::ModelAnswered {
        turn: TURN,
        step: step("user"),
        attempt: 1,
        answer,
        view: (!context.is_empty()).then(|| Digest::from_bytes([7; 32])),
        context,
    };
    let plain = |finish| {
        let mut plain = Answer::new(vec![Said::text("Done.")]);
        plain.finish = finish;
        answered(sorted(json!(plain)), BTreeMap::new())
    };
    let failed = |code| Body::StepFailed {
        turn: TURN,
        step: step("user"),
        failure: Failure::of_step(&step("user"), code, "it failed"),
        applied: false,
    };
    vec![
        started,
        Body::PromptSet { turn: TURN, digest, prompt: sorted(json!(prompt)) },
        Body::PlanAdopted { turn: TURN, round: 2, plan: plan.unwrap(), more: true, terms: BTreeMap::new() },
        answered(sorted(json!(answer)), context_values()),
        answered(blob(), BTreeMap::new()),
        plain(Finish::Done),
        plain(Finish::Length),
        plain(Finish::Declined),
        plain(Finish::Other("stop_sequence".into())),
        failed(FailureCode::Model),
        failed(FailureCode::Stuck),
        failed(FailureCode::Budget),
    ]
}

/// Rulings of all forms, in all places; what waits for them; and a plan with terms that say where content comes from.
fn guarded() -> Vec<Body> {
    let ruling = |verdict, reason: &str| GuardRuling::new("desk".try_into().unwrap(), verdict, reason);
    let ruled = |place, rulings, value| Body::GuardRuled {
        turn: TURN,
        step: step("send"),
        place,
        digest: Digest::from_bytes([9; 32]),
        rulings,
        value,
    };
    let returned = |output: Payload| {
        let view = matches!(output, Payload::Blob { .. }).then(|| Digest::from_bytes([7; 32]));
        Body::StepReturned { turn: TURN, step: step("send"), attempt: 1, output, view }
    };
    let mut contract =
        ToolContract::new(ToolName::new("send").unwrap(), "", EffectClass::Irreversible, json!({}));
    (contract.untrusted, contract.outbound) = (true, true);
    let terms = BTreeMap::from([(contract.name.clone(), ToolTerms::of(&contract, 1_000))]);
    let plan = Plan::new([Step::tool("send", "send", json!(1))]).unwrap();
    vec![
        Body::PlanAdopted { turn: TURN, round: 1, plan, more: false, terms },
        ruled(GuardPlace::BeforeModel, vec![ruling(Verdict::Allowed, "")], None),
        ruled(
            GuardPlace::BeforeTool,
            vec![ruling(Verdict::Rewritten, ""), ruling(Verdict::Asked, "look at it")],
            Some(value().into()),
        ),
        returned(value().into()),
        returned(blob()),
        ruled(GuardPlace::AfterTool, vec![ruling(Verdict::Denied, "not this")], None),
        ruled(GuardPlace::AfterModel, vec![ruling(Verdict::Failed, "it panicked")], Some(blob())),
        Body::StepFailed {
            turn: TURN,
            step: step("send"),
            failure: Failure::of_step(&step("send"), FailureCode::Guard, "it failed"),
            applied: false,
        },
    ]
}

/// What is undone, and who cancels.
fn undoing() -> Vec<Body> {
    let failure = |code| Failure::of_step(&step("undo:post"), code, "it failed");
    let mut undone = Undone::default();
    (undone.undone, undone.left) = (vec![step("post"), step("charge")], vec![step("send")]);
    vec![
        Body::TurnCancelled { turn: TURN, reason: "not needed".into() },
        Body::TurnWithdrawn { turn: TURN, reason: "not needed".into() },
        Body::UndoPlanned { turn: TURN, steps: BTreeMap::from([(step("undo:post"), step("post"))]) },
        Body::UndoParked { turn: TURN, step: step("undo:post"), failure: failure(FailureCode::NotApplied) },
        Body::StepFailed {
            turn: TURN,
            step: step("post"),
            failure: Failure::of_step(&step("post"), FailureCode::TooLarge, "it failed"),
            applied: true,
        },
        Body::MailRefused {
            mail: MailId::from_bytes([6; 16]),
            mail_kind: MailKind::Cancel,
            turn: None,
            reason: "the turn has ended".into(),
        },
        Body::TurnEnded {
            turn: TURN,
            outcome: Outcome::Cancelled,
            answer: None,
            undone: Some(Box::new(undone)),
            joined: Vec::new(),
        },
    ]
}

/// What is said to a turn that runs, and what becomes of it.
fn steered() -> Vec<Body> {
    let own = TurnId::from_bytes([4; 16]);
    let named = PlannerRef::Named(PlannerName::new("default").unwrap());
    let plain = TurnRequest::new(own, value(), named.clone());
    let mut full = TurnRequest::new(own, blob(), named);
    full.deadline = Some(LATER);
    full.wants = Some(Box::new(AnswerFormat::new("number", json!({ "type": "integer" }))));
    full.budget = Some(Box::new(Ceiling { nano_usd: Some(5), ..Ceiling::NONE }));
    let steered =
        |request, at_once| Body::TurnSteered { turn: TURN, request: Box::new(request), posted: AT, at_once };
    let adopted = |plan| Body::PlanAdopted { turn: TURN, round: 2, plan, more: true, terms: BTreeMap::new() };
    let mut ask = Ask::new(ModelName::new("large").unwrap(), Prompt::default(), Say::Steers);
    ask.prompt = PromptRef::Recorded(Digest::from_bytes([7; 32]));
    let mut told = ask.clone();
    told.say = Say::Results(vec![CallResult::new("c1", "refund", ResultOf::Interrupted)]);
    let questions = [
        Step::model("told", told.in_conversation(3).steers(1)),
        Step::model("steers", ask.in_conversation(3).steers(2)).after(["told"]),
    ];
    vec![
        steered(plain, false),
        steered(full, true),
        adopted(Plan::new(questions).unwrap()),
        adopted(Plan::builder().step(Step::timer("nap", Duration::ZERO)).takes_up(2).build().unwrap()),
        Body::StepFailed {
            turn: TURN,
            step: step("nap"),
            failure: Failure::of_step(&step("nap"), FailureCode::Superseded, "it failed"),
            applied: false,
        },
        Body::MailRefused {
            mail: MailId::from_bytes([6; 16]),
            mail_kind: MailKind::Steer,
            turn: Some(own),
            reason: "it can't be read".into(),
        },
        Body::TurnEnded {
            turn: TURN,
            outcome: Outcome::Expired,
            answer: None,
            undone: None,
            joined: vec![own],
        },
    ]
}

/// How long stages may take, and what took longer.
fn timed() -> Vec<Body> {
    let started = |latency| Body::TurnStarted {
        turn: TURN,
        input: value().into(),
        planner: Box::new(PlannerRef::Named(PlannerName::new("default").unwrap())),
        posted: AT,
        deadline: None,
        wants: None,
        budget: None,
        untrusted: false,
        latency: Some(Box::new(latency)),
    };
    let all = LatencyStage::ALL.into_iter().zip(1..);
    let every =
        all.fold(LatencyBudgets::NONE, |budgets, (stage, ms)| budgets.with(stage, Duration::from_millis(ms)));
    let breached = |step: Option<&str>, stage| Body::LatencyBreached {
        turn: TURN,
        step: step.map(self::step),
        stage,
        budget_ms: 500,
        took_ms: 501,
    };
    let call =
        Step::tool("only", "charge", json!({ "cents": 900 })).latency_budget(Duration::from_millis(250));
    vec![
        started(every),
        started(LatencyBudgets::NONE.with(LatencyStage::Turn, Duration::from_secs(10))),
        Body::PlanAdopted {
            turn: TURN,
            round: 1,
            plan: Plan::new([call]).unwrap(),
            more: false,
            terms: BTreeMap::new(),
        },
        breached(None, LatencyStage::Accept),
        breached(None, LatencyStage::Plan),
        breached(Some("charge"), LatencyStage::Schedule),
        breached(None, LatencyStage::Append),
        breached(Some("ask"), LatencyStage::Model),
        breached(Some("charge"), LatencyStage::Tool),
        breached(None, LatencyStage::Turn),
    ]
}

/// A value whose members stand in one order, whether or not `serde_json` keeps the order in which they came.
fn sorted(value: Value) -> Payload {
    let text = agent_shell_core::data::canonical::canonical(&value).unwrap();
    serde_json::from_str::<Value>(&text).unwrap().into()
}
