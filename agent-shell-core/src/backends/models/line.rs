//! A line of a recording: one request and what came of it, as JSON.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::data::{Answer, Usage};
use crate::ports::{ModelError, ModelErrorKind, ModelRequest};
use crate::words::Digest;

/// Either an answer or an error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Line {
    /// The digest of the request.
    pub(super) request: Digest,
    /// The request itself, where it was wished for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) asked: Option<ModelRequest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) answer: Option<Answer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<Refusal>,
}

impl Line {
    /// Reads a line; an error says what is wrong with it, and quotes nothing of it.
    pub(super) fn read(text: &[u8]) -> Result<Self, String> {
        let line: Self = serde_json::from_slice(text)
            .map_err(|error| format!("it can't be read from column {} on", error.column()))?;
        match (&line.answer, &line.error) {
            (Some(_), None) | (None, Some(_)) => Ok(line),
            _ => Err("it holds not exactly one of `answer` and `error`".into()),
        }
    }
}

/// A [`ModelError`] as it is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Refusal {
    kind: ModelErrorKind,
    message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(default)]
    usage: Usage,
}

impl From<&ModelError> for Refusal {
    fn from(error: &ModelError) -> Self {
        let millis = |after: Duration| u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        Self {
            kind: error.kind,
            message: error.message.clone(),
            retry_after_ms: error.retry_after.map(millis),
            usage: *error.usage,
        }
    }
}

impl From<Refusal> for ModelError {
    fn from(refusal: Refusal) -> Self {
        let mut error = Self::new(refusal.kind, refusal.message);
        error.retry_after = refusal.retry_after_ms.map(Duration::from_millis);
        error.usage = Box::new(refusal.usage);
        error
    }
}
