//! Tools: the host's own code that acts in the world.

mod error;
mod typed;
mod undo;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

pub use error::{InvalidArguments, ToolError};
pub use typed::Tool;
pub use undo::Undo;

use crate::data::ToolContract;
use crate::words::{Deadline, Epoch, SessionId, StepId, TurnId};

/// A tool as the runtime calls it. Hosts write typed tools with the constructors of [`Tool`]; this trait is for
/// those who bring tools of another kind, from another language, say.
///
/// # What an implementation must do
/// - `run` may be called more than once with the same [`Call::key`], as the contract's class says.
/// - An error says what is known: [`ToolError`].
/// - The future may be dropped at any await, when the attempt's deadline passes.
#[async_trait]
pub trait DynTool: Send + Sync + 'static {
    /// What the tool declares. It must not change while the shell is open.
    fn contract(&self) -> &ToolContract;

    /// Whether the input can be taken. Called before anything is recorded of the attempt, and for a `Pure` tool, of which
    /// nothing is, right before [`run`](Self::run); it must be quick and change nothing. An input that can't be taken
    /// fails the step at once, as `InvalidArguments`, in every class.
    ///
    /// # Errors
    /// [`InvalidArguments`] says what is wrong with the input.
    fn check(&self, input: &Value) -> Result<(), InvalidArguments>;

    /// Does it.
    ///
    /// # Errors
    /// [`ToolError`] says whether it happened.
    ///
    /// # Cancel safety
    /// A dropped call counts as ambiguous, except for `Pure` tools.
    async fn run(&self, input: Arc<Value>, call: Call) -> Result<Value, ToolError>;

    /// Asks the target whether the call with this key took effect. Only `Probed` tools are asked.
    ///
    /// # Errors
    /// Any error means that the target could not be asked; it is asked again, a bounded number of times.
    ///
    /// # Cancel safety
    /// A probe changes nothing; it may be dropped and repeated.
    async fn probe(&self, input: Arc<Value>, call: Call) -> Result<ProbeAnswer, ToolError>;
}

/// One attempt at a call.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Call {
    key: Arc<str>,
    /// The session.
    pub session: SessionId,
    /// The turn.
    pub turn: TurnId,
    /// The step.
    pub step: StepId,
    /// The epoch of the owner that makes the attempt. A target that knows a higher one should refuse.
    pub epoch: Epoch,
    /// Counts the attempts at this step, from 1: those that the journal knows. An attempt at a `Pure` step that died with
    /// its process left nothing there, and does not count.
    pub attempt: u32,
    /// When the attempt must have ended.
    pub deadline: Deadline,
}

impl Call {
    /// A call of an attempt; the runtime makes it.
    pub fn new(
        key: Arc<str>,
        (session, turn, step): (SessionId, TurnId, StepId),
        epoch: Epoch,
        attempt: u32,
        deadline: Deadline,
    ) -> Self {
        Self { key, session, turn, step, epoch, attempt, deadline }
    }

    /// The idempotency key: 32 hexadecimal digits, the same in every attempt at this step, also after a crash, and
    /// another for another step or another input.
    pub fn key(&self) -> &str {
        &self.key
    }
}

/// What a target says of a key.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ProbeAnswer {
    /// It took effect, with this output.
    Applied(Value),
    /// It did not, and will not any more.
    NotApplied,
}

impl dyn DynTool {
    /// Why the tool does not take an input, if it does not. A panic in the check counts as such.
    pub fn problem_with(&self, input: &Value) -> Option<String> {
        match catch_unwind(AssertUnwindSafe(|| self.check(input))) {
            Ok(checked) => checked.err().map(|error| error.reason),
            Err(_) => Some("the tool panicked when it looked at its input".into()),
        }
    }
}

impl fmt::Debug for dyn DynTool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DynTool({})", self.contract().name)
    }
}
