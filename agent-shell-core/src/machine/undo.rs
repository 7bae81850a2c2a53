//! Sagas: what is undone when a turn has not succeeded, and in which order.
//!
//! A step is undone once nothing that came after it stands any more: the steps that depended on it, all of later rounds, and
//! what was held back. So compensations run in the reverse of the order in which steps could take effect, and those of
//! independent steps side by side. Of a step that may still take effect it must be known first whether it did: until then it
//! holds up the undoing of what came before it, and of nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::state::{Ending, Phase, StepState, TurnState};
use crate::data::{Action, Body, EffectClass, Step, Undone, undo_of};
use crate::words::StepId;

/// The record that says which steps are to be undone now, if any.
pub(super) fn due(turn: &TurnState) -> Option<Body> {
    if turn.ending.is_none() || turn.to_undo.is_empty() {
        return None;
    }
    let held_up = held_up(turn);
    let due = turn.to_undo.iter().filter(|place| !held_up.contains(place));
    let steps: BTreeMap<_, _> = due
        .map(|&place| {
            let step = &turn.steps[place].step.id;
            (undo_of(step, place), step.clone())
        })
        .collect();
    (!steps.is_empty()).then_some(Body::UndoPlanned { turn: turn.id, steps })
}

/// The steps before one that stands, or may stand.
fn held_up(turn: &TurnState) -> BTreeSet<usize> {
    let undoing = |step: &StepState| step.undoes.filter(|_| !step.phase.is_final());
    let mut standing: BTreeSet<usize> = turn.steps.iter().filter_map(undoing).collect();
    standing.extend(&turn.to_undo);
    standing.extend(turn.active.iter().filter(|place| turn.may_take_effect(**place)));
    let Some(last) = standing.iter().map(|place| turn.stage_of(*place)).max() else {
        return BTreeSet::new();
    };
    let earlier = (0..turn.steps.len()).filter(|place| turn.stage_of(*place) < last);
    let mut held_up: BTreeSet<usize> = earlier.collect();
    let mut above: Vec<usize> = standing.into_iter().collect();
    while let Some(place) = above.pop() {
        let needed = turn.steps[place].step.dependencies().into_iter();
        let needed = needed.filter_map(|step| turn.index.get(step).copied());
        above.extend(needed.filter(|place| held_up.insert(*place)));
    }
    held_up
}

impl TurnState {
    /// Steps of a later stage begin after all of an earlier one have ended: rounds of planning come one after another, and
    /// what is held back begins last, step by step.
    fn stage_of(&self, place: usize) -> (u32, usize) {
        if self.is_held(place) { (u32::MAX, place) } else { (self.steps[place].round, 0) }
    }

    /// Whether a step that has begun, and that undoes none, may have taken effect, or may still.
    pub(super) fn may_take_effect(&self, place: usize) -> bool {
        let step = &self.steps[place];
        step.undoes.is_none()
            && match &step.phase {
                Phase::Started { .. }
                | Phase::Probing { .. }
                | Phase::InDoubt { .. }
                | Phase::Returned(_)
                | Phase::Delegated => true,
                Phase::Paused { .. } => step.unknown,
                _ => false,
            }
    }

    /// Whether a step that had begun goes on no more, and holds no lock: what undoes others must not wait for it.
    pub(super) fn lets_go(&self, place: usize) -> bool {
        self.stops(place) && !self.may_take_effect(place)
    }

    /// Whether a cancelled turn leaves it to a person to say what became of an attempt: repeating it would let it take
    /// effect, and nothing could undo that.
    pub(super) fn is_left_unknown(&self, place: usize) -> bool {
        self.ending == Some(Ending::Cancelled)
            && self.steps[place].undoes.is_none()
            && self.class_of(place) == EffectClass::Idempotent
            && self.terms_of(place).is_none_or(|terms| terms.compensation.is_none())
    }

    /// Whether all that is to be undone was, or was given up.
    pub(super) fn is_undone(&self) -> bool {
        self.to_undo.is_empty()
            && self.steps.iter().all(|step| step.undoes.is_none() || step.phase.is_final())
    }

    /// Takes over the steps that undo others.
    pub(super) fn adopt_undoing(&mut self, steps: &BTreeMap<StepId, StepId>) -> Result<(), &'static str> {
        for (id, undone) in steps {
            let of = self.index.get(undone).copied().ok_or("the turn has no such step")?;
            if !self.to_undo.remove(&of) || self.index.contains_key(id) {
                return Err("there is nothing to undo in the step");
            }
            let locks = self.steps[of].step.locks.clone();
            let tool = self.terms_of(of).and_then(|terms| terms.compensation.clone());
            let step = match (&self.steps[of].step.action, tool) {
                (Action::Child(delegate), _) => Step::undoing_child(id.clone(), delegate.clone(), locks),
                (_, tool) => Step::undoing(id.clone(), tool.ok_or("the step has no compensation")?, locks),
            };
            let place = self.steps.len();
            self.steps.push(StepState { undoes: Some(of), ..StepState::new(step) });
            self.index.insert(id.clone(), place);
            self.dependents.push(Vec::new());
            self.missing.push(0);
            self.ready.insert(place);
        }
        Ok(())
    }

    /// A step has taken effect.
    pub(super) fn takes_effect(&mut self, place: usize) {
        // What the parent of a fork did is the parent's to undo, and without effects there are none.
        if self.effects_off || self.steps[place].of_parent {
            return;
        }
        if let Some(of) = self.steps[place].undoes {
            self.steps[of].applied = false;
            self.undone.push(of);
        } else if let Some(child) = &self.steps[place].child {
            let (applied, waits) = (child.applied, child.waits);
            self.steps[place].applied = applied;
            if waits {
                self.to_undo.insert(place);
            }
        } else if self.class_of(place).has_intent() {
            self.steps[place].applied = true;
            if self.terms_of(place).is_some_and(|terms| terms.compensation.is_some()) {
                self.to_undo.insert(place);
            }
        }
    }

    /// What the compensation of a step is called with.
    pub(crate) fn input_of_undoing(&self, place: usize) -> Arc<Value> {
        input(self, place)
    }

    /// The steps that are to be undone and are not yet, in plan order.
    pub(crate) fn left_to_undo(&self) -> Vec<StepId> {
        let left = (0..self.steps.len()).filter(|place| {
            let child = self.steps[*place].child.as_ref().is_some_and(|child| child.waits);
            let compensated = self.terms_of(*place).is_some_and(|terms| terms.compensation.is_some());
            self.steps[*place].applied && (compensated || child) && self.steps[*place].undoes.is_none()
        });
        left.map(|place| self.steps[place].step.id.clone()).collect()
    }

    /// What was undone and what stays applied.
    pub(super) fn aftermath(&self) -> Option<Box<Undone>> {
        let name = |place: &usize| self.steps[*place].step.id.clone();
        let left = (0..self.steps.len()).filter(|place| self.steps[*place].applied);
        let undone = Undone {
            undone: self.undone.iter().map(name).collect(),
            left: left.map(|place| name(&place)).collect(),
        };
        (!undone.is_empty()).then(|| Box::new(undone))
    }
}

/// What a compensation is called with. An output that was not kept is null.
pub(super) fn input(turn: &TurnState, undone: usize) -> Arc<Value> {
    let step = &turn.steps[undone];
    let output = match &step.phase {
        Phase::Succeeded(output) => (**output).clone(),
        _ => Value::Null,
    };
    Arc::new(json!({
        "key": step.key.as_deref(),
        "input": step.input.as_deref(),
        "output": output,
    }))
}
