//! A guard of one's own: it makes large refunds smaller, asks a person about middling ones, and denies those of strangers.

use agent_shell_core::data::{Body, GuardPlace};
use agent_shell_core::{Actor, Call, Guard, GuardError, GuardRequest, Plan, Ruling, Shell, Step, Tool};
use serde_json::json;

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Refund {
    order: String,
    cents: u64,
}

struct Desk;

#[async_trait::async_trait]
impl Guard for Desk {
    fn name(&self) -> &str {
        "desk"
    }

    fn watches(&self, place: GuardPlace) -> bool {
        place == GuardPlace::BeforeTool
    }

    async fn rule(&self, request: &GuardRequest) -> Result<Ruling, GuardError> {
        let order = request.value["order"].as_str().ok_or_else(|| GuardError::new("no order"))?;
        Ok(match request.value["cents"].as_u64().unwrap_or(0) {
            _ if !order.starts_with("A-") => Ruling::deny("it is no order of ours"),
            50_000.. => Ruling::rewrite(json!({ "order": order, "cents": 50_000 })),
            10_000.. => Ruling::ask("it is more than 100 euros"),
            _ => Ruling::Allow,
        })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let refund = Tool::irreversible("refund", "Refunds an order", |refund: Refund, _: Call| async move {
        Ok(format!("{} cents of {}", refund.cents, refund.order))
    });
    let session = Shell::volatile().tool(refund).guard(Desk).open().await?.session("customer-42")?;
    for (order, cents) in [("A-17", 900), ("B-1", 900), ("A-18", 20_000), ("A-19", 90_000)] {
        let plan = Plan::new([Step::tool("refund", "refund", json!({ "order": order, "cents": cents }))])?;
        let turn = session.submit(plan).await?;
        if let Some(approval) = turn.approval().await? {
            println!("{}", approval.reason.as_deref().unwrap_or_default());
            approval.approve(&Actor::named("olga@example.org")?).await?;
        }
        println!("{}", json!(turn.outcome().await?));
    }
    let records = session.history().await?.next(100).await?;
    let ruled = records.iter().filter(|record| matches!(record.body, Body::GuardRuled { .. })).count();
    println!("{ruled} rulings stand in the journal");
    Ok(())
}
