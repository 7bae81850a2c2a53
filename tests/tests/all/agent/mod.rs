//! Turns that a model plans: tools called in a loop, corrections, the conversation, typed answers.

mod bounded;
mod budgets;
mod conversation;
mod held;
mod ledgers;
mod panics;
mod pauses;
mod spy;
mod streamed;
mod whole;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use agent_shell_core::data::{Answer, Finish, Prompt, Said, ToolCall};
use agent_shell_core::ports::{ModelError, ModelErrorKind};
use agent_shell_core::{
    Actor, Call, ErrorKind, FailureCode, Limits, Outcome, Plan, Request, Retry, Shell, ShellBuilder, Step,
    Tool, ToolError, ToolLoop, from, input,
};
use serde_json::{Value, json};

use self::spy::{Spy, calls, last, says};
use super::support::{Number, counted, double, limits, on_each};

/// A shell with tools, whose turns a model plans.
fn shell(model: &Spy) -> ShellBuilder {
    Shell::volatile().limits(limits()).model(model.clone()).tool(double()).tool(failing())
}

fn failing() -> Tool {
    Tool::pure("fail", "Fails", |_: Number, _: Call| async move {
        Err::<Value, _>(ToolError::refused("the moon is full"))
    })
}

async fn outcome_of(model: &Spy) -> Outcome {
    let shell = shell(model).open().await.unwrap();
    let turn = shell.session("ada").unwrap().submit("Double it, please").await.unwrap();
    let outcome = turn.outcome().await.unwrap();
    shell.shutdown().await.unwrap();
    outcome
}

fn failure(outcome: &Outcome) -> (FailureCode, &str) {
    match outcome {
        Outcome::Failed(failure) => (failure.code, &failure.message),
        other => panic!("{other:?}"),
    }
}

async fn kinds(shell: &Shell, session: &str) -> Vec<&'static str> {
    let mut history = shell.session(session).unwrap().history().await.unwrap();
    history.next(10_000).await.unwrap().iter().map(|entry| entry.body.kind()).collect()
}

