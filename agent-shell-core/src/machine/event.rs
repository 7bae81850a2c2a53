//! What happens to a session, and what the machine asks the runtime to do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::state::{Folded, TurnState};
use super::{attempt, children, guarded, latency, mail, optimistic, planned, start};
use crate::data::{
    Answer, Body, Failure, GuardPlace, GuardPlaces, GuardRuling, Labels, LatencyBudgets, LatencyStage, Mail,
    Plan, Prompt, ToolTerms,
};
use crate::ports::{ModelRequest, ProbeAnswer};
use crate::words::{Digest, Epoch, Limits, MailId, ModelName, Seq, SessionId, Timestamp, ToolName, TurnId};

/// What the machine is told beside the event: constants of this moment.
#[derive(Debug, Clone, Copy)]
pub struct Env<'a> {
    /// The owner's epoch.
    pub epoch: Epoch,
    /// The wall time.
    pub now: Timestamp,
    /// Up to when all mail was read that had been posted: what could still be answered in time does not expire before that.
    pub heard: Timestamp,
    /// The bounds.
    pub limits: &'a Limits,
    /// A random number, for the jitter of pauses.
    pub random: u64,
    /// Where this process has guards that must be asked.
    pub guards: GuardPlaces,
    /// How long the stages of turns may take that start now.
    pub latency: Option<&'a LatencyBudgets>,
}

/// What runs in this process, which no record says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Live {
    /// The last record that is durable.
    pub durable: Seq,
    /// The steps whose act runs, with the attempt; with 0, those on which guards rule.
    pub running: BTreeMap<usize, u32>,
    /// The steps that are being asked about.
    pub probing: BTreeSet<usize>,
    /// Of the optimistic steps whose act runs: the version of the context that their input was made of.
    pub read: BTreeMap<usize, u64>,
    /// Whether the planner is at work, and how often the turn had been interrupted when it began.
    pub planning: Option<u32>,
    /// Whether what is suspected of ending its process may begin here: nothing else that is suspected runs beside it.
    pub apart: bool,
}

/// What happened. Everything but mail, and what it withdraws, is about the turn that runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Mail was read.
    Mail {
        /// Its id.
        id: MailId,
        /// Its content.
        mail: Mail,
        /// When it was posted.
        posted: Timestamp,
    },
    /// A turn is cancelled that waits for its start. Its request is consumed with this.
    Withdrawn {
        /// The turn.
        turn: TurnId,
        /// What was given as the reason.
        reason: String,
    },
    /// The planner answered, or failed.
    Planned {
        /// [`TurnState::plans_dropped`](super::TurnState::plans_dropped) when it was asked.
        dropped: u32,
        /// What it said.
        answer: Result<PlanAnswer, Failure>,
        /// How long it took, where that was measured: a latency budget asks for it.
        took: Option<Duration>,
    },
    /// A tool said whether it takes an input.
    Checked {
        /// The step.
        step: usize,
        /// The input.
        input: Arc<Value>,
        /// What is wrong with it, if anything.
        problem: Option<String>,
    },
    /// A session is there for a child.
    ChildOpened {
        /// The step.
        step: usize,
        /// The child's session.
        session: SessionId,
        /// The child's turn.
        child: TurnId,
        /// Its input, as the command said.
        input: Arc<Value>,
    },
    /// An attempt ended.
    Finished {
        /// The step.
        step: usize,
        /// The attempt.
        attempt: u32,
        /// Of an optimistic step, the version of the context that its input was made of, as the command said.
        read: u64,
        /// How.
        end: AttemptEnd,
        /// How long it took, where that was measured: a latency budget asks for it.
        took: Option<Duration>,
    },
    /// A stage of the turn that no other event ends took so long.
    Took {
        /// The stage.
        stage: LatencyStage,
        /// The step, when the stage is one of a step.
        step: Option<usize>,
        /// How long it took.
        took: Duration,
    },
    /// Guards ruled.
    Ruled {
        /// The step.
        step: usize,
        /// Where they were asked.
        place: GuardPlace,
        /// What the first of them was shown.
        value: Arc<Value>,
        /// What each ruled.
        rulings: Vec<GuardRuling>,
        /// What they left in its place, when any rewrote it.
        rewritten: Option<Value>,
    },
    /// A target said what became of an attempt, or could not be asked.
    Probed {
        /// The step.
        step: usize,
        /// The answer.
        answer: Result<ProbeAnswer, String>,
    },
}

