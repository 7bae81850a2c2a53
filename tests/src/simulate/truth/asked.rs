//! What models are asked, in the moment in which they are, and what becomes of it.

use std::sync::Arc;
use std::time::Duration;

use agent_shell_core::Call;
use agent_shell_core::data::{Answer, Body};
use agent_shell_core::machine::Entry;
use agent_shell_core::ports::{ModelErrorKind, ModelRequest};
use agent_shell_core::words::{Entropy, SessionId};

use super::shapes::misshapen;
use super::talk::Problems;
use super::{Facts, Truth};
use crate::crash::scenario::TurnKey;
use crate::simulate::bugs::Bug;
use crate::simulate::coverage::WorldFault;
use crate::simulate::rule::Rule;
use crate::simulate::settings::Settings;
use crate::simulate::talking::LoopSpec;
use crate::simulate::work::Work;

/// What goes wrong with a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::simulate) enum Mishap {
    None,
    Fails(ModelErrorKind),
    Hangs,
    Slow,
    /// Its stream ends without an answer.
    CutOff,
    Panics,
    /// Its answer reached its bound of tokens.
    Length,
    Declines,
    EmptySummary,
}

const ERRORS: [(ModelErrorKind, WorldFault); 7] = [
    (ModelErrorKind::Unavailable, WorldFault::ModelUnavailable),
    (ModelErrorKind::RateLimited, WorldFault::ModelRateLimited),
    (ModelErrorKind::CutOff, WorldFault::ModelCutOff),
    (ModelErrorKind::InvalidRequest, WorldFault::ModelInvalidRequest),
    (ModelErrorKind::TooLong, WorldFault::ModelTooLong),
    (ModelErrorKind::Denied, WorldFault::ModelDenied),
    (ModelErrorKind::Unsupported, WorldFault::ModelUnsupported),
];

impl Truth {
    /// True in so many of a hundred.
    pub(in crate::simulate) fn chance(&self, percent: u64) -> bool {
        self.shared.entropy.below(100) < percent
    }

    pub(in crate::simulate) fn number(&self) -> u64 {
        self.shared.entropy.number()
    }

    /// So long.
    pub(in crate::simulate) async fn lie(&self, longest: Duration) {
        let micros = self.shared.entropy.below(longest.as_micros() as u64);
        self.shared.time.sleep(Duration::from_micros(micros)).await;
    }

    /// A model is asked. This is the first poll of the question.
    pub(in crate::simulate) fn questioned(&self, request: &Arc<ModelRequest>, call: &Call) {
        let Call { turn, step, epoch, attempt, .. } = call;
        self.tell(|| {
            let shown = request.messages.len();
            format!("question {step} of turn {turn}, epoch {epoch}, attempt {attempt}, {shown} messages")
        });
        let mut problems: Problems = misshapen(request).into_iter().collect();
        let mut found = Vec::new();
        self.check_question_allowed(request, call, &mut found);
        let mut facts = self.facts();
        let has_guards = facts.is_guarding(call.session, *epoch, self.settings());
        facts.check_set_aside(call, self.settings(), &mut found);
        let Facts { sessions, coverage, .. } = &mut *facts;
        // A process that has lost its session may still ask what it was about to ask.
        if let Some(mirror) = sessions.get_mut(&call.session).filter(|mirror| mirror.epoch <= *epoch) {
            let book = &mut mirror.talk;
            let of_turn = book.turn.as_ref().filter(|known| known.id == *turn);
            if of_turn.is_some_and(|known| known.answered.contains(step)) {
                problems.push(format!("{step} is asked, and its answer is durable"));
            }
            // What guards put in its place may not be durable yet.
            let is_settled = book.is_settled(*turn, step) && (!has_guards || book.is_ruled(step));
            if is_settled {
                book.check(step, request, coverage, &mut problems);
            }
            let id = (*turn, step.clone(), *epoch, *attempt);
            if book.asked.keys().any(|(other, known, of, _)| other == turn && known == step && of != epoch) {
                coverage.count(WorldFault::AskedAgain);
            }
            let asked = book.asked.entry(id).or_default();
            asked.view = request.digest().ok();
            asked.request = (!is_settled).then(|| request.clone());
        }
        drop(facts);
        let at = format!("turn {turn} question {step}, epoch {epoch}, attempt {attempt}");
        found.into_iter().for_each(|(rule, what)| self.say(rule, format!("{at}: {what}")));
        for problem in problems {
            self.say(Rule::Talk, format!("turn {turn}, epoch {epoch}, attempt {attempt}: {problem}"));
        }
    }

    /// What a model answers.
    pub(in crate::simulate) fn said(&self, call: &Call, answer: &Answer) {
        let mut facts = self.facts();
        facts.take_usage(call, answer.usage);
        let Some(mirror) = facts.sessions.get_mut(&call.session) else { return };
        let id = (call.turn, call.step.clone(), call.epoch, call.attempt);
        if let Some(asked) = mirror.talk.asked.get_mut(&id) {
            asked.answer = Some(answer.clone());
        }
    }

    /// What goes wrong with the next question.
    pub(in crate::simulate) fn draw_mishap(&self, summarises: bool) -> Mishap {
        let rates = &self.settings().world;
        // So that there is much to be retracted where that is what goes wrong.
        if self.settings().bug == Some(Bug::RetractionForgotten) && !self.is_calm() && self.chance(60) {
            return Mishap::CutOff;
        }
        if self.is_calm() || !self.chance(rates.model) {
            return Mishap::None;
        }
        let (mishap, fault) = match self.shared.entropy.below(if summarises { 22 } else { 16 }) {
            drawn @ 0..7 => {
                let (kind, fault) = ERRORS[drawn as usize];
                (Mishap::Fails(kind), fault)
            }
            7 | 8 => (Mishap::Hangs, WorldFault::ModelHung),
            9 | 10 => (Mishap::Slow, WorldFault::ModelSlow),
            11 | 12 => (Mishap::CutOff, WorldFault::ModelStreamEnded),
            13 => (Mishap::Panics, WorldFault::ModelPanicked),
            14 => (Mishap::Length, WorldFault::ModelLength),
            15 => (Mishap::Declines, WorldFault::ModelDeclined),
            _ => (Mishap::EmptySummary, WorldFault::ModelEmptySummary),
        };
        self.count(fault);
        mishap
    }
}

impl Facts {
    /// Takes a record into the conversation of its session.
    pub(super) fn take_talk(
        &mut self,
        session: SessionId,
        entry: &Entry,
        settings: &Settings,
        found: &mut Vec<(Rule, String)>,
    ) {
        let spec = match &entry.body {
            Body::TurnStarted { input, .. } => {
                let key: Option<TurnKey> = serde_json::from_value((*input.value()).clone()).ok();
                let known = key.and_then(|key| Some((key, self.book.get(&key)?)));
                known
                    .filter(|(_, known)| matches!(known.work, Work::Talk(_)))
                    .map(|(key, _)| LoopSpec::draw(settings.seed, key.session))
            }
            _ => None,
        };
        let Some(mirror) = self.sessions.get_mut(&session) else { return };
        let mut problems = Problems::new();
        mirror.talk.take(entry, spec, &mut self.coverage, &mut problems);
        let at = |problem| (Rule::Talk, format!("record {}: {problem}", entry.seq));
        found.extend(problems.into_iter().map(at));
    }
}
