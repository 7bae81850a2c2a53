//! One tenant's backlog does not keep another's first session from being claimed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use agent_shell_core::{Call, Plan, Shell, Step, Subject, Tenant, Tool, ToolError};
use serde_json::{Value, json};

use super::SOON;
use crate::support::limits;

const MANY: u32 = 1_000;

fn counting(calls: &Arc<AtomicU32>) -> Tool {
    let calls = calls.clone();
    Tool::idempotent("act", "", move |_: Value, _: Call| {
        let calls = calls.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok::<_, ToolError>(calls.fetch_add(1, Ordering::SeqCst) + 1)
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_of_one_tenant_does_not_hold_up_the_first_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shell.db");
    let calls = Arc::default();
    let mut none = limits();
    none.held_sessions = 0;
    let posting = Shell::at(&path).limits(none).tool(counting(&calls)).open().await.unwrap();
    let submit = async |shell: &Shell, tenant: &str, name: String| {
        let tenant = Tenant::new(tenant).unwrap();
        let session = shell.session_of(tenant, name, Subject::None).unwrap();
        session.submit(Plan::new([Step::tool("act", "act", json!({}))]).unwrap()).await.unwrap()
    };
    let mut posted = tokio::task::JoinSet::new();
    for nth in 0..MANY {
        let posting = posting.clone();
        posted.spawn(async move { drop(submit(&posting, "many", format!("s{nth}")).await) });
    }
    while let Some(done) = posted.join_next().await {
        done.unwrap();
    }

    let mut few = limits();
    few.held_sessions = 8;
    let driving = Shell::at(&path).limits(few).tool(counting(&calls)).open().await.unwrap();
    // The other tenant comes while the backlog is being worked off, and through another process.
    while calls.load(Ordering::SeqCst) < 16 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let turn = submit(&posting, "quiet", "only".into()).await;
    // It counts from here: until now it may have waited for the disk.
    let before = calls.load(Ordering::SeqCst);
    let outcome = tokio::time::timeout(SOON, turn.outcome()).await.expect("it is not held up").unwrap();
    let agent_shell_core::Outcome::Answered(answer) = outcome else { panic!("{outcome:?}") };
    let place = u32::try_from(answer.as_u64().unwrap()).unwrap();
    let others = place.saturating_sub(before);
    assert!(others <= 48, "{others} acts of the other tenant came before it");
    assert!(place < MANY / 2, "there was a backlog");
    driving.shutdown().await.unwrap();
    posting.shutdown().await.unwrap();
}
