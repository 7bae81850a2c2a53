//! Turns as the journal tells of them: what was asked, called, answered and spent.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::data_set::Case;
use crate::data::{
    Action, Answer, AnswerFormat, Body, Content, Failure, FailureCode, Outcome, PlannerRef, Resolution,
    WaitFor,
};
use crate::machine::{Command, Entry, Env, Folded, Live, fold, owed};
use crate::ports::ModelRequest;
use crate::runtime::Shell;
use crate::words::{
    Error, ErrorKind, Limits, ModelName, Result, SessionId, StepId, Timestamp, ToolName, TurnId,
};

/// Records read at once.
const PAGE: usize = 500;

/// A turn that a session recorded.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PastTurn {
    /// Its session.
    pub session: SessionId,
    /// The turn.
    pub turn: TurnId,
    /// Its place among the turns of its session, from 1; in a fork, those of its parent come first.
    pub number: usize,
    /// The session from which its own is forked, if it is a fork.
    pub forked: Option<SessionId>,
    /// The inputs of the turns before it in its own session, the oldest first.
    pub before: Vec<Arc<Value>>,
    /// Its input.
    pub input: Arc<Value>,
    /// Who planned it.
    pub planner: PlannerRef,
    /// The form that its answer had to have.
    pub wants: Option<AnswerFormat>,
    /// When it started.
    pub started: Timestamp,
    /// When it ended, if it has.
    pub ended: Option<Timestamp>,
    /// How it ended; none as long as it has not.
    pub outcome: Option<Outcome>,
    /// The questions that models were asked, in plan order.
    pub questions: Vec<PastQuestion>,
    /// The calls that were made, or denied, in plan order.
    pub calls: Vec<PastCall>,
    /// Whether a step of it waited for a signal, an instant, or an approval of something else than a call.
    pub waited: bool,
}

/// A question to a model.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PastQuestion {
    /// The step that asked.
    pub step: StepId,
    /// The model.
    pub model: ModelName,
    /// What it was asked. It is made again from the records; none where they don't say it.
    pub request: Option<Arc<ModelRequest>>,
    /// What it answered, or why the step failed; none when neither is recorded.
    pub answer: Option<std::result::Result<Arc<Answer>, Failure>>,
    pub(super) place: usize,
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PastCall {
    /// The step that called.
    pub step: StepId,
    /// The tool.
    pub tool: ToolName,
    /// The arguments; none where the records don't say them.
    pub input: Option<Arc<Value>>,
    /// How it ended; none when it has not, or nobody knows.
    pub end: Option<CallEnd>,
    #[serde(skip)]
    pub(super) place: usize,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CallEnd {
    /// With this output.
    Succeeded(Arc<Value>),
    /// It failed, or was denied.
    Failed(Failure),
}

/// What answers of models used, as far as they said. Of an attempt that brought no answer nothing is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Spent {
    /// Tokens of the requests; none when an answer did not say.
    pub input_tokens: Option<u64>,
    /// Tokens of the answers; none when an answer did not say.
    pub output_tokens: Option<u64>,
    /// What they cost, in billionths of a US dollar; none when an answer did not say.
    pub cost_nano_usd: Option<u64>,
}

impl Spent {
    /// Tokens of requests and answers.
    pub fn tokens(&self) -> Option<u64> {
        Some(self.input_tokens?.saturating_add(self.output_tokens?))
    }
}

impl PastTurn {
    /// The turns of a session, the oldest first. Records are checked against the chain.
    ///
    /// # Errors
    /// Those of [`Shell::history`] and [`History::next`](crate::runtime::History::next).
    ///
    /// # Cancel safety
    /// Reading has no effect.
    pub async fn of_session(shell: &Shell, session: SessionId) -> Result<Vec<Self>> {
        let mut history = shell.history(session).await?;
        let mut reading = Reading { state: Folded::new(session), turns: Vec::new() };
        loop {
            let page = history.next(PAGE).await?;
            if page.is_empty() {
                return Ok(reading.turns);
            }
            page.iter().try_for_each(|entry| reading.read(entry))?;
        }
    }

    /// A case of the same input, with the same turns before it, that expects the recorded answer. It is called by the turn's
    /// id and tagged `recorded`. None unless the turn was answered, and none in a fork, where turns of its parent came before.
    pub fn case(&self) -> Option<Case> {
        if self.number != self.before.len() + 1 {
            return None;
        }
        let answer = self.outcome.as_ref()?.answer()?.clone();
        let case = Case::new(self.turn.to_string(), (*self.input).clone()).expected(answer).tag("recorded");
        Some(self.before.iter().fold(case, |case, input| case.after((**input).clone())))
    }

    /// What the user said, where it is text.
    pub fn text(&self) -> String {
        let text = |part: Content| if let Content::Text(text) = part { Some(text) } else { None };
        Content::read(&self.input).into_iter().filter_map(text).collect()
    }

    /// What the answers used.
    pub fn spent(&self) -> Spent {
        let answers = || self.questions.iter().filter_map(|asked| asked.answer.as_ref()?.as_ref().ok());
        let sum = |of: fn(&Answer) -> Option<u64>| {
            answers().try_fold(0_u64, |sum, answer| Some(sum.saturating_add(of(answer)?)))
        };
        Spent {
            input_tokens: sum(|answer| answer.usage.input_tokens),
            output_tokens: sum(|answer| answer.usage.output_tokens),
            cost_nano_usd: sum(|answer| answer.usage.cost_nano_usd),
        }
    }
}

/// Folds records, and notes what each one tells.
struct Reading {
    state: Folded,
    turns: Vec<PastTurn>,
}