/// A planner's answer with what the tools' contracts say.
#[derive(Debug, Clone, PartialEq)]
pub enum PlanAnswer {
    /// A plan.
    Plan {
        /// The steps.
        plan: Plan,
        /// Whether to ask again.
        more: bool,
        /// The terms of the plan's tools, as far as the shell has them.
        terms: BTreeMap<ToolName, ToolTerms>,
        /// The prompts that its questions name.
        prompts: BTreeMap<Digest, Arc<Prompt>>,
    },
    /// The answer.
    Answer(Value),
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub enum AttemptEnd {
    /// With an output.
    Succeeded(Value),
    /// A model answered.
    Answered {
        /// What it said.
        answer: Box<Answer>,
        /// The digest of what it was asked, as the command said.
        view: Option<Digest>,
    },
    /// A model did not answer.
    Unanswered {
        /// Whether asking again may help.
        retry: bool,
        /// What was said.
        reason: String,
        /// How long to wait at least before it is asked again, in milliseconds.
        pause_ms: u64,
    },
    /// A budget has no room for it, so it was not begun.
    Refused {
        /// Which.
        reason: String,
    },
    /// The tool says that it did not take effect.
    NotApplied {
        /// Whether trying again may help.
        retry: bool,
        /// What it said.
        reason: String,
    },
    /// The tool can't say.
    Ambiguous {
        /// What it said.
        reason: String,
    },
    /// The deadline passed before an answer.
    DeadlineExceeded,
    /// The tool panicked.
    Panicked {
        /// What it said.
        message: String,
    },
    /// The tool does not take the input, so it was not called.
    InvalidArguments {
        /// What is wrong with the input.
        reason: String,
    },
    /// The act was not begun: its deadline had passed, or the tool is not there.
    NotBegun {
        /// Which.
        reason: String,
    },
    /// The act was not begun, because the lease of the process was about to end, or had been lost. That says nothing of the
    /// step, so it does not count against its retries.
    Unleased,
}

/// What the runtime is asked to do. Each is asked for again until its event arrives, so the runtime marks in
/// [`Live`] what it has begun.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Ask the planner for the next round.
    Plan,
    /// Ask a tool whether it takes an input; at once, without waiting.
    Check {
        /// The step.
        step: usize,
        /// The tool.
        tool: ToolName,
        /// The input.
        input: Arc<Value>,
    },
    /// Ask the guards.
    Rule {
        /// The step.
        step: usize,
        /// Where.
        place: GuardPlace,
        /// What they rule on.
        value: Arc<Value>,
        /// The whole question, when a model is to be asked.
        request: Option<Arc<ModelRequest>>,
        /// What untrusted content has to do with it.
        labels: Labels,
    },
    /// Begin an attempt.
    Act {
        /// The step.
        step: usize,
        /// The tool.
        tool: ToolName,
        /// The input.
        input: Arc<Value>,
        /// The idempotency key.
        key: Arc<str>,
        /// The attempt.
        attempt: u32,
        /// When it must have ended.
        deadline: Timestamp,
        /// The version of the context that the input was made of.
        read: u64,
    },
    /// Ask a model.
    Ask {
        /// The step.
        step: usize,
        /// The model.
        model: ModelName,
        /// What it is asked.
        request: Arc<ModelRequest>,
        /// The digest of that, as [`ModelRequest::digest`] says; none where there is none.
        view: Option<Digest>,
        /// Names the question: the same in every attempt at it.
        key: Arc<str>,
        /// The attempt.
        attempt: u32,
        /// When it must have answered.
        deadline: Timestamp,
        /// The version of the context that the question was made of.
        read: u64,
    },
    /// Register a session for a child. It has no effect yet: the record that follows from its event starts the child.
    Delegate {
        /// The step.
        step: usize,
        /// The child's input.
        input: Arc<Value>,
    },
    /// Ask the target what became of the latest attempt.
    Probe {
        /// The step.
        step: usize,
        /// The tool.
        tool: ToolName,
        /// The input.
        input: Arc<Value>,
        /// The idempotency key.
        key: Arc<str>,
        /// The attempt.
        attempt: u32,
    },
    /// Drop what the planner is at: it was asked before the turn was interrupted.
    DropPlan,
    /// Drop an attempt at a `Pure` step, or a ruling of guards: nobody needs it any more.
    Drop {
        /// The step.
        step: usize,
    },
}

/// The records that follow from an event. They are to be folded before the next event is given.
pub fn react(state: &Folded, event: Event, env: &Env<'_>) -> Vec<Body> {
    let mut records = match event {
        Event::Mail { id, mail, posted } => mail::received(state, id, mail, posted, env),
        Event::Withdrawn { turn, reason } => vec![Body::TurnWithdrawn { turn, reason }],
        event => state.turn.as_ref().map_or_else(Vec::new, |turn| react_in(state, turn, event, env)),
    };
    latency::add_of_turns(state, &mut records, env);
    records
}

/// What follows from what happens to the turn that runs.
fn react_in(state: &Folded, turn: &TurnState, event: Event, env: &Env<'_>) -> Vec<Body> {
    match event {
        Event::Planned { dropped, answer, took } if dropped == turn.plans_dropped => {
            let mut records = planned::planned(state, turn, answer, env);
            if let Some(took) = took {
                latency::add(turn, (LatencyStage::Plan, None, took), &mut records, env);
            }
            records
        }
        Event::Checked { step, input, problem } => start::checked(state, turn, step, &input, problem, env),
        Event::ChildOpened { step, session, child, input } => {
            children::opened(turn, step, (session, child), &input, env)
        }
        Event::Ruled { step, place, value, rulings, rewritten } => {
            guarded::ruled(turn, step, guarded::RulingsOf { at: place, value, rulings, rewritten })
        }
        Event::Finished { step, attempt, read, end, took } => {
            let records = attempt::finished(state, turn, step, attempt, end, env);
            let mut records = optimistic::judged(turn, step, (attempt, read), records);
            if let (Some(took), Some(stage)) = (took, turn.attempt_stage(step)) {
                latency::add(turn, (stage, Some(step), took), &mut records, env);
            }
            records
        }
        Event::Took { stage, step, took } => turn.breach(stage, step, took, env.limits).into_iter().collect(),
        Event::Probed { step, answer } => attempt::probed(turn, step, answer, env),
        Event::Planned { .. } | Event::Mail { .. } | Event::Withdrawn { .. } => Vec::new(),
    }
}
