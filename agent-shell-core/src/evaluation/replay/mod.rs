//! Recorded turns once more, offline: against a changed prompt, other tools, another schema, until the first thing that differs.
//!
//! A model stands in for the agent's models and says what was recorded, as long as the questions are the same; stand-ins for its
//! tools bring the recorded outputs. Nothing of the world is touched: neither a model, nor a tool, nor the store and the bus that
//! the agent is built on in earnest.

mod difference;
mod divergence;
mod recording;
mod report;
mod stage;
mod stand_in;
mod tape;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use difference::Difference;
pub use divergence::{Differs, Divergence};
pub use report::{ReplayReport, ReplayedSession};
pub use tape::Tape;

use self::stage::Stage;
use self::stand_in::{ModelStandIn, ToolStandIn};
use self::tape::TapedTurn;
use super::run::within;
use crate::data::PlannerRef;
use crate::ports::Tool;
use crate::runtime::{Request, Session, Shell, ShellBuilder};
use crate::words::{Error, Result};

/// Runs recorded turns again.
///
/// ```
/// # use agent_shell_core::{Shell, Scripted, Reply, ToolLoop};
/// use agent_shell_core::evaluation::{Replay, Tape};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let model = || Scripted::by_answers([Reply::text("Good morning.")]);
/// # let shell = Shell::volatile().model(model()).open().await?;
/// # let session = shell.session("customer-42")?;
/// # session.submit("hello").await?.outcome().await?;
/// let tape = Tape::of_session(&shell, session.id().await?).await?;
/// // The agent as it is built in earnest, with another prompt.
/// let report = Replay::new(tape)
///     .run(|shell| shell.model(model()).planner(ToolLoop::new().instructions("Be brief.")))
///     .await?;
/// let divergence = report.divergence().unwrap();
/// assert_eq!(divergence.differences[0].pointer, "/prompt/instructions");
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing runs before `run`"]
pub struct Replay {
    tape: Tape,
    deadline: Duration,
}

impl Replay {
    /// A replay of these turns.
    pub fn new(tape: Tape) -> Self {
        Self { tape, deadline: Duration::from_secs(30) }
    }

    /// How long each turn may take.
    ///
    /// Default: half a minute.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs the turns of each session in a shell of its own, which `agent` adds tools, models and planners to, until one differs.
    ///
    /// Of the builder that `agent` returns, the store, the keys and the bus are not opened, models are not asked and tools are not
    /// called: what they say of themselves (contracts, capabilities, whether they take an input) counts. Calls that wait for an
    /// approval do not wait: whether it was given is in the record. Planners and policies run in earnest.
    ///
    /// # Errors
    /// What opening the shell says. What differs is no error.
    ///
    /// # Cancel safety
    /// Dropping the future leaves a shell in memory open, whose turn goes on until its deadline.
    pub async fn run(self, agent: impl Fn(ShellBuilder) -> ShellBuilder) -> Result<ReplayReport> {
        let mut sessions = Vec::new();
        for turns in &self.tape.sessions {
            let stage = Arc::new(Stage::default());
            let tool = |tool| Tool::dynamic(Arc::new(ToolStandIn::new(tool, stage.clone())));
            let model =
                |model| Arc::new(ModelStandIn::new(model, stage.clone())) as Arc<dyn crate::ports::Model>;
            let builder = agent(Shell::volatile()).offline(Shell::volatile(), tool, model)?;
            let shell = builder.open().await?;
            let replayed = self.session(&shell, turns, &stage).await;
            if let Err(error) = shell.shutdown().await {
                tracing::warn!(%error, "the shell of a replay did not shut down well");
            }
            sessions.push(replayed?);
        }
        Ok(ReplayReport { sessions })
    }

    async fn session(&self, shell: &Shell, turns: &[TapedTurn], stage: &Stage) -> Result<ReplayedSession> {
        let session = shell.session("replay")?;
        let mut replayed =
            ReplayedSession { session: turns.first().and_then(|turn| turn.session), ..Default::default() };
        for (place, turn) in turns.iter().enumerate() {
            if let Some(reason) = &turn.stop {
                replayed.left_out = Some(format!("turn {}: {reason}", turn.number));
                replayed.turns_left_out = turns.len() - place;
                break;
            }
            stage.begin(turn);
            let outcome = self.turn(shell, &session, turn).await;
            let played = stage.end(outcome);
            replayed.questions += played.questions;
            replayed.calls += played.calls;
            replayed.unchecked += played.unchecked;
            if let Some(divergence) = played.divergence {
                replayed.divergence = Some(divergence);
                break;
            }
            replayed.turns += 1;
        }
        Ok(replayed)
    }

    async fn turn(
        &self,
        shell: &Shell,
        session: &Session,
        turn: &TapedTurn,
    ) -> std::result::Result<crate::data::Outcome, Error> {
        let request = match &turn.planner {
            Some(PlannerRef::Fixed(plan)) => Request::plan(plan.clone()).input((*turn.input).clone()),
            Some(PlannerRef::Named(name)) => Request::new((*turn.input).clone()).planner(name.as_str()),
            _ => Request::new((*turn.input).clone()),
        };
        let submit = session.submit(request).deadline(self.deadline).wants_form(turn.wants.clone());
        within(shell, self.deadline, &submit.await?).await
    }
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Replay({} sessions)", self.tape.sessions.len())
    }
}
