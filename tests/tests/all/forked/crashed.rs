//! The process dies at every record of forking, and at every await.

use std::sync::Arc;
use std::time::Duration;

use agent_shell_core::data::Body;
use agent_shell_core::testing::{BoxError, Host, Life, Target, TestKit};
use agent_shell_core::words::Seq;
use agent_shell_core::{Call, Plan, Resolution, Step, Tool, output};
use serde_json::{Value, json};

const HOUR: Duration = Duration::from_secs(3600);

fn kit() -> TestKit {
    let refund = |target: Arc<Target>| {
        Tool::idempotent("refund", "Refunds", move |order: Value, call: Call| {
            target.apply("refund", call.key(), order);
            async { Ok("refunded") }
        })
    };
    TestKit::new(move |life: &Life<Target>| life.shell().tool(refund(life.world())))
}

fn plan() -> Plan {
    let steps =
        [Step::tool("refund", "refund", json!("A-17")), Step::tool("more", "refund", output("refund"))];
    Plan::new(steps).unwrap()
}

/// Kinds of the records of a fork, and how its turn ended.
type Came = (Vec<&'static str>, Value);

async fn forked(host: Host<Target>) -> Result<Came, BoxError> {
    let session = host.session("ada")?;
    let turn = session.submit(plan()).dedupe("request-1").await?;
    turn.outcome().await?;
    let fork = session.fork("what-if").before(turn.id()).await?;
    let again = fork.submit(plan()).dedupe("again").await?.outcome().await?;
    let records = fork.history().await?.next(100).await?;
    let forks = records.iter().filter(|entry| matches!(entry.body, Body::SessionForked { .. })).count();
    assert_eq!(forks, 1, "it is forked once");
    Ok((records.iter().map(|entry| entry.body.kind()).collect(), json!(again)))
}

#[test]
fn a_crash_at_any_record_of_a_fork_leaves_the_same_fork() {
    let sweep = kit().each_crash(forked).unwrap();
    let (kinds, outcome) = &sweep.runs()[0].outcome;
    assert_eq!(kinds[..2], ["session.opened", "session.forked"]);
    assert_eq!(outcome["answered"], "refunded");
    assert!(sweep.crashes() > 8, "{}", sweep.crashes());
    for run in sweep.runs() {
        assert_eq!(run.world.applied("refund"), 2, "what the parent did, once");
    }
    assert!(kit().each_poll(forked).unwrap().crashes() > sweep.crashes());
}

/// A fork amid a turn: right after the first call's intent.
async fn forked_amid(host: Host<Target>) -> Result<Value, BoxError> {
    let session = host.session("ada")?;
    let turn = session.submit(plan()).dedupe("request-1").deadline(HOUR).await?;
    turn.outcome().await?;
    if host.life() == 1 {
        // The deadline of the turn has passed, and is as far off in the fork as it was at the record.
        host.sleep(2 * HOUR).await;
    }
    let records = session.history().await?.next(100).await?;
    let intent = records.iter().find(|entry| matches!(entry.body, Body::StepStarted { .. }));
    let seq: Seq = intent.ok_or("there is an intent")?.seq;
    let fork = session.fork("amid").at(seq).await?;
    let at = fork.history().await?.next(100).await?;
    let doubt =
        at.iter().find(|entry| matches!(entry.body, Body::StepInDoubt { .. })).ok_or("it is in doubt")?;
    let turn = host.shell().turn(doubt.body.turn().ok_or("of a turn")?);
    if turn.outcome().await.is_err() && !turn.rests().await?.is_empty() {
        // It may have been said in an earlier life.
        let applied = Resolution::Applied(json!("refunded"));
        if let Err(error) = turn.resolve("refund", applied, &agent_shell_core::Actor::Host).await
            && error.kind() != agent_shell_core::ErrorKind::NotFound
        {
            return Err(error.into());
        }
    }
    loop {
        match turn.outcome().await {
            Ok(outcome) => return Ok(json!(outcome)),
            Err(error) if error.kind() == agent_shell_core::ErrorKind::AtRest => {
                host.sleep(Duration::from_millis(10)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

#[test]
fn a_crash_at_any_record_of_a_fork_amid_a_turn_leaves_the_same_fork() {
    let sweep = kit().each_crash(forked_amid).unwrap();
    assert_eq!(sweep.runs()[0].outcome["answered"], "refunded");
    for run in sweep.runs() {
        assert_eq!(run.world.applied("refund"), 2);
    }
}
