//! Who may do what.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::words::{Actor, SessionId, StepId, Tenant, TurnId};

/// Says whether an actor may do a deed. It is asked in every call of the runtime that takes an [`Actor`], before anything is
/// written. Who the actor is, the host has found out before.
///
/// It fails closed: one that errs, panics, or takes longer than [`Limits::guard_ms`](crate::Limits::guard_ms) has refused. What
/// is refused is [`ErrorKind::Forbidden`](crate::ErrorKind::Forbidden), and leaves no record.
///
/// Reading (history, rests, outcomes) takes no actor, and is for the host to bound.
#[async_trait]
pub trait Authorizer: Send + Sync + 'static {
    /// Whether the actor may.
    ///
    /// # Errors
    /// [`Refusal`] when it may not, or when that can't be told. It says what to do, and names neither the actor nor a text.
    ///
    /// # Cancel safety
    /// It is dropped when the caller gives up, and when it takes too long.
    async fn authorize(&self, asked: &Intention) -> Result<(), Refusal>;
}

/// What is shared is an authorizer like that which is shared.
#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<T: Authorizer + ?Sized> Authorizer for Arc<T> {
    async fn authorize(&self, asked: &Intention) -> Result<(), Refusal> {
        (**self).authorize(asked).await
    }
}

/// What an actor can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Deed {
    /// Ask for a turn.
    Submit,
    /// Send a signal.
    Signal,
    /// Approve a call, or what a step shows.
    Approve,
    /// Refuse an approval.
    Deny,
    /// Say what became of a step in doubt.
    Resolve,
    /// Cancel a turn.
    Cancel,
    /// Give a turn up.
    Abandon,
    /// Hand a session over to another planner.
    HandOff,
    /// Forget a user.
    Purge,
    /// Begin a session with what another one holds at a record.
    Fork,
}

impl Deed {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Submit,
        Self::Signal,
        Self::Approve,
        Self::Deny,
        Self::Resolve,
        Self::Cancel,
        Self::Abandon,
        Self::HandOff,
        Self::Purge,
        Self::Fork,
    ];

    /// Its name, as it is written in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Signal => "signal",
            Self::Approve => "approve",
            Self::Deny => "deny",
            Self::Resolve => "resolve",
            Self::Cancel => "cancel",
            Self::Abandon => "abandon",
            Self::HandOff => "hand_off",
            Self::Purge => "purge",
            Self::Fork => "fork",
        }
    }
}

/// What somebody is about to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Intention {
    /// Who.
    pub actor: Actor,
    /// What.
    pub deed: Deed,
    /// In which tenant.
    pub tenant: Tenant,
    /// In which session; none for one that is not registered yet, and for a purge.
    pub session: Option<SessionId>,
    /// To which turn, where it is about one that was submitted.
    pub turn: Option<TurnId>,
    /// To which step, where it is about one.
    pub step: Option<StepId>,
    /// Whether the actor submitted that turn, or said something to it while it ran, or did so to a turn whose child it is. None where it is about no turn, or the turn does not run.
    pub is_own: Option<bool>,
}

impl Intention {
    /// Of an actor, in a tenant, about nothing in particular.
    pub fn new(actor: Actor, deed: Deed, tenant: Tenant) -> Self {
        Self { actor, deed, tenant, session: None, turn: None, step: None, is_own: None }
    }
}

/// Why somebody may not. Every error is one, so `?` works on all: what can't be told is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(String);

impl Refusal {
    /// For this reason, which says what to do.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}
