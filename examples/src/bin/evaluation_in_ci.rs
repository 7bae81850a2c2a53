//! A gate for CI: the same cases through the prompt of today and through a changed one, and an exit code that says whether the
//! change may go in. The changed prompt is the program's argument. See docs/EVALUATION.md.

use std::process::ExitCode;

use agent_shell_core::evaluation::{Calls, Contains, DataSet, Evaluation, Gate, Score, Variant};
use agent_shell_core::ports::ModelRequest;
use agent_shell_core::{Call, Reply, Scripted, Shell, ShellBuilder, Tool, ToolError, ToolLoop};
use serde_json::{Value, json};

/// In earnest a file, `DataSet::open`, or what users asked, `DataSet::of_sessions`.
const CASES: &str = r#"
    {"name":"where","input":"Where is A-17?","expected":"on its way"}
    {"name":"thanks","input":"Thank you!","expected":"welcome"}
"#;

/// Stands for your model, and does what its instructions say.
fn model() -> Scripted {
    Scripted::with(|request: &ModelRequest| {
        let said = json!(request.messages).to_string();
        match request.messages.len() {
            1 if said.contains("Thank") => Reply::text("You are welcome."),
            1 if request.prompt.instructions.contains("without tools") => Reply::text("A-17 must be lost."),
            1 => Reply::call("track", json!({ "order": "A-17" })),
            _ => Reply::text("Your order A-17 is on its way."),
        }
    })
    .price(1_000_000, 4_000_000)
}

/// The agent as it is built in earnest, but for a stand-in for what acts in the world.
fn agent(shell: ShellBuilder, instructions: &str) -> ShellBuilder {
    let track = Tool::pure("track", "Tells where an order is", |_: Value, _: Call| async {
        Ok::<_, ToolError>("on its way")
    });
    shell.model(model()).tool(track).planner(ToolLoop::new().instructions(instructions))
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let changed =
        std::env::args().nth(1).unwrap_or_else(|| "You help customers, in one sentence.".to_owned());
    let comparison = Evaluation::new(DataSet::read(CASES)?)
        .variant(Variant::new("today", || agent(Shell::volatile(), "You help customers.").open()))
        .variant(Variant::new("changed", move || agent(Shell::volatile(), &changed).open()))
        .scorer(Contains::expected())
        .scorer(Calls::new().only(["track"]).at_most(1))
        .run()
        .await?;
    println!("{comparison}");
    let verdict = Gate::new()
        .mean_may_drop("contains", Score::percent(2))
        .no_new_failure("calls", Score::PASS)
        .cost_may_grow(50)
        .judge(&comparison);
    println!("{verdict}");
    Ok(verdict.exit_code())
}
