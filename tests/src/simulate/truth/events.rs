//! Events: what is in the outbox, what the bus has accepted, what each group was given and has marked. Every call is
//! checked when the store, the bus or a handler answers it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use agent_shell_core::data::{Body, Outcome};
use agent_shell_core::machine::Entry;
use agent_shell_core::ports::{HighWater, Message, OutboxItem, OutboxPosition, Outgoing};
use agent_shell_core::words::{GroupName, OutgoingId, SessionId, Timestamp, TurnId};
use agent_shell_core::{Envelope, simulation::SimClock};

use super::Truth;
use crate::simulate::coverage::WorldFault;
use crate::simulate::events::GROUPS;
use crate::simulate::rule::Rule;

type Found = Vec<(Rule, String)>;

/// One life of one process: a process that rises again is another one.
pub(in crate::simulate) type LifeId = (usize, u64);

/// What is true of events.
#[derive(Default)]
pub(super) struct EventFacts {
    /// Every row that was ever written, at the place that its position says, less one.
    rows: Vec<Row>,
    ids: BTreeMap<OutgoingId, usize>,
    /// For each session the places of its rows, in the order of their sequences.
    of_session: BTreeMap<SessionId, Vec<usize>>,
    acknowledged: u64,
    /// Up to where each group's effects have happened, or were said to be missed.
    through: BTreeMap<(String, SessionId), u64>,
    /// What each process of a group knows, and was given.
    members: BTreeMap<(LifeId, String, SessionId), Member>,
    /// What was given to whom, in order: what two runs of one seed must have alike.
    given: Vec<u8>,
}

struct Row {
    session: SessionId,
    outgoing: Outgoing,
    /// Whether a bus had it at any time.
    accepted: bool,
    /// Whether the bus that had it has lost it since.
    lost: bool,
    trimmed: bool,
}

#[derive(Default)]
struct Member {
    /// How far the group was when this process asked for the first time.
    first_told: Option<u64>,
    /// How far the group is, as this process was told by the marks.
    told: u64,
    /// The event that it was given last.
    last: u64,
    /// Whether its handler runs.
    runs: bool,
}

/// A handler that runs. It has ended when this is dropped.
pub(in crate::simulate) struct Handling {
    truth: Truth,
    of: (LifeId, String, SessionId),
}

impl Drop for Handling {
    fn drop(&mut self) {
        if let Some(member) = self.truth.facts().events.members.get_mut(&self.of) {
            member.runs = false;
        }
    }
}

impl EventFacts {
    fn row(&self, session: SessionId, sequence: u64) -> Option<&Row> {
        let place = *self.of_session.get(&session)?.get(usize::try_from(sequence).ok()?.checked_sub(1)?)?;
        self.rows.get(place)
    }

    fn through(&self, group: &str, session: SessionId) -> u64 {
        self.through.get(&(group.to_owned(), session)).copied().unwrap_or_default()
    }

    /// Rows that came with an append: a session's sequence has no gap, and every turn's begin and end is told.
    pub(super) fn take_rows(
        &mut self,
        session: SessionId,
        outbox: &[Outgoing],
        entries: &[Entry],
        tells: bool,
    ) -> Found {
        let mut found = Found::new();
        let mut told = BTreeSet::new();
        for outgoing in outbox {
            let of_session = self.of_session.entry(session).or_default();
            if outgoing.sequence != of_session.len() as u64 + 1 {
                found.push((
                    Rule::Sequence,
                    format!("event {} follows {}", outgoing.sequence, of_session.len()),
                ));
                return found;
            }
            match serde_json::from_slice::<Envelope>(&outgoing.envelope) {
                Ok(event)
                    if event.id == outgoing.id
                        && event.sequence == outgoing.sequence
                        && event.session == session =>
                {
                    let turn = event.data["turn"].as_str().unwrap_or_default().to_owned();
                    let outcome = event.data["outcome"].as_str().unwrap_or_default().to_owned();
                    told.insert((event.event_type, turn, outcome));
                }
                other => found.push((
                    Rule::Sequence,
                    format!("event {} says something else: {other:?}", outgoing.sequence),
                )),
            }
            of_session.push(self.rows.len());
            if self.ids.insert(outgoing.id, self.rows.len()).is_some() {
                found.push((Rule::Sequence, format!("two events bear the id {}", outgoing.id)));
            }
            self.rows.push(Row {
                session,
                outgoing: outgoing.clone(),
                accepted: false,
                lost: false,
                trimmed: false,
            });
        }
        if tells {
            for wanted in entries.iter().flat_map(owed) {
                if !told.contains(&wanted) {
                    found.push((Rule::Told, format!("no event tells of {wanted:?}")));
                }
            }
        } else if !outbox.is_empty() {
            found.push((Rule::Told, "events are told where nobody tells".into()));
        }
        found
    }

