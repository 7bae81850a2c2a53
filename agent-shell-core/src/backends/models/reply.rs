//! What a scripted model says to one request.

use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use serde_json::Value;

use super::{cost, json_bytes, parts, said_bytes};
use crate::data::{Answer, Finish, Message, Said, ToolCall, Usage};
use crate::ports::{AnswerStream, Chunk, ModelCapabilities, ModelError, ModelErrorKind, ModelRequest};

/// What a [`Scripted`](super::Scripted) model says to one request.
///
/// An [`Answer`] and a [`ModelError`] are replies too (`Reply::from`): an answer is given as it is, its usage included.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Reply {
    after: Duration,
    said: Vec<Said>,
    end: End,
    usage: Used,
    finish: Option<Finish>,
    model: Option<String>,
    request_id: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
enum End {
    Answer,
    Error(ModelError),
    Hang,
    CutOff,
    Pause,
}

#[derive(Debug, Clone, PartialEq)]
enum Used {
    /// Counted from bytes.
    Counted,
    Tokens(u64, u64),
    AsIs(Usage),
}

impl Reply {
    fn of(said: Vec<Said>, end: End) -> Self {
        let (after, usage, model) = (Duration::ZERO, Used::Counted, Some("scripted".into()));
        Self { after, said, end, usage, finish: None, model, request_id: None }
    }

    /// It answers with a text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::of(vec![Said::text(text)], End::Answer)
    }

    /// It answers with a value, as the text of its JSON.
    #[allow(clippy::needless_pass_by_value, reason = "as `json!` makes it")]
    pub fn json(value: Value) -> Self {
        Self::text(value.to_string())
    }

    /// It asks for a call.
    pub fn call(tool: impl Into<String>, arguments: Value) -> Self {
        Self::calls([(tool, arguments)])
    }

    /// It asks for several calls at once. Each gets an id that follows from its place in the conversation, so it is the same
    /// whenever the same is asked.
    pub fn calls<T: Into<String>>(calls: impl IntoIterator<Item = (T, Value)>) -> Self {
        let said = calls.into_iter().map(|(tool, arguments)| Said::Call(ToolCall::new("", tool, arguments)));
        Self::of(said.collect(), End::Answer)
    }

    /// It does not answer, but fails so. What comes of a retry is the next reply.
    pub fn error(kind: ModelErrorKind, message: impl Into<String>) -> Self {
        ModelError::new(kind, message).into()
    }

    /// It begins to answer, and never ends: what a caller must find out by its deadline.
    pub fn hang() -> Self {
        Self::of(Vec::new(), End::Hang)
    }

    /// The connection breaks after so much of the answer.
    pub fn cut_off(text: impl Into<String>) -> Self {
        Self::of(vec![Said::text(text)], End::CutOff)
    }

    /// It takes so long before the reply that follows in the script. This is not a reply of its own; where none follows, it is
    /// an empty text.
    pub fn pause(pause: Duration) -> Self {
        Self::of(Vec::new(), End::Pause).after(pause)
    }

    /// This reply takes so long before anything of it comes, on the model's clock. Twice given, it is the sum.
    pub fn after(mut self, pause: Duration) -> Self {
        self.after = self.after.saturating_add(pause);
        self
    }

    /// It says more. Of an error, or of what hangs: it says so much before, so the error comes in the stream.
    pub fn saying(mut self, text: impl Into<String>) -> Self {
        self.said.push(Said::text(text));
        self
    }

    /// It asks for one call more.
    pub fn calling(mut self, tool: impl Into<String>, arguments: Value) -> Self {
        self.said.push(Said::Call(ToolCall::new("", tool, arguments)));
        self
    }

    /// It thinks before it says anything.
    pub fn thinking(mut self, text: impl Into<String>) -> Self {
        self.said.insert(0, Said::Thinking { text: text.into(), opaque: None });
        self
    }

    /// It uses so many tokens. Its cost follows from the price of the model.
    ///
    /// Default: a token for every four bytes of the request's JSON, and of what is said.
    pub fn usage(mut self, input_tokens: u64, output_tokens: u64) -> Self {
        self.usage = Used::Tokens(input_tokens, output_tokens);
        self
    }

    /// It stops for this reason.
    ///
    /// Default: [`Finish::Calls`] when it asks for calls, and otherwise [`Finish::Done`].
    pub fn finish(mut self, finish: Finish) -> Self {
        self.finish = Some(finish);
        self
    }

    /// How long it takes before anything comes.
    pub(super) fn pause_before(&self) -> Duration {
        self.after
    }

    pub(super) fn is_pause(&self) -> bool {
        self.end == End::Pause
    }

    /// Whether the conversation has one more message of the model after it.
    pub(super) fn is_answer(&self) -> bool {
        matches!(self.end, End::Answer)
    }

    /// Gives the reply to a request.
    pub(super) fn give(
        self,
        request: &ModelRequest,
        capabilities: &ModelCapabilities,
    ) -> Result<AnswerStream, ModelError> {
        let chunks = stream::iter(parts(&self.said)).map(Ok);
        Ok(match self.end {
            End::Error(error) if self.said.is_empty() => return Err(error),
            End::Error(error) => chunks.chain(stream::iter([Err(error)])).boxed(),
            End::Hang => chunks.chain(stream::pending()).boxed(),
            End::CutOff => chunks.boxed(),
            End::Answer | End::Pause => {
                let answer = Chunk::Answer(Box::new(self.answer(request, capabilities)));
                chunks.chain(stream::iter([Ok(answer)])).boxed()
            }
        })
    }

    fn answer(mut self, request: &ModelRequest, capabilities: &ModelCapabilities) -> Answer {
        let number = answers(request);
        for (index, said) in self.said.iter_mut().enumerate() {
            if let Said::Call(call) = said
                && call.id.is_empty()
            {
                call.id = format!("call-{number}-{index}");
            }
        }
        let tokens = match self.usage {
            Used::AsIs(_) => None,
            Used::Tokens(input, output) => Some((input, output)),
            Used::Counted => Some((json_bytes(request).div_ceil(4), said_bytes(&self.said).div_ceil(4))),
        };
        let mut answer = Answer::new(self.said);
        (answer.model, answer.request_id) = (self.model, self.request_id);
        if let Some(finish) = self.finish {
            answer.finish = finish;
        }
        if let Used::AsIs(usage) = self.usage {
            answer.usage = usage;
        }
        if let Some((input, output)) = tokens {
            answer.usage.input_tokens = Some(input);
            answer.usage.output_tokens = Some(output);
            answer.usage.cost_nano_usd = cost(capabilities, input, output);
        }
        answer
    }
}

/// How many answers of a model a conversation holds.
pub(super) fn answers(request: &ModelRequest) -> usize {
    request.messages.iter().filter(|message| matches!(***message, Message::Model(_))).count()
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        let mut reply = Self::of(answer.said, End::Answer);
        (reply.usage, reply.finish) = (Used::AsIs(answer.usage), Some(answer.finish));
        (reply.model, reply.request_id) = (answer.model, answer.request_id);
        reply
    }
}

impl From<ModelError> for Reply {
    fn from(error: ModelError) -> Self {
        Self::of(Vec::new(), End::Error(error))
    }
}

impl From<&str> for Reply {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}
