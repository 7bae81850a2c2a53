//! What others are shown of a session, once it is durable.

use super::PlanExecutor;
use crate::data::Outcome;
use crate::failpoint::reach;
use crate::machine::Entry;
use crate::ports::SessionStatus;
use crate::runtime::rest::Rest;
use crate::runtime::watchers::TurnView;
use crate::words::TurnId;

/// The turns that end with these entries.
pub(super) fn ends(entries: &[Entry]) -> Vec<(TurnId, Outcome)> {
    entries.iter().flat_map(|entry| Outcome::all_recorded(&entry.body)).collect()
}

impl PlanExecutor {
    /// Shows how turns ended, and where the one that runs stands.
    pub(super) fn show(&self, ended: Vec<(TurnId, Outcome)>) {
        for (turn, outcome) in ended {
            reach!(OutcomeDurable);
            self.core.watchers.show(turn, TurnView { outcome: Some(outcome), ..TurnView::default() });
            reach!(OutcomeShown);
        }
        let Some(turn) = self.state.turn.as_ref().filter(|turn| self.core.watchers.is_watched(turn.id))
        else {
            return;
        };
        let view = TurnView {
            open: Rest::all(&self.state),
            rests: self.mark.status == SessionStatus::Resting,
            outcome: None,
            read: self.letters_read,
        };
        if view.open.is_empty() {
            return self.core.watchers.show(turn.id, view);
        }
        reach!(WaitDurable);
        self.core.watchers.show(turn.id, view);
        reach!(WaitShown);
    }
}
