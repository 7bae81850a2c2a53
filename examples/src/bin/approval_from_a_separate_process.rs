//! One process rests until a person approves, and another one, over the same file, is where the person sits: it has none of
//! the tools, so it runs nothing, and sees all that waits. `approval_from_a_separate_process [FOLDER]`: the second process
//! is this program too, with a folder; without one, the journal lies in a temporary one.

use std::path::{Path, PathBuf};
use std::{env, process};

use agent_shell_core::{Actor, Call, ErrorKind, Plan, Shell, Step, Tool};
use serde_json::json;

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Refund {
    order: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    match env::args_os().nth(1) {
        None => refund(tempfile::tempdir()?.path()).await,
        Some(folder) => approve(&PathBuf::from(folder)).await,
    }
}

/// The process that acts.
async fn refund(folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let refund = Tool::irreversible("refund", "Refunds an order", |refund: Refund, _: Call| async move {
        Ok(format!("{} is refunded", refund.order))
    });
    let shell = Shell::at(folder.join("shell.db")).tool(refund.ask_first()).open().await?;
    let plan = Plan::new([Step::tool("refund", "refund", json!({ "order": "A-17" }))])?;
    let turn = shell.session("customer-42")?.submit(plan).await?;
    let rests = turn.outcome().await.err().ok_or("it asks first")?;
    assert_eq!(rests.kind(), ErrorKind::AtRest, "nothing but a decision moves the turn");
    println!("the first process waits for a person");

    let status = process::Command::new(env::current_exe()?).arg(folder).status()?;
    assert!(status.success(), "the second process ended with {status}");
    println!("the first process: {}", turn.outcome().await?.text()); // What was approved there is on disk.
    Ok(shell.shutdown().await?)
}

/// The process in which the person sits.
async fn approve(folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let shell = Shell::at(folder.join("shell.db")).open().await?;
    for rest in shell.rests().await? {
        let approval = shell.turn(rest.turn).approval().await?.ok_or("it waits for an approval")?;
        println!("the second process approves {}", approval.shown);
        approval.approve(&Actor::named("olga@example.org")?).await?;
    }
    Ok(shell.shutdown().await?)
}
