//! A trip is booked leg by leg. When a leg fails, what was booked is undone, in the reverse order; and so it is when
//! somebody cancels the turn.

use agent_shell_core::{Actor, Call, Outcome, Plan, Shell, Step, Tool, ToolError, Undo};
use serde_json::json;

#[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
struct Leg {
    leg: String,
}

fn tools() -> [Tool; 2] {
    let book = Tool::idempotent("book", "Books a leg", |trip: Leg, _: Call| async move {
        if trip.leg == "a flight to the moon" {
            return Err(ToolError::refused("there is no such flight"));
        }
        println!("  booked {}", trip.leg);
        Ok(format!("{} is booked", trip.leg))
    });
    // It is given what the call was given, its key, and what it brought.
    let unbook = Tool::idempotent("unbook", "Gives a leg back", |undo: Undo<Leg>, _: Call| async move {
        println!("  gave back {}", undo.input.leg);
        Ok::<_, ToolError>(())
    });
    [book.compensated_by("unbook"), unbook]
}

/// One leg after another.
fn trip(legs: &[&str]) -> Vec<Step> {
    let step = |(place, leg): (usize, &&str)| {
        let step = Step::tool(format!("leg-{place}"), "book", json!({ "leg": leg }));
        if place == 0 { step } else { step.after([format!("leg-{}", place - 1)]) }
    };
    legs.iter().enumerate().map(step).collect()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let shell = tools().into_iter().fold(Shell::volatile(), |shell, tool| shell.tool(tool)).open().await?;
    let session = shell.session("customer-42")?;

    let turn = session.submit(Plan::new(trip(&["a train", "a room", "a flight to the moon"]))?).await?;
    if let Outcome::Failed(failure) = turn.outcome().await? {
        println!("failed: {}; {}", failure.message, json!(turn.undone().await?));
    }

    let ask = Step::approval("sure", json!("Is that all?")).after(["leg-1"]);
    let turn = session.submit(Plan::new(trip(&["a bus", "a tent"]).into_iter().chain([ask]))?).await?;
    turn.approval().await?.ok_or("it asks for an approval")?;
    turn.cancel("it rains", &Actor::named("ada")?).await?;
    println!("{}: {}", json!(turn.outcome().await?), json!(turn.undone().await?));
    Ok(shell.shutdown().await?)
}
