//! Mail: what others ask of a session. It is durable when it is posted, and consumed inside an append of the owner.

use serde::{Deserialize, Serialize};

use super::body::{Decision, Payload, PlannerRef, Resolution};
use super::budget::Ceiling;
use super::chat::AnswerFormat;
use super::child::ChildMail;
use crate::words::{Digest, PlannerName, Seq, SessionId, SignalName, StepId, Timestamp, TurnId};

/// A turn that is asked for while another one may run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TurnRequest {
    /// The turn's id, given when it was posted.
    pub turn: TurnId,
    /// The input.
    pub input: Payload,
    /// Who plans it, if it starts.
    pub planner: PlannerRef,
    /// Whether that is only the shell's default, in whose place a hand-off puts another.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_default: bool,
    /// When it must have ended, if it starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// The form that its answer must have, if it starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wants: Option<Box<AnswerFormat>>,
    /// What it may spend, if it starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Box<Ceiling>>,
    /// Whether the input is made of untrusted content.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untrusted: bool,
}

impl TurnRequest {
    /// A turn with this input and planner.
    pub fn new(turn: TurnId, input: impl Into<Payload>, planner: PlannerRef) -> Self {
        let input = input.into();
        let (deadline, wants, budget) = (None, None, None);
        Self { turn, input, planner, by_default: false, deadline, wants, budget, untrusted: false }
    }
}

/// What a piece of mail asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Mail {
    /// Run a turn. Its turns run one after another; this one waits in the mailbox until then.
    Submit {
        /// The turn's id, given when it was posted.
        turn: TurnId,
        /// The input.
        input: Payload,
        /// Who plans.
        planner: PlannerRef,
        /// Whether that is only the shell's default, in whose place a hand-off puts another.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        by_default: bool,
        /// When the turn must have ended.
        deadline: Option<Timestamp>,
        /// The form that the answer must have.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wants: Option<Box<AnswerFormat>>,
        /// What the turn may spend.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        budget: Option<Box<Ceiling>>,
        /// Whether the input is made of untrusted content.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        untrusted: bool,
    },
    /// Say more to the turn that runs. Where none does, this starts one of its own.
    Steer {
        /// What is said, and the turn that it becomes when nobody takes it up.
        request: Box<TurnRequest>,
        /// Whether what has not begun is given up, and planned again.
        at_once: bool,
    },
    /// Approve or deny a call.
    Decide {
        /// The turn.
        turn: TurnId,
        /// The step that waits.
        step: StepId,
        /// The digest of the exact call that the approver saw.
        digest: Digest,
        /// Yes or no.
        decision: Decision,
    },
    /// Deliver a signal.
    Signal {
        /// Its name.
        name: SignalName,
        /// What it carries.
        payload: Payload,
    },
    /// Say what became of a step that is in doubt.
    Resolve {
        /// The turn.
        turn: TurnId,
        /// The step.
        step: StepId,
        /// The attempt that the operator asked after; none in mail of a version that did not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        attempt: Option<u32>,
        /// What the operator found.
        resolution: Resolution,
    },
    /// Give up a turn that rests.
    Abandon {
        /// The turn.
        turn: TurnId,
        /// Why.
        reason: String,
    },
    /// Cancel a turn, whether it runs or waits.
    Cancel {
        /// The turn.
        turn: TurnId,
        /// Why.
        reason: String,
    },
    /// Begin the session with what another one holds at a record.
    Fork {
        /// The other session.
        parent: SessionId,
        /// The record.
        seq: Seq,
        /// The hash of the other session's chain there.
        hash: Digest,
        /// Whether what touches the world may be done.
        effects: bool,
    },
    /// Let another planner plan from now on.
    HandOff {
        /// Which.
        planner: PlannerName,
        /// Why.
        reason: String,
    },
    /// What a parent and its child tell each other.
    Child(ChildMail),
    /// Erase what the session holds: its subject is to be forgotten. It is posted empty and unsealed, so that it can
    /// be read when the key is gone.
    Purge,
}

impl Mail {
    /// The kind of the mail.
    pub fn kind(&self) -> MailKind {
        match self {
            Self::Submit { .. } => MailKind::Submit,
            Self::Steer { .. } => MailKind::Steer,
            Self::Decide { .. } => MailKind::Decide,
            Self::Signal { .. } => MailKind::Signal,
            Self::Resolve { .. } => MailKind::Resolve,
            Self::Abandon { .. } => MailKind::Abandon,
            Self::Cancel { .. } => MailKind::Cancel,
            Self::Fork { .. } => MailKind::Fork,
            Self::HandOff { .. } => MailKind::HandOff,
            Self::Child(_) => MailKind::Child,
            Self::Purge => MailKind::Purge,
        }
    }

    /// The turn that the mail cancels, and why.
    pub(crate) fn cancels(&self) -> Option<(TurnId, &str)> {
        match self {
            Self::Cancel { turn, reason } | Self::Child(ChildMail::Cancel { turn, reason }) => {
                Some((*turn, reason))
            }
            _ => None,
        }
    }
}

/// The kind of a piece of mail, which a backend stores in the clear. Dedupe keys are unique within a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MailKind {
    /// [`Mail::Submit`].
    Submit,
    /// [`Mail::Decide`].
    Decide,
    /// [`Mail::Signal`].
    Signal,
    /// [`Mail::Resolve`].
    Resolve,
    /// [`Mail::Abandon`].
    Abandon,
    /// [`Mail::Purge`].
    Purge,
    /// [`Mail::Cancel`].
    Cancel,
    /// [`Mail::Fork`].
    Fork,
    /// [`Mail::HandOff`].
    HandOff,
    /// [`Mail::Child`].
    Child,
    /// [`Mail::Steer`].
    Steer,
}

impl MailKind {
    /// The kind as stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Decide => "decide",
            Self::Signal => "signal",
            Self::Resolve => "resolve",
            Self::Abandon => "abandon",
            Self::Purge => "purge",
            Self::Cancel => "cancel",
            Self::Fork => "fork",
            Self::HandOff => "hand_off",
            Self::Child => "child",
            Self::Steer => "steer",
        }
    }

    /// The kind that is stored as `text`.
    pub fn parse(text: &str) -> Option<Self> {
        let all = [
            Self::Submit,
            Self::Decide,
            Self::Signal,
            Self::Resolve,
            Self::Abandon,
            Self::Purge,
            Self::Cancel,
            Self::Fork,
            Self::HandOff,
            Self::Child,
            Self::Steer,
        ];
        all.into_iter().find(|kind| kind.as_str() == text)
    }

    /// The lane in which mail of this kind is read.
    pub const fn lane(self) -> Lane {
        match self {
            Self::Submit => Lane::Input,
            Self::Signal => Lane::Signal,
            Self::Steer => Lane::Steer,
            _ => Lane::Control,
        }
    }
}

/// Mail is read in lanes, each with its own quota, so that an approval is stuck neither behind inputs that wait for the
/// turn to end, nor behind signals for which no step waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Inputs of turns: read when no turn runs, one at a time.
    Input,
    /// Signals: read as long as there is room for them, or a step waits for one.
    Signal,
    /// Decisions: read at once.
    Control,
    /// What is said to a turn that runs: read as long as there is room for it.
    Steer,
}

impl Lane {
    /// Every lane.
    pub const ALL: [Self; 4] = [Self::Input, Self::Signal, Self::Control, Self::Steer];
}
