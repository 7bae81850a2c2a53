//! A question to a model, as a step of a plan.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::chat::Prompt;
use super::template::{self, Template};
use crate::words::{Digest, ModelName, StepId};

/// A question to a model: alone, or in the conversation of the session.
///
/// In the conversation it shows the messages so far, adds what it says, and the answer becomes the next message. What
/// both say stands in the journal once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Ask {
    /// The model, by the name that the shell knows it by.
    pub model: ModelName,
    /// What stands before every message.
    pub prompt: PromptRef,
    /// What is said.
    pub say: Say,
    /// The number of the first message of the session's conversation that is shown; those before it are let go. None for a
    /// question alone, which neither shows nor adds anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_shown: Option<u64>,
    /// A tool's output with more bytes of JSON than this is shown as a handle, which a tool can read; without it, whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handles_above: Option<u64>,
    /// How many of the inputs that came while the turn ran are said with this question, or were before: those that no question
    /// has said yet follow what it says, each as what the user says. In the session's conversation alone.
    #[serde(default, skip_serializing_if = "is_none")]
    pub steers: u32,
}

fn is_none(count: &u32) -> bool {
    *count == 0
}

/// Which prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptRef {
    /// This one. A recorded plan holds its digest in its place.
    Whole(Arc<Prompt>),
    /// The one that was recorded under this digest.
    Recorded(Digest),
}

/// What a question says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Say {
    /// What the user says: [`Content::read`](super::Content::read) of what the template makes.
    User(#[serde(serialize_with = "template::written")] Template),
    /// What became of the calls of the model's last message, in their order. The question waits until their steps have ended.
    Results(Vec<CallResult>),
    /// What became of these steps, which are told by their names: outputs, failures, and what is held back. The question waits
    /// until they have ended.
    Steps(Vec<StepId>),
    /// What was wrong with the answer before.
    Correction(String),
    /// What came while the turn ran, and nothing else: see [`Ask::steers`].
    Steers,
    /// A summary of the messages that are shown and stand before this number is asked for, in these words. The answer takes
    /// their place, but for what the user said.
    Summary {
        /// The number of the first message that is not summarised.
        through: u64,
        /// What the model is told.
        words: String,
    },
}

/// What a model is to be told of one of its calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CallResult {
    /// The call's id.
    pub call: String,
    /// The tool, as the model wrote it.
    pub tool: String,
    /// Where the result comes from.
    pub of: ResultOf,
}

/// Where the result of a call comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResultOf {
    /// The step that makes the call.
    Step(StepId),
    /// Nothing was called, for this reason.
    Rejected(String),
    /// Nothing was called, because an input came that interrupted the turn.
    Interrupted,
}

impl CallResult {
    /// Of the call with this id.
    pub fn new(call: impl Into<String>, tool: impl Into<String>, of: ResultOf) -> Self {
        Self { call: call.into(), tool: tool.into(), of }
    }

    /// The step that makes the call, if one does.
    pub fn step(&self) -> Option<&StepId> {
        match &self.of {
            ResultOf::Step(step) => Some(step),
            ResultOf::Rejected(_) | ResultOf::Interrupted => None,
        }
    }
}

impl Ask {
    /// A question alone.
    pub fn new(model: ModelName, prompt: impl Into<Arc<Prompt>>, say: Say) -> Self {
        Self {
            model,
            prompt: PromptRef::Whole(prompt.into()),
            say,
            first_shown: None,
            handles_above: None,
            steers: 0,
        }
    }

    /// In the session's conversation, of which the messages from this number on are shown.
    #[must_use]
    pub fn in_conversation(mut self, first_shown: u64) -> Self {
        self.first_shown = Some(first_shown);
        self
    }

    /// Shows larger outputs of tools as handles.
    #[must_use]
    pub fn handles_above(mut self, bytes: Option<u64>) -> Self {
        self.handles_above = bytes;
        self
    }

    /// Says also what came while the turn ran: so many of its inputs, counted from the first.
    #[must_use]
    pub fn steers(mut self, count: u32) -> Self {
        self.steers = count;
        self
    }

    /// The template of what is said, when it has one.
    pub fn template(&self) -> Option<&Template> {
        match &self.say {
            Say::User(template) => Some(template),
            _ => None,
        }
    }

    /// The steps that must have ended, well or not, before the question is asked.
    pub fn awaits(&self) -> BTreeSet<&StepId> {
        match &self.say {
            Say::Steps(steps) => steps.iter().collect(),
            Say::Results(results) => results.iter().filter_map(CallResult::step).collect(),
            _ => BTreeSet::new(),
        }
    }
}
