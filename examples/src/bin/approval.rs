//! A tool that asks first: the turn rests until a named actor approves exactly this call, or refuses it.

use agent_shell_core::{Actor, Call, ErrorKind, Plan, Shell, Step, Tool};
use serde_json::json;

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Refund {
    order: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let refund = Tool::irreversible("refund", "Refunds an order", |refund: Refund, _: Call| async move {
        Ok(format!("{} is refunded", refund.order))
    });
    let session = Shell::volatile().tool(refund.ask_first()).open().await?.session("customer-42")?;
    let olga = Actor::named("olga@example.org")?;
    for (order, allowed) in [("A-17", true), ("A-18", false)] {
        let plan = Plan::new([Step::tool("refund", "refund", json!({ "order": order }))])?;
        let turn = session.submit(plan).await?;
        let approval = turn.approval().await?.ok_or("the tool asks first")?;
        println!("waits for a person: {}", approval.shown);
        let rests = turn.outcome().await.err().map(|error| error.kind());
        assert_eq!(rests, Some(ErrorKind::AtRest), "nothing but a decision moves the turn");
        match allowed {
            true => approval.approve(&olga).await?,
            false => approval.deny("the parcel is on its way", &olga).await?,
        }
        let outcome = json!(turn.outcome().await?).to_string();
        println!("{outcome}");
        assert_eq!(outcome.contains("is refunded"), allowed);
    }
    Ok(())
}
