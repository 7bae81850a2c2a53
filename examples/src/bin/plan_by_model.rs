//! A model plans: it returns a whole graph of calls, which refer to each other's outputs, and the graph runs as one.

use agent_shell_core::{Call, PlanByModel, Reply, Scripted, Shell, Tool};
use serde_json::json;

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Refund {
    order: String,
    cents: u64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cents = |_: String, _: Call| async { Ok(json!({ "cents": 1250 })) };
    let price = Tool::pure("price", "What an order costs", cents);
    let refund = Tool::idempotent("refund", "Pays an order back", |refund: Refund, _: Call| async move {
        Ok(format!("{} cents of {} were paid back", refund.cents, refund.order))
    });
    // In a product this is a model of some vendor. What it says first is no plan, and it is told why.
    let unknown = json!({ "steps": [{ "id": "p", "tool": "prices", "input": "A-17" }] });
    let order = json!({ "$input": "/order" });
    let plan = json!({
        "steps": [
            { "id": "price", "tool": "price", "input": order },
            { "id": "back", "tool": "refund",
              "input": { "order": order, "cents": { "$from": "price", "pointer": "/cents" } } },
        ],
        "answer": { "$from": "back" },
    });
    let model = Scripted::new([Reply::json(unknown), Reply::json(plan)]);
    let planner = PlanByModel::new().instructions("You look after orders.");
    let shell =
        Shell::volatile().model(model.clone()).planner(planner).tool(price).tool(refund).open().await?;
    let turn = shell.session("customer-42")?.submit(json!({ "order": "A-17" })).await?;
    println!("{}", turn.outcome().await?.text());
    let requests = model.requests();
    println!("it was told: {}", json!(requests.last().map(|last| &last.messages[2]))["note"]);
    Ok(())
}
