//! What a page shows, as plain data. It is the JSON that lies in the page; a host that wants another view of its
//! own starts from here.

use std::collections::BTreeMap;

use agent_shell_core::Undone;
use agent_shell_core::data::{EffectClass, FailureCode};
use agent_shell_core::words::{Digest, Epoch, Pseudonym, Seq, SessionId, StepId, Tenant, Timestamp, TurnId};
use serde::{Serialize, Serializer};

/// A session: its turns and its latest records.
#[derive(Debug, Serialize)]
pub(crate) struct Timeline {
    /// When it was read.
    pub(crate) made: Timestamp,
    pub(crate) session: About,
    /// Other sessions of the same journal.
    pub(crate) others: Vec<String>,
    pub(crate) chain: Chain,
    pub(crate) left_out: LeftOut,
    /// Who is behind the pseudonyms.
    pub(crate) actors: BTreeMap<String, Who>,
    pub(crate) turns: Vec<Turn>,
    pub(crate) records: Vec<Record>,
}

/// Who acts. The kind stands apart from the name, for somebody may be called "runtime".
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Who {
    /// `host`, `runtime`, `named`, or `unknown`.
    pub(crate) kind: &'static str,
    pub(crate) name: String,
}

/// What a store knows of a session.
#[derive(Debug, Serialize)]
pub(crate) struct About {
    pub(crate) id: SessionId,
    pub(crate) tenant: Tenant,
    /// None when its first record does not open.
    pub(crate) name: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) created: Timestamp,
    pub(crate) status: &'static str,
    pub(crate) wake_at: Option<Timestamp>,
    pub(crate) epoch: Epoch,
    pub(crate) is_owned: bool,
    pub(crate) waiting_mail: u64,
}

impl About {
    /// What people call the session.
    pub(crate) fn title(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.id.to_string())
    }
}

/// What the check of the chain found.
#[derive(Debug, Serialize)]
pub(crate) struct Chain {
    pub(crate) records: u64,
    /// The last record's place and hash.
    pub(crate) head: (Seq, Digest),
    /// Where it breaks first.
    pub(crate) broken: Option<Fault>,
    /// From where on bodies don't open.
    pub(crate) unopened: Option<Fault>,
    /// The record that says that the session was purged.
    pub(crate) purged: Option<Seq>,
}

/// From which record on something does not hold, and why.
#[derive(Debug, Serialize)]
pub(crate) struct Fault {
    pub(crate) from: Seq,
    pub(crate) problem: String,
}

/// What is in the journal and not on the page.
#[derive(Debug, Default, Serialize)]
pub(crate) struct LeftOut {
    /// Records before the first one of the page.
    pub(crate) records: u64,
    /// Turns that lie in them as a whole.
    pub(crate) turns: u64,
    /// Bodies of records of the page that are not shown.
    pub(crate) bodies: u64,
    /// Bodies of which the beginning is shown.
    pub(crate) cut: u64,
}

/// A record.
#[derive(Debug, Serialize)]
pub(crate) struct Record {
    pub(crate) seq: Seq,
    pub(crate) epoch: Epoch,
    pub(crate) kind: String,
    pub(crate) version: u16,
    pub(crate) time: Timestamp,
    #[serde(serialize_with = "in_hexadecimal")]
    pub(crate) actor: Pseudonym,
    /// The chained hash: the head of the session as it was then.
    pub(crate) hash: Digest,
    /// The number of its turn.
    pub(crate) turn: Option<u64>,
    pub(crate) step: Option<StepId>,
    /// What it says, in one line.
    pub(crate) about: String,
    pub(crate) body: Option<Text>,
}

/// The JSON of a body. It is a text, for a browser would round numbers beyond 53 bits.
#[derive(Debug, Serialize)]
pub(crate) struct Text {
    pub(crate) json: String,
    /// How many bytes the whole has, when this is its beginning alone.
    pub(crate) of_bytes: Option<usize>,
}

/// A turn, and what its records add up to.
#[derive(Debug, Serialize)]
pub(crate) struct Turn {
    pub(crate) id: TurnId,
    /// Counts the session's turns, from 1.
    pub(crate) number: u64,
    #[serde(serialize_with = "in_hexadecimal")]
    pub(crate) actor: Pseudonym,
    /// The planner's name; none when the plan came with the input.
    pub(crate) planner: Option<String>,
    pub(crate) input: String,
    pub(crate) posted: Timestamp,
    pub(crate) started: Timestamp,
    pub(crate) deadline: Option<Timestamp>,
    pub(crate) ended: Option<Timestamp>,
    pub(crate) state: TurnState,
    /// How it ended, in one line.
    pub(crate) end: Option<String>,
    /// What became of what it did, when it did not succeed.
    pub(crate) aftermath: Option<Undone>,
    pub(crate) first: Seq,
    pub(crate) last: Seq,
    /// The time of its last record.
    pub(crate) updated: Timestamp,
    /// Who wrote its records, one owner after another.
    pub(crate) owners: Vec<Owner>,
    pub(crate) rounds: Vec<Round>,
    pub(crate) steps: Vec<Step>,
    /// Dependencies that are beyond what a page may hold.
    pub(crate) dependencies_left_out: usize,
}

