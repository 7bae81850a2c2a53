//! What records say: one type for each kind, in the order of a turn's life.
//!
//! The file is long because one macro holds every kind, from which the kinds, their names and their variants are made.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::budget::Ceiling;
use super::chat::AnswerFormat;
use super::child::ChildOf;
use super::contract::{EffectClass, RequirementId, Retry, ToolContract};
use super::guard::{GuardPlace, GuardRuling};
use super::latency::{LatencyBudgets, LatencyStage};
use super::mail::{MailKind, TurnRequest};
use super::outcome::{Failure, Outcome, Undone};
use super::plan::Plan;
use crate::words::{
    ContextKey, Digest, MailId, PlannerName, Seq, SessionId, SessionName, SignalName, StepId, Subject,
    Timestamp, ToolName, TurnId,
};

/// A JSON value that may be stored beside its record when it is large.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Payload {
    /// The value itself.
    Inline(Arc<Value>),
    /// The value is a blob of the session.
    Blob {
        /// The blob's address: a keyed digest of its JSON.
        address: Digest,
        /// The length of its JSON.
        bytes: u64,
    },
}

impl Payload {
    /// The value, or null for a blob that was not fetched. What reads a journal fetches every blob before it folds.
    pub fn value(&self) -> Arc<Value> {
        match self {
            Self::Inline(value) => value.clone(),
            Self::Blob { .. } => Arc::new(Value::Null),
        }
    }
}

impl From<Value> for Payload {
    fn from(value: Value) -> Self {
        Self::Inline(Arc::new(value))
    }
}

impl From<Arc<Value>> for Payload {
    fn from(value: Arc<Value>) -> Self {
        Self::Inline(value)
    }
}

/// Who plans a turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PlannerRef {
    /// A planner that the shell was opened with.
    Named(PlannerName),
    /// The plan that came with the input.
    Fixed(Plan),
}

/// What a tool's contract said when the plan was adopted. It rules the plan's steps, whatever the tool says later.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ToolTerms {
    /// What may be done again.
    pub class: EffectClass,
    /// The contract's version.
    pub version: u32,
    /// Whether each call waits for an approval.
    pub ask_first: bool,
    /// How long an approval may be given.
    pub approval_ms: Option<u64>,
    /// Whether a call waits until all else has succeeded.
    pub held: bool,
    /// How long one attempt may take.
    pub attempt_ms: u64,
    /// How long the target remembers a key.
    pub remembers_keys_ms: u64,
    /// How failed attempts are repeated.
    pub retry: Retry,
    /// What the session requires of its owner.
    pub requirement: RequirementId,
    /// Whether the output is content from outside.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untrusted: bool,
    /// Whether a call can carry data out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub outbound: bool,
    /// The tool that undoes a call. Its own terms stand beside these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensation: Option<ToolName>,
}

impl ToolTerms {
    /// The terms of a contract, with the shell's default where it is silent.
    pub fn of(contract: &ToolContract, default_attempt_ms: u64) -> Self {
        Self {
            class: contract.class,
            version: contract.version,
            ask_first: contract.ask_first,
            approval_ms: contract.approval_ms,
            held: contract.held,
            attempt_ms: contract.attempt_ms.unwrap_or(default_attempt_ms),
            remembers_keys_ms: contract.remembers_keys_ms,
            retry: contract.retry,
            requirement: contract.requirement(),
            untrusted: contract.untrusted,
            outbound: contract.outbound,
            compensation: contract.compensation.clone(),
        }
    }
}

/// What a step waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WaitFor {
    /// A decision about exactly this.
    Approval {
        /// The digest of the call, which a decision must name.
        digest: Digest,
        /// The tool to be called; none for a step that only asks.
        tool: Option<ToolName>,
        /// The arguments of the call, or what the step shows.
        shown: Payload,
        /// When it is too late.
        expires: Option<Timestamp>,
    },
    /// A signal.
    Signal {
        /// Its name.
        name: SignalName,
        /// When it is too late.
        expires: Option<Timestamp>,
    },
    /// An instant.
    Timer {
        /// The instant.
        due: Timestamp,
    },
}

