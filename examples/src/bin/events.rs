//! What happens to turns is told over a bus, at least once and in order: here to a handler that keeps a ledger. The
//! second shell stands for the next process: it is told what the first one's handler did not take, and only that.

use std::sync::{Arc, Mutex};

use agent_shell_core::backends::local_bus::LocalBus;
use agent_shell_core::{Consumer, Envelope, HandlerError, Plan, Shell, ShellBuilder, Step};
use serde_json::json;
use tokio::sync::mpsc;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let open = |consumer| -> ShellBuilder {
        let shell = Shell::at(folder.path().join("shell.db")).events("/shops/eu");
        shell.bus(Arc::new(LocalBus::default())).consumer(consumer)
    };
    let refuses = |_: Envelope| async { Err(HandlerError::new("the ledger is closed")) };
    let shell = open(Consumer::new("ledger", refuses)).open().await?;
    let plan = Plan::new([Step::approval("ask", json!("send the parcel?"))])?;
    let turn = shell.session("customer-42")?.submit(plan).await?;
    let approval = turn.approval().await?.ok_or("it asks")?;
    approval.deny("not today", &agent_shell_core::Actor::named("olga")?).await?;
    turn.outcome().await?;
    shell.shutdown().await?;

    let (tell, mut told) = mpsc::unbounded_channel();
    let ledger = Mutex::new(tell);
    let keeps = move |event: Envelope| {
        let kept = ledger.lock().is_ok_and(|tell| tell.send(event).is_ok());
        async move { if kept { Ok(()) } else { Err(HandlerError::new("the ledger is gone")) } }
    };
    let shell = open(Consumer::new("ledger", keeps)).open().await?;
    for _ in 0..4 {
        let event = told.recv().await.ok_or("the shell runs")?;
        println!("{} {} {}", event.sequence, event.event_type, event.data["how"].as_str().unwrap_or("-"));
    }
    Ok(shell.shutdown().await?)
}
