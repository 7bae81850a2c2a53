//! README's first embedding, word for word.
use agent_shell_core::{Actor, Call, Plan, Request, Shell, Step, Tool, input};
use serde_json::json;

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Refund {
    order: String,
    cents: u64,
}

/// Stands for your payment service, which applies a key once.
async fn pay_back(order: &str, cents: u64, key: &str) -> std::io::Result<()> {
    println!("pays {cents} cents of {order} back, under the key {key}");
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let refund = Tool::idempotent("refund", "Refunds an order", |refund: Refund, call: Call| async move {
        pay_back(&refund.order, refund.cents, call.key()).await?; // the key is the same after a crash
        Ok(format!("refunded {} cents of {}", refund.cents, refund.order))
    });
    let shell = Shell::at("shell.db").tool(refund.ask_first()).open().await?; // resumes what a crash left
    let plan = Plan::new([Step::tool("refund", "refund", input(""))])?; // the call gets the turn's whole input
    let request = Request::plan(plan).input(json!({ "order": "A-17", "cents": 1250 }));
    let turn = shell.session("customer-42")?.submit(request).dedupe("request-1").await?; // on disk now

    if let Some(approval) = turn.approval().await? {
        println!("asked to refund {}", approval.shown);
        approval.approve(&Actor::named("olga")?).await?;
    }
    let outcome = turn.outcome().await?;
    match outcome.answer() {
        Some(_) => println!("{}", outcome.text()),
        None => println!("no refund: {outcome:?}"), // denied, say
    }
    shell.shutdown().await?;
    Ok(())
}
