//! What a fork is made of: its parent's records are read up to a place, checked, and folded.

use std::collections::VecDeque;

use super::core::Core;
use super::keyring::SessionKeys;
use super::reader::{Blobs, archived, check, corrupt, is_archived, open_own};
use crate::data::{Action, Body, EffectClass, Resolution};
use crate::machine::{
    Copied, Entry, Folded, Forked, ForkedAt, RecordedCall, RecordedEnd, TurnState, call_made, carried,
    copied, fold, is_replayed,
};
use crate::ports::SessionEntry;
use crate::words::{Error, ErrorKind, Head, Result, Seq, SessionId, TurnId};

/// Records read at once.
const PAGE: usize = 512;

/// The largest state, and the most recorded calls, that a fork begins with, in bytes of JSON.
const MOST_BYTES: usize = 8 << 20;

/// A session as it was at a record.
pub(super) struct StateAtRecord {
    pub(super) state: Folded,
    /// The record, and the hash of the chain there.
    pub(super) head: Head,
    /// The records of the turn that runs; none when no turn runs.
    pub(super) turn: Option<Vec<Entry>>,
}

/// Reads a session's records one after another.
pub(super) struct Reading<'a> {
    core: &'a Core,
    keys: &'a SessionKeys,
    session: SessionId,
    page: VecDeque<crate::data::Record>,
    pub(super) at: StateAtRecord,
}

impl<'a> Reading<'a> {
    pub(super) fn new(core: &'a Core, keys: &'a SessionKeys, session: SessionId) -> Self {
        let at = StateAtRecord { state: Folded::new(session), head: Head::EMPTY, turn: None };
        Self { core, keys, session, page: VecDeque::new(), at }
    }

    /// Folds the next record, if there is one. The caller sees it before.
    async fn next(&mut self, mut see: impl FnMut(&Folded, &Entry)) -> Result<bool> {
        let journal = &*self.core.store.journal;
        let (session, after) = (self.session, self.at.head.seq);
        if self.page.is_empty() {
            self.page = journal.read(session, after, PAGE).await?.into();
            if self.page.front().is_none_or(|next| next.header.seq != after.next()) {
                is_archived(journal, session, after).await?;
            }
        }
        let Some(record) = self.page.pop_front() else { return Ok(false) };
        check(&self.at.head, &record, session)?;
        let entry = open_own(Blobs::In(journal), self.keys, &record).await?;
        see(&self.at.state, &entry);
        if matches!(entry.body, Body::TurnStarted { .. }) {
            self.at.turn = Some(Vec::new());
        }
        fold(&mut self.at.state, &entry).map_err(|error| corrupt(error.to_string()))?;
        match &mut self.at.turn {
            Some(entries) if self.at.state.turn.is_some() => entries.push(entry),
            _ => self.at.turn = None,
        }
        self.at.head = record.head();
        Ok(true)
    }

    /// Folds up to a record.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when the session has no such record.
    pub(super) async fn up_to(&mut self, seq: Seq) -> Result<()> {
        while self.at.head.seq < seq {
            if !self.next(|_, _| ()).await? {
                let last = self.at.head.seq;
                let message = format!("session {} has no record {seq}: its last is {last}", self.session);
                return Err(Error::new(ErrorKind::NotFound, message));
            }
        }
        Ok(())
    }

    /// The calls that end after this record, with how they ended, in order; and those that the session itself has left.
    async fn calls(&mut self) -> Result<Vec<RecordedCall>> {
        let mut calls = Vec::new();
        while self.next(|state, entry| calls.extend(call_ended(state, entry))).await? {}
        calls.extend(self.at.state.forked.as_deref().into_iter().flat_map(Forked::left).cloned());
        Ok(calls)
    }
}

/// The call that a record ends, if it is one that touches the world.
fn call_ended(state: &Folded, entry: &Entry) -> Option<RecordedCall> {
    let turn = state.turn.as_ref()?;
    let place = *turn.index.get(entry.body.step()?)?;
    if !touches_world(turn, place) || turn.steps[place].undoes.is_some() {
        return None;
    }
    let end = match &entry.body {
        Body::StepSucceeded { output, .. } => RecordedEnd::Succeeded(output.value()),
        Body::StepResolved { resolution: Resolution::Applied(output), .. } => {
            RecordedEnd::Succeeded(std::sync::Arc::new(output.clone()))
        }
        Body::StepFailed { failure, .. } if is_replayed(failure.code) => RecordedEnd::Failed(failure.clone()),
        _ => return None,
    };
    let (tool, call) = call_made(turn, place)?;
    Some(RecordedCall::new(call, tool, end))
}

fn touches_world(turn: &TurnState, place: usize) -> bool {
    let is_call = matches!(turn.steps[place].step.action, Action::Tool { .. });
    is_call && turn.terms_of(place).is_some_and(|terms| terms.class != EffectClass::Pure || terms.outbound)
}

/// The records that a fork begins with, after its first.
///
/// # Errors
/// [`ErrorKind::Unavailable`] and [`ErrorKind::Unsupported`] when it can't be said now, or not by this process. Any other
/// says that there can be no such fork.
pub(super) async fn records(
    core: &Core,
    keys: &SessionKeys,
    (entry, turn): (&SessionEntry, TurnId),
    (parent, at, effects): (SessionId, Head, bool),
) -> Result<Vec<Body>> {
    let of = core.store.journal.session(parent).await?;
    let of = of.filter(|of| of.tenant == entry.tenant && of.key == entry.key && of.id != entry.id);
    let of = of.ok_or_else(|| {
        Error::new(ErrorKind::NotFound, format!("there is no session {parent} of its subject"))
    })?;
    if of.archived.is_some() {
        return Err(archived(parent));
    }
    let mut reading = Reading::new(core, keys, parent);
    reading.up_to(at.seq).await?;
    if reading.at.head != at {
        let message = format!("record {} of session {parent} is not the one that was forked", at.seq);
        return Err(Error::new(ErrorKind::Corrupt, message));
    }
    let (state, running) = (reading.at.state.clone(), reading.at.turn.clone());
    let mut before = Reading::new(core, keys, parent);
    let (boundary, copies) = match (&running, &state.turn) {
        (Some(entries), Some(running)) => {
            let began = entries.first().map_or(at.seq, |first| first.seq);
            before.up_to(Seq::new(began.number().saturating_sub(1))).await?;
            let then = entries.last().map(|last| last.time).unwrap_or_default();
            let copies = copied(
                running,
                entries,
                &Copied { turn, make: &|| core.ids.make(), then, now: core.clock.now() },
            );
            let copies = copies.map_err(|problem| corrupt(format!("session {parent}: {problem}")))?;
            (&before.at.state, copies)
        }
        _ => (&state, Vec::new()),
    };
    let forked = ForkedAt {
        parent,
        at,
        effects,
        of: state.forked.as_ref().map(|forked| (forked.root, forked.handles_from)),
        state: carried(boundary),
        calls: if effects { Vec::new() } else { reading.calls().await? },
    };
    let record = forked.record(copies.len());
    if let Body::SessionForked { state, calls, .. } = &record {
        for (what, value) in [("state", state), ("recorded calls", calls)] {
            let bytes = crate::machine::json_bytes(&value.value());
            if bytes > MOST_BYTES {
                let message = format!(
                    "the {what} of session {parent} have {bytes} bytes of JSON: a fork takes at most {MOST_BYTES}"
                );
                return Err(Error::new(ErrorKind::InvalidInput, message));
            }
        }
    }
    Ok(std::iter::once(record).chain(copies).collect())
}
