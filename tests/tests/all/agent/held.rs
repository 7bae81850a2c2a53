//! Calls of a loop that are held back: the answer is final only when they have succeeded.

use agent_shell_core::data::Answer;
use agent_shell_core::{Actor, Call, FailureCode, Outcome, Shell, Tool, ToolError};
use serde_json::{Value, json};

use super::spy::{Spy, calls, last, says};
use super::{Number, failure, limits};

fn refund() -> Tool {
    Tool::irreversible("refund", "Pays money back", |asked: Number, _: Call| async move {
        match asked.n {
            0 => Err(ToolError::refused("there is nothing to refund")),
            n => Ok(json!({ "refunded": n })),
        }
    })
    .ask_first()
    .held()
}

fn refunds(n: i64) -> [Answer; 3] {
    [calls([("refund", json!({ "n": n }))]), says("Refunded."), says("I see.")]
}

/// How a turn ends whose call is approved or denied, and what the next turn's model is told of it.
async fn played(n: i64, approves: bool) -> (Outcome, Vec<Value>) {
    let model = Spy::script(refunds(n));
    let shell = Shell::volatile().limits(limits()).model(model.clone()).tool(refund()).open().await.unwrap();
    let session = shell.session("ada").unwrap();
    let turn = session.submit("Refund it").await.unwrap();
    let wait = turn.approval().await.unwrap().unwrap();
    match approves {
        true => wait.approve(&Actor::Host).await.unwrap(),
        false => wait.deny("not this one", &Actor::Host).await.unwrap(),
    }
    let outcome = turn.outcome().await.unwrap();
    assert_eq!(last(&model.asked()[1])["results"][0]["status"], "held");
    session.submit("And?").await.unwrap().outcome().await.unwrap();
    shell.shutdown().await.unwrap();
    let shown = json!(model.asked()[2].messages);
    (outcome, shown.as_array().unwrap().clone())
}

/// What a note says of the one call that was held back.
fn held(shown: &[Value]) -> Value {
    assert_eq!(shown.last().unwrap(), &json!({ "user": [{ "text": "And?" }] }));
    let note = shown[shown.len() - 2]["note"].as_str().expect("a note").to_owned();
    let note = note.strip_prefix("What was held back has ended: ").expect("its words").to_owned();
    let mut all: Vec<Value> = serde_json::from_str(&note).unwrap();
    assert_eq!(all.len(), 1, "{note}");
    all.remove(0)
}

#[tokio::test]
async fn a_denied_call_that_was_held_back_fails_the_turn_and_later_turns_know() {
    let (outcome, shown) = played(5, false).await;
    assert_eq!(failure(&outcome), (FailureCode::Denied, "not this one"), "not answered with \"Refunded.\"");
    let told = json!({ "call": "c1", "tool": "refund", "status": "failed", "output": "not this one" });
    assert_eq!(held(&shown), told);
}

#[tokio::test]
async fn a_failing_call_that_was_held_back_fails_the_turn_and_later_turns_know() {
    let (outcome, shown) = played(0, true).await;
    assert_eq!(failure(&outcome), (FailureCode::NotApplied, "there is nothing to refund"));
    assert_eq!(held(&shown)["status"], "failed");
}

#[tokio::test]
async fn a_call_that_was_held_back_and_made_is_told_of_in_later_turns() {
    let (outcome, shown) = played(5, true).await;
    assert_eq!(outcome.text(), "Refunded.");
    let told = json!({ "call": "c1", "tool": "refund", "status": "done", "output": { "refunded": 5 } });
    assert_eq!(held(&shown), told);
}