#[tokio::test]
async fn a_model_calls_tools_beside_each_other_and_answers_with_what_they_say() {
    on_each(|builder, _| async move {
        let model = Spy::script([
            calls([("double", json!({ "n": 4 })), ("count", json!({ "n": 5 }))]),
            says("It is eight."),
        ]);
        let effects = Arc::new(AtomicU32::new(0));
        let shell = builder.model(model.clone()).tool(double()).tool(counted(&effects)).open().await.unwrap();
        let turn = shell.session("ada").unwrap().submit("Double it, please").await.unwrap();
        assert_eq!(turn.outcome().await.unwrap().text(), "It is eight.");
        assert_eq!(effects.load(Ordering::SeqCst), 1);
        let asked = model.asked();
        assert_eq!(asked.len(), 2);
        assert_eq!(last(&asked[0]), json!({ "user": [{ "text": "Double it, please" }] }));
        let told = json!({ "results": [
            { "call": "c1", "tool": "double", "status": "done", "output": { "n": 8 } },
            { "call": "c2", "tool": "count", "status": "done", "output": { "n": 5, "calls": 1 } },
        ] });
        assert_eq!(last(&asked[1]), told);
        let tools: Vec<&str> = asked[0].prompt.tools.iter().map(|tool| tool.name.as_str()).collect();
        assert_eq!(tools, ["count", "double"]);
        let kinds = kinds(&shell, "ada").await;
        let of = |kind| kinds.iter().filter(|found| **found == kind).count();
        assert_eq!(
            (of("prompt.set"), of("model.answered"), of("step.started"), of("step.succeeded")),
            (1, 2, 1, 2)
        );
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn what_no_tool_takes_goes_back_with_the_reason_and_not_for_ever() {
    let unknown = || calls([("triple", json!({ "n": 4 }))]);
    let model = Spy::script([unknown(), calls([("double", json!({ "n": "four" }))]), says("I give up.")]);
    assert_eq!(outcome_of(&model).await.text(), "I give up.");
    let asked = model.asked();
    let told = last(&asked[1])["results"][0].clone();
    assert_eq!(
        (&told["status"], &told["output"]),
        (&json!("rejected"), &json!("there is no tool `triple`: there are double, fail"))
    );
    let told = last(&asked[2])["results"][0].clone();
    assert_eq!(told["status"], "rejected");
    assert!(told["output"].as_str().unwrap().starts_with("the tool does not take these arguments"), "{told}");

    let model = Spy::new(move |request| {
        let n = request.messages.len();
        Ok(calls([("triple", json!({ "n": n }))]))
    });
    let outcome = outcome_of(&model).await;
    assert_eq!(failure(&outcome).0, FailureCode::Stuck);
    assert_eq!(model.asked().len(), 4, "three corrections");
}

#[tokio::test]
async fn arguments_that_are_no_json_are_told_and_good_calls_beside_them_are_made() {
    let broken = Said::Call(ToolCall::unreadable("b", "double", "{\"n\": "));
    let good = Said::Call(ToolCall::new("a", "double", json!({ "n": 4 })));
    let model = Spy::script([Answer::new(vec![broken, good]), says("8")]);
    assert_eq!(outcome_of(&model).await.text(), "8");
    let told = last(&model.asked()[1])["results"].clone();
    assert_eq!((&told[0]["status"], &told[1]["status"]), (&json!("rejected"), &json!("done")));
    assert_eq!(told[1]["output"], json!({ "n": 8 }));
}

#[tokio::test]
async fn a_call_that_fails_is_told_and_the_same_failure_three_times_ends_the_loop() {
    let model = Spy::script([calls([("fail", json!({ "n": 1 }))]), says("It did not work.")]);
    assert_eq!(outcome_of(&model).await.text(), "It did not work.");
    let told = last(&model.asked()[1])["results"][0].clone();
    assert_eq!((&told["status"], &told["output"]), (&json!("failed"), &json!("the moon is full")));

    let model = Spy::new(|_| Ok(calls([("fail", json!({ "n": 1 }))])));
    let outcome = outcome_of(&model).await;
    assert_eq!(failure(&outcome).0, FailureCode::Stuck, "{outcome:?}");
    assert_eq!(model.asked().len(), 4);

    let model = Spy::new(|request| match request.messages.len() {
        n if n > 11 => Ok(says("I tried everything.")),
        n => Ok(calls([("fail", json!({ "n": n }))])),
    });
    assert_eq!(outcome_of(&model).await.text(), "I tried everything.", "other arguments are another call");
}

#[tokio::test]
async fn a_model_that_fails_is_asked_again_and_then_fails_the_turn() {
    let tries = AtomicU32::new(0);
    let model = Spy::new(move |_| match tries.fetch_add(1, Ordering::SeqCst) {
        0 | 1 => Err(ModelError::new(ModelErrorKind::RateLimited, "slow down")),
        _ => Ok(says("yes")),
    });
    assert_eq!(outcome_of(&model).await.text(), "yes");
    assert_eq!(model.asked().len(), 3);

    let model = Spy::new(|_| Err(ModelError::new(ModelErrorKind::Denied, "the key is wrong")));
    let outcome = outcome_of(&model).await;
    assert_eq!(failure(&outcome), (FailureCode::Model, "the key is wrong"));
    assert_eq!(model.asked().len(), 1, "it is of no use to ask again");

    let model = Spy::new(|_| {
        let mut cut = says("half an ans");
        cut.finish = Finish::Length;
        Ok(cut)
    });
    let outcome = outcome_of(&model).await;
    let (code, message) = failure(&outcome);
    assert_eq!(code, FailureCode::Model);
    assert!(message.contains("Settings::output_tokens"), "{message}");
}

#[derive(Debug, PartialEq, serde::Deserialize, schemars::JsonSchema)]
struct Verdict {
    refund: bool,
    cents: u64,
}

#[tokio::test]
async fn a_typed_answer_has_its_form_or_is_asked_for_again() {
    let model = Spy::script([says("Yes, five dollars."), says("{\"refund\": true, \"cents\": 500}")]);
    let shell = shell(&model).open().await.unwrap();
    let session = shell.session("ada").unwrap();
    let verdict: Verdict = session.ask("Refund A-17?").await.unwrap();
    assert_eq!(verdict, Verdict { refund: true, cents: 500 });
    let asked = model.asked();
    let form = asked[0].prompt.answer.as_ref().unwrap();
    assert_eq!(
        (form.name.as_str(), &form.schema["properties"]["cents"]["type"]),
        ("Verdict", &json!("integer"))
    );
    assert!(last(&asked[1])["note"].as_str().unwrap().starts_with("the answer is no JSON"));

    let turn = session.submit("And A-18?").wants::<Verdict>().await.unwrap();
    let error = turn.answer::<Verdict>().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TurnFailed);
    shell.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_typed_answer_of_another_form_goes_back_with_what_is_wrong_and_a_fence_is_no_problem() {
    let wrong = "{\"refund\": true, \"cents\": \"five hundred\"}";
    let model = Spy::script([says(wrong), says("```json\n{\"refund\": true, \"cents\": 500}\n```")]);
    let shell = shell(&model).open().await.unwrap();
    let verdict: Verdict = shell.session("ada").unwrap().ask("Refund A-17?").await.unwrap();
    assert_eq!(verdict, Verdict { refund: true, cents: 500 });
    let asked = model.asked();
    let told = last(&asked[1])["note"].as_str().unwrap().to_owned();
    assert!(told.starts_with("the answer does not have the form `Verdict`: /cents"), "{told}");
    assert!(!told.contains("five hundred"), "{told}");
    shell.shutdown().await.unwrap();
}

/// A plan that asks alone for an integer, at most twice, and doubles it.
fn asks_for_a_number() -> Plan {
    let mut prompt = Prompt::new("Answer with a number.");
    prompt.answer = Some(agent_shell_core::data::AnswerFormat::new("n", json!({ "type": "integer" })));
    let twice = Retry { attempts: 2, base_ms: 1, max_ms: 1 };
    let double = agent_shell_core::Template::object([("n", from("number", ""))]);
    let steps = [
        Step::ask("number", "default", prompt, "How many?").retry(twice),
        Step::tool("twice", "double", double),
    ];
    Plan::builder().steps(steps).answer(from("twice", "/n")).build().unwrap()
}

#[tokio::test]
async fn an_answer_without_its_form_is_asked_for_again_and_is_never_the_output_of_a_step() {
    for (first, reason) in
        [("a few", "the answer is no JSON"), ("1.5", "the answer does not have the form `n`")]
    {
        let model = Spy::script([says(first), says("17")]);
        let builder = shell(&model).open().await.unwrap();
        let turn = builder.session("ada").unwrap().submit(asks_for_a_number()).await.unwrap();
        assert_eq!(turn.outcome().await.unwrap(), Outcome::Answered(json!(34)), "{first}");
        assert_eq!(model.asked().len(), 2);
        builder.shutdown().await.unwrap();

        let model = Spy::script([says(first), says(first), says("17")]);
        let builder = shell(&model).open().await.unwrap();
        let turn = builder.session("ada").unwrap().submit(asks_for_a_number()).await.unwrap();
        let outcome = turn.outcome().await.unwrap();
        let (code, message) = failure(&outcome);
        assert!(code == FailureCode::Model && message.starts_with(reason), "{outcome:?}");
        assert_eq!(model.asked().len(), 2);
        builder.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn the_output_of_a_step_is_the_json_within_a_fence() {
    let model = Spy::script([says("```json\n17\n```")]);
    let shell = shell(&model).open().await.unwrap();
    let turn = shell.session("ada").unwrap().submit(asks_for_a_number()).await.unwrap();
    assert_eq!(turn.outcome().await.unwrap(), Outcome::Answered(json!(34)));
    shell.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_step_of_a_plan_asks_a_model_alone() {
    let model = Spy::script([says("17"), says("hello")]);
    let shell = shell(&model).open().await.unwrap();
    let mut prompt = Prompt::new("Answer with a number.");
    prompt.answer = Some(agent_shell_core::data::AnswerFormat::new("n", json!({ "type": "integer" })));
    let plan = Plan::new([
        Step::ask("number", "default", prompt, input("/question")),
        Step::tool("twice", "double", agent_shell_core::Template::object([("n", from("number", ""))])),
        Step::ask("text", "default", Prompt::new("Greet."), input("/question")).after(["twice"]),
    ])
    .unwrap();
    let session = shell.session("ada").unwrap();
    let plan = Plan::builder().steps(plan.steps().to_vec()).answer(from("twice", "/n")).build().unwrap();
    let turn = session.submit(Request::plan(plan).input(json!({ "question": "How many?" }))).await.unwrap();
    assert_eq!(turn.outcome().await.unwrap(), Outcome::Answered(json!(34)));
    assert_eq!(model.asked()[1].messages.len(), 1, "nothing of a conversation is shown");
    shell.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_plan_that_asks_a_model_that_is_not_there_is_refused_at_once() {
    let shell = Shell::volatile().limits(limits()).open().await.unwrap();
    let plan = Plan::new([Step::ask("ask", "large", Prompt::default(), "hi")]).unwrap();
    let error = shell.session("ada").unwrap().submit(plan).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("named_model"), "{error}");
    shell.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_denied_call_is_told_to_the_model() {
    let model = Spy::script([calls([("charge", json!({ "n": 1 }))]), says("You said no.")]);
    let charges = Arc::new(AtomicU32::new(0));
    let charge = {
        let charges = charges.clone();
        Tool::irreversible("charge", "Charges", move |_: Number, _: Call| {
            let charges = charges.clone();
            async move { Ok::<_, ToolError>(json!(charges.fetch_add(1, Ordering::SeqCst))) }
        })
        .ask_first()
    };
    let shell = Shell::volatile().limits(limits()).model(model.clone()).tool(charge).open().await.unwrap();
    let turn = shell.session("ada").unwrap().submit("Charge me").await.unwrap();
    let wait = turn.approval().await.unwrap().unwrap();
    wait.deny("too much", &Actor::Host).await.unwrap();
    assert_eq!(turn.outcome().await.unwrap().text(), "You said no.");
    let told = last(&model.asked()[1])["results"][0].clone();
    assert_eq!((&told["status"], &told["output"]), (&json!("failed"), &json!("too much")));
    assert_eq!(charges.load(Ordering::SeqCst), 0);
    shell.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_step_that_may_fail_lets_the_turn_go_on_and_who_needs_it_is_skipped() {
    let shell = Shell::volatile().limits(limits()).tool(double()).tool(failing()).open().await.unwrap();
    let session = shell.session("ada").unwrap();
    let number = || json!({ "n": 1 });
    let steps = [
        Step::tool("fails", "fail", number()).may_fail(),
        Step::tool("needs", "double", number()).after(["fails"]).may_fail(),
        Step::tool("needs-that", "double", number()).after(["needs"]).may_fail(),
        Step::tool("free", "double", number()),
    ];
    let plan = Plan::builder().steps(steps).answer(from("free", "/n")).build().unwrap();
    let turn = session.submit(plan).await.unwrap();
    assert_eq!(turn.outcome().await.unwrap(), Outcome::Answered(json!(2)));
    let mut history = session.history().await.unwrap();
    let codes: Vec<_> = history
        .next(100)
        .await
        .unwrap()
        .into_iter()
        .filter_map(|entry| match entry.body {
            agent_shell_core::data::Body::StepFailed { step, failure, .. } => {
                Some((step.to_string(), failure.code))
            }
            _ => None,
        })
        .collect();
    let skipped = FailureCode::Skipped;
    assert_eq!(
        codes,
        [
            ("fails".into(), FailureCode::NotApplied),
            ("needs".into(), skipped),
            ("needs-that".into(), skipped)
        ]
    );

    // Who needs it and may not fail itself fails the turn.
    let steps = [
        Step::tool("fails", "fail", number()).may_fail(),
        Step::tool("needs", "double", number()).after(["fails"]),
    ];
    let turn = session.submit(Plan::new(steps).unwrap()).await.unwrap();
    assert_eq!(failure(&turn.outcome().await.unwrap()).0, skipped);
    shell.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_model_that_hangs_is_given_up_at_its_deadline() {
    let model = Spy::new(|_| Ok(says("late")));
    let hangs = Hangs(model.clone());
    let mut limits: Limits = limits();
    limits.model_ms = 50;
    let shell = Shell::volatile().limits(limits).model(hangs).planner(ToolLoop::new()).open().await.unwrap();
    let plan = Plan::new([Step::ask("ask", "default", Prompt::default(), "hi").retry(Retry::ONCE)]).unwrap();
    let turn = shell.session("ada").unwrap().submit(plan).await.unwrap();
    let outcome = turn.outcome().await.unwrap();
    assert_eq!(failure(&outcome).0, FailureCode::Model);
    shell.shutdown().await.unwrap();
}

struct Hangs(Spy);

#[async_trait::async_trait]
impl agent_shell_core::Model for Hangs {
    fn capabilities(&self) -> agent_shell_core::ports::ModelCapabilities {
        self.0.capabilities()
    }

    fn bound(
        &self,
        request: &agent_shell_core::ports::ModelRequest,
    ) -> Option<agent_shell_core::ports::ModelBound> {
        self.0.bound(request)
    }

    async fn ask(
        &self,
        _: Arc<agent_shell_core::ports::ModelRequest>,
        _: Call,
    ) -> Result<agent_shell_core::ports::AnswerStream, ModelError> {
        std::future::pending().await
    }
}
