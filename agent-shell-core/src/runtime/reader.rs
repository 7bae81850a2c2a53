//! Reading a session back: its records are checked, opened and folded, from the latest snapshot on.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::keyring::{Place, SessionKeys};
use crate::data::{Body, Kind, Payload, Record, decode, record_hash};
use crate::machine::{Entry, FOLD_VERSION, Folded, fold, recall};
use crate::ports::{Journal, SessionEntry, StoreError};
use crate::words::{Digest, Error, ErrorKind, Head, Result, Seq, SessionId};

/// Records read at once.
const PAGE: usize = 512;

/// A session as its records say.
pub(crate) struct Loaded {
    pub(crate) state: Folded,
    pub(crate) head: Head,
    /// The place up to which a snapshot exists.
    pub(crate) snapshot: Seq,
}

/// Folds a session, from its latest usable snapshot on. A snapshot that does not open, or is of another version, is
/// passed over with a warning.
pub(crate) async fn load(journal: &dyn Journal, keys: &SessionKeys, entry: &SessionEntry) -> Result<Loaded> {
    if entry.archived.is_some() {
        return Err(archived(entry.id));
    }
    let mut loaded = match from_snapshot(journal, keys, entry.id).await? {
        Some(loaded) => loaded,
        None => Loaded { state: Folded::new(entry.id), head: Head::EMPTY, snapshot: Seq::ZERO },
    };
    loop {
        let records = journal.read(entry.id, loaded.head.seq, PAGE).await?;
        let next = records.first().map(|record| record.header.seq);
        if next.map_or(loaded.head.seq < entry.head.seq, |next| next != loaded.head.seq.next()) {
            // The rest may have left the journal since the entry was read.
            is_archived(journal, entry.id, loaded.head.seq).await?;
        }
        if records.is_empty() {
            return if loaded.head.seq < entry.head.seq { Err(archived(entry.id)) } else { Ok(loaded) };
        }
        for record in &records {
            check(&loaded.head, record, entry.id)?;
            let entry = open_own(Blobs::In(journal), keys, record).await?;
            fold(&mut loaded.state, &entry).map_err(|error| corrupt(error.to_string()))?;
            loaded.head = record.head();
        }
    }
}

