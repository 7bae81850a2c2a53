//! A question whose answer is a type of the host's: the model is told its JSON Schema, and an answer that does not have that
//! form goes back to it with the reason. The model is scripted, for no provider is built yet.

use std::time::Duration;

use agent_shell_core::{ErrorKind, Reply, Scripted, Shell};
use serde_json::json;

#[derive(Debug, PartialEq, serde::Deserialize, schemars::JsonSchema)]
struct Verdict {
    refund: bool,
    cents: u64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = Scripted::by_answers([
        Reply::text("Yes, I would give twelve fifty back."), // No JSON: it is asked again.
        Reply::json(json!({ "refund": true, "cents": 1250 })),
        Reply::json(json!({ "refund": false, "cents": 0 })),
        Reply::text("No."),
        Reply::text("As I said: no."),
        Reply::text("I can't see why you ask again."),
        Reply::text("No!"),
    ]);
    let shell = Shell::volatile().model(model.clone()).open().await?;
    let session = shell.session("customer-42")?;
    let verdict: Verdict = session.ask("A-17 came broken. Is it refunded?").await?;
    println!("{verdict:?}, after {} answers", model.asked());

    // The same in two steps, for what only a submit can say: who asks, by when, and under which key.
    let submit = session.submit("A-18 came late. Is it refunded?").wants::<Verdict>();
    let turn = submit.dedupe("request-2").deadline(Duration::from_secs(60)).await?;
    println!("{:?}", turn.answer::<Verdict>().await?);

    // A model that does not answer in this form, as often as it is asked again, fails the turn; it is no answer of another type.
    let failed = session.ask::<Verdict>("And A-19?").await.err().ok_or("the script has no verdict")?;
    assert_eq!(failed.kind(), ErrorKind::TurnFailed);
    println!("no verdict, after {} answers", model.asked());
    Ok(shell.shutdown().await?)
}
