//! What was said to models and by them, as the records say: kept here by itself, without the machine's fold, and held
//! against every question that a model gets.

mod ruled;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use agent_shell_core::data::{
    Action, Answer, Arguments, Ask, Body, CallStatus, Content, Message, Outcome, Payload, Prompt, PromptRef,
    Resolution, ResultOf, Said, Say, Step, ToolResult, input,
};
use agent_shell_core::machine::Entry;
use agent_shell_core::ports::ModelRequest;
use agent_shell_core::words::{Digest, Epoch, StepId, TurnId};
use agent_shell_core::{Failure, FailureCode};
use serde_json::{Value, json};

use super::shapes::{calls_of, shown};
use crate::crash::scenario::ToolKind;
use crate::simulate::coverage::{Coverage, WorldFault};
use crate::simulate::talking::{CORRECTIONS, LoopSpec, REPEATS};

/// What a turn ends with is kept whole up to so many bytes.
const KEPT_AT_AN_END: u64 = 16_384;

/// What is wrong.
pub(super) type Problems = Vec<String>;

/// An attempt at a question.
pub(super) type QuestionId = (TurnId, StepId, Epoch, u32);

/// The conversation of a session, and what its turn has to do with it.
#[derive(Default)]
pub(super) struct TalkBook {
    prompts: BTreeMap<Digest, Arc<Prompt>>,
    /// What is kept, with its number.
    said: Vec<(u64, Arc<Message>)>,
    /// The number of the next message.
    end: u64,
    /// All that users, and hosts in their place, ever said.
    users: Vec<Arc<Message>>,
    summaries: u64,
    /// A summary that no question has shown yet.
    is_fresh: bool,
    /// The latest question that was answered in the conversation: its first number, the summaries before it, and what it
    /// showed.
    last: Option<(u64, u64, Vec<Arc<Message>>)>,
    /// What models were asked, and not yet found in the records; and what they answered.
    pub(super) asked: BTreeMap<QuestionId, Asked>,
    pub(super) turn: Option<TalkTurn>,
}

/// A question that a model got.
#[derive(Default)]
pub(super) struct Asked {
    /// What is to be checked when the records are there.
    pub(super) request: Option<Arc<ModelRequest>>,
    /// The digest of the question.
    pub(super) view: Option<Digest>,
    /// What the model said.
    pub(super) answer: Option<Answer>,
}

/// A turn and its calls.
pub(super) struct TalkTurn {
    pub(super) id: TurnId,
    input: Arc<Value>,
    /// How its loop is made, where a loop plans it.
    pub(super) spec: Option<LoopSpec>,
    wants: bool,
    steps: Vec<Step>,
    ends: BTreeMap<StepId, End>,
    /// Steps that were begun, or wait for somebody.
    begun: BTreeSet<StepId>,
    pub(super) answered: BTreeSet<StepId>,
    last_answer: Option<Answer>,
    /// The question of the conversation that was answered last.
    asked: Option<String>,
    answer: Option<Arc<Value>>,
    /// The user's first message in it, once it was answered.
    first: Option<Arc<Message>>,
    corrections: u32,
    failing: BTreeMap<String, u32>,
    /// What guards put in the place of what a question says; none where they left it.
    ruled: BTreeMap<StepId, Option<Arc<Message>>>,
    /// What was answered, as guards left it, with the digest of what was asked.
    returned: BTreeMap<StepId, (Arc<Value>, Option<Digest>)>,
}

/// How a step ended.
enum End {
    /// With this output, by the record of this number.
    Done(Arc<Value>, u64),
    Failed(String),
}

