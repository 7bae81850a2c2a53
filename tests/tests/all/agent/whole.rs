//! A model that returns a whole plan.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use agent_shell_core::data::{Answer, AnswerFormat};
use agent_shell_core::{Call, FailureCode, Outcome, PlanByModel, Shell, ShellBuilder, Tool, ToolError};
use serde_json::{Value, json};

use super::spy::{Spy, calls, last, says};
use super::{Number, Verdict, counted, double, failing, failure, limits, on_each};

fn plan(value: &Value) -> Answer {
    says(&value.to_string())
}

fn shell(model: &Spy, planner: PlanByModel) -> ShellBuilder {
    let builder = Shell::volatile().limits(limits()).model(model.clone()).planner(planner);
    builder.tool(double()).tool(failing()).tool(late())
}

/// One that is held back.
fn late() -> Tool {
    Tool::pure("late", "Comes last", |_: Number, _: Call| async move { Ok::<_, ToolError>("late") }).held()
}

/// What became of a turn that asks for 4 to be doubled, and what the model was last told in each question.
async fn played(planner: PlanByModel, answers: impl IntoIterator<Item = Answer>) -> (Outcome, Vec<Value>) {
    let model = Spy::script(answers);
    let shell = shell(&model, planner).open().await.unwrap();
    let turn = shell.session("ada").unwrap().submit(json!({ "n": 4 })).await.unwrap();
    let outcome = turn.outcome().await.unwrap();
    shell.shutdown().await.unwrap();
    (outcome, model.asked().iter().map(|request| last(request)).collect())
}

/// The JSON of a note.
fn note(message: &Value) -> Value {
    serde_json::from_str(message["note"].as_str().unwrap()).unwrap()
}

fn chain() -> Value {
    json!({
        "steps": [
            { "id": "a", "tool": "double", "input": { "n": { "$input": "/n" } } },
            { "id": "b", "tool": "double", "input": { "n": { "$from": "a", "pointer": "/n" } } },
        ],
        "answer": { "four_times": { "$from": "b", "pointer": "/n" }, "of": { "$input": "/n" }, "list": [{ "$from": "a" }, 1] },
    })
}

