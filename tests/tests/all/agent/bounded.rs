//! What models and tools say too much, too often or not at all: bounded, and never for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use agent_shell_core::data::{Answer, Body, Finish, Message, Prompt, Said, ToolCall, WaitEnd};
use agent_shell_core::ports::{ModelError, ModelErrorKind};
use agent_shell_core::{
    Actor, Call, Compaction, ErrorKind, FailureCode, Outcome, Plan, PlanByModel, Request, Resolution, Shell,
    Step, Tool, ToolError, ToolLoop, Window,
};
use serde_json::{Value, json};

use super::spy::{Spy, calls, is_summary, last, says};
use super::{Number, double, failing, failure, limits, outcome_of};

#[tokio::test]
async fn a_session_goes_on_when_its_model_makes_no_summaries() {
    let model = Spy::new(|request| match is_summary(request) {
        true => Err(ModelError::new(ModelErrorKind::TooLong, "too long for me")),
        false => Ok(says(&"long answer ".repeat(20))),
    });
    let planner = ToolLoop::new().history(Compaction::bytes(2_000));
    let shell =
        Shell::volatile().limits(limits()).model(model.clone()).planner(planner).open().await.unwrap();
    let session = shell.session("ada").unwrap();
    for turn in 0..30 {
        let turn = session.submit(format!("turn {turn}")).await.unwrap();
        assert_eq!(turn.outcome().await.unwrap().text(), "long answer ".repeat(20));
    }
    let asked = model.asked();
    let (summaries, questions): (Vec<_>, Vec<_>) = asked.iter().partition(|request| is_summary(request));
    assert!((1..15).contains(&summaries.len()), "{} summaries were asked for", summaries.len());
    for request in questions {
        let shown: usize = request.messages.iter().map(|message| json!(message).to_string().len()).sum();
        assert!(shown <= 2_000, "{shown}");
    }
    shell.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_question_for_a_summary_shows_the_tools_that_were_called() {
    let model = Spy::new(|request| {
        let results = matches!(**request.messages.last().unwrap(), Message::Results(_));
        Ok(match is_summary(request) {
            true => says("SUMMARY"),
            false if results => says(&"long answer ".repeat(20)),
            false => calls([("double", json!({ "n": 1 }))]),
        })
    });
    let planner = ToolLoop::new().instructions("Double.").history(Compaction::bytes(3_000));
    let shell = Shell::volatile().limits(limits()).model(model.clone()).tool(double()).planner(planner);
    let shell = shell.open().await.unwrap();
    for turn in 0..12 {
        let turn = shell.session("ada").unwrap().submit(format!("turn {turn}")).await.unwrap();
        turn.outcome().await.unwrap();
    }
    let asked = model.asked();
    assert!(asked.iter().any(|request| is_summary(request)));
    assert!(asked.iter().all(|request| request.prompt == asked[0].prompt), "one beginning for all questions");
    shell.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_output_that_nothing_has_room_for_does_not_fail_the_turns_after_it() {
    let large = || {
        Tool::pure("large", "Says much", |_: Number, _: Call| async move {
            Ok::<_, ToolError>("much ".repeat(100_000))
        })
    };
    let model = Spy::new(|request| {
        Ok(match last(request)["user"][0]["text"].as_str() {
            Some("first") => calls([("large", json!({ "n": 1 }))]),
            _ => says("hello"),
        })
    });
    for compacts in [false, true] {
        let planner = ToolLoop::new();
        let planner = match compacts {
            true => planner.history(Compaction::bytes(100_000)),
            false => planner.history(Window::bytes(100_000)),
        };
        let builder = Shell::volatile().limits(limits()).model(model.clone()).tool(large());
        let shell = builder.planner(planner).open().await.unwrap();
        let session = shell.session("ada").unwrap();
        let outcome = session.submit("first").await.unwrap().outcome().await.unwrap();
        assert_eq!(failure(&outcome).0, FailureCode::TooLarge);
        let outcome = session.submit("second").await.unwrap().outcome().await.unwrap();
        assert_eq!(outcome.text(), "hello");
        let asked = model.asked();
        let shown = json!(asked.last().unwrap().messages);
        assert_eq!(shown[2]["results"][0]["output"]["bytes"], 500_000, "as a handle");
        shell.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_reason_is_told_up_to_a_bound() {
    let wordy = Tool::pure("wordy", "Fails at length", |_: Number, _: Call| async move {
        Err::<Value, _>(ToolError::refused("ä".repeat(200_000)))
    });
    let model = Spy::script([calls([("wordy", json!({ "n": 1 }))]), says("Too much.")]);
    let planner = ToolLoop::new().history(Window::bytes(20_000));
    let shell = Shell::volatile().limits(limits()).model(model.clone()).tool(wordy).planner(planner);
    let shell = shell.open().await.unwrap();
    let turn = shell.session("ada").unwrap().submit("Try").await.unwrap();
    assert_eq!(turn.outcome().await.unwrap().text(), "Too much.");
    let told = last(&model.asked()[1])["results"][0]["output"].as_str().unwrap().to_owned();
    assert!(told.len() < 4_200 && told.ends_with(" bytes in all)"), "{}", told.len());
    shell.shutdown().await.unwrap();
}

#[tokio::test]
async fn the_same_failing_call_counts_once_beside_itself_and_in_any_order_of_members() {
    let pair = |n: u64| match n % 2 {
        0 => json!({ "n": 1, "m": 2 }),
        _ => serde_json::from_str(r#"{ "m": 2, "n": 1 }"#).unwrap(),
    };
    let model = Spy::new(move |request| {
        let n = request.messages.len() as u64 / 2;
        Ok(calls([("fail", pair(n)), ("fail", pair(n)), ("fail", pair(n + 1))]))
    });
    let outcome = outcome_of(&model).await;
    assert_eq!(failure(&outcome).0, FailureCode::Stuck, "{outcome:?}");
    assert_eq!(model.asked().len(), 4, "it is told three times, and may answer to the third");
}

#[tokio::test]
async fn a_plan_that_fails_in_the_same_way_is_not_planned_for_ever() {
    let rounds = Arc::new(AtomicU32::new(0));
    let model = {
        let rounds = rounds.clone();
        Spy::new(move |_| {
            let id = format!("s{}", rounds.fetch_add(1, Ordering::SeqCst));
            let step = json!({ "id": id, "tool": "fail", "input": { "n": 1 }, "may_fail": true });
            Ok(says(&json!({ "steps": [step] }).to_string()))
        })
    };
    let planner = PlanByModel::new().reviews(true);
    let builder = Shell::volatile().limits(limits()).model(model.clone()).tool(failing());
    let shell = builder.planner(planner).open().await.unwrap();
    let outcome = shell.session("ada").unwrap().submit("Do").await.unwrap().outcome().await.unwrap();
    assert_eq!(failure(&outcome).0, FailureCode::Stuck, "{outcome:?}");
    assert_eq!(model.asked().len(), 4);
    shell.shutdown().await.unwrap();
}

#[tokio::test]
async fn calls_that_are_too_many_are_not_made_and_the_model_is_told() {
    let model =
        Spy::script([calls((0..12).map(|n| ("double", json!({ "n": n })))), says("Eight at most, then.")]);
    let mut bounds = limits();
    bounds.steps_per_turn = 10;
    let shell = Shell::volatile().limits(bounds).model(model.clone()).tool(double()).open().await.unwrap();
    let outcome = shell.session("ada").unwrap().submit("Double").await.unwrap().outcome().await.unwrap();
    assert_eq!(outcome.text(), "Eight at most, then.");
    let told = last(&model.asked()[1])["results"].clone();
    let told: Vec<&str> =
        told.as_array().unwrap().iter().map(|result| result["status"].as_str().unwrap()).collect();
    assert_eq!(told.iter().filter(|status| **status == "done").count(), 8, "{told:?}");
    assert_eq!(told.iter().filter(|status| **status == "rejected").count(), 4, "{told:?}");
    shell.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_answer_that_is_not_whole_is_no_answer() {
    for (finish, reason, asked) in [
        (Finish::Paused, "the model paused", 2),
        (Finish::Other("content_filter".into()), "content_filter", 1),
        (Finish::Declined, "the model declined to answer: half", 1),
    ] {
        let model = Spy::new(move |_| {
            let mut answer = says("half");
            answer.finish = finish.clone();
            Ok(answer)
        });
        let planner = ToolLoop::new().retry(agent_shell_core::Retry { attempts: 2, base_ms: 1, max_ms: 1 });
        let shell =
            Shell::volatile().limits(limits()).model(model.clone()).planner(planner).open().await.unwrap();
        let outcome = shell.session("ada").unwrap().submit("Say").await.unwrap().outcome().await.unwrap();
        let (code, message) = failure(&outcome);
        assert!(code == FailureCode::Model && message.contains(reason), "{outcome:?}");
        assert_eq!(model.asked().len(), asked, "{reason}");
        shell.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_model_without_tools_is_refused_by_name() {
    let model = agent_shell_core::Scripted::new([agent_shell_core::Reply::text("hi")]);
    let mut capabilities = agent_shell_core::ports::ModelCapabilities::default();
    capabilities.tools = false;
    let model = model.able_to(capabilities);
    let shell = Shell::volatile().limits(limits()).model(model).tool(double()).open().await.unwrap();
    let outcome = shell.session("ada").unwrap().submit("Double").await.unwrap().outcome().await.unwrap();
    let (code, message) = failure(&outcome);
    assert!(code == FailureCode::Planner && message.contains("`default` calls no tools"), "{message}");
    shell.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_handle_of_an_output_that_an_operator_gave_can_be_read() {
    let charge = Tool::irreversible("charge", "Charges", |_: Number, _: Call| async move {
        Err::<Value, _>(ToolError::ambiguous("the line is dead"))
    });
    let model = Spy::new(|request| {
        let output = last(request)["results"][0]["output"].clone();
        Ok(match (output.get("handle").and_then(Value::as_u64), output["text"].as_str()) {
            (Some(handle), _) => {
                calls([("read_output", json!({ "handle": handle, "offset": 10, "bytes": 5 }))])
            }
            (_, Some(text)) => says(text),
            _ => calls([("charge", json!({ "n": 1 }))]),
        })
    });
    let builder = Shell::volatile().limits(limits()).model(model.clone()).tool(charge);
    // Not named, and shown all the same: without it nobody could read a handle.
    let planner = ToolLoop::new().tools(["charge"]);
    let shell = builder.reads_outputs().planner(planner).open().await.unwrap();
    let turn = shell.session("ada").unwrap().submit("Charge").await.unwrap();
    assert_eq!(turn.outcome().await.unwrap_err().kind(), ErrorKind::AtRest);
    let rest = turn.rests().await.unwrap().remove(0);
    let output = json!((0..5_000).map(|n| format!("{n:04} ")).collect::<String>());
    turn.resolve(rest.step.as_str(), Resolution::Applied(output), &Actor::Host).await.unwrap();
    let outcome = turn.outcome().await.unwrap();
    assert_eq!(outcome, Outcome::Answered(json!("0002 ")));
    shell.shutdown().await.unwrap();
}

#[tokio::test]
async fn the_outputs_of_signals_and_of_questions_can_be_read_by_their_handles() {
    let model = Spy::new(|_| Ok(says(&"The draft. ".repeat(1_000))));
    let shell = Shell::volatile().limits(limits()).model(model).reads_outputs().open().await.unwrap();
    let session = shell.session("ada").unwrap();
    let steps =
        [Step::signal("news", "news"), Step::ask("draft", "default", Prompt::default(), "Write a draft")];
    let turn = session.submit(Request::plan(Plan::new(steps).unwrap())).await.unwrap();
    session.signal("news", json!({ "all": "The news. ".repeat(1_000) }), None, &Actor::Host).await.unwrap();
    turn.outcome().await.unwrap();

    let records = session.history().await.unwrap().next(100).await.unwrap();
    let place = |is_it: fn(&Body) -> bool| records.iter().find(|record| is_it(&record.body)).unwrap().seq;
    let news = place(|body| matches!(body, Body::WaitEnded { end: WaitEnd::Signalled(_), .. }));
    let draft = place(|body| matches!(body, Body::ModelAnswered { .. }));
    let opened = place(|body| matches!(body, Body::SessionOpened { .. }));
    let read = |id: &str, handle: agent_shell_core::words::Seq, offset: u64| {
        let part = json!({ "handle": handle.number(), "offset": offset, "bytes": 10 });
        Step::tool(id, "read_output", part).may_fail()
    };
    let steps = [read("news", news, 8), read("draft", draft, 10_989), read("none", opened, 0)];
    let outcome =
        session.submit(Request::plan(Plan::new(steps).unwrap())).await.unwrap().outcome().await.unwrap();
    let Outcome::Answered(answer) = &outcome else { panic!("{outcome:?}") };
    assert_eq!(answer["news"], json!({ "offset": 8, "bytes": 10_010, "text": "The news. " }));
    assert_eq!(answer["draft"], json!({ "offset": 10_989, "bytes": 11_000, "text": "The draft." }));
    assert_eq!(answer.get("none"), None, "a record without an output is no handle");
    shell.shutdown().await.unwrap();
}

fn nested(levels: usize) -> Value {
    (1..levels).fold(json!([]), |inner, _| json!([inner]))
}

#[tokio::test]
async fn what_is_nested_too_deep_to_be_kept_is_told_to_the_model() {
    let call = |id: &str, levels| Said::Call(ToolCall::new(id, "any", json!({ "of": nested(levels) })));
    let deep = Answer::new(vec![call("a", 56), call("b", 55)]);
    let tree = |levels| says(&nested(levels).to_string());
    let model = Spy::script([deep, tree(65), tree(64)]);
    let any = Tool::pure("any", "Takes anything", |given: Value, _: Call| async move {
        Ok::<_, ToolError>(json!(given.to_string().len()))
    });
    let shell = Shell::volatile().limits(limits()).model(model.clone()).tool(any).planner(ToolLoop::new());
    let shell = shell.open().await.unwrap();
    let turn = shell.session("ada").unwrap().submit("A tree").wants::<Value>().await.unwrap();
    assert_eq!(turn.outcome().await.unwrap(), Outcome::Answered(nested(64)));
    let asked = model.asked();
    let results = last(&asked[1])["results"].clone();
    assert_eq!((&results[0]["status"], &results[1]["status"]), (&json!("rejected"), &json!("done")));
    assert!(results[0]["output"].as_str().unwrap().contains("nest it less deep"), "{results}");
    let told = last(&asked[2]).to_string();
    assert!(told.contains("nested deeper than 64 levels"), "{told}");
    shell.shutdown().await.unwrap();
}
