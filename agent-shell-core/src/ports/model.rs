//! Models: what answers in words, and asks for tools to be called.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

use super::tool::Call;
use crate::data::canonical::{NotCanonical, canonical_digest};
use crate::data::{Answer, Message, Prompt, Usage};
use crate::words::{Digest, ModelName, Timestamp};

/// A model, in no vendor's shape.
///
/// # What an implementation must do
/// - **Stream**: [`ask`](Self::ask) returns the parts of the answer as they come, and the whole answer last, as
///   [`Chunk::Answer`]. Nothing follows that. A stream that ends without it was cut off.
/// - **One answer**: the text of all [`Chunk::Text`] together is that of the answer.
/// - **Give back**: every [`Opaque`](crate::data::Opaque) of a message of its own wire goes back unchanged, in its place; one of
///   another wire is left out.
/// - **Same bytes**: equal prompts and messages are written as equal bytes, and a longer list of messages is written as a
///   continuation of a shorter one, so that a vendor's cache of prefixes holds.
/// - **No retry**: one call is one request. The runtime retries, within the deadline and the budget.
/// - It changes nothing in the world but the bill, and it may be dropped at any await.
#[async_trait]
pub trait Model: Send + Sync + 'static {
    /// What the model can do. It must be quick, and not change while the shell is open.
    fn capabilities(&self) -> ModelCapabilities;

    /// What of the model is left and how fast it is, now. It must be quick.
    fn headroom(&self) -> ModelHeadroom {
        ModelHeadroom::default()
    }

    /// The most that a request can use. None when it can't be bounded: then it is refused wherever a budget counts.
    fn bound(&self, request: &ModelRequest) -> Option<ModelBound>;

    /// Asks it.
    ///
    /// # Errors
    /// [`ModelError`], here or in the stream, says what a caller should do.
    ///
    /// # Cancel safety
    /// Dropping the future or the stream gives the answer up. What was used until then is billed all the same.
    async fn ask(&self, request: Arc<ModelRequest>, call: Call) -> Result<AnswerStream, ModelError>;
}

/// What is shared is a model like that which is shared.
#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<T: Model + ?Sized> Model for Arc<T> {
    fn capabilities(&self) -> ModelCapabilities {
        (**self).capabilities()
    }

    fn headroom(&self) -> ModelHeadroom {
        (**self).headroom()
    }

    fn bound(&self, request: &ModelRequest) -> Option<ModelBound> {
        (**self).bound(request)
    }

    async fn ask(&self, request: Arc<ModelRequest>, call: Call) -> Result<AnswerStream, ModelError> {
        (**self).ask(request, call).await
    }
}

/// The parts of an answer as they come.
pub type AnswerStream = BoxStream<'static, Result<Chunk, ModelError>>;

/// What is asked: the prompt, and after it the messages, the oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ModelRequest {
    /// What stands before every message.
    pub prompt: Arc<Prompt>,
    /// The messages. The last one is a user's or a note, or holds results.
    pub messages: Vec<Arc<Message>>,
}

impl ModelRequest {
    /// A request of these messages behind this prompt.
    pub fn new(prompt: impl Into<Arc<Prompt>>, messages: Vec<Arc<Message>>) -> Self {
        Self { prompt: prompt.into(), messages }
    }

    /// By which a request is recognised: SHA-256 of the digest of the prompt and those of the messages behind it, in their
    /// order, each the 32 bytes of SHA-256 of its canonical JSON. Equal requests have equal digests, in every build and on every
    /// machine. The journal keeps that of every request that a model has answered.
    ///
    /// # Errors
    /// [`NotCanonical`] when something holds a number that canonical JSON can't write.
    pub fn digest(&self) -> Result<Digest, NotCanonical> {
        let messages = self.messages.iter().map(|message| canonical_digest(&serde_json::json!(message)));
        let messages = messages.collect::<Result<Vec<_>, _>>()?;
        Ok(request_digest(self.prompt.digest()?, messages))
    }
}

/// The digest of a request, of the digests of its parts.
pub(crate) fn request_digest(prompt: Digest, messages: impl IntoIterator<Item = Digest>) -> Digest {
    let parts = [prompt].into_iter().chain(messages);
    Digest::of(parts.flat_map(|part| *part.as_bytes()).collect::<Vec<u8>>())
}

/// A part of an answer under way.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Chunk {
    /// More text of the answer.
    Text(String),
    /// More of what it thinks.
    Thinking(String),
    /// The whole answer. The last part.
    Answer(Box<Answer>),
}

