//! What was said to models and by them, as the records say: kept here by itself, without the machine's fold, and held
//! against every question that a model gets.

mod ruled;
mod told;
mod turn;

use std::collections::BTreeMap;
use std::sync::Arc;

use agent_shell_core::FailureCode;
use agent_shell_core::data::{
    Answer, Arguments, Ask, Body, CallStatus, Content, Message, Outcome, Payload, Prompt, PromptRef,
    ResultOf, Said, Say, input,
};
use agent_shell_core::machine::Entry;
use agent_shell_core::ports::ModelRequest;
use agent_shell_core::words::{Digest, Epoch, StepId, TurnId};
use serde_json::json;

use self::turn::TalkTurn;
use super::shapes::calls_of;
use crate::simulate::coverage::{Coverage, WorldFault};
use crate::simulate::talking::{CORRECTIONS, LoopSpec};

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
        let users = said.iter().filter(|message| matches!(***message, Message::User(_)));
        turn.users.extend(users.clone().cloned());
        self.users.extend(users.cloned());
        (turn.last_answer, turn.asked) = (Some(answer.clone()), Some(step.to_string()));
        count_answer(&answer, coverage);
        let before = self.said.len();
        self.said.retain(|(number, _)| *number >= first);
        if self.said.len() < before {
            coverage.count(WorldFault::WindowSlid);
        }
        said.into_iter().for_each(|said| self.push(said));
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

    /// What a question says before guards have put anything in its place. Behind it stands what users said while the turn ran.
    fn said_first(&self, ask: &Ask) -> Option<Vec<Arc<Message>>> {
        let turn = self.turn.as_ref()?;
        let first = match &ask.say {
            Say::User(template) if *template == input("") => Some(Message::User(Content::read(&turn.input))),
            Say::Correction(words) | Say::Summary { words, .. } => Some(Message::Note(words.clone())),
            Say::Results(_) => Some(Message::Results(turn.results(ask))),
            Say::Steers => None,
            _ => return None,
        };
        let said: Vec<_> = first.map(Arc::new).into_iter().chain(turn.untold(ask)).collect();
        (!said.is_empty()).then_some(said)
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
        let expected: Vec<&Arc<Message>> = shown.clone().map(|(_, message)| message).chain(&said).collect();
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
        said: &[Arc<Message>],
        request: &ModelRequest,
        found: &mut Problems,
    ) {
        let is_user = |message: &&Arc<Message>| matches!(***message, Message::User(_));
        let all: Vec<&Arc<Message>> = self.users.iter().chain(said.iter().filter(is_user)).collect();
        let shown: Vec<&Arc<Message>> = request.messages.iter().filter(is_user).collect();
        if !all.ends_with(&shown) {
            found.push(format!("{step} shows of what users said {}, of {}", json!(shown), json!(all)));
        }
        let of_turn = self.turn.iter().flat_map(|turn| &turn.users);
        for missed in of_turn.filter(|message| !shown.contains(message)) {
            found.push(format!("{step} does not show what the user said in this turn: {}", json!(missed)));
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
        let bytes = length(&request.messages);
        let summary = request.messages.iter().filter(|message| matches!(***message, Message::Summary(_)));
        let summary = length(summary);
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

/// How much room messages take.
fn length<'a>(messages: impl IntoIterator<Item = &'a Arc<Message>>) -> u64 {
    messages.into_iter().map(|message| json!(message).to_string().len() as u64).sum()
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
