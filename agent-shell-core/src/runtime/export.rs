//! Exporting sessions as JSON Lines, and checking them: what a program in another language can do with the same
//! description (docs/FORMAT.md).

use std::collections::BTreeMap;
use std::io::{BufRead, Write};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::core::Core;
use super::keyring::SessionKeys;
use super::reader::open;
use crate::data::{ChainBreak, ChainVerifier, Header, Kind, Record};
use crate::ports::{SessionEntry, SessionFilter, Store, StoreError};
use crate::words::{
    AppendId, Digest, Epoch, Error, ErrorKind, Head, Pseudonym, Seq, SessionId, Tenant, Timestamp,
};

const PAGE: usize = 512;

/// One line of an export: a record, with its sealed body in hexadecimal.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Line {
    tenant: Tenant,
    session: SessionId,
    seq: Seq,
    epoch: Epoch,
    kind: Kind,
    version: u16,
    time_ms: Timestamp,
    actor: String,
    body_digest: Digest,
    hash: Digest,
    append: AppendId,
    sealed_body: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<Value>,
}

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
                    let line =
                        serde_json::to_string(&Line::of(record, body)).map_err(std::io::Error::from)?;
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

impl Line {
    fn of(record: &Record, body: Option<Value>) -> Self {
        let header = &record.header;
        Self {
            tenant: header.tenant.clone(),
            session: header.session,
            seq: header.seq,
            epoch: header.epoch,
            kind: header.kind.clone(),
            version: header.version,
            time_ms: header.time,
            actor: header.actor.to_string(),
            body_digest: header.body_digest,
            hash: record.hash,
            append: record.append,
            sealed_body: hex(&record.body),
            body,
        }
    }

    fn record(self) -> Option<Record> {
        let actor: [u8; 16] = unhex(&self.actor)?.try_into().ok()?;
        Some(Record {
            header: Header {
                tenant: self.tenant,
                session: self.session,
                seq: self.seq,
                epoch: self.epoch,
                kind: self.kind,
                version: self.version,
                time: self.time_ms,
                actor: Pseudonym::from_bytes(actor),
                body_digest: self.body_digest,
            },
            append: self.append,
            body: unhex(&self.sealed_body)?,
            hash: self.hash,
        })
    }
}

/// What a check found to be whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// How many records.
    pub records: u64,
    /// The head of each session.
    pub heads: BTreeMap<SessionId, Head>,
}

/// What a check found to be broken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// A session's chain does not hold.
    #[error("session {session}: {broken}")]
    Broken {
        /// The session.
        session: SessionId,
        /// Where and how.
        broken: ChainBreak,
    },
    /// A session whose head is known is not there at all.
    #[error("session {session} is missing: its head was exported at record {at}")]
    Missing {
        /// The session.
        session: SessionId,
        /// The place of the known head.
        at: Seq,
    },
    /// A line is not what the form says.
    #[error("line {line} is not a record: {problem}")]
    Malformed {
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// The export can't be read.
    #[error("the export can't be read: {0}")]
    Read(#[from] std::io::Error),
    /// The store can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Checks an export without any store or key: every body against its digest, every record against the chain, and the
/// heads in `known`, which somebody kept from an earlier export, against what is there now.
///
/// # Errors
/// The first thing that is broken.
pub fn verify_export(
    export: impl BufRead,
    known: &BTreeMap<SessionId, Head>,
) -> Result<VerifyReport, VerifyError> {
    let mut check = Check::new(known);
    for (number, line) in export.lines().enumerate() {
        let number = number as u64 + 1;
        let line: Line = serde_json::from_str(&line?)
            .map_err(|error| VerifyError::Malformed { line: number, problem: error.to_string() })?;
        let record = line.record().ok_or_else(|| VerifyError::Malformed {
            line: number,
            problem: "a member is not hexadecimal, or of the wrong length".into(),
        })?;
        check.next(&record)?;
    }
    check.finish()
}

/// Checks a store in place, without any key, as [`verify_export`] does an export.
///
/// # Errors
/// The first thing that is broken.
///
/// # Cancel safety
/// Reading has no effect.
pub async fn verify_store(
    store: &Store,
    known: &BTreeMap<SessionId, Head>,
) -> Result<VerifyReport, VerifyError> {
    let mut check = Check::new(known);
    let mut after = None;
    loop {
        let sessions = store.journal.sessions(SessionFilter::default(), after, PAGE).await?;
        let Some(last) = sessions.last() else { return check.finish() };
        after = Some(last.id);
        for SessionEntry { id, .. } in &sessions {
            let mut seq = Seq::ZERO;
            loop {
                let records = store.journal.read(*id, seq, PAGE).await?;
                let Some(last) = records.last() else { break };
                let next = last.header.seq;
                for record in &records {
                    check.next(record)?;
                }
                if next <= seq {
                    return Err(
                        StoreError::Corrupt { detail: format!("records of {id} are out of order") }.into()
                    );
                }
                seq = next;
            }
            check.ends(*id);
        }
    }
}

struct Check<'a> {
    known: &'a BTreeMap<SessionId, Head>,
    open: BTreeMap<SessionId, ChainVerifier>,
    report: VerifyReport,
}

impl<'a> Check<'a> {
    fn new(known: &'a BTreeMap<SessionId, Head>) -> Self {
        Self { known, open: BTreeMap::new(), report: VerifyReport::default() }
    }

    fn next(&mut self, record: &Record) -> Result<(), VerifyError> {
        let session = record.header.session;
        let known = self.known.get(&session).copied();
        let chain = self.open.entry(session).or_insert_with(|| ChainVerifier::new(known));
        chain.next(record).map_err(|broken| VerifyError::Broken { session, broken })?;
        self.report.records += 1;
        Ok(())
    }

    /// A session without records has an empty chain.
    fn ends(&mut self, session: SessionId) {
        let known = self.known.get(&session).copied();
        self.open.entry(session).or_insert_with(|| ChainVerifier::new(known));
    }

    fn finish(mut self) -> Result<VerifyReport, VerifyError> {
        for (session, chain) in std::mem::take(&mut self.open) {
            let head = chain.finish().map_err(|broken| VerifyError::Broken { session, broken })?;
            self.report.heads.insert(session, head);
        }
        let gone = self
            .known
            .iter()
            .find(|(session, head)| head.seq > Seq::ZERO && !self.report.heads.contains_key(session));
        match gone {
            Some((session, head)) => Err(VerifyError::Missing { session: *session, at: head.seq }),
            None => Ok(self.report),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|nibble| char::from(DIGITS[usize::from(nibble)]))
        .collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let nibble = |digit: u8| char::from(digit).to_digit(16);
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some((nibble(*pair.first()?)? << 4 | nibble(*pair.get(1)?)?) as u8)).collect()
}
