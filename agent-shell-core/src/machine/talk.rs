//! The conversation of a session: its messages and prompts as the records say, and the request that a question makes of
//! them.
//!
//! A message's number counts all messages of the session from 0. What is not shown any more is let go here; it stands in the
//! records.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::resolve::{json_bytes, resolve};
use super::state::{Folded, Phase, TurnState};
use crate::data::canonical::{canonical, canonical_digest};
use crate::data::chat::{boundary, reason};
use crate::data::extent;
use crate::data::{
    Action, Answer, Arguments, Ask, CallResult, CallStatus, Content, FailureCode, Message, Prompt, PromptRef,
    ResultOf, Said, Say, Step, ToolCall, ToolResult,
};
use crate::ports::{ModelRequest, request_digest};
use crate::words::{Digest, StepId};

/// Prompts that are kept when a turn ends: the next turn most likely uses the last one again.
const PROMPTS_KEPT: usize = 4;

/// Of an output that is shown as a handle, so many bytes are shown at once.
const SHOWN_OF_A_HANDLE: usize = 512;

/// What a turn ends with is kept for the next one without having been asked about: a larger output becomes a handle.
const KEPT_AT_AN_END: u64 = 16 << 10;

/// What a model is told of a call that no step makes.
const NOT_MADE: &str = "the turn ended before the call was made";

/// What a model is told of a call that was not made because of an input that interrupted the turn.
const INTERRUPTED: &str = "what the user says now came before the call was made, so it was not made";

/// The conversation of a session.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Talk {
    /// The number of the first message that is kept.
    pub first: u64,
    /// The messages from there on.
    pub messages: VecDeque<Kept>,
    /// The prompts that were recorded, the latest last, with the length of their JSON in bytes.
    pub prompts: VecDeque<(Digest, Arc<Prompt>, u64)>,
}

/// A message that is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// The message.
    pub message: Arc<Message>,
    /// The length of its JSON, in bytes.
    pub bytes: u64,
    /// Whether it holds untrusted content, or was said by a model that had been shown some.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untrusted: bool,
    #[serde(skip)]
    digest: Once,
}

impl Kept {
    fn digest(&self) -> Option<Digest> {
        *self.digest.0.get_or_init(|| digest_of(&self.message))
    }
}

/// The digest of a message, once it was wanted. It follows from the message, so it makes no difference.
#[derive(Debug, Clone, Default)]
struct Once(OnceLock<Option<Digest>>);

impl PartialEq for Once {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// None of a message that has no canonical JSON.
fn digest_of(message: &Message) -> Option<Digest> {
    canonical_digest(&json!(message)).ok()
}

/// A question as it is put.
pub(super) struct Put {
    /// What the model gets.
    pub(super) request: Arc<ModelRequest>,
    /// How many of its messages, the last ones, are what the question says.
    pub(super) says: usize,
    /// The digest of the request; none where a message has no canonical JSON.
    pub(super) view: Option<Digest>,
}

impl Talk {
    /// The number that the next message gets.
    pub fn end(&self) -> u64 {
        self.first + self.messages.len() as u64
    }

    /// The prompt with a digest, and the length of its JSON.
    pub(super) fn prompt(&self, digest: &Digest) -> Option<(&Arc<Prompt>, u64)> {
        let found = self.prompts.iter().find(|(known, ..)| known == digest);
        found.map(|(_, prompt, bytes)| (prompt, *bytes))
    }

    pub(super) fn set_prompt(&mut self, digest: Digest, prompt: Prompt) {
        let bytes = bytes_of(&prompt);
        self.prompts.retain(|(known, ..)| *known != digest);
        self.prompts.push_back((digest, Arc::new(prompt), bytes));
    }

    fn push(&mut self, message: Message, untrusted: bool) {
        let bytes = bytes_of(&message);
        let digest = Once::default();
        self.messages.push_back(Kept { message: Arc::new(message), bytes, untrusted, digest });
    }

    /// Lets go what stands before a number.
    fn begin_at(&mut self, first: u64) {
        while self.first < first && self.messages.pop_front().is_some() {
            self.first += 1;
        }
    }

    fn message(&self, number: u64) -> Option<&Message> {
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.messages.get(place).map(|kept| &*kept.message)
    }

