//! Exporting sessions as JSON Lines (docs/FORMAT.md).

use std::collections::BTreeMap;
use std::io::Write;

use serde_json::Value;

use super::core::Core;
use super::keyring::SessionKeys;
use super::lines::{self, ArchivedLine};
use super::reader::open;
use crate::data::Kind;
use crate::ports::{Archived, SessionEntry, SessionFilter};
use crate::words::{Error, ErrorKind, Head, SessionId};

const PAGE: usize = 512;

/// Why an export ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The store, or the key store.
    #[error(transparent)]
    Shell(#[from] Error),
    /// Where the export is written to.
    #[error("the export could not be written: {0}")]
    Write(#[from] std::io::Error),
}

pub(crate) async fn export(
    core: &Core,
    out: &mut (dyn Write + Send),
    opened: bool,
) -> Result<BTreeMap<SessionId, Head>, ExportError> {
    let journal = &*core.store.journal;
    let mut heads = BTreeMap::new();
    let mut after = None;
    loop {
        let sessions = journal.sessions(SessionFilter::default(), after, PAGE).await.map_err(Error::from)?;
        let Some(last) = sessions.last() else { break };
        after = Some(last.id);
        for entry in &sessions {
            let keys = if opened { keys_if_any(core, entry).await? } else { None };
            let mut head = Head::EMPTY;
            if let Some(archived) = entry.archived {
                head = write_archived(out, entry.id, archived)?;
            }
            loop {
                let records = journal.read(entry.id, head.seq, PAGE).await.map_err(Error::from)?;
                let next = records.first().map(|record| record.header.seq);
                // What was listed and is not there may have left since.
                if next.map_or(head.seq < entry.head.seq, |next| next != head.seq.next()) {
                    let left = archived_meanwhile(core, entry.id, head).await?;
                    if head != Head::EMPTY {
                        return Err(repeat(entry.id).into());
                    }
                    head = write_archived(out, entry.id, left)?;
                    continue;
                }
                let Some(last) = records.last() else { break };
                head = last.head();
                for record in &records {
                    let body = match &keys {
                        _ if opened && record.header.kind.as_str() == Kind::PURGE => {
                            let keys = core.keyring.tenant_data(&entry.tenant).await?;
                            Some(inside(&open(journal, &keys, record).await?.body))
                        }
                        Some(keys) => Some(inside(&open(journal, keys, record).await?.body)),
                        None => None,
                    };
                    let line = lines::of_record(record, body).map_err(std::io::Error::from)?;
                    writeln!(out, "{line}")?;
                }
            }
            heads.insert(entry.id, head);
        }
    }
    out.flush()?;
    Ok(heads)
}

/// Writes that a session's records begin after a head, and returns it.
fn write_archived(
    out: &mut (dyn Write + Send),
    session: SessionId,
    archived: Archived,
) -> std::io::Result<Head> {
    writeln!(out, "{}", lines::of_archived(ArchivedLine::of(session, archived))?)?;
    Ok(archived.head)
}

/// How a session left the journal after it was listed, if the record after `head` is among what left.
///
/// # Errors
/// [`ErrorKind::Corrupt`] when it stands in no file: it was removed otherwise.
async fn archived_meanwhile(core: &Core, session: SessionId, head: Head) -> Result<Archived, Error> {
    match core.store.journal.session(session).await? {
        // Removed with all that it had: its retention ended.
        None => Err(repeat(session)),
        Some(now) => match now.archived {
            Some(archived) if archived.head.seq > head.seq => Ok(archived),
            // It left, and is back.
            _ if is_there(core, session, head).await? => Err(repeat(session)),
            _ => {
                let message =
                    format!("record {} of session {session} is not in the journal", head.seq.next());
                Err(Error::new(ErrorKind::Corrupt, message))
            }
        },
    }
}

/// Whether the record after a head stands in the journal.
async fn is_there(core: &Core, session: SessionId, head: Head) -> Result<bool, Error> {
    let next = core.store.journal.read(session, head.seq, 1).await?;
    Ok(next.first().is_some_and(|record| record.header.seq == head.seq.next()))
}

fn repeat(session: SessionId) -> Error {
    let message = format!("session {session} was archived or removed meanwhile: repeat the export");
    Error::new(ErrorKind::Unavailable, message)
}

/// The keys of a session; none when they were destroyed: what they sealed has no opened form any more.
async fn keys_if_any(core: &Core, entry: &SessionEntry) -> Result<Option<SessionKeys>, Error> {
    match core.keyring.session(entry.key, false).await {
        Err(error) if error.kind() == ErrorKind::Purged => Ok(None),
        keys => keys.map(Some),
    }
}

/// The members of a body: the kind stands beside them already.
fn inside(body: &crate::data::Body) -> Value {
    serde_json::from_slice(&crate::data::encode(body)).unwrap_or(Value::Null)
}
