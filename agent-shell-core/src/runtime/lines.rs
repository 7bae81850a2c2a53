//! The lines of exports and archive files (docs/FORMAT.md): how each is written, and read again.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::data::{Header, KeyId, Kind, Record, RequirementId};
use crate::ports::{Archived, Blob, SessionEntry};
use crate::words::{AppendId, Digest, Epoch, Head, Pseudonym, Seq, SessionId, Tenant, Timestamp};

/// The version of the form of archive files.
pub(super) const ARCHIVE_VERSION: u16 = 1;

/// A line that was read.
#[derive(Debug)]
pub(super) enum Line {
    /// A record.
    Record(Box<Record>),
    /// An archive file begins.
    Archive(ArchiveLine),
    /// A blob in an archive file.
    Blob(SessionId, Blob),
    /// An archive file ends.
    End(EndLine),
    /// An export says that it has a session's records only after a head.
    Archived(ArchivedLine),
}

/// What an archive file says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ArchiveLine {
    pub(super) version: u16,
    pub(super) tenant: Tenant,
    pub(super) session: SessionId,
    pub(super) seq: Seq,
    pub(super) hash: Digest,
    pub(super) created_ms: Timestamp,
    pub(super) key: Digest,
    pub(super) requires: Vec<RequirementId>,
}

impl ArchiveLine {
    pub(super) fn of(entry: &SessionEntry, head: Head) -> Self {
        let mut requires = entry.requires.clone();
        requires.sort_unstable();
        Self {
            version: ARCHIVE_VERSION,
            tenant: entry.tenant.clone(),
            session: entry.id,
            seq: head.seq,
            hash: head.hash,
            created_ms: entry.created,
            key: entry.key.0,
            requires,
        }
    }

    pub(super) fn head(&self) -> Head {
        Head { seq: self.seq, hash: self.hash }
    }

    pub(super) fn key(&self) -> KeyId {
        KeyId(self.key)
    }
}

/// What an archive file must have held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct EndLine {
    pub(super) session: SessionId,
    pub(super) records: u64,
    pub(super) blobs: u64,
    /// The SHA-256 of all bytes of the file before this line.
    pub(super) sha256: Digest,
}

/// Where a session's records begin in an export.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ArchivedLine {
    pub(super) session: SessionId,
    pub(super) seq: Seq,
    pub(super) hash: Digest,
    pub(super) at_ms: Timestamp,
    pub(super) file: Digest,
}

impl ArchivedLine {
    pub(super) fn of(session: SessionId, archived: Archived) -> Self {
        let Archived { head, at, file } = archived;
        Self { session, seq: head.seq, hash: head.hash, at_ms: at, file }
    }

    pub(super) fn head(&self) -> Head {
        Head { seq: self.seq, hash: self.hash }
    }
}

/// A record, with its sealed body in hexadecimal.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct RecordLine {
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

#[derive(Debug, Clone, Serialize, Deserialize)]
struct BlobLine {
    session: SessionId,
    address: Digest,
    sealed: String,
}

/// A line that is no record: an object with one member, which says what it is.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Other {
    Archive(ArchiveLine),
    Blob(BlobLine),
    ArchiveEnd(EndLine),
    Archived(ArchivedLine),
}

/// The line of a record.
pub(super) fn of_record(record: &Record, body: Option<Value>) -> serde_json::Result<String> {
    let header = &record.header;
    serde_json::to_string(&RecordLine {
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
    })
}

/// The line with which an archive file begins.
pub(super) fn of_archive(line: ArchiveLine) -> serde_json::Result<String> {
    serde_json::to_string(&Other::Archive(line))
}

/// The line of a blob.
pub(super) fn of_blob(session: SessionId, blob: &Blob) -> serde_json::Result<String> {
    let Blob { address, sealed } = blob;
    serde_json::to_string(&Other::Blob(BlobLine { session, address: *address, sealed: hex(sealed) }))
}

/// The line with which an archive file ends.
pub(super) fn of_end(line: EndLine) -> serde_json::Result<String> {
    serde_json::to_string(&Other::ArchiveEnd(line))
}

/// The line of a session of which an export has no records, or only later ones.
pub(super) fn of_archived(line: ArchivedLine) -> serde_json::Result<String> {
    serde_json::to_string(&Other::Archived(line))
}

/// Reads a line.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(line: &[u8]) -> Result<Line, String> {
    const NOT_HEXADECIMAL: &str = "a member is not hexadecimal, or of the wrong length";
    let no_record = match serde_json::from_slice::<RecordLine>(line) {
        Ok(line) => {
            return line.record().map(|record| Line::Record(record.into())).ok_or(NOT_HEXADECIMAL.into());
        }
        Err(error) => error,
    };
    match serde_json::from_slice(line).map_err(|_| no_record.to_string())? {
        Other::Archive(line) if line.version > ARCHIVE_VERSION => Err(format!(
            "the archive is of version {}: a newer version of Agent Shell wrote it",
            line.version
        )),
        Other::Archive(line) => Ok(Line::Archive(line)),
        Other::Blob(BlobLine { session, address, sealed }) => {
            let sealed = unhex(&sealed).ok_or(NOT_HEXADECIMAL)?;
            Ok(Line::Blob(session, Blob { address, sealed }))
        }
        Other::ArchiveEnd(line) => Ok(Line::End(line)),
        Other::Archived(line) => Ok(Line::Archived(line)),
    }
}

impl RecordLine {
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
