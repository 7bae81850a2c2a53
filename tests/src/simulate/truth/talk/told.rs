//! What a model is told of its calls when the turn has ended.

use std::collections::BTreeSet;

use agent_shell_core::data::{Action, CallStatus, ResultOf, Say, Step, ToolCall, ToolResult};
use agent_shell_core::words::StepId;
use serde_json::{Value, json};

use super::super::shapes::shown;
use super::turn::{End, INTERRUPTED, KEPT_AT_AN_END, TalkTurn};
use crate::simulate::coverage::{Coverage, WorldFault};

impl TalkTurn {
    /// What became of the steps of which a model was told that they are held back, when the turn has ended.
    pub(super) fn became_of_held(&self) -> Vec<Value> {
        let asked = self.steps.iter().filter(|step| self.answered.contains(&step.id));
        let told: BTreeSet<&StepId> =
            asked.flat_map(Step::awaits).filter(|step| self.is_held(step)).collect();
        let held = self.steps.iter().filter(|step| told.contains(&step.id));
        held.map(|step| {
            let (status, output) = match self.ends.get(&step.id) {
                Some(End::Done(output, record)) => {
                    (CallStatus::Done, shown(output, *record, Some(KEPT_AT_AN_END)))
                }
                Some(End::Failed(message)) => (CallStatus::Failed, json!(message)),
                Some(End::Superseded) => (CallStatus::Closed, json!(INTERRUPTED)),
                None if self.begun.contains(&step.id) => {
                    (CallStatus::Closed, json!("the turn ended before the call had an outcome"))
                }
                None => (CallStatus::Closed, json!("the turn ended before the call was made")),
            };
            let Action::Tool { name, .. } = &step.action else { return Value::Null };
            json!({ "call": step.call, "tool": name, "status": status, "output": output })
        })
        .collect()
    }

    /// What the model is told of a call of its last answer when the turn has ended: what became of the step that makes it,
    /// which the loop named by the question and the call's place.
    pub(super) fn told_at_end(&self, call: &ToolCall, place: usize, coverage: &mut Coverage) -> ToolResult {
        let asks = self.steps.iter().rev().filter_map(|step| match &step.action {
            Action::Model(ask) if ask.first_shown.is_some() && !matches!(ask.say, Say::Summary { .. }) => {
                Some((step, &**ask))
            }
            _ => None,
        });
        let latest = asks.take(1).next();
        let above = latest.and_then(|(_, ask)| ask.handles_above);
        let above = Some(above.map_or(KEPT_AT_AN_END, |above| above.min(KEPT_AT_AN_END)));
        let rejected = latest.filter(|(step, _)| !self.answered.contains(&step.id)).and_then(|(_, ask)| {
            let Say::Results(results) = &ask.say else { return None };
            results.iter().find_map(|result| match &result.of {
                ResultOf::Rejected(reason) if result.call == call.id => {
                    Some((CallStatus::Rejected, json!(reason)))
                }
                ResultOf::Interrupted if result.call == call.id => {
                    Some((CallStatus::Closed, json!(INTERRUPTED)))
                }
                _ => None,
            })
        });
        let asked = self.asked.as_deref().unwrap_or_default().replace("ask", "call");
        let step = self.steps.iter().find(|step| step.id.as_str() == format!("{asked}-{place}"));
        let (status, output) = match (step.map(|step| (step, self.ends.get(&step.id))), rejected) {
            (Some((_, Some(End::Done(output, record)))), _) => {
                coverage.count(WorldFault::CallDoneUntold);
                (CallStatus::Done, shown(output, *record, above))
            }
            (Some((_, Some(End::Failed(message)))), _) => (CallStatus::Failed, json!(message)),
            (Some((_, Some(End::Superseded))), _) => (CallStatus::Closed, json!(INTERRUPTED)),
            (Some((step, None)), _) if !self.is_held_back(&step.id) => {
                (CallStatus::Closed, json!("the turn ended before the call had an outcome"))
            }
            (None, Some(told)) => told,
            _ => (CallStatus::Closed, json!("the turn ended before the call was made")),
        };
        ToolResult::new(&call.id, &call.tool, status, output)
    }
}
