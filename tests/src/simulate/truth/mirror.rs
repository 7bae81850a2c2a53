//! A session as its records say, opened and folded without the runtime.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agent_shell_core::backends::volatile::VolatileKeys;
use agent_shell_core::data::{Body, KeyId, Kind, Payload, Record, Sealer, decode, record_hash};
use agent_shell_core::machine::{Entry, Folded};
use agent_shell_core::ports::{Blob, KeyError, SessionEntry, Snapshot};
use agent_shell_core::words::{AppendId, Digest, Epoch, Head, OwnerId, SessionId, Tenant};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::purge::{SubjectOf, data_key, fetch, subject_key};
use super::steer::SteerBook;
use super::talk::TalkBook;

/// A session.
pub(super) struct Mirror {
    pub(super) session: SessionId,
    pub(super) tenant: Tenant,
    sealer: Option<Sealer>,
    pub(super) keys: Arc<VolatileKeys>,
    pub(super) key: KeyId,
    /// Whose it is.
    pub(super) subject: Option<SubjectOf>,
    /// When it was opened.
    pub(super) opened: Duration,
    pub(super) state: Folded,
    pub(super) head: Head,
    pub(super) owner: Option<OwnerId>,
    pub(super) epoch: Epoch,
    /// Who owned it under each epoch.
    pub(super) owners: BTreeMap<Epoch, OwnerId>,
    pub(super) entries: Vec<Entry>,
    /// The appends whose records are here, with the head that each reached.
    pub(super) appends: BTreeMap<AppendId, Head>,
    blobs: BTreeMap<Digest, Arc<Value>>,
    /// What was said in it.
    pub(super) talk: TalkBook,
    /// What was said to its turns while they ran.
    pub(super) steer: SteerBook,
    /// The bytes of all records, in order.
    pub(super) stored: Vec<u8>,
}

impl Mirror {
    /// A session without records. None when its key was never there.
    pub(super) fn of(entry: &SessionEntry, keys: &Arc<VolatileKeys>, opened: Duration) -> Option<Self> {
        let sealer = match fetch(keys, entry.key) {
            Ok(key) => Some(Sealer::new(&key)),
            // It was opened while its subject was forgotten.
            Err(KeyError::Destroyed) => None,
            Err(_) => return None,
        };
        let subject = (0..2).find(|tenant| subject_key(keys, *tenant) == Some(entry.key));
        Some(Self {
            session: entry.id,
            tenant: entry.tenant.clone(),
            sealer,
            keys: keys.clone(),
            key: entry.key,
            subject,
            opened,
            state: Folded::new(entry.id),
            head: Head::EMPTY,
            owner: entry.owner,
            epoch: entry.epoch,
            owners: entry.owner.map(|owner| (entry.epoch, owner)).into_iter().collect(),
            entries: Vec::new(),
            appends: BTreeMap::new(),
            blobs: BTreeMap::new(),
            talk: TalkBook::default(),
            steer: SteerBook::default(),
            stored: Vec::new(),
        })
    }

    fn open(&self, place: &[&[u8]], sealed: &[u8]) -> Result<Vec<u8>, String> {
        let sealer = self.sealer.as_ref().ok_or("its key was destroyed")?;
        sealer.open(&place.concat(), sealed).map_err(|error| error.to_string())
    }

    /// Keeps a blob, opened.
    pub(super) fn take_blob(&mut self, blob: &Blob) -> Result<(), String> {
        let place = [b"blob/1", &self.session.to_bytes()[..], blob.address.as_bytes()];
        let text = self.open(&place, &blob.sealed)?;
        let value: Value = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
        self.blobs.insert(blob.address, Arc::new(value));
        Ok(())
    }

    /// Opens the next record, if it follows from the head.
    pub(super) fn next(&mut self, record: &Record) -> Result<Entry, String> {
        let header = &record.header;
        if header.session != self.session
            || header.tenant != self.tenant
            || header.seq != self.head.seq.next()
        {
            return Err(format!("record {} does not follow record {}", header.seq, self.head.seq));
        }
        let digest = Digest::from_bytes(Sha256::digest(&record.body).into());
        if digest != header.body_digest || record.hash != record_hash(&self.head.hash, header) {
            return Err(format!("record {} does not bear the hash that follows", header.seq));
        }
        let place = [b"record/1", &self.session.to_bytes()[..], header.kind.as_str().as_bytes()];
        // The record of a purge is the tenant's: the session's own key is gone by the time it is read.
        let text = if header.kind.as_str() == Kind::PURGE {
            let key = data_key(&self.keys, &self.tenant).ok_or("its tenant has no key")?;
            Sealer::new(&key).open(&place.concat(), &record.body).map_err(|error| error.to_string())?
        } else {
            self.open(&place, &record.body)?
        };
        let mut body: Body =
            decode(header.kind.as_str(), header.version, &text).map_err(|error| error.to_string())?;
        for payload in body.payloads_mut() {
            if let Payload::Blob { address, .. } = payload {
                let value = self.blobs.get(address).ok_or_else(|| format!("blob {address} is not there"))?;
                *payload = Payload::Inline(value.clone());
            }
        }
        self.head = record.head();
        self.stored.extend_from_slice(&record.append.to_bytes());
        self.stored.extend_from_slice(&record.body);
        self.stored.extend_from_slice(record.hash.as_bytes());
        let (seq, epoch, time, actor) = (header.seq, header.epoch, header.time, header.actor);
        Ok(Entry { seq, epoch, time, actor, body })
    }

    /// A snapshot is what the records up to its head fold to; it is taken with the records up to there.
    pub(super) fn check_snapshot(&self, snapshot: &Snapshot) -> Result<(), String> {
        let Head { seq, hash } = snapshot.head;
        if snapshot.head != self.head {
            return Err(format!("stands at record {seq}, and was taken at {}", self.head.seq));
        }
        let number = seq.number().to_be_bytes();
        let place = [b"snapshot/1", &self.session.to_bytes()[..], &number, hash.as_bytes()];
        let text = self.open(&place, &snapshot.sealed)?;
        let state: Folded = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
        if state != self.state {
            return Err(format!("at record {seq} holds {state:?}, and the records fold to {:?}", self.state));
        }
        Ok(())
    }
}
