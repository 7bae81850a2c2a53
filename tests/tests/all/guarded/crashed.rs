//! What is ruled stays ruled, whenever the process dies.

use std::sync::Arc;

use agent_shell_core::data::GuardPlace;
use agent_shell_core::testing::{BoxError, Crash, Host, Life, Target, TestKit};
use agent_shell_core::{Call, Guard, GuardError, GuardRequest, Outcome, Plan, Ruling, Step, Tool, ToolError};
use serde_json::{Value, json};

/// Rewrites every call, counts what it is asked in the world, and says something else each time.
struct Fickle(Arc<Target>);

#[async_trait::async_trait]
impl Guard for Fickle {
    fn name(&self) -> &str {
        "fickle"
    }

    async fn rule(&self, request: &GuardRequest) -> Result<Ruling, GuardError> {
        let place = format!("{:?}", request.place);
        // `apply` keeps keys: each asking has its own.
        let times = self.0.applied(&place);
        self.0.apply(&place, format!("{place} {times}"), json!(times));
        Ok(match request.place {
            GuardPlace::BeforeTool => Ruling::rewrite(json!(format!("A-17, asked {times} times before"))),
            _ => Ruling::Allow,
        })
    }
}

/// With a tool that can be repeated, or with one that can't.
fn kit(repeats: bool) -> TestKit {
    TestKit::new(move |life: &Life<Target>| {
        let target = life.world();
        let run = move |order: Value, call: Call| {
            target.apply("refund", call.key(), order);
            async { Ok::<_, ToolError>("refunded") }
        };
        let tool = match repeats {
            true => Tool::idempotent("refund", "Refunds", run),
            false => Tool::irreversible("refund", "Refunds", run),
        };
        life.shell().tool(tool).guard(Fickle(life.world()))
    })
}

async fn refund(host: Host<Target>) -> Result<Outcome, BoxError> {
    let plan = Plan::new([Step::tool("refund", "refund", json!("A-17"))]).unwrap();
    let turn = host.session("ada")?.submit(plan).dedupe("request-1").await?;
    Ok(turn.outcome().await?)
}

#[test]
fn what_is_ruled_is_not_asked_again_after_a_crash() {
    // The ruling is durable with the intent that follows from it.
    let run = kit(true).crash_at(Crash::after("guard.ruled")).run(refund).unwrap();
    assert_eq!((run.lives, run.world.applied("BeforeTool"), run.world.applied("refund")), (2, 1, 1));
    let calls = run.journal.calls("refund");
    assert_eq!(calls[0].input.as_deref(), Some(&json!("A-17, asked 0 times before")));
    assert_eq!(run.outcome.text(), "refunded");
}

#[test]
fn a_result_that_guards_have_not_ruled_on_is_not_lost_with_the_process() {
    // The result is durable before guards look at it, so a crash while they do leaves nothing in doubt.
    let run = kit(false).crash_at(Crash::after("step.returned")).run(refund).unwrap();
    assert_eq!((run.lives, run.world.calls("refund"), run.world.applied("BeforeTool")), (2, 1, 1));
    assert_eq!(run.outcome.text(), "refunded");
    run.journal.assert_order([
        "guard.ruled",
        "step.started",
        "step.returned",
        "guard.ruled",
        "step.succeeded",
    ]);
    run.journal.assert_once("refund");
    let run = kit(false).crash_at(Crash::after("guard.ruled").nth(2)).run(refund).unwrap();
    assert_eq!((run.lives, run.world.applied("AfterTool"), run.world.calls("refund")), (2, 1, 1));
}

#[test]
fn what_is_not_ruled_yet_is_asked_again_and_one_ruling_counts() {
    let run = kit(false).crash_at(Crash::before("guard.ruled")).run(refund).unwrap();
    assert_eq!((run.lives, run.world.applied("BeforeTool")), (2, 2));
    let kinds = run.journal.kinds();
    assert_eq!(kinds.iter().filter(|kind| **kind == "guard.ruled").count(), 2, "before and after: {kinds:?}");
    let calls = run.journal.calls("refund");
    assert_eq!(calls[0].input.as_deref(), Some(&json!("A-17, asked 1 times before")));
}
