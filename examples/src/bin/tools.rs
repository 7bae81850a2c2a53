//! Tools: the constructor says what may happen when a call is repeated, and an error says what is known.

use std::{error::Error, io, time::Duration};

use agent_shell_core::{Call, Limits, Plan, ProbeAnswer, Request, Shell, Step, Tool, ToolError, input};
use serde_json::json;

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Order {
    cents: i64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let tax = Tool::pure("tax", "Adds the tax", |o: Order, _: Call| async move { Ok(o.cents * 119 / 100) });
    let charge = Tool::idempotent("charge", "Charges a card", |order: Order, call: Call| async move {
        match (order.cents, call.attempt) {
            (0, _) => Err(ToolError::refused("there is nothing to charge")), // Known: it did not happen.
            (_, 1) => Err(ToolError::retry("the line is busy")), // Nor did this, but it may be tried again.
            (cents, attempt) => Ok(format!("{cents} charged in attempt {attempt}")),
        }
    });
    // `?` promises nothing: whether the parcel was sent is not known, so the target is asked.
    let lost = |_: Order, _: Call| async { Ok(Err::<(), _>(io::Error::other("the line went dead"))?) };
    let asked = |_: Order, _: Call| async { Ok(ProbeAnswer::Applied(json!("on its way"))) };
    let ship = Tool::probed("ship", "Sends a parcel", lost, asked).attempt_deadline(Duration::from_millis(9));
    let post = Tool::irreversible("post", "Posts a letter", |_: Order, _: Call| async { Ok("posted last") });
    let mut limits = Limits::default();
    limits.lateness_ms = 9; // A call may take effect so long after its deadline; then the target is asked.
    let shell = Shell::volatile().limits(limits).tool(tax).tool(charge).tool(ship).tool(post.held());
    let session = shell.open().await?.session("customer-42")?;
    let plan = Plan::new(["tax", "charge", "ship", "post"].map(|name| Step::tool(name, name, input(""))))?;
    for (cents, expected) in [(200, "200 charged in attempt 2"), (0, "there is nothing to charge")] {
        let request = Request::plan(plan.clone()).input(json!({ "cents": cents }));
        let outcome = json!(session.submit(request).await?.outcome().await?).to_string();
        println!("{outcome}");
        assert!(outcome.contains(expected));
    }
    Ok(())
}