impl WaitFor {
    /// When the wait ends by itself.
    pub fn ends_at(&self) -> Option<Timestamp> {
        match self {
            Self::Approval { expires, .. } | Self::Signal { expires, .. } => *expires,
            Self::Timer { due } => Some(*due),
        }
    }
}

/// An act of which it was not known whether it took effect when its session was purged. Nothing compensates it, and
/// nobody is told: this is for whoever must look into it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OpenAct {
    /// The tool that was called.
    pub tool: ToolName,
    /// What may be done again.
    pub class: EffectClass,
    /// The idempotency key that its target got.
    pub key: String,
    /// The latest attempt, from 1.
    pub attempt: u32,
    /// When that attempt must have ended.
    pub deadline: Timestamp,
}

impl OpenAct {
    /// An open act.
    pub fn new(tool: ToolName, class: EffectClass, key: String, attempt: u32, deadline: Timestamp) -> Self {
        Self { tool, class, key, attempt, deadline }
    }
}

/// How a wait ended well. One that is denied or takes too long ends by its step's failure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WaitEnd {
    /// Somebody approved.
    Approved,
    /// The signal came.
    Signalled(Payload),
    /// The timer fired.
    Fired {
        /// How long after the instant.
        late_ms: u64,
    },
}

/// An approver's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Decision {
    /// Go on.
    Approved,
    /// Do not.
    Denied {
        /// Why.
        reason: String,
    },
}

/// What an operator found out about a step in doubt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Resolution {
    /// It happened; this is its output.
    Applied(Value),
    /// It did not happen: try it again.
    Retry,
    /// It did not happen: let the step fail.
    GiveUp,
}

macro_rules! bodies {
    ($($(#[$doc:meta])* $variant:ident = $kind:literal { $($(#[$field_doc:meta])* $field:ident: $type:ty),* $(,)? })+) => {
        /// What a record says. The JSON of the members is the record's body; the kind stands in its header.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum Body {
            $($(#[$doc])* $variant { $($(#[$field_doc])* $field: $type,)* },)+
        }

        /// What a body is about, without what it says.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum BodyKind {
            $($(#[$doc])* $variant,)+
        }

        impl BodyKind {
            /// How many there are.
            pub const COUNT: usize = Body::KINDS.len();

            /// The kind under which such a body is recorded.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $kind,)+ }
            }
        }

        impl Body {
            /// What the body is about.
            pub const fn about(&self) -> BodyKind {
                match self { $(Self::$variant { .. } => BodyKind::$variant,)+ }
            }

            /// The kind under which the body is recorded.
            pub fn kind(&self) -> &'static str {
                self.about().name()
            }

            /// Every kind of this version.
            pub const KINDS: &'static [&'static str] = &[$($kind),+];

            /// The name of the variant that bodies of `kind` have.
            pub(super) fn variant(kind: &str) -> Option<&'static str> {
                match kind { $($kind => Some(stringify!($variant)),)+ _ => None }
            }
        }
    };
}

