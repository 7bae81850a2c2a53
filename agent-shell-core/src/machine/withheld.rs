//! Forks without effects: what touches the world is not done. A call brings what the parent recorded for the same call,
//! in order, or its step fails.

use std::sync::Arc;

use serde_json::{Value, json};

use super::attempt::failed;
use super::event::Env;
use super::fold::Entry;
use super::forked::RecordedEnd;
use super::guarded::brought;
use super::resolve::resolve;
use super::state::{Folded, Phase, TurnState};
use crate::data::canonical::canonical_digest;
use crate::data::{Action, Body, EffectClass, FailureCode};
use crate::words::{Digest, StepId, ToolName};

impl TurnState {
    /// Whether a step is one that is not done here: it calls a tool that may change something, or carry data out.
    pub fn withholds(&self, place: usize) -> bool {
        let touches = |terms: &crate::data::ToolTerms| terms.class != EffectClass::Pure || terms.outbound;
        self.effects_off && self.terms_of(place).is_some_and(touches)
    }
}

/// By what a call is found in the record: the tool and the canonical JSON of the arguments. None for arguments that have
/// no canonical form.
fn call_digest_of(tool: &ToolName, input: &Value) -> Option<Digest> {
    canonical_digest(&json!({ "tool": tool, "input": input })).ok()
}

/// The call that a step makes as its turn stands now.
pub(crate) fn call_made(turn: &TurnState, place: usize) -> Option<(ToolName, Digest)> {
    let step = &turn.steps[place];
    let Action::Tool { name, input } = &step.step.action else { return None };
    let input = match &step.input {
        Some(input) => input.clone(),
        None => Arc::new(resolve(input, turn, usize::MAX).ok()?),
    };
    Some((name.clone(), call_digest_of(name, &input)?))
}

/// Whether a failure is what a call came to, so that the same call comes to it again. What never was a call is judged anew.
pub(crate) fn is_replayed(code: FailureCode) -> bool {
    matches!(
        code,
        FailureCode::NotApplied
            | FailureCode::DeadlineExceeded
            | FailureCode::Denied
            | FailureCode::Expired
            | FailureCode::ResolvedNotApplied
            | FailureCode::Panicked
            | FailureCode::Interrupted
    )
}

/// How a call ends that is not made.
pub(super) fn ended(state: &Folded, turn: &TurnState, place: usize, input: &Value, env: &Env<'_>) -> Body {
    let Action::Tool { name, .. } = &turn.steps[place].step.action else {
        return failed(turn, place, FailureCode::EffectsOff, "the step calls no tool");
    };
    let recorded = call_digest_of(name, input)
        .and_then(|call| state.forked.as_ref().and_then(|forked| forked.next_of(&call)));
    match recorded {
        Some(RecordedEnd::Succeeded(output)) => {
            let attempt = turn.steps[place].attempt.max(1);
            brought(turn, place, attempt, (**output).clone(), env)
        }
        Some(RecordedEnd::Failed(failure)) => failed(turn, place, failure.code, failure.message.clone()),
        None => {
            let problem = format!(
                "`{name}` was not called: effects are off in this fork, and no such call is left in the record of its parent"
            );
            failed(turn, place, FailureCode::EffectsOff, problem)
        }
    }
}

/// The call whose recorded end a record takes, if it takes one.
pub(super) fn taken(state: &Folded, entry: &Entry, step: &StepId) -> Option<Digest> {
    let forked = state.forked.as_ref().filter(|forked| !forked.effects && !forked.copied(entry.seq))?;
    let turn = state.turn.as_ref()?;
    let place = *turn.index.get(step)?;
    if !turn.withholds(place)
        || matches!(
            turn.steps[place].phase,
            Phase::Returned(_) | Phase::InDoubt { .. } | Phase::Parked { .. }
        )
    {
        return None;
    }
    let (_, call) = call_made(turn, place)?;
    let next = forked.next_of(&call)?;
    let takes = match (&entry.body, next) {
        (Body::StepReturned { .. } | Body::StepSucceeded { .. }, RecordedEnd::Succeeded(_)) => true,
        (Body::StepFailed { failure, .. }, RecordedEnd::Failed(recorded)) => {
            failure.code == recorded.code && failure.message == recorded.message
        }
        _ => false,
    };
    takes.then_some(call)
}
