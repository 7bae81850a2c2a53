//! A process is killed in the middle of an effect, and the next one repeats the effect under the same key.
//! `crash_and_resume [FOLDER]`: without a folder, the journal lies in a temporary one.

use std::io::{BufRead, BufReader};
use std::{env, process};

use agent_shell_core::{Call, Plan, Shell, Step, Tool};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let temporary = tempfile::tempdir()?;
    let mut arguments = env::args().skip(1);
    let folder = arguments.next().unwrap_or_else(|| temporary.path().display().to_string());
    let order_of_child = arguments.next(); // Only the child, which is this program too, has a second argument.
    let dies = order_of_child.is_some();
    let order = order_of_child.unwrap_or_else(|| process::id().to_string());
    let charge = Tool::idempotent("charge", "Charges a card", move |_: Value, call: Call| async move {
        println!("{}", call.key());
        if dies {
            std::future::pending::<()>().await; // The card is charged, and nobody will hear of it.
        }
        Ok(json!({ "attempt": call.attempt, "key": call.key() }))
    });
    let mut first_key = None;
    if !dies {
        let mut child = process::Command::new(env::current_exe()?);
        let mut child = child.args([&folder, &order]).stdout(process::Stdio::piped()).spawn()?;
        first_key = BufReader::new(child.stdout.take().ok_or("piped")?).lines().next().transpose()?;
        child.kill()?; // SIGKILL, on Unix: the child notices nothing.
        println!("the first process ended by {}", child.wait()?);
    }
    let shell = Shell::at(format!("{folder}/shell.db")).tool(charge).open().await?; // It resumes the turn.
    let plan = Plan::new([Step::tool("charge", "charge", json!({ "order": order }))])?;
    let turn = shell.session("customer-42")?.submit(plan).dedupe(&order).await?; // One turn, in both processes.
    println!("{}", turn.outcome().await?.text());
    assert_eq!(turn.outcome().await?.answer(), Some(&json!({ "attempt": 2, "key": first_key })));
    Ok(())
}