    /// What the store says to have after a position.
    fn check_kept(&self, after: OutboxPosition, limit: usize, rows: &[OutboxItem]) -> Option<String> {
        let there = self.rows.iter().enumerate().skip(usize::try_from(after.0).unwrap_or(usize::MAX));
        let there = there.filter(|(_, row)| !row.trimmed).take(limit);
        let there: Vec<_> = there.map(|(place, row)| (place as u64 + 1, row.outgoing.id)).collect();
        let said: Vec<_> = rows.iter().map(|row| (row.position.0, row.outgoing.id)).collect();
        (there != said).then(|| format!("the outbox has {there:?} after {after:?}, and says {said:?}"))
    }

    /// The rows that are not with every group yet.
    fn left(&self) -> impl Iterator<Item = String> {
        let rows = self.rows.iter().enumerate().filter(|(_, row)| !row.trimmed);
        rows.flat_map(move |(place, row)| {
            let (session, sequence) = (row.session, row.outgoing.sequence);
            let groups = GROUPS
                .into_iter()
                .filter(move |group| self.through(group, session) < sequence)
                .map(move |group| format!("event {sequence} of session {session} did not reach {group}"));
            let unacknowledged = (place as u64 >= self.acknowledged)
                .then(|| format!("event {sequence} of session {session} was not acknowledged"));
            // Whether groups came to it in another way, or not.
            let lost =
                row.lost.then(|| format!("event {sequence} of session {session} is on no bus any more"));
            groups.chain(unacknowledged).chain(lost)
        })
    }

    pub(super) fn is_delivered(&self) -> bool {
        self.left().next().is_none()
    }

    pub(super) fn check_end(&self, found: &mut Found) {
        found.extend(self.left().take(5).map(|what| (Rule::Undelivered, what)));
    }

    /// What was written and given, as bytes.
    pub(super) fn bytes(&self) -> impl Iterator<Item = u8> {
        let rows = self.rows.iter().flat_map(|row| row.outgoing.envelope.iter().copied());
        rows.chain(self.given.iter().copied())
    }
}

/// The events that a record must come with, of each its type, its turn, and the outcome that it names.
fn owed(entry: &Entry) -> Vec<(String, String, String)> {
    let one =
        |kind: &str, turn: &TurnId, outcome: &str| (kind.to_owned(), turn.to_string(), outcome.to_owned());
    let of = |kind: &str, turn: &TurnId, outcome: &str| vec![one(kind, turn, outcome)];
    match &entry.body {
        Body::TurnStarted { turn, .. } => of(Envelope::TURN_STARTED, turn, ""),
        Body::SessionPurged { turn: Some(turn), .. } => of(Envelope::TURN_ENDED, turn, "purged"),
        Body::LatencyBreached { turn, .. } => of(Envelope::LATENCY_BREACHED, turn, ""),
        Body::TurnWithdrawn { turn, .. } => of(Envelope::TURN_ENDED, turn, "cancelled"),
        Body::TurnEnded { turn, outcome, joined, .. } => {
            let outcome = match outcome {
                Outcome::Answered(_) => "answered",
                Outcome::Failed(_) => "failed",
                Outcome::Cancelled => "cancelled",
                Outcome::Expired => "expired",
                Outcome::Abandoned { .. } => "abandoned",
                _ => "purged",
            };
            // What it has taken up ends with it.
            let turns = [turn].into_iter().chain(joined);
            turns.map(|turn| one(Envelope::TURN_ENDED, turn, outcome)).collect()
        }
        _ => Vec::new(),
    }
}

