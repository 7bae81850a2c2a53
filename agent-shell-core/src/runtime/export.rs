//! Exporting sessions as JSON Lines (docs/FORMAT.md).

use std::collections::BTreeMap;
use std::io::Write;

use serde_json::Value;

use super::core::Core;
use super::keyring::SessionKeys;
use super::lines::{self, ArchivedLine};
use super::reader::open;
use crate::data::Kind;
use crate::ports::{SessionEntry, SessionFilter};
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
                head = archived.head;
                let line = lines::of_archived(ArchivedLine::of(entry.id, archived));
                writeln!(out, "{}", line.map_err(std::io::Error::from)?)?;
            }
            loop {
                let records = journal.read(entry.id, head.seq, PAGE).await.map_err(Error::from)?;
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
