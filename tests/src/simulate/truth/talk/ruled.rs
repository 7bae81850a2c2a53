//! Where guards rule: what they put in the place of a question's words and of an answer, and what models said before that.

use std::sync::Arc;

use agent_shell_core::data::{Answer, Ask, GuardPlace, Message, Payload};
use agent_shell_core::words::{Digest, StepId};

use super::{Problems, QuestionId, TalkBook, TalkTurn};
use crate::simulate::coverage::Coverage;

impl TalkBook {
    pub(super) fn asks(&self, step: &StepId) -> bool {
        self.turn.as_ref().is_some_and(|turn| turn.ask(step).is_some())
    }

    /// Whether guards have ruled on what a question says.
    pub(in crate::simulate::truth) fn is_ruled(&self, step: &StepId) -> bool {
        self.turn.as_ref().is_some_and(|turn| turn.ruled.contains_key(step))
    }

    /// A model's answer is there, and guards have not ruled on it.
    pub(super) fn returned(
        &mut self,
        id: QuestionId,
        (answer, view): (&Payload, Option<Digest>),
        coverage: &mut Coverage,
        found: &mut Problems,
    ) {
        let step = id.1.clone();
        self.check_said(id, (answer, view), coverage, found);
        let Some(turn) = &mut self.turn else { return };
        if turn.returned.insert(step.clone(), (answer.value(), view)).is_some() {
            found.push(format!("{step} is answered a second time"));
        }
    }

    /// What is recorded as an answer is what the model said to just this question.
    pub(super) fn check_said(
        &mut self,
        id: QuestionId,
        (answer, view): (&Payload, Option<Digest>),
        coverage: &mut Coverage,
        found: &mut Problems,
    ) {
        let (step, attempt) = (id.1.clone(), id.3);
        let asked = self.asked.remove(&id);
        let said = asked.as_ref().and_then(|asked| asked.answer.as_ref());
        let answer = serde_json::from_value::<Answer>((*answer.value()).clone()).ok();
        match &asked {
            None => found.push(format!("{step} is answered in attempt {attempt}, in which nobody was asked")),
            Some(_) if said != answer.as_ref() => {
                found.push(format!("{step} is answered with {answer:?}, and the model said {said:?}"));
            }
            Some(asked) if asked.view != view => {
                found.push(format!("{step} was asked {:?}, and recorded is {view:?}", asked.view));
            }
            _ => {}
        }
        if let Some(request) = asked.and_then(|asked| asked.request) {
            self.check(&step, &request, coverage, found);
        }
    }

    /// What a question says, when all that it is made of is in the records.
    pub(super) fn said_by(&self, step: &StepId, ask: &Ask) -> Option<Vec<Arc<Message>>> {
        let rewritten = self.turn.as_ref()?.ruled.get(step).cloned().flatten();
        // In a seed that has guards nothing is said to turns that run, so it is all that is said.
        rewritten.map(|said| vec![said]).or_else(|| self.said_first(ask))
    }
}

impl TalkTurn {
    /// Guards have ruled: what they put in the place of a question's words, or of an answer.
    pub(super) fn ruled(&mut self, step: &StepId, place: GuardPlace, value: Option<&Payload>) {
        let value = value.map(Payload::value);
        match (place, value) {
            (GuardPlace::BeforeModel, value) => {
                let said = value.and_then(|value| serde_json::from_value((*value).clone()).ok());
                self.ruled.insert(step.clone(), said.map(Arc::new));
            }
            (GuardPlace::AfterModel, Some(value)) => {
                if let Some(returned) = self.returned.get_mut(step) {
                    returned.0 = value;
                }
            }
            _ => {}
        }
    }
}
