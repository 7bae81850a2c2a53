//! Ceilings: what a user and a turn may spend at most. What does not fit is refused before it begins, and its step fails.

use agent_shell_core::data::{Ceiling, FailureCode, Outcome};
use agent_shell_core::{Call, Ceilings, Plan, Shell, Step, Tool};
use serde_json::json;

const CENT: u64 = 10_000_000; // In billionths of a US dollar.

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Scan {
    pages: u32,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The most that a call can cost is set aside before it begins, whatever happens to it then.
    let scan = Tool::pure("scan", "Reads pages", |scan: Scan, _: Call| async move {
        Ok(format!("{} pages read", scan.pages))
    });
    let five_cents_for_each_user = Ceiling { nano_usd: Some(5 * CENT), ..Ceiling::NONE };
    let shell = Shell::volatile()
        .tool(scan.costs_at_most(2 * CENT))
        .budgeted(move |_whose| Ceilings { user: five_cents_for_each_user, ..Ceilings::default() });
    let session = shell.open().await?.session("customer-42")?;
    let plan = || Plan::new([Step::tool("scan", "scan", json!({ "pages": 3 }))]);

    // A turn may have a ceiling of its own, on top: this one may call nothing.
    let no_calls = Ceiling { tool_calls: Some(0), ..Ceiling::NONE };
    print(&session.submit(plan()?).budget(no_calls).await?.outcome().await?);
    for _ in 0..3 {
        print(&session.submit(plan()?).await?.outcome().await?);
    }
    Ok(())
}

fn print(outcome: &Outcome) {
    match outcome {
        Outcome::Failed(failure) if failure.code == FailureCode::Budget => println!("{}", failure.message),
        outcome => println!("{}", json!(outcome)),
    }
}
