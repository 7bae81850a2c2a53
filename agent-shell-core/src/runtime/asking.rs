//! A question to a session, and its answer as a type of the host's.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::session::Session;
use super::submit::Request;
use super::turn::Turn;
use crate::data::Outcome;
use crate::words::{Error, ErrorKind, Result};

impl Session {
    /// Asks, waits, and returns the answer as a `T`: the planner is told its JSON Schema, and sees to it that the answer has
    /// that form. It is [`Session::submit`] and [`Turn::answer`] in one; to submit with a dedupe key, a deadline or an
    /// actor, use these two, with [`Submit::wants`](super::Submit::wants).
    ///
    /// # Errors
    /// As [`Session::submit`] and [`Turn::answer`].
    ///
    /// # Cancel safety
    /// Dropping the future once it was polled does not withdraw the turn.
    pub async fn ask<T: JsonSchema + DeserializeOwned>(&self, request: impl Into<Request>) -> Result<T> {
        self.submit(request).wants::<T>().await?.answer().await
    }
}

impl Turn {
    /// Waits until the turn has ended, and returns its answer as a `T`.
    ///
    /// # Errors
    /// [`ErrorKind::TurnFailed`] when the turn ended without an answer, or with one that is no `T`: the message says which,
    /// and never what was said. Else as [`Turn::outcome`].
    ///
    /// # Cancel safety
    /// As [`Turn::outcome`].
    pub async fn answer<T: DeserializeOwned>(&self) -> Result<T> {
        let failed = |message: String| Error::new(ErrorKind::TurnFailed, message);
        let outcome = self.outcome().await?;
        match &outcome {
            Outcome::Answered(_) => outcome.answer_as().map_err(|error| {
                let (line, column) = (error.line(), error.column());
                let place =
                    if line == 0 { String::new() } else { format!(", at line {line}, column {column}") };
                let (turn, form) = (self.id(), std::any::type_name::<T>());
                failed(format!(
                    "turn {turn} answered with something else than a `{form}`{place}: `Shell::turn` finds it, and `Turn::outcome` has the answer"
                ))
            }),
            Outcome::Failed(failure) => {
                let (turn, code) = (self.id(), failure.code);
                Err(failed(format!("turn {turn} failed ({code:?}): `Shell::turn` finds it, and `Turn::outcome` says why")))
            }
            other => {
                let how = match other {
                    Outcome::Cancelled => "was cancelled",
                    Outcome::Expired => "expired",
                    Outcome::Abandoned { .. } => "was abandoned",
                    _ => "was purged",
                };
                Err(failed(format!("turn {} {how} before it was answered", self.id())))
            }
        }
    }
}
