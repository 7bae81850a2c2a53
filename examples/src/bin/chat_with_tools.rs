//! A model that calls a tool and answers, followed as it speaks. It is scripted: no provider is built yet.

use std::io::Write;

use agent_shell_core::data::{Answer, Body};
use agent_shell_core::{Call, Followed, Limits, Reply, Scripted, Shell, Tool, ToolLoop, Turn};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize, schemars::JsonSchema)]
struct Order {
    order: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let track = Tool::pure("track", "Says where an order is", |asked: Order, _: Call| async move {
        Ok(json!({ "order": asked.order, "at": "Rotterdam" }))
    });
    let model = Scripted::by_answers([
        Reply::call("track", json!({ "order": "A-17" })),
        Reply::text("Order A-17 is in Rotterdam."),
        Reply::text("You are welcome."),
    ]);
    let planner = ToolLoop::new().instructions("You know about orders.");
    let mut limits = Limits::default();
    limits.riding_ms = 0; // What a tool found is told before what is said of it.
    let shell = Shell::volatile().limits(limits).model(model).planner(planner).tool(track).open().await?;
    for said in ["Where is A-17?", "Thank you!"] {
        println!("> {said}");
        print(&shell.session("customer-42")?.submit(said).await?).await?;
    }
    Ok(shell.shutdown().await?)
}

/// Prints what the model says as it says it. What is not durable yet may be taken back, and is then said anew.
async fn print(turn: &Turn) -> Result<(), Box<dyn std::error::Error>> {
    let (mut follow, mut printed) = (turn.follow(), 0);
    while let Some(followed) = follow.next().await? {
        match followed {
            Followed::Token { text, offset, .. } if offset == printed as u64 => {
                print!("{text}");
                std::io::stdout().flush()?;
                printed += text.len();
            }
            Followed::Retracted { .. } if printed > 0 => printed = 0,
            Followed::Durable { entry, .. } => match &entry.body {
                Body::ModelAnswered { answer, .. } => {
                    let text = Answer::deserialize(&*answer.value())?.text();
                    let rest = text.get(std::mem::take(&mut printed)..).unwrap_or(&text); // It takes the text's place.
                    print!("{rest}{}", if text.is_empty() { "" } else { "\n" });
                }
                Body::StepSucceeded { step, output, .. } => println!("[{step} found {}]", output.value()),
                _ => {}
            },
            _ => {}
        }
    }
    Ok(())
}