bodies! {
    /// The session exists. Its first record.
    SessionOpened = "session.opened" {
        /// The name by which the host finds it.
        name: SessionName,
        /// Whose data it holds.
        subject: Subject,
        /// Whose child it is; none for a session that a host opened.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        child_of: Option<Box<ChildOf>>,
    }
    /// The session goes on from a record of another one, of the same tenant and subject. Its second record; the header's
    /// actor is who forked it.
    SessionForked = "session.forked" {
        /// The session that it goes on from.
        parent: SessionId,
        /// The record of it after which this one goes on.
        seq: Seq,
        /// The hash of the parent's chain at that record.
        hash: Digest,
        /// The first ancestor: attempts are charged to its account.
        root: SessionId,
        /// Whether what touches the world may be done.
        effects: bool,
        /// How many of the records that follow are copies of the parent's: those of the turn that ran.
        copies: u64,
        /// Handles up to this number name outputs of the parent.
        handles_from: u64,
        /// What the parent's records add up to, up to where its turn began or else up to that record.
        state: Box<Payload>,
        /// What becomes of calls that touch the world, where effects are off: what the parent recorded after that record.
        calls: Box<Payload>,
    }
    /// A turn left the mailbox and runs.
    TurnStarted = "turn.started" {
        /// The turn.
        turn: TurnId,
        /// Its input.
        input: Payload,
        /// Who plans it.
        planner: Box<PlannerRef>,
        /// When it was posted.
        posted: Timestamp,
        /// When it must have ended.
        deadline: Option<Timestamp>,
        /// The form that its answer must have.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wants: Option<Box<AnswerFormat>>,
        /// What it may spend.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        budget: Option<Box<Ceiling>>,
        /// Whether its input is made of untrusted content.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        untrusted: bool,
        /// How long its stages may take.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        latency: Option<Box<LatencyBudgets>>,
    }
    /// More was said while the turn ran. It waits for the planner; what no plan has taken up when the turn ends becomes a turn of
    /// its own, before any other. The header's actor is who said it.
    TurnSteered = "turn.steered" {
        /// The turn that runs.
        turn: TurnId,
        /// What was said, and the turn that it may become.
        request: Box<TurnRequest>,
        /// When it was posted.
        posted: Timestamp,
        /// Whether what has not begun is given up, and planned again.
        at_once: bool,
    }
    /// A prompt that the turn's questions to models name by its digest.
    PromptSet = "prompt.set" {
        /// The turn.
        turn: TurnId,
        /// SHA-256 of the prompt's canonical JSON.
        digest: Digest,
        /// The [`Prompt`](super::Prompt).
        prompt: Payload,
    }
    /// A round of planning is done.
    PlanAdopted = "plan.adopted" {
        /// The turn.
        turn: TurnId,
        /// The round, from 1.
        round: u32,
        /// The steps.
        plan: Plan,
        /// Whether the planner is asked again when they are done.
        more: bool,
        /// The terms of each tool that the plan uses first.
        terms: BTreeMap<ToolName, ToolTerms>,
    }
    /// The planner answered instead of planning.
    PlanAnswered = "plan.answered" {
        /// The turn.
        turn: TurnId,
        /// The answer, final once all held steps are done.
        answer: Payload,
    }
    /// The planner failed, or its plan was not valid.
    PlanFailed = "plan.failed" {
        /// The turn.
        turn: TurnId,
        /// Why.
        failure: Failure,
    }
    /// A step waits.
    WaitOpened = "wait.opened" {
        /// The turn.
        turn: TurnId,
        /// The step.
        step: StepId,
        /// For what.
        wait: WaitFor,
    }
    /// A wait ended.
    WaitEnded = "wait.ended" {
        /// The turn.
        turn: TurnId,
        /// The step.
        step: StepId,
        /// How.
        end: WaitEnd,
        /// The merged values of the context keys, when a waiting step succeeded with it.
        context: BTreeMap<ContextKey, Value>,
    }
    /// An attempt at a step other than `Pure` may begin: the intent.
    StepStarted = "step.started" {
        /// The turn.
        turn: TurnId,
        /// The step.
        step: StepId,
        /// Counts the attempts of this step, from 1.
        attempt: u32,
        /// The input, fixed from here on; none when an earlier record fixed it.
        input: Option<Payload>,
        /// The version of the context that the input was made from.
        context_version: u64,
        /// The idempotency key.
        key: String,
        /// When the attempt must have ended.
        deadline: Timestamp,
    }
    /// An attempt ended without success, and the step is not given up.
    AttemptFailed = "attempt.failed" {
        /// The turn.
        turn: TurnId,
        /// The step.
        step: StepId,
        /// The attempt.
        attempt: u32,
        /// Whether it is known that nothing happened.
        not_applied: bool,
        /// Whether it counts against the step's retries; an interruption does not.
        counts: bool,
        /// What was said.
        reason: String,
        /// When the next attempt, or the probe, may begin.
        retry_at: Timestamp,
    }
    /// An attempt at an optimistic step ended, and what it had read of the context has changed: its end counts for nothing, and
    /// the step begins anew.
    StepOutdated = "step.outdated" {
        /// The turn.
        turn: TurnId,
        /// The step.
        step: StepId,
        /// The attempt.
        attempt: u32,
        /// The keys of the context that have changed.
        changed: Vec<ContextKey>,
    }
    /// A probe brought no answer.
    ProbeFailed = "probe.failed" {
        /// The turn.
        turn: TurnId,
        /// The step.
        step: StepId,
        /// What was said.
        reason: String,
        /// When it is tried again.
        retry_at: Timestamp,
    }
    /// Guards ruled on what a step is about to do, or on what it brought.
    GuardRuled = "guard.ruled" {
        /// The turn.
        turn: TurnId,
        /// The step.
        step: StepId,
        /// Where they were asked.
        place: GuardPlace,
        /// SHA-256 of the canonical JSON of what the first of them was shown.
        digest: Digest,
        /// What each ruled, in the order in which they were asked; the first that denied is the last.
        rulings: Vec<GuardRuling>,
        /// What the last of them left in its place, when any rewrote it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<Payload>,
    }
    /// An attempt brought a result, on which guards have not ruled yet: nothing reads it before. Not final: the step's
    /// success, with what the guards leave, or its failure follows.
    StepReturned = "step.returned" {
        /// The turn.
        turn: TurnId,
        /// The step.
        step: StepId,
        /// The attempt that brought it.
        attempt: u32,
        /// The tool's output; of a question, the [`Answer`](super::Answer).
        output: Payload,
        /// Of a question, the digest of what was asked: [`ModelRequest::digest`](crate::ports::ModelRequest::digest).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        view: Option<Digest>,
    }
    /// A step succeeded. Final.
    StepSucceeded = "step.succeeded" {
        /// The turn.
        turn: TurnId,
        /// The step.
        step: StepId,
        /// The attempt that brought it.
        attempt: u32,
        /// Its output.
        output: Payload,
        /// The merged values of the context keys that it changed.
        context: BTreeMap<ContextKey, Value>,
    }
    /// A model answered, so the step that asked it succeeded. Final.
    ModelAnswered = "model.answered" {
        /// The turn.
        turn: TurnId,
        /// The step.
        step: StepId,
        /// The attempt that brought it.
        attempt: u32,
        /// The [`Answer`](super::Answer).
        answer: Payload,
        /// The digest of what was asked: [`ModelRequest::digest`](crate::ports::ModelRequest::digest). None where a message has
        /// no canonical JSON.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        view: Option<Digest>,
        /// The merged values of the context keys that it changed.
        context: BTreeMap<ContextKey, Value>,
    }
    /// A step failed. Final, for the turn as well unless the step may fail.
    StepFailed = "step.failed" {
        /// The turn.
        turn: TurnId,
        /// The step.
        step: StepId,
        /// Why.
        failure: Failure,
        /// Whether its act took effect all the same, so that there is something to undo.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        applied: bool,
    }
    /// Steps are to be undone now, because the turn failed, was cancelled or expired: nothing that depended on them stands
    /// any more. For each one a step is added to the turn that calls its compensation.
    UndoPlanned = "undo.planned" {
        /// The turn.
        turn: TurnId,
        /// The steps that undo, and what each undoes.
        steps: BTreeMap<StepId, StepId>,
    }
    /// A step that undoes another keeps failing: it rests until a person says how it goes on.
    UndoParked = "undo.parked" {
        /// The turn.
        turn: TurnId,
        /// The step that undoes.
        step: StepId,
        /// Why.
        failure: Failure,
    }
    /// A child does the step. Its request is in the mailbox of its session with this record.
    ChildStarted = "child.started" {
        /// The turn.
        turn: TurnId,
        /// The step.
        step: StepId,
        /// The child's session.
        session: SessionId,
        /// The child's turn.
        child: TurnId,
        /// Its input.
        input: Payload,
        /// When its turn must have answered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline: Option<Timestamp>,
    }
    /// A child was told, with this record, to give up; or, by a step that undoes another, to undo what it did.
    ChildCancelled = "child.cancelled" {
        /// The turn.
        turn: TurnId,
        /// The step.
        step: StepId,
    }
    /// A child told how its turn stands. The success of the step, or its failure, follows.
    ChildEnded = "child.ended" {
        /// The turn.
        turn: TurnId,
        /// The step.
        step: StepId,
        /// Whether the child has answered, can be undone, and waits for what becomes of this turn.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        waits: bool,
        /// Whether anything of what it did stays applied.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        applied: bool,
        /// Whether untrusted content was read in it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        untrusted: bool,
    }
    /// It is not known whether an attempt took effect, and nothing can be asked: an operator must say.
    StepInDoubt = "step.in_doubt" {
        /// The turn.
        turn: TurnId,
        /// The step.
        step: StepId,
        /// The attempt.
        attempt: u32,
        /// What is known.
        reason: String,
        /// From when on it may be resolved as not applied.
        not_applied_from: Timestamp,
    }
    /// An operator said what became of a step in doubt. The header's actor is the operator.
    StepResolved = "step.resolved" {
        /// The turn.
        turn: TurnId,
        /// The step.
        step: StepId,
        /// What the operator found.
        resolution: Resolution,
        /// The merged values of the context keys, when it was applied.
        context: BTreeMap<ContextKey, Value>,
    }
    /// A signal came for which no step waits yet.
    SignalReceived = "signal.received" {
        /// Its name.
        name: SignalName,
        /// What it carries.
        payload: Payload,
    }
    /// Another planner plans from now on, where a turn names none. The header's actor is who handed the session over.
    SessionHandedOff = "session.handed_off" {
        /// Which planner.
        planner: PlannerName,
        /// What was given as the reason.
        reason: String,
    }
    /// Mail was consumed that can't be read, or no longer applies.
    MailRefused = "mail.refused" {
        /// The mail.
        mail: MailId,
        /// Its kind.
        mail_kind: MailKind,
        /// The turn that it asked for, which so ends before it started.
        turn: Option<TurnId>,
        /// Why.
        reason: String,
    }
    /// Owners went away, and nothing that they had begun left a record. Appended, by the second owner in a row that finds
    /// it so, before anything begins again.
    TurnInterrupted = "turn.interrupted" {
        /// The turn.
        turn: TurnId,
        /// How many records of this kind stand in a row, this one included, with no progress between them.
        times: u32,
        /// Set when that was often enough: nothing new starts.
        failure: Option<Failure>,
    }
    /// Somebody cancelled the turn: nothing new starts. The header's actor is who did.
    TurnCancelled = "turn.cancelled" {
        /// The turn.
        turn: TurnId,
        /// What was given as the reason.
        reason: String,
    }
    /// A turn was cancelled before it started. Its request is consumed. The header's actor is who did.
    TurnWithdrawn = "turn.withdrawn" {
        /// The turn, which so ends before it started.
        turn: TurnId,
        /// What was given as the reason.
        reason: String,
    }
    /// The turn of a child has answered, and told its parent with this record. It waits for what becomes of its parent's
    /// turn: then it ends, or it is undone.
    TurnAnswered = "turn.answered" {
        /// The turn.
        turn: TurnId,
        /// The answer.
        answer: Payload,
    }
    /// The turn's deadline passed: nothing new starts.
    TurnExpired = "turn.expired" {
        /// The turn.
        turn: TurnId,
    }
    /// A stage took longer than its latency budget allows, which is told once for each stage of each step, with the record
    /// that ended it. Nothing else follows.
    LatencyBreached = "latency.breached" {
        /// The turn.
        turn: TurnId,
        /// The step, when the stage is one of a step.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<StepId>,
        /// The stage.
        stage: LatencyStage,
        /// How long it may take.
        budget_ms: u64,
        /// How long it took, rounded up.
        took_ms: u64,
    }
    /// The session's subject was erased. The last record of the session; its body alone is sealed under the tenant's
    /// key for data of nobody, and holds no text.
    SessionPurged = "session.purged" {
        /// The turn that ran or rested, which so ends.
        turn: Option<TurnId>,
        /// The acts of the turn of which it was not known whether they took effect; none when the turn could not be
        /// read any more.
        open: Option<Vec<OpenAct>>,
    }
    /// The turn ended. Final.
    TurnEnded = "turn.ended" {
        /// The turn.
        turn: TurnId,
        /// How. A large answer is stored beside the record, and `answer` names it.
        outcome: Outcome,
        /// The answer, when it is stored apart.
        answer: Option<Payload>,
        /// What was undone and what stays applied, when the turn did not succeed and had applied anything.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        undone: Option<Box<Undone>>,
        /// The turns of inputs that came while it ran and that a plan took up: they end with it, and as it does.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        joined: Vec<TurnId>,
    }
}

