//! An interruption that is taken back before any planner has seen it: the turn goes on from where it was.

use std::sync::Arc;
use std::time::Duration;

use agent_shell_core::data::Retry;
use agent_shell_core::ports::ModelErrorKind;
use agent_shell_core::{
    Actor, Call, Outcome, PlanByModel, PlanView, Planned, Planner, PlannerError, Reply, Scripted, Shell,
    Tool, ToolError, ToolLoop,
};
use async_trait::async_trait;
use serde_json::{Value, json};

use super::scene::Gate;
use super::{answer, kinds, until_steered};
use crate::support::limits;

/// A tool that is held back, and stops here.
fn held(gate: &Arc<Gate>) -> Tool {
    let gate = gate.clone();
    let wait = move |_: Value, _: Call| {
        let gate = gate.clone();
        async move {
            gate.pass().await;
            Ok::<_, ToolError>("waited")
        }
    };
    Tool::idempotent("wait", "Waits", wait).held()
}

/// What the model has answered stands when it is taken back that the user interrupted what was held back.
async fn answers_as_before(planner: impl Planner, replies: [Reply; 2]) {
    let gate = Arc::new(Gate::default());
    let model = Scripted::new(replies);
    let shell = Shell::volatile().limits(limits()).planner(planner).model(model.clone()).tool(held(&gate));
    let shell = shell.open().await.unwrap();
    let session = shell.session("ada").unwrap();
    let first = session.submit("Do this").await.unwrap();
    gate.reached().await;
    let more = session.submit("Stop").interrupt().await.unwrap();
    until_steered(&shell, "ada", 1).await;
    more.cancel("never mind", &Actor::Host).await.unwrap();
    assert_eq!(more.outcome().await.unwrap(), Outcome::Cancelled);
    gate.open();
    assert_eq!(answer(&first).await, "Done.");
    assert_eq!(model.requests().len(), 2, "the model is asked nothing more");
    shell.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loop_answers_as_before_when_an_interruption_is_taken_back() {
    answers_as_before(ToolLoop::new(), [Reply::call("wait", json!({})), Reply::text("Done.")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_plans_answers_as_before_when_an_interruption_is_taken_back() {
    let plan = json!({ "steps": [{ "id": "one", "tool": "wait", "input": {} }] });
    let done = json!({ "steps": [], "answer": "Done." });
    answers_as_before(PlanByModel::new().reviews(true), [Reply::json(plan), Reply::json(done)]).await;
}

/// A planner that stops while it is shown something.
struct Stops {
    gate: Arc<Gate>,
    inner: PlanByModel,
}

#[async_trait]
impl Planner for Stops {
    async fn plan(&self, view: PlanView) -> Result<Planned, PlannerError> {
        if !view.untold().is_empty() {
            self.gate.pass().await;
        }
        self.inner.plan(view).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_is_corrected_anew_when_what_gave_that_up_is_taken_back() {
    let gate = Arc::new(Gate::default());
    let model = Scripted::new([
        Reply::text("No plan."),
        Reply::error(ModelErrorKind::Unavailable, "busy"),
        Reply::json(json!({ "steps": [], "answer": "Done." })),
    ]);
    let retry = Retry { attempts: 3, base_ms: 60_000, max_ms: 60_000 };
    let planner = Stops { gate: gate.clone(), inner: PlanByModel::new().retry(retry) };
    let shell = Shell::volatile().limits(limits()).planner(planner).model(model.clone());
    let shell = shell.open().await.unwrap();
    let session = shell.session("ada").unwrap();
    let first = session.submit("Do this").await.unwrap();
    while !kinds(&shell, "ada").await.contains(&"attempt.failed") {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let more = session.submit("Stop").interrupt().await.unwrap();
    gate.reached().await;
    more.cancel("never mind", &Actor::Host).await.unwrap();
    assert_eq!(answer(&first).await, "Done.");
    assert_eq!(more.outcome().await.unwrap(), Outcome::Cancelled);
    assert_eq!(model.requests().len(), 3);
    shell.shutdown().await.unwrap();
}
