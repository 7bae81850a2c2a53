//! Saying more while a turn runs: `steer` waits for the model's next question, and `interrupt` gives up what has not begun. Both
//! end with the turn into which they were said.

use std::sync::Arc;

use agent_shell_core::{Call, PlanByModel, Reply, Scripted, Shell, Tool, ToolError};
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore};

/// A tool that says when it begins, and looks a city up as soon as it may.
fn look(begins: Arc<Notify>, may: Arc<Semaphore>) -> Tool {
    Tool::idempotent("look", "Looks a city up", move |city: Value, _: Call| {
        println!("looking at {city}");
        begins.notify_one();
        let may = may.clone();
        async move {
            may.acquire().await.map_err(|_| ToolError::refused("it is closed"))?.forget();
            Ok(json!({ "seen": city }))
        }
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (begins, may) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
    // A model whose answers are written down: a plan, and another one after the interruption.
    let step = |id: &str, city: &str| json!({ "id": id, "tool": "look", "input": city });
    let mut rome = step("second", "Rome");
    rome["after"] = json!(["first"]);
    let tour = json!({ "steps": [step("first", "Oslo"), rome] });
    let instead = json!({ "steps": [step("third", "Bergen")] });
    let model = Scripted::by_answers([Reply::json(tour), Reply::json(instead)]);
    let shell = Shell::volatile().planner(PlanByModel::new()).model(model.clone());
    let shell = shell.tool(look(begins.clone(), may.clone())).open().await?;
    let session = shell.session("customer-42")?;

    let turn = session.submit("Look at Oslo, then at Rome").await?;
    begins.notified().await;
    let before = session.head().await?.seq.number();
    let steered = session.submit("Trains only, please").steer().await?;
    let interrupting = session.submit("Not Rome: Bergen!").interrupt().await?;
    while session.head().await?.seq.number() < before + 2 {
        tokio::task::yield_now().await; // until the turn has heard both
    }
    may.add_permits(2); // Oslo has begun, and is looked at to its end
    for turn in [&turn, &steered, &interrupting] {
        println!("{}", json!(turn.outcome().await?));
    }
    let asked = model.requests().pop().ok_or("it was asked")?;
    for message in asked.messages.iter().rev().take(3).rev() {
        println!("told: {}", json!(message));
    }
    Ok(shell.shutdown().await?)
}