impl Body {
    /// Every payload of the body, to be stored apart or brought back.
    pub fn payloads_mut(&mut self) -> Vec<&mut Payload> {
        match self {
            Self::SessionForked { state, calls, .. } => vec![&mut **state, &mut **calls],
            Self::TurnStarted { input, .. } => vec![input],
            Self::TurnSteered { request, .. } => vec![&mut request.input],
            Self::PlanAnswered { answer, .. } | Self::TurnAnswered { answer, .. } => vec![answer],
            Self::ChildStarted { input, .. } => vec![input],
            Self::WaitOpened { wait: WaitFor::Approval { shown, .. }, .. } => vec![shown],
            Self::WaitEnded { end: WaitEnd::Signalled(payload), .. } => vec![payload],
            Self::StepStarted { input: Some(input), .. } => vec![input],
            Self::StepSucceeded { output, .. } | Self::StepReturned { output, .. } => vec![output],
            Self::GuardRuled { value: Some(value), .. } => vec![value],
            Self::PromptSet { prompt, .. } => vec![prompt],
            Self::ModelAnswered { answer, .. } => vec![answer],
            Self::SignalReceived { payload, .. } => vec![payload],
            Self::TurnEnded { answer: Some(answer), .. } => vec![answer],
            _ => Vec::new(),
        }
    }
}

