//! A clerk hands an order to a child that may look and book, and no more. When the turn fails after the child has answered, what
//! the child booked is undone.

use agent_shell_core::{Call, Delegate, Outcome, Plan, Shell, Step, Tool, ToolError, Undo, from, output};
use serde_json::{Value, json};

#[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
struct Order {
    order: String,
}

fn tools() -> [Tool; 3] {
    let book = Tool::idempotent("book", "Books an order", |order: Order, _: Call| async move {
        println!("  booked {}", order.order);
        Ok::<_, ToolError>(format!("{} is booked", order.order))
    });
    let unbook =
        Tool::idempotent("unbook", "Takes a booking back", |undo: Undo<Order>, _: Call| async move {
            println!("  took the booking of {} back", undo.input.order);
            Ok::<_, ToolError>(())
        });
    let tell = Tool::idempotent("tell", "Tells the customer", |text: Value, _: Call| async move {
        match text.as_str() {
            Some(text) if text.starts_with("A-") => Ok(format!("told: {text}")),
            _ => Err(ToolError::refused("it is no order of ours")),
        }
    });
    [book.compensated_by("unbook"), unbook, tell]
}

/// A child books the order, and then the customer is told.
fn plan(order: &str) -> Result<Plan, Box<dyn std::error::Error>> {
    let child = Plan::new([Step::tool("book", "book", agent_shell_core::input(""))])?;
    let child = Delegate::to_plan(child, json!({ "order": order })).tools(["book"]);
    let tell = Step::tool("tell", "tell", from("clerk", ""));
    Ok(Plan::builder().step(Step::child("clerk", child)).step(tell).answer(output("tell")).build()?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let shell = tools().into_iter().fold(Shell::volatile(), |shell, tool| shell.tool(tool)).open().await?;
    let session = shell.session("customer-42")?;
    for order in ["A-17", "B-18"] {
        println!("{order}:");
        let turn = session.submit(plan(order)?).await?;
        match turn.outcome().await? {
            Outcome::Failed(failure) => println!("  failed: {}", failure.message),
            outcome => println!("  {}", outcome.text()),
        }
        let child = turn.children().await?.remove(0);
        println!("  the child of step `{}`: {}", child.step, json!(child.turn.outcome().await?));
    }
    shell.shutdown().await?;
    Ok(())
}
