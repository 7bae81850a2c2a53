//! The kit for a host's own tests finds what it is made to find, and passes what is right.

use std::sync::Arc;
use std::time::Duration;

use agent_shell_core::runtime::Needs;
use agent_shell_core::testing::{BoxError, CallEnd, Crash, Host, Life, Problem, Target, TestKit, World};
use agent_shell_core::{
    Call, ErrorKind, Outcome, Plan, Reply, Resolution, Scripted, ShellBuilder, Step, Tool, ToolError,
};
use serde_json::{Value, json};

const HOUR: Duration = Duration::from_secs(3600);

/// A kit with one tool, `refund`.
fn kit(tool: fn(Arc<Target>) -> Tool) -> TestKit {
    TestKit::new(move |life: &Life<Target>| life.shell().tool(tool(life.world())))
}

fn keeps_its_key(target: Arc<Target>) -> Tool {
    Tool::idempotent("refund", "Refunds", move |order: Value, call: Call| {
        target.apply("refund", call.key(), order);
        async { Ok("refunded") }
    })
}

/// It breaks its class: each attempt has a key of its own, so that a repeat counts twice.
fn ignores_its_key(target: Arc<Target>) -> Tool {
    Tool::idempotent("refund", "Refunds", move |order: Value, call: Call| {
        target.apply("refund", format!("{} {}", call.key(), call.attempt), order);
        async { Ok("refunded") }
    })
}

fn plan() -> Plan {
    Plan::new([Step::tool("refund", "refund", json!("A-17"))]).unwrap()
}

async fn refund(host: Host<Target>) -> Result<Outcome, BoxError> {
    let turn = host.session("ada")?.submit(plan()).dedupe("request-1").await?;
    Ok(turn.outcome().await?)
}

#[test]
fn a_tool_that_keeps_its_key_passes_every_crash() {
    let kit = kit(keeps_its_key);
    let sweep = kit.each_crash(refund).unwrap();
    let first = &sweep.runs()[0];
    assert_eq!((first.lives, first.crash.as_ref()), (1, None));
    assert_eq!(first.world.calls("refund"), 1);
    // What is written up to the act, and what after it, is written together: a crash before and after each.
    assert_eq!(sweep.crashes(), 4);
    assert!(sweep.runs().iter().any(|run| run.world.calls("refund") == 2), "some crash repeats the call");
    for run in sweep.runs() {
        assert_eq!(run.lives, 1 + u64::from(run.crash.is_some()));
        assert_eq!(run.world.applied("refund"), 1);
        run.journal.assert_once("refund");
        run.journal.assert_order(["turn.started", "step.started refund", "step.succeeded", "turn.ended"]);
        run.journal.assert_ended();
    }
    let polls = kit.each_poll(refund).unwrap();
    assert!(polls.crashes() > sweep.crashes(), "{} polls", polls.crashes());
}

#[test]
fn a_tool_that_ignores_its_key_is_found() {
    let trouble = kit(ignores_its_key).each_crash(refund).unwrap_err();
    let Problem::OtherEffects { without, with } = &trouble.problem else { panic!("{trouble}") };
    let once = r#"["refund","A-17"]"#;
    assert_eq!((without.as_str(), with.as_str()), (&*format!("[{once}]"), &*format!("[{once},{once}]")));
    let told = trouble.to_string();
    assert!(told.contains("before record") && told.contains("`step.succeeded` of step `refund`"), "{told}");
    assert_eq!(
        kit(ignores_its_key).run(refund).unwrap().world.applied("refund"),
        1,
        "uncrashed, all is well"
    );
}

#[test]
fn a_host_that_submits_without_a_dedupe_key_is_found() {
    let trouble = kit(keeps_its_key).each_crash(|host| async move {
        let turn = host.session("ada")?.submit(plan()).await?;
        Ok(turn.outcome().await?)
    });
    let trouble = trouble.unwrap_err();
    assert!(matches!(trouble.problem, Problem::OtherEffects { .. }), "{trouble}");
}

#[test]
fn an_outcome_that_depends_on_the_crash_is_found() {
    let tool = |_: Arc<Target>| {
        Tool::idempotent("refund", "Refunds", |_: Value, call: Call| async move {
            Ok(format!("after {} attempts", call.attempt))
        })
    };
    let trouble = kit(tool).each_crash(refund).unwrap_err();
    assert!(matches!(trouble.problem, Problem::OtherOutcome { .. }), "{trouble}");
}

