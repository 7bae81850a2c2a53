//! Cases through variants: each in a session of its own, bounded, and whatever happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use agent_shell_core::evaluation::{CallEnd, Case, DataSet, Evaluation, Exact, Variant};
use agent_shell_core::{Call, ErrorKind, Plan, Reply, Request, Scripted, Shell, Step, Tool, input};
use serde_json::{Value, json};

use super::{World, agent, cases};
use crate::support::limits;

fn variant(name: &str, instructions: &'static str, world: &World) -> Variant {
    let world = world.clone();
    Variant::new(name, move || agent(Shell::volatile(), instructions, &world).open())
}

#[tokio::test]
async fn every_case_is_run_and_measured_in_a_session_of_its_own() {
    let world = World::default();
    let set = cases(&["hello", "refund A-17", "refund B-0"]);
    let comparison =
        Evaluation::new(set).variant(variant("base", "", &world)).scorer(Exact::new()).run().await.unwrap();
    let [hello, refund, failed] = &comparison.base().runs[..] else { panic!("{comparison}") };
    assert_eq!((hello.case.as_str(), hello.how_it_ended().as_str()), ("hello", "answered"));
    assert_eq!((hello.questions, hello.calls.len()), (1, 0));
    // 100 tokens at 1 and 10 at 2 nano-USD.
    assert_eq!((hello.spent.tokens(), hello.spent.cost_nano_usd), (Some(110), Some(120)));
    assert_eq!((refund.questions, refund.spent.cost_nano_usd), (2, Some(240)));
    assert_eq!(refund.calls[0].input.as_deref(), Some(&json!({ "order": "A-17", "cents": 1250 })));
    let done = json!({ "refunded": "A-17", "cents": 1250 });
    assert_eq!(refund.calls[0].end, Some(CallEnd::Succeeded(Arc::new(done))));
    let Some(CallEnd::Failed(failure)) = &failed.calls[0].end else { panic!("{failed:?}") };
    assert_eq!(failure.message, "there is no such order");
    assert_eq!(world.refunds(), 2);
    assert!(comparison.base().runs.iter().all(|run| run.score("exact").unwrap().number() == 1.0));

    // A model that counts its answers in the conversation hears each case from its beginning, and the turns before it.
    let script = || Scripted::by_answers([Reply::text("first"), Reply::text("second")]);
    let mut set = DataSet::new();
    set.add(Case::new("alone", "x").expected("first")).unwrap();
    set.add(Case::new("later", "x").expected("second").after("hello")).unwrap();
    let scripted =
        Variant::new("scripted", move || Shell::volatile().limits(limits()).model(script()).open());
    let comparison =
        Evaluation::new(set).variant(scripted).scorer(Exact::new()).parallel(1).run().await.unwrap();
    let scores: Vec<_> =
        comparison.base().runs.iter().map(|run| run.score("exact").unwrap().number()).collect();
    assert_eq!(scores, [1.0, 1.0], "{comparison}");
    assert_eq!(comparison.base().runs[1].questions, 1, "what was before is not measured");
}

#[tokio::test]
async fn what_fails_in_a_case_is_a_result_and_the_others_go_on() {
    let shell = || {
        let reply = |request: &agent_shell_core::ports::ModelRequest| match super::said(request).0.as_str() {
            "hang" => Reply::hang(),
            "decline" => Reply::text("no").finish(agent_shell_core::data::Finish::Declined),
            "ask" => Reply::call("act", json!(null)),
            other => Reply::text(other),
        };
        let act = Tool::irreversible("act", "Acts", |_: Value, _: Call| async { Ok("done") }).ask_first();
        Shell::volatile().limits(limits()).model(Scripted::with(reply)).tool(act)
    };
    let comparison = Evaluation::new(cases(&["hang", "decline", "ask", "fine"]))
        .variant(Variant::new("base", move || shell().open()))
        .deadline(Duration::from_millis(400))
        .scorer(Exact::new())
        .run()
        .await
        .unwrap();
    let ends: Vec<String> = comparison.base().runs.iter().map(|run| run.how_it_ended()).collect();
    assert!(ends[0] == "expired" || ends[0].starts_with("no outcome: the turn did not end"), "{ends:?}");
    assert!(ends[1].starts_with("failed: the model declined"), "{ends:?}");
    assert!(ends[2].starts_with("no outcome: the turn rests"), "{ends:?}");
    assert_eq!(ends[3], "answered");
    let scores: Vec<f64> =
        comparison.base().runs.iter().map(|run| run.score("exact").unwrap().number()).collect();
    assert_eq!(scores, [0.0, 0.0, 0.0, 1.0]);
    assert_eq!(comparison.base().summary().answered, 1);
}

#[tokio::test]
async fn no_more_cases_run_beside_each_other_than_may() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = most.clone();
    let open = move || {
        let tool = Tool::pure("work", "Works", move |n: Value, _: Call| {
            let (now, most) = (now.clone(), most.clone());
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(30)).await;
                now.fetch_sub(1, Ordering::SeqCst);
                Ok(n)
            }
        });
        Shell::volatile().limits(limits()).tool(tool).open()
    };
    let plan = |case: &Case| {
        let plan = Plan::new([Step::tool("work", "work", input(""))]).unwrap();
        Request::plan(plan).input(case.input.clone())
    };
    let inputs: Vec<String> = (0..9).map(|n| n.to_string()).collect();
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let comparison =
        Evaluation::new(cases(&inputs)).variant(Variant::new("base", open).asks(plan)).parallel(3);
    let comparison = comparison.run().await.unwrap();
    assert_eq!(seen.load(Ordering::SeqCst), 3);
    // However they ended, they are told in the order of the data set; of a `Pure` call the input is told too.
    for (run, input) in comparison.base().runs.iter().zip(inputs) {
        assert_eq!((run.case.as_str(), run.is_answered()), (input, true));
        assert_eq!(run.calls[0].input.as_deref(), Some(&json!(input)));
    }
}

#[tokio::test]
async fn what_can_not_be_compared_is_refused() {
    let world = World::default();
    let refused = async |evaluation: Evaluation| {
        let error = evaluation.run().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        error.to_string()
    };
    let base = || variant("base", "", &world);
    assert!(refused(Evaluation::new(cases(&["x"]))).await.starts_with("there is no variant"));
    assert!(refused(Evaluation::new(DataSet::new()).variant(base())).await.starts_with("there is no case"));
    let twice = Evaluation::new(cases(&["x"])).variant(base()).variant(base());
    assert_eq!(refused(twice).await, "two variants are called `base`: give each its own name");
    let twice = Evaluation::new(cases(&["x"])).variant(base()).scorer(Exact::new()).scorer(Exact::new());
    assert_eq!(refused(twice).await, "two scorers are called `exact`: give each its own name");
    let broken = || {
        let tool = || Tool::pure("same", "Same", |n: Value, _: Call| async move { Ok(n) });
        Shell::volatile().tool(tool()).tool(tool()).open()
    };
    let broken = Evaluation::new(cases(&["x"])).variant(Variant::new("broken", broken));
    assert!(refused(broken).await.starts_with("variant `broken` can't be opened: two tools"));
}
