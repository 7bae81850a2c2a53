//! The table of transitions: which record may come in which stage of a step or of its session, and what stage it leads to.
//!
//! Every record makes one transition. The fold looks it up before a state changes and again after: what is not in the
//! table is refused, so the table is all that can happen. Tests and simulations count its rows.

use std::fmt;

use super::state::{Folded, Phase, TurnState};
use crate::data::BodyKind;

/// Where a step stands, or else the session: without a turn, with one that runs, with one that can only end, or erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// A step that is [`Phase::Pending`].
    Pending,
    /// A step that is [`Phase::Waiting`].
    Waiting,
    /// A step that is [`Phase::Approved`].
    Approved,
    /// A step that is [`Phase::Started`].
    Started,
    /// A step that is [`Phase::Delegated`].
    Delegated,
    /// A step that is [`Phase::Paused`].
    Paused,
    /// A step that is [`Phase::Probing`].
    Probing,
    /// A step that is [`Phase::InDoubt`].
    InDoubt,
    /// A step that is [`Phase::Returned`].
    Returned,
    /// A step that is [`Phase::Parked`].
    Parked,
    /// A step that has [`Phase::Succeeded`]. Nothing comes after.
    Succeeded,
    /// A step that has [`Phase::Failed`]. Nothing comes after.
    Failed,
    /// A session without a turn.
    NoTurn,
    /// A session with a turn that runs or rests.
    Running,
    /// A session with a turn that can only end.
    Ending,
    /// A session whose subject was erased. Nothing comes after.
    Purged,
}

impl Stage {
    const COUNT: usize = Self::Purged as usize + 1;

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Waiting => "waiting",
            Self::Approved => "approved",
            Self::Started => "started",
            Self::Delegated => "delegated",
            Self::Paused => "paused",
            Self::Probing => "probing",
            Self::InDoubt => "in doubt",
            Self::Returned => "returned",
            Self::Parked => "parked",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::NoTurn => "no turn",
            Self::Running => "running",
            Self::Ending => "ending",
            Self::Purged => "purged",
        }
    }
}

impl Phase {
    /// The stage that the table knows the phase as.
    pub const fn stage(&self) -> Stage {
        match self {
            Self::Pending => Stage::Pending,
            Self::Waiting(_) => Stage::Waiting,
            Self::Approved => Stage::Approved,
            Self::Started { .. } => Stage::Started,
            Self::Delegated => Stage::Delegated,
            Self::Paused { .. } => Stage::Paused,
            Self::Probing { .. } => Stage::Probing,
            Self::InDoubt { .. } => Stage::InDoubt,
            Self::Returned(_) => Stage::Returned,
            Self::Parked { .. } => Stage::Parked,
            Self::Succeeded(_) => Stage::Succeeded,
            Self::Failed(_) => Stage::Failed,
        }
    }
}

impl TurnState {
    /// The stage of the session whose turn this is.
    pub const fn stage(&self) -> Stage {
        if self.ending.is_some() { Stage::Ending } else { Stage::Running }
    }
}

impl Folded {
    /// The stage of the session.
    pub const fn stage(&self) -> Stage {
        match &self.turn {
            Some(turn) => turn.stage(),
            None if self.purged => Stage::Purged,
            None => Stage::NoTurn,
        }
    }
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Transition {
    /// The record that makes it.
    pub record: BodyKind,
    /// The stage in which the record may come.
    pub from: Stage,
    /// The stage after it.
    pub to: Stage,
}

impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} -> {}", self.record.name(), self.from.name(), self.to.name())
    }
}

macro_rules! rows {
    ($($record:ident: $($from:ident -> $to:ident),+;)+) => {
        &[$($(Transition { record: BodyKind::$record, from: Stage::$from, to: Stage::$to },)+)+]
    };
}

