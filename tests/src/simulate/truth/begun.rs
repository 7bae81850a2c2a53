//! What must be durable, and who must own the session, in the moment in which an act begins.

use std::time::Duration;

use agent_shell_core::Call;
use agent_shell_core::data::Body;
use agent_shell_core::machine::{Phase, StepState};
use agent_shell_core::words::Timestamp;
use serde_json::Value;

use super::Facts;
use crate::simulate::rule::Rule;

impl Facts {
    /// A step as its durable records say.
    pub(super) fn step(&self, call: &Call) -> Option<&StepState> {
        let turn =
            self.sessions.get(&call.session)?.state.turn.as_ref().filter(|turn| turn.id == call.turn)?;
        Some(&turn.steps[*turn.index.get(&call.step)?])
    }

    /// The deadline of an attempt, as it was recorded.
    pub(super) fn deadline_of(&self, call: &Call) -> Timestamp {
        let entries = self.sessions.get(&call.session).map(|mirror| &mirror.entries[..]).unwrap_or_default();
        let of_attempt = entries.iter().rev().find_map(|entry| match &entry.body {
            Body::StepStarted { turn, step, attempt, deadline, .. } => {
                (*turn == call.turn && *step == call.step && *attempt == call.attempt).then_some(*deadline)
            }
            _ => None,
        });
        of_attempt.unwrap_or_default()
    }

    /// An act begins: its intent is durable, and so is all that its input is made of; and its owner is the owner.
    pub(super) fn check_begun(
        &self,
        input: &Value,
        call: &Call,
        now: Duration,
        lease_ms: u64,
        found: &mut Vec<(Rule, String)>,
    ) {
        let Some(mirror) = self.sessions.get(&call.session) else {
            return found.push((Rule::Intent, "its session has no records".into()));
        };
        if mirror.epoch != call.epoch {
            found.push((Rule::Lease, format!("the session is owned under epoch {}", mirror.epoch)));
        }
        let until = mirror.owner.and_then(|owner| self.leases.get(&owner)).copied().unwrap_or_default();
        let margin = Duration::from_millis(lease_ms) / 5;
        if until.saturating_sub(now) < margin {
            let left = until.saturating_sub(now);
            found
                .push((Rule::Lease, format!("{left:?} of the lease are left, and the margin is {margin:?}")));
        }
        let Some(step) = self.step(call) else {
            return found.push((Rule::Intent, "no durable plan has such a step".into()));
        };
        let is_intended = matches!(step.phase, Phase::Started { epoch, .. } if epoch == call.epoch)
            && step.attempt == call.attempt
            && step.key.as_deref() == Some(call.key());
        if !is_intended {
            let StepState { phase, attempt, .. } = step;
            found.push((Rule::Intent, format!("durable are {phase:?} and attempt {attempt}")));
        }
        if is_intended && step.input.as_deref() != Some(input) {
            found.push((Rule::Input, format!("is called with {input}, and fixed is {:?}", step.input)));
        }
        let turn = mirror.state.turn.as_ref();
        for needed in step.step.dependencies() {
            if turn.is_none_or(|turn| turn.output(needed).is_none()) {
                found
                    .push((Rule::Riding, format!("no durable record says that step {needed} has succeeded")));
            }
        }
    }
}
