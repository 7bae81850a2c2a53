//! Code of the host's that panics: a turn ends by it, and never hangs.

use std::sync::Arc;
use std::time::Duration;

use agent_shell_core::data::{Ceiling, Prompt};
use agent_shell_core::ports::{
    AnswerStream, ModelBound, ModelCapabilities, ModelError, ModelHeadroom, ModelRequest,
};
use agent_shell_core::runtime::{Ceilings, Submit};
use agent_shell_core::{
    Call, FailureCode, Outcome, Plan, Retry, Shell, ShellBuilder, Step, Subject, Tool, ToolError,
};
use serde_json::{Value, json};

use super::super::support::{Number, double, limits};
use super::failure;

/// What is done well within this, unless it hangs.
const SOON: Duration = Duration::from_secs(20);

/// Where a model panics.
#[derive(Clone, Copy, PartialEq)]
enum At {
    Capabilities,
    Headroom,
    Bound,
    Ask,
}

struct Panics(At);

impl Panics {
    fn reached(&self, at: At) {
        assert!(self.0 != at, "the model is broken");
    }
}

#[async_trait::async_trait]
impl agent_shell_core::Model for Panics {
    fn capabilities(&self) -> ModelCapabilities {
        self.reached(At::Capabilities);
        ModelCapabilities::default()
    }

    fn headroom(&self) -> ModelHeadroom {
        self.reached(At::Headroom);
        ModelHeadroom::default()
    }

    fn bound(&self, _: &ModelRequest) -> Option<ModelBound> {
        self.reached(At::Bound);
        Some(ModelBound { tokens: 10, cost_nano_usd: Some(10) })
    }

    async fn ask(&self, _: Arc<ModelRequest>, _: Call) -> Result<AnswerStream, ModelError> {
        panic!("the model is broken");
    }
}

fn asks() -> Plan {
    let step = Step::ask("ask", "default", Prompt::default(), "hi").retry(Retry::ONCE);
    Plan::new([step]).unwrap()
}

fn money(most: u64) -> Ceiling {
    Ceiling { nano_usd: Some(most), ..Ceiling::NONE }
}

async fn ended(submit: Submit) -> Outcome {
    let turn = submit.await.unwrap();
    tokio::time::timeout(SOON, turn.outcome()).await.expect("the turn hangs").unwrap()
}

async fn open(builder: ShellBuilder) -> Shell {
    builder.limits(limits()).open().await.unwrap()
}

#[tokio::test]
async fn a_model_that_panics_when_it_is_asked_for_its_bound_fails_the_step() {
    for at in [At::Bound, At::Ask] {
        let shell = open(Shell::volatile().model(Panics(at))).await;
        let session = shell.session("ada").unwrap();
        let outcome = ended(session.submit(asks()).budget(money(1_000))).await;
        let (code, message) = failure(&outcome);
        assert_eq!((code, message), (FailureCode::Model, "the model panicked: the model is broken"));
        // The session goes on.
        let outcome = ended(session.submit(asks()).budget(money(1_000))).await;
        assert_eq!(failure(&outcome).0, FailureCode::Model);
        shell.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_model_that_panics_when_a_planner_is_shown_it_fails_the_turn() {
    for at in [At::Capabilities, At::Headroom] {
        let shell = open(Shell::volatile().model(Panics(at)).tool(double())).await;
        let session = shell.session("ada").unwrap();
        let outcome = ended(session.submit("hi")).await;
        let (code, message) = failure(&outcome);
        assert_eq!(code, FailureCode::Planner);
        assert!(message.contains("panicked: the model is broken"), "{message}");
        let plan = Plan::new([Step::tool("one", "double", json!({ "n": 1 }))]).unwrap();
        assert!(matches!(ended(session.submit(plan)).await, Outcome::Answered(_)), "the session goes on");
        shell.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn ceilings_that_panic_let_nothing_begin() {
    let ceilings = |whose: &agent_shell_core::runtime::Whose<'_>| {
        assert!(*whose.subject != Subject::None, "no ceilings for nobody");
        Ceilings::default()
    };
    let shell = open(Shell::volatile().budgeted(ceilings).tool(double())).await;
    let nobody = shell.session_of(Default::default(), "s", Subject::None).unwrap();
    let plan = || Plan::new([Step::tool("one", "double", json!({ "n": 1 }))]).unwrap();
    for _ in 0..2 {
        let outcome = ended(nobody.submit(plan())).await;
        let (code, message) = failure(&outcome);
        assert_eq!(code, FailureCode::Budget);
        assert!(message.contains("panicked: no ceilings for nobody"), "{message}");
    }
    let user = shell.session("ada").unwrap();
    assert!(matches!(ended(user.submit(plan())).await, Outcome::Answered(_)));
    shell.shutdown().await.unwrap();
}

/// Panics when it is dropped.
struct Brittle;

impl Drop for Brittle {
    fn drop(&mut self) {
        panic!("it broke when it was dropped");
    }
}

#[tokio::test]
async fn an_attempt_that_panics_when_it_is_given_up_ends_all_the_same() {
    let hangs = Tool::pure("hang", "Hangs", |_: Number, _: Call| async {
        let _brittle = Brittle;
        std::future::pending::<()>().await;
        Ok::<Value, ToolError>(json!(null))
    });
    let mut short = limits();
    short.attempt_ms = 50;
    let shell = Shell::volatile().limits(short).tool(hangs).tool(double()).open().await.unwrap();
    let session = shell.session("ada").unwrap();
    let step = Step::tool("one", "hang", json!({ "n": 1 })).retry(Retry::ONCE);
    let outcome = ended(session.submit(Plan::new([step]).unwrap())).await;
    let (code, message) = failure(&outcome);
    assert_eq!(code, FailureCode::Panicked);
    assert!(message.contains("it broke when it was dropped"), "{message}");
    shell.shutdown().await.unwrap();
}