/// Everything that can happen to a session, its turn, and a step.
pub const TRANSITIONS: &[Transition] = rows! {
    // The session and its turn.
    SessionOpened: NoTurn -> NoTurn;
    SessionForked: NoTurn -> NoTurn;
    TurnStarted: NoTurn -> Running;
    TurnSteered: Running -> Running, Ending -> Ending;
    PromptSet: Running -> Running;
    PlanAdopted: Running -> Running;
    PlanAnswered: Running -> Running;
    PlanFailed: Running -> Ending;
    SignalReceived: NoTurn -> NoTurn, Running -> Running, Ending -> Ending;
    SessionHandedOff: NoTurn -> NoTurn, Running -> Running, Ending -> Ending;
    MailRefused: NoTurn -> NoTurn, Running -> Running, Ending -> Ending;
    TurnInterrupted: Running -> Running, Running -> Ending, Ending -> Ending;
    TurnExpired: Running -> Ending;
    TurnCancelled: Running -> Ending;
    TurnWithdrawn: NoTurn -> NoTurn, Running -> Running, Ending -> Ending;
    UndoPlanned: Ending -> Ending;
    TurnAnswered: Running -> Running;
    // It changes no stage.
    LatencyBreached: Running -> Running, Ending -> Ending;
    TurnEnded: Running -> NoTurn, Ending -> NoTurn;
    SessionPurged: NoTurn -> Purged, Running -> Purged, Ending -> Purged;
    // A step.
    WaitOpened: Pending -> Waiting;
    // An approval lets a call begin, or is all that the step is for.
    WaitEnded: Waiting -> Approved, Waiting -> Succeeded;
    // From `Started`: by another owner, after the attempt of one that is gone.
    StepStarted: Pending -> Started, Approved -> Started, Paused -> Started, Started -> Started;
    // From `Pending` and `Approved`: a `Pure` step, whose attempts are not recorded when they begin.
    AttemptFailed: Pending -> Paused, Approved -> Paused, Paused -> Paused, Started -> Paused,
        Started -> Probing, Probing -> Paused;
    // An optimistic step, which is `Pure`.
    StepOutdated: Pending -> Pending, Approved -> Pending, Paused -> Pending, Returned -> Pending;
    ProbeFailed: Probing -> Probing;
    // From `Pending`, a child is told to undo what it did.
    ChildStarted: Pending -> Delegated, Paused -> Delegated;
    ChildCancelled: Pending -> Delegated, Delegated -> Delegated;
    ChildEnded: Delegated -> Delegated;
    // From `Delegated`: in a fork, of a child that is the parent's.
    StepInDoubt: Started -> InDoubt, Paused -> InDoubt, Probing -> InDoubt, Delegated -> InDoubt;
    StepResolved: InDoubt -> Succeeded, InDoubt -> Paused, Parked -> Succeeded, Parked -> Paused, Parked -> Pending;
    // What undoes another step does not fail: it rests.
    UndoParked: Pending -> Parked, Waiting -> Parked, Approved -> Parked, Paused -> Parked, Started -> Parked,
        Probing -> Parked;
    StepSucceeded: Pending -> Succeeded, Approved -> Succeeded, Paused -> Succeeded, Started -> Succeeded,
        Probing -> Succeeded, Returned -> Succeeded, Delegated -> Succeeded;
    // A question is `Pure`.
    ModelAnswered: Pending -> Succeeded, Paused -> Succeeded, Returned -> Succeeded;
    // Where guards look at results and answers, they come in two records.
    StepReturned: Pending -> Returned, Approved -> Returned, Paused -> Returned, Started -> Returned,
        Probing -> Returned;
    // Before a question or a call, and again when what it would say has changed; after a result or an answer.
    // From `Paused` to `Pending`: an optimistic step, whose next call is another one.
    GuardRuled: Pending -> Pending, Approved -> Approved, Paused -> Paused, Paused -> Pending, Returned -> Returned;
    StepFailed: Pending -> Failed, Waiting -> Failed, Approved -> Failed, Paused -> Failed, Started -> Failed,
        Probing -> Failed, InDoubt -> Failed, Returned -> Failed, Parked -> Failed, Delegated -> Failed;
};

/// The row of each transition, counted from 1; 0 where there is none.
const INDEX: [[[u8; Stage::COUNT]; Stage::COUNT]; BodyKind::COUNT] = {
    let mut index = [[[0; Stage::COUNT]; Stage::COUNT]; BodyKind::COUNT];
    let mut row = 0;
    while row < TRANSITIONS.len() {
        let Transition { record, from, to } = TRANSITIONS[row];
        let place = &mut index[record as usize][from as usize][to as usize];
        assert!(*place == 0, "a row stands in the table twice");
        row += 1;
        *place = row as u8;
    }
    index
};

/// Whether the table has any row for a record in a stage.
pub(super) fn may_come(record: BodyKind, from: Stage) -> bool {
    INDEX[record as usize][from as usize] != [0; Stage::COUNT]
}

/// The row of a transition, if the table has it.
pub(super) fn find(record: BodyKind, from: Stage, to: Stage) -> Option<&'static Transition> {
    let row = INDEX[record as usize][from as usize][to as usize];
    TRANSITIONS.get(usize::from(row).wrapping_sub(1))
}
