//! How a host tests its own agent: it is crashed before and after every record that it writes, and must answer and do the
//! same each time. Here in `main`, so that it can be run; in earnest it is a `#[test]`. See docs/TESTING.md.

use std::sync::Arc;
use std::time::Duration;

use agent_shell_core::testing::{BoxError, Crash, Host, Target, TestKit};
use agent_shell_core::{Actor, Call, Reply, Scripted, ShellBuilder, Tool};
use serde_json::{Value, json};

/// The agent under test, as the host builds it in earnest too: what it acts on comes from outside.
fn agent(shell: ShellBuilder, payments: Arc<Target>, keeps_keys: bool) -> ShellBuilder {
    let refund = Tool::idempotent("refund", "Refunds an order", move |order: Value, call: Call| {
        // The bug: another key for each attempt, so what is repeated after a crash is done twice.
        let key = if keeps_keys { call.key().to_owned() } else { format!("{}-{}", call.key(), call.attempt) };
        payments.apply("refund", key, order);
        async { Ok("refunded") }
    });
    let model = Scripted::by_answers([
        Reply::call("refund", json!({ "order": "A-17" })),
        Reply::text("Your order A-17 is refunded."),
    ]);
    shell.model(model).tool(refund.ask_first())
}

/// What the host does in every life of its process: the dedupe key makes it one turn.
async fn host(host: Host<Target>) -> Result<String, BoxError> {
    let turn = host.session("customer-42")?.submit("Please refund A-17").dedupe("request-1").await?;
    if let Some(approval) = turn.approval().await? {
        host.sleep(Duration::from_secs(7200)).await; // Olga is at lunch, for no time at all.
        approval.approve(&Actor::named("olga")?).await?;
    }
    Ok(turn.outcome().await?.text())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let kit = TestKit::new(|life| agent(life.shell(), life.world(), true));
    let sweep = kit.each_crash(host)?;
    for run in sweep.runs() {
        run.journal.assert_once("refund");
        run.journal.assert_ended();
        assert!(run.lasted >= Duration::from_secs(7200) && run.world.applied("refund") == 1);
    }
    println!("the agent survives a crash at {} places", sweep.crashes());

    let crashed = kit.crash_at(Crash::before("step.succeeded").step("call-1-1")).run(host)?;
    let calls = crashed.journal.calls("refund");
    println!("cut off before it is recorded, the refund takes {} attempts under one key", calls[0].attempts);

    let broken = TestKit::new(|life| agent(life.shell(), life.world(), false));
    println!("without the key: {}", broken.each_crash(host).err().ok_or("the bug is not found")?);
    Ok(())
}
