//! What a model is shown of a session's conversation.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use agent_shell_core::data::{Body, Message};
use agent_shell_core::ports::{ModelError, ModelErrorKind, ModelRequest};
use agent_shell_core::{Call, Compaction, FailureCode, Outcome, Shell, Tool, ToolError, ToolLoop, Window};
use serde_json::{Value, json};

use super::spy::{Spy, answers_in, calls, is_summary, last, says};
use super::{Number, double, failing, failure, limits};

/// The bytes of a request's prompt and messages, as a wire would write them one after another.
fn bytes(request: &ModelRequest) -> String {
    let messages: Vec<String> = request.messages.iter().map(|message| json!(message).to_string()).collect();
    format!("{}\n{}\n", json!(*request.prompt), messages.join("\n"))
}

/// One that calls a tool in every turn, and remembers what users said.
fn worker() -> Spy {
    Spy::new(|request| {
        let results = matches!(**request.messages.last().unwrap(), Message::Results(_));
        let n = answers_in(request);
        Ok(if results { says(&format!("answer {n}")) } else { calls([("double", json!({ "n": n }))]) })
    })
}

#[tokio::test]
async fn every_prompt_continues_the_one_before_byte_for_byte_across_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shell.db");
    let model = worker();
    let mut turns = 0;
    for _ in 0..10 {
        let planner = ToolLoop::new().instructions("You double numbers.");
        let builder = Shell::at(&path).limits(limits()).model(model.clone()).tool(double()).tool(failing());
        let shell = builder.planner(planner).open().await.unwrap();
        for _ in 0..5 {
            turns += 1;
            let turn = shell.session("ada").unwrap().submit(format!("turn {turns}")).await.unwrap();
            turn.outcome().await.unwrap();
        }
        shell.shutdown().await.unwrap();
    }
    let asked = model.asked();
    assert_eq!((turns, asked.len()), (50, 100));
    for pair in asked.windows(2) {
        let (before, after) = (bytes(&pair[0]), bytes(&pair[1]));
        assert!(after.starts_with(&before) && after.len() > before.len(), "{before}\n---\n{after}");
    }
    assert_eq!(answers_in(&asked[99]), 99);
    // What was asked, the journal can prove.
    let shell = Shell::at(&path).limits(limits()).model(model.clone()).open().await.unwrap();
    let history = shell.session("ada").unwrap().history().await.unwrap().next(10_000).await.unwrap();
    let views = history.iter().filter_map(|entry| match &entry.body {
        Body::ModelAnswered { view, .. } => Some(*view),
        _ => None,
    });
    let digests = asked.iter().map(|request| Some(request.digest().unwrap()));
    assert!(views.eq(digests));
    shell.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_window_bounds_what_is_shown_and_begins_with_a_user() {
    let model = worker();
    let planner = ToolLoop::new().history(Window::bytes(2_000));
    let shell = Shell::volatile().limits(limits()).model(model.clone()).tool(double()).planner(planner);
    let shell = shell.open().await.unwrap();
    let session = shell.session("ada").unwrap();
    for turn in 0..40 {
        session.submit(format!("turn {turn} {}", "x".repeat(100))).await.unwrap().outcome().await.unwrap();
    }
    let mut cuts = 0;
    let mut first: Option<Value> = None;
    for request in model.asked() {
        let shown: usize = request.messages.iter().map(|message| json!(message).to_string().len()).sum();
        assert!(shown <= 2_000, "{shown}");
        assert!(matches!(*request.messages[0], Message::User(_)));
        let begins = json!(request.messages[0]);
        cuts += usize::from(first.as_ref().is_some_and(|first| *first != begins));
        first = Some(begins);
    }
    assert!((2..20).contains(&cuts), "it is cut seldom, so that the beginning stays the same: {cuts}");

    // A turn that does not fit is not cut.
    let turn = session.submit("y".repeat(3_000)).await.unwrap();
    assert_eq!(failure(&turn.outcome().await.unwrap()).0, FailureCode::TooLarge);
    shell.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_conversation_is_summarised_but_for_what_the_users_said() {
    let model = Spy::new(|request| {
        Ok(match is_summary(request) {
            true => says("SUMMARY of it"),
            false if matches!(**request.messages.last().unwrap(), Message::Results(_)) => {
                says(&"long answer ".repeat(20))
            }
            false => calls([("double", json!({ "n": 1 }))]),
        })
    });
    let planner = ToolLoop::new().history(Compaction::bytes(3_000));
    let shell = Shell::volatile().limits(limits()).model(model.clone()).tool(double()).planner(planner);
    let shell = shell.open().await.unwrap();
    let session = shell.session("ada").unwrap();
    for turn in 0..12 {
        let turn = session.submit(format!("turn {turn}")).await.unwrap();
        assert_eq!(turn.outcome().await.unwrap().text(), "long answer ".repeat(20));
    }
    let asked = model.asked();
    let summaries = asked.iter().filter(|request| is_summary(request)).count();
    assert!((2..8).contains(&summaries), "{summaries}");
    let last_request = asked.last().unwrap();
    let users: Vec<String> = last_request
        .messages
        .iter()
        .filter(|message| matches!(***message, Message::User(_)))
        .map(|message| json!(message)["user"][0]["text"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        users,
        (0..12).map(|turn| format!("turn {turn}")).collect::<Vec<_>>(),
        "word for word, in order"
    );
    let held =
        last_request.messages.iter().filter(|message| matches!(***message, Message::Summary(_))).count();
    assert_eq!(held, 1, "one summary in the place of all before");
    for request in &asked {
        let shown: usize = request.messages.iter().map(|message| json!(message).to_string().len()).sum();
        assert!(shown <= 3_000 + 500, "{shown}");
        for pair in request.messages.windows(2) {
            let results = matches!(*pair[1], Message::Results(_));
            assert!(!results || matches!(*pair[0], Message::Model(_)), "results stand behind their calls");
        }
    }
    shell.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_the_user_said_in_a_turn_is_shown_also_when_the_turn_was_summarised() {
    // The turn's own beginning is summarised, with the user's words right before the summary; then the rest outgrows the bound, and
    // there is no other summary: the window must know where the turn begins.
    let summaries = AtomicU32::new(0);
    let model = Spy::new(move |request| {
        if is_summary(request) {
            return match summaries.fetch_add(1, Ordering::SeqCst) % 2 {
                0 => Ok(says("SUMMARY")),
                _ => Err(ModelError::new(ModelErrorKind::TooLong, "not now")),
            };
        }
        let text = last(request)["user"][0]["text"].as_str().unwrap_or_default().to_owned();
        let n = answers_in(request);
        Ok(if text.starts_with("old") || request.messages.len() > 12 {
            says(&"long answer ".repeat(20))
        } else {
            calls([("double", json!({ "n": n }))])
        })
    });
    for bytes in (900..2_400).step_by(60) {
        let planner = ToolLoop::new().history(Compaction::bytes(bytes));
        let shell = Shell::volatile().limits(limits()).model(model.clone()).tool(double()).planner(planner);
        let shell = shell.open().await.unwrap();
        let session = shell.session("ada").unwrap();
        for turn in 0..3 {
            let said = format!("old {turn} {}", "x".repeat(100));
            session.submit(said).await.unwrap().outcome().await.unwrap();
        }
        let begins = model.asked().len();
        let outcome = session.submit(format!("new {bytes}")).await.unwrap().outcome().await.unwrap();
        let is_planned =
            !matches!(&outcome, Outcome::Failed(failure) if failure.code == FailureCode::Planner);
        assert!(is_planned, "{bytes}: {outcome:?}");
        for request in model.asked()[begins..].iter().filter(|request| !is_summary(request)) {
            let shown = json!(request.messages).to_string();
            assert!(shown.contains(&format!("new {bytes}")), "{bytes}: {shown}");
        }
        shell.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_turn_that_ends_amid_calls_closes_them_for_the_next() {
    let model = Spy::new(|request| match request.messages.len() {
        1 => Ok(calls([("double", json!({ "n": 4 })), ("fail", json!({ "n": 4 }))])),
        3 => Err(ModelError::new(ModelErrorKind::Denied, "no credit")),
        _ => Ok(says("hello again")),
    });
    let shell = Shell::volatile().limits(limits()).model(model.clone()).tool(double()).tool(failing());
    let shell = shell.open().await.unwrap();
    let session = shell.session("ada").unwrap();
    let turn = session.submit("first").await.unwrap();
    assert_eq!(failure(&turn.outcome().await.unwrap()).0, FailureCode::Model);
    let turn = session.submit("second").await.unwrap();
    assert_eq!(turn.outcome().await.unwrap().text(), "hello again");
    let shown = json!(model.asked()[2].messages);
    let results = &shown[2]["results"];
    assert_eq!((&results[0]["status"], &results[0]["output"]), (&json!("done"), &json!({ "n": 8 })));
    assert_eq!(results[1]["status"], "failed");
    assert_eq!(shown[3]["user"][0]["text"], "second");
    shell.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_turn_that_expires_behind_its_calls_tells_the_next_what_became_of_them() {
    let model = Spy::new(|request| match request.messages.len() {
        1 => Ok(calls([("double", json!({ "n": 4 })), ("slow", json!({ "n": 4 }))])),
        _ => Ok(says("hello again")),
    });
    let slow = Tool::pure("slow", "Takes long", |_: Number, _: Call| async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        Ok::<_, ToolError>(json!(null))
    });
    let shell = Shell::volatile().limits(limits()).model(model.clone()).tool(double()).tool(slow);
    let shell = shell.open().await.unwrap();
    let session = shell.session("ada").unwrap();
    let turn = session.submit("first").deadline(Duration::from_millis(300));
    assert_eq!(turn.await.unwrap().outcome().await.unwrap(), Outcome::Expired);
    let turn = session.submit("second").await.unwrap();
    assert_eq!(turn.outcome().await.unwrap().text(), "hello again");
    let results = json!(model.asked()[1].messages)[2]["results"].clone();
    assert_eq!((&results[0]["status"], &results[0]["output"]), (&json!("done"), &json!({ "n": 8 })));
    assert_eq!(
        (&results[1]["status"], &results[1]["output"]),
        (&json!("closed"), &json!("the turn ended before the call had an outcome"))
    );
    shell.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_large_output_is_shown_as_a_handle_that_a_tool_reads() {
    let text = || (0..2_000).map(|n| format!("{n:04} ")).collect::<String>();
    let large =
        Tool::pure("large", "Says much", move |_: Number, _: Call| async move { Ok::<_, ToolError>(text()) });
    let model = Spy::new(|request| {
        let results = &last(request)["results"];
        let output = &results[0]["output"];
        Ok(match output.get("handle").and_then(Value::as_u64) {
            Some(handle) => {
                let bad = json!({ "handle": 1, "offset": 0 });
                calls([
                    ("read_output", json!({ "handle": handle, "offset": 5_000, "bytes": 10 })),
                    ("read_output", bad),
                ])
            }
            None if results.is_null() => calls([("large", json!({ "n": 1 }))]),
            None => says(&format!(
                "{} and {}",
                output["text"].as_str().unwrap(),
                results[1]["output"].as_str().unwrap()
            )),
        })
    });
    let folder = tempfile::tempdir().unwrap();
    let builder = Shell::at(folder.path().join("shell.db")).limits(limits()).model(model.clone()).tool(large);
    let planner = ToolLoop::new().handles_above(1_000).history(Window::bytes(6_000));
    let shell = builder.reads_outputs().planner(planner).open().await.unwrap();
    let turn = shell.session("ada").unwrap().submit("Read it").await.unwrap();
    let answer = turn.outcome().await.unwrap();
    assert_eq!(answer.text(), "1000 1001  and 1 is no handle: use one that you were shown", "{answer:?}");
    let shown = json!(model.asked()[1].messages[2])["results"][0]["output"].clone();
    assert_eq!(shown["bytes"], 10_000);
    assert!(shown["beginning"].as_str().unwrap().starts_with("0000 0001"), "{shown}");
    shell.shutdown().await.unwrap();
}
