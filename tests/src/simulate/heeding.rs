//! Steps that read the turn's context beside steps that change it, and are optimistic: tools that bring what they have read.

use agent_shell_core::data::{EffectClass, Reducer};
use agent_shell_core::simulation::SimClock;
use agent_shell_core::{Call, Step, Template, Tool, ToolError, context};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::bugs::Bug;
use super::tools::act;
use super::truth::{ToolSpec, Truth};
use crate::crash::scenario::Work;

/// The key to which tools of wild turns add their numbers.
pub(super) const TOTAL: &str = "total";

/// The second one asks first.
pub(super) const TOOLS: [&str; 2] = ["heed", "mind"];

/// Whether a tool's calls follow from what the context holds.
pub(super) fn heeds(tool: &str) -> bool {
    TOOLS.contains(&tool)
}

/// What they take.
#[derive(Clone, Debug, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Heed {
    own: u64,
    read: Option<u64>,
}

/// The tools.
pub(super) fn tools(truth: &Truth, clock: &SimClock) -> Vec<Tool> {
    TOOLS.map(|name| tool(name, truth.clone(), clock.clone())).into()
}

fn tool(name: &'static str, truth: Truth, clock: SimClock) -> Tool {
    let spec = ToolSpec { name, class: EffectClass::Pure, remembers: None };
    let run = move |heed: Heed, call: Call| {
        let (truth, clock) = (truth.clone(), clock.clone());
        async move {
            let input = json!(heed);
            let mut read = heed.read;
            let first = truth.heeded(&call, read);
            if truth.settings().bug == Some(Bug::StaleRead) {
                read = first;
            }
            let work = Work { own: heed.own, of: read.into_iter().collect(), refuse: false };
            act(truth, clock, spec, (work, input), call).await?;
            Ok::<_, ToolError>(json!({ "n": heed.own, "read": read }))
        }
    };
    let tool = Tool::pure(name, "Brings what it has read", run);
    let tool = if name == "mind" { tool.ask_first() } else { tool };
    tool.attempt_deadline(super::settings::Settings::ATTEMPT)
}

/// A step that reads what others add up.
pub(super) fn step(id: &str, name: &str, own: u64) -> Step {
    let input = Template::object([("own", Template::from(own)), ("read", context(TOTAL))]);
    Step::tool(id, name, input).optimistic()
}

/// A step whose number is added.
pub(super) fn adds(step: Step) -> Step {
    step.writes(TOTAL, Reducer::Sum, "/n")
}

/// What an output says that was read.
pub(super) fn read_of(output: &Value) -> Option<u64> {
    output["read"].as_u64()
}
