//! Forks: a session that goes on from a record of another one.
//!
//! A fork begins with what its parent's records add up to at a turn boundary, and with copies of the records of the turn
//! that ran. So it needs nothing of its parent any more, but for outputs that were shown as handles. What the parent did is
//! the parent's: a fork does not undo it, and repeats under keys of its own.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::attempt::in_doubt;
use super::event::Env;
use super::fold::Entry;
use super::state::{Folded, Phase, TurnState};
use super::talk::Talk;
use crate::data::{Body, ChildOf, EffectClass, Failure, Payload, WaitEnd, WaitFor, is_undo};
use crate::words::{Digest, Head, PlannerName, Seq, SessionId, SignalName, Timestamp, ToolName, TurnId};

/// Where a session comes from, when it is a fork.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Forked {
    /// The session that it goes on from.
    pub parent: SessionId,
    /// The record of the parent after which it goes on, and the hash of the parent's chain there.
    pub at: Head,
    /// The first ancestor, to whose account attempts are charged.
    pub root: SessionId,
    /// Whether what touches the world may be done.
    pub effects: bool,
    /// The last record that is a copy of the parent's.
    pub copied_through: Seq,
    /// Handles up to this number name outputs of the parent.
    pub handles_from: u64,
    /// What becomes of calls that are not made. A snapshot does not hold it: it is read from the fork's record.
    #[serde(skip)]
    pub calls: Arc<RecordedCalls>,
    /// How many ends of each call were taken from it.
    pub taken: BTreeMap<Digest, usize>,
}

/// What a parent recorded of calls, for a fork without effects.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RecordedCalls(BTreeMap<Digest, Vec<RecordedCall>>);

/// A call and how it ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RecordedCall {
    /// SHA-256 of the canonical JSON of the tool's name and the arguments.
    pub call: Digest,
    /// The tool.
    pub tool: ToolName,
    /// How it ended.
    pub end: RecordedEnd,
}

/// How a recorded call ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RecordedEnd {
    /// With this output.
    Succeeded(Arc<Value>),
    /// It failed.
    Failed(Failure),
}

/// What the parent's records add up to, as far as it is carried over.
#[derive(Serialize, Deserialize)]
struct Carried {
    turns: u64,
    signals: VecDeque<(SignalName, Arc<Value>)>,
    talk: Talk,
    /// The fork of a child is nobody's child, and may use no more tools than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    child_of: Option<Box<ChildOf>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    handed_to: Option<PlannerName>,
}

impl RecordedCall {
    /// A call.
    pub fn new(call: Digest, tool: ToolName, end: RecordedEnd) -> Self {
        Self { call, tool, end }
    }
}

impl Forked {
    /// Whether the record at a place is a copy of the parent's.
    pub(super) fn copied(&self, seq: Seq) -> bool {
        seq <= self.copied_through
    }

    /// How a call ends that is not made.
    pub(super) fn next_of(&self, call: &Digest) -> Option<&RecordedEnd> {
        let next = self.calls.0.get(call)?.get(self.taken.get(call).copied().unwrap_or(0))?;
        Some(&next.end)
    }

    pub(super) fn take(&mut self, call: Digest) {
        *self.taken.entry(call).or_default() += 1;
    }

    /// The calls that are left, for a fork of this one.
    pub(crate) fn left(&self) -> impl Iterator<Item = &RecordedCall> {
        let taken = |call| self.taken.get(call).copied().unwrap_or(0);
        self.calls.0.iter().flat_map(move |(call, calls)| calls.iter().skip(taken(call)))
    }
}

/// The state that a fork begins with.
pub(crate) fn carried(state: &Folded) -> Value {
    let (turns, signals, talk) = (state.turns, state.signals.clone(), state.talk.clone());
    let (child_of, handed_to) = (state.child_of.clone(), state.handed_to.clone());
    json!(Carried { turns, signals, talk, child_of, handed_to })
}

