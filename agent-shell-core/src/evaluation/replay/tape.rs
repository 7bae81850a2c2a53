//! What is replayed: recorded turns, whatever they were recorded by.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::super::past::{CallEnd, PastCall, PastQuestion, PastTurn};
use super::recording;
use crate::backends::models::RecordingError;
use crate::data::{Answer, AnswerFormat, Failure, FailureCode, Outcome, PlannerRef};
use crate::ports::{ModelRequest, SessionFilter};
use crate::runtime::Shell;
use crate::words::{ErrorKind, Result, SessionId, StepId, TurnId};

/// Sessions listed at once.
const PAGE: usize = 256;

/// Recorded turns, session by session.
#[derive(Debug, Clone, Default)]
pub struct Tape {
    pub(super) sessions: Vec<Vec<TapedTurn>>,
}

/// One recorded turn.
#[derive(Debug, Clone)]
pub(super) struct TapedTurn {
    pub(super) session: Option<SessionId>,
    pub(super) id: Option<TurnId>,
    pub(super) number: usize,
    pub(super) input: Arc<Value>,
    /// None for the default one.
    pub(super) planner: Option<PlannerRef>,
    pub(super) wants: Option<AnswerFormat>,
    pub(super) questions: Vec<TapedQuestion>,
    pub(super) calls: Vec<TapedCall>,
    /// None where it is not recorded.
    pub(super) outcome: Option<Outcome>,
    /// Why it can't be replayed.
    pub(super) stop: Option<String>,
}

#[derive(Debug, Clone)]
pub(super) struct TapedQuestion {
    /// None where it is not recorded.
    pub(super) step: Option<StepId>,
    pub(super) place: usize,
    pub(super) request: Option<Arc<ModelRequest>>,
    /// Or why it was not answered; none where it is not recorded.
    pub(super) answer: Option<std::result::Result<Arc<Answer>, String>>,
    /// Whether the model was really asked.
    pub(super) was_begun: bool,
}

#[derive(Debug, Clone)]
pub(super) struct TapedCall {
    /// None where it is not recorded.
    pub(super) step: Option<StepId>,
    pub(super) place: usize,
    pub(super) tool: String,
    pub(super) input: Option<Arc<Value>>,
    /// Or why it failed; none where it is not recorded.
    pub(super) end: Option<std::result::Result<Arc<Value>, String>>,
    /// Whether the tool was really called, or would have been without an approval.
    pub(super) was_begun: bool,
}

impl Tape {
    /// The turns of a session, from its journal.
    ///
    /// A turn that did not end with an answer or a failure, or that waited for a signal, an instant, or an approval of something
    /// else than a call, can't be replayed, nor what follows it.
    ///
    /// # Errors
    /// As [`PastTurn::of_session`].
    ///
    /// # Cancel safety
    /// Reading has no effect.
    pub async fn of_session(shell: &Shell, session: SessionId) -> Result<Self> {
        let turns = PastTurn::of_session(shell, session).await?;
        Ok(Self { sessions: vec![turns.into_iter().map(TapedTurn::from).collect()] })
    }

    /// The turns of each session that the filter lets through, the oldest session first, but those that were purged or archived,
    /// and those without a turn.
    ///
    /// # Errors
    /// What the store or the key store says.
    ///
    /// # Cancel safety
    /// Reading has no effect.
    pub async fn of_sessions(shell: &Shell, filter: SessionFilter) -> Result<Self> {
        let (mut tape, mut after) = (Self::default(), None);
        loop {
            let page = shell.sessions(filter.clone(), after, PAGE).await?;
            for entry in &page {
                match Self::of_session(shell, entry.id).await {
                    Err(error) if matches!(error.kind(), ErrorKind::Purged | ErrorKind::Archived) => {}
                    of_session => {
                        tape.sessions
                            .extend(of_session?.sessions.into_iter().filter(|turns| !turns.is_empty()));
                    }
                }
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.id),
                _ => return Ok(tape),
            }
        }
    }

    /// The conversations of a file that a [`Recorder`](crate::Recorder) wrote, with requests
    /// ([`with_requests`](crate::Recorder::with_requests)): a question that goes on where an earlier one was answered belongs to the
    /// same conversation, and each message of a user begins a turn. Results of calls are taken from the requests that tell of
    /// them. It blocks while it reads.
    ///
    /// Such a file knows no steps and no outcomes: these are not compared. Questions that were not answered are passed over, and
    /// so are those of which the beginning was let go or summarised. Only the default planner replays them.
    ///
    /// # Errors
    /// [`RecordingError`]: [`Damaged`](RecordingError::Damaged) also for a line without its request.
    pub fn open(path: impl AsRef<Path>) -> std::result::Result<Self, RecordingError> {
        Ok(Self { sessions: recording::conversations(path.as_ref())? })
    }

    /// How many turns there are.
    pub fn turns(&self) -> usize {
        self.sessions.iter().map(Vec::len).sum()
    }
}

impl From<PastTurn> for TapedTurn {
    fn from(past: PastTurn) -> Self {
        let stop = match &past.outcome {
            _ if past.forked.is_some() => {
                Some("its session is a fork, and goes on with a conversation of another one".to_owned())
            }
            _ if past.waited => Some("it waited for something from outside".to_owned()),
            Some(Outcome::Answered(_) | Outcome::Failed(_)) => None,
            Some(_) => Some("it was ended from outside".to_owned()),
            None => Some("it has not ended".to_owned()),
        };
        Self {
            session: Some(past.session),
            id: Some(past.turn),
            number: past.number,
            input: past.input,
            planner: Some(past.planner),
            wants: past.wants,
            questions: past.questions.into_iter().map(TapedQuestion::from).collect(),
            calls: past.calls.into_iter().map(TapedCall::from).collect(),
            outcome: past.outcome,
            stop,
        }
    }
}

impl From<PastQuestion> for TapedQuestion {
    fn from(PastQuestion { step, place, request, answer, .. }: PastQuestion) -> Self {
        let was_begun = !matches!(&answer, Some(Err(failure)) if is_before(failure));
        let answer = answer.map(|answer| answer.map_err(|failure| failure.message));
        Self { step: Some(step), place, request, answer, was_begun }
    }
}

impl From<PastCall> for TapedCall {
    fn from(PastCall { step, place, tool, input, end }: PastCall) -> Self {
        let was_begun = !matches!(&end, Some(CallEnd::Failed(failure)) if is_before(failure));
        let end = end.map(|end| match end {
            CallEnd::Succeeded(output) => Ok(output),
            CallEnd::Failed(failure) => Err(failure.message),
        });
        Self { step: Some(step), place, tool: tool.to_string(), input, end, was_begun }
    }
}

/// Whether a step may have failed before it was begun: by what it was made of, say, or by a budget.
fn is_before(failure: &Failure) -> bool {
    matches!(
        failure.code,
        FailureCode::InvalidArguments
            | FailureCode::UnresolvedInput
            | FailureCode::TooLarge
            | FailureCode::Budget
    )
}
