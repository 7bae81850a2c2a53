//! Guards: the host's own rules on what agents ask, do and say.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::model::ModelRequest;
use crate::data::{EffectClass, GuardPlace, Labels, ToolTerms};
use crate::words::{ModelName, Pseudonym, SessionId, StepId, Subject, Tenant, ToolName, TurnId};

/// Rules on what a turn is about to do, and on what that brought.
///
/// # Where it is asked, and what it may rule
///
/// | place | the value | `Deny` | `Ask` | `Rewrite` |
/// |---|---|---|---|---|
/// | [`BeforeModel`](GuardPlace::BeforeModel) | the [`Message`](crate::data::Message) that the question adds, or the list of them when users said more while the turn ran; the whole question is in [`GuardRequest::question`] | the step fails, and the turn with it | refused | what the message becomes, of the same kind, with results of the same calls. It stands so in the conversation |
/// | [`BeforeTool`](GuardPlace::BeforeTool) | the arguments | the step fails, and the model is told why | a person must approve exactly this call | what the arguments become: the tool, its idempotency key and an approval see these |
/// | [`AfterTool`](GuardPlace::AfterTool) | the output | a step of a `Pure` tool fails; any other tool has acted, so its step succeeds, with an object in which `withheld` says why | refused | what the output becomes |
/// | [`AfterModel`](GuardPlace::AfterModel) | the [`Answer`](crate::data::Answer) | the step fails, and the turn with it; the answer never stands in the conversation | refused | what the answer becomes |
///
/// A step that fails so has [`FailureCode::Guard`](crate::FailureCode::Guard).
///
/// Several guards are asked one after another, in the order in which the shell was given them. Each sees what the one before it
/// rewrote, and the first that denies ends it. What they ruled is recorded together, once, as `guard.ruled`. What is recorded
/// stands, also for another owner with other guards: nobody is asked again, unless the step has another input by then.
///
/// It fails closed: a guard that errs, panics, takes longer than [`Limits::guard_ms`](crate::Limits::guard_ms), asks where
/// nothing can be approved, or rewrites to what can't stand in that place, has denied.
///
/// # What an implementation must do
/// - It may be asked twice about the same value, when a process died before its ruling was recorded: it must change nothing.
/// - It may be dropped at any await.
#[async_trait]
pub trait Guard: Send + Sync + 'static {
    /// Its name, unique within its shell: it stands in records, and in what a model and an approver are told. It must not
    /// change.
    fn name(&self) -> &str;

    /// Whether it wants to be asked in a place. It is asked once, when the shell opens: where no guard watches, nothing is
    /// recorded and nothing waits. By default it watches all places.
    fn watches(&self, place: GuardPlace) -> bool {
        let _ = place;
        true
    }

    /// Rules.
    ///
    /// # Errors
    /// [`GuardError`] when it can't tell. That counts as denied; the reason is recorded, and not told to a model.
    ///
    /// # Cancel safety
    /// It is dropped when it takes too long, and when the turn ends.
    async fn rule(&self, request: &GuardRequest) -> Result<Ruling, GuardError>;
}

/// What is shared is a guard like that which is shared.
#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<T: Guard + ?Sized> Guard for Arc<T> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn watches(&self, place: GuardPlace) -> bool {
        (**self).watches(place)
    }

    async fn rule(&self, request: &GuardRequest) -> Result<Ruling, GuardError> {
        (**self).rule(request).await
    }
}

/// What a guard says.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Ruling {
    /// Go on.
    Allow,
    /// Do not.
    Deny {
        /// Why. A model that made the call is told.
        reason: String,
    },
    /// Go on when a person has approved exactly this call.
    Ask {
        /// Why. The approver is told.
        reason: String,
    },
    /// Go on with this in its place.
    Rewrite {
        /// Of the form that the place has.
        value: Value,
    },
}

impl Ruling {
    /// Do not, for this reason.
    pub fn deny(reason: impl Into<String>) -> Self {
        Self::Deny { reason: reason.into() }
    }

    /// A person must approve, for this reason.
    pub fn ask(reason: impl Into<String>) -> Self {
        Self::Ask { reason: reason.into() }
    }

    /// Go on with this in its place.
    pub fn rewrite(value: impl Into<Value>) -> Self {
        Self::Rewrite { value: value.into() }
    }
}

/// What a guard is asked about.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct GuardRequest {
    /// Where.
    pub place: GuardPlace,
    /// The tenant.
    pub tenant: Tenant,
    /// Whose data the session holds.
    pub subject: Subject,
    /// The session.
    pub session: SessionId,
    /// The turn.
    pub turn: TurnId,
    /// The step.
    pub step: StepId,
    /// Who submitted the turn, as the session's records show it: [`Shell::actor`](crate::Shell::actor) knows the name.
    pub actor: Pseudonym,
    /// The tool, before and after a call.
    pub tool: Option<GuardedTool>,
    /// The model, before and after a question.
    pub model: Option<ModelName>,
    /// The whole question, before it is asked. Its last message is the value.
    pub question: Option<Arc<ModelRequest>>,
    /// Exactly what is ruled on.
    pub value: Arc<Value>,
    /// What untrusted content has to do with it.
    pub labels: Labels,
}

/// What a guard is told of a tool: the terms under which the plan was adopted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GuardedTool {
    /// Its name.
    pub name: ToolName,
    /// Its version.
    pub version: u32,
    /// What may be done again.
    pub class: EffectClass,
    /// Whether each call waits for an approval anyway.
    pub asks_first: bool,
    /// Whether a call can carry data out.
    pub outbound: bool,
    /// Whether its output is content from outside.
    pub untrusted: bool,
}

impl GuardedTool {
    /// What is told of a tool under these terms.
    pub fn of(name: &ToolName, terms: &ToolTerms) -> Self {
        Self {
            name: name.clone(),
            version: terms.version,
            class: terms.class,
            asks_first: terms.ask_first,
            outbound: terms.outbound,
            untrusted: terms.untrusted,
        }
    }
}

/// Why a guard can't tell. Every error is one, so `?` works on all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardError(String);

impl GuardError {
    /// For this reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for GuardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for GuardError {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}