async fn from_snapshot(
    journal: &dyn Journal,
    keys: &SessionKeys,
    session: SessionId,
) -> Result<Option<Loaded>> {
    let snapshot = match journal.snapshot(session).await {
        Ok(Some(snapshot)) => snapshot,
        Ok(None) => return Ok(None),
        // A snapshot only saves time: what is wrong with it must not hold up a session whose records are whole.
        Err(StoreError::Corrupt { detail }) => {
            tracing::warn!(%session, detail, "a snapshot can't be read; all records are read instead");
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    if snapshot.fold_version != FOLD_VERSION {
        let version = snapshot.fold_version;
        tracing::warn!(%session, version, "a snapshot is of another version; all records are read instead");
        return Ok(None);
    }
    let opened = keys.open(Place::Snapshot(session, snapshot.head), &snapshot.sealed).ok();
    let state: Option<Folded> = opened.and_then(|text| serde_json::from_slice(&text).ok());
    let at_head = journal.read(session, Seq::new(snapshot.head.seq.number().saturating_sub(1)), 1).await?;
    match (state, at_head.first()) {
        (Some(mut state), Some(record))
            if record.head() == snapshot.head && state.seq == snapshot.head.seq =>
        {
            if state.forked.is_some() {
                // Boxed, because few sessions are forks, and all would hold the room for it.
                Box::pin(recall_calls(journal, keys, &mut state)).await?;
            }
            Ok(Some(Loaded { state, head: snapshot.head, snapshot: snapshot.head.seq }))
        }
        _ => {
            tracing::warn!(%session, "a snapshot does not fit its records; all records are read instead");
            Ok(None)
        }
    }
}

/// What a fork's second record says of calls, which its snapshots do not hold.
async fn recall_calls(journal: &dyn Journal, keys: &SessionKeys, state: &mut Folded) -> Result<()> {
    let mut head = Head::EMPTY;
    for record in journal.read(state.session, Seq::ZERO, 2).await? {
        check(&head, &record, state.session)?;
        head = record.head();
        if head.seq == Seq::new(2) {
            let entry = open_own(Blobs::In(journal), keys, &record).await?;
            return recall(state, &entry.body).map_err(|problem| corrupt(format!("record 2: {problem}")));
        }
    }
    Err(corrupt(format!("session {} is a fork without the record of it", state.session)))
}

/// Checks that a record follows from the head before it.
pub(crate) fn check(head: &Head, record: &Record, session: SessionId) -> Result<()> {
    let at = record.header.seq;
    if record.header.session != session || at != head.seq.next() {
        return Err(corrupt(format!("record {at} is not the next of session {session}")));
    }
    if Digest::of(&record.body) != record.header.body_digest
        || record_hash(&head.hash, &record.header) != record.hash
    {
        return Err(corrupt(format!("record {at} of session {session} was changed")));
    }
    Ok(())
}

/// Opens a record, which was checked, with its session's own keys. The record of a purge is sealed for the tenant: who
/// meets it has read on while the session was purged.
pub(crate) async fn open_own(blobs: Blobs<'_>, keys: &SessionKeys, record: &Record) -> Result<Entry> {
    let header = &record.header;
    match open_from(blobs, keys, record).await {
        Err(error) if error.kind() == ErrorKind::Corrupt && header.kind.as_str() == Kind::PURGE => {
            Err(Error::new(ErrorKind::Purged, format!("session {} was purged", header.session)))
        }
        opened => opened,
    }
}

/// Where the blobs of a record stand.
#[derive(Clone, Copy)]
pub(crate) enum Blobs<'a> {
    In(&'a dyn Journal),
    Of(&'a BTreeMap<Digest, Vec<u8>>),
}

/// Opens a record and brings its blobs back.
pub(crate) async fn open(journal: &dyn Journal, keys: &SessionKeys, record: &Record) -> Result<Entry> {
    open_from(Blobs::In(journal), keys, record).await
}

/// Opens a record and brings its blobs back from where they stand.
pub(crate) async fn open_from(blobs: Blobs<'_>, keys: &SessionKeys, record: &Record) -> Result<Entry> {
    let header = &record.header;
    let place = Place::Record(header.session, &header.kind);
    let text =
        keys.open(place, &record.body).map_err(|error| corrupt(format!("record {}: {error}", header.seq)))?;
    let mut body = decode(header.kind.as_str(), header.version, &text).map_err(|error| {
        let kind = match error {
            crate::data::CodecError::Newer { .. } => ErrorKind::Unsupported,
            _ => ErrorKind::Corrupt,
        };
        Error::new(kind, format!("record {} of session {}: {error}", header.seq, header.session))
    })?;
    bring_back(blobs, keys, header.session, &mut body).await?;
    Ok(Entry { seq: header.seq, epoch: header.epoch, time: header.time, actor: header.actor, body })
}

async fn bring_back(blobs: Blobs<'_>, keys: &SessionKeys, session: SessionId, body: &mut Body) -> Result<()> {
    for payload in body.payloads_mut() {
        if let Payload::Blob { address, .. } = *payload {
            let sealed = match blobs {
                Blobs::In(journal) => journal.blob(session, address).await?,
                Blobs::Of(blobs) => blobs.get(&address).cloned().ok_or_else(|| {
                    corrupt(format!("blob {address} of session {session} is not in the file"))
                })?,
            };
            let text = keys
                .open(Place::Blob(session, address), &sealed)
                .map_err(|error| corrupt(format!("blob {address} of session {session}: {error}")))?;
            let value: Value = serde_json::from_slice(&text)
                .map_err(|error| corrupt(format!("blob {address} of session {session}: {error}")))?;
            *payload = Payload::Inline(Arc::new(value));
        }
    }
    Ok(())
}

/// That a session's records stand in a file.
pub(crate) fn archived(session: SessionId) -> Error {
    let message = format!(
        "session {session} is archived: restore it from its file `{session}-<place>-<digest>.jsonl` with `Shell::restore`, or \
         read the file with `Shell::read_archive`"
    );
    Error::new(ErrorKind::Archived, message)
}

/// # Errors
/// [`ErrorKind::Archived`] when the record after `after` left the journal.
pub(crate) async fn is_archived(journal: &dyn Journal, session: SessionId, after: Seq) -> Result<()> {
    let entry = journal.session(session).await?;
    match entry.and_then(|entry| entry.archived) {
        Some(left) if left.head.seq > after => Err(archived(session)),
        _ => Ok(()),
    }
}

pub(crate) fn corrupt(message: String) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}
