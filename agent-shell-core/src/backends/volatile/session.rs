//! What the store holds of one session.

use std::collections::HashMap;
use std::sync::Mutex;

use super::mail::Mailbag;
use crate::data::{Record, RequirementId};
use crate::ports::{Fence, Mark, NewSession, SessionEntry, Snapshot};
use crate::words::{Digest, Epoch, Head, OwnerId};

/// A session: what never changes, and the rest behind its own lock.
pub(super) struct Session {
    pub(super) new: NewSession,
    pub(super) state: Mutex<State>,
}

/// What changes of a session.
#[derive(Default)]
pub(super) struct State {
    /// The record with place `n` stands at `n - 1`.
    pub(super) records: Vec<Record>,
    pub(super) epoch: Epoch,
    pub(super) owner: Option<OwnerId>,
    pub(super) mark: Mark,
    pub(super) requires: Vec<RequirementId>,
    pub(super) mail: Mailbag,
    pub(super) blobs: HashMap<Digest, Vec<u8>>,
    pub(super) snapshot: Option<Snapshot>,
    /// The sequence of the last envelope written, also when its row was trimmed.
    pub(super) sequence: u64,
}

impl Session {
    pub(super) fn new(new: NewSession) -> Self {
        Self { new, state: Mutex::default() }
    }

    pub(super) fn entry(&self, state: &State) -> SessionEntry {
        let NewSession { id, tenant, name, sealed, key, created } = self.new.clone();
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
        }
    }
}

impl State {
    pub(super) fn head(&self) -> Head {
        self.records.last().map_or(Head::EMPTY, Record::head)
    }

    /// Whether the fence is that of the session's owner.
    pub(super) fn is_owned_under(&self, fence: Fence) -> bool {
        self.owner == Some(fence.owner) && self.epoch == fence.epoch
    }
}
