//! A machine that sleeps: its clocks go on, and its timers stand still.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agent_shell_core::backends::volatile::{VolatileKeys, VolatileStore};
use agent_shell_core::backends::{SystemClock, SystemEntropy, TokioSpawn};
use agent_shell_core::runtime::{Ports, ShellBuilder};
use agent_shell_core::words::{Clock, Monotonic, Timestamp};
use agent_shell_core::{Call, Plan, Step, Tool, ToolError};
use async_trait::async_trait;
use serde_json::{Value, json};

use crate::support::limits;

/// The system's clocks, after so many seconds of sleep.
#[derive(Clone, Default)]
struct Slept(Arc<AtomicU64>);

impl Slept {
    fn slept(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::SeqCst))
    }
}

#[async_trait]
impl Clock for Slept {
    fn now(&self) -> Timestamp {
        SystemClock::new().now().plus(self.slept())
    }

    fn monotonic(&self) -> Monotonic {
        SystemClock::new().monotonic().plus(self.slept())
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timer_that_was_set_before_the_machine_slept_holds_up_nothing() {
    let clock = Slept::default();
    let ports = Ports {
        store: VolatileStore::store(Arc::new(SystemClock::new())),
        keys: Arc::new(VolatileKeys::new()),
        clock: Arc::new(clock.clone()),
        entropy: Arc::new(SystemEntropy::new()),
        spawn: Arc::new(TokioSpawn::current().unwrap()),
    };
    let tool = Tool::pure("slow", "", |_: Value, _: Call| async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        Ok::<_, ToolError>(1)
    });
    let shell = ShellBuilder::new(async move { Ok(ports) }).limits(limits()).tool(tool).open().await.unwrap();
    let timer = Step::timer("timer", Duration::from_millis(300)).after(["slow"]);
    let plan = Plan::new([Step::tool("slow", "slow", json!({})), timer]).unwrap();
    let turn = shell.session("s").unwrap().submit(plan).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    clock.0.store(2 * 3600, Ordering::SeqCst);
    let outcome = tokio::time::timeout(Duration::from_secs(30), turn.outcome()).await;
    assert!(outcome.is_ok(), "the timer of a third of a second did not fire");
    shell.shutdown().await.unwrap();
}