impl TalkBook {
    /// Takes a record. `spec` says how the loop of a turn is made that begins with it.
    pub(super) fn take(
        &mut self,
        entry: &Entry,
        spec: Option<LoopSpec>,
        coverage: &mut Coverage,
        found: &mut Problems,
    ) {
        match &entry.body {
            Body::TurnStarted { turn, input, wants, .. } => {
                self.turn = Some(TalkTurn::new(*turn, input.value(), spec, wants.is_some()));
            }
            Body::PromptSet { digest, prompt, .. } => self.set_prompt(*digest, prompt, found),
            Body::ModelAnswered { turn, step, attempt, answer, view, .. } => {
                let id = (*turn, step.clone(), entry.epoch, *attempt);
                self.answered(id, (answer, *view), coverage, found);
            }
            Body::StepReturned { turn, step, attempt, output, view } if self.asks(step) => {
                let id = (*turn, step.clone(), entry.epoch, *attempt);
                self.returned(id, (output, *view), coverage, found);
            }
            Body::GuardRuled { step, place, value, .. } => {
                if let Some(turn) = &mut self.turn {
                    turn.ruled(step, *place, value.as_ref());
                }
            }
            Body::TurnEnded { outcome, answer, .. } => {
                self.turn_ended(outcome, answer.as_ref(), coverage, found)
            }
            Body::SessionPurged { .. } => *self = Self::default(),
            _ => {
                if let Some(turn) = &mut self.turn {
                    turn.take(entry, found);
                }
            }
        }
    }

    fn set_prompt(&mut self, digest: Digest, prompt: &Payload, found: &mut Problems) {
        match serde_json::from_value::<Prompt>((*prompt.value()).clone()) {
            Ok(prompt) if prompt.digest().ok() == Some(digest) => {
                self.prompts.insert(digest, Arc::new(prompt));
            }
            other => found.push(format!("the prompt under {digest} is {other:?}")),
        }
    }

    fn answered(
        &mut self,
        id: QuestionId,
        (answer, view): (&Payload, Option<Digest>),
        coverage: &mut Coverage,
        found: &mut Problems,
    ) {
        let step = id.1.clone();
        match self.turn.as_mut().and_then(|turn| turn.returned.remove(&step)) {
            Some(left) if left == (answer.value(), view) => {}
            Some(left) => found.push(format!("{step} is answered with {answer:?}, and left was {left:?}")),
            None => self.check_said(id, (answer, view), coverage, found),
        }
        let Ok(answer) = serde_json::from_value::<Answer>((*answer.value()).clone()) else {
            return found.push(format!("the answer to {step} can't be read"));
        };
        let Some(ask) = self.turn.as_ref().and_then(|turn| turn.ask(&step)).cloned() else {
            return found.push(format!("{step} is answered, and asks nothing"));
        };
        let Some(said) = self.said_by(&step, &ask) else {
            return found.push(format!("{step} is answered, and says nothing"));
        };
        let Some(turn) = &mut self.turn else { return };
        if !turn.answered.insert(step.clone()) {
            return found.push(format!("{step} is answered a second time"));
        }
        let Some(first) = ask.first_shown else { return };
        if let Say::Summary { through, .. } = ask.say {
            coverage.count(WorldFault::Summarised);
            return self.summarise(through, answer.text());
        }
        turn.count(&ask, &said, self.said.last().map(|(_, message)| &**message), coverage);
        if matches!(*said, Message::User(_)) {
            turn.first.get_or_insert_with(|| said.clone());
            self.users.push(said.clone());
        }
        (turn.last_answer, turn.asked) = (Some(answer.clone()), Some(step.to_string()));
        count_answer(&answer, coverage);
        let before = self.said.len();
        self.said.retain(|(number, _)| *number >= first);
        if self.said.len() < before {
            coverage.count(WorldFault::WindowSlid);
        }
        self.push(said);
        let shown = self.said.iter().map(|(_, message)| message.clone()).collect();
        self.last = Some((self.said.first().map_or(0, |(number, _)| *number), self.summaries, shown));
        self.push(Arc::new(Message::Model(answer.said)));
        self.is_fresh = false;
    }

    fn push(&mut self, message: Arc<Message>) {
        self.said.push((self.end, message));
        self.end += 1;
    }

