//! What optimistic steps have read, against what the records say that the context held.

use std::collections::BTreeMap;

use agent_shell_core::Call;
use agent_shell_core::data::{Action, Body, Payload, Resolution};
use agent_shell_core::machine::Entry;
use agent_shell_core::words::{Epoch, SessionId, StepId, TurnId};
use serde_json::Value;

use super::{Facts, Truth};
use crate::simulate::heeding::{self, TOTAL};
use crate::simulate::rule::Rule;

/// What each call of a step has read, in their order.
pub(super) type Heeded = BTreeMap<(TurnId, StepId), Vec<((Epoch, u32), Option<u64>)>>;

impl Truth {
    /// A call has read something. Returns what the first call of its step had read.
    pub(in crate::simulate) fn heeded(&self, call: &Call, read: Option<u64>) -> Option<u64> {
        let mut facts = self.facts();
        let calls = facts.heeded.entry((call.turn, call.step.clone())).or_default();
        calls.push(((call.epoch, call.attempt), read));
        calls[0].1
    }
}

impl Facts {
    /// What an optimistic step has read is what the context held before its outcome; and it is made again only when that has
    /// changed. To be asked before the record is folded.
    pub(super) fn check_heeding(&self, session: SessionId, entry: &Entry, found: &mut Vec<(Rule, String)>) {
        let Some((turn, step)) = entry.body.turn().zip(entry.body.step()) else { return };
        let Some(mirror) = self.sessions.get(&session) else { return };
        let is_heeding = |state: &agent_shell_core::machine::TurnState| {
            let place = state.index.get(step)?;
            let Action::Tool { name, .. } = &state.steps[*place].step.action else { return None };
            heeding::heeds(name.as_str()).then_some(())
        };
        if mirror.state.turn.as_ref().and_then(is_heeding).is_none() {
            return;
        }
        let holds = total_before(&mirror.entries, turn);
        let mut say =
            |problem: String| found.push((Rule::Optimistic, format!("turn {turn} step {step}: {problem}")));
        match &entry.body {
            Body::StepSucceeded { output: Payload::Inline(output), .. } => {
                let read = heeding::read_of(output);
                if read != holds {
                    say(format!("it has read {read:?}, and its outcome stands beside {holds:?}"));
                }
            }
            Body::StepOutdated { attempt, .. } => {
                let calls = self.heeded.get(&(turn, step.clone()));
                let mut calls = calls.into_iter().flatten().rev();
                match calls.find(|(of, _)| *of == (entry.epoch, *attempt)) {
                    Some((_, read)) if *read != holds => {}
                    Some((_, read)) => say(format!("it is made again, and has read {read:?}, which is so")),
                    None => say(format!("attempt {attempt} is made again, and was not made")),
                }
            }
            _ => {}
        }
    }
}

/// What the records say that the context holds.
fn total_before(entries: &[Entry], turn: TurnId) -> Option<u64> {
    let of_turn = entries.iter().rev().take_while(|entry| !matches!(entry.body, Body::TurnStarted { .. }));
    let changed = |entry: &Entry| match &entry.body {
        Body::StepSucceeded { turn: of, context, .. }
        | Body::ModelAnswered { turn: of, context, .. }
        | Body::WaitEnded { turn: of, context, .. }
        | Body::StepResolved { turn: of, resolution: Resolution::Applied(_), context, .. }
            if *of == turn =>
        {
            context
                .iter()
                .find(|(key, _)| key.as_str() == TOTAL)
                .and_then(|(_, value): (_, &Value)| value.as_u64())
        }
        _ => None,
    };
    of_turn.filter_map(changed).next()
}
