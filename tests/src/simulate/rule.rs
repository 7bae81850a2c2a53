//! The promises that a run is checked against.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// A promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Rule {
    /// An accepted turn is in the journal, and comes to its end.
    Lost,
    /// One dedupe key is one turn, and a signal is delivered once.
    Twice,
    /// What is left to itself comes to its end, or to a rest.
    Stuck,
    /// A turn ends as it had to; what was shown as its end is durable and stays.
    Outcome,
    /// What is shown as waiting for a person is durable.
    Shown,
    /// Epochs only grow, and a session is not taken from an owner whose lease runs.
    Epoch,
    /// An append under another owner or epoch than the session's is refused.
    Fence,
    /// The records chain.
    Chain,
    /// Every record follows from those before it.
    Fold,
    /// What an owner holds is what the records fold to.
    Held,
    /// A snapshot is what the records up to its head fold to.
    Snapshot,
    /// The intent is durable before the act: exactly this call, under this epoch.
    Intent,
    /// What a call's input is made of is durable before the call.
    Riding,
    /// An act begins only under the session's current epoch, before its deadline, with the lease's margin left.
    Lease,
    /// An irreversible effect happens at most once; the journal says what happened, and no more.
    Effect,
    /// Every repeat bears its key, and no two steps share one.
    Key,
    /// The input of a step is fixed once.
    Input,
    /// Nothing is asked about, or resolved as not applied, before it can't take effect any more.
    Early,
    /// A step ends once, in its order, and is repeated only as its class allows.
    Step,
    /// What an optimistic step has read still is so when its outcome is written, and it is made again only when it is not.
    Optimistic,
    /// What guards ruled holds: recorded is what they said, nobody is asked again, nothing begins that was denied, or
    /// otherwise than they left it, and nothing is read before they ruled on it.
    Guard,
    /// What a turn applied that does not succeed is undone where it can be: what happened, and nothing else, once, and nothing
    /// stands any more that came after it.
    Undo,
    /// A model is asked what the records say: its prompt, and each message once, in order, results behind their calls; what
    /// users said stays, what was shown is shown in the same bytes, within the policy's bound; an answer is final; and a loop
    /// gives up in time.
    Talk,
    /// Nothing is spent above a ceiling: what an attempt may spend is set aside before it begins, where it fits, settled once,
    /// with its outcome, and not left behind when its turn has ended.
    Budget,
    /// A follower is told the records of its turn from the first to the last, each once, in order and as they are durable; text
    /// only as it was said here, in order, and its end.
    Follow,
    /// A forgotten subject's keys are destroyed, its sessions closed, its open acts told; nothing is shown of it or taken for
    /// it any more; and nobody else is touched.
    Purge,
    /// The events of a session have sequences without a gap, and each says what was written.
    Sequence,
    /// Every begin and every end of a turn is told, in the append that makes it so.
    Told,
    /// A row is acknowledged when a bus has accepted it, and leaves the outbox after that, past its horizon.
    Outbox,
    /// A group is given the events of a session in order, without a gap, and no process what was done before it first asked.
    Order,
    /// No mark is ahead of its effect.
    Mark,
    /// Every event reaches every group.
    Undelivered,
    /// A child starts once, as its parent's durable records say; its end comes to its parent once and as it was; what its
    /// parent has no use for is cancelled, or undone.
    Child,
    /// Nothing fails that has no reason to.
    Trouble,
    /// What is said to a turn that runs is taken up by one turn, whose planner was shown it, and ends with that, or becomes the
    /// next turn, in order; what interrupts gives up what had not begun, and nothing else.
    Steer,
}

/// A broken promise, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Breach {
    /// The promise.
    pub rule: Rule,
    /// When it was noticed, in microseconds of the run.
    pub at_us: u64,
    /// What was found.
    pub what: String,
}

impl Breach {
    pub(super) fn new(rule: Rule, at: Duration, what: String) -> Self {
        Self { rule, at_us: u64::try_from(at.as_micros()).unwrap_or(u64::MAX), what }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, at_us, what } = self;
        write!(f, "{rule:?} at {}.{:06} s: {what}", at_us / 1_000_000, at_us % 1_000_000)
    }
}
