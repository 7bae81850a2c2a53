//! Labels: what is made of content from outside.
//!
//! Labels follow from the plan and from what a model was shown, never from what a text says. They err on one side: what
//! may be made of untrusted content counts as untrusted.

use super::state::{Folded, Phase, TurnState};
use super::talk::Talk;
use crate::data::{Action, Ask, GuardPlace, Labels, PlannerRef, Say, Template};
use crate::words::StepId;

impl Folded {
    /// The labels of what a guard is asked about.
    pub(super) fn labels(&self, turn: &TurnState, place: usize, at: GuardPlace) -> Labels {
        let untrusted = match (at, &turn.steps[place].step.action) {
            (GuardPlace::BeforeModel | GuardPlace::AfterModel, Action::Model(ask)) => {
                turn.shows_untrusted(&self.talk, ask)
            }
            (GuardPlace::AfterTool, _) => turn.is_untrusted(place) || turn.takes_untrusted(place),
            _ => turn.takes_untrusted(place) || turn.is_planned_by_the_misled(),
        };
        Labels::new(untrusted, self.has_read_untrusted(turn))
    }

    /// Whether a planner that may have read untrusted content wrote the plan: a host's own reads outputs, too.
    pub(super) fn is_planned_by_who_read_untrusted(&self, turn: &TurnState) -> bool {
        matches!(turn.planner, PlannerRef::Named(_)) && self.has_read_untrusted(turn)
    }

    /// Whether untrusted content stands in the conversation, or came up in the turn.
    pub(super) fn has_read_untrusted(&self, turn: &TurnState) -> bool {
        let came_up = |place: usize| {
            let phase = &turn.steps[place].phase;
            (phase.is_final() || matches!(phase, Phase::Returned(_))) && turn.is_untrusted(place)
        };
        turn.untrusted_input
            || self.talk.messages.iter().any(|kept| kept.untrusted)
            || (0..turn.steps.len()).any(came_up)
    }
}

impl TurnState {
    /// Whether what a step brings is untrusted: its output, and also what it says when it fails.
    pub(super) fn is_untrusted(&self, place: usize) -> bool {
        self.steps[place].untrusted || self.terms_of(place).is_some_and(|terms| terms.untrusted)
    }

    /// Whether the plan makes a step's input of untrusted content.
    pub(super) fn takes_untrusted(&self, place: usize) -> bool {
        self.template_of(place).is_some_and(|template| self.is_made_of_untrusted(template))
    }

    fn is_made_of_untrusted(&self, template: &Template) -> bool {
        // What a parent gave its child may also stand in the child's plan.
        self.untrusted_input
            || template.steps().into_iter().any(|step| self.is_known_untrusted(step))
            || template.reads().into_iter().any(|key| self.untrusted_keys.contains(key))
    }

    fn is_known_untrusted(&self, step: &StepId) -> bool {
        self.index.get(step).is_some_and(|&place| self.is_untrusted(place))
    }

    /// Whether what a question says is made of untrusted content.
    pub(super) fn says_untrusted(&self, ask: &Ask) -> bool {
        match &ask.say {
            Say::User(template) => self.is_made_of_untrusted(template),
            Say::Results(_) | Say::Steps(_) => {
                ask.awaits().into_iter().any(|step| self.is_known_untrusted(step))
            }
            Say::Correction(_) | Say::Summary { .. } | Say::Steers => false,
        }
    }

    /// Of each input that came while the turn ran and that a question says first: whether it is untrusted.
    fn untold_labels(&self, ask: &Ask) -> impl Iterator<Item = bool> {
        let through = self.steers.len().min(ask.steers as usize);
        self.steers[self.told.min(through)..through].iter().map(|steer| steer.request.untrusted)
    }

    /// The labels of so many messages that a question says. Guards may have put others in their place, which may be made of any.
    pub(super) fn labels_of_said(&self, ask: &Ask, count: usize) -> Vec<bool> {
        let first = (!matches!(ask.say, Say::Steers)).then(|| self.says_untrusted(ask));
        let labels: Vec<bool> = first.into_iter().chain(self.untold_labels(ask)).collect();
        let is_any = labels.contains(&true);
        if labels.len() == count { labels } else { vec![is_any; count] }
    }

    /// Whether anything that a question shows or says is untrusted.
    pub(super) fn shows_untrusted(&self, talk: &Talk, ask: &Ask) -> bool {
        self.says_untrusted(ask)
            || self.untold_labels(ask).any(|untrusted| untrusted)
            || talk.shows_untrusted(ask)
    }

    /// Whether a model that was shown untrusted content has a say in the plan.
    pub(super) fn is_planned_by_the_misled(&self) -> bool {
        let misled =
            || self.steps.iter().any(|step| step.untrusted && matches!(step.step.action, Action::Model(_)));
        matches!(self.planner, PlannerRef::Named(_)) && misled()
    }

    /// A step has ended: what it brought keeps its label, and so does what it wrote into the context.
    pub(super) fn label(&mut self, place: usize) {
        let untrusted = self.is_untrusted(place) || self.takes_untrusted(place);
        self.steps[place].untrusted = untrusted;
        if untrusted && matches!(self.steps[place].phase, Phase::Succeeded(_)) {
            let keys = self.steps[place].step.writes.iter().map(|write| write.key.clone());
            self.untrusted_keys.extend(keys);
        }
    }
}

impl Talk {
    /// Whether any message that a question shows is untrusted.
    fn shows_untrusted(&self, ask: &Ask) -> bool {
        let Some(first) = ask.first_shown else { return false };
        let through = match &ask.say {
            Say::Summary { through, .. } => *through,
            _ => self.end(),
        };
        let shown = (self.first..).zip(&self.messages);
        shown.filter(|(number, _)| (first..through).contains(number)).any(|(_, kept)| kept.untrusted)
    }
}