    /// Whether what is shown may begin with the message of this number: no vendor takes results without their calls.
    pub(super) fn can_begin_at(&self, number: u64) -> bool {
        let begins = |message: &Message| matches!(message, Message::User(_) | Message::Summary(_));
        number == self.end() || self.message(number).is_some_and(begins)
    }

    /// Whether the messages from `first` to before `through` can be summarised: it does not end between calls and their
    /// results, and leaves less than there is.
    pub(super) fn can_summarise(&self, first: u64, through: u64) -> bool {
        let calls = |message: &Message| matches!(message, Message::Model(said) if said.iter().any(|part| matches!(part, Said::Call(_))));
        let mut shown = (first..through).filter_map(|number| self.message(number));
        let ends_well = !through.checked_sub(1).and_then(|last| self.message(last)).is_none_or(calls);
        ends_well && shown.any(|message| !matches!(message, Message::User(_)))
    }

    /// Takes what was said and answered, each with whether it is untrusted. What follows the first message is what users said
    /// while the turn ran.
    pub(super) fn take(
        &mut self,
        ask: &Ask,
        said: impl Iterator<Item = (Message, bool)>,
        (answer, shows_untrusted): (&Answer, bool),
    ) {
        let Some(first) = ask.first_shown else { return };
        if let Say::Summary { through, .. } = &ask.say {
            return self.summarise(*through, answer.text(), shows_untrusted);
        }
        self.begin_at(first);
        for (message, untrusted) in said {
            self.push(message, untrusted);
        }
        self.push(Message::Model(answer.said.clone()), shows_untrusted);
    }

    /// The number that the first message of a turn has once what stands before `through` is summarised: what users said in the
    /// turn stands right before the summary then.
    pub(super) fn turn_first(&self, turn_first: u64, through: u64) -> u64 {
        if through <= turn_first {
            return turn_first;
        }
        let of_turn = (self.first..through).zip(&self.messages).filter(|(number, _)| *number >= turn_first);
        let users = of_turn.filter(|(_, kept)| matches!(*kept.message, Message::User(_))).count();
        through.saturating_sub(users as u64 + 1)
    }

