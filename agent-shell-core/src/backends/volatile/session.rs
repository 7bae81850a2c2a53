//! What the store holds of one session.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex};

use super::mail::Mailbag;
use crate::data::{Record, RequirementId};
use crate::ports::{Append, Archived, Fence, Mark, NewSession, SessionEntry, SessionStatus, Snapshot};
use crate::words::{Digest, Epoch, Head, OwnerId, Seq};

/// A session: what never changes, and the rest behind its own lock.
pub(super) struct Session {
    pub(super) new: NewSession,
    pub(super) state: Mutex<State>,
}

/// A record as it is kept.
pub(super) enum Kept {
    /// Its append is kept: it brought records and little else.
    Within(Arc<Append>, usize),
    /// The record alone, because its append brought what need not be kept.
    Alone(Box<Record>),
}

impl Kept {
    /// The records of an append, copied only where the rest of it would be kept for nothing, or longer than it may: a
    /// purge erases all but records.
    pub(super) fn all_of(append: &Arc<Append>) -> impl Iterator<Item = Self> {
        let has_more = !append.blobs.is_empty()
            || !append.post_mail.is_empty()
            || !append.outbox.is_empty()
            || !append.actors.is_empty()
            || append.requires.is_some()
            || !append.settle.is_empty()
            || append.snapshot.is_some();
        append.records.iter().enumerate().map(move |(place, record)| match has_more {
            true => Self::Alone(Box::new(record.clone())),
            false => Self::Within(append.clone(), place),
        })
    }
}

impl Deref for Kept {
    type Target = Record;

    fn deref(&self) -> &Record {
        match self {
            Self::Within(append, place) => &append.records[*place],
            Self::Alone(record) => record,
        }
    }
}

/// What changes of a session.
#[derive(Default)]
pub(super) struct State {
    /// The record with place `n` stands at `n - 1`, less what was archived.
    pub(super) records: Vec<Kept>,
    pub(super) epoch: Epoch,
    pub(super) owner: Option<OwnerId>,
    /// How many claims there had been when it was last claimed, or registered.
    pub(super) served: u64,
    pub(super) mark: Mark,
    pub(super) requires: Vec<RequirementId>,
    pub(super) mail: Mailbag,
    pub(super) blobs: HashMap<Digest, Vec<u8>>,
    pub(super) snapshot: Option<Snapshot>,
    /// The sequence of the last envelope written, also when its row was trimmed.
    pub(super) sequence: u64,
    pub(super) archived: Option<Archived>,
}

impl Session {
    pub(super) fn new(new: NewSession, served: u64) -> Self {
        Self { new, state: Mutex::new(State { served, ..State::default() }) }
    }

    pub(super) fn entry(&self, state: &State) -> SessionEntry {
        let NewSession { id, tenant, mut name, mut sealed, key, created } = self.new.clone();
        if state.mark.status == SessionStatus::Purged {
            (name, sealed) = (SessionEntry::purged_name(id), Vec::new());
        }
        SessionEntry {
            id,
            tenant,
            name,
            sealed,
            key,
            created,
            head: state.head(),
            epoch: state.epoch,
            owner: state.owner,
            mark: state.mark,
            requires: state.requires.clone(),
            waiting_mail: state.mail.waiting() as u64,
            sequence: state.sequence,
            archived: state.archived,
        }
    }
}

impl State {
    pub(super) fn head(&self) -> Head {
        self.records.last().map_or(self.base(), |last| last.head())
    }

    /// The head after which the records here begin.
    pub(super) fn base(&self) -> Head {
        self.archived.map_or(Head::EMPTY, |archived| archived.head)
    }

    /// How many records here stand up to a place.
    pub(super) fn up_to(&self, seq: Seq) -> usize {
        let here = seq.number().saturating_sub(self.base().seq.number());
        usize::try_from(here).unwrap_or(usize::MAX).min(self.records.len())
    }

    /// Whether the fence is that of the session's owner.
    pub(super) fn is_owned_under(&self, fence: Fence) -> bool {
        self.owner == Some(fence.owner) && self.epoch == fence.epoch
    }
}
