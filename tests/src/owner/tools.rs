//! One tool of each class. The first instruction of each is the call to the recorder, in the poll that calls the tool.

use std::sync::Arc;

use agent_shell_core::{Call, ProbeAnswer, Retry, Tool, ToolError};
use serde_json::{Value, json};

use crate::recorder::{Class, Effect, Fence, Probe, RecorderClient, Refusal, StepName, Verdict};

/// The name of the tool of a class.
pub fn tool_name(class: Class) -> &'static str {
    match class {
        Class::Pure => "look",
        Class::Idempotent => "put",
        Class::Probed => "book",
        Class::Irreversible => "send",
    }
}

/// The tool of a class, acting on this recorder. An attempt is never repeated for what the tool says itself.
pub fn tool(class: Class, client: &RecorderClient) -> Tool {
    let client = Arc::new(client.clone());
    let asked = client.clone();
    let run = move |_: Value, call: Call| {
        let client = client.clone();
        async move { act(class, &client, &call) }
    };
    let probe = move |_: Value, call: Call| {
        let asked = asked.clone();
        async move { ask(&asked, &call) }
    };
    let (name, description) = (tool_name(class), "Acts on the recorder");
    let tool = match class {
        Class::Pure => Tool::pure(name, description, run),
        Class::Idempotent => Tool::idempotent(name, description, run),
        Class::Probed => Tool::probed(name, description, run, probe),
        Class::Irreversible => Tool::irreversible(name, description, run),
    };
    tool.retry(Retry::ONCE)
}

fn name_of(call: &Call) -> StepName {
    StepName { turn: call.turn.to_string(), step: call.step.to_string() }
}

fn act(class: Class, client: &RecorderClient, call: &Call) -> Result<Value, ToolError> {
    let StepName { turn, step } = name_of(call);
    let effect = Effect {
        class,
        turn,
        step,
        key: call.key().to_owned(),
        epoch: call.epoch.number(),
        attempt: call.attempt.into(),
        payload: json!({ "deadline_ms": call.deadline.wall }),
    };
    match client.effect(&effect) {
        Ok(Verdict::Applied(_) | Verdict::Counted(_)) => Ok(json!("done")),
        Ok(Verdict::Refused(Refusal::UsedKey)) => Err(ToolError::Applied { output: json!("done") }),
        Ok(Verdict::Refused(Refusal::StaleEpoch)) => Err(ToolError::refused("the epoch is stale")),
        Err(error) => Err(ToolError::ambiguous(error.to_string())),
    }
}

fn ask(client: &RecorderClient, call: &Call) -> Result<ProbeAnswer, ToolError> {
    let StepName { turn, step } = name_of(call);
    let fence = Some(Fence { turn, step, epoch: call.epoch.number() });
    let probe = Probe { key: call.key().to_owned(), fence };
    match client.probe(&probe) {
        Ok(Some(_)) => Ok(ProbeAnswer::Applied(json!("done"))),
        Ok(None) => Ok(ProbeAnswer::NotApplied),
        Err(error) => Err(ToolError::ambiguous(error.to_string())),
    }
}