#[tokio::test]
async fn a_whole_plan_runs_with_one_question_and_its_answer_is_made_of_outputs() {
    on_each(|builder, _| async move {
        let model = Spy::script([plan(&chain())]);
        let planner = PlanByModel::new().instructions("You double numbers.").tools(["double"]);
        let shell = builder.model(model.clone()).planner(planner).tool(double()).tool(failing()).open().await;
        let shell = shell.unwrap();
        let turn = shell.session("ada").unwrap().submit(json!({ "n": 4 })).await.unwrap();
        let answer = json!({ "four_times": 16, "of": 4, "list": [{ "n": 8 }, 1] });
        assert_eq!(turn.outcome().await.unwrap(), Outcome::Answered(answer));
        let asked = model.asked();
        let [asked] = &asked[..] else { panic!("{}", asked.len()) };
        assert_eq!(last(asked), json!({ "user": [{ "json": { "n": 4 } }] }));
        assert!(asked.prompt.instructions.starts_with("You double numbers."));
        assert!(asked.prompt.instructions.contains(r#""tool":"double""#));
        assert!(!asked.prompt.instructions.contains(r#""tool":"fail""#) && asked.prompt.tools.is_empty());
        let form: &AnswerFormat = asked.prompt.answer.as_ref().unwrap();
        assert_eq!(form.problem_with(&chain()), None, "what the model is told is what is read");
        assert!(
            form.problem_with(&json!({ "steps": [{ "id": "a", "tool": "fail", "input": {} }] })).is_some()
        );
        let kinds = super::kinds(&shell, "ada").await;
        assert_eq!(kinds.iter().filter(|kind| **kind == "plan.adopted").count(), 2, "{kinds:?}");
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_model_answers_without_a_plan_and_in_a_fence() {
    let (outcome, _) = played(PlanByModel::new(), [says("```json\n{\"answer\": \"Eight.\"}\n```")]).await;
    assert_eq!(outcome.text(), "Eight.");
    let (outcome, told) =
        played(PlanByModel::new(), [says("Eight."), plan(&json!({ "answer": { "$input": "/n" } }))]).await;
    assert_eq!(outcome, Outcome::Answered(json!(4)));
    assert!(told[1]["note"].as_str().unwrap().starts_with("the answer is no JSON"), "{}", told[1]);
}

#[tokio::test]
async fn what_is_no_plan_goes_back_with_the_reason_before_anything_runs() {
    let step = |id: &str, tool: &str, input: Value| json!({ "id": id, "tool": tool, "input": input });
    let from = |step: &str| json!({ "n": { "$from": step } });
    let four = || json!({ "n": 4 });
    for (wrong, reason) in [
        (json!({ "steps": [{ "id": "a", "tool": "double" }] }), "step `a` has no member `input`"),
        (
            json!({ "steps": [step("a", "triple", four())] }),
            "step `a`: there is no tool `triple`: there are count, double, fail, late",
        ),
        (
            json!({ "steps": [step("a", "double", json!({ "n": "four" }))] }),
            "step `a`: the tool does not take this input: ",
        ),
        (json!({ "steps": [step("a", "double", from("b")), step("b", "double", from("a"))] }), "a cycle"),
        (json!({ "steps": [step("a", "double", from("z"))] }), "`z`"),
        (json!({ "steps": [step("a", "double", four())], "answer": { "$from": "z" } }), "`z`"),
        (
            json!({ "steps": [step("a", "double", four()), step("a", "double", four())] }),
            "two steps are called `a`",
        ),
        (json!({ "steps": [step("a", "double", json!({ "n": { "$input": "n" } }))] }), "`n` is no pointer"),
        (
            json!({ "steps": [step("l", "late", four()), step("a", "double", from("l"))] }),
            "`a` depends on `l`, which is held back",
        ),
        (json!({ "steps": [step("ask-3", "double", four())] }), "no step may be called `ask-3`"),
        (
            json!({ "steps": [
                { "id": "m", "tool": "double", "input": four(), "may_fail": true },
                step("a", "double", json!({ "n": { "$from": "m", "pointer": "/n" } })),
            ] }),
            "`a` refers to step `m`, which may fail",
        ),
        (json!({ "answer": { "$from": "ask-1" } }), "there is no such step"),
        (json!({ "steps": [step("a", "double", from("ask-1"))] }), "there is no such step"),
        (
            json!({ "answer": { "$input": "/m" } }),
            "what was asked has nothing at `/m`: it is an object with n",
        ),
    ] {
        let effects = Arc::new(AtomicU32::new(0));
        let mut wrong = wrong;
        if let Some(steps) = wrong.get_mut("steps").and_then(Value::as_array_mut) {
            steps.insert(0, step("first", "count", four()));
        }
        let model = Spy::script([plan(&wrong), plan(&json!({ "answer": "done" }))]);
        let shell = shell(&model, PlanByModel::new()).tool(counted(&effects)).open().await.unwrap();
        let turn = shell.session("ada").unwrap().submit(four()).await.unwrap();
        assert_eq!(turn.outcome().await.unwrap().text(), "done", "{wrong}");
        let told = last(&model.asked()[1]);
        let told = told["note"].as_str().unwrap();
        assert!(told.contains(reason), "{wrong}: {told}");
        assert_eq!(effects.load(Ordering::SeqCst), 0, "{wrong}: nothing ran");
        shell.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn corrections_are_bounded_and_calls_are_answered_as_calls() {
    let model = Spy::new(|_| Ok(says("I can't plan.")));
    let shell = shell(&model, PlanByModel::new()).open().await.unwrap();
    let turn = shell.session("ada").unwrap().submit("hi").await.unwrap();
    let outcome = turn.outcome().await.unwrap();
    assert_eq!(failure(&outcome).0, FailureCode::Stuck);
    assert_eq!(model.asked().len(), 4, "three corrections");
    shell.shutdown().await.unwrap();

    let (outcome, _) = played(PlanByModel::new().corrections(0), [says("no plan")]).await;
    assert_eq!(failure(&outcome).0, FailureCode::Stuck);

    let called = calls([("double", json!({ "n": 4 }))]);
    let (outcome, told) = played(PlanByModel::new(), [called, plan(&chain())]).await;
    assert!(matches!(outcome, Outcome::Answered(_)), "{outcome:?}");
    assert_eq!(
        (&told[1]["results"][0]["call"], &told[1]["results"][0]["status"]),
        (&json!("c1"), &json!("rejected"))
    );
    let model = Spy::new(|_| Ok(calls([("double", json!({ "n": 4 }))])));
    let shell = super::whole::shell(&model, PlanByModel::new()).open().await.unwrap();
    let turn = shell.session("ada").unwrap().submit("hi").await.unwrap();
    assert_eq!(failure(&turn.outcome().await.unwrap()).0, FailureCode::Stuck);
    assert_eq!(model.asked().len(), 4);
    shell.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_step_that_fails_fails_the_turn_unless_it_may() {
    let steps = |may_fail: bool| {
        json!({ "steps": [
            { "id": "a", "tool": "fail", "input": { "n": 1 }, "may_fail": may_fail },
            { "id": "b", "tool": "double", "input": { "n": 1 } },
        ], "answer": { "$from": "b", "pointer": "/n" } })
    };
    let (outcome, _) = played(PlanByModel::new(), [plan(&steps(false))]).await;
    assert_eq!(failure(&outcome), (FailureCode::NotApplied, "the moon is full"));
    let (outcome, _) = played(PlanByModel::new(), [plan(&steps(true))]).await;
    assert_eq!(outcome, Outcome::Answered(json!(2)));
}

#[tokio::test]
async fn what_is_held_back_runs_last_and_may_be_answered_with() {
    let held =
        json!({ "steps": [{ "id": "l", "tool": "late", "input": { "n": 1 } }], "answer": { "$from": "l" } });
    let (outcome, _) = played(PlanByModel::new(), [plan(&held)]).await;
    assert_eq!(outcome.text(), "late");
}

#[tokio::test]
async fn with_reviews_the_model_sees_what_its_steps_led_to_and_plans_on_or_answers() {
    let first = json!({ "steps": [
        { "id": "a", "tool": "double", "input": { "n": 4 } },
        { "id": "f", "tool": "fail", "input": { "n": 4 }, "may_fail": true },
        { "id": "l", "tool": "late", "input": { "n": 4 } },
    ] });
    let step = |id: &str, from: &str| json!({ "steps": [{ "id": id, "tool": "double", "input": { "n": { "$from": from, "pointer": "/n" } } }] });
    let answers = [
        first,
        json!({ "steps": [{ "id": "b", "tool": "double", "input": { "n": 1 } }], "answer": 1 }),
        step("a", "a"),
        step("b", "f"),
        step("b", "a"),
        json!({ "answer": { "$from": "l" } }),
        json!({ "answer": { "$from": "b", "pointer": "/m" } }),
        json!({ "answer": [{ "$from": "b", "pointer": "/n" }, { "$from": "a" }] }),
    ];
    let (outcome, told) = played(PlanByModel::new().reviews(true), answers.iter().map(plan)).await;
    assert_eq!(outcome, Outcome::Answered(json!([16, { "n": 8 }])));
    let seen = json!({ "outputs": { "a": { "n": 8 } }, "failed": { "f": "the moon is full" },
                       "held_back_until_all_else_has_succeeded": ["l"] });
    assert_eq!(note(&told[1]), seen);
    let reasons = [
        (2, "give either steps or an answer"),
        (3, "step `a` is in an earlier plan of this turn already"),
        (4, "`b` refers to step `f`, which failed"),
        (6, "`answer` depends on `l`, which is held back"),
        (7, "the output of step `b` has nothing at `/m`: it is an object with n"),
    ];
    assert_eq!(note(&told[5]), json!({ "outputs": { "b": { "n": 16 } } }));
    for (place, reason) in reasons {
        let told = told[place]["note"].as_str().unwrap();
        assert!(told.contains(reason), "{told}");
    }
}

#[tokio::test]
async fn the_answer_has_the_form_that_the_turn_wants() {
    let steps = || json!([{ "id": "a", "tool": "double", "input": { "n": 250 } }]);
    let good = json!({ "refund": true, "cents": { "$from": "a", "pointer": "/n" } });
    let answers = [
        json!({ "answer": { "refund": "yes", "cents": 500 } }),
        json!({ "steps": steps() }),
        json!({ "steps": steps(), "answer": { "refund": true, "cents": { "$from": "a" } } }),
        json!({ "answer": good }),
    ];
    let model = Spy::script(answers.iter().map(plan));
    let shell = shell(&model, PlanByModel::new()).open().await.unwrap();
    let verdict: Verdict = shell.session("ada").unwrap().ask("Refund A-17?").await.unwrap();
    assert_eq!(verdict, Verdict { refund: true, cents: 500 });
    let asked = model.asked();
    assert!(asked[0].prompt.instructions.contains("must have the form of this JSON Schema"));
    let told = |place: usize| last(&asked[place])["note"].as_str().unwrap().to_owned();
    assert!(told(1).contains("the answer does not have the form that is wanted: "), "{}", told(1));
    assert!(told(2).contains("the plan has no member `answer`"), "{}", told(2));
    assert!(
        told(3).contains("does not have the form that is wanted: ") && told(3).contains("/cents"),
        "{}",
        told(3)
    );
    shell.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_later_turn_goes_on_in_the_conversation() {
    let model = Spy::script([plan(&chain()), plan(&json!({ "answer": "again" }))]);
    let shell = shell(&model, PlanByModel::new()).open().await.unwrap();
    let session = shell.session("ada").unwrap();
    session.submit(json!({ "n": 4 })).await.unwrap().outcome().await.unwrap();
    assert_eq!(session.submit("And now?").await.unwrap().outcome().await.unwrap().text(), "again");
    let asked = model.asked();
    assert_eq!((asked[1].messages.len(), asked[0].prompt == asked[1].prompt), (3, true));
    shell.shutdown().await.unwrap();
}
