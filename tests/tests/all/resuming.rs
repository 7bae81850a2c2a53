//! What a shell leaves behind when it drains, and what the next one makes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use agent_shell_core::{Actor, Call, Outcome, Plan, Shell, ShellBuilder, Step, Tool, ToolError};
use serde_json::{Value, json};

use crate::support::limits;

const SOON: Duration = Duration::from_secs(20);

/// A tool whose first call takes a while, and then is refused if `fails`.
fn slow(calls: &Arc<AtomicU32>, fails: bool) -> Tool {
    let calls = calls.clone();
    Tool::idempotent("slow", "", move |_: Value, _: Call| {
        let nth = calls.fetch_add(1, Ordering::SeqCst);
        async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if fails && nth == 0 { Err(ToolError::refused("no")) } else { Ok(json!("done")) }
        }
    })
}

/// A shell drains while `a` runs beside a step that waits for a signal; `b` comes after `a`.
async fn drained_beside_a_wait(shell: impl Fn(Tool) -> ShellBuilder, fails: bool) {
    let calls = Arc::new(AtomicU32::new(0));
    let open = || shell(slow(&calls, fails)).open();
    let steps = [
        Step::signal("wait", "go"),
        Step::tool("a", "slow", json!({})),
        Step::tool("b", "slow", json!({})).after(["a"]),
    ];
    let first = open().await.unwrap();
    let turn = first.session("s").unwrap().submit(Plan::new(steps).unwrap()).await.unwrap();
    while calls.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    first.shutdown().await.unwrap();
    drop(first);
    let next = open().await.unwrap();
    assert_eq!(next.recovered(), 1, "there is something to do in it");
    if fails {
        let outcome = tokio::time::timeout(SOON, next.turn(turn.id()).outcome()).await;
        assert!(matches!(outcome.expect("the turn that failed ends").unwrap(), Outcome::Failed(_)));
    } else {
        let begun = async {
            while calls.load(Ordering::SeqCst) < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SOON, begun).await.expect("the step that was ready begins");
        next.session("s").unwrap().signal("go", json!(1), None, &Actor::Host).await.unwrap();
        let outcome = tokio::time::timeout(SOON, next.turn(turn.id()).outcome()).await;
        assert!(matches!(outcome.expect("the turn goes on").unwrap(), Outcome::Answered(_)));
    }
    next.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_drained_shell_left_ready_begins_beside_a_wait() {
    for fails in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shell.db");
        drained_beside_a_wait(|tool| Shell::at(&path).limits(limits()).tool(tool), fails).await;
    }
}