/// What a model can do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelCapabilities {
    /// Whether it calls tools.
    pub tools: bool,
    /// Whether its vendor holds an answer to the form that a prompt asks for. Where it does not, the implementation writes the
    /// form's schema behind the instructions: planners leave it in [`Prompt::answer`] either way, and let an answer be corrected
    /// that has another form.
    pub answer_format: bool,
    /// Whether it takes pictures, sounds and documents. One that does not answers a request that holds some with
    /// [`Unsupported`](ModelErrorKind::Unsupported).
    pub media: bool,
    /// The tokens that prompt, messages and answer may have together, where that is known.
    pub context_tokens: Option<u64>,
    /// What a million tokens of a request cost at most, in billionths of a US dollar, where that is known.
    pub input_nano_usd_per_million: Option<u64>,
    /// What a million tokens of an answer cost at most, in billionths of a US dollar, where that is known.
    pub output_nano_usd_per_million: Option<u64>,
}

/// What is left of a model, as far as its answers said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelHeadroom {
    /// Requests until the next reset.
    pub requests: Option<u64>,
    /// Tokens until the next reset.
    pub tokens: Option<u64>,
    /// When more is let through.
    pub resets_at: Option<Timestamp>,
    /// How long its last answers took, about, in milliseconds.
    pub latency_ms: Option<u64>,
    /// Whether it is not asked at the moment because it failed too often (a circuit breaker).
    pub breaker_open: bool,
}

/// The most that a request can use. It grows by no member without a new version, so that a model says all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelBound {
    /// Tokens of the request and of the answer.
    pub tokens: u64,
    /// What they cost, in billionths of a US dollar, rounded up. None when the price is not known.
    pub cost_nano_usd: Option<u64>,
}

/// Why a model did not answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct ModelError {
    /// What to do.
    pub kind: ModelErrorKind,
    /// What the vendor or the transport said; journaled under the subject's key. It holds no secret.
    pub message: String,
    /// How long to wait at least before another try; the turn waits [`Limits::model_pause_ms`](crate::Limits) at most.
    pub retry_after: Option<Duration>,
    /// What was used all the same, as far as it is known.
    pub usage: Box<Usage>,
}

impl ModelError {
    /// An error of a kind.
    pub fn new(kind: ModelErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_after: None, usage: Box::default() }
    }

    /// With what was used all the same. What is not said counts as the most that the request could use, where the vendor may have
    /// worked on it: for [`Unavailable`](ModelErrorKind::Unavailable), for [`CutOff`](ModelErrorKind::CutOff), and once a part of
    /// the answer has come. Say [`unused`](Self::unused) where it has not, as when no connection could be made: else an outage
    /// spends what every attempt was allowed to.
    #[must_use]
    pub fn used(mut self, usage: Usage) -> Self {
        self.usage = Box::new(usage);
        self
    }

    /// With nothing used: the request did not reach the vendor, or the vendor says that it bills nothing for it.
    #[must_use]
    pub fn unused(self) -> Self {
        let none = Some(0);
        self.used(Usage { input_tokens: none, output_tokens: none, cost_nano_usd: none, ..Usage::default() })
    }

    /// Not to be tried again before so long.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }
}

/// What a caller should do about a model that did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ModelErrorKind {
    /// It can't be reached, or answered with an error of its own: try again.
    Unavailable,
    /// Too much was asked of it: try again later.
    RateLimited,
    /// The answer was cut off: try again.
    CutOff,
    /// The request is wrong; the same request fails again.
    InvalidRequest,
    /// The request is longer than the model takes.
    TooLong,
    /// The key is missing, wrong, or not allowed to do this.
    Denied,
    /// The model can't do what is asked.
    Unsupported,
}

impl ModelErrorKind {
    /// Whether the same request may succeed later.
    pub fn may_pass(self) -> bool {
        matches!(self, Self::Unavailable | Self::RateLimited | Self::CutOff)
    }
}

/// What a planner sees of one model.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelView {
    /// By which a plan names it.
    pub name: ModelName,
    /// What it can do.
    pub capabilities: ModelCapabilities,
    /// What of it is left.
    pub headroom: ModelHeadroom,
}

impl ModelView {
    /// How a model stands now.
    pub fn of(name: &ModelName, model: &dyn Model) -> Self {
        Self { name: name.clone(), capabilities: model.capabilities(), headroom: model.headroom() }
    }
}

impl fmt::Debug for dyn Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Model")
    }
}