    /// Puts a summary in the place of what stands before a number. What the user said stays, in its order, and the numbers
    /// of what follows do not change.
    fn summarise(&mut self, through: u64, summary: String, untrusted: bool) {
        let count = usize::try_from(through.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let rest = self.messages.split_off(count.min(self.messages.len()));
        self.messages.retain(|kept| matches!(*kept.message, Message::User(_)));
        self.push(Message::Summary(summary), untrusted);
        self.first = through.saturating_sub(self.messages.len() as u64);
        self.messages.extend(rest);
    }

    /// A turn has ended. Calls of the last message that nobody answered are closed: a model is asked nothing more before it
    /// was told of its calls. Of what was held back when it was told, it is told what became of it.
    pub(super) fn turn_ended(&mut self, turn: &TurnState) {
        if let Some(Kept { message, .. }) = self.messages.back()
            && let Message::Model(said) = &**message
            && said.iter().any(|part| matches!(part, Said::Call(_)))
        {
            let untrusted = turn.made_untrusted(said);
            let results = turn.last_results(said);
            self.push(Message::Results(results), untrusted);
        }
        if let Some(note) = turn.after_all() {
            let untrusted =
                (0..turn.steps.len()).any(|place| turn.is_held(place) && turn.is_untrusted(place));
            self.push(Message::Note(note), untrusted);
        }
        while self.prompts.len() > PROMPTS_KEPT {
            self.prompts.pop_front();
        }
    }
}

/// The length of its JSON. What is said and asked always has one.
pub(super) fn bytes_of(value: &impl Serialize) -> u64 {
    extent(value).map_or(0, |extent| extent.bytes as u64)
}

/// What a question says, made of what is final: the same whenever it is made. Behind it stands what came while the turn ran,
/// and no model was told of yet.
///
/// # Errors
/// What its template misses, or that there is nothing to say.
pub(super) fn said(turn: &TurnState, ask: &Ask, most_bytes: usize) -> Result<Vec<Message>, String> {
    let first = match &ask.say {
        Say::User(template) => Some(Message::User(Content::read(&resolve(template, turn, most_bytes)?))),
        Say::Correction(words) | Say::Summary { words, .. } => Some(Message::Note(words.clone())),
        Say::Steps(steps) => Some(Message::Note(led_to(turn, steps, ask.handles_above))),
        Say::Results(results) => Some(Message::Results(
            results.iter().map(|result| result_of(turn, result, ask.handles_above)).collect(),
        )),
        Say::Steers => None,
    };
    let said: Vec<Message> = first.into_iter().chain(turn.untold(ask)).collect();
    if said.is_empty() { Err("nothing came that no model was told of yet".into()) } else { Ok(said) }
}

fn result_of(turn: &TurnState, result: &CallResult, handles_above: Option<u64>) -> ToolResult {
    let (status, output) = match &result.of {
        ResultOf::Rejected(problem) => (CallStatus::Rejected, reason(problem)),
        ResultOf::Interrupted => (CallStatus::Closed, reason(INTERRUPTED)),
        ResultOf::Step(step) => match turn.index.get(step) {
            Some(&place) => turn.became(place, handles_above),
            None => (CallStatus::Closed, reason(NOT_MADE)),
        },
    };
    ToolResult { call: result.call.clone(), tool: result.tool.clone(), status, output }
}

/// What steps led to, as a model is told it: in an order of members that no build changes.
fn led_to(turn: &TurnState, steps: &[StepId], handles_above: Option<u64>) -> String {
    let (mut outputs, mut failed, mut held) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for step in steps {
        let became = turn.index.get(step).map(|&place| turn.became(place, handles_above));
        let not_made = if turn.interrupted > 0 { INTERRUPTED } else { NOT_MADE };
        match became.unwrap_or((CallStatus::Closed, reason(not_made))) {
            (CallStatus::Done, output) => _ = outputs.insert(step, output),
            (CallStatus::Held, _) => held.push(step),
            (_, reason) => _ = failed.insert(step, reason),
        }
    }
    let mut all = BTreeMap::from([("outputs", json!(outputs))]);
    if !failed.is_empty() {
        all.insert("failed", json!(failed));
    }
    if !held.is_empty() {
        all.insert("held_back_until_all_else_has_succeeded", json!(held));
    }
    let all = json!(all);
    canonical(&all).unwrap_or_else(|_| all.to_string())
}

/// An output as a model is shown it: whole, or its beginning under the number of the record that holds it.
fn shown(output: &Arc<Value>, record: u64, handles_above: Option<u64>) -> Value {
    let bytes = json_bytes(output);
    if handles_above.is_none_or(|above| bytes as u64 <= above) {
        return (**output).clone();
    }
    let text = match &**output {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let end = boundary(&text, SHOWN_OF_A_HANDLE);
    json!({ "handle": record, "bytes": text.len(), "beginning": &text[..end] })
}

/// A question as it is put. Guards may have put something `instead` of what it says.
///
/// # Errors
/// What is missing, or that the request is larger than `question_bytes`.
pub(super) fn request(
    state: &Folded,
    turn: &TurnState,
    ask: &Ask,
    instead: Option<&Arc<Vec<Message>>>,
    limits: &crate::words::Limits,
) -> Result<Put, String> {
    let PromptRef::Recorded(digest) = &ask.prompt else { return Err("its prompt was not recorded".into()) };
    let (prompt, of_prompt) = state.talk.prompt(digest).ok_or("its prompt was not recorded")?;
    let said = match instead {
        Some(instead) => (**instead).clone(),
        None => said(turn, ask, limits.payload_bytes)?,
    };
    let talk = &state.talk;
    let (first, last) = match (ask.first_shown, &ask.say) {
        (None, _) => (talk.end(), talk.end()),
        (Some(first), Say::Summary { through, .. }) => (first, *through),
        (Some(first), _) => (first, talk.end()),
    };
    let skipped = usize::try_from(first.saturating_sub(talk.first)).unwrap_or(usize::MAX);
    let count = usize::try_from(last.saturating_sub(first)).unwrap_or(usize::MAX);
    let shown = talk.messages.iter().skip(skipped).take(count);
    let bytes = of_prompt
        + said.iter().map(bytes_of).sum::<u64>()
        + shown.clone().map(|kept| kept.bytes).sum::<u64>();
    if bytes > limits.question_bytes as u64 {
        let allowed = limits.question_bytes;
        return Err(format!("the question has {bytes} bytes of JSON: at most {allowed} are allowed"));
    }
    let says = said.len();
    let digests: Option<Vec<Digest>> =
        shown.clone().map(Kept::digest).chain(said.iter().map(digest_of)).collect();
    let view = digests.map(|messages| request_digest(*digest, messages));
    let messages = shown.map(|kept| kept.message.clone()).chain(said.into_iter().map(Arc::new)).collect();
    Ok(Put { request: Arc::new(ModelRequest { prompt: prompt.clone(), messages }), says, view })
}

/// The output of a step that asked: the text of the answer, or its JSON where the prompt asks for a form.
pub(super) fn output_of(prompt: Option<&Prompt>, answer: &Answer) -> Value {
    let wants = prompt.is_some_and(|prompt| prompt.answer.is_some());
    let json = wants.then(|| answer.json().ok()).flatten();
    json.unwrap_or_else(|| Value::String(answer.text()))
}

impl Folded {
    /// The prompt of a step that asks a model.
    pub(super) fn prompt_of<'a>(&'a self, step: &'a Step) -> Option<&'a Prompt> {
        let Action::Model(ask) = &step.action else { return None };
        match &ask.prompt {
            PromptRef::Recorded(digest) => self.talk.prompt(digest).map(|(prompt, _)| &**prompt),
            PromptRef::Whole(prompt) => Some(prompt),
        }
    }
}

impl TurnState {
    /// What came while the turn ran, that a question says and no model was told of yet.
    fn untold(&self, ask: &Ask) -> impl Iterator<Item = Message> {
        let through = self.steers.len().min(ask.steers as usize);
        let untold = self.steers[self.told.min(through)..through].iter();
        untold.map(|steer| Message::User(Content::read(&steer.request.input.value())))
    }

    /// What the model of the last message is told of its calls when the turn has ended: what became of those that steps make,
    /// and that no step makes the others.
    fn last_results(&self, said: &[Said]) -> Vec<ToolResult> {
        let asks = self.steps.iter().enumerate().rev().filter_map(|(place, step)| match &step.step.action {
            Action::Model(ask) if ask.first_shown.is_some() && !matches!(ask.say, Say::Summary { .. }) => {
                Some((place, ask))
            }
            _ => None,
        });
        let latest = asks.take(1).next();
        let above = latest.and_then(|(_, ask)| ask.handles_above).unwrap_or(KEPT_AT_AN_END);
        let above = Some(above.min(KEPT_AT_AN_END));
        let (told, made) = match latest {
            Some((place, ask)) => match &ask.say {
                Say::Results(results) if !matches!(self.steps[place].phase, Phase::Succeeded(_)) => {
                    (Some(results), place)
                }
                _ => (None, place),
            },
            None => (None, self.steps.len()),
        };
        let calls =
            said.iter().filter_map(|part| if let Said::Call(call) = part { Some(call) } else { None });
        let result = |call: &ToolCall| {
            let told = told.into_iter().flatten().find(|result| result.call == call.id);
            let step = self.steps[made..].iter().find(|step| step.step.call.as_ref() == Some(&call.id));
            let (id, tool) = (call.id.clone(), call.tool.clone());
            let mut result = match (told, step) {
                (Some(result), _) => result_of(self, result, above),
                (None, Some(step)) => {
                    let of = ResultOf::Step(step.step.id.clone());
                    result_of(self, &CallResult { call: id, tool, of }, above)
                }
                (None, None) => {
                    ToolResult { call: id, tool, status: CallStatus::Closed, output: json!(NOT_MADE) }
                }
            };
            // Nothing holds it back any more.
            if result.status == CallStatus::Held {
                (result.status, result.output) = (CallStatus::Closed, json!(NOT_MADE));
            }
            result
        };
        calls.map(result).collect()
    }

    /// Whether any of these calls is made by a step that brought untrusted content.
    fn made_untrusted(&self, said: &[Said]) -> bool {
        let calls = |id: &str| said.iter().any(|part| matches!(part, Said::Call(call) if call.id == id));
        let mut steps = self.steps.iter().enumerate();
        steps.any(|(place, step)| step.step.call.as_deref().is_some_and(calls) && self.is_untrusted(place))
    }

    /// What became of a step, as a model is told it.
    fn became(&self, place: usize, handles_above: Option<u64>) -> (CallStatus, Value) {
        let state = &self.steps[place];
        match &state.phase {
            Phase::Succeeded(output) => {
                (CallStatus::Done, shown(output, state.ended.number(), handles_above))
            }
            Phase::Failed(failure) if failure.code == FailureCode::Superseded => {
                (CallStatus::Closed, reason(INTERRUPTED))
            }
            Phase::Failed(failure) => (CallStatus::Failed, reason(&failure.message)),
            Phase::Pending if self.is_held(place) => {
                (CallStatus::Held, reason("held back until all else in the turn has succeeded"))
            }
            _ => (CallStatus::Closed, reason("the turn ended before the call had an outcome")),
        }
    }

    /// What became of the steps that a model was told to be held back, once the turn has ended; none if there are none.
    fn after_all(&self) -> Option<String> {
        let asked = self.steps.iter().filter(|step| matches!(step.phase, Phase::Succeeded(_)));
        let held: BTreeSet<usize> = asked
            .flat_map(|step| match &step.step.action {
                Action::Model(ask) if ask.first_shown.is_some() => ask.awaits(),
                _ => BTreeSet::new(),
            })
            .filter_map(|step| self.index.get(step).copied())
            .filter(|&place| self.is_held(place))
            .collect();
        let results = held.into_iter().map(|place| {
            let step = &self.steps[place].step;
            let (mut status, mut output) = self.became(place, Some(KEPT_AT_AN_END));
            // Nothing holds it back any more.
            if status == CallStatus::Held {
                (status, output) = (CallStatus::Closed, reason(NOT_MADE));
            }
            let tool = match &step.action {
                Action::Tool { name, .. } => name.as_str(),
                _ => "",
            };
            let call = step.call.as_deref().unwrap_or(step.id.as_str());
            json!({ "call": call, "tool": tool, "status": status, "output": output })
        });
        let results: Vec<Value> = results.collect();
        if results.is_empty() {
            return None;
        }
        let results = json!(results);
        let results = canonical(&results).unwrap_or_else(|_| results.to_string());
        Some(format!("What was held back has ended: {results}"))
    }

    /// Counts what was said in the conversation against a model that does not get on.
    pub(super) fn count_results(&mut self, ask: &Ask, said: &Message, before: Option<&Message>) {
        let rejects = match &ask.say {
            Say::Correction(_) => true,
            Say::Results(results) => results.iter().any(|result| matches!(result.of, ResultOf::Rejected(_))),
            Say::Summary { .. } => return,
            Say::User(_) | Say::Steps(_) | Say::Steers => false,
        };
        self.corrections = if rejects { self.corrections + 1 } else { 0 };
        let failing = match (&ask.say, said, before) {
            (Say::Steps(steps), ..) => self.failing_steps(steps),
            (_, Message::Results(results), Some(Message::Model(calls))) => failing_calls(results, calls),
            _ => return,
        };
        // Told of at once, they count once: only what comes again after it was told does not get on.
        let digests: BTreeSet<Digest> =
            failing.iter().filter_map(|failing| canonical_digest(failing).ok()).collect();
        for digest in digests {
            *self.failing.entry(digest).or_default() += 1;
        }
    }

    /// The steps that failed, as what is counted.
    fn failing_steps(&self, steps: &[StepId]) -> Vec<Value> {
        let states = steps.iter().filter_map(|step| self.index.get(step)).map(|&place| &self.steps[place]);
        let failing = states.filter_map(|state| match (&state.phase, &state.step.action) {
            (Phase::Failed(failure), Action::Tool { name, input })
                if failure.code != FailureCode::Superseded =>
            {
                let made = || resolve(input, self, usize::MAX).unwrap_or_default();
                let arguments = state.input.as_deref().cloned().unwrap_or_else(made);
                Some(json!({ "tool": name, "arguments": arguments, "error": failure.message }))
            }
            _ => None,
        });
        failing.collect()
    }
}

/// The calls that failed or were rejected, as what is counted.
fn failing_calls(results: &[ToolResult], calls: &[Said]) -> Vec<Value> {
    // That the user interrupted is no fault of the call.
    let fails = |result: &&ToolResult| result.status.is_error() && result.output != reason(INTERRUPTED);
    let failing = results.iter().filter(fails).map(|result| {
        let arguments = calls.iter().find_map(|part| match part {
            Said::Call(call) if call.id == result.call => Some(&call.arguments),
            _ => None,
        });
        let arguments = match arguments {
            Some(Arguments::Value(arguments)) => arguments.clone(),
            Some(Arguments::Unreadable(text)) => json!(text),
            None => Value::Null,
        };
        json!({ "tool": result.tool, "arguments": arguments, "error": result.output })
    });
    failing.collect()
}
