//! The guard: what it rules on a call follows from the arguments, and on a result from the result. Now and then it fails.

use agent_shell_core::data::GuardPlace;
use agent_shell_core::{Guard, GuardError, GuardRequest, Ruling};
use async_trait::async_trait;
use serde_json::{Value, json};

use super::tools::is_called;
use crate::crash::scenario::Work;
use crate::random::Random;

/// Rules on the calls of these sessions, and lets all others go on.
pub(in crate::crash) struct Keeper;

#[async_trait]
impl Guard for Keeper {
    fn name(&self) -> &str {
        "keeper"
    }

    fn watches(&self, place: GuardPlace) -> bool {
        matches!(place, GuardPlace::BeforeTool | GuardPlace::AfterTool)
    }

    async fn rule(&self, request: &GuardRequest) -> Result<Ruling, GuardError> {
        if !request.tool.as_ref().is_some_and(|tool| is_called(tool.name.as_str())) {
            return Ok(Ruling::Allow);
        }
        let turn =
            request.turn.to_bytes().iter().fold(0_u64, |sum, byte| sum << 5 ^ u64::from(*byte) ^ sum >> 40);
        let step =
            request.step.as_str().bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(131) + u64::from(byte));
        let mut random = Random::of(&[turn, step, request.place as u64]);
        tokio::time::sleep(std::time::Duration::from_micros(random.below(4_000))).await;
        if random.percent(1) {
            return Err(GuardError::new("it can't tell"));
        }
        Ok(match request.place {
            GuardPlace::BeforeTool => before(&request.value),
            _ => after(&request.value),
        })
    }
}

fn before(value: &Value) -> Ruling {
    let Ok(work) = serde_json::from_value::<Work>(value.clone()) else { return Ruling::Allow };
    match work.own % 16 {
        1 => Ruling::deny("not this one"),
        2 | 9 => Ruling::ask("is this right?"),
        // What it puts there it would change again, if it were asked again.
        3 | 11 => Ruling::rewrite(json!(Work { own: work.own + 16, ..work })),
        _ => Ruling::Allow,
    }
}

fn after(value: &Value) -> Ruling {
    let Some(number) = value.get("n").and_then(Value::as_u64) else { return Ruling::Allow };
    match number % 16 {
        1 => Ruling::deny("nobody may see this"),
        2 | 9 => Ruling::rewrite(json!({ "n": number + 16 })),
        _ => Ruling::Allow,
    }
}