/// Whether a turn runs, and how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TurnState {
    Running,
    Answered,
    Failed,
    Cancelled,
    Expired,
    Abandoned,
    Purged,
    /// It ended in a way that this program does not know.
    Ended,
}

/// An owner's records within a turn.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Owner {
    pub(crate) epoch: Epoch,
    pub(crate) first: Seq,
    pub(crate) last: Seq,
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
}

/// A round of planning that brought steps.
#[derive(Debug, Serialize)]
pub(crate) struct Round {
    pub(crate) number: u32,
    pub(crate) seq: Seq,
    pub(crate) time: Timestamp,
    pub(crate) steps: usize,
}

/// A step of a turn.
#[derive(Debug, Serialize)]
pub(crate) struct Step {
    pub(crate) id: StepId,
    /// What it does: `tool`, `approval`, `signal` or `timer`.
    pub(crate) action: &'static str,
    /// The tool, or the signal.
    pub(crate) name: Option<String>,
    pub(crate) class: Option<EffectClass>,
    pub(crate) asks_first: bool,
    pub(crate) is_held: bool,
    pub(crate) locks: Vec<String>,
    pub(crate) round: u32,
    /// How many steps come before it at least, those of earlier rounds included.
    pub(crate) depth: usize,
    /// The places of the steps on which it depends.
    pub(crate) after: Vec<usize>,
    /// The place of the step that it undoes.
    pub(crate) undoes: Option<usize>,
    pub(crate) state: StepState,
    pub(crate) code: Option<FailureCode>,
    /// What was said last of what went wrong.
    pub(crate) reason: Option<String>,
    /// The idempotency key.
    pub(crate) key: Option<String>,
    pub(crate) attempts: u32,
    /// Attempts that ended with their process.
    pub(crate) interruptions: u32,
    /// When what it waits for ends by itself, is tried again, or may be called not applied.
    pub(crate) until: Option<Timestamp>,
    pub(crate) spans: Vec<Span>,
    pub(crate) spans_left_out: usize,
    /// From when on its next attempt could have begun.
    #[serde(skip)]
    pub(super) ready: Timestamp,
    #[serde(skip)]
    pub(super) ended: Option<Timestamp>,
}

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StepState {
    /// No record tells of it. A `Pure` step may run: its start is not recorded.
    Pending,
    /// It waits for an approval.
    Asking,
    /// It waits for a signal or an instant.
    Waiting,
    /// It is approved, and was not called yet.
    Approved,
    Running,
    /// An attempt failed, and the next one comes later.
    Paused,
    /// Its target is asked what became of an attempt.
    Probing,
    /// An operator must say.
    InDoubt,
    Succeeded,
    Failed,
    /// It undoes another step, keeps failing, and an operator must say how that goes on.
    Stuck,
    /// It took effect, and was undone.
    Undone,
}

/// What a step did for a while.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Span {
    pub(crate) kind: SpanKind,
    pub(crate) end: SpanEnd,
    pub(crate) from: Timestamp,
    /// None while it lasts.
    pub(crate) to: Option<Timestamp>,
    /// The records at its two ends, as far as it has any.
    pub(crate) first: Option<Seq>,
    pub(crate) last: Option<Seq>,
    pub(crate) attempt: Option<u32>,
    /// The epoch in which it began.
    pub(crate) epoch: Epoch,
    pub(crate) note: Option<String>,
}

/// What a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SpanKind {
    /// An attempt whose start is recorded.
    Attempt,
    /// An attempt whose start is not: it lies somewhere in the span.
    Unrecorded,
    Approval,
    Signal,
    Timer,
    /// The pause before a retry.
    Pause,
    Probe,
    InDoubt,
    /// An operator must say how the undoing of a step goes on.
    Stuck,
}

/// How a span ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SpanEnd {
    /// It lasts, or nothing tells of its end.
    Open,
    Done,
    /// It failed, and it is known that nothing happened.
    Failed,
    /// It is not known what happened.
    Unknown,
    /// Its process was gone.
    Interrupted,
}

fn in_hexadecimal<S: Serializer>(actor: &Pseudonym, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(actor)
}
