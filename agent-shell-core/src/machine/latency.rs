//! What took longer than its latency budget: a record that says so, once for each stage of each step. Nothing else
//! follows from it, and it is no progress.

use std::collections::BTreeSet;
use std::time::Duration;

use super::event::Env;
use super::state::{Folded, TurnState};
use crate::data::{Action, Body, LatencyBudgets, LatencyStage, took_ms};
use crate::words::{Limits, StepId, Timestamp};

/// The latency budgets of a turn, and what is told of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Latency {
    budgets: LatencyBudgets,
    /// When its request was posted.
    posted: Timestamp,
    /// What was told, by stage and place of the step.
    breached: BTreeSet<(LatencyStage, Option<usize>)>,
}

impl Latency {
    pub(super) fn new(budgets: LatencyBudgets, posted: Timestamp) -> Self {
        Self { budgets, posted, breached: BTreeSet::new() }
    }

    /// Whether the turn's own budgets bound a stage.
    pub fn bounds(&self, stage: LatencyStage) -> bool {
        self.budgets.of(stage).is_some()
    }
}

impl TurnState {
    /// How long a stage may take, in milliseconds: none where nothing bounds it, or where nothing would be told.
    pub fn latency_budget(&self, stage: LatencyStage, place: Option<usize>, limits: &Limits) -> Option<u64> {
        let of_turn = self.latency.as_deref();
        if let Some(Latency { breached, .. }) = of_turn {
            // That of the turn as a whole always has room.
            let is_full = stage != LatencyStage::Turn && breached.len() >= limits.latency_breaches;
            if is_full || breached.contains(&(stage, place)) {
                return None;
            }
        } else if limits.latency_breaches == 0 {
            return None;
        }
        let of_step = match stage {
            LatencyStage::Model | LatencyStage::Tool => {
                place.and_then(|place| self.steps.get(place)?.step.latency_ms)
            }
            _ => None,
        };
        of_step.map(|ms| ms.get().into()).or_else(|| of_turn?.budgets.of(stage))
    }

    /// The stage that an attempt at a step is; none for a step that waits, or that a child does.
    pub fn attempt_stage(&self, place: usize) -> Option<LatencyStage> {
        match self.steps.get(place)?.step.action {
            Action::Tool { .. } => Some(LatencyStage::Tool),
            Action::Model(_) => Some(LatencyStage::Model),
            _ => None,
        }
    }

    /// Whether it is to be told that a stage took so long.
    pub fn is_breach(
        &self,
        stage: LatencyStage,
        place: Option<usize>,
        took: Duration,
        limits: &Limits,
    ) -> bool {
        self.latency_budget(stage, place, limits).is_some_and(|budget_ms| took_ms(took) > budget_ms)
    }

    /// What tells that a stage took longer than it may, if it did.
    pub(super) fn breach(
        &self,
        stage: LatencyStage,
        place: Option<usize>,
        took: Duration,
        limits: &Limits,
    ) -> Option<Body> {
        let budget_ms = self.latency_budget(stage, place, limits)?;
        let step = place.and_then(|place| Some(self.steps.get(place)?.step.id.clone()));
        let took_ms = took_ms(took);
        (took_ms > budget_ms).then_some(Body::LatencyBreached {
            turn: self.id,
            step,
            stage,
            budget_ms,
            took_ms,
        })
    }

    /// It was told.
    pub(super) fn breached(
        &mut self,
        stage: LatencyStage,
        step: Option<&StepId>,
    ) -> Result<(), &'static str> {
        let place = step.map(|step| self.place(step)).transpose()?;
        // A step may have a budget where the turn has none.
        let none = || Box::new(Latency::new(LatencyBudgets::NONE, Timestamp::default()));
        let is_new = self.latency.get_or_insert_with(none).breached.insert((stage, place));
        if is_new { Ok(()) } else { Err("it was told before") }
    }
}

/// Adds what tells that the stage took too long which these records end.
pub(super) fn add(
    turn: &TurnState,
    (stage, place, took): (LatencyStage, Option<usize>, Duration),
    records: &mut Vec<Body>,
    env: &Env<'_>,
) {
    if !records.is_empty() {
        records.extend(turn.breach(stage, place, took, env.limits));
    }
}

/// Adds what tells that a turn which starts with these records was accepted too late, and that one which ends with them
/// took too long.
pub(super) fn add_of_turns(state: &Folded, records: &mut Vec<Body>, env: &Env<'_>) {
    if let Some(turn) = &state.turn
        && let Some(latency) = &turn.latency
        && let Some(end) = records.iter().position(|body| matches!(body, Body::TurnEnded { .. }))
        && let Some(breach) = turn.breach(LatencyStage::Turn, None, env.now.since(latency.posted), env.limits)
    {
        records.insert(end, breach);
    }
    if env.latency.is_some()
        && let Some(Body::TurnStarted { turn, posted, latency: Some(budgets), .. }) = records.last()
        && let Some(budget_ms) = budgets.accept_ms.filter(|_| env.limits.latency_breaches > 0)
    {
        let (turn, took_ms) = (*turn, took_ms(env.now.since(*posted)));
        if took_ms > budget_ms {
            let stage = LatencyStage::Accept;
            records.push(Body::LatencyBreached { turn, step: None, stage, budget_ms, took_ms });
        }
    }
}
