//! Every bound is checked, with a typed error, and nothing is lost.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use agent_shell_core::words::Head;
use agent_shell_core::{
    Actor, Call, ErrorKind, FailureCode, Outcome, Plan, PlanView, Planned, Planner, PlannerError, Request,
    Shell, Step, Subject, Template, Tenant, Tool, ToolError, from,
};
use async_trait::async_trait;
use serde_json::{Value, json};

use crate::support::{counted, limits, on_each};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_mailbox_refuses_more() {
    on_each(|shell, _| async {
        let mut few = limits();
        few.user_mail_per_session = 3;
        let shell = shell.limits(few).open().await.unwrap();
        let session = shell.session("s").unwrap();
        let waits = Plan::new([Step::signal("wait", "go")]).unwrap();
        let first = session.submit(waits.clone()).await.unwrap();
        let mut queued = Vec::new();
        let refused = loop {
            match session.submit(waits.clone()).await {
                Ok(turn) => queued.push(turn),
                Err(error) => break error,
            }
            assert!(queued.len() < 5, "the bound holds");
        };
        assert_eq!(refused.kind(), ErrorKind::Overloaded);
        assert!(queued.len() >= 2);
        // What was accepted runs all the same, in order; mail makes room as it is read.
        for turn in std::iter::once(&first).chain(&queued) {
            while let Err(error) = session.signal("go", json!(null), None, &Actor::Host).await {
                assert_eq!(error.kind(), ErrorKind::Overloaded);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let outcome =
                tokio::time::timeout(Duration::from_secs(20), turn.outcome()).await.unwrap().unwrap();
            assert_eq!(outcome, Outcome::Answered(Value::Null));
        }
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_values_are_kept_apart_and_too_large_ones_refused() {
    on_each(|shell, _| async {
        let mut small = limits();
        small.inline_bytes = 1_000;
        small.payload_bytes = 100_000;
        small.input_bytes = 50_000;
        let make = Tool::pure("make", "", |n: usize, _: Call| async move { Ok("x".repeat(n)) });
        let calls = Arc::new(AtomicU32::new(0));
        let measure = Tool::idempotent("measure", "", |text: String, _: Call| async move { Ok(text.len()) });
        let shell = shell.limits(small).tool(make).tool(measure).tool(counted(&calls)).open().await.unwrap();
        let session = shell.session("s").unwrap();
        let plan = |n: usize| {
            Plan::builder()
                .step(Step::tool("make", "make", json!(n)))
                .step(Step::tool("measure", "measure", from("make", "")))
                .answer(Template::object([("text", from("make", "")), ("length", from("measure", ""))]))
                .build()
                .unwrap()
        };
        let outcome = session.submit(plan(60_000)).await.unwrap().outcome().await.unwrap();
        assert_eq!(outcome.answer().unwrap()["length"], 60_000);
        assert_eq!(outcome.answer().unwrap()["text"].as_str().unwrap().len(), 60_000);
        // The same from the journal, where the text is a blob.
        let mut history = session.history().await.unwrap();
        let records = history.next(100).await.unwrap();
        assert!(records.iter().any(|record| matches!(&record.body,
            agent_shell_core::data::Body::StepSucceeded { output, .. } if output.value().as_str().is_some_and(|text| text.len() == 60_000))));
        let outcome = session.submit(plan(200_000)).await.unwrap().outcome().await.unwrap();
        assert!(matches!(outcome, Outcome::Failed(failure) if failure.code == FailureCode::TooLarge));
        let request = Request::plan(plan(1)).input("y".repeat(60_000));
        assert_eq!(session.submit(request).await.unwrap_err().kind(), ErrorKind::InvalidInput);
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_beyond_the_bounds_fails_its_turn() {
    on_each(|shell, _| async {
        let mut few = limits();
        few.steps_per_turn = 2;
        let shell = shell.limits(few).open().await.unwrap();
        let steps = (0..3).map(|nth| Step::timer(format!("s{nth}"), Duration::ZERO));
        let turn = shell.session("s").unwrap().submit(Plan::new(steps).unwrap()).await.unwrap();
        let outcome = turn.outcome().await.unwrap();
        assert!(matches!(outcome, Outcome::Failed(failure) if failure.message.contains("at most 2")));
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_steps_run_at_once_than_may() {
    on_each(|shell, _| async {
        let mut few = limits();
        few.parallel_steps = 3;
        let (now, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let (current, highest) = (now.clone(), most.clone());
        let busy = Tool::pure("busy", "", move |_: Value, _: Call| {
            use std::sync::atomic::Ordering::SeqCst;
            let (current, highest) = (current.clone(), highest.clone());
            async move {
                highest.fetch_max(current.fetch_add(1, SeqCst) + 1, SeqCst);
                tokio::time::sleep(Duration::from_millis(10)).await;
                current.fetch_sub(1, SeqCst);
                Ok(Value::Null)
            }
        });
        let shell = shell.limits(few).tool(busy).open().await.unwrap();
        let steps = (0..12).map(|nth| Step::tool(format!("s{nth}"), "busy", json!(nth)));
        let turn = shell.session("s").unwrap().submit(Plan::new(steps).unwrap()).await.unwrap();
        turn.outcome().await.unwrap();
        assert_eq!(most.load(std::sync::atomic::Ordering::SeqCst), 3);
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_belongs_to_its_subject() {
    on_each(|shell, _| async {
        let shell = shell.open().await.unwrap();
        let id = shell.session("anna").unwrap().id().await.unwrap();
        assert_eq!(shell.session("anna").unwrap().id().await.unwrap(), id, "the same name, the same session");
        let other = shell.session_of(Tenant::default(), "anna", Subject::None).unwrap();
        assert_eq!(other.id().await.unwrap_err().kind(), ErrorKind::InvalidInput);
        let elsewhere = shell.session_of(Tenant::new("acme").unwrap(), "anna", Subject::None).unwrap();
        assert_ne!(elsewhere.id().await.unwrap(), id, "names are apart by tenant");
        assert_eq!(shell.session("").unwrap_err().kind(), ErrorKind::InvalidInput);
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_key_store_is_told_from_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shell.db");
    let shell = Shell::at(&path).limits(limits()).open().await.unwrap();
    shell.session("anna").unwrap().id().await.unwrap();
    shell.shutdown().await.unwrap();
    drop(shell);
    std::fs::remove_file(folder.path().join("shell.db.keys")).unwrap();
    let shell = Shell::at(&path).limits(limits()).open().await.unwrap();
    assert_eq!(shell.session("anna").unwrap().id().await.unwrap_err().kind(), ErrorKind::KeyLost);
    assert_eq!(shell.session("new").unwrap().id().await.unwrap_err().kind(), ErrorKind::KeyLost);
    shell.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_requires_a_tool_waits_for_an_owner_that_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shell.db");
    let ok = || Tool::idempotent("act", "", |_: Value, _: Call| async { Ok::<_, ToolError>("done") });
    let shell = Shell::at(&path).limits(limits()).tool(ok()).open().await.unwrap();
    let plan = Plan::builder()
        .step(Step::signal("wait", "go"))
        .step(Step::tool("act", "act", json!({})).after(["wait"]))
        .build()
        .unwrap();
    let turn = shell.session("s").unwrap().submit(plan).await.unwrap();
    while shell.session("s").unwrap().head().await.unwrap().seq.number() < 4 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    shell.shutdown().await.unwrap();
    drop(shell);
    for tools in [vec![], vec![ok().version(2)]] {
        let builder =
            tools.into_iter().fold(Shell::at(&path).limits(limits()), |shell, tool| shell.tool(tool));
        let shell = builder.open().await.unwrap();
        shell.session("s").unwrap().signal("go", json!(1), Some("only-once"), &Actor::Host).await.unwrap();
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert_eq!(
            shell.turn(turn.id()).ended().await.unwrap(),
            None,
            "this owner lacks what the session requires"
        );
        shell.shutdown().await.unwrap();
    }
    let shell = Shell::at(&path).limits(limits()).tool(ok()).open().await.unwrap();
    assert_eq!(shell.turn(turn.id()).outcome().await.unwrap(), Outcome::Answered(json!("done")));
    shell.shutdown().await.unwrap();
}

/// Plans the one step that the test's tool can do.
struct Acts;

#[async_trait]
impl Planner for Acts {
    async fn plan(&self, _: PlanView) -> Result<Planned, PlannerError> {
        Ok(Planned::Whole(Plan::new([Step::tool("act", "act", json!({}))])?))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shell_that_lacks_the_planner_or_the_tool_does_not_fail_the_turn() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shell.db");
    let act = || Tool::idempotent("act", "", |_: Value, _: Call| async { Ok::<_, ToolError>("done") });
    let requests = || {
        let plan = Plan::new([Step::tool("act", "act", json!({}))]).unwrap();
        [("planned", Request::new(json!("go"))), ("fixed", Request::plan(plan))]
    };
    // One place for running turns, and a turn that never leaves it: the others wait in their mailboxes.
    let mut one = limits();
    one.running_turns = 1;
    one.drain_ms = 20;
    let endless =
        Tool::pure("endless", "", |_: Value, _: Call| std::future::pending::<Result<Value, ToolError>>());
    let shell = Shell::at(&path).limits(one).tool(act()).tool(endless).planner(Acts).open().await.unwrap();
    let forever = Plan::new([Step::tool("endless", "endless", json!({}))]).unwrap();
    shell.session("busy").unwrap().submit(forever).await.unwrap();
    while shell.session("busy").unwrap().head().await.unwrap() == Head::EMPTY {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for (name, request) in requests() {
        shell.session(name).unwrap().submit(request).dedupe("once").await.unwrap();
    }
    shell.shutdown().await.unwrap();
    drop(shell);

    let shell = Shell::at(&path).limits(limits()).open().await.unwrap();
    assert_eq!(shell.recovered(), 2, "what waits unread shows no requirement yet");
    tokio::time::sleep(Duration::from_millis(150)).await;
    shell.shutdown().await.unwrap();
    drop(shell);

    let shell = Shell::at(&path).limits(limits()).tool(act()).planner(Acts).open().await.unwrap();
    for (name, request) in requests() {
        let turn = shell.session(name).unwrap().submit(request).dedupe("once").await.unwrap();
        let outcome = tokio::time::timeout(Duration::from_secs(20), turn.outcome()).await.unwrap().unwrap();
        assert_eq!(outcome, Outcome::Answered(json!("done")), "{name}");
    }
    shell.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bound_that_lets_nothing_run_is_refused() {
    let open = async |change: fn(&mut agent_shell_core::Limits)| {
        let mut limits = limits();
        change(&mut limits);
        Shell::volatile().limits(limits).open().await.unwrap_err()
    };
    let zero = open(|limits| limits.parallel_steps = 0).await;
    assert_eq!(zero.kind(), ErrorKind::InvalidInput);
    assert!(zero.to_string().contains("parallel_steps"), "{zero}");
    let large = open(|limits| limits.payload_bytes = 1 << 30).await;
    assert_eq!(large.kind(), ErrorKind::InvalidInput);
    assert!(large.to_string().contains("payload_bytes"), "{large}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_context_that_grows_beyond_its_bound_fails_the_step() {
    on_each(|shell, _| async {
        let make = Tool::pure("make", "", |n: usize, _: Call| async move { Ok(json!({ "text": "x".repeat(n) })) });
        let shell = shell.tool(make).open().await.unwrap();
        let keys = (0..30).map(|nth| format!("key {nth}"));
        let step = keys.fold(Step::tool("make", "make", json!(100_000)), |step, key| {
            step.writes(key, agent_shell_core::Reducer::Replace, "/text")
        });
        let turn = shell.session("s").unwrap().submit(Plan::new([step]).unwrap()).await.unwrap();
        let outcome = turn.outcome().await.unwrap();
        assert!(
            matches!(&outcome, Outcome::Failed(failure) if failure.code == FailureCode::TooLarge && failure.message.contains("context")),
            "{outcome:?}"
        );
        shell.shutdown().await.unwrap();
    })
    .await;
}

/// Twenty outputs of 3.6 MB each, as JSON, at once: more than one append may hold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_together_and_is_large_is_sent_in_parts() {
    let mut large = limits();
    large.riding_ms = 10_000;
    large.turn_bytes = 1 << 30;
    let barrier = Arc::new(tokio::sync::Barrier::new(20));
    let make = Tool::pure("make", "", move |_: Value, _: Call| {
        let barrier = barrier.clone();
        async move {
            barrier.wait().await;
            Ok("\u{1}".repeat(600_000))
        }
    });
    let shell = Shell::volatile().limits(large).tool(make).open().await.unwrap();
    let steps = (0..20).map(|nth| Step::tool(format!("s{nth}"), "make", json!(null)));
    let plan = Plan::builder().steps(steps).answer(json!("done")).build().unwrap();
    let turn = shell.session("s").unwrap().submit(plan).await.unwrap();
    let outcome = tokio::time::timeout(Duration::from_secs(60), turn.outcome()).await;
    assert_eq!(outcome.expect("the session is not stuck").unwrap(), Outcome::Answered(json!("done")));
    shell.shutdown().await.unwrap();
}

/// A decision that comes second changes nothing, and hides nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_decision_does_not_hide_the_rest() {
    let shell = Shell::volatile().limits(limits()).open().await.unwrap();
    let session = shell.session("s").unwrap();
    let steps = [Step::approval("one", json!("one?")), Step::approval("two", json!("two?"))];
    let turn = session.submit(Plan::new(steps).unwrap()).await.unwrap();
    let approval = turn.approval().await.unwrap().unwrap();
    approval.approve(&Actor::Host).await.unwrap();
    for _ in 0..20 {
        approval.approve(&Actor::Host).await.unwrap();
        let rests = tokio::time::timeout(Duration::from_secs(5), turn.outcome()).await;
        assert_eq!(rests.expect("it rests").unwrap_err().kind(), ErrorKind::AtRest);
    }
    shell.shutdown().await.unwrap();
}
