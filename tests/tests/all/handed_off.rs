//! A session that is handed over to another planner.

use std::time::Duration;

use agent_shell_core::data::Body;
use agent_shell_core::testing::{BoxError, Host, Life, TestKit};
use agent_shell_core::{
    Actor, ErrorKind, Plan, PlanView, Planned, Planner, PlannerError, Request, Shell, ShellBuilder, Step,
};
use serde_json::json;

use crate::sagas::Log;
use crate::support::{limits, on_each};

/// Answers with its name, after a step if the input asks for that.
struct Named(&'static str);

#[async_trait::async_trait]
impl Planner for Named {
    async fn plan(&self, view: PlanView) -> Result<Planned, PlannerError> {
        if *view.input == json!("wait") && view.round == 1 {
            return Ok(Planned::Next(Plan::new([Step::signal("go", "go")])?));
        }
        Ok(Planned::Answer(json!(format!("{} says {}", self.0, view.input))))
    }
}

fn with_planners(shell: ShellBuilder) -> ShellBuilder {
    shell.planner(Named("desk")).named_planner("refunds", Named("refunds"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turns_that_name_no_planner_go_to_whom_the_session_was_handed() {
    on_each(|builder, _| async move {
        let shell = with_planners(builder).open().await.unwrap();
        let (session, other) = (shell.session("ada").unwrap(), shell.session("bob").unwrap());
        let says = async |session: &agent_shell_core::Session, request: Request| {
            session.submit(request).await.unwrap().outcome().await.unwrap().text()
        };
        assert_eq!(says(&session, Request::new(1)).await, "desk says 1");
        let running = session.submit("wait").await.unwrap();
        tokio::time::sleep(Duration::from_millis(30)).await;
        let olga = Actor::named("olga").unwrap();
        session.hand_off("refunds", "it is about a refund", &olga).await.unwrap();
        session.signal("go", 1, None, &Actor::Host).await.unwrap();
        assert_eq!(running.outcome().await.unwrap().text(), "desk says \"wait\"", "it keeps its planner");
        assert_eq!(says(&session, Request::new(2)).await, "refunds says 2");
        assert_eq!(says(&session, Request::new(3).planner("default")).await, "desk says 3");
        let plan = Plan::new([Step::timer("soon", Duration::ZERO)]).unwrap();
        assert!(says(&session, Request::plan(plan)).await.contains("late_ms"));
        assert_eq!(says(&other, Request::new(4)).await, "desk says 4", "of another session nothing was said");
        let error = session.hand_off("nobody", "", &olga).await.unwrap_err();
        assert!(error.kind() == ErrorKind::InvalidInput && error.to_string().contains("`nobody`"), "{error}");
        let records = session.history().await.unwrap().next(64).await.unwrap();
        let handed = |body: &Body| matches!(body, Body::SessionHandedOff { planner, reason } if planner.as_str() == "refunds" && reason == "it is about a refund");
        let record = records.iter().find(|record| handed(&record.body)).unwrap();
        assert_eq!(shell.actor(&Default::default(), record.actor).await.unwrap(), Some(olga.clone()));
        let steered = session.submit(Request::new(6)).steer().await.unwrap();
        assert_eq!(steered.outcome().await.unwrap().text(), "refunds says 6", "it starts a turn as any other does");
        let named = session.submit(Request::new(7).planner("default")).steer().await.unwrap();
        assert_eq!(named.outcome().await.unwrap().text(), "desk says 7");
        let running = session.submit(Request::plan(Plan::new([Step::signal("go", "go")]).unwrap())).await.unwrap();
        tokio::time::sleep(Duration::from_millis(30)).await;
        let left = session.submit(Request::new(8)).steer().await.unwrap();
        session.signal("go", 1, None, &Actor::Host).await.unwrap();
        running.outcome().await.unwrap();
        assert_eq!(left.outcome().await.unwrap().text(), "refunds says 8", "what no plan took up is the next turn");
        session.hand_off("default", "done", &olga).await.unwrap();
        assert_eq!(says(&session, Request::new(5)).await, "desk says 5");
        shell.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_snapshot_knows_to_whom_the_session_was_handed() {
    let folder = tempfile::tempdir().unwrap();
    let mut limits = limits();
    limits.snapshot_every = 1;
    let open = async || {
        with_planners(Shell::at(folder.path().join("shell.db")).limits(limits.clone())).open().await.unwrap()
    };
    let shell = open().await;
    let session = shell.session("ada").unwrap();
    session.hand_off("refunds", "", &Actor::Host).await.unwrap();
    session.submit(1).await.unwrap().outcome().await.unwrap();
    shell.shutdown().await.unwrap();
    let shell = open().await;
    let turn = shell.session("ada").unwrap().submit(2).await.unwrap();
    assert_eq!(turn.outcome().await.unwrap().text(), "refunds says 2");
    shell.shutdown().await.unwrap();
}

async fn is_handed_off(host: Host<Log>) -> Result<(String, String), BoxError> {
    let session = host.session("ada")?;
    let first = session.submit(1).dedupe("1").await?.outcome().await?.text();
    session.hand_off("refunds", "", &Actor::Host).await?;
    Ok((first, session.submit(2).dedupe("2").await?.outcome().await?.text()))
}

#[test]
fn a_session_stays_handed_off_whatever_crashes() {
    let kit = TestKit::on(Log::default, |life: &Life<Log>| with_planners(life.shell()));
    let sweep = kit.each_crash(is_handed_off).unwrap();
    assert!(sweep.crashes() >= 6, "{}", sweep.crashes());
    for run in sweep.runs() {
        assert_eq!(run.outcome, ("desk says 1".into(), "refunds says 2".into()));
    }
}
