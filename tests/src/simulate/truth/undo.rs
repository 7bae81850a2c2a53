//! What is undone: what happened, once, in an order in which nothing stands that came after it; and nothing is forgotten.

use std::collections::BTreeSet;

use agent_shell_core::data::{Action, Body, EffectClass, Outcome};
use agent_shell_core::machine::{Entry, Phase, TurnState};
use agent_shell_core::words::{StepId, TurnId};
use agent_shell_core::{Call, Undo};
use serde_json::Value;

use super::mirror::Mirror;
use super::world::ToolSpec;
use super::{Facts, Truth};
use crate::crash::scenario::Work;
use crate::simulate::coverage::WorldFault;
use crate::simulate::rule::Rule;

impl Truth {
    /// A compensation is called: for what is recorded.
    pub(in crate::simulate) fn undoes(&self, call: &Call, tool: ToolSpec, input: &Value) {
        let mut facts = self.facts();
        let attempt = (call.turn, call.step.clone(), call.epoch, call.attempt);
        // Nothing is recorded before a `Pure` one is called.
        let is_twice = !facts.undoing.insert(attempt) && tool.class != EffectClass::Pure;
        let problem = match serde_json::from_value::<Undo<Work>>(input.clone()) {
            Err(error) => Some(format!("is called with {input}: {error}")),
            Ok(_) if is_twice => Some("is called twice in one attempt".to_owned()),
            Ok(undo) => facts.misled(call, &undo),
        };
        drop(facts);
        if let Some(problem) = problem {
            let Call { turn, step, .. } = call;
            self.say(Rule::Undo, format!("turn {turn} step {step}: {problem}"));
        }
    }

    /// A turn that hosts may cancel.
    pub(in crate::simulate) fn may_cancel(&self, turn: TurnId) -> bool {
        use crate::simulate::work::Work as Turn;
        let facts = self.facts();
        let mut known = facts.book.values().filter(|known| known.accepted == Some(turn));
        let may = known.any(|known| matches!(known.work, Turn::Wild(_) | Turn::Talk(_)));
        drop(known);
        (may || facts.children.contains_key(&turn))
            && facts.turns.get(&turn).is_none_or(|turn| turn.outcome.is_none())
    }
}

impl Facts {
    /// What is wrong with what a compensation is called with.
    fn misled(&self, call: &Call, undo: &Undo<Work>) -> Option<String> {
        let turn = self.sessions.get(&call.session)?.state.turn.as_ref()?;
        let step = &turn.steps[*turn.index.get(&call.step)?];
        let undone = &turn.steps[step.undoes?];
        if undone.key.as_deref() != Some(&undo.key) {
            return Some(format!("undoes what bears the key {}, and it is {:?}", undo.key, undone.key));
        }
        if undone.input.as_deref() != serde_json::to_value(&undo.input).ok().as_ref() {
            return Some(format!("undoes {:?}, and it was called with {:?}", undo.input, undone.input));
        }
        None
    }

    /// A record is about to be folded.
    pub(super) fn check_undoing(
        &mut self,
        mirror_of: agent_shell_core::words::SessionId,
        entry: &Entry,
        found: &mut Vec<(Rule, String)>,
    ) {
        let Some(mirror) = self.sessions.get(&mirror_of) else { return };
        let Some(turn) = mirror.state.turn.as_ref() else { return };
        let mut say = |what: String| found.push((Rule::Undo, format!("turn {}: {what}", turn.id)));
        match &entry.body {
            Body::UndoPlanned { steps, .. } => {
                for of in steps.values() {
                    let Some(&place) = turn.index.get(of) else {
                        say(format!("there is no step {of} to undo"));
                        continue;
                    };
                    if !self.happened(mirror, turn, place) {
                        say(format!("step {of} is undone, and did not happen"));
                    }
                    if let Some(later) = standing_after(turn, place) {
                        say(format!("step {of} is undone, and {later}, which came after it, stands"));
                    }
                }
                self.coverage.count(WorldFault::Undone);
            }
            Body::TurnEnded {
                outcome: Outcome::Failed(_) | Outcome::Cancelled | Outcome::Expired, ..
            } => {
                for (place, step) in turn.steps.iter().enumerate() {
                    let is_settled =
                        turn.steps.iter().any(|undo| undo.undoes == Some(place) && undo.phase.is_final());
                    if is_compensated(turn, place)
                        && step.undoes.is_none()
                        && self.happened(mirror, turn, place)
                        && !is_settled
                    {
                        say(format!("step {} happened, and the turn ends without undoing it", step.step.id));
                    }
                }
            }
            _ => {}
        }
    }

    /// Whether a step took effect, in the world, or because a person says so.
    fn happened(&self, mirror: &Mirror, turn: &TurnState, place: usize) -> bool {
        let step = &turn.steps[place];
        let of = (turn.id, step.step.id.clone());
        if self.has_child_answered(turn.id, &step.step.id) {
            return true;
        }
        let in_world = self.targets.get(&of).is_some_and(|target| target.applied > 0);
        in_world || mirror.entries.iter().any(|entry| resolves(entry, turn.id, &step.step.id))
    }
}

/// Whether a person says that a step was applied.
fn resolves(entry: &Entry, of: TurnId, name: &StepId) -> bool {
    use agent_shell_core::data::Resolution;
    matches!(&entry.body, Body::StepResolved { turn, step, resolution: Resolution::Applied(_), .. } if *turn == of && step == name)
}

fn is_compensated(turn: &TurnState, place: usize) -> bool {
    if let Some(child) = &turn.steps[place].child {
        return child.waits;
    }
    let Action::Tool { name, .. } = &turn.steps[place].step.action else { return false };
    turn.terms.get(name).is_some_and(|terms| terms.class != EffectClass::Pure && terms.compensation.is_some())
}

/// A step that came after this one, and that stands: it succeeded, can be undone, and is not undone yet.
fn standing_after(turn: &TurnState, place: usize) -> Option<StepId> {
    let mut after = BTreeSet::from([place]);
    // Steps stand behind those that they depend on, within a round and over rounds.
    let mut grows = true;
    while grows {
        grows = false;
        for (other, step) in turn.steps.iter().enumerate() {
            let needs = step.step.dependencies();
            let depends =
                needs.iter().any(|needed| turn.index.get(*needed).is_some_and(|place| after.contains(place)));
            if step.undoes.is_none() && depends {
                grows |= after.insert(other);
            }
        }
    }
    let round = turn.steps[place].round;
    let stands = |other: &usize| {
        let step = &turn.steps[*other];
        let is_undone = || turn.steps.iter().any(|undo| undo.undoes == Some(*other) && undo.phase.is_final());
        *other != place
            && (after.contains(other) || step.round > round)
            && step.undoes.is_none()
            && matches!(step.phase, Phase::Succeeded(_))
            && is_compensated(turn, *other)
            && !is_undone()
    };
    (0..turn.steps.len()).find(stands).map(|later| turn.steps[later].step.id.clone())
}
