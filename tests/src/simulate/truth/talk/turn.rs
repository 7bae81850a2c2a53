//! A turn in a conversation: what it was asked, what was said while it ran, and what became of its calls.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use agent_shell_core::data::{
    Action, Answer, Ask, Body, CallStatus, Content, Message, Outcome, Payload, Resolution, ResultOf, Say,
    Step, ToolResult,
};
use agent_shell_core::machine::Entry;
use agent_shell_core::words::{Digest, StepId, TurnId};
use agent_shell_core::{Failure, FailureCode};
use serde_json::{Value, json};

use super::super::shapes::{calls_of, shown};
use super::{Problems, rejects};
use crate::crash::scenario::ToolKind;
use crate::simulate::coverage::{Coverage, WorldFault};
use crate::simulate::talking::{LoopSpec, REPEATS};

/// What a turn ends with is kept whole up to so many bytes.
pub(super) const KEPT_AT_AN_END: u64 = 16_384;

/// What a model is told of a call that was not made because the turn was interrupted.
pub(super) const INTERRUPTED: &str =
    "what the user says now came before the call was made, so it was not made";

/// A turn and its calls.
pub(in crate::simulate::truth) struct TalkTurn {
    pub(in crate::simulate::truth) id: TurnId,
    pub(super) input: Arc<Value>,
    /// How its loop is made, where a loop plans it.
    pub(super) spec: Option<LoopSpec>,
    wants: bool,
    pub(super) steps: Vec<Step>,
    pub(super) ends: BTreeMap<StepId, End>,
    /// Steps that were begun, or wait for somebody.
    pub(super) begun: BTreeSet<StepId>,
    pub(in crate::simulate::truth) answered: BTreeSet<StepId>,
    pub(super) last_answer: Option<Answer>,
    /// The question of the conversation that was answered last.
    pub(super) asked: Option<String>,
    answer: Option<Arc<Value>>,
    /// What users said in it, once it was answered.
    pub(super) users: Vec<Arc<Message>>,
    /// What was said while it ran, and the turn that it would become.
    steers: Vec<(TurnId, Arc<Value>)>,
    /// How many of these models were told.
    told: usize,
    pub(super) corrections: u32,
    failing: BTreeMap<String, u32>,
    /// What guards put in the place of what a question says; none where they left it.
    pub(super) ruled: BTreeMap<StepId, Option<Arc<Message>>>,
    /// What was answered, as guards left it, with the digest of what was asked.
    pub(super) returned: BTreeMap<StepId, (Arc<Value>, Option<Digest>)>,
}

/// How a step ended.
pub(super) enum End {
    /// With this output, by the record of this number.
    Done(Arc<Value>, u64),
    Failed(String),
    /// It was given up for what interrupted the turn.
    Superseded,
}

impl TalkTurn {
    pub(super) fn new(id: TurnId, input: Arc<Value>, spec: Option<LoopSpec>, wants: bool) -> Self {
        Self {
            id,
            input,
            spec,
            wants,
            steps: Vec::new(),
            ends: BTreeMap::new(),
            begun: BTreeSet::new(),
            answered: BTreeSet::new(),
            last_answer: None,
            asked: None,
            answer: None,
            users: Vec::new(),
            steers: Vec::new(),
            told: 0,
            corrections: 0,
            failing: BTreeMap::new(),
            ruled: BTreeMap::new(),
            returned: BTreeMap::new(),
        }
    }

    pub(super) fn take(&mut self, entry: &Entry, found: &mut Problems) {
        match &entry.body {
            Body::PlanAdopted { plan, .. } => {
                let calls = plan.steps().iter().any(|step| matches!(step.action, Action::Tool { .. }));
                let told = self.failing.values().copied().max().unwrap_or(0);
                if self.spec.is_some() && calls && told >= REPEATS {
                    found.push(format!("it goes on although {told} times the same failing call was told"));
                }
                self.steps.extend(plan.steps().iter().cloned());
            }
            Body::PlanAnswered { answer, .. } => {
                let said = self.last_answer.as_ref().map(Answer::text);
                let expected = match said {
                    Some(text) if self.wants => serde_json::from_str(text.trim()).ok(),
                    text => text.map(Value::String),
                };
                self.answer = Some(answer.value());
                if self.spec.is_some() && expected.as_ref() != Some(&*answer.value()) {
                    found.push(format!("it answers {}, and the model said {expected:?}", answer.value()));
                }
            }
            Body::StepSucceeded { step, output, .. } => {
                self.ends.insert(step.clone(), End::Done(output.value(), entry.seq.number()));
            }
            Body::StepResolved { step, resolution: Resolution::Applied(output), .. } => {
                let output = Arc::new(output.clone());
                self.ends.insert(step.clone(), End::Done(output, entry.seq.number()));
            }
            Body::StepFailed { step, failure, .. } => {
                let end = match failure.code {
                    FailureCode::Superseded => End::Superseded,
                    _ => End::Failed(failure.message.clone()),
                };
                self.ends.insert(step.clone(), end);
            }
            Body::TurnSteered { request, .. } => {
                self.steers.push((request.turn, request.input.value()));
            }
            Body::TurnWithdrawn { turn, .. } => self.steers.retain(|(of, _)| of != turn),
            Body::StepStarted { step, .. }
            | Body::AttemptFailed { step, .. }
            | Body::WaitOpened { step, .. } => {
                self.begun.insert(step.clone());
            }
            _ => {}
        }
    }

