//! The text that a follower is told, held against what attempts say.

use std::collections::{BTreeMap, BTreeSet};

use agent_shell_core::Followed;
use agent_shell_core::data::Body;
use agent_shell_core::words::StepId;

use super::follower::Told;
use super::speaker::{fails, text_of};

/// What one follower heard by one connection.
#[derive(Default)]
pub(super) struct Heard {
    /// Text that has not found its end: its attempt, and where the next stands.
    open: BTreeMap<StepId, (u32, u64)>,
    ended: BTreeSet<StepId>,
}

impl Heard {
    /// Takes what comes next. What is wrong with text goes into `told`.
    pub(super) fn take(&mut self, followed: &Followed, told: &mut Told) {
        let is_right = match followed {
            Followed::Token { step, attempt, offset, text } => {
                told.tokens += 1;
                self.text(step, *attempt, *offset, text)
            }
            Followed::Retracted { step, attempt } => {
                told.retracted += 1;
                let open = self.open.remove(step);
                open.is_some_and(|(of, _)| of == *attempt) && fails(step.as_str(), *attempt)
            }
            Followed::Durable { entry, .. } => match &entry.body {
                Body::ModelAnswered { step, attempt, .. } => {
                    self.ended.insert(step.clone());
                    self.open.remove(step).is_none_or(|(of, _)| of == *attempt)
                }
                Body::TurnEnded { .. } => self.open.is_empty(),
                _ => true,
            },
            _ => false,
        };
        told.text_wrong += usize::from(!is_right);
    }

    fn text(&mut self, step: &StepId, attempt: u32, offset: u64, text: &str) -> bool {
        let said = text_of(step.as_str(), attempt);
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let is_said = said.get(from..).is_some_and(|rest| rest.starts_with(text));
        let next = (attempt, offset + text.len() as u64);
        // By its first piece a follower may have come late; none is missing after it, for all of it is kept.
        let is_next = self.open.insert(step.clone(), next).is_none_or(|before| before == (attempt, offset));
        is_said && is_next && !self.ended.contains(step)
    }
}
