//! Where the arguments of a call came from: for whoever must approve it.
//!
//! Found by looking for each text in what the session has heard: what users said, what tools brought, and what models
//! summed up. That is a hint for a person and no proof: a model can change a word, and a short text stands in many places.

use std::fmt;
use std::sync::Arc;

use serde_json::{Number, Value, json};

use super::state::{Folded, Phase, TurnState};
use crate::data::{Action, Content, Message, PlannerRef};
use crate::words::StepId;

/// Texts and numbers of one call that are looked for.
const MOST_LEAVES: usize = 64;

/// How much of what was heard is looked through, the latest first, in bytes.
const MOST_BYTES: usize = 512 << 10;

/// A text or a number in the arguments of a call, and what it stands in.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Origin {
    /// Where it stands in the arguments, as an RFC 6901 pointer; empty when it is all there is.
    pub pointer: String,
    /// The sources that hold it, each once; or [`Source::Model`], [`Source::Plan`] or [`Source::Unknown`] alone.
    pub sources: Vec<Source>,
}

/// What a text came from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// What users said: the turn's input, or earlier in the conversation.
    User,
    /// What a tool brought.
    Tool {
        /// The step that called it, when that was in this turn.
        step: Option<StepId>,
        /// The tool.
        tool: String,
        /// Whether the output is untrusted. Of an earlier turn this is known for results that a model was told of together.
        untrusted: bool,
    },
    /// What a model was asked for or summed up before, or what a child answered.
    Said {
        /// Whether it had been shown untrusted content.
        untrusted: bool,
    },
    /// Nothing that was heard holds it: the model that makes the call wrote it itself.
    Model {
        /// Whether a model of this turn had been shown untrusted content.
        untrusted: bool,
    },
    /// Nothing that was heard holds it: it stands in the plan.
    Plan,
    /// Not found, and not all was looked through.
    Unknown,
}

impl Source {
    /// Whether it is untrusted, or was made by a model that had been shown what is.
    pub fn is_untrusted(&self) -> bool {
        match self {
            Self::Tool { untrusted, .. } | Self::Said { untrusted } | Self::Model { untrusted } => *untrusted,
            Self::User | Self::Plan | Self::Unknown => false,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User => f.write_str("the user's words")?,
            Self::Tool { step: Some(step), tool, .. } => write!(f, "the tool `{tool}` in step `{step}`")?,
            Self::Tool { step: None, tool, .. } => write!(f, "the tool `{tool}` in an earlier turn")?,
            Self::Said { .. } => f.write_str("what a model said before")?,
            Self::Model { .. } => f.write_str("the model itself")?,
            Self::Plan => f.write_str("the plan")?,
            Self::Unknown => f.write_str("unknown, for not all was looked through")?,
        }
        f.write_str(if self.is_untrusted() { " (untrusted)" } else { "" })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sources: Vec<String> = self.sources.iter().map(Source::to_string).collect();
        write!(f, "{} from {}", self.pointer, sources.join(", and from "))
    }
}

/// Something that was heard.
struct Heard<'a> {
    source: Source,
    value: std::borrow::Cow<'a, Value>,
}

impl Folded {
    /// Where each text and each number in a step's arguments came from, in their order. Of very many, the first ones.
    pub fn origins(&self, place: usize, shown: &Arc<Value>) -> Vec<Origin> {
        let Some(turn) = &self.turn else { return Vec::new() };
        let mut leaves = Vec::new();
        collect(shown, String::new(), &mut leaves);
        let (heard, all) = self.heard(turn, place);
        let unheard = || match &turn.planner {
            _ if !all => Source::Unknown,
            PlannerRef::Fixed(_) => Source::Plan,
            PlannerRef::Named(_) => Source::Model { untrusted: turn.is_planned_by_the_misled() },
        };
        let origin = |(pointer, leaf): (String, &Value)| {
            let mut sources: Vec<Source> = Vec::new();
            for heard in heard.iter().filter(|heard| holds(&heard.value, leaf)) {
                if !sources.contains(&heard.source) {
                    sources.push(heard.source.clone());
                }
            }
            if sources.is_empty() {
                sources.push(unheard());
            }
            Origin { pointer, sources }
        };
        leaves.into_iter().map(origin).collect()
    }