/// Takes over what a fork begins with.
pub(super) fn begin(state: &mut Folded, entry: &Entry) -> Result<(), &'static str> {
    let Body::SessionForked { parent, seq, hash, root, effects, copies, handles_from, state: from, .. } =
        &entry.body
    else {
        return Err("it forks nothing");
    };
    if state.turns > 0 || state.forked.is_some() {
        return Err("a session is forked before its first turn");
    }
    let carried = Carried::deserialize(&*from.value()).map_err(|_| "its state can't be read")?;
    (state.turns, state.signals, state.talk) = (carried.turns, carried.signals, carried.talk);
    (state.child_of, state.handed_to) = (carried.child_of, carried.handed_to);
    state.epoch = entry.epoch;
    state.forked = Some(Box::new(Forked {
        parent: *parent,
        at: Head { seq: *seq, hash: *hash },
        root: *root,
        effects: *effects,
        copied_through: Seq::new(entry.seq.number().saturating_add(*copies)),
        handles_from: *handles_from,
        calls: Arc::default(),
        taken: BTreeMap::new(),
    }));
    recall(state, &entry.body)
}

/// Takes the recorded calls from the record of a fork, for a state that was read from a snapshot.
pub(crate) fn recall(state: &mut Folded, body: &Body) -> Result<(), &'static str> {
    let (Body::SessionForked { calls, .. }, Some(forked)) = (body, &mut state.forked) else {
        return Err("it forks nothing");
    };
    let calls = Vec::<RecordedCall>::deserialize(&*calls.value()).map_err(|_| "its calls can't be read")?;
    let mut recorded = RecordedCalls::default();
    for call in calls {
        recorded.0.entry(call.call).or_default().push(call);
    }
    forked.calls = Arc::new(recorded);
    Ok(())
}

/// What a fork is made of.
pub(crate) struct ForkedAt {
    /// The parent, and the record of it.
    pub(crate) parent: SessionId,
    pub(crate) at: Head,
    pub(crate) effects: bool,
    /// The parent's own origin, if it is a fork, too.
    pub(crate) of: Option<(SessionId, u64)>,
    /// What the parent's records add up to at the boundary.
    pub(crate) state: Value,
    pub(crate) calls: Vec<RecordedCall>,
}

/// The records of a turn, as they are copied.
pub(crate) struct Copied<'a> {
    /// The id that the turn has in the fork.
    pub(crate) turn: TurnId,
    /// Makes an id for what was steered into the turn.
    pub(crate) make: &'a (dyn Fn() -> TurnId + Sync),
    /// When the record was made at which it is forked, and now.
    pub(crate) then: Timestamp,
    pub(crate) now: Timestamp,
}

impl ForkedAt {
    /// The record of the fork, before so many copies.
    pub(crate) fn record(self, copies: usize) -> Body {
        let (root, from) = self.of.unwrap_or((self.parent, 0));
        Body::SessionForked {
            parent: self.parent,
            seq: self.at.seq,
            hash: self.at.hash,
            root,
            effects: self.effects,
            copies: copies as u64,
            handles_from: from.saturating_add(self.at.seq.number()),
            state: Box::new(Payload::from(self.state)),
            calls: Box::new(Payload::from(json!(self.calls))),
        }
    }
}