    /// What users said stays, the summary stands behind it, and what follows has the numbers that it had.
    fn summarise(&mut self, through: u64, summary: String) {
        let is_before = |number: &u64| *number < through;
        let users = self
            .said
            .iter()
            .filter(|(number, message)| is_before(number) && matches!(**message, Message::User(_)));
        let mut kept: Vec<Arc<Message>> = users.map(|(_, message)| message.clone()).collect();
        kept.push(Arc::new(Message::Summary(summary)));
        self.said.retain(|(number, _)| !is_before(number));
        let first = through.saturating_sub(kept.len() as u64);
        let numbered: Vec<_> = (first..).zip(kept).collect();
        self.said.splice(0..0, numbered);
        (self.summaries, self.is_fresh) = (self.summaries + 1, true);
    }

    fn turn_ended(
        &mut self,
        outcome: &Outcome,
        answer: Option<&Payload>,
        coverage: &mut Coverage,
        found: &mut Problems,
    ) {
        let Some(turn) = self.turn.take() else { return };
        // The next turn may have asked already.
        self.asked.retain(|(of, ..), _| *of != turn.id);
        if turn.spec.is_some() {
            turn.check_end(outcome, answer, found);
            let failure = if let Outcome::Failed(failure) = outcome { Some(failure.code) } else { None };
            match failure {
                Some(FailureCode::Stuck) => coverage.count(WorldFault::LoopStuck),
                Some(FailureCode::TooLarge) => coverage.count(WorldFault::WindowTooSmall),
                Some(FailureCode::Model) => coverage.count(WorldFault::LoopUnanswered),
                _ => {}
            }
        }
        // A model is asked nothing more before it was told of its calls.
        if let Some((_, message)) = self.said.last()
            && let Message::Model(said) = &**message
            && let calls = calls_of(said)
            && !calls.is_empty()
        {
            let results =
                calls.iter().zip(1..).map(|(call, place)| turn.told_at_end(call, place, coverage)).collect();
            coverage.count(WorldFault::CallsClosed);
            self.push(Arc::new(Message::Results(results)));
        }
        // And it is told what became of what it was told to be held back.
        let became = turn.became_of_held();
        if !became.is_empty() {
            coverage.count(WorldFault::HeldTold);
            self.push(Arc::new(Message::Note(format!("What was held back has ended: {}", json!(became)))));
        }
    }

    /// The same before guards have put anything in its place.
    fn said_first(&self, ask: &Ask) -> Option<Arc<Message>> {
        let turn = self.turn.as_ref()?;
        Some(Arc::new(match &ask.say {
            Say::User(template) if *template == input("") => Message::User(Content::read(&turn.input)),
            Say::Correction(words) | Say::Summary { words, .. } => Message::Note(words.clone()),
            Say::Results(_) => Message::Results(turn.results(ask)),
            _ => return None,
        }))
    }

