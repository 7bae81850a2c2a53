//! A model plans: it returns a whole graph of calls, which refer to each other's outputs, and the graph runs as one.

use std::error::Error;

use agent_shell_core::{Call, PlanByModel, Reply, Scripted, Shell, Tool};
use serde_json::json;

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Order {
    order: String,
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Refund {
    order: String,
    cents: u64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let price = Tool::pure("price", "What an order costs", |_: Order, _: Call| async { Ok(json!({ "cents": 1250 })) });
    let refund = Tool::idempotent("refund", "Pays an order back", |refund: Refund, _: Call| async move {
        Ok(format!("{} cents of {} paid back", refund.cents, refund.order))
    });
    // In a product this is a model of some vendor. Its first plan is no plan, and it is told why.
    let unknown = json!({ "steps": [{ "id": "p", "tool": "prices", "input": { "order": "A-17" } }] });
    let plan = json!({
        "steps": [
            { "id": "price", "tool": "price", "input": { "order": { "$input": "/order" } } },
            { "id": "refund", "tool": "refund",
              "input": { "order": { "$input": "/order" }, "cents": { "$from": "price", "pointer": "/cents" } } },
        ],
        "answer": { "$from": "refund" },
    });
    let model = Scripted::new([Reply::json(unknown), Reply::json(plan)]);
    let planner = PlanByModel::new().instructions("You look after orders.");
    let shell = Shell::volatile().model(model.clone()).planner(planner).tool(price).tool(refund).open().await?;
    let turn = shell.session("customer-42")?.submit(json!({ "order": "A-17", "wish": "my money" })).await?;
    println!("{}", turn.outcome().await?.text());
    let asked = model.requests();
    let told = asked.last().and_then(|request| request.messages.last());
    println!("the model was told: {}", json!(told)["user"][0]["text"]);
    shell.shutdown().await?;
    Ok(())
}
