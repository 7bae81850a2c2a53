//! A tool that asks first: the turn rests until a named actor approves exactly this call, or refuses it.

use agent_shell_core::{Actor, Call, Outcome, Plan, Result, Shell, Step, Tool, Turn};
use serde_json::json;

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Refund {
    order: String,
}

/// A decision is on disk when `approve` returns; until the session has read it, the turn still rests.
async fn end_of(turn: &Turn) -> Result<Outcome> {
    loop {
        if let Some(outcome) = turn.ended().await? {
            return Ok(outcome);
        }
    }
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let refund = Tool::irreversible("refund", "Refunds an order", |refund: Refund, _: Call| async move {
        Ok(format!("{} is refunded", refund.order))
    });
    let session = Shell::volatile().tool(refund.ask_first()).open().await?.session("customer-42")?;
    for (order, allowed) in [("A-17", true), ("A-18", false)] {
        let plan = Plan::new([Step::tool("refund", "refund", json!({ "order": order }))])?;
        let turn = session.submit(plan).await?;
        let approval = turn.approval().await?.ok_or("the tool asks first")?;
        println!("waits for a person: {}", approval.shown);
        match allowed {
            true => approval.approve(&Actor::named("olga")?).await?,
            false => approval.deny("the parcel is on its way", &Actor::named("olga")?).await?,
        }
        let outcome = json!(end_of(&turn).await?).to_string();
        println!("{outcome}");
        assert_eq!(outcome.contains("is refunded"), allowed);
    }
    Ok(())
}
