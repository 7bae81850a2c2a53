//! What if another model had answered? A fork goes on from a record of a session, in one of its own: effects are off, so the
//! world is not touched, and what went otherwise is listed.

use agent_shell_core::evaluation::Differences;
use agent_shell_core::{Call, Reply, Request, Scripted, Shell, Tool, ToolLoop};
use serde_json::json;

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Refund {
    order: String,
    cents: u32,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let refund = Tool::idempotent("refund", "Refunds an order", |refund: Refund, _: Call| async move {
        println!("[{} cents of {} are paid back]", refund.cents, refund.order);
        Ok("done")
    });
    let pays = |cents, said: &'static str| {
        let call = Reply::call("refund", json!({ "order": "A-17", "cents": cents }));
        Scripted::by_answers([call, Reply::text(said)])
    };
    let shell = Shell::volatile()
        .tool(refund)
        .model(pays(900, "You have 900 cents back."))
        .named_model("same", pays(900, "900 cents are back."))
        .named_model("generous", pays(2000, "I could not pay that."))
        .named_planner("by-same", ToolLoop::new().model("same"))
        .named_planner("by-generous", ToolLoop::new().model("generous"))
        .open()
        .await?;
    let session = shell.session("customer-42")?;
    let turn = session.submit("Refund A-17").await?;
    println!("{}", turn.outcome().await?.text());

    for planner in ["by-same", "by-generous"] {
        let fork = session.fork(planner).before(turn.id()).await?; // `with_effects` would let it act
        let again = fork.submit(Request::new("Refund A-17").planner(planner)).await?;
        println!("{planner}: {}", again.outcome().await?.text());
        for turn in Differences::of_fork(&shell, fork.id().await?).await?.turns {
            println!("  {}", turn.what.join("; "));
        }
    }

    let then = session.state_at(session.head().await?.seq).await?; // any record, and nothing is written
    println!("the session itself: {} turn, {} messages", then.turns, then.conversation.messages.len());
    Ok(shell.shutdown().await?)
}