/// Between its two effects there is an await, and it forgets the second one when it finds the first one done.
#[test]
fn what_happens_between_two_effects_is_found_by_the_sweep_over_polls_alone() {
    let kit = TestKit::new(|life| {
        let (target, clock) = (life.world(), life.clock());
        life.shell().tool(Tool::idempotent("refund", "Moves money", move |_: Value, call: Call| {
            let (target, clock) = (target.clone(), clock.clone());
            async move {
                if target.apply("debit", format!("{} debit", call.key()), 5) {
                    clock.sleep(Duration::from_millis(10)).await;
                    target.apply("credit", format!("{} credit", call.key()), 5);
                }
                Ok("moved")
            }
        }))
    });
    kit.each_crash(refund).unwrap();
    let trouble = kit.each_poll(refund).unwrap_err();
    assert!(
        matches!(&trouble.problem, Problem::OtherEffects { with, .. } if with == r#"[["debit",5]]"#),
        "{trouble}"
    );
    assert!(trouble.to_string().contains("after poll"), "{trouble}");
}

/// Tells what it finds out, and lets what was not applied be tried again once it can't come late any more.
async fn resolve(host: Host<Target>, looks: bool) -> Result<Outcome, BoxError> {
    let turn = host.session("ada")?.submit(plan()).dedupe("request-1").await?;
    loop {
        match turn.outcome().await {
            Err(error) if error.kind() == ErrorKind::AtRest => {}
            ended => return Ok(ended?),
        }
        for rest in turn.rests().await? {
            let Needs::Resolution { key, not_applied_from, .. } = &rest.needs else { continue };
            host.sleep(not_applied_from.since(host.clock().now())).await;
            let resolution = match host.world().find(key) {
                Some(_) if looks => Resolution::Applied(json!("refunded")),
                _ => Resolution::Retry,
            };
            turn.resolve_rest(&rest, resolution, &agent_shell_core::Actor::Host).await?;
        }
        host.sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn an_irreversible_tool_needs_a_host_that_looks() {
    let tool = |target: Arc<Target>| {
        Tool::irreversible("refund", "Refunds", move |order: Value, call: Call| {
            // The target keeps no keys: whoever calls it twice does it twice.
            target.apply("refund", format!("{} {}", call.key(), call.attempt), order.clone());
            target.apply("log", call.key(), order);
            async { Ok("refunded") }
        })
    };
    let sweep = kit(tool).each_crash(|host| resolve(host, true)).unwrap();
    let in_doubt = sweep.runs().iter().filter(|run| run.journal.kinds().contains(&"step.in_doubt"));
    assert!(in_doubt.count() >= 1);
    for run in sweep.runs() {
        run.journal.assert_ended();
    }
    let trouble = kit(tool).each_crash(|host| resolve(host, false)).unwrap_err();
    assert!(matches!(trouble.problem, Problem::OtherEffects { .. }), "{trouble}");
}

#[test]
fn a_crash_is_where_it_is_asked_for() {
    let crash = Crash::before("step.succeeded").step("refund");
    let run = kit(keeps_its_key).crash_at(crash.clone()).run(refund).unwrap();
    assert_eq!((run.lives, run.crash.as_ref()), (2, Some(&crash)));
    let calls = run.journal.calls("refund");
    let [call] = &calls[..] else { panic!("{calls:?}") };
    assert_eq!((call.attempts, call.end.clone()), (2, Some(CallEnd::Succeeded(Arc::new(json!("refunded"))))));
    assert_eq!(
        run.world.find(call.key.as_deref().unwrap()),
        Some(json!("A-17")),
        "the key that the target got"
    );
    assert_eq!(call.input.as_deref(), Some(&json!("A-17")));
    assert_eq!((run.world.calls("refund"), run.world.applied("refund")), (2, 1));
    assert!(run.lasted >= Duration::from_secs(60), "the lease has expired: {:?}", run.lasted);

    let run = kit(keeps_its_key).crash_at(Crash::after("step.started")).run(refund).unwrap();
    assert_eq!((run.lives, run.world.calls("refund")), (2, 1), "it had not acted yet");
    for crash in [Crash::before("step.in_doubt"), Crash::after("turn.ended").nth(2), Crash::after_record(99)]
    {
        let trouble = kit(keeps_its_key).crash_at(crash).run(refund).unwrap_err();
        assert_eq!(trouble.problem, Problem::NotReached);
    }
}

#[test]
fn hours_pass_at_once_and_a_seed_is_a_run() {
    let host = |host: Host<Target>| async move {
        let steps =
            [Step::timer("wait", 20 * HOUR), Step::tool("refund", "refund", json!("A-17")).after(["wait"])];
        let turn = host.session("ada")?.submit(Plan::new(steps)?).dedupe("request-1").await?;
        Ok::<_, BoxError>(turn.outcome().await?)
    };
    let trouble = kit(keeps_its_key).longest(10 * HOUR).run(host).unwrap_err();
    assert_eq!(trouble.problem, Problem::TooLong(10 * HOUR));
    let kit = kit(keeps_its_key);
    let (one, same) = (kit.run(host).unwrap(), kit.run(host).unwrap());
    assert!(one.lasted > 20 * HOUR && one.lasted < 21 * HOUR, "{:?}", one.lasted);
    assert_eq!((one.lasted, one.journal.all()), (same.lasted, same.journal.all()));
    assert_ne!(one.lasted, kit.seed(7).run(host).unwrap().lasted);
}

#[test]
fn a_retry_waits_in_simulated_time() {
    let tool = |_: Arc<Target>| {
        Tool::idempotent("refund", "Refunds", |_: Value, call: Call| async move {
            if call.attempt < 3 { Err(ToolError::retry("busy")) } else { Ok("refunded") }
        })
    };
    let run = kit(tool).run(refund).unwrap();
    assert_eq!(run.journal.calls("refund")[0].attempts, 3);
    run.journal.assert_order(["attempt.failed", "attempt.failed", "step.succeeded"]);
}

/// A task of Tokio has a budget of polls, which must not end a run.
#[tokio::test]
async fn it_runs_inside_a_runtime_too() {
    assert!(kit(keeps_its_key).each_crash(refund).unwrap().crashes() > 0);
}

#[test]
fn a_conversation_with_a_model_passes_every_crash() {
    let kit = TestKit::new(|life| {
        let model = Scripted::by_answers([
            Reply::call("refund", json!("A-17")).after(Duration::from_secs(5)),
            Reply::text("It is done."),
        ]);
        life.shell().model(model.clock(life.clock())).tool(keeps_its_key(life.world()))
    });
    let talk = |host: Host<Target>| async move {
        let turn = host.session("ada")?.submit("Please refund A-17").dedupe("request-1").await?;
        Ok::<_, BoxError>(turn.outcome().await?.text())
    };
    let sweep = kit.each_crash(talk).unwrap();
    assert_eq!(sweep.runs()[0].outcome, "It is done.");
    sweep.runs().iter().for_each(|run| run.journal.assert_once("refund"));
}

#[test]
fn a_host_that_fails_or_waits_for_ever_is_told() {
    let trouble = kit(keeps_its_key).run(|_| async { Err::<(), _>("out of paper".into()) }).unwrap_err();
    assert_eq!(trouble.problem, Problem::Failed("out of paper".into()));
    let waits = |_: Host<Target>| async {
        std::future::pending::<()>().await;
        Ok::<_, BoxError>(())
    };
    let trouble = kit(keeps_its_key).longest(Duration::from_secs(60)).run(waits).unwrap_err();
    assert_eq!(trouble.problem, Problem::TooLong(Duration::from_secs(60)));
    let twice = |life: &Life<Target>| -> ShellBuilder {
        life.shell().tool(keeps_its_key(life.world())).tool(keeps_its_key(life.world()))
    };
    let trouble = TestKit::new(twice).run(refund).unwrap_err();
    assert!(matches!(&trouble.problem, Problem::Failed(why) if why.contains("two tools")), "{trouble}");
}

/// A world of the host's own.
#[derive(Debug, Default)]
struct Counter(std::sync::Mutex<u64>);

impl World for Counter {
    fn effects(&self) -> Value {
        json!(*self.0.lock().unwrap())
    }
}

#[test]
fn a_host_may_bring_its_own_world() {
    let kit = TestKit::on(Counter::default, |life| {
        let counter = life.world();
        life.shell().tool(Tool::idempotent("refund", "Counts, with no key", move |_: Value, _: Call| {
            *counter.0.lock().unwrap() += 1;
            async { Ok(()) }
        }))
    });
    let trouble = kit.each_crash(|host| async move {
        let turn = host.session("ada")?.submit(plan()).dedupe("request-1").await?;
        Ok(turn.outcome().await?)
    });
    assert!(trouble.unwrap_err().to_string().contains("the effects are 2, and without the crash they are 1"));
}

/// What an assertion says when it fails.
fn said(assertion: impl FnOnce() + std::panic::UnwindSafe) -> String {
    let panic = std::panic::catch_unwind(assertion).expect_err("the assertion must fail");
    *panic.downcast::<String>().unwrap()
}

#[test]
fn every_assertion_can_fail() {
    let run = kit(keeps_its_key).run(refund).unwrap();
    let journal = run.journal.clone();
    assert!(said(move || journal.assert_once("pay")).contains("`pay` succeeded 0 times"));
    let journal = run.journal.clone();
    let message = said(move || journal.assert_order(["step.succeeded refund", "step.started refund"]));
    assert!(message.starts_with("`step.started refund` does not come"), "{message}");
    let twice = |host: Host<Target>| async move {
        for key in ["request-1", "request-2"] {
            host.session("ada")?.submit(plan()).dedupe(key).await?.outcome().await?;
        }
        Ok::<_, BoxError>(())
    };
    let journal = kit(keeps_its_key).run(twice).unwrap().journal;
    assert!(said(move || journal.assert_once("refund")).contains("`refund` succeeded 2 times"));
    let leaves = |host: Host<Target>| async move {
        host.session("ada")?.submit(plan()).await?;
        host.sleep(Duration::from_secs(1)).await;
        Ok::<_, BoxError>(())
    };
    let hangs = |_: Arc<Target>| {
        Tool::idempotent("refund", "Hangs", |_: Value, _: Call| {
            std::future::pending::<Result<(), ToolError>>()
        })
    };
    let journal = kit(hangs).run(leaves).unwrap().journal;
    let message = said({
        let journal = journal.clone();
        move || journal.assert_ended()
    });
    assert!(message.contains("attempt 1 of step `refund`, turn "), "{message}");
    assert!(said(move || journal.assert_once("refund")).contains("1 of its calls have no known end"));
}