    /// A question is what the records before it say.
    pub(super) fn check(
        &self,
        step: &StepId,
        request: &ModelRequest,
        coverage: &mut Coverage,
        found: &mut Problems,
    ) {
        let Some((ask, turn)) = self.turn.as_ref().and_then(|turn| Some((turn.ask(step)?, turn))) else {
            return found.push(format!("{step} asks, and no durable plan has such a question"));
        };
        let PromptRef::Recorded(digest) = &ask.prompt else {
            return found.push(format!("{step}: its prompt is not named by a digest"));
        };
        if self.prompts.get(digest) != Some(&request.prompt) {
            found.push(format!("{step}: its prompt is not the one under {digest}: {:?}", request.prompt));
        }
        let Some(said) = self.said_by(step, ask) else {
            return found.push(format!("{step} says what nobody knows"));
        };
        let (first, last) = match (ask.first_shown, &ask.say) {
            (None, _) => (u64::MAX, u64::MAX),
            (Some(first), Say::Summary { through, .. }) => (first, *through),
            (Some(first), _) => (first, u64::MAX),
        };
        let shown = self.said.iter().filter(|(number, _)| (first..last).contains(number));
        let expected: Vec<&Arc<Message>> = shown.clone().map(|(_, message)| message).chain([&said]).collect();
        if !expected.iter().map(|message| &***message).eq(request.messages.iter().map(|message| &**message)) {
            let (asked, expected) = (json!(request.messages), json!(expected));
            found.push(format!("{step} shows {asked}, and the records say {expected}"));
        }
        let Some(spec) = turn.spec else { return };
        if !matches!(ask.say, Say::Summary { .. }) {
            let first = shown.map(|(number, _)| *number).next();
            self.check_shown(step, first, &said, request, found);
            let more = self.said_first(ask).map_or(0, |first| length(&said).saturating_sub(length(&first)));
            self.check_bound(step, (spec, more), request, found);
            if rejects(ask) && turn.corrections >= CORRECTIONS {
                found.push(format!("{step} corrects after {} corrections in a row", turn.corrections));
            }
        }
        let results = request.messages.last().and_then(|last| match &**last {
            Message::Results(results) => Some(results),
            _ => None,
        });
        for result in results.into_iter().flatten() {
            if result.status == CallStatus::Held {
                coverage.count(WorldFault::ResultHeld);
            }
            if result.output.get("handle").is_some() {
                coverage.count(WorldFault::ResultHandle);
            }
        }
    }

    /// Nothing that a user said is lost but from the beginning, and the turn is whole; and what was shown once is shown again
    /// in the same bytes.
    fn check_shown(
        &self,
        step: &StepId,
        first: Option<u64>,
        said: &Arc<Message>,
        request: &ModelRequest,
        found: &mut Problems,
    ) {
        let is_user = |message: &&Arc<Message>| matches!(***message, Message::User(_));
        let all: Vec<&Arc<Message>> = self.users.iter().chain([said].into_iter().filter(is_user)).collect();
        let shown: Vec<&Arc<Message>> = request.messages.iter().filter(is_user).collect();
        if !all.ends_with(&shown) {
            found.push(format!("{step} shows of what users said {}, of {}", json!(shown), json!(all)));
        }
        if let Some(first) = self.turn.as_ref().and_then(|turn| turn.first.as_ref())
            && !shown.contains(&first)
        {
            found.push(format!("{step} does not show what the user said first in this turn"));
        }
        let Some((last_first, summaries, before)) = &self.last else { return };
        if first == Some(*last_first) && *summaries == self.summaries && !request.messages.starts_with(before)
        {
            found.push(format!("{step} does not begin as the question before it: {}", json!(before)));
        }
    }

    /// A question is no larger than its policy allows. A summary that has just been made may be.
    /// What guards made of what it says may take `rewritten` bytes more.
    fn check_bound(
        &self,
        step: &StepId,
        (spec, rewritten): (LoopSpec, u64),
        request: &ModelRequest,
        found: &mut Problems,
    ) {
        let bytes: u64 = request.messages.iter().map(length).sum();
        let summary = request.messages.iter().filter(|message| matches!(***message, Message::Summary(_)));
        let summary: u64 = summary.map(length).sum();
        let more = if self.is_fresh { summary.saturating_sub(spec.bytes / 4) } else { 0 };
        let more = more + rewritten;
        if bytes > spec.bytes + more {
            found
                .push(format!("{step} shows {bytes} bytes, and its policy allows {} and {more}", spec.bytes));
        }
    }

    /// Whether all that a question is made of is in the records.
    pub(super) fn is_settled(&self, turn: TurnId, step: &StepId) -> bool {
        let Some(turn) = self.turn.as_ref().filter(|known| known.id == turn) else { return false };
        let Some(found) = turn.steps.iter().find(|known| known.id == *step) else { return false };
        let has_ended = |needed: &&StepId| {
            turn.ends.contains_key(*needed) || turn.answered.contains(*needed) || turn.is_held(needed)
        };
        found.dependencies().iter().all(has_ended)
    }
}

