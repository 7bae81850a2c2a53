//! What is said to a model and by it, in no vendor's shape: messages, prompts, answers and what they used.
//!
//! A codec of a wire turns these into its own shape and back. What only that wire understands, and must get back
//! unchanged, travels as [`Opaque`].

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::canonical::{NotCanonical, canonical_digest};
use super::extent::{MOST_LEVELS, is_deeper};
use super::schema;
use crate::words::{Digest, ToolName};

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Message {
    /// What the user, or the host, says.
    User(Vec<Content>),
    /// What the model said: its parts in the order in which they came.
    Model(Vec<Said>),
    /// What became of the calls of the message before, in the order of those calls.
    Results(Vec<ToolResult>),
    /// What stands in the place of earlier messages that were summarised.
    Summary(String),
    /// What the runtime tells: what was wrong with an answer, what the steps of a plan led to, what became of calls that were
    /// held back. A wire says it in a user's place. It is no user's word: a summary may take its place.
    Note(String),
}

/// A part of what a user says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Content {
    /// Text.
    Text(String),
    /// A value that is no text; a wire writes it as JSON.
    Json(Value),
    /// A picture, a sound or a document, whole.
    Media {
        /// As RFC 6838 names it: `image/png`, say.
        media_type: String,
        /// The bytes in base64 (RFC 4648, section 4).
        base64: String,
    },
    /// The same by its address.
    Link {
        /// As RFC 6838 names it.
        media_type: String,
        /// Where it is.
        url: String,
    },
}

impl Content {
    /// What a turn's input, or another value, says: a text is itself, an object with the one member `content` lists parts in
    /// the form in which they are written here, and every other value is JSON.
    pub fn read(value: &Value) -> Vec<Self> {
        if let Value::String(text) = value {
            return vec![Self::Text(text.clone())];
        }
        let parts =
            value.as_object().filter(|members| members.len() == 1).and_then(|members| members.get("content"));
        let parts =
            parts.and_then(|parts| Vec::<Self>::deserialize(parts).ok()).filter(|parts| !parts.is_empty());
        parts.unwrap_or_else(|| vec![Self::Json(value.clone())])
    }
}

/// A part of what a model says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Said {
    /// Text of the answer.
    Text {
        /// The text.
        text: String,
        /// What must go back with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        opaque: Option<Opaque>,
    },
    /// What it thought. Never an answer.
    Thinking {
        /// What of it may be read; empty when nothing may.
        text: String,
        /// What must go back with it: a signature, or the encrypted thought.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        opaque: Option<Opaque>,
    },
    /// A call that it asks for.
    Call(ToolCall),
    /// Something that only its wire understands.
    Opaque(Opaque),
}

impl Said {
    /// Text of an answer.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into(), opaque: None }
    }
}

/// What only one wire understands. It goes back to that wire as the same JSON, its members maybe in another order, and to no
/// other: what has to stay as it is byte for byte is a string in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Opaque {
    /// The wire: `anthropic.messages`, say.
    pub wire: String,
    /// The model that sent it, in its vendor's words, where only that model understands it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What it sent.
    pub data: Value,
}

impl Opaque {
    /// What a wire sent, for every model behind it.
    pub fn new(wire: impl Into<String>, data: Value) -> Self {
        Self { wire: wire.into(), model: None, data }
    }

    /// The same, for this model alone.
    #[must_use]
    pub fn of_model(mut self, model: impl Into<String>) -> Self {
        self.model = Some(model.into());
        self
    }
}

/// A call that a model asks for. Nothing of it is trusted: neither the name nor the arguments have been checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ToolCall {
    /// By which the model recognises the result; unique within its message, or the codec makes it so.
    pub id: String,
    /// The tool, as the model wrote it.
    pub tool: String,
    /// The arguments.
    pub arguments: Arguments,
    /// What must go back with the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opaque: Option<Opaque>,
}

impl ToolCall {
    /// A call with arguments that could be read.
    pub fn new(id: impl Into<String>, tool: impl Into<String>, arguments: Value) -> Self {
        Self { id: id.into(), tool: tool.into(), arguments: Arguments::Value(arguments), opaque: None }
    }

    /// A call with arguments that are no JSON, or that are nested too deep to be kept.
    pub fn unreadable(id: impl Into<String>, tool: impl Into<String>, text: impl Into<String>) -> Self {
        Self { arguments: Arguments::Unreadable(text.into()), ..Self::new(id, tool, Value::Null) }
    }

