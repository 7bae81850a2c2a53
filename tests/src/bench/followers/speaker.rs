//! A model that says a text of some KiB in pieces, and breaks off the first attempt at every other question.

use std::sync::Arc;
use std::time::Duration;

use agent_shell_core::data::{Answer, Said};
use agent_shell_core::ports::{
    AnswerStream, Chunk, ModelBound, ModelCapabilities, ModelError, ModelErrorKind, ModelRequest,
};
use agent_shell_core::{Call, Model};
use async_trait::async_trait;
use futures::{StreamExt, stream};

/// Pieces of an answer.
const PIECES: usize = 40;

/// What an attempt at a step says, all of it.
pub(super) fn text_of(step: &str, attempt: u32) -> String {
    (0..PIECES).map(|piece| format!("{step}, attempt {attempt}, piece {piece:02}: it goes on. ")).collect()
}

/// Whether an attempt breaks off.
pub(super) fn fails(step: &str, attempt: u32) -> bool {
    let number: Option<u32> = step.rsplit('-').next().and_then(|number| number.parse().ok());
    attempt == 1 && number.is_some_and(|number| (number / 10) % 2 == 1)
}

pub(super) struct Speaker {
    /// How long an answer takes.
    pub(super) pace_ms: u64,
}

#[async_trait]
impl Model for Speaker {
    fn capabilities(&self) -> ModelCapabilities {
        ModelCapabilities::default()
    }

    fn bound(&self, _: &ModelRequest) -> Option<ModelBound> {
        None
    }

    async fn ask(&self, _: Arc<ModelRequest>, call: Call) -> Result<AnswerStream, ModelError> {
        let (step, attempt) = (call.step.as_str().to_owned(), call.attempt);
        let text = text_of(&step, attempt);
        let length = text.len() / PIECES + 1;
        let chars: Vec<char> = text.chars().collect();
        let pieces = chars.chunks(length).map(|piece| Ok(Chunk::Text(piece.iter().collect())));
        let mut parts: Vec<Result<Chunk, ModelError>> = pieces.collect();
        if fails(&step, attempt) {
            parts.truncate(PIECES / 2);
            parts.push(Err(ModelError::new(ModelErrorKind::Unavailable, "it breaks off on purpose")));
        } else {
            parts.push(Ok(Chunk::Answer(Box::new(Answer::new(vec![Said::text(text)])))));
        }
        let pause = Duration::from_micros(self.pace_ms * 1_000 / PIECES as u64);
        let parts = stream::iter(parts).then(move |part| async move {
            tokio::time::sleep(pause).await;
            part
        });
        Ok(parts.boxed())
    }
}
