//! A model that says what was written down for it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::reply::Reply;
use super::script::Script;
use super::{able, bound};
use crate::backends::SystemClock;
use crate::ports::{
    AnswerStream, Call, Model, ModelBound, ModelCapabilities, ModelError, ModelHeadroom, ModelRequest,
};
use crate::words::Clock;

/// A model for a host's own tests, and for work offline: it says what was written down for it.
///
/// Three kinds of scripts, by what a restart of the process does to them:
/// - [`new`](Self::new): in order, whoever asks. A new process begins the script again, so a test that kills its process, or
///   that runs several sessions, wants one of the others.
/// - [`by_answers`](Self::by_answers): by the place in the conversation. A process that resumes a turn goes on where the
///   conversation is.
/// - [`with`](Self::with): computed from the request. A closure without state of its own survives a restart.
///
/// Clones share the script and the log, so that a test keeps one and gives one away.
///
/// It does not cut an answer at [`output_tokens`](crate::data::Settings::output_tokens): a script that says more uses more than
/// its bound, as with a vendor that bills too much.
///
/// ```
/// use agent_shell_core::{Reply, Scripted};
/// use serde_json::json;
///
/// let model = Scripted::new([
///     Reply::call("refund", json!({ "order": "A-17" })).thinking("It must be refunded."),
///     Reply::text("Order A-17 was refunded."),
/// ]);
/// assert_eq!(model.asked(), 0);
/// ```
#[derive(Clone)]
pub struct Scripted {
    script: Arc<Script>,
    log: Arc<Mutex<Log>>,
    clock: Arc<dyn Clock>,
    capabilities: ModelCapabilities,
    headroom: ModelHeadroom,
}

#[derive(Default)]
struct Log {
    asked: u64,
    last: VecDeque<Arc<ModelRequest>>,
}

impl Scripted {
    /// So many requests are kept for [`requests`](Self::requests).
    pub const REQUESTS: usize = 256;

    fn of(script: Script) -> Self {
        Self {
            script: Arc::new(script),
            log: Arc::default(),
            clock: Arc::new(SystemClock::new()),
            capabilities: able(),
            headroom: ModelHeadroom::default(),
        }
    }

    /// Says these in order, one for each request, whoever asks. A request whose future is dropped has had its reply.
    ///
    /// At its end a request fails as [`InvalidRequest`](crate::ports::ModelErrorKind::InvalidRequest).
    pub fn new(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self::of(Script::in_order(replies))
    }

    /// Says the first answer to a conversation that holds no answer of a model, the second to one that holds one, and so on: so
    /// every conversation, in every process, hears the script from its beginning, and one that is resumed goes on where it
    /// was. The same request has the same answer.
    ///
    /// What fails (an error, what hangs or is cut off) adds nothing to a conversation, so it does not count. Each stands before
    /// the answer that follows it and comes once; a new process begins with it again.
    ///
    /// A [`Summary`](crate::data::Message::Summary) takes the answers that it stands for out of the conversation, and the
    /// script goes back by so many.
    ///
    /// At its end a request fails as [`InvalidRequest`](crate::ports::ModelErrorKind::InvalidRequest).
    pub fn by_answers(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self::of(Script::by_answers(replies))
    }

    /// Says what is computed from the request. What the closure keeps besides is lost with its process: only one that looks at
    /// nothing but the request says the same after a crash.
    pub fn with(reply: impl Fn(&ModelRequest) -> Reply + Send + Sync + 'static) -> Self {
        Self::of(Script::With(Box::new(reply)))
    }

    /// What a million tokens cost, in billionths of a US dollar: those of a request, and those of an answer.
    ///
    /// Default: not known, so no answer has a cost, and no request a bound of it.
    #[must_use]
    pub fn price(mut self, input_nano_usd_per_million: u64, output_nano_usd_per_million: u64) -> Self {
        self.capabilities.input_nano_usd_per_million = Some(input_nano_usd_per_million);
        self.capabilities.output_nano_usd_per_million = Some(output_nano_usd_per_million);
        self
    }

    /// What it says it can do, its price included.
    ///
    /// Default: everything, with contexts of any length.
    #[must_use]
    pub fn able_to(mut self, capabilities: ModelCapabilities) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// What it says is left of it.
    ///
    /// Default: nothing is known.
    #[must_use]
    pub fn headroom_of(mut self, headroom: ModelHeadroom) -> Self {
        self.headroom = headroom;
        self
    }

    /// The clock of its pauses.
    ///
    /// Default: the system's, which needs a Tokio runtime with its timer.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// What it was asked, the oldest first; the last [`REQUESTS`](Self::REQUESTS) of it. Equal requests are equal bytes on
    /// every wire, so comparing them compares the prompts.
    pub fn requests(&self) -> Vec<Arc<ModelRequest>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).last.iter().cloned().collect()
    }

    /// How often it was asked, with those that [`requests`](Self::requests) keeps no longer.
    pub fn asked(&self) -> u64 {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).asked
    }

    fn note(&self, request: &Arc<ModelRequest>) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.asked += 1;
        if log.last.len() == Self::REQUESTS {
            log.last.pop_front();
        }
        log.last.push_back(request.clone());
    }
}

#[async_trait]
impl Model for Scripted {
    fn capabilities(&self) -> ModelCapabilities {
        self.capabilities.clone()
    }

    fn headroom(&self) -> ModelHeadroom {
        self.headroom.clone()
    }

    /// As many tokens as the request's JSON has bytes, and as many as an answer may have.
    fn bound(&self, request: &ModelRequest) -> Option<ModelBound> {
        Some(bound(request, &self.capabilities))
    }

    async fn ask(&self, request: Arc<ModelRequest>, _: Call) -> Result<AnswerStream, ModelError> {
        self.note(&request);
        let reply = self.script.reply(&request)?;
        if !reply.pause_before().is_zero() {
            self.clock.sleep(reply.pause_before()).await;
        }
        reply.give(&request, &self.capabilities)
    }
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scripted").field("asked", &self.asked()).finish_non_exhaustive()
    }
}
