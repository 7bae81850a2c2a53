//! Turns from end to end, through the public interface, on the volatile store and on SQLite.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use agent_shell_core::data::Body;
use agent_shell_core::ports::SessionFilter;
use agent_shell_core::runtime::Needs;
use agent_shell_core::words::SessionId;
use agent_shell_core::{
    Actor, Call, ErrorKind, Outcome, Plan, Reducer, Request, Resolution, Retry, Shell, Step, Subject,
    Template, Tenant, Tool, ToolError, from, input, output,
};
use serde_json::{Value, json};

use crate::support::{counted, double, limits, on_each};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_runs_and_answers() {
    on_each(|shell, _| async {
        let calls = Arc::new(AtomicU32::new(0));
        let shell = shell.tool(double()).tool(counted(&calls)).open().await.unwrap();
        let plan = Plan::builder()
            .step(Step::tool("a", "double", Template::object([("n", input("/n"))])).writes(
                "sum",
                Reducer::Sum,
                "/n",
            ))
            .step(Step::tool("b", "count", Template::object([("n", from("a", "/n"))])).writes(
                "sum",
                Reducer::Sum,
                "/n",
            ))
            .step(
                Step::tool("c", "double", Template::object([("n", agent_shell_core::context("sum"))]))
                    .after(["a", "b"]),
            )
            .answer(from("c", "/n"))
            .build()
            .unwrap();
        let session = shell.session("customer-1").unwrap();
        let turn =
            session.submit(Request::plan(plan.clone()).input(json!({ "n": 4 }))).dedupe("one").await.unwrap();
        assert_eq!(turn.outcome().await.unwrap(), Outcome::Answered(json!(32)));
        let again =
            session.submit(Request::plan(plan.clone()).input(json!({ "n": 4 }))).dedupe("one").await.unwrap();
        assert_eq!(again.id(), turn.id(), "the same key and input is the same turn");
        assert_eq!(again.outcome().await.unwrap(), Outcome::Answered(json!(32)));
        let other = session.submit(Request::plan(plan).input(json!({ "n": 5 }))).dedupe("one").await;
        assert_eq!(other.unwrap_err().kind(), ErrorKind::Mismatch);
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_read_by_its_id_alone() {
    on_each(|shell, _| async {
        let shell = shell.tool(double()).open().await.unwrap();
        let plan = Plan::new([Step::tool("a", "double", json!({ "n": 4 }))]).unwrap();
        let session = shell.session_of(Tenant::new("acme").unwrap(), "nightly", Subject::None).unwrap();
        session.submit(plan).await.unwrap().outcome().await.unwrap();
        let all = shell.sessions(SessionFilter::default(), None, 10).await.unwrap();
        let [entry] = &all[..] else { panic!("{all:?}") };
        let records = shell.history(entry.id).await.unwrap().next(100).await.unwrap();
        assert_eq!(records, session.history().await.unwrap().next(100).await.unwrap());
        assert!(matches!(&records[0].body, Body::SessionOpened { name, .. } if name.as_str() == "nightly"));
        let unknown = shell.history(SessionId::from_bytes([7; 16])).await.err().unwrap();
        assert_eq!(unknown.kind(), ErrorKind::NotFound);
        assert_eq!(
            shell.sessions(SessionFilter::default(), None, 10).await.unwrap(),
            all,
            "nothing is registered"
        );
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_shows_the_call_and_lets_it_run() {
    on_each(|shell, _| async {
        let calls = Arc::new(AtomicU32::new(0));
        let shell = shell.tool(counted(&calls).ask_first()).open().await.unwrap();
        let plan = Plan::new([Step::tool("act", "count", json!({ "n": 7 }))]).unwrap();
        let session = shell.session("s").unwrap();
        let turn = session.submit(plan.clone()).await.unwrap();
        let approval = turn.approval().await.unwrap().expect("the tool asks first");
        assert_eq!(*approval.shown, json!({ "n": 7 }));
        assert_eq!(turn.outcome().await.unwrap_err().kind(), ErrorKind::AtRest);
        assert_eq!(shell.rests().await.unwrap().len(), 1);
        assert_eq!(calls.load(Ordering::SeqCst), 0, "nothing runs before the approval");
        approval.approve(&Actor::named("olga").unwrap()).await.unwrap();
        let outcome = turn.outcome().await.unwrap();
        assert_eq!(outcome, Outcome::Answered(json!({ "n": 7, "calls": 1 })));
        let turn = session.submit(plan).await.unwrap();
        let approval = turn.approval().await.unwrap().unwrap();
        approval.deny("not today", &Actor::Host).await.unwrap();
        let outcome = turn.outcome().await.unwrap();
        assert!(matches!(outcome, Outcome::Failed(failure) if failure.message == "not today"));
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_doubt_waits_for_an_operator() {
    on_each(|shell, _| async {
        let send = Tool::irreversible("send", "Sends a letter", |_: Value, _: Call| async move {
            Err::<Value, _>(std::io::Error::other("the line went dead"))?;
            Ok(())
        })
        .attempt_deadline(Duration::from_millis(50));
        let shell = shell.tool(send).open().await.unwrap();
        let plan = Plan::new([Step::tool("send", "send", json!({}))]).unwrap();
        let turn = shell.session("s").unwrap().submit(plan).await.unwrap();
        assert_eq!(turn.outcome().await.unwrap_err().kind(), ErrorKind::AtRest);
        let rests = shell.rests().await.unwrap();
        let [rest] = &rests[..] else { panic!("one rest: {rests:?}") };
        assert!(matches!(&rest.needs, Needs::Resolution { reason, .. } if reason.contains("went dead")));
        let early = turn.resolve("send", Resolution::GiveUp, &Actor::Host).await.unwrap_err();
        assert_eq!(early.kind(), ErrorKind::InvalidInput, "it may still take effect");
        let olga = Actor::named("olga").unwrap();
        turn.resolve(&rest.step, Resolution::Applied(json!("sent")), &olga).await.unwrap();
        let outcome = turn.outcome().await.unwrap();
        assert_eq!(outcome, Outcome::Answered(json!("sent")));
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signals_timers_and_retries() {
    on_each(|shell, _| async {
        let calls = Arc::new(AtomicU32::new(0));
        let shaky = {
            let calls = calls.clone();
            Tool::idempotent("shaky", "Fails twice", move |_: Value, call: Call| {
                let calls = calls.clone();
                async move {
                    match calls.fetch_add(1, Ordering::SeqCst) {
                        0 => Err(ToolError::retry("busy")),
                        1 => Err(ToolError::ambiguous("cut off")),
                        _ => Ok(json!({ "attempt": call.attempt })),
                    }
                }
            })
            .retry(Retry { attempts: 4, base_ms: 1, max_ms: 5 })
        };
        let shell = shell.tool(shaky).open().await.unwrap();
        let plan = Plan::builder()
            .step(Step::timer("nap", Duration::from_millis(20)))
            .step(Step::signal("paid", "payment"))
            .step(Step::tool("act", "shaky", Template::object([("paid", output("paid"))])).after(["nap"]))
            .build()
            .unwrap();
        let session = shell.session("s").unwrap();
        session.signal("payment", json!({ "cents": 5 }), Some("p1"), &Actor::Host).await.unwrap();
        session.signal("payment", json!({ "cents": 5 }), Some("p1"), &Actor::Host).await.unwrap();
        let turn = session.submit(plan).await.unwrap();
        let outcome = tokio::time::timeout(Duration::from_secs(20), turn.outcome()).await.unwrap().unwrap();
        assert_eq!(outcome, Outcome::Answered(json!({ "attempt": 3 })));
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_goes_on_after_a_shutdown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shell.db");
    let calls = Arc::new(AtomicU32::new(0));
    let open = || Shell::at(&path).limits(limits()).tool(counted(&calls).ask_first()).open();
    let shell = open().await.unwrap();
    let plan = Plan::new([Step::tool("act", "count", json!({ "n": 7 }))]).unwrap();
    let turn = shell.session("s").unwrap().submit(plan).dedupe("d").await.unwrap();
    turn.approval().await.unwrap().unwrap();
    shell.shutdown().await.unwrap();
    assert_eq!(shell.session("s").unwrap().id().await.unwrap_err().kind(), ErrorKind::ShuttingDown);
    drop(shell);

    let shell = open().await.unwrap();
    let turn = shell.turn(turn.id());
    turn.approval().await.unwrap().unwrap().approve(&Actor::Host).await.unwrap();
    while turn.ended().await.unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    let mut history = shell.session("s").unwrap().history().await.unwrap();
    let kinds: Vec<_> = history.next(100).await.unwrap().iter().map(|entry| entry.body.kind()).collect();
    assert_eq!(
        kinds,
        [
            "session.opened",
            "turn.started",
            "plan.adopted",
            "wait.opened",
            "wait.ended",
            "step.started",
            "step.succeeded",
            "turn.ended"
        ]
    );
    shell.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_a_shutdown_held_back_begins_after_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shell.db");
    let calls = Arc::new(AtomicU32::new(0));
    let open = || {
        let calls = calls.clone();
        let slow = Tool::idempotent("slow", "Takes its time", move |_: Value, _: Call| {
            calls.fetch_add(1, Ordering::SeqCst);
            async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                Ok::<_, ToolError>(json!("done"))
            }
        });
        Shell::at(&path).limits(limits()).tool(slow).open()
    };
    let shell = open().await.unwrap();
    let steps = [Step::tool("a", "slow", json!({})), Step::tool("b", "slow", json!({})).after(["a"])];
    let turn = shell.session("s").unwrap().submit(Plan::new(steps).unwrap()).await.unwrap();
    while calls.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    shell.shutdown().await.unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 1, "what runs may end, and nothing new begins");
    drop(shell);

    let shell = open().await.unwrap();
    let outcome = tokio::time::timeout(Duration::from_secs(10), shell.turn(turn.id()).outcome()).await;
    assert_eq!(outcome.expect("the second step begins").unwrap(), Outcome::Answered(json!("done")));
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    shell.shutdown().await.unwrap();
}

/// On one thread, nobody takes the session up between the submit and the shutdown.
#[tokio::test]
async fn a_shutdown_does_not_wait_for_a_session_that_nobody_took_up() {
    let shell = Shell::volatile().limits(limits()).tool(double()).open().await.unwrap();
    let session = shell.session("s").unwrap();
    session.id().await.unwrap();
    session.submit(Plan::new([Step::tool("a", "double", json!({ "n": 1 }))]).unwrap()).await.unwrap();
    let stopped = tokio::time::timeout(Duration::from_secs(10), shell.shutdown()).await;
    stopped.expect("nothing runs, so there is nothing to wait for").unwrap();
}
