//! The planner: from what is known of a turn, what to do next.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::history::Conversation;
use super::model::ModelView;
use super::tool::DynTool;
use crate::data::{Answer, AnswerFormat, Ceiling, Failure, FailureCode, Plan, ToolContract};
use crate::words::{ContextKey, ModelName, SessionId, StepId, Timestamp, ToolName, TurnId};

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
    pub steps: Arc<BTreeMap<StepId, StepReport>>,
    /// The turn's context.
    pub context: BTreeMap<ContextKey, Value>,
    /// The tools of the shell, in the order of their names.
    pub tools: Arc<Vec<ToolContract>>,
    /// When the turn must have ended.
    pub deadline: Option<Timestamp>,
    /// The form that the turn's answer must have.
    pub wants: Option<AnswerFormat>,
    /// What was said in the session so far, as far as it is kept.
    pub conversation: Conversation,
    /// What came while the turn ran, in its order: [`Submit::steer`](crate::runtime::Submit::steer). A planner takes it up with a
    /// question that [says it](crate::data::Ask::steers), or with a plan that [takes it up](crate::data::PlanBuilder::takes_up).
    /// What no plan takes up becomes a turn of its own.
    pub steers: Vec<Steered>,
    /// How many of these models were told.
    pub steers_told: usize,
    /// How many answers in a row a model was told that it could not use: for the planner to set a bound to.
    pub corrections: u32,
    /// How often the model was told of one and the same failing call: the same tool, arguments and error.
    pub repeats: u32,
    /// What is left to plan with.
    pub headroom: Headroom,
    /// The tools themselves, for looking at arguments.
    pub(crate) checks: Checks,
}

/// What came while a turn ran.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Steered {
    /// What was said.
    pub input: Arc<Value>,
    /// Whether what had not begun was given up for it.
    pub interrupts: bool,
    /// How many rounds of planning were done when it came.
    pub round: u32,
}

/// Tools as a planner may use them: to look at arguments, and no more.
#[derive(Clone, Default)]
pub(crate) struct Checks(pub(crate) Arc<BTreeMap<ToolName, Arc<dyn DynTool>>>);

impl std::fmt::Debug for Checks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Checks({} tools)", self.0.len())
    }
}

/// What is left to plan with.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Headroom {
    /// The shell's models, in the order of their names: what they can do, what of them is left, how fast they are.
    pub models: Vec<ModelView>,
    /// How long until the turn's deadline, in milliseconds; none without one.
    pub time_ms: Option<u64>,
    /// Rounds of planning that the turn may still have, this one included.
    pub rounds: u32,
    /// Steps that the turn may still have.
    pub steps: usize,
    /// What is left of the turn's budgets, in each dimension the least of all; none without a budget, and when that is not
    /// known.
    pub budget: Option<Ceiling>,
    /// Whether the turn has a budget, and nobody could say what is left of it: the ledger was not reached, say.
    pub is_budget_unknown: bool,
}

impl Headroom {
    /// The model with a name.
    pub fn model(&self, name: &ModelName) -> Option<&ModelView> {
        self.models.iter().find(|model| model.name == *name)
    }
}

impl PlanView {
    /// The output of a step that succeeded.
    pub fn output(&self, step: &str) -> Option<&Value> {
        match self.steps.get(step) {
            Some(StepReport::Succeeded(output) | StepReport::Answered { output, .. }) => Some(output),
            _ => None,
        }
    }

    /// What is wrong with a call, if anything: there is no such tool, or it does not take the arguments.
    pub fn problem_with(&self, tool: &str, arguments: &Value) -> Option<String> {
        match self.checks.0.get(tool) {
            Some(found) => found.problem_with(arguments),
            None => {
                let known: Vec<&str> = self.tools.iter().map(|tool| tool.name.as_str()).collect();
                Some(format!("there is no tool `{tool}`: there are {}", known.join(", ")))
            }
        }
    }

    /// What came while the turn ran, and no model was told of.
    pub fn untold(&self) -> &[Steered] {
        &self.steers[self.steers_told.min(self.steers.len())..]
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
    /// It asked a model, which answered.
    Answered {
        /// The answer, whole.
        answer: Arc<Answer>,
        /// The step's output: the answer's text, or its JSON where the prompt asked for a form.
        output: Arc<Value>,
    },
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
    code: FailureCode,
}

impl PlannerError {
    /// An error with a message for operators; it is journaled.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: FailureCode::Planner }
    }

    /// The same error with the code with which the turn fails; [`FailureCode::Planner`] if not said.
    #[must_use]
    pub fn with_code(mut self, code: FailureCode) -> Self {
        self.code = code;
        self
    }

    /// The code with which the turn fails.
    pub fn code(&self) -> FailureCode {
        self.code
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
