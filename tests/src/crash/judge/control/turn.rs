//! What the journal says of a turn with which people meddled, sorted by what the promises are about.

use std::collections::BTreeMap;

use agent_shell_core::data::{Action, Body, EffectClass, Step, ToolTerms, Undone};
use agent_shell_core::runtime::HistoryEntry;
use agent_shell_core::words::{Seq, StepId, ToolName, TurnId};
use agent_shell_core::{Outcome, Resolution};
use serde_json::Value;

/// The records of a turn.
pub(crate) struct Turn {
    pub(crate) id: TurnId,
    pub(crate) records: Vec<HistoryEntry>,
    /// Its steps, in the order of its plans; none that undoes another.
    pub(crate) steps: Vec<Planned>,
    pub(crate) terms: BTreeMap<ToolName, ToolTerms>,
    /// The steps that undo others.
    pub(crate) undoing: Vec<Undoing>,
    /// How it ended; more than one would be a violation.
    pub(crate) ends: Vec<End>,
}

/// A step of a plan.
pub(crate) struct Planned {
    pub(crate) step: Step,
    pub(crate) round: u32,
}

/// A step that undoes another.
pub(crate) struct Undoing {
    pub(crate) id: StepId,
    pub(crate) of: StepId,
    /// The record that says so.
    pub(crate) planned: Seq,
}

/// How a turn ended.
pub(crate) struct End {
    pub(crate) outcome: Outcome,
    pub(crate) undone: Undone,
    pub(crate) joined: Vec<TurnId>,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StepEnd {
    Succeeded,
    /// It failed; true when its act took effect all the same.
    Failed(bool),
}

/// The turns of a session, in their order.
pub(crate) fn turns_of(entries: &[HistoryEntry]) -> Vec<Turn> {
    let mut turns: Vec<Turn> = Vec::new();
    for entry in entries {
        if let Body::TurnStarted { turn, .. } = &entry.body {
            turns.push(Turn::new(*turn));
        }
        if let Some(turn) = turns.iter_mut().rfind(|turn| entry.body.turn() == Some(turn.id)) {
            turn.take(entry);
        }
    }
    turns
}

impl Turn {
    fn new(id: TurnId) -> Self {
        let (records, steps, undoing, ends) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { id, records, steps, terms: BTreeMap::new(), undoing, ends }
    }

    fn take(&mut self, entry: &HistoryEntry) {
        match &entry.body {
            Body::PlanAdopted { round, plan, terms, .. } => {
                self.terms.extend(terms.clone());
                let planned = |step: &Step| Planned { step: step.clone(), round: *round };
                self.steps.extend(plan.steps().iter().map(planned));
            }
            Body::UndoPlanned { steps, .. } => {
                let undoing = |(id, of): (&StepId, &StepId)| Undoing {
                    id: id.clone(),
                    of: of.clone(),
                    planned: entry.seq,
                };
                self.undoing.extend(steps.iter().map(undoing));
            }
            Body::TurnEnded { outcome, answer, undone, joined, .. } => {
                let answer = answer.as_ref().map(|answer| Outcome::Answered((*answer.value()).clone()));
                self.ends.push(End {
                    outcome: answer.unwrap_or_else(|| outcome.clone()),
                    undone: undone.as_deref().cloned().unwrap_or_default(),
                    joined: joined.clone(),
                });
            }
            _ => {}
        }
        self.records.push(entry.clone());
    }

    /// How it ended, if it ended once.
    pub(crate) fn end(&self) -> Option<&End> {
        self.ends.first().filter(|_| self.ends.len() == 1)
    }

    /// Whether it ended otherwise than with an answer.
    pub(crate) fn has_failed(&self) -> bool {
        let failed =
            |end: &End| matches!(end.outcome, Outcome::Failed(_) | Outcome::Cancelled | Outcome::Expired);
        self.end().is_some_and(failed)
    }

    /// A step of its plans.
    pub(crate) fn planned(&self, step: &StepId) -> Option<&Planned> {
        self.steps.iter().find(|planned| planned.step.id == *step)
    }

    /// The step that one undoes.
    pub(crate) fn undoes(&self, step: &StepId) -> Option<&Undoing> {
        self.undoing.iter().find(|undoing| undoing.id == *step)
    }

    /// The records of a step, in their order.
    pub(crate) fn of_step<'a>(&'a self, step: &StepId) -> impl Iterator<Item = &'a HistoryEntry> {
        self.records.iter().filter(move |entry| entry.body.step() == Some(step))
    }

    /// The tool that a step calls, or that undoes the call of another.
    pub(crate) fn tool(&self, step: &StepId) -> Option<&ToolName> {
        if let Some(undoing) = self.undoes(step) {
            return self.terms.get(self.tool(&undoing.of)?)?.compensation.as_ref();
        }
        match &self.planned(step)?.step.action {
            Action::Tool { name, .. } => Some(name),
            _ => None,
        }
    }

    /// Under which terms its tool is called.
    pub(crate) fn terms_of(&self, step: &StepId) -> Option<&ToolTerms> {
        self.terms.get(self.tool(step)?)
    }

    /// Whether a step may change the world.
    pub(crate) fn acts(&self, step: &StepId) -> bool {
        self.terms_of(step).is_some_and(|terms| terms.class != EffectClass::Pure)
    }

    /// Whether a step waits until all else has succeeded.
    pub(crate) fn is_held(&self, planned: &Planned) -> bool {
        planned.step.held || self.terms_of(&planned.step.id).is_some_and(|terms| terms.held)
    }

    /// The ends of a step; one, if it has begun and all is well.
    pub(crate) fn ends_of(&self, step: &StepId) -> Vec<(Seq, StepEnd)> {
        let end = |entry: &HistoryEntry| match &entry.body {
            Body::StepSucceeded { .. } => Some(StepEnd::Succeeded),
            Body::StepResolved { resolution: Resolution::Applied(_), .. } => Some(StepEnd::Succeeded),
            Body::WaitEnded { .. } => self.tool(step).is_none().then_some(StepEnd::Succeeded),
            Body::StepFailed { applied, .. } => Some(StepEnd::Failed(*applied)),
            _ => None,
        };
        self.of_step(step).filter_map(|entry| Some((entry.seq, end(entry)?))).collect()
    }

    /// Where a step took effect, or ended well.
    pub(crate) fn took_effect(&self, step: &StepId) -> Option<Seq> {
        let mut ends = self.ends_of(step).into_iter();
        ends.find(|(_, end)| matches!(end, StepEnd::Succeeded | StepEnd::Failed(true))).map(|(seq, _)| seq)
    }

    /// Whether a person says that what a step undoes is undone, although it could not undo it itself.
    pub(crate) fn is_by_hand(&self, step: &StepId) -> bool {
        let mut parked = false;
        for entry in self.of_step(step) {
            match &entry.body {
                Body::UndoParked { .. } => parked = true,
                Body::StepResolved { resolution: Resolution::Applied(_), .. } => return parked,
                _ => parked = false,
            }
        }
        false
    }

    /// The input that the first intent of a step fixed, and its key.
    pub(crate) fn fixed(&self, step: &StepId) -> Option<(Value, &str)> {
        self.of_step(step).find_map(|entry| match &entry.body {
            Body::StepStarted { input: Some(input), key, .. } => {
                Some(((*input.value()).clone(), key.as_str()))
            }
            _ => None,
        })
    }
}
