//! A session as it was at a record: to look, without writing anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::core::conversation;
use super::forking::Reading;
use super::rest::Rest;
use super::session::Session;
use crate::data::{Action, Failure, PlannerRef};
use crate::machine::{Forked, Phase, Stage, TurnState};
use crate::ports::Conversation;
use crate::words::{
    ContextKey, Head, ModelName, Result, Seq, SignalName, StepId, Timestamp, ToolName, TurnId,
};

/// A session as its records up to one of them say.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StateAt {
    /// The record, and the hash of the chain there.
    pub head: Head,
    /// How many turns have started; of a fork, those of its parent included.
    pub turns: u64,
    /// What was said, as far as it is kept.
    pub conversation: Conversation,
    /// Signals that no step has taken, the oldest first.
    pub signals: Vec<(SignalName, Arc<Value>)>,
    /// The turn that runs or rests.
    pub turn: Option<TurnAt>,
    /// What waits for a person, in plan order.
    pub rests: Vec<Rest>,
    /// Where the session comes from, when it is a fork.
    pub forked: Option<Forked>,
}

/// A turn at a record.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TurnAt {
    /// The turn.
    pub id: TurnId,
    /// Its input.
    pub input: Arc<Value>,
    /// Who plans it.
    pub planner: PlannerRef,
    /// When it must have ended.
    pub deadline: Option<Timestamp>,
    /// Rounds of planning that are done.
    pub round: u32,
    /// The steps of all rounds, in plan order.
    pub steps: Vec<StepAt>,
    /// The context.
    pub context: BTreeMap<ContextKey, Value>,
}

/// A step at a record.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StepAt {
    /// The step.
    pub id: StepId,
    /// How far it is.
    pub stage: Stage,
    /// The tool that it calls.
    pub tool: Option<ToolName>,
    /// The model that it asks.
    pub model: Option<ModelName>,
    /// Its input, once that is fixed.
    pub input: Option<Arc<Value>>,
    /// The latest attempt, from 1; 0 before the first.
    pub attempt: u32,
    /// What it brought, once it succeeded.
    pub output: Option<Arc<Value>>,
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
}

impl Session {
    /// The session as it was at a record: its conversation, its turn, its steps. Nothing is written, and nothing is asked or
    /// called. All records up to there are read.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) when there is no such record,
    /// [`ErrorKind::Archived`](crate::ErrorKind::Archived) when it stands in a file, [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt)
    /// when a record up to there does not follow from those before it; else what the store or the key store says.
    ///
    /// # Cancel safety
    /// Reading has no effect.
    pub async fn state_at(&self, record: Seq) -> Result<StateAt> {
        let opened = self.inner.opened().await?;
        let mut reading = Reading::new(&self.inner.core, &opened.keys, opened.entry.id);
        reading.up_to(record).await?;
        let (state, head) = (&reading.at.state, reading.at.head);
        Ok(StateAt {
            head,
            turns: state.turns,
            conversation: conversation(state),
            signals: state.signals.iter().cloned().collect(),
            turn: state.turn.as_ref().map(TurnAt::of),
            rests: Rest::all(state),
            forked: state.forked.as_deref().cloned(),
        })
    }
}

impl TurnAt {
    fn of(turn: &TurnState) -> Self {
        Self {
            id: turn.id,
            input: turn.input.clone(),
            planner: turn.planner.clone(),
            deadline: turn.deadline,
            round: turn.round,
            steps: turn.steps.iter().map(StepAt::of).collect(),
            context: turn.context.values.clone(),
        }
    }
}

impl StepAt {
    fn of(of: &crate::machine::StepState) -> Self {
        let (mut tool, mut model) = (None, None);
        match &of.step.action {
            Action::Tool { name, .. } => tool = Some(name.clone()),
            Action::Model(ask) => model = Some(ask.model.clone()),
            _ => {}
        }
        let (mut output, mut failure) = (None, None);
        match &of.phase {
            Phase::Succeeded(brought) => output = Some(brought.clone()),
            Phase::Failed(why) => failure = Some(why.clone()),
            _ => {}
        }
        let (id, stage) = (of.step.id.clone(), of.phase.stage());
        Self { id, stage, tool, model, input: of.input.clone(), attempt: of.attempt, output, failure }
    }
}