impl Truth {
    /// The store read rows out of its outbox.
    pub(in crate::simulate) fn kept(&self, after: OutboxPosition, limit: usize, rows: &[OutboxItem]) {
        let problem = self.facts().events.check_kept(after, limit, rows);
        problem.into_iter().for_each(|problem| self.say(Rule::Outbox, problem));
    }

    /// Rows were acknowledged: a bus must have had each of them.
    pub(in crate::simulate) fn acknowledged(&self, through: OutboxPosition) {
        let mut facts = self.facts();
        let events = &mut facts.events;
        let through = through.0.min(events.rows.len() as u64);
        let rows = &events.rows[..usize::try_from(through).unwrap_or_default()];
        let early = rows.iter().find(|row| !row.accepted).map(|row| {
            let (session, sequence) = (row.session, row.outgoing.sequence);
            format!("event {sequence} of session {session} is acknowledged, and no bus has accepted it")
        });
        events.acknowledged = events.acknowledged.max(through);
        drop(facts);
        early.into_iter().for_each(|early| self.say(Rule::Outbox, early));
    }

    /// Rows were removed that had been written before `before`.
    pub(in crate::simulate) fn trimmed(&self, before: Timestamp, count: u64) {
        let mut found = Vec::new();
        let keep_ms = self.settings().limits.outbox_keep_ms;
        let horizon = SimClock::START.plus(self.now()).as_millis().saturating_sub(keep_ms);
        if !self.settings().clocks_jump && before.as_millis() > horizon + u64::from(keep_ms == 0) {
            found.push(format!("rows are removed that were written before {before}, within their horizon"));
        }
        let mut facts = self.facts();
        let EventFacts { rows, acknowledged, .. } = &mut facts.events;
        let old = rows.iter_mut().take(usize::try_from(*acknowledged).unwrap_or_default());
        let old: Vec<_> = old.filter(|row| !row.trimmed && row.outgoing.written < before).collect();
        if old.len() as u64 != count {
            found.push(format!("{count} rows were removed, and {} may be", old.len()));
        }
        if !old.is_empty() {
            old.into_iter().for_each(|row| row.trimmed = true);
            facts.coverage.count(WorldFault::RowsTrimmed);
        }
        drop(facts);
        found.into_iter().for_each(|found| self.say(Rule::Outbox, found));
    }

    /// A bus has accepted messages.
    pub(in crate::simulate) fn on_bus(&self, messages: &[Message]) {
        let mut found = Vec::new();
        let mut facts = self.facts();
        let EventFacts { rows, ids, .. } = &mut facts.events;
        for message in messages {
            match ids.get(&message.id).and_then(|place| rows.get_mut(*place)) {
                Some(row)
                    if row.outgoing.envelope == message.payload && row.session.to_string() == message.key =>
                {
                    (row.accepted, row.lost) = (true, false);
                }
                _ => found.push(format!("message {} is no row of the outbox", message.id)),
            }
        }
        drop(facts);
        found.into_iter().for_each(|found| self.say(Rule::Outbox, found));
    }

    /// A bus has lost messages, and kept others, which may be the same ones.
    pub(in crate::simulate) fn lost(&self, gone: &[Message], kept: &[Message]) {
        let kept: BTreeSet<OutgoingId> = kept.iter().map(|message| message.id).collect();
        let mut facts = self.facts();
        let EventFacts { rows, ids, .. } = &mut facts.events;
        for message in gone.iter().filter(|message| !kept.contains(&message.id)) {
            if let Some(row) = ids.get(&message.id).and_then(|place| rows.get_mut(*place)) {
                row.lost = true;
            }
        }
    }

    /// Marks were saved: none is ahead of its group's effects, or of what was written.
    pub(in crate::simulate) fn marked(&self, group: &GroupName, marks: &[(SessionId, HighWater)]) {
        let facts = self.facts();
        let mut found = Vec::new();
        for (session, mark) in marks {
            let through = facts.events.through(group.as_str(), *session);
            if mark.done > through {
                found.push(format!(
                    "group {group} marks event {} of session {session} as done, and its effects end with {through}",
                    mark.done
                ));
            }
            let written = facts.events.of_session.get(session).map_or(0, Vec::len);
            if mark.seen > written as u64 {
                found.push(format!("group {group} has seen event {} of {written}", mark.seen));
            }
        }
        drop(facts);
        found.into_iter().for_each(|found| self.say(Rule::Mark, found));
    }