    /// With what must go back.
    #[must_use]
    pub fn with_opaque(mut self, opaque: Opaque) -> Self {
        self.opaque = Some(opaque);
        self
    }
}

/// The arguments of a call: all that they can be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arguments {
    /// As JSON.
    Value(Value),
    /// What the model wrote is no JSON, or is nested too deep to be kept.
    Unreadable(String),
}

/// What a model is told of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ToolResult {
    /// The call's id.
    pub call: String,
    /// The tool, as the model wrote it.
    pub tool: String,
    /// What became of it.
    pub status: CallStatus,
    /// The tool's output, or what went wrong, of which 4 KiB are told. A wire shows it as [`Content::read`] reads it, so a tool answers with pictures by
    /// the object with the one member `content`.
    pub output: Value,
}

impl ToolResult {
    /// What became of the call with this id.
    pub fn new(call: impl Into<String>, tool: impl Into<String>, status: CallStatus, output: Value) -> Self {
        Self { call: call.into(), tool: tool.into(), status, output }
    }
}

/// Of why a call failed, a model is told so many bytes.
const REASON_BYTES: usize = 4 << 10;

/// Why a call failed, as far as a model is told.
pub(crate) fn reason(text: &str) -> Value {
    if text.len() <= REASON_BYTES {
        return Value::String(text.to_owned());
    }
    let beginning = &text[..boundary(text, REASON_BYTES)];
    Value::String(format!("{beginning}... ({} bytes in all)", text.len()))
}

/// The first place from `place` back at which a character begins.
pub(crate) fn boundary(text: &str, place: usize) -> usize {
    let mut place = place.min(text.len());
    while !text.is_char_boundary(place) {
        place -= 1;
    }
    place
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CallStatus {
    /// The tool returned.
    Done,
    /// The tool failed, or a person denied the call.
    Failed,
    /// No tool was called: there is none of that name, or it does not take the arguments.
    Rejected,
    /// It is held back until all else in the turn has succeeded.
    Held,
    /// The turn ended before the model could be told.
    Closed,
}

impl CallStatus {
    /// Whether a wire should mark the result as an error.
    pub fn is_error(self) -> bool {
        !matches!(self, Self::Done | Self::Held)
    }
}

/// What stands before every message and stays the same from question to question: wires cache it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Prompt {
    /// What the model is told to be and to do. Never summarised, never cut.
    pub instructions: String,
    /// The tools that it may call, in the order in which they are shown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolSpec>,
    /// The form of the answer; without it, free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<AnswerFormat>,
    /// How it answers.
    pub settings: Settings,
}

impl Prompt {
    /// A prompt that only instructs.
    pub fn new(instructions: impl Into<String>) -> Self {
        Self { instructions: instructions.into(), ..Self::default() }
    }

    /// By which records name the prompt: SHA-256 of its canonical JSON.
    ///
    /// # Errors
    /// [`NotCanonical`] when a schema or a setting holds a number that canonical JSON can't write.
    pub fn digest(&self) -> Result<Digest, NotCanonical> {
        canonical_digest(&serde_json::json!(self))
    }
}

/// A tool as a model is shown it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ToolSpec {
    /// Its name.
    pub name: ToolName,
    /// What it does.
    pub description: String,
    /// The JSON Schema of its arguments.
    pub input_schema: Value,
}

impl ToolSpec {
    /// A tool as its contract says.
    pub fn new(name: ToolName, description: impl Into<String>, input_schema: Value) -> Self {
        Self { name, description: description.into(), input_schema }
    }
}

/// The form that an answer must have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AnswerFormat {
    /// What the form is called; some wires want a name.
    pub name: String,
    /// The JSON Schema of the answer.
    pub schema: Value,
}

impl AnswerFormat {
    /// A form by its name and its JSON Schema.
    pub fn new(name: impl Into<String>, schema: Value) -> Self {
        Self { name: name.into(), schema }
    }

    /// What is wrong with an answer, in a sentence or some that a model can mend it by; none when it has the form.
    ///
    /// With the feature `json-schema` the whole of JSON Schema is checked, and a schema that is none, or that refers to
    /// something outside of itself, is a problem of every answer. Without it only the structure is: types, required and
    /// known members, items, constants, enumerations, `anyOf`, `oneOf`, `allOf` and references within the schema. That never
    /// finds a problem where the schema has none, but may overlook one.
    ///
    /// The text names places, members and rules, and quotes no other value than those that the schema holds.
    pub fn problem_with(&self, answer: &Value) -> Option<String> {
        schema::problem(&self.schema, answer)
    }

