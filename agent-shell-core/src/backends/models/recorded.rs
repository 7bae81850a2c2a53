//! Says again what was recorded.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::line::Line;
use super::reply::Reply;
use super::{able, bound};
use crate::ports::{
    AnswerStream, Call, Model, ModelBound, ModelCapabilities, ModelError, ModelErrorKind, ModelRequest,
};
use crate::words::Digest;

/// A recording that can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// The file can't be read.
    #[error("the recording can't be read: {0}")]
    Io(#[from] io::Error),
    /// A line other than a last one that was cut off is not what a recorder writes.
    #[error("line {line} of the recording is damaged: {reason}")]
    Damaged {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it. It quotes nothing.
        reason: String,
    },
    /// The file has more than [`Recorded::BYTES`] bytes.
    #[error("the recording has more than {} bytes", Recorded::BYTES)]
    TooLarge,
}

/// A model that says again what a [`Recorder`](super::Recorder) wrote down, word by word and at once.
///
/// A request is recognised by its digest. Asked for the n-th time it has the n-th answer, or error, that was recorded for it, and
/// then the last one again and again. The count begins anew in a new process. A request that was not recorded fails as
/// [`InvalidRequest`](ModelErrorKind::InvalidRequest), with its digest and, where requests were recorded, how it differs
/// from the nearest.
#[derive(Debug)]
pub struct Recorded {
    lines: HashMap<Digest, Vec<Line>>,
    asked: Mutex<HashMap<Digest, usize>>,
    capabilities: ModelCapabilities,
}

impl Recorded {
    /// The longest recording that is read, in bytes.
    pub const BYTES: u64 = 256 << 20;

    /// Reads a recording, whole. It blocks while it does. A last line without an end that can't be read, as a killed process
    /// leaves it, is passed over with a warning.
    ///
    /// # Errors
    /// [`RecordingError`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, RecordingError> {
        let mut bytes = Vec::new();
        File::open(path)?.take(Self::BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > Self::BYTES {
            return Err(RecordingError::TooLarge);
        }
        let mut lines = HashMap::<_, Vec<_>>::new();
        for (index, text) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
            match Line::read(text) {
                Ok(line) => lines.entry(line.request).or_default().push(line),
                Err(reason) if !text.ends_with(b"\n") => {
                    tracing::warn!(line = index + 1, reason, "the last line of a recording was cut off");
                }
                Err(reason) => return Err(RecordingError::Damaged { line: index + 1, reason }),
            }
        }
        Ok(Self { lines, asked: Mutex::default(), capabilities: able() })
    }

    /// What it says it can do, its price included: of the model that was recorded, say.
    ///
    /// Default: everything, at a price that is not known.
    #[must_use]
    pub fn able_to(mut self, capabilities: ModelCapabilities) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// What was recorded for the request, next in its turn.
    fn next(&self, request: &ModelRequest) -> Result<Line, ModelError> {
        let invalid = |message| ModelError::new(ModelErrorKind::InvalidRequest, message);
        let digest = request.digest().map_err(|error| invalid(error.to_string()))?;
        let Some(lines) = self.lines.get(&digest) else { return Err(invalid(self.unknown(digest, request))) };
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let count = asked.entry(digest).or_default();
        let line = &lines[(*count).min(lines.len() - 1)];
        *count += 1;
        Ok(line.clone())
    }

    /// Names places of the request, and quotes nothing of it.
    fn unknown(&self, digest: Digest, request: &ModelRequest) -> String {
        let what = format!("no answer is recorded for the request {digest}");
        let known = self.lines.values().filter_map(|lines| lines.iter().find_map(|line| line.asked.as_ref()));
        // A map has an order of its own in each process, so equally near ones are told apart by their digests.
        let near = |asked: &&ModelRequest| (same_prompt(asked, request), same_messages(asked, request));
        let nearest = known.max_by_key(|asked| (near(asked), asked.digest().ok()));
        match nearest {
            None if self.lines.is_empty() => format!("{what}: the recording is empty"),
            None => {
                format!("{what}; `Recorder::with_requests` would tell how it differs from those that are")
            }
            Some(nearest) => {
                let name = nearest.digest().map(|digest| digest.to_string()).unwrap_or_default();
                format!("{what}; the nearest that is, {name}, differs in {}", difference(nearest, request))
            }
        }
    }
}

fn same_prompt(one: &ModelRequest, other: &ModelRequest) -> bool {
    one.prompt == other.prompt
}

/// How many of the first messages are the same.
fn same_messages(one: &ModelRequest, other: &ModelRequest) -> usize {
    one.messages.iter().zip(&other.messages).take_while(|(one, other)| one == other).count()
}

/// Where two requests differ first.
fn difference(recorded: &ModelRequest, asked: &ModelRequest) -> String {
    let (one, other) = (&recorded.prompt, &asked.prompt);
    let parts = [
        ("the instructions", one.instructions != other.instructions),
        ("the tools", one.tools != other.tools),
        ("the form of the answer", one.answer != other.answer),
        ("the settings", one.settings != other.settings),
    ];
    if let Some((part, _)) = parts.into_iter().find(|(_, differs)| *differs) {
        return part.to_owned();
    }
    let same = same_messages(recorded, asked);
    let (there, here) = (recorded.messages.len(), asked.messages.len());
    if same < there.min(here) {
        return format!("message {} of {here}", same + 1);
    }
    format!("its length: it has {there} messages, and this one {here}")
}

#[async_trait]
impl Model for Recorded {
    fn capabilities(&self) -> ModelCapabilities {
        self.capabilities.clone()
    }

    /// As many tokens as the request's JSON has bytes, and as many as an answer may have. What was recorded may have used more
    /// where a vendor adds to a request: pictures by their address, say.
    fn bound(&self, request: &ModelRequest) -> Option<ModelBound> {
        Some(bound(request, &self.capabilities))
    }

    async fn ask(&self, request: Arc<ModelRequest>, _: Call) -> Result<AnswerStream, ModelError> {
        let line = self.next(&request)?;
        let error = line.error.map(|error| Reply::from(ModelError::from(error)));
        let reply = error.or_else(|| line.answer.map(Reply::from));
        // A line holds one of the two, which was seen when it was read.
        let Some(reply) = reply else {
            return Err(ModelError::new(ModelErrorKind::InvalidRequest, "an empty line"));
        };
        reply.give(&request, &self.capabilities)
    }
}