    pub(super) fn ask(&self, step: &StepId) -> Option<&Ask> {
        self.steps.iter().find(|known| known.id == *step).and_then(|known| match &known.action {
            Action::Model(ask) => Some(&**ask),
            _ => None,
        })
    }

    pub(super) fn is_held(&self, step: &StepId) -> bool {
        self.steps.iter().any(|known| {
            known.id == *step
                && matches!(&known.action, Action::Tool { name, .. }
                    if ToolKind::named(name.as_str()).is_some_and(ToolKind::is_held))
        })
    }

    pub(super) fn is_held_back(&self, step: &StepId) -> bool {
        self.is_held(step) && !self.begun.contains(step)
    }

    /// What users said while the turn ran, that a question says and no model was told of before.
    pub(super) fn untold(&self, ask: &Ask) -> Vec<Arc<Message>> {
        let through = self.steers.len().min(ask.steers as usize);
        let untold = self.steers[self.told.min(through)..through].iter();
        untold.map(|(_, input)| Arc::new(Message::User(Content::read(input)))).collect()
    }

    /// What the model is told of its calls: what their records say.
    pub(super) fn results(&self, ask: &Ask) -> Vec<ToolResult> {
        let Say::Results(results) = &ask.say else { return Vec::new() };
        let told = results.iter().map(|result| {
            let (status, output) = match &result.of {
                ResultOf::Rejected(reason) => (CallStatus::Rejected, json!(reason)),
                ResultOf::Interrupted => (CallStatus::Closed, json!(INTERRUPTED)),
                ResultOf::Step(step) => match self.ends.get(step) {
                    Some(End::Done(output, record)) => {
                        (CallStatus::Done, shown(output, *record, ask.handles_above))
                    }
                    Some(End::Failed(message)) => (CallStatus::Failed, json!(message)),
                    Some(End::Superseded) => (CallStatus::Closed, json!(INTERRUPTED)),
                    None if self.is_held_back(step) => {
                        (CallStatus::Held, json!("held back until all else in the turn has succeeded"))
                    }
                    None => (CallStatus::Closed, json!("the turn ended before the call had an outcome")),
                },
            };
            ToolResult::new(&result.call, &result.tool, status, output)
        });
        told.collect()
    }

    /// Counts what a model was told that it does not get on with.
    pub(super) fn count(
        &mut self,
        ask: &Ask,
        said: &[Arc<Message>],
        before: Option<&Message>,
        coverage: &mut Coverage,
    ) {
        self.corrections = if rejects(ask) { self.corrections + 1 } else { 0 };
        if matches!(ask.say, Say::Correction(_)) {
            coverage.count(WorldFault::AnswerCorrected);
        }
        self.told = self.told.max(ask.steers as usize);
        let first = said.first().map(|first| &**first);
        let (Some(Message::Results(results)), Some(Message::Model(calls))) = (first, before) else { return };
        let calls = calls_of(calls);
        // That the user interrupted is no fault of the call.
        let fails = |result: &&ToolResult| result.status.is_error() && result.output != json!(INTERRUPTED);
        let failing = results.iter().filter(fails).map(|result| {
            let arguments = calls.iter().find(|call| call.id == result.call).map(|call| &call.arguments);
            json!([result.tool, arguments, result.output]).to_string()
        });
        // Told of beside each other they count once.
        for failing in failing.collect::<BTreeSet<String>>() {
            let times = self.failing.entry(failing).or_default();
            *times += 1;
            if *times > 1 {
                coverage.count(WorldFault::CallRepeated);
            }
        }
    }

    /// A turn that a loop plans ends with the model's last words, or fails for a reason that a loop has.
    pub(super) fn check_end(&self, outcome: &Outcome, answer: Option<&Payload>, found: &mut Problems) {
        if let Some(answer) = answer
            && self.answer.as_ref() != Some(&answer.value())
        {
            found.push(format!("it ended with {}, and it answered {:?}", answer.value(), self.answer));
        }
        let of_held = |failure: &Failure| failure.step.as_ref().is_some_and(|step| self.is_held(step));
        if let Outcome::Failed(failure @ Failure { code, message, .. }) = outcome
            && !of_held(failure)
            && !matches!(
                code,
                FailureCode::Model
                    | FailureCode::Stuck
                    | FailureCode::TooLarge
                    | FailureCode::Interrupted
                    | FailureCode::Budget
                    | FailureCode::Guard
            )
        {
            found.push(format!("a loop's turn failed as {code:?}: {message}"));
        }
    }
}
