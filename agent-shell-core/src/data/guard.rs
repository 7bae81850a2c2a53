//! What guards rule, as it is recorded.

use serde::{Deserialize, Serialize};

use crate::words::GuardName;

/// Where guards are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum GuardPlace {
    /// Before a model is asked, about the message that the question adds to the conversation.
    BeforeModel,
    /// Before a tool is called, about the arguments.
    BeforeTool,
    /// After a tool has brought a result, before anything reads it.
    AfterTool,
    /// After a model has answered, before anything follows from the answer.
    AfterModel,
}

impl GuardPlace {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::BeforeModel, Self::BeforeTool, Self::AfterTool, Self::AfterModel];

    /// Whether an approval can be asked for here: only for a call that was not made yet.
    pub fn can_ask(self) -> bool {
        self == Self::BeforeTool
    }
}

/// A set of places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GuardPlaces(u8);

impl GuardPlaces {
    /// None: what a shell without guards has.
    pub const NONE: Self = Self(0);

    /// With one more place.
    #[must_use]
    pub fn with(self, place: GuardPlace) -> Self {
        Self(self.0 | 1 << place as u8)
    }

    /// Whether a place is among them.
    pub fn has(self, place: GuardPlace) -> bool {
        self.0 & 1 << place as u8 != 0
    }
}

/// What one guard ruled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GuardRuling {
    /// The guard.
    pub guard: GuardName,
    /// What it ruled.
    pub verdict: Verdict,
    /// Why; empty when it allowed or rewrote.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// A ruling, without its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// Go on.
    Allowed,
    /// Go on with another value.
    Rewritten,
    /// Go on when a person has approved.
    Asked,
    /// Do not.
    Denied,
    /// The guard panicked, took too long, or ruled what can't be done in this place. It counts as denied.
    Failed,
}

impl GuardRuling {
    /// A ruling.
    pub fn new(guard: GuardName, verdict: Verdict, reason: impl Into<String>) -> Self {
        Self { guard, verdict, reason: reason.into() }
    }

    /// Whether nothing may follow.
    pub fn denies(&self) -> bool {
        matches!(self.verdict, Verdict::Denied | Verdict::Failed)
    }

    /// Whether a person must approve first.
    pub fn asks(&self) -> bool {
        self.verdict == Verdict::Asked
    }

    /// What a model, or an approver, is told.
    pub fn told(&self) -> String {
        let (guard, reason) = (&self.guard, &self.reason);
        match self.verdict {
            Verdict::Denied => format!("the guard `{guard}` denied it: {reason}"),
            // Why says something of the guard, and nothing of what was asked.
            Verdict::Failed => format!("the guard `{guard}` could not rule on it, which counts as denied"),
            Verdict::Asked => format!("the guard `{guard}` asks: {reason}"),
            Verdict::Allowed | Verdict::Rewritten => format!("the guard `{guard}` allows it"),
        }
    }
}

/// What untrusted content has to do with what a guard rules on. Content is untrusted when it comes from a tool that was
/// declared [`untrusted`](crate::Tool::untrusted), or from a step or a model's answer that was made of such content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Labels {
    /// What is ruled on is untrusted itself, or made of what is: by the plan's templates, or because a model that was
    /// shown untrusted content said it.
    pub untrusted: bool,
    /// Untrusted content was read before: it stands in the conversation as it is shown now, or came up in this turn.
    pub read_untrusted: bool,
}

impl Labels {
    /// These labels.
    pub fn new(untrusted: bool, read_untrusted: bool) -> Self {
        Self { untrusted, read_untrusted }
    }
}