    /// The answer's text as JSON of this form.
    ///
    /// # Errors
    /// Says why it is no JSON, as [`Answer::json`], or what is wrong with it, as [`problem_with`](Self::problem_with), so that a
    /// model can mend it.
    pub fn read(&self, answer: &Answer) -> Result<Value, String> {
        let name = &self.name;
        let value =
            answer.json().map_err(|error| format!("{error}; answer with JSON of the form `{name}` alone"))?;
        match self.problem_with(&value) {
            Some(problem) => Err(format!("the answer does not have the form `{name}`: {problem}")),
            None => Ok(value),
        }
    }
}

/// How a model answers.
///
/// ```
/// let mut settings = agent_shell_core::Settings::default();
/// settings.output_tokens = 300;
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Settings {
    /// The most tokens that an answer may have, thinking included.
    ///
    /// Default: 4,096.
    pub output_tokens: u64,
    /// Of these, what it may think; without it, as the model does by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thinking_tokens: Option<u64>,
    /// How much is left to chance, from 0 on; without it, as the model does by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// What a wire understands beyond that, as it is written there.
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    pub further: serde_json::Map<String, Value>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { output_tokens: 4096, thinking_tokens: None, temperature: None, further: Default::default() }
    }
}

/// A model's answer, whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Answer {
    /// What it said.
    pub said: Vec<Said>,
    /// Why it stopped.
    pub finish: Finish,
    /// What it used.
    #[serde(default)]
    pub usage: Usage,
    /// Which model answered, in its vendor's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// By which the vendor finds the request again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl Answer {
    /// An answer that is complete.
    pub fn new(said: Vec<Said>) -> Self {
        let calls = said.iter().any(|part| matches!(part, Said::Call(_)));
        let finish = if calls { Finish::Calls } else { Finish::Done };
        Self { said, finish, usage: Usage::default(), model: None, request_id: None }
    }

    /// The text of the answer, without what was thought.
    pub fn text(&self) -> String {
        self.said
            .iter()
            .filter_map(|part| if let Said::Text { text, .. } = part { Some(text.as_str()) } else { None })
            .collect()
    }

    /// The text of the answer as JSON. One fence of Markdown around the whole text is taken off before.
    ///
    /// # Errors
    /// Says why the text is no JSON, or that it is nested deeper than what can be kept (64 levels), so that a model can mend
    /// it. It quotes nothing of the text.
    pub fn json(&self) -> Result<Value, String> {
        let text = self.text();
        let read = serde_json::from_str(unfenced(text.trim()));
        let value = read.map_err(|error| format!("the answer is no JSON: {error}"))?;
        if is_deeper(&value, MOST_LEVELS) {
            return Err(format!("the answer is nested deeper than {MOST_LEVELS} levels"));
        }
        Ok(value)
    }

    /// The calls that it asks for, in its order.
    pub fn calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.said.iter().filter_map(|part| if let Said::Call(call) = part { Some(call) } else { None })
    }
}

/// What stands within one fence of three backticks or more, with or without the name of a language; a text that is not one
/// fenced block is itself.
fn unfenced(text: &str) -> &str {
    let inner = || {
        let ticks = text.len() - text.trim_start_matches('`').len();
        let (fence, rest) = text.split_at_checked(ticks).filter(|_| ticks >= 3)?;
        let (language, inner) = rest.split_once('\n')?;
        let is_name = !language.contains(['`', '{', '[', '"']);
        inner.strip_suffix(fence).filter(|inner| is_name && (inner.is_empty() || inner.ends_with('\n')))
    };
    inner().unwrap_or(text)
}

/// Why a model stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Finish {
    /// It had said all.
    Done,
    /// It waits for the results of its calls.
    Calls,
    /// The answer reached its bound of tokens.
    Length,
    /// The model, or its vendor, declined to answer. What it said of that is text like any other.
    Declined,
    /// It has not ended, because a tool that runs at its vendor's takes long. No request asks for such tools, so the answer
    /// counts as not given.
    Paused,
    /// Another reason, in the vendor's words. The answer counts as not given, unless it calls tools.
    Other(String),
}

/// What an answer used. What the vendor did not say is none, never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Usage {
    /// Tokens of the request, those from a cache included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Of these, tokens that were read from a cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_tokens: Option<u64>,
    /// Of these, tokens that were written to a cache; some vendors take more for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_written_tokens: Option<u64>,
    /// Tokens of the answer, what was thought included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// Of these, tokens that were thought.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thinking_tokens: Option<u64>,
    /// What it costs, in billionths of a US dollar, rounded up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_nano_usd: Option<u64>,
}
