//! README's first embedding, word for word.
use agent_shell_core::{Actor, Call, Reply, Scripted, Shell, Tool};
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

/// Stands for your model: it asks for the refund, and when it is told of it, it answers.
fn model() -> Scripted {
    Scripted::by_answers([
        Reply::call("refund", json!({ "order": "A-17", "cents": 1250 })),
        Reply::text("Your order A-17 is refunded."),
    ])
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let refund = Tool::idempotent("refund", "Refunds an order", |refund: Refund, call: Call| async move {
        pay_back(&refund.order, refund.cents, call.key()).await?; // the key is the same after a crash
        Ok(format!("refunded {} cents of {}", refund.cents, refund.order))
    })
    .ask_first();
    let shell = Shell::at("shell.db").model(model()).tool(refund).open().await?; // resumes what a crash left
    let session = shell.session("customer-42")?;
    let turn = session.submit("Please refund A-17").dedupe("request-1").await?; // on disk now
    if let Some(approval) = turn.approval().await? {
        println!("asked to refund {}", approval.shown);
        approval.approve(&Actor::named("olga")?).await?;
    }
    println!("{}", turn.outcome().await?.text());
    shell.shutdown().await?;
    Ok(())
}