impl Body {
    /// The turn that the record belongs to.
    pub fn turn(&self) -> Option<TurnId> {
        match self {
            Self::SessionOpened { .. }
            | Self::SessionForked { .. }
            | Self::SessionHandedOff { .. }
            | Self::SignalReceived { .. } => None,
            Self::MailRefused { turn, .. } | Self::SessionPurged { turn, .. } => *turn,
            Self::TurnStarted { turn, .. }
            | Self::TurnSteered { turn, .. }
            | Self::PromptSet { turn, .. }
            | Self::PlanAdopted { turn, .. }
            | Self::PlanAnswered { turn, .. }
            | Self::PlanFailed { turn, .. }
            | Self::WaitOpened { turn, .. }
            | Self::WaitEnded { turn, .. }
            | Self::StepStarted { turn, .. }
            | Self::AttemptFailed { turn, .. }
            | Self::StepOutdated { turn, .. }
            | Self::ProbeFailed { turn, .. }
            | Self::GuardRuled { turn, .. }
            | Self::StepReturned { turn, .. }
            | Self::StepSucceeded { turn, .. }
            | Self::ModelAnswered { turn, .. }
            | Self::StepFailed { turn, .. }
            | Self::StepInDoubt { turn, .. }
            | Self::StepResolved { turn, .. }
            | Self::TurnInterrupted { turn, .. }
            | Self::ChildStarted { turn, .. }
            | Self::ChildCancelled { turn, .. }
            | Self::ChildEnded { turn, .. }
            | Self::TurnAnswered { turn, .. }
            | Self::UndoPlanned { turn, .. }
            | Self::UndoParked { turn, .. }
            | Self::TurnCancelled { turn, .. }
            | Self::TurnWithdrawn { turn, .. }
            | Self::LatencyBreached { turn, .. }
            | Self::TurnExpired { turn }
            | Self::TurnEnded { turn, .. } => Some(*turn),
        }
    }

    /// The step that the record belongs to.
    pub fn step(&self) -> Option<&StepId> {
        match self {
            Self::WaitOpened { step, .. }
            | Self::WaitEnded { step, .. }
            | Self::StepStarted { step, .. }
            | Self::AttemptFailed { step, .. }
            | Self::StepOutdated { step, .. }
            | Self::ProbeFailed { step, .. }
            | Self::GuardRuled { step, .. }
            | Self::StepReturned { step, .. }
            | Self::StepSucceeded { step, .. }
            | Self::ModelAnswered { step, .. }
            | Self::StepFailed { step, .. }
            | Self::StepInDoubt { step, .. }
            | Self::ChildStarted { step, .. }
            | Self::ChildCancelled { step, .. }
            | Self::ChildEnded { step, .. }
            | Self::UndoParked { step, .. }
            | Self::StepResolved { step, .. } => Some(step),
            _ => None,
        }
    }
}
