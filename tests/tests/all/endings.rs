//! How turns end when something goes wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use agent_shell_core::backends::SystemClock;
use agent_shell_core::backends::volatile::{VolatileKeys, VolatileStore};
use agent_shell_core::ports::PlanView;
use agent_shell_core::runtime::Needs;
use agent_shell_core::{
    Actor, Call, ErrorKind, FailureCode, Outcome, Plan, Planned, Planner, PlannerError, ProbeAnswer,
    Resolution, Retry, Shell, Step, Tool, ToolError,
};
use async_trait::async_trait;
use serde_json::{Value, json};

use crate::support::{counted, double, limits, on_each};

fn failure(outcome: Outcome) -> (FailureCode, String) {
    match outcome {
        Outcome::Failed(failure) => (failure.code, failure.message),
        other => panic!("the turn should have failed: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_argument_fails_before_the_tool_runs() {
    on_each(|shell, _| async {
        let calls = Arc::new(AtomicU32::new(0));
        let shell = shell.tool(counted(&calls)).open().await.unwrap();
        let plan = Plan::new([Step::tool("act", "count", json!({ "n": "seven" }))]).unwrap();
        let turn = shell.session("s").unwrap().submit(plan).await.unwrap();
        let (code, message) = failure(turn.outcome().await.unwrap());
        assert_eq!(code, FailureCode::InvalidArguments);
        assert!(message.contains("seven"), "{message}");
        assert_eq!(calls.load(Ordering::SeqCst), 0);
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_with_an_unknown_tool_is_refused_by_name() {
    on_each(|shell, _| async {
        let shell = shell.tool(double()).planner(Wishful).open().await.unwrap();
        let session = shell.session("s").unwrap();
        let plan = Plan::new([Step::tool("act", "nothing", json!({}))]).unwrap();
        let refused = session.submit(plan).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        assert!(refused.to_string().contains("`nothing`"), "{refused}");
        let (code, message) = failure(session.submit(json!("go")).await.unwrap().outcome().await.unwrap());
        assert_eq!(code, FailureCode::Planner);
        assert!(message.contains("`nothing`"), "{message}");
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_may_depend_on_a_tool_that_holds_back() {
    on_each(|shell, _| async {
        let publish = Tool::pure("publish", "", |_: Value, _: Call| async { Ok::<_, ToolError>(1) }).held();
        let shell = shell.tool(publish).tool(double()).open().await.unwrap();
        let held = Step::tool("last", "publish", json!({}));
        let plan =
            Plan::new([held, Step::tool("next", "double", json!({ "n": 1 })).after(["last"])]).unwrap();
        let turn = shell.session("s").unwrap().submit(plan).deadline(Duration::from_secs(10)).await.unwrap();
        let (code, message) = failure(turn.outcome().await.unwrap());
        assert_eq!(code, FailureCode::Planner);
        assert!(message.contains("`next` depends on `last`"), "{message}");
        shell.shutdown().await.unwrap();
    })
    .await;
}

/// Plans with a tool that there is not.
struct Wishful;

#[async_trait]
impl Planner for Wishful {
    async fn plan(&self, _: PlanView) -> Result<Planned, PlannerError> {
        Ok(Planned::Whole(Plan::new([Step::tool("act", "nothing", json!({}))])?))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn panics_and_endless_tools_are_attempts_that_failed() {
    on_each(|shell, _| async {
        let once = Retry::ONCE;
        let panics = Tool::pure("panics", "", |_: Value, _: Call| async {
            assert!(std::hint::black_box(false), "a bug of the host");
            Ok(Value::Null)
        });
        let endless = Tool::pure("endless", "", |_: Value, _: Call| async {
            std::future::pending::<()>().await;
            Ok(Value::Null)
        });
        let shell = shell
            .tool(panics.retry(once))
            .tool(endless.retry(once).attempt_deadline(Duration::from_millis(30)))
            .open()
            .await
            .unwrap();
        let session = shell.session("s").unwrap();
        for (tool, expected) in
            [("panics", FailureCode::Panicked), ("endless", FailureCode::DeadlineExceeded)]
        {
            let plan = Plan::new([Step::tool("act", tool, json!({}))]).unwrap();
            let (code, _) = failure(session.submit(plan).await.unwrap().outcome().await.unwrap());
            assert_eq!(code, expected);
        }
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_expires_at_its_deadline() {
    on_each(|shell, _| async {
        let shell = shell.open().await.unwrap();
        let plan = Plan::new([Step::timer("long", Duration::from_secs(3600))]).unwrap();
        let turn =
            shell.session("s").unwrap().submit(plan).deadline(Duration::from_millis(50)).await.unwrap();
        assert_eq!(turn.outcome().await.unwrap(), Outcome::Expired);
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_expires() {
    on_each(|shell, _| async {
        let calls = Arc::new(AtomicU32::new(0));
        let tool = counted(&calls).ask_first().approval_expires(Duration::from_millis(50));
        let shell = shell.tool(tool).open().await.unwrap();
        let plan = Plan::new([Step::tool("act", "count", json!({ "n": 1 }))]).unwrap();
        let turn = shell.session("s").unwrap().submit(plan).await.unwrap();
        let outcome = loop {
            match turn.outcome().await {
                Ok(outcome) => break outcome,
                Err(error) => assert_eq!(error.kind(), ErrorKind::AtRest),
            }
        };
        assert_eq!(failure(outcome).0, FailureCode::Expired);
        assert_eq!(calls.load(Ordering::SeqCst), 0);
        shell.shutdown().await.unwrap();
    })
    .await;
}

/// More than one page of the mailbox holds, and read when the wait would have expired long ago.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_that_was_posted_in_time_counts_whenever_it_is_read() {
    let store = VolatileStore::store(Arc::new(SystemClock::new()));
    let keys = Arc::new(VolatileKeys::new());
    let calls = Arc::new(AtomicU32::new(0));
    let on = || Shell::on(store.clone(), keys.clone()).limits(limits());
    let tool = || counted(&calls).ask_first().approval_expires(Duration::from_millis(1_500));
    let shell = on().tool(tool()).open().await.unwrap();
    let steps = (0..150).map(|n| Step::tool(format!("s{n}"), "count", json!({ "n": n })));
    let turn = shell.session("s").unwrap().submit(Plan::new(steps).unwrap()).await.unwrap();
    while turn.rests().await.unwrap().len() < 150 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    shell.shutdown().await.unwrap();
    // It has no such tool, so it drives no turn that needs one.
    let other = on().open().await.unwrap();
    for rest in other.rests().await.unwrap() {
        other.approve(&rest, &Actor::named("olga").unwrap()).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(1_600)).await;
    other.shutdown().await.unwrap();
    let shell = on().tool(tool()).open().await.unwrap();
    let outcome = shell.turn(turn.id()).outcome().await.unwrap();
    assert!(matches!(outcome, Outcome::Answered(_)), "{outcome:?}");
    assert_eq!(calls.load(Ordering::SeqCst), 150);
    shell.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_the_target_has_forgotten_is_not_repeated() {
    on_each(|shell, _| async {
        let calls = Arc::new(AtomicU32::new(0));
        let counter = calls.clone();
        let shaky = Tool::idempotent("shaky", "", move |_: Value, _: Call| {
            counter.fetch_add(1, Ordering::SeqCst);
            async { Err::<Value, _>(ToolError::ambiguous("cut off")) }
        })
        .remembers_keys(Duration::from_millis(1))
        .retry(Retry { attempts: 9, base_ms: 40, max_ms: 40 });
        let shell = shell.tool(shaky).open().await.unwrap();
        let plan = Plan::new([Step::tool("act", "shaky", json!({}))]).unwrap();
        let turn = shell.session("s").unwrap().submit(plan).await.unwrap();
        assert_eq!(turn.outcome().await.unwrap_err().kind(), ErrorKind::AtRest);
        assert_eq!(calls.load(Ordering::SeqCst), 1, "a second call could apply a second time");
        turn.abandon("enough", &Actor::named("olga").unwrap()).await.unwrap();
        assert_eq!(turn.outcome().await.unwrap(), Outcome::Abandoned { reason: "enough".into() });
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_settles_what_is_unknown() {
    on_each(|shell, _| async {
        let (calls, probes) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let (called, probed) = (calls.clone(), probes.clone());
        let transfer = Tool::probed(
            "transfer",
            "",
            move |_: Value, call: Call| {
                let nth = called.fetch_add(1, Ordering::SeqCst);
                async move {
                    match nth {
                        0 => Err(ToolError::ambiguous("no answer")),
                        _ => Ok(json!({ "attempt": call.attempt })),
                    }
                }
            },
            move |_: Value, _: Call| {
                let nth = probed.fetch_add(1, Ordering::SeqCst);
                async move {
                    match nth {
                        0 => Err(ToolError::ambiguous("not even the probe")),
                        _ => Ok(ProbeAnswer::NotApplied),
                    }
                }
            },
        )
        .attempt_deadline(Duration::from_millis(500))
        .retry(Retry { attempts: 3, base_ms: 1, max_ms: 2 });
        let shell = shell.tool(transfer).open().await.unwrap();
        let plan = Plan::new([Step::tool("act", "transfer", json!({}))]).unwrap();
        let turn = shell.session("s").unwrap().submit(plan).await.unwrap();
        assert_eq!(turn.outcome().await.unwrap(), Outcome::Answered(json!({ "attempt": 2 })));
        assert_eq!((calls.load(Ordering::SeqCst), probes.load(Ordering::SeqCst)), (2, 2));
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_in_doubt_can_be_tried_again_once_it_is_late_enough() {
    on_each(|shell, _| async {
        let calls = Arc::new(AtomicU32::new(0));
        let counter = calls.clone();
        let send = Tool::irreversible("send", "", move |_: Value, _: Call| {
            let nth = counter.fetch_add(1, Ordering::SeqCst);
            async move { if nth == 0 { Err(ToolError::ambiguous("no answer")) } else { Ok("sent") } }
        })
        .attempt_deadline(Duration::from_millis(30));
        let shell = shell.tool(send).open().await.unwrap();
        let plan = Plan::new([Step::tool("send", "send", json!({}))]).unwrap();
        let turn = shell.session("s").unwrap().submit(plan).await.unwrap();
        assert_eq!(turn.outcome().await.unwrap_err().kind(), ErrorKind::AtRest);
        let rests = turn.rests().await.unwrap();
        assert!(matches!(&rests[0].needs, Needs::Resolution { attempt: 1, .. }));
        let olga = Actor::named("olga").unwrap();
        while let Err(early) = turn.resolve("send", Resolution::Retry, &olga).await {
            assert_eq!(early.kind(), ErrorKind::InvalidInput, "{early}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(turn.outcome().await.unwrap(), Outcome::Answered(json!("sent")));
        let mut history = shell.session("s").unwrap().history().await.unwrap();
        let records = history.next(100).await.unwrap();
        let resolved = records.iter().find(|record| record.body.kind() == "step.resolved").unwrap();
        let tenant = agent_shell_core::Tenant::default();
        assert_eq!(
            shell.actor(&tenant, resolved.actor).await.unwrap(),
            Some(olga),
            "it is recorded who resolved"
        );
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_found_out_about_one_attempt_says_nothing_of_the_next() {
    on_each(|shell, _| async {
        let calls = Arc::new(AtomicU32::new(0));
        let counter = calls.clone();
        let send = Tool::irreversible("send", "", move |_: Value, _: Call| {
            counter.fetch_add(1, Ordering::SeqCst);
            async move { Err::<Value, _>(ToolError::ambiguous("no answer")) }
        })
        .attempt_deadline(Duration::from_millis(30));
        let shell = shell.tool(send).open().await.unwrap();
        let plan = Plan::new([Step::tool("send", "send", json!({}))]).unwrap();
        let turn = shell.session("s").unwrap().submit(plan).await.unwrap();
        let in_doubt = async |attempt: u32| loop {
            let rests = turn.rests().await.unwrap();
            if let [rest] = &rests[..]
                && matches!(rest.needs, Needs::Resolution { attempt: shown, .. } if shown == attempt)
            {
                return rest.clone();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let first = in_doubt(1).await;
        let [olga, piet] = ["olga", "piet"].map(|name| Actor::named(name).unwrap());
        tokio::time::sleep(Duration::from_millis(100)).await;
        turn.resolve_rest(&first, Resolution::Retry, &olga).await.unwrap();
        let second = in_doubt(2).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        // Piet has looked at the same rest as Olga, and is slower.
        turn.resolve_rest(&first, Resolution::Retry, &piet).await.unwrap();
        turn.resolve_rest(&second, Resolution::Applied(json!("sent")), &olga).await.unwrap();
        assert_eq!(turn.outcome().await.unwrap(), Outcome::Answered(json!("sent")));
        assert_eq!(calls.load(Ordering::SeqCst), 2, "the second attempt was not repeated");
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_input_that_a_tool_does_not_take_fails_the_step_at_once_in_every_class() {
    on_each(|shell, _| async {
        let calls = Arc::new(AtomicU32::new(0));
        let run = |calls: &Arc<AtomicU32>| {
            let calls = calls.clone();
            move |number: crate::support::Number, _: Call| {
                calls.fetch_add(1, Ordering::SeqCst);
                async move { Ok(number.n) }
            }
        };
        let probe = |_: crate::support::Number, _: Call| async { Ok(ProbeAnswer::NotApplied) };
        let tools = [
            Tool::pure("pure", "", run(&calls)),
            Tool::pure("asking", "", run(&calls)).ask_first(),
            Tool::dynamic(Tool::pure("dynamic", "", run(&calls)).build().unwrap()),
            Tool::idempotent("idempotent", "", run(&calls)),
            Tool::probed("probed", "", run(&calls), probe),
            Tool::irreversible("irreversible", "", run(&calls)),
        ];
        let names = ["pure", "asking", "dynamic", "idempotent", "probed", "irreversible"];
        let shell = tools.into_iter().fold(shell, |shell, tool| shell.tool(tool)).open().await.unwrap();
        for name in names {
            let session = shell.session(name).unwrap();
            let plan = Plan::new([Step::tool("act", name, json!({ "m": 1 }))]).unwrap();
            let (code, message) = failure(session.submit(plan).await.unwrap().outcome().await.unwrap());
            assert_eq!(code, FailureCode::InvalidArguments, "{name}: {message}");
            assert!(message.contains("missing field `n`"), "{name}: {message}");
            let records = session.history().await.unwrap().next(100).await.unwrap();
            let kinds: Vec<_> = records.iter().map(|record| record.body.kind()).collect();
            let all = ["session.opened", "turn.started", "plan.adopted", "step.failed", "turn.ended"];
            assert_eq!(kinds, all, "{name}: no attempt was made");
        }
        assert_eq!(calls.load(Ordering::SeqCst), 0);
        shell.shutdown().await.unwrap();
    })
    .await;
}

/// Plans three rounds, and then answers with what they brought.
struct Rounds;

#[async_trait]
impl Planner for Rounds {
    async fn plan(&self, view: PlanView) -> Result<Planned, PlannerError> {
        let id = format!("round-{}", view.round);
        Ok(match view.round {
            1 => Planned::Next(Plan::new([Step::tool(id, "double", json!({ "n": 1 }))])?),
            2 | 3 => {
                let before = agent_shell_core::from(format!("round-{}", view.round - 1), "/n");
                let input = agent_shell_core::Template::object([("n", before)]);
                Planned::Next(view.next_plan().step(Step::tool(id, "double", input)).build()?)
            }
            4 => Planned::Answer(view.output("round-3").cloned().unwrap_or_default()),
            _ => return Err(PlannerError::new("asked too often")),
        })
    }
}

struct Panics;

#[async_trait]
impl Planner for Panics {
    async fn plan(&self, _: PlanView) -> Result<Planned, PlannerError> {
        panic!("a bug of the host")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planners_plan_in_rounds_and_may_fail() {
    on_each(|shell, _| async {
        let shell =
            shell.tool(double()).planner(Rounds).named_planner("panics", Panics).open().await.unwrap();
        let session = shell.session("s").unwrap();
        let turn = session.submit(json!("go")).await.unwrap();
        assert_eq!(turn.outcome().await.unwrap(), Outcome::Answered(json!({ "n": 8 })));
        let request = agent_shell_core::Request::new(json!("go")).planner("panics");
        let (code, message) = failure(session.submit(request).await.unwrap().outcome().await.unwrap());
        assert_eq!(code, FailureCode::Planner);
        assert!(message.contains("a bug of the host"), "{message}");
        let request = agent_shell_core::Request::new(json!("go")).planner("nobody");
        assert_eq!(session.submit(request).await.unwrap_err().kind(), ErrorKind::InvalidInput);
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_step_runs_last_and_not_after_a_failure() {
    on_each(|shell, _| async {
        let calls = Arc::new(AtomicU32::new(0));
        let counter = calls.clone();
        let publish = Tool::irreversible("publish", "", move |_: Value, _: Call| {
            let nth = counter.fetch_add(1, Ordering::SeqCst);
            async move { Ok(nth + 1) }
        })
        .held();
        let fails =
            Tool::pure("fails", "", |_: Value, _: Call| async { Err::<Value, _>(ToolError::refused("no")) });
        let shell = shell.tool(publish).tool(fails).tool(double()).open().await.unwrap();
        let session = shell.session("s").unwrap();
        let with = |tool: &str| {
            let slow = Step::timer("slow", Duration::from_millis(30));
            let other = Step::tool("other", tool, json!({ "n": 1 }));
            Plan::builder()
                .steps([Step::tool("last", "publish", json!({})), slow, other])
                .answer("done")
                .build()
        };
        let failed = session.submit(with("fails").unwrap()).await.unwrap().outcome().await.unwrap();
        assert_eq!(failure(failed).1, "no");
        assert_eq!(calls.load(Ordering::SeqCst), 0, "a held step does not run once another failed");
        let turn = session.submit(with("double").unwrap()).await.unwrap();
        assert_eq!(turn.outcome().await.unwrap(), Outcome::Answered(json!("done")));
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        let mut history = session.history().await.unwrap();
        let records = history.next(1000).await.unwrap();
        let place = |kind: &str, step: &str| {
            let is_it = |record: &agent_shell_core::machine::Entry| {
                record.body.kind() == kind && record.body.step().is_some_and(|id| id.as_str() == step)
            };
            records.iter().rposition(is_it).unwrap()
        };
        assert!(place("wait.ended", "slow") < place("step.started", "last"));
        assert!(place("step.succeeded", "other") < place("step.started", "last"));
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_lets_an_act_end_and_starts_nothing_new() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shell.db");
    let (calls, started) = (Arc::new(AtomicU32::new(0)), Arc::new(tokio::sync::Notify::new()));
    let open = || {
        let (calls, started) = (calls.clone(), started.clone());
        let slow = Tool::irreversible("slow", "", move |_: Value, _: Call| {
            let (calls, started) = (calls.clone(), started.clone());
            async move {
                calls.fetch_add(1, Ordering::SeqCst);
                started.notify_one();
                tokio::time::sleep(Duration::from_millis(100)).await;
                Ok(json!(null))
            }
        });
        Shell::at(&path).limits(limits()).tool(slow).open()
    };
    let shell = open().await.unwrap();
    let plan =
        Plan::new([Step::tool("a", "slow", json!({})), Step::tool("b", "slow", json!({})).after(["a"])])
            .unwrap();
    let turn = shell.session("s").unwrap().submit(plan).await.unwrap();
    started.notified().await;
    shell.shutdown().await.unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 1, "the second step does not start while the shell drains");
    drop(shell);
    let shell = open().await.unwrap();
    assert_eq!(shell.recovered(), 1);
    let outcome = shell.turn(turn.id()).outcome().await.unwrap();
    assert!(matches!(outcome, Outcome::Answered(_)), "nothing is in doubt after a drain: {outcome:?}");
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    shell.shutdown().await.unwrap();
}
