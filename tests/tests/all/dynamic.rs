//! Tools of another kind, which bring an implementation of `DynTool`, and what a host says of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use agent_shell_core::data::{EffectClass, ToolContract};
use agent_shell_core::ports::{DynTool, InvalidArguments, ProbeAnswer};
use agent_shell_core::words::ToolName;
use agent_shell_core::{Actor, Call, Outcome, Plan, Retry, Step, Tool, ToolError};
use async_trait::async_trait;
use serde_json::{Value, json};

use crate::support::on_each;

/// A tool that counts what it is asked for.
struct Wire {
    contract: ToolContract,
    runs: AtomicU32,
    probes: AtomicU32,
}

impl Wire {
    fn of(class: EffectClass) -> Arc<Self> {
        let name = ToolName::new("wire").unwrap();
        let contract = ToolContract::new(name, "Wires money", class, json!({}));
        Arc::new(Self { contract, runs: AtomicU32::new(0), probes: AtomicU32::new(0) })
    }

    fn runs(&self) -> u32 {
        self.runs.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl DynTool for Wire {
    fn contract(&self) -> &ToolContract {
        &self.contract
    }

    fn check(&self, input: &Value) -> Result<(), InvalidArguments> {
        match input {
            Value::Object(_) => Ok(()),
            other => Err(InvalidArguments { reason: format!("{other} is no object") }),
        }
    }

    async fn run(&self, _: Arc<Value>, _: Call) -> Result<Value, ToolError> {
        let runs = self.runs.fetch_add(1, Ordering::SeqCst) + 1;
        match self.contract.class {
            EffectClass::Probed => Err(ToolError::ambiguous("the line broke")),
            _ => Ok(json!({ "runs": runs })),
        }
    }

    async fn probe(&self, _: Arc<Value>, _: Call) -> Result<ProbeAnswer, ToolError> {
        self.probes.fetch_add(1, Ordering::SeqCst);
        Ok(ProbeAnswer::Applied(json!("probed")))
    }
}

fn wire() -> Plan {
    Plan::new([Step::tool("a", "wire", json!({}))]).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dynamic_tool_that_asks_first_does_not_act_without_an_approval() {
    on_each(|shell, _| async {
        let inner = Wire::of(EffectClass::Irreversible);
        let shell = shell.tool(Tool::dynamic(inner.clone()).ask_first()).open().await.unwrap();
        let turn = shell.session("s").unwrap().submit(wire()).await.unwrap();
        let approval = turn.approval().await.unwrap();
        assert_eq!(inner.runs(), 0, "it must not act before it was approved");
        approval.expect("an approval is asked for").approve(&Actor::Host).await.unwrap();
        assert_eq!(turn.outcome().await.unwrap(), Outcome::Answered(json!({ "runs": 1 })));
        shell.shutdown().await.unwrap();
    })
    .await;
}

/// Whatever the host changes, the tool that the runtime calls declares it, and the call still reaches the tool.
#[test]
fn everything_that_a_host_says_of_a_dynamic_tool_is_declared() {
    let inner = Wire::of(EffectClass::Idempotent);
    let retry = Retry { attempts: 9, base_ms: 1, max_ms: 2 };
    let tool = Tool::dynamic(inner.clone())
        .version(7)
        .ask_first()
        .approval_expires(Duration::from_secs(5))
        .held()
        .attempt_deadline(Duration::from_secs(6))
        .remembers_keys(Duration::from_secs(8))
        .retry(retry)
        .compensated_by("unwire")
        .build()
        .unwrap();
    let mut expected = inner.contract.clone();
    expected.version = 7;
    expected.ask_first = true;
    expected.approval_ms = Some(5_000);
    expected.held = true;
    expected.attempt_ms = Some(6_000);
    expected.remembers_keys_ms = 8_000;
    expected.retry = retry;
    expected.compensation = Some(ToolName::new("unwire").unwrap());
    assert_eq!(*tool.contract(), expected);
    assert_ne!(tool.contract().requirement(), inner.contract.requirement(), "another version is required");
    assert_eq!(tool.check(&json!(1)).unwrap_err().reason, "1 is no object");
    let untouched = Tool::dynamic(inner.clone()).build().unwrap();
    assert_eq!(*untouched.contract(), inner.contract);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dynamic_tool_is_probed_also_when_something_was_said_of_it() {
    on_each(|shell, _| async {
        let inner = Wire::of(EffectClass::Probed);
        let tool = Tool::dynamic(inner.clone()).attempt_deadline(Duration::from_millis(200));
        let shell = shell.tool(tool).open().await.unwrap();
        let turn = shell.session("s").unwrap().submit(wire()).await.unwrap();
        assert_eq!(turn.outcome().await.unwrap(), Outcome::Answered(json!("probed")));
        assert_eq!((inner.runs(), inner.probes.load(Ordering::SeqCst)), (1, 1));
        shell.shutdown().await.unwrap();
    })
    .await;
}
