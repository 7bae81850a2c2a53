//! What a planner is told of a turn's steps. A step that has ended does not change, so a round of planning looks only
//! at those of which nothing final was told before, however many rounds there were.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::machine::{Phase, TurnState};
use crate::ports::StepReport;
use crate::words::{StepId, TurnId};

/// What was told of a turn's steps.
#[derive(Default)]
pub(super) struct Reports {
    turn: Option<TurnId>,
    told: Arc<BTreeMap<StepId, StepReport>>,
    /// How many of the turn's steps were looked at.
    seen: usize,
    /// Those of them that had not ended.
    open: Vec<usize>,
}

impl Reports {
    /// What there is to tell of the steps now.
    pub(super) fn of(&mut self, turn: &TurnState) -> Arc<BTreeMap<StepId, StepReport>> {
        if self.turn != Some(turn.id) {
            *self = Self { turn: Some(turn.id), ..Self::default() };
        }
        // Copied only while a planner holds what it was told.
        let told = Arc::make_mut(&mut self.told);
        self.open.extend(self.seen..turn.steps.len());
        self.seen = turn.steps.len();
        self.open.retain(|&place| {
            let step = &turn.steps[place];
            if let Some(report) = report(turn, place) {
                told.insert(step.step.id.clone(), report);
            }
            !step.phase.is_final()
        });
        self.told.clone()
    }
}

fn report(turn: &TurnState, place: usize) -> Option<StepReport> {
    let step = &turn.steps[place];
    match &step.phase {
        Phase::Succeeded(output) => Some(match &step.answer {
            Some(answer) => StepReport::Answered { answer: answer.clone(), output: output.clone() },
            None => StepReport::Succeeded(output.clone()),
        }),
        Phase::Failed(failure) => Some(StepReport::Failed(failure.clone())),
        _ => turn.held.contains(&place).then_some(StepReport::Held),
    }
}
