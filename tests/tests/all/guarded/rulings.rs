//! What guards rule in each place, that it is recorded, and that what goes wrong with a guard denies.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_shell_core::data::{Body, GuardPlace, Verdict};
use agent_shell_core::{
    Actor, Call, ErrorKind, FailureCode, Guard, GuardError, GuardRequest, Outcome, Plan, Reply, Ruling,
    Scripted, Shell, ShellBuilder, Step, Tool, ToolError,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::super::support::{Number, double, limits, on_each};
use super::{On, history, ruled, verdicts};

type Sent = Arc<Mutex<Vec<(Value, String)>>>;

/// An irreversible tool that remembers what it was called with, and under which key.
fn send(sent: &Sent) -> Tool {
    let sent = sent.clone();
    Tool::irreversible("send", "Sends a number", move |input: Number, call: Call| {
        sent.lock().unwrap().push((json!({ "n": input.n }), call.key().to_owned()));
        async move { Ok::<_, ToolError>(json!({ "sent": input.n })) }
    })
}

/// A turn in which a model calls `send` with 4, and then answers.
async fn looped(builder: ShellBuilder, sent: &Sent) -> (Shell, Outcome, Scripted) {
    let model = Scripted::new([Reply::call("send", json!({ "n": 4 })), Reply::text("It is sent.")]);
    let shell = builder.limits(limits()).model(model.clone()).tool(send(sent)).open().await.unwrap();
    let turn = shell.session("ada").unwrap().submit("Send four, please").await.unwrap();
    let outcome = turn.outcome().await.unwrap();
    (shell, outcome, model)
}

/// What the model was told of its call.
fn told(model: &Scripted) -> Value {
    let asked = model.requests();
    json!(asked[1].messages.last().unwrap())["results"][0].clone()
}

fn failure(outcome: &Outcome) -> (FailureCode, &str) {
    match outcome {
        Outcome::Failed(failure) => (failure.code, &failure.message),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_denied_call_is_not_made_and_the_model_is_told_why() {
    on_each(|builder, _| async move {
        let sent = Sent::default();
        let guard = On::always(GuardPlace::BeforeTool, Ruling::deny("four is too many"));
        let (shell, outcome, model) = looped(builder.guard(guard.clone()), &sent).await;
        assert_eq!(outcome.text(), "It is sent.", "the loop goes on");
        assert_eq!(*sent.lock().unwrap(), []);
        let told = told(&model);
        assert_eq!(
            (&told["status"], &told["output"]),
            (&json!("failed"), &json!("the guard `strict` denied it: four is too many"))
        );
        let asked = guard.asked();
        let tool = asked[0].tool.as_ref().unwrap();
        assert_eq!((tool.name.as_str(), &*asked[0].value, asked.len()), ("send", &json!({ "n": 4 }), 1));
        let all = ruled(&shell, "ada").await;
        assert_eq!(all.len(), 1, "one record: {all:?}");
        assert_eq!(
            (all[0].0, verdicts(&all[0].1)),
            (GuardPlace::BeforeTool, vec![("strict", Verdict::Denied)])
        );
        assert_eq!(all[0].1[0].reason, "four is too many");
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_rewritten_call_is_what_the_tool_gets_under_its_own_key() {
    on_each(|builder, _| async move {
        let sent = Sent::default();
        let guard = On::new("smaller", GuardPlace::BeforeTool, |request| {
            Ok(if request.value["n"] == json!(4) {
                Ruling::rewrite(json!({ "n": 3 }))
            } else {
                Ruling::Allow
            })
        });
        let (shell, outcome, _) = looped(builder.guard(guard.clone()), &sent).await;
        assert_eq!(outcome.text(), "It is sent.");
        let calls = sent.lock().unwrap().clone();
        let [(input, key)] = &calls[..] else { panic!("once") };
        assert_eq!(*input, json!({ "n": 3 }));
        assert_eq!(guard.asked().len(), 1, "of what it rewrote it is not asked again");
        let all = history(&shell, "ada").await;
        let started = all.iter().find_map(|entry| match &entry.body {
            Body::StepStarted { turn, step, input, key, .. } => {
                Some((*turn, step.clone(), input.clone(), key.clone()))
            }
            _ => None,
        });
        let (turn, step, fixed, recorded) = started.unwrap();
        assert_eq!(*fixed.unwrap().value(), json!({ "n": 3 }), "what the record fixes is what guards left");
        // As docs/FORMAT.md says.
        let session = shell.session("ada").unwrap().id().await.unwrap();
        let mut hash = Sha256::new();
        hash.update(b"agent-shell/key/1\0");
        hash.update(session.to_bytes());
        hash.update(turn.to_bytes());
        hash.update((step.as_str().len() as u32).to_be_bytes());
        hash.update(step.as_str());
        hash.update(r#"{"n":3}"#);
        let hex: String = hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!((&hex, &hex), (key, &recorded));
        assert_eq!(ruled(&shell, "ada").await[0].2, Some(json!({ "n": 3 })));
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_guard_asks_for_an_approval_of_exactly_what_guards_left() {
    on_each(|builder, _| async move {
        let sent = Sent::default();
        let asks = On::always(GuardPlace::BeforeTool, Ruling::ask("a person must see it"));
        let smaller = On::new("smaller", GuardPlace::BeforeTool, |_| Ok(Ruling::rewrite(json!({ "n": 3 }))));
        let model = Scripted::new([Reply::call("send", json!({ "n": 4 })), Reply::text("It is sent.")]);
        let builder = builder.guard(asks.clone()).guard(smaller);
        let shell = builder.limits(limits()).model(model).tool(send(&sent)).open().await.unwrap();
        let turn = shell.session("ada").unwrap().submit("Send four, please").await.unwrap();
        let wait = turn.approval().await.unwrap().expect("an approval, although the tool asks for none");
        assert_eq!(*wait.shown, json!({ "n": 3 }));
        assert_eq!(wait.reason.as_deref(), Some("the guard `strict` asks: a person must see it"));
        assert_eq!(*sent.lock().unwrap(), []);
        wait.approve(&Actor::Host).await.unwrap();
        assert_eq!(turn.outcome().await.unwrap().text(), "It is sent.");
        assert_eq!(sent.lock().unwrap()[0].0, json!({ "n": 3 }));
        assert_eq!(asks.asked().len(), 1, "an approval is not asked about again");
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_denied_approval_of_a_guard_fails_the_call_with_its_reason() {
    let sent = Sent::default();
    let asks = On::always(GuardPlace::BeforeTool, Ruling::ask("a person must see it"));
    let model = Scripted::new([Reply::call("send", json!({ "n": 4 })), Reply::text("I can't.")]);
    let builder = Shell::volatile().guard(asks);
    let shell = builder.limits(limits()).model(model.clone()).tool(send(&sent)).open().await.unwrap();
    let turn = shell.session("ada").unwrap().submit("Send four, please").await.unwrap();
    turn.approval().await.unwrap().unwrap().deny("not today", &Actor::Host).await.unwrap();
    assert_eq!(turn.outcome().await.unwrap().text(), "I can't.");
    assert_eq!((told(&model)["output"].clone(), sent.lock().unwrap().len()), (json!("not today"), 0));
    shell.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_question_is_denied_or_asked_as_guards_leave_it_and_stands_so_in_the_conversation() {
    let denied = On::always(GuardPlace::BeforeModel, Ruling::deny("no questions"));
    let (shell, outcome, model) = looped(Shell::volatile().guard(denied), &Sent::default()).await;
    assert_eq!(failure(&outcome), (FailureCode::Guard, "the guard `strict` denied it: no questions"));
    assert_eq!(model.asked(), 0);
    shell.shutdown().await.unwrap();

    let masks = On::new("masks", GuardPlace::BeforeModel, |request| {
        assert_eq!(json!(request.question.as_ref().unwrap().messages.last().unwrap()), *request.value);
        let text = request.value.to_string();
        Ok(Ruling::rewrite(serde_json::from_str::<Value>(&text.replace("four", "some"))?))
    });
    let (shell, outcome, model) = looped(Shell::volatile().guard(masks.clone()), &Sent::default()).await;
    assert_eq!(outcome.text(), "It is sent.");
    let asked = model.requests();
    assert_eq!(json!(asked[0].messages), json!([{ "user": [{ "text": "Send some, please" }] }]));
    assert_eq!(json!(asked[1].messages[0]), json!({ "user": [{ "text": "Send some, please" }] }));
    assert_eq!(masks.asked().len(), 2, "each message once");
    shell.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_result_is_withheld_or_rewritten_before_the_model_reads_it() {
    on_each(|builder, _| async move {
        let sent = Sent::default();
        let denied = On::always(GuardPlace::AfterTool, Ruling::deny("nobody needs to know"));
        let (shell, outcome, model) = looped(builder.guard(denied.clone()), &sent).await;
        assert_eq!(outcome.text(), "It is sent.");
        let told = told(&model);
        let withheld = json!({ "withheld": "the guard `strict` denied it: nobody needs to know" });
        assert_eq!((&told["status"], &told["output"]), (&json!("done"), &withheld), "it has acted");
        assert_eq!((&*denied.asked()[0].value, sent.lock().unwrap().len()), (&json!({ "sent": 4 }), 1));
        shell.shutdown().await.unwrap();
    })
    .await;

    let rewrites = On::always(GuardPlace::AfterTool, Ruling::rewrite("done"));
    let (shell, _, model) = looped(Shell::volatile().guard(rewrites), &Sent::default()).await;
    assert_eq!(told(&model)["output"], json!("done"));
    shell.shutdown().await.unwrap();

    // A tool that changes nothing has done nothing that a failure would hide.
    let denied = On::always(GuardPlace::AfterTool, Ruling::deny("nobody needs to know"));
    let shell = Shell::volatile().limits(limits()).tool(double()).guard(denied).open().await.unwrap();
    let plan = Plan::new([Step::tool("double", "double", json!({ "n": 4 }))]).unwrap();
    let outcome = shell.session("ada").unwrap().submit(plan).await.unwrap().outcome().await.unwrap();
    assert_eq!(failure(&outcome).0, FailureCode::Guard);
    shell.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_answer_is_denied_or_rewritten_before_anything_follows_from_it() {
    let sent = Sent::default();
    let denied = On::always(GuardPlace::AfterModel, Ruling::deny("it calls something"));
    let (shell, outcome, _) = looped(Shell::volatile().guard(denied), &sent).await;
    assert_eq!(failure(&outcome), (FailureCode::Guard, "the guard `strict` denied it: it calls something"));
    assert_eq!(sent.lock().unwrap().len(), 0);
    let kinds: Vec<_> = history(&shell, "ada").await.iter().map(|entry| entry.body.kind()).collect();
    assert!(!kinds.contains(&"model.answered"), "it never stands in the conversation: {kinds:?}");
    shell.shutdown().await.unwrap();

    let polite = On::new("polite", GuardPlace::AfterModel, |request| {
        let text = request.value.to_string();
        Ok(Ruling::rewrite(serde_json::from_str::<Value>(&text.replace("It is sent.", "Done, Sir."))?))
    });
    let (shell, outcome, _) = looped(Shell::volatile().guard(polite), &sent).await;
    assert_eq!((outcome.text(), sent.lock().unwrap().len()), ("Done, Sir.".into(), 1));
    shell.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_has_no_place_is_a_failure_of_the_guard_and_denies() {
    let cases: [(GuardPlace, Ruling, &str); 4] = [
        (GuardPlace::BeforeModel, Ruling::ask("?"), "nothing can be approved"),
        (GuardPlace::AfterTool, Ruling::ask("?"), "nothing can be approved"),
        (GuardPlace::AfterModel, Ruling::rewrite("no answer"), "is no answer"),
        (
            GuardPlace::BeforeModel,
            Ruling::rewrite(json!({ "note": "not a user's" })),
            "another kind of message",
        ),
    ];
    for (place, ruling, why) in cases {
        let guard = On::always(place, ruling);
        let (shell, outcome, _) = looped(Shell::volatile().guard(guard), &Sent::default()).await;
        let all = ruled(&shell, "ada").await;
        assert_eq!(verdicts(&all[0].1), [("strict", Verdict::Failed)], "{place:?}");
        assert!(all[0].1[0].reason.contains(why), "{place:?}: {}", all[0].1[0].reason);
        assert_eq!(matches!(outcome, Outcome::Failed(_)), place != GuardPlace::AfterTool, "{place:?}");
        shell.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn guards_are_asked_in_their_order_and_the_first_that_denies_is_the_last() {
    let add = |name, by: i64| {
        On::new(name, GuardPlace::BeforeTool, move |request| {
            Ok(Ruling::rewrite(json!({ "n": request.value["n"].as_i64().unwrap() * 10 + by })))
        })
    };
    let denies = On::new("odd", GuardPlace::BeforeTool, |request| {
        assert_eq!(*request.value, json!({ "n": 412 }), "what those before it left");
        Ok(Ruling::deny("odd"))
    });
    let never = On::new("never", GuardPlace::BeforeTool, |_| Ok(Ruling::Allow));
    let builder =
        Shell::volatile().guard(add("one", 1)).guard(add("two", 2)).guard(denies).guard(never.clone());
    let (shell, ..) = looped(builder, &Sent::default()).await;
    let all = ruled(&shell, "ada").await;
    let wanted = [("one", Verdict::Rewritten), ("two", Verdict::Rewritten), ("odd", Verdict::Denied)];
    assert_eq!((verdicts(&all[0].1), never.asked().len()), (wanted.to_vec(), 0));
    shell.shutdown().await.unwrap();
}

/// How a guard goes wrong.
#[derive(Clone, Copy)]
enum Wrong {
    Panics,
    Hangs,
    Errs,
}

#[async_trait::async_trait]
impl Guard for Wrong {
    fn name(&self) -> &str {
        "wrong"
    }

    fn watches(&self, place: GuardPlace) -> bool {
        place == GuardPlace::BeforeTool
    }

    async fn rule(&self, _: &GuardRequest) -> Result<Ruling, GuardError> {
        match self {
            Self::Panics => panic!("the password is hunter2"),
            Self::Hangs => std::future::pending().await,
            Self::Errs => Err(std::io::Error::other("the password is hunter2"))?,
        }
    }
}

#[tokio::test]
async fn a_guard_that_panics_hangs_or_errs_denies() {
    for (wrong, why) in
        [(Wrong::Panics, "it panicked"), (Wrong::Hangs, "longer than 50 ms"), (Wrong::Errs, "hunter2")]
    {
        let sent = Sent::default();
        let mut limits = limits();
        limits.guard_ms = 50;
        let model = Scripted::new([Reply::call("send", json!({ "n": 4 })), Reply::text("I can't.")]);
        let builder = Shell::volatile().limits(limits).model(model.clone()).tool(send(&sent)).guard(wrong);
        let shell = builder.open().await.unwrap();
        let turn = shell.session("ada").unwrap().submit("Send four, please").await.unwrap();
        let outcome =
            tokio::time::timeout(Duration::from_secs(20), turn.outcome()).await.expect("in time").unwrap();
        assert_eq!((outcome.text(), sent.lock().unwrap().len()), ("I can't.".into(), 0));
        let all = ruled(&shell, "ada").await;
        assert_eq!(verdicts(&all[0].1), [("wrong", Verdict::Failed)]);
        assert!(all[0].1[0].reason.contains(why), "{}", all[0].1[0].reason);
        let said = told(&model)["output"].to_string();
        assert!(
            said.contains("could not rule") && !said.contains("hunter2"),
            "a model is not told why: {said}"
        );
        shell.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_shell_without_a_guard_in_a_place_records_nothing_of_it() {
    let count = |entries: &[agent_shell_core::runtime::HistoryEntry]| entries.len();
    let (bare, ..) = looped(Shell::volatile(), &Sent::default()).await;
    let without = count(&history(&bare, "ada").await);
    bare.shutdown().await.unwrap();
    let watches = On::always(GuardPlace::BeforeTool, Ruling::Allow);
    let (shell, ..) = looped(Shell::volatile().guard(watches), &Sent::default()).await;
    assert_eq!(count(&history(&shell, "ada").await), without + 1, "one call, one ruling");
    shell.shutdown().await.unwrap();
}

#[tokio::test]
async fn two_guards_of_one_name_are_refused() {
    let guard = On::always(GuardPlace::BeforeTool, Ruling::Allow);
    let error = Shell::volatile().guard(guard.clone()).guard(guard).open().await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("`strict`"), "{error}");
}

/// Rules on nothing before all have come.
struct Together(tokio::sync::Barrier);

#[async_trait::async_trait]
impl Guard for Together {
    fn name(&self) -> &str {
        "together"
    }

    fn watches(&self, place: GuardPlace) -> bool {
        place == GuardPlace::AfterTool
    }

    async fn rule(&self, _: &GuardRequest) -> Result<Ruling, GuardError> {
        self.0.wait().await;
        Ok(Ruling::Allow)
    }
}

#[tokio::test]
async fn what_is_ruled_on_together_changes_the_context_one_after_another() {
    const STEPS: usize = 6;
    let one =
        Tool::idempotent("one", "", |_: Value, _: Call| async { Ok::<_, ToolError>(json!({ "n": 1 })) });
    let shell =
        Shell::volatile().limits(limits()).tool(one).guard(Together(tokio::sync::Barrier::new(STEPS)));
    let shell = shell.open().await.unwrap();
    let step = |nth: usize| {
        Step::tool(format!("s{nth}"), "one", json!({})).writes(
            "sum",
            agent_shell_core::data::Reducer::Sum,
            "/n",
        )
    };
    let names = (0..STEPS).map(|nth| format!("s{nth}"));
    let read = Step::tool("read", "one", agent_shell_core::context("sum")).after(names);
    let plan = Plan::new((0..STEPS).map(step).chain([read])).unwrap();
    let turn = shell.session("ada").unwrap().submit(plan).await.unwrap();
    let mut sum = None;
    // The last one is alone with a guard that waits for others: what it is called with is looked at, and it is cancelled.
    while sum.is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let all = history(&shell, "ada").await;
        sum = all.iter().find_map(|entry| match &entry.body {
            Body::StepStarted { step, input: Some(input), .. } if step.as_str() == "read" => {
                Some(input.value())
            }
            _ => None,
        });
    }
    assert_eq!(sum.as_deref(), Some(&json!(STEPS)));
    turn.cancel("it was looked at", &Actor::Host).await.unwrap();
    drop(shell);
}

#[tokio::test]
async fn a_question_is_recorded_with_the_digest_of_what_guards_left_of_it() {
    let said = json!({ "user": [{ "text": "Go, please" }] });
    let before = On::always(GuardPlace::BeforeModel, Ruling::rewrite(said.clone()));
    let after = On::new("after", GuardPlace::AfterModel, |_| Ok(Ruling::Allow));
    let model = Scripted::new([Reply::text("Gone.")]);
    let builder = Shell::volatile().limits(limits()).model(model.clone()).guard(before).guard(after);
    let shell = builder.open().await.unwrap();
    let turn = shell.session("ada").unwrap().submit("Go").await.unwrap();
    assert_eq!(turn.outcome().await.unwrap().text(), "Gone.");
    let asked = &model.requests()[0];
    assert_eq!(json!(asked.messages), json!([said]));
    let views: Vec<_> = history(&shell, "ada")
        .await
        .into_iter()
        .filter_map(|entry| match entry.body {
            Body::StepReturned { view, .. } | Body::ModelAnswered { view, .. } => Some(view),
            _ => None,
        })
        .collect();
    assert_eq!(views, [Some(asked.digest().unwrap()); 2]);
    shell.shutdown().await.unwrap();
}
