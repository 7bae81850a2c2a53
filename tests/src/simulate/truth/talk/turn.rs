//! A turn in a conversation: what it was asked, what was said while it ran, and what became of its calls.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use agent_shell_core::data::{
    Action, Answer, Ask, Body, CallStatus, Content, Message, Outcome, Payload, Resolution, ResultOf, Say,
    Step, ToolCall, ToolResult,
};
use agent_shell_core::machine::Entry;
use agent_shell_core::words::{StepId, TurnId};
use agent_shell_core::{Failure, FailureCode};
use serde_json::{Value, json};

use super::super::shapes::{calls_of, shown};
use super::{Problems, rejects};
use crate::crash::scenario::ToolKind;
use crate::simulate::coverage::{Coverage, WorldFault};
use crate::simulate::talking::{LoopSpec, REPEATS};

/// What a turn ends with is kept whole up to so many bytes.
const KEPT_AT_AN_END: u64 = 16_384;

/// What a model is told of a call that was not made because the turn was interrupted.
const INTERRUPTED: &str = "what the user says now came before the call was made, so it was not made";

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
    begun: BTreeSet<StepId>,
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

    fn is_held_back(&self, step: &StepId) -> bool {
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

    /// What became of the steps of which a model was told that they are held back, when the turn has ended.
    pub(super) fn became_of_held(&self) -> Vec<Value> {
        let asked = self.steps.iter().filter(|step| self.answered.contains(&step.id));
        let told: BTreeSet<&StepId> =
            asked.flat_map(Step::awaits).filter(|step| self.is_held(step)).collect();
        let held = self.steps.iter().filter(|step| told.contains(&step.id));
        held.map(|step| {
            let (status, output) = match self.ends.get(&step.id) {
                Some(End::Done(output, record)) => {
                    (CallStatus::Done, shown(output, *record, Some(KEPT_AT_AN_END)))
                }
                Some(End::Failed(message)) => (CallStatus::Failed, json!(message)),
                Some(End::Superseded) => (CallStatus::Closed, json!(INTERRUPTED)),
                None if self.begun.contains(&step.id) => {
                    (CallStatus::Closed, json!("the turn ended before the call had an outcome"))
                }
                None => (CallStatus::Closed, json!("the turn ended before the call was made")),
            };
            let Action::Tool { name, .. } = &step.action else { return Value::Null };
            json!({ "call": step.call, "tool": name, "status": status, "output": output })
        })
        .collect()
    }

    /// What the model is told of a call of its last answer when the turn has ended: what became of the step that makes it,
    /// which the loop named by the question and the call's place.
    pub(super) fn told_at_end(&self, call: &ToolCall, place: usize, coverage: &mut Coverage) -> ToolResult {
        let asks = self.steps.iter().rev().filter_map(|step| match &step.action {
            Action::Model(ask) if ask.first_shown.is_some() && !matches!(ask.say, Say::Summary { .. }) => {
                Some((step, &**ask))
            }
            _ => None,
        });
        let latest = asks.take(1).next();
        let above = latest.and_then(|(_, ask)| ask.handles_above);
        let above = Some(above.map_or(KEPT_AT_AN_END, |above| above.min(KEPT_AT_AN_END)));
        let rejected = latest.filter(|(step, _)| !self.answered.contains(&step.id)).and_then(|(_, ask)| {
            let Say::Results(results) = &ask.say else { return None };
            results.iter().find_map(|result| match &result.of {
                ResultOf::Rejected(reason) if result.call == call.id => {
                    Some((CallStatus::Rejected, json!(reason)))
                }
                ResultOf::Interrupted if result.call == call.id => {
                    Some((CallStatus::Closed, json!(INTERRUPTED)))
                }
                _ => None,
            })
        });
        let asked = self.asked.as_deref().unwrap_or_default().replace("ask", "call");
        let step = self.steps.iter().find(|step| step.id.as_str() == format!("{asked}-{place}"));
        let (status, output) = match (step.map(|step| (step, self.ends.get(&step.id))), rejected) {
            (Some((_, Some(End::Done(output, record)))), _) => {
                coverage.count(WorldFault::CallDoneUntold);
                (CallStatus::Done, shown(output, *record, above))
            }
            (Some((_, Some(End::Failed(message)))), _) => (CallStatus::Failed, json!(message)),
            (Some((_, Some(End::Superseded))), _) => (CallStatus::Closed, json!(INTERRUPTED)),
            (Some((step, None)), _) if !self.is_held_back(&step.id) => {
                (CallStatus::Closed, json!("the turn ended before the call had an outcome"))
            }
            (None, Some(told)) => told,
            _ => (CallStatus::Closed, json!("the turn ended before the call was made")),
        };
        ToolResult::new(&call.id, &call.tool, status, output)
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
            )
        {
            found.push(format!("a loop's turn failed as {code:?}: {message}"));
        }
    }
}
