//! Evaluation and replay, through the public API: data sets, runs, scorers, gates, and what a replay names.

mod data_set;
mod gating;
mod replayed;
mod replayed_calls;
mod running;
mod scoring;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use agent_shell_core::evaluation::{Case, DataSet};
use agent_shell_core::ports::ModelRequest;
use agent_shell_core::{Call, Reply, Scripted, ShellBuilder, Tool, ToolError, ToolLoop};
use serde_json::json;

use crate::support::limits;

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Refund {
    order: String,
    cents: u64,
}

/// How often the world was touched.
#[derive(Clone, Default)]
struct World {
    refunds: Arc<AtomicU32>,
}

impl World {
    fn refunds(&self) -> u32 {
        self.refunds.load(Ordering::SeqCst)
    }

    /// Refunds orders; one called `B-0` can't be.
    fn refund(&self) -> Tool {
        let refunds = self.refunds.clone();
        Tool::idempotent("refund", "Refunds an order", move |refund: Refund, _: Call| {
            refunds.fetch_add(1, Ordering::SeqCst);
            async move {
                match refund.order.as_str() {
                    "B-0" => Err(ToolError::refused("there is no such order")),
                    order => Ok(json!({ "refunded": order, "cents": refund.cents })),
                }
            }
        })
    }
}

/// What the user said last, and whether the model was told of a call since.
fn said(request: &ModelRequest) -> (String, bool) {
    let messages = json!(request.messages);
    let list = messages.as_array().unwrap();
    let user = list.iter().rev().find_map(|message| message["user"][0]["text"].as_str());
    (user.unwrap_or_default().to_owned(), list.last().unwrap().get("results").is_some())
}

/// A model that refunds what the user names after `refund`, and else answers with what was said, in capitals when it is told to shout.
fn model() -> Scripted {
    let reply = |request: &ModelRequest| {
        let (user, told) = said(request);
        let shout = request.prompt.instructions.contains("shout");
        match user.strip_prefix("refund ") {
            Some(order) if !told && !request.prompt.instructions.contains("never refund") => {
                Reply::call("refund", json!({ "order": order, "cents": 1250 }))
            }
            // Arguments that the tool does not take: the model is told.
            None if user.starts_with("wrong") && !told => Reply::call("refund", json!({ "order": "A-17" })),
            _ if shout => Reply::text(user.to_uppercase()),
            _ => Reply::text(user),
        }
        .usage(100, 10)
    };
    Scripted::with(reply).price(1_000_000, 2_000_000)
}

/// The agent of these tests.
fn agent(shell: ShellBuilder, instructions: &str, world: &World) -> ShellBuilder {
    let planner = ToolLoop::new().instructions(instructions);
    shell.limits(limits()).model(model()).tool(world.refund()).planner(planner)
}

fn cases(inputs: &[&str]) -> DataSet {
    let mut set = DataSet::new();
    for input in inputs {
        set.add(Case::new(*input, *input).expected(*input)).unwrap();
    }
    set
}
