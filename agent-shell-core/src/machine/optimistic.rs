//! Optimistic steps: whether what one has read of the context still is so when it ends.
//!
//! Nothing is recorded before a `Pure` step runs, so what it has read is known by the version of the context that its input
//! was made of: the command says it and the end of the attempt brings it back. Whoever takes the session over makes the
//! attempt again and reads again.

use serde_json::{Value, json};

use super::owed::Due;
use super::resolve::resolve;
use super::state::TurnState;
use super::talk::said;
use crate::data::{Action, Body, FailureCode, GuardPlace};
use crate::words::ContextKey;

/// The records of an attempt's end; that of an attempt whose reads have changed instead, when it would end the step or show
/// guards what it brought.
pub(super) fn judged(
    turn: &TurnState,
    place: usize,
    (attempt, read): (u32, u64),
    records: Vec<Body>,
) -> Vec<Body> {
    match &records[..] {
        [record] if counts(record) => {
            outdated(turn, place, attempt, read).map_or(records, |record| vec![record])
        }
        _ => records,
    }
}

/// What is due once guards have ruled on what an attempt brought: the same holds again.
pub(super) fn judged_after(turn: &TurnState, place: usize, due: Due) -> Due {
    let step = &turn.steps[place];
    match due {
        Due::Record(record) => Due::Record(outdated(turn, place, step.attempt, step.read).unwrap_or(record)),
        command => command,
    }
}

/// Whether a record is made of what the attempt read. A budget refuses whatever was read.
fn counts(record: &Body) -> bool {
    match record {
        Body::StepFailed { failure, .. } => failure.code != FailureCode::Budget,
        Body::StepSucceeded { .. } | Body::ModelAnswered { .. } | Body::StepReturned { .. } => true,
        _ => false,
    }
}

/// The record of an attempt whose reads have changed since that version; none when they are as they were.
fn outdated(turn: &TurnState, place: usize, attempt: u32, read: u64) -> Option<Body> {
    let step = &turn.steps[place].step;
    if !step.optimistic {
        return None;
    }
    let versions = turn.context.changed.as_ref()?;
    let is_newer = |key: &&ContextKey| versions.get(*key).is_some_and(|version| *version > read);
    let reads = step.template()?.reads();
    let changed: Vec<ContextKey> = reads.into_iter().filter(is_newer).cloned().collect();
    (!changed.is_empty()).then(|| Body::StepOutdated {
        turn: turn.id,
        step: step.id.clone(),
        attempt,
        changed,
    })
}

impl TurnState {
    /// The version of the context as of which a step's next attempt reads.
    pub(super) fn read_by(&self, place: usize) -> u64 {
        let step = &self.steps[place];
        if step.input.is_some() || step.said.is_some() { step.read } else { self.context.version }
    }

    /// Whether a step would still be asked about what guards were shown before it. Only an optimistic one may read something
    /// else by now.
    pub(super) fn still_says(&self, place: usize, at: GuardPlace, shown: &Value) -> bool {
        let step = &self.steps[place];
        if !step.step.optimistic {
            return true;
        }
        match (at, &step.step.action) {
            (GuardPlace::BeforeTool, Action::Tool { input, .. }) => match &step.input {
                Some(fixed) => **fixed == *shown,
                None => resolve(input, self, usize::MAX).is_ok_and(|made| made == *shown),
            },
            (GuardPlace::BeforeModel, Action::Model(ask)) => {
                match (&step.said, said(self, ask, usize::MAX)) {
                    (Some(fixed), _) => {
                        json!(fixed) == *shown || fixed.len() == 1 && json!(fixed[0]) == *shown
                    }
                    (None, Ok(said)) => matches!(&said[..], [only] if json!(only) == *shown),
                    (None, Err(_)) => false,
                }
            }
            _ => true,
        }
    }
}
