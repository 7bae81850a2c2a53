//! The planner: from what is known of a turn, what to do next.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use crate::data::{Failure, Plan, ToolContract};
use crate::words::{ContextKey, SessionId, StepId, Timestamp, TurnId};

/// Plans turns: a whole graph, or round by round.
///
/// A planner is the host's own code and need not be deterministic. Its answer is recorded before any step other
/// than a `Pure` one starts; after a crash a recorded answer is used, and one that was not recorded is asked for
/// again. It should change nothing in the world: that is what steps are for.
#[async_trait]
pub trait Planner: Send + Sync + 'static {
    /// Plans the next round of a turn.
    ///
    /// # Errors
    /// [`PlannerError`] ends the turn as failed.
    ///
    /// # Cancel safety
    /// The runtime drops the future when the turn ends or the planner's time is over.
    async fn plan(&self, view: PlanView) -> Result<Planned, PlannerError>;
}

/// What a planner sees.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PlanView {
    /// The session.
    pub session: SessionId,
    /// The turn.
    pub turn: TurnId,
    /// The turn's input.
    pub input: Arc<Value>,
    /// The round that is being planned, from 1.
    pub round: u32,
    /// What became of the steps so far.
    pub steps: BTreeMap<StepId, StepReport>,
    /// The turn's context.
    pub context: BTreeMap<ContextKey, Value>,
    /// The tools of the shell, in the order of their names.
    pub tools: Arc<Vec<ToolContract>>,
    /// When the turn must have ended.
    pub deadline: Option<Timestamp>,
}

impl PlanView {
    /// The output of a step that succeeded.
    pub fn output(&self, step: &str) -> Option<&Value> {
        match self.steps.get(step) {
            Some(StepReport::Succeeded(output)) => Some(output),
            _ => None,
        }
    }

    /// A plan that may refer to all steps so far.
    pub fn next_plan(&self) -> crate::data::PlanBuilder {
        Plan::builder().earlier(self.steps.keys().cloned())
    }
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum StepReport {
    /// It succeeded with this output.
    Succeeded(Arc<Value>),
    /// It is held back until all else has succeeded.
    Held,
    /// It failed.
    Failed(Failure),
}

/// What a planner answers.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Planned {
    /// These steps, and then the turn is done.
    Whole(Plan),
    /// These steps, and then ask again.
    Next(Plan),
    /// Nothing more: this is the answer, once the held steps are done.
    Answer(Value),
}

/// Why a planner can't go on.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct PlannerError {
    message: String,
}

impl PlannerError {
    /// An error with a message for operators; it is journaled.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}

impl From<crate::data::PlanError> for PlannerError {
    fn from(error: crate::data::PlanError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<serde_json::Error> for PlannerError {
    fn from(error: serde_json::Error) -> Self {
        Self::new(error.to_string())
    }
}