/// The records of the turn that runs, as a fork begins with them. `entries` are all since the turn's first.
///
/// Left out are mail to other turns, interruptions, what undoes (it is the parent's), what was steered into the turn and
/// withdrawn (but for what interrupted it: that gave up steps all the same, and is withdrawn in the fork as well), what took longer
/// than it should there, an approval of a call that has not begun (it was given to the parent, and the fork asks for its own), and that
/// a child's turn has answered: nobody waits for the fork of one. A deadline, the end of a wait and a timer are as far off as they
/// were, and no latency budget bounds the turn as a whole: it began with the parent's.
pub(crate) fn copied(
    turn: &TurnState,
    entries: &[Entry],
    of: &Copied<'_>,
) -> Result<Vec<Body>, &'static str> {
    let withdrawn = |steered: TurnId| {
        let withdraws =
            |entry: &Entry| matches!(&entry.body, Body::TurnWithdrawn { turn, .. } if *turn == steered);
        entries.iter().any(withdraws)
    };
    let interrupted = |by: TurnId| {
        let interrupts = |entry: &Entry| matches!(&entry.body, Body::TurnSteered { request, at_once: true, .. } if request.turn == by);
        entries.iter().any(interrupts)
    };
    let is_kept = |body: &Body| match body {
        Body::MailRefused { .. }
        | Body::UndoPlanned { .. }
        | Body::LatencyBreached { .. }
        | Body::TurnAnswered { .. } => false,
        Body::TurnWithdrawn { turn, .. } => interrupted(*turn),
        Body::TurnSteered { request, at_once, .. } => *at_once || !withdrawn(request.turn),
        Body::TurnInterrupted { failure: None, .. } => false,
        _ => body.step().is_none_or(|step| !is_undo(step)),
    };
    let mut approved = std::collections::BTreeSet::new();
    let mut steered: BTreeMap<TurnId, TurnId> = BTreeMap::new();
    let mut copies = Vec::new();
    for entry in entries.iter().filter(|entry| is_kept(&entry.body)) {
        if let Some(step) = entry.body.step() {
            let phase = turn.index.get(step).map(|&place| &turn.steps[place].phase);
            let ends = matches!(entry.body, Body::WaitEnded { end: WaitEnd::Approved, .. });
            if ends && phase == Some(&Phase::Approved) {
                approved.insert(step.clone());
            }
            if approved.contains(step) {
                continue;
            }
        }
        let mut body = in_turn(&entry.body, of.turn)?;
        if let Some(instant) = awaited_instant(&mut body) {
            let left = u64::try_from(instant.since(of.then).as_millis()).unwrap_or(u64::MAX);
            *instant = of.now.plus(Duration::from_millis(left));
        }
        if let Body::TurnStarted { latency: Some(latency), .. } = &mut body {
            latency.turn_ms = None;
        }
        if let Body::TurnSteered { request, .. } = &mut body {
            let own = (of.make)();
            steered.insert(request.turn, own);
            request.turn = own;
        }
        if let (Body::TurnWithdrawn { turn, .. }, Some(own)) =
            (&mut body, entry.body.turn().and_then(|turn| steered.get(&turn)))
        {
            *turn = *own;
        }
        copies.push(body);
    }
    Ok(copies)
}

/// The instant in a copy that is as far off as it was: the end of a turn or of a wait.
fn awaited_instant(body: &mut Body) -> Option<&mut Timestamp> {
    match body {
        Body::TurnStarted { deadline, .. } => deadline.as_mut(),
        Body::WaitOpened {
            wait: WaitFor::Approval { expires, .. } | WaitFor::Signal { expires, .. },
            ..
        } => expires.as_mut(),
        Body::WaitOpened { wait: WaitFor::Timer { due }, .. } => Some(due),
        _ => None,
    }
}

/// The same body about another turn; one that is about none is the same.
fn in_turn(body: &Body, turn: TurnId) -> Result<Body, &'static str> {
    if body.turn().is_none() {
        return Ok(body.clone());
    }
    let unreadable = "a record of the turn can't be copied";
    let mut value = serde_json::to_value(body).map_err(|_| unreadable)?;
    let members = value.as_object_mut().and_then(|kinds| kinds.values_mut().next()).ok_or(unreadable)?;
    members["turn"] = json!(turn);
    serde_json::from_value(value).map_err(|_| unreadable)
}

/// The records that put into doubt what the parent had begun and not ended: nobody repeats it in the fork.
pub(crate) fn doubts(state: &Folded, env: &Env<'_>) -> Vec<Body> {
    let Some(turn) = &state.turn else { return Vec::new() };
    let begun = |place: &&usize| {
        let open = match turn.steps[**place].phase {
            Phase::Delegated => true,
            Phase::Started { .. } | Phase::Paused { .. } | Phase::Probing { .. } => {
                turn.class_of(**place) != EffectClass::Pure
            }
            _ => false,
        };
        open && (turn.ending.is_none() || turn.may_take_effect(**place))
    };
    let doubt = |&place: &usize| {
        let reason =
            "the session from which this one was forked had begun it, and its end was not recorded there yet";
        in_doubt(turn, place, reason.into(), env)
    };
    turn.active.iter().filter(begun).map(doubt).collect()
}
