//! How turns and steps end.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::body::Body;
use crate::words::{StepId, TurnId};

/// How a turn ended. Once durable it never changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// All steps succeeded; this is the answer.
    Answered(Value),
    /// A step, or the planner, failed for good.
    Failed(Failure),
    /// Somebody cancelled the turn.
    Cancelled,
    /// The turn's deadline passed.
    Expired,
    /// An operator gave the turn up while it rested.
    Abandoned {
        /// What the operator gave as the reason.
        reason: String,
    },
    /// The subject's data was erased.
    Purged,
}

impl Outcome {
    /// The answer as text: a JSON string's content, another value's JSON, or the empty text when there is none.
    pub fn text(&self) -> String {
        match self {
            Self::Answered(Value::String(text)) => text.clone(),
            Self::Answered(value) => value.to_string(),
            _ => String::new(),
        }
    }

    /// What a record that ends a turn says of its end; none for any other record.
    pub(crate) fn recorded(body: &Body) -> Option<Self> {
        match body {
            Body::TurnEnded { answer: Some(answer), .. } => Some(Self::Answered((*answer.value()).clone())),
            Body::TurnEnded { outcome, .. } => Some(outcome.clone()),
            Body::SessionPurged { turn: Some(_), .. } => Some(Self::Purged),
            Body::TurnWithdrawn { .. } => Some(Self::Cancelled),
            Body::MailRefused { turn: Some(_), reason, .. } => {
                Some(Self::Failed(Failure::of_turn(FailureCode::Unreadable, reason.clone())))
            }
            _ => None,
        }
    }

    /// The turns that a record ends, and how. Those that have joined a turn end with it.
    pub(crate) fn all_recorded(body: &Body) -> impl Iterator<Item = (TurnId, Self)> {
        let joined: &[TurnId] = if let Body::TurnEnded { joined, .. } = body { joined } else { &[] };
        let outcome = Self::recorded(body);
        let turns = body.turn().into_iter().chain(joined.iter().copied());
        turns.filter_map(move |turn| Some((turn, outcome.clone()?)))
    }

    /// The answer as a type of the host's.
    ///
    /// # Errors
    /// What `serde_json` says when the answer does not fit the type, or when there is none.
    pub fn answer_as<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        T::deserialize(self.answer().unwrap_or(&Value::Null))
    }

    /// The answer, when there is one.
    pub fn answer(&self) -> Option<&Value> {
        match self {
            Self::Answered(value) => Some(value),
            _ => None,
        }
    }
}

/// What became of the acts of a turn that did not succeed: those of steps other than `Pure` ones that took effect.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Undone {
    /// The steps whose compensation has succeeded, or of which a person said that they are undone, in the order in which
    /// they were undone.
    pub undone: Vec<StepId>,
    /// The steps that stay applied, in plan order: they have no compensation, or it was given up.
    pub left: Vec<StepId>,
}

impl Undone {
    /// Whether the turn had applied nothing.
    pub fn is_empty(&self) -> bool {
        self.undone.is_empty() && self.left.is_empty()
    }
}

/// Why a step or a turn failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Failure {
    /// The step that failed; none when it was the planner or the turn itself.
    pub step: Option<StepId>,
    /// What kind of failure it was.
    pub code: FailureCode,
    /// What the tool, the planner or the runtime said.
    pub message: String,
}

impl Failure {
    /// A failure of a step.
    pub fn of_step(step: &StepId, code: FailureCode, message: impl Into<String>) -> Self {
        Self { step: Some(step.clone()), code, message: message.into() }
    }

    /// A failure of the turn itself.
    pub fn of_turn(code: FailureCode, message: impl Into<String>) -> Self {
        Self { step: None, code, message: message.into() }
    }
}

/// What kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureCode {
    /// The tool said that it did not apply, and that repeating is of no use or was tried often enough.
    NotApplied,
    /// The tool did not accept the arguments.
    InvalidArguments,
    /// The step's input could not be made from earlier outputs.
    UnresolvedInput,
    /// An attempt took longer than its deadline, as often as it may be tried.
    DeadlineExceeded,
    /// An output is larger than the limits allow.
    TooLarge,
    /// Somebody denied the approval.
    Denied,
    /// A guard denied the question, the call, the result or the answer.
    Guard,
    /// A wait ended without what it waited for.
    Expired,
    /// An operator found that the step was not applied, and that it shall not be tried again.
    ResolvedNotApplied,
    /// The tool panicked.
    Panicked,
    /// The planner failed, or its plan was not valid.
    Planner,
    /// A delta did not fit its reducer.
    Context,
    /// A step before it failed, so it was not started.
    Skipped,
    /// The request for the turn could not be read back, so the turn did not start.
    Unreadable,
    /// A model did not answer, or not to the end.
    Model,
    /// A model went on making the same call that failed, or calls and answers that can't be used.
    Stuck,
    /// A budget would have been passed.
    Budget,
    /// A child did not answer: the message says how its turn ended.
    Child,
    /// The process died each time, as often as it may, while it did what the turn owed.
    Interrupted,
    /// Effects are off in the session, a fork, and its parent recorded no such call that is left.
    EffectsOff,
    /// An input came that interrupted the turn before the step began, so it was given up.
    Superseded,
}
