//! What a tool says when it fails.

use std::borrow::Cow;
use std::fmt;

use serde_json::Value;

/// What is known about a call that did not simply succeed.
///
/// `?` on any other error makes it [`ToolError::Ambiguous`], the one that promises nothing. It does not implement
/// [`std::error::Error`], so that `?` can do so.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ToolError {
    /// It did not take effect and will not.
    NotApplied {
        /// Whether trying again may help.
        retry: bool,
        /// What went wrong, for operators and models; journaled under the subject's key.
        reason: Cow<'static, str>,
    },
    /// It took effect although something failed: a success with this output.
    Applied {
        /// The output.
        output: Value,
    },
    /// It is not known whether it took effect.
    Ambiguous {
        /// What went wrong.
        reason: Cow<'static, str>,
    },
}

impl ToolError {
    /// It did not take effect, and trying again may help.
    pub fn retry(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::NotApplied { retry: true, reason: reason.into() }
    }

    /// It did not take effect, and trying again is of no use.
    pub fn refused(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::NotApplied { retry: false, reason: reason.into() }
    }

    /// It is not known whether it took effect.
    pub fn ambiguous(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Ambiguous { reason: reason.into() }
    }
}

impl fmt::Display for ToolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotApplied { reason, .. } => write!(f, "not applied: {reason}"),
            Self::Applied { .. } => f.write_str("applied, although something failed"),
            Self::Ambiguous { reason } => write!(f, "ambiguous: {reason}"),
        }
    }
}

impl<E: std::error::Error> From<E> for ToolError {
    fn from(error: E) -> Self {
        let mut reason = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            reason.push_str(": ");
            reason.push_str(&error.to_string());
            cause = error.source();
        }
        Self::Ambiguous { reason: reason.into() }
    }
}

/// An input that a tool does not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidArguments {
    /// What is wrong with it, so that whoever made the input can mend it.
    pub reason: String,
}

impl fmt::Display for InvalidArguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for InvalidArguments {}