impl TalkTurn {
    fn new(id: TurnId, input: Arc<Value>, spec: Option<LoopSpec>, wants: bool) -> Self {
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
            first: None,
            corrections: 0,
            failing: BTreeMap::new(),
            ruled: BTreeMap::new(),
            returned: BTreeMap::new(),
        }
    }

    fn take(&mut self, entry: &Entry, found: &mut Problems) {
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
                self.ends.insert(step.clone(), End::Failed(failure.message.clone()));
            }
            Body::StepStarted { step, .. }
            | Body::AttemptFailed { step, .. }
            | Body::WaitOpened { step, .. } => {
                self.begun.insert(step.clone());
            }
            _ => {}
        }
    }

    fn ask(&self, step: &StepId) -> Option<&Ask> {
        self.steps.iter().find(|known| known.id == *step).and_then(|known| match &known.action {
            Action::Model(ask) => Some(&**ask),
            _ => None,
        })
    }

    fn is_held(&self, step: &StepId) -> bool {
        self.steps.iter().any(|known| {
            known.id == *step
                && matches!(&known.action, Action::Tool { name, .. }
                    if ToolKind::named(name.as_str()).is_some_and(ToolKind::is_held))
        })
    }

    fn is_held_back(&self, step: &StepId) -> bool {
        self.is_held(step) && !self.begun.contains(step)
    }

    /// What the model is told of its calls: what their records say.
    fn results(&self, ask: &Ask) -> Vec<ToolResult> {
        let Say::Results(results) = &ask.say else { return Vec::new() };
        let told = results.iter().map(|result| {
            let (status, output) = match &result.of {
                ResultOf::Rejected(reason) => (CallStatus::Rejected, json!(reason)),
                // Nobody interrupts a turn of a simulation.
                ResultOf::Interrupted => (CallStatus::Closed, json!(null)),
                ResultOf::Step(step) => match self.ends.get(step) {
                    Some(End::Done(output, record)) => {
                        (CallStatus::Done, shown(output, *record, ask.handles_above))
                    }
                    Some(End::Failed(message)) => (CallStatus::Failed, json!(message)),
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
    fn count(&mut self, ask: &Ask, said: &Message, before: Option<&Message>, coverage: &mut Coverage) {
        self.corrections = if rejects(ask) { self.corrections + 1 } else { 0 };
        if matches!(ask.say, Say::Correction(_)) {
            coverage.count(WorldFault::AnswerCorrected);
        }
        let (Message::Results(results), Some(Message::Model(calls))) = (said, before) else { return };
        let calls = calls_of(calls);
        let failing = results.iter().filter(|result| result.status.is_error()).map(|result| {
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
    fn check_end(&self, outcome: &Outcome, answer: Option<&Payload>, found: &mut Problems) {
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

/// How much room a message takes.
fn length(message: &Arc<Message>) -> u64 {
    json!(message).to_string().len() as u64
}

/// Whether a question tells a model that its answer could not be used.
fn rejects(ask: &Ask) -> bool {
    match &ask.say {
        Say::Correction(_) => true,
        Say::Results(results) => results.iter().any(|result| matches!(result.of, ResultOf::Rejected(_))),
        _ => false,
    }
}

fn count_answer(answer: &Answer, coverage: &mut Coverage) {
    let calls: Vec<_> = answer.calls().collect();
    if calls.len() > 1 {
        coverage.count(WorldFault::CallsBeside);
    }
    for call in calls {
        match &call.arguments {
            Arguments::Unreadable(_) => coverage.count(WorldFault::CallUnreadable),
            _ if call.tool == "no_such_tool" => coverage.count(WorldFault::CallUnknown),
            Arguments::Value(value) if !value["own"].is_number() => coverage.count(WorldFault::CallInvalid),
            Arguments::Value(_) => {}
        }
    }
    let is_opaque = |part: &Said| matches!(part, Said::Opaque(_) | Said::Thinking { opaque: Some(_), .. });
    if answer.said.iter().any(is_opaque) {
        coverage.count(WorldFault::ModelOpaque);
    }
}