impl Reading {
    fn read(&mut self, entry: &Entry) -> Result<()> {
        self.note_step(entry);
        self.note_turn(entry);
        fold(&mut self.state, entry).map_err(|error| Error::new(ErrorKind::Corrupt, error.to_string()))?;
        Ok(())
    }

    fn note_turn(&mut self, entry: &Entry) {
        if let Body::TurnStarted { turn, input, planner, wants, .. } = &entry.body {
            let before = self.turns.iter().map(|turn| turn.input.clone()).collect();
            self.turns.push(PastTurn {
                session: self.state.session,
                turn: *turn,
                number: usize::try_from(self.state.turns).unwrap_or(usize::MAX).saturating_add(1),
                forked: self.state.forked.as_ref().map(|forked| forked.parent),
                before,
                input: input.value(),
                planner: (**planner).clone(),
                wants: wants.as_deref().cloned(),
                started: entry.time,
                ended: None,
                outcome: None,
                questions: Vec::new(),
                calls: Vec::new(),
                waited: false,
            });
        }
        let Some(past) = self.turns.last_mut().filter(|past| entry.body.turn() == Some(past.turn)) else {
            return;
        };
        // When it came, no repetition can know.
        past.waited |= matches!(entry.body, Body::TurnSteered { .. });
        if let Some(outcome) = Outcome::recorded(&entry.body) {
            (past.outcome, past.ended) = (Some(outcome), Some(entry.time));
        }
    }

    fn note_step(&mut self, entry: &Entry) {
        let (Some(id), Some(name)) = (entry.body.turn(), entry.body.step()) else { return };
        let Some(turn) = self.state.turn.as_ref().filter(|turn| turn.id == id) else { return };
        let Some(&place) = turn.index.get(name) else { return };
        let Some(past) = self.turns.last_mut().filter(|past| past.turn == id) else { return };
        // What was never begun was neither asked nor called.
        let is_unbegun = |code| matches!(code, FailureCode::Skipped | FailureCode::Superseded);
        if matches!(&entry.body, Body::StepFailed { failure, .. } if is_unbegun(failure.code)) {
            return;
        }
        let due = || due(&self.state, entry, place);
        match &turn.steps[place].step.action {
            Action::Tool { name: tool, .. } => {
                let at = past.calls.partition_point(|call| call.place < place);
                if past.calls.get(at).is_none_or(|call| call.place != place) {
                    let (step, tool) = (name.clone(), tool.clone());
                    past.calls.insert(at, PastCall { step, tool, input: None, end: None, place });
                }
                past.calls[at].hear(&entry.body, due);
            }
            Action::Model(ask) => {
                let at = past.questions.partition_point(|asked| asked.place < place);
                if past.questions.get(at).is_none_or(|asked| asked.place != place) {
                    let (step, model) = (name.clone(), ask.model.clone());
                    past.questions
                        .insert(at, PastQuestion { step, model, request: None, answer: None, place });
                }
                past.questions[at].hear(&entry.body, due);
            }
            _ => past.waited = true,
        }
    }
}

impl PastCall {
    fn hear(&mut self, body: &Body, due: impl FnOnce() -> Option<Command>) {
        match body {
            Body::StepStarted { input: Some(input), .. } => self.input = Some(input.value()),
            Body::WaitOpened { wait: WaitFor::Approval { shown, .. }, .. } => {
                self.input = Some(shown.value())
            }
            // What counts in the end was made anew.
            Body::StepOutdated { .. } => return self.input = None,
            Body::StepSucceeded { output, .. } => self.end = Some(CallEnd::Succeeded(output.value())),
            Body::StepFailed { failure, .. } => self.end = Some(CallEnd::Failed(failure.clone())),
            Body::StepResolved { resolution: Resolution::Applied(output), .. } => {
                self.end = Some(CallEnd::Succeeded(Arc::new(output.clone())));
            }
            _ => {}
        }
        // Of a `Pure` call, and of one that was refused before it began, the input is not recorded, and can be made again.
        if self.input.is_none()
            && let Some(Command::Act { input, .. } | Command::Check { input, .. }) = due()
        {
            self.input = Some(input);
        }
    }
}

impl PastQuestion {
    fn hear(&mut self, body: &Body, due: impl FnOnce() -> Option<Command>) {
        match body {
            Body::ModelAnswered { answer, .. } => {
                self.answer =
                    serde_json::from_value((*answer.value()).clone()).ok().map(|answer| Ok(Arc::new(answer)));
            }
            Body::StepFailed { failure, .. } => self.answer = Some(Err(failure.clone())),
            Body::StepOutdated { .. } => return self.request = None,
            _ => {}
        }
        if self.request.is_none()
            && let Some(Command::Ask { request, .. }) = due()
        {
            self.request = Some(request);
        }
    }
}

/// What the runtime was asked to do for a step when this record was written: the machine is asked again, with bounds that
/// refuse nothing.
fn due(state: &Folded, entry: &Entry, place: usize) -> Option<Command> {
    let mut limits = Limits::default();
    (limits.question_bytes, limits.payload_bytes) = (usize::MAX, usize::MAX);
    (limits.parallel_steps, limits.interruptions) = (usize::MAX, u32::MAX);
    let env = Env {
        epoch: entry.epoch,
        now: entry.time,
        heard: entry.time,
        limits: &limits,
        guards: Default::default(),
        random: 0,
        latency: None,
    };
    let live = Live { durable: entry.seq, apart: true, ..Live::default() };
    owed(state, &live, &env).commands.into_iter().find(|command| match command {
        Command::Act { step, .. } | Command::Check { step, .. } | Command::Ask { step, .. } => *step == place,
        _ => false,
    })
}

/// The names of the tools that were called.
pub(super) fn tools_called(calls: &[PastCall]) -> BTreeSet<&str> {
    calls.iter().map(|call| call.tool.as_str()).collect()
}