    /// What was heard before a step, the latest first, within the bound; and whether that is all.
    fn heard<'a>(&'a self, turn: &'a TurnState, place: usize) -> (Vec<Heard<'a>>, bool) {
        use std::borrow::Cow;
        let mut room = MOST_BYTES;
        let mut all = true;
        let mut heard = Vec::new();
        let mut hear = |source: Source, value: Cow<'a, Value>| {
            let bytes = super::resolve::json_bytes(&value);
            match room.checked_sub(bytes) {
                Some(left) => {
                    room = left;
                    heard.push(Heard { source, value });
                }
                None => all = false,
            }
        };
        hear(Source::User, Cow::Borrowed(&*turn.input));
        for (number, step) in turn.steps.iter().enumerate().rev().filter(|(number, _)| *number != place) {
            let Phase::Succeeded(output) = &step.phase else { continue };
            let untrusted = turn.is_untrusted(number);
            let source = match &step.step.action {
                Action::Tool { name, .. } => {
                    Source::Tool { step: Some(step.step.id.clone()), tool: name.to_string(), untrusted }
                }
                // What a model says as it calls is what is looked at here.
                Action::Model(ask) if ask.first_shown.is_none() => Source::Said { untrusted },
                Action::Signal { .. } => Source::User,
                Action::Child(_) => Source::Said { untrusted },
                _ => continue,
            };
            hear(source, Cow::Borrowed(&**output));
        }
        let earlier = self.talk.messages.iter().enumerate().rev();
        let number = |place: usize| self.talk.first + place as u64;
        for (_, kept) in earlier.filter(|(place, _)| number(*place) < turn.talk_from) {
            let untrusted = kept.untrusted;
            match &*kept.message {
                Message::User(said) => {
                    for part in said {
                        match part {
                            Content::Text(text) => hear(Source::User, Cow::Owned(json!(text))),
                            other => hear(Source::User, Cow::Owned(json!(other))),
                        }
                    }
                }
                Message::Results(results) => {
                    for result in results {
                        let source = Source::Tool { step: None, tool: result.tool.clone(), untrusted };
                        hear(source, Cow::Borrowed(&result.output));
                    }
                }
                Message::Summary(text) => hear(Source::Said { untrusted }, Cow::Owned(json!(text))),
                Message::Model(said) => hear(Source::Said { untrusted }, Cow::Owned(json!(said))),
                Message::Note(_) => {}
            }
        }
        (heard, all)
    }
}

/// The texts and numbers in a value, each with where it stands. What says nothing is left out: an empty text, a yes or no.
fn collect<'a>(value: &'a Value, pointer: String, leaves: &mut Vec<(String, &'a Value)>) {
    if leaves.len() >= MOST_LEAVES {
        return;
    }
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let name = name.replace('~', "~0").replace('/', "~1");
                collect(member, format!("{pointer}/{name}"), leaves);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(item, format!("{pointer}/{index}"), leaves);
            }
        }
        Value::String(text) if text.trim().is_empty() => {}
        Value::String(_) | Value::Number(_) => leaves.push((pointer, value)),
        Value::Null | Value::Bool(_) => {}
    }
}

/// Whether a text or a number stands in a value.
fn holds(value: &Value, leaf: &Value) -> bool {
    match value {
        Value::Object(members) => {
            members.iter().any(|(name, member)| in_text(name, leaf) || holds(member, leaf))
        }
        Value::Array(items) => items.iter().any(|item| holds(item, leaf)),
        Value::String(text) => in_text(text, leaf),
        Value::Number(number) => {
            let written = number.to_string();
            value == leaf || leaf.as_str().is_some_and(|text| text == written)
        }
        Value::Null | Value::Bool(_) => false,
    }
}

fn in_text(text: &str, leaf: &Value) -> bool {
    match leaf {
        Value::String(wanted) => text.contains(wanted.trim()),
        Value::Number(number) => has_number(text, number),
        _ => false,
    }
}

/// Whether a text holds a number that is not a part of a longer one.
fn has_number(text: &str, number: &Number) -> bool {
    let wanted = number.to_string();
    let is_part = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
    text.match_indices(&wanted).any(|(start, found)| {
        let before = start.checked_sub(1).and_then(|before| text.as_bytes().get(before));
        !is_part(before) && !is_part(text.as_bytes().get(start + found.len()))
    })
}