    /// A process was told how far its group is.
    pub(in crate::simulate) fn told_mark(
        &self,
        life: LifeId,
        group: &str,
        session: SessionId,
        mark: HighWater,
    ) {
        let mut facts = self.facts();
        let member = facts.events.members.entry((life, group.to_owned(), session)).or_default();
        member.first_told.get_or_insert(mark.done);
        member.told = member.told.max(mark.done);
    }

    /// A handler is given an event: the one that was written, after all before it, and none that this process knew to be
    /// done.
    pub(in crate::simulate) fn handled(&self, life: LifeId, group: &str, event: &Envelope) -> Handling {
        let mut found = Vec::new();
        let (session, sequence) = (event.session, event.sequence);
        let mut facts = self.facts();
        let events = &mut facts.events;
        let written = events.row(session, sequence).map(|row| row.outgoing.envelope.clone());
        if written.and_then(|written| serde_json::from_slice::<Envelope>(&written).ok()).as_ref()
            != Some(event)
        {
            found.push(format!("it is no event that was written: {event:?}"));
        }
        let of = (life, group.to_owned(), session);
        let is_again = sequence <= events.through(group, session);
        let member = events.members.entry(of.clone()).or_default();
        if std::mem::replace(&mut member.runs, true) {
            found.push("another event of its session is being handled".into());
        }
        // Later marks are another member's, which took the session over while this one still worked on it.
        if member.first_told.is_none_or(|done| sequence <= done) {
            found.push(format!("done was {:?} when this process first asked", member.first_told));
        }
        let last = member.last.max(member.told);
        if sequence > last + 1 {
            found.push(format!("it follows {last}"));
        }
        member.last = sequence;
        events.given.extend(group.bytes().chain(session.to_bytes()).chain(sequence.to_be_bytes()));
        if is_again {
            facts.coverage.count(WorldFault::EventAgain);
        }
        drop(facts);
        for problem in found {
            self.say(
                Rule::Order,
                format!("group {group} is given event {sequence} of session {session}: {problem}"),
            );
        }
        self.tell(|| format!("{group} of process {life:?} is given event {sequence} of session {session}"));
        Handling { truth: self.clone(), of }
    }

    /// The effect of an event has happened.
    pub(in crate::simulate) fn effected(&self, group: &str, event: &Envelope) {
        let mut facts = self.facts();
        let through = facts.events.through.entry((group.to_owned(), event.session)).or_default();
        let before = *through;
        if event.sequence == before + 1 {
            *through = event.sequence;
        }
        drop(facts);
        if event.sequence > before + 1 {
            let (session, sequence) = (event.session, event.sequence);
            self.say(
                Rule::Order,
                format!("the effect of event {sequence} of session {session} in {group} follows {before}"),
            );
        }
    }

    /// A handler is told that events can't be had any more: then the outbox must have let go of them.
    pub(in crate::simulate) fn missed(
        &self,
        life: LifeId,
        group: &str,
        session: SessionId,
        sequences: RangeInclusive<u64>,
    ) {
        let mut found = Vec::new();
        let (first, last) = sequences.into_inner();
        let mut facts = self.facts();
        facts.coverage.count(WorldFault::EventsMissed);
        let events = &mut facts.events;
        let before = events.through(group, session);
        if first > before + 1 {
            found.push((Rule::Order, format!("events {first} to {last} are missed after {before}")));
        }
        for sequence in first..=last {
            if events.row(session, sequence).is_none_or(|row| !row.trimmed) {
                found.push((
                    Rule::Undelivered,
                    format!("event {sequence} is said to be missed, and is in the outbox"),
                ));
            }
        }
        let through = events.through.entry((group.to_owned(), session)).or_default();
        *through = last.max(*through);
        let member = events.members.entry((life, group.to_owned(), session)).or_default();
        member.last = last;
        drop(facts);
        for (rule, what) in found {
            self.say(rule, format!("group {group}, session {session}: {what}"));
        }
    }
}
