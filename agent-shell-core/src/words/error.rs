//! The error that a host meets.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

/// The result of what a host calls.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, as a host needs to know it: a kind that says what to do, and a message that says what, where
/// and how to mend it. Neither holds a secret, nor a text of a user.
pub struct Error {
    kind: ErrorKind,
    message: Cow<'static, str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What the caller of a failed operation should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The input is wrong; the same call fails again. Mend the input.
    InvalidInput,
    /// There is no such session, turn, step or rest.
    NotFound,
    /// The actor may not do this. Nothing was kept; the message says what the actor needs, or who may.
    Forbidden,
    /// The dedupe key was used before with another input. Use a new key, or the first input.
    Mismatch,
    /// A bounded queue is full. Nothing was kept; try again later.
    Overloaded,
    /// The turn rests: a person must approve or resolve before it goes on.
    AtRest,
    /// The turn ended without the answer that was asked for. Its outcome says why.
    TurnFailed,
    /// The operation may or may not have happened. Repeat it with the same dedupe key.
    Indeterminate,
    /// A store or a key store can't be reached now. Try again later.
    Unavailable,
    /// What is stored is damaged. Stop and restore; `export` and `verify` say what is left.
    Corrupt,
    /// The disk failed under the journal. This process must stop; a restart reads what is really on disk.
    Poisoned,
    /// What was asked for has been erased for good.
    Purged,
    /// The session's records stand in a file: restore it, or read the file.
    Archived,
    /// A key that should exist is missing: restore the key store.
    KeyLost,
    /// The shell is shutting down.
    ShuttingDown,
    /// The backend, the file's format or the tool can't do this; a newer version may be needed.
    Unsupported,
    /// Another process owns the session now.
    Fenced,
}

impl Error {
    /// An error of a kind, with a message that says what was wrong, where, and what to do.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// The same error with its cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What to do.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.message)?;
        let mut cause = self.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

impl From<super::InvalidName> for Error {
    fn from(error: super::InvalidName) -> Self {
        Self::new(ErrorKind::InvalidInput, error.to_string())
    }
}
