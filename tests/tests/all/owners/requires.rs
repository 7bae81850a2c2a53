//! Sessions go only to owners that have what they require, and where there is none, that is listed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use agent_shell_core::{
    Actor, Call, EffectClass, Lacking, Outcome, Plan, Planned, Planner, PlannerError, Request, Shell, Step,
    Subject, Tenant, Tool, ToolError, words::UserId,
};
use async_trait::async_trait;
use serde_json::{Value, json};

use super::SOON;
use crate::support::limits;

fn act(version: u32, calls: &Arc<AtomicU32>) -> Tool {
    let calls = calls.clone();
    Tool::idempotent("act", "", move |_: Value, _: Call| {
        let calls = calls.clone();
        async move { Ok::<_, ToolError>(calls.fetch_add(1, Ordering::SeqCst) + 1) }
    })
    .version(version)
}

/// Plans nothing.
struct Silent;

#[async_trait]
impl Planner for Silent {
    async fn plan(&self, _: agent_shell_core::PlanView) -> Result<Planned, PlannerError> {
        std::future::pending().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_goes_to_the_owner_that_has_its_tool_and_is_listed_while_there_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shell.db");
    let open = async |tools: Vec<Tool>| {
        let shell = Shell::at(&path).limits(limits());
        tools.into_iter().fold(shell, |shell, tool| shell.tool(tool)).open().await.unwrap()
    };
    let counts: [Arc<AtomicU32>; 3] = Default::default();
    let having = open(vec![act(1, &counts[0])]).await;
    let plan = Plan::builder()
        .step(Step::signal("wait", "go"))
        .step(Step::tool("act", "act", json!({})).after(["wait"]))
        .build()
        .unwrap();
    let session = having.session("anna").unwrap();
    let turn = session.submit(plan).await.unwrap();
    while session.head().await.unwrap().seq.number() < 4 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    having.shutdown().await.unwrap();

    let [lacking, older] = [open(vec![]).await, open(vec![act(2, &counts[1])]).await];
    assert_eq!(lacking.unclaimable().await.unwrap(), [], "it waits for a signal, and there is nothing to do");
    lacking.session("anna").unwrap().signal("go", json!(1), None, &Actor::Host).await.unwrap();
    tokio::time::sleep(Duration::from_millis(150)).await;
    for (shell, version) in [(&lacking, None), (&older, Some(2))] {
        let listed = shell.unclaimable().await.unwrap();
        assert_eq!(listed.len(), 1, "{listed:?}");
        assert_eq!(listed[0].session, session.id().await.unwrap());
        assert_eq!(listed[0].turn, Some(turn.id()));
        assert_eq!(listed[0].name.as_ref().map(ToString::to_string).as_deref(), Some("anna"));
        assert!(
            matches!(&listed[0].lacks[..], [Lacking::Contract { tool, version: 1, class: EffectClass::Idempotent, here, .. }]
                if tool.as_str() == "act" && *here == version),
            "{listed:?}"
        );
        let told = listed[0].to_string();
        assert!(told.contains("version 1 of the Idempotent tool `act`"), "{told}");
    }

    let having = open(vec![act(1, &counts[2])]).await;
    let outcome = tokio::time::timeout(SOON, lacking.turn(turn.id()).outcome()).await.expect("it is taken");
    assert_eq!(outcome.unwrap(), Outcome::Answered(json!(1)));
    assert_eq!(counts.map(|calls| calls.load(Ordering::SeqCst)), [0, 0, 1]);
    assert_eq!(lacking.unclaimable().await.unwrap(), []);
    for shell in [having, lacking, older] {
        shell.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_without_its_planner_or_its_tool_is_listed_by_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shell.db");
    let calls = Arc::default();
    let posting = Shell::at(&path).limits(limits()).named_planner("silent", Silent).tool(act(1, &calls));
    let posting = posting.open().await.unwrap();
    let planned =
        posting.session("planned").unwrap().submit(Request::new("x").planner("silent")).await.unwrap();
    while planned_seq(&posting, "planned").await < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    posting.shutdown().await.unwrap();

    let mut none = limits();
    none.held_sessions = 0;
    let posting = Shell::at(&path).limits(none).tool(act(1, &calls)).open().await.unwrap();
    let fixed = Plan::new([Step::tool("act", "act", json!({}))]).unwrap();
    let fixed = posting.session("fixed").unwrap().submit(fixed).await.unwrap();
    let lacking = Shell::at(&path).limits(limits()).open().await.unwrap();
    let mut listed = Vec::new();
    for _ in 0..2_000 {
        listed = lacking.unclaimable().await.unwrap();
        if listed.len() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let of = |turn| &listed.iter().find(|found| found.turn == Some(turn)).expect("it is listed").lacks[..];
    assert!(matches!(of(planned.id()), [Lacking::Planner(name)] if name.as_str() == "silent"), "{listed:?}");
    assert!(matches!(of(fixed.id()), [Lacking::Tool(name)] if name.as_str() == "act"), "{listed:?}");
    lacking.shutdown().await.unwrap();
    posting.shutdown().await.unwrap();
}

async fn planned_seq(shell: &Shell, session: &str) -> u64 {
    shell.session(session).unwrap().head().await.unwrap().seq.number()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_does_not_wait_for_a_tool_that_nobody_has_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shell.db");
    let open = || Shell::at(&path).limits(limits());
    let having = open().tool(act(1, &Arc::default()).ask_first()).open().await.unwrap();
    let user = UserId::new("anna").unwrap();
    let subject = Subject::User(user.clone());
    let session = having.session_of(Tenant::default(), "s", subject).unwrap();
    let turn = session.submit(Plan::new([Step::tool("act", "act", json!({}))]).unwrap()).await.unwrap();
    turn.approval().await.unwrap().expect("it rests");
    having.shutdown().await.unwrap();
    let lacking = open().open().await.unwrap();
    let receipt = lacking.purge(&Tenant::default(), &user, &Actor::Host).await.unwrap();
    assert_eq!((receipt.sessions.len(), receipt.unfinished.len()), (1, 0), "{receipt:?}");
    let open_acts = receipt.sessions[0].open.as_ref().map(Vec::len);
    assert_eq!(open_acts, Some(0), "it was read before it was closed, and nothing had begun");
    assert_eq!(lacking.turn(turn.id()).outcome().await.unwrap(), Outcome::Purged);
    lacking.shutdown().await.unwrap();
}
