//! Checking exports, archive files and stores without any key: what a program in another language can do with the
//! same description (docs/FORMAT.md).

use std::collections::BTreeMap;
use std::io::BufRead;

use sha2::Digest as _;

use super::lines::{self, ArchiveLine, ArchivedLine, EndLine, Line};
use crate::data::{ChainBreak, ChainVerifier, Record};
use crate::ports::{SessionEntry, SessionFilter, Store, StoreError};
use crate::words::{Digest, Head, Seq, SessionId};

const PAGE: usize = 512;

/// What a check found to be whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// How many records.
    pub records: u64,
    /// The head of each session.
    pub heads: BTreeMap<SessionId, Head>,
    /// The sessions that are said to be archived, each up to this head, and whose records up to it were not among what
    /// was checked. Check their files, too: without them nobody knows that these records are whole.
    pub archived: BTreeMap<SessionId, Head>,
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
    /// An archive is not whole, or does not fit what stands after it.
    #[error("the archive of session {session}: {problem}")]
    Archive {
        /// The session.
        session: SessionId,
        /// What is wrong.
        problem: String,
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
/// An archive file is checked alike, also for being whole; and so are several, the older one of a session first, with
/// an export after them. Of a session that the export says is archived, and whose file is not there, only what came
/// after is checked: the report names it.
///
/// # Errors
/// The first thing that is broken.
pub fn verify_export(
    mut export: impl BufRead,
    known: &BTreeMap<SessionId, Head>,
) -> Result<VerifyReport, VerifyError> {
    let mut check = Check::new(known);
    let mut text = Vec::new();
    for number in 1.. {
        text.clear();
        if export.read_until(b'\n', &mut text)? == 0 {
            break;
        }
        let line = lines::read(&text).map_err(|problem| VerifyError::Malformed { line: number, problem })?;
        check.line(line, &text, number)?;
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
        for entry in &sessions {
            check_session(store, &mut check, entry).await?;
        }
    }
}

/// Checks a session that was listed. When it leaves the journal meanwhile, or comes back, it is begun anew.
async fn check_session(
    store: &Store,
    check: &mut Check<'_>,
    listed: &SessionEntry,
) -> Result<(), VerifyError> {
    let mut entry = listed.clone();
    loop {
        let before = check.report.records;
        let checked = check_listed(store, check, &entry).await;
        if matches!(&checked, Err(VerifyError::Store(error)) if !matches!(error, StoreError::Corrupt { .. }))
        {
            return checked.map(drop);
        }
        let complete = matches!(checked, Ok(seq) if seq >= entry.head.seq);
        if complete {
            check.ends(entry.id);
            return Ok(());
        }
        match store.journal.session(entry.id).await? {
            Some(now) if now.archived != entry.archived => {
                check.forget(entry.id, before);
                entry = now;
            }
            // Its retention ended.
            None if entry.archived.is_some() => {
                check.forget(entry.id, before);
                return Ok(());
            }
            // It left and is back.
            Some(now) if is_back(store, &now, &checked).await? => check.forget(entry.id, before),
            // It is as it was listed: what is missing was removed otherwise, which who kept its head finds.
            _ => {
                checked?;
                check.ends(entry.id);
                return Ok(());
            }
        }
    }
}

/// Whether there is more of a session now than was read.
async fn is_back(
    store: &Store,
    now: &SessionEntry,
    checked: &Result<Seq, VerifyError>,
) -> Result<bool, VerifyError> {
    let Ok(seq) = checked else { return Ok(false) };
    Ok(!store.journal.read(now.id, *seq, 1).await?.is_empty())
}

/// Checks the records that the journal holds of a session, and returns the place of the last.
async fn check_listed(
    store: &Store,
    check: &mut Check<'_>,
    entry: &SessionEntry,
) -> Result<Seq, VerifyError> {
    let mut seq = Seq::ZERO;
    if let Some(archived) = entry.archived {
        seq = archived.head.seq;
        check.archived(entry.id, archived.head, None)?;
    }
    loop {
        let records = store.journal.read(entry.id, seq, PAGE).await?;
        let Some(last) = records.last() else { return Ok(seq) };
        let next = last.header.seq;
        for record in &records {
            check.record(record)?;
        }
        if next <= seq {
            let detail = format!("records of {} are out of order", entry.id);
            return Err(StoreError::Corrupt { detail }.into());
        }
        seq = next;
    }
}

struct Check<'a> {
    known: &'a BTreeMap<SessionId, Head>,
    /// The archive file that is being read.
    section: Option<Section>,
    /// What the archive files of each session held, the last of them.
    filed: BTreeMap<SessionId, Filed>,
    open: BTreeMap<SessionId, ChainVerifier>,
    report: VerifyReport,
}

/// An archive file that was whole.
struct Filed {
    head: Head,
    chain: ChainVerifier,
    /// The SHA-256 of each file that ends at this head: a session may leave anew without a new record.
    files: Vec<Digest>,
}

/// An archive file, as far as it was read.
struct Section {
    line: ArchiveLine,
    chain: ChainVerifier,
    records: u64,
    blobs: u64,
    bytes: sha2::Sha256,
}

impl<'a> Check<'a> {
    fn new(known: &'a BTreeMap<SessionId, Head>) -> Self {
        let (filed, open, report) = Default::default();
        Self { known, section: None, filed, open, report }
    }

    fn line(&mut self, line: Line, text: &[u8], number: u64) -> Result<(), VerifyError> {
        let misplaced = |problem: &str| VerifyError::Malformed { line: number, problem: problem.into() };
        match (line, &mut self.section) {
            (Line::Archive(line), None) => self.begin(line)?,
            (Line::Record(record), None) => return self.record(&record),
            (Line::Archived(line), None) => return self.archived_line(&line),
            (Line::Blob(..) | Line::End(_), None) => {
                return Err(misplaced("it stands in no archive, of which it must be part"));
            }
            (Line::End(end), Some(_)) => return self.end(&end, text),
            (Line::Record(record), Some(section)) if record.header.session == section.line.session => {
                self.filed_record(&record)?;
            }
            (Line::Blob(session, _), Some(section)) if session == section.line.session => section.blobs += 1,
            (_, Some(_)) => return Err(misplaced("it stands in an archive of which it is no part")),
        }
        if let Some(section) = &mut self.section {
            section.bytes.update(text);
        }
        Ok(())
    }

    fn begin(&mut self, line: ArchiveLine) -> Result<(), VerifyError> {
        let session = line.session;
        if self.open.contains_key(&session) {
            return Err(archive(session, "it stands after the export: give the archive files first"));
        }
        if self.filed.get(&session).is_some_and(|filed| filed.head.seq > line.seq) {
            return Err(archive(session, "it stands after one that holds more: give the older one first"));
        }
        let chain = self.chain(session);
        self.section = Some(Section { line, chain, records: 0, blobs: 0, bytes: sha2::Sha256::new() });
        Ok(())
    }

    fn filed_record(&mut self, record: &Record) -> Result<(), VerifyError> {
        let Some(section) = &mut self.section else { return Ok(()) };
        let session = section.line.session;
        if section.line.tenant != record.header.tenant {
            return Err(archive(session, "it says that its records are of another tenant"));
        }
        section.chain.next(record).map_err(|broken| VerifyError::Broken { session, broken })?;
        section.records += 1;
        self.report.records += 1;
        self.fits_the_file(record)
    }

    /// Whether a record that stands again is the one of the archive.
    fn fits_the_file(&self, record: &Record) -> Result<(), VerifyError> {
        let session = record.header.session;
        match self.filed.get(&session) {
            Some(Filed { head, .. }) if head.seq == record.header.seq && head.hash != record.hash => {
                Err(archive(session, "another record stands at the place of its last one"))
            }
            _ => Ok(()),
        }
    }

    fn end(&mut self, end: &EndLine, text: &[u8]) -> Result<(), VerifyError> {
        let Some(Section { line, chain, records, blobs, mut bytes }) = self.section.take() else {
            return Ok(());
        };
        let session = line.session;
        if (end.session, end.records, end.blobs) != (session, records, blobs) || records != line.seq.number()
        {
            return Err(archive(session, "it holds more or less than it says"));
        }
        if end.sha256 != Digest::from_bytes(bytes.clone().finalize().into()) {
            return Err(archive(session, "its bytes were changed"));
        }
        if chain.head() != line.head() || line.seq == Seq::ZERO {
            return Err(archive(session, "its records do not end at its head"));
        }
        bytes.update(text);
        let file = Digest::from_bytes(bytes.finalize().into());
        let (head, mut files) = (line.head(), Vec::new());
        if let Some(before) = self.filed.remove(&session).filter(|before| before.head == head) {
            files = before.files;
        }
        if files.contains(&file) {
            return Err(archive(session, "it stands twice: give each file once"));
        }
        files.push(file);
        self.filed.insert(session, Filed { head, chain, files });
        Ok(())
    }

    fn archived_line(&mut self, line: &ArchivedLine) -> Result<(), VerifyError> {
        self.archived(line.session, line.head(), Some(line.file))
    }

    /// A session's own records begin after a head; those before it stand in a file.
    fn archived(&mut self, session: SessionId, head: Head, file: Option<Digest>) -> Result<(), VerifyError> {
        if self.open.contains_key(&session) || head.seq == Seq::ZERO {
            return Err(archive(session, "records of it stand before the line that says it is archived"));
        }
        let known = self.known.get(&session).copied();
        let chain = match self.filed.remove(&session) {
            Some(filed) if filed.head == head => {
                if file.is_some_and(|file| !filed.files.contains(&file)) {
                    return Err(archive(session, "its file is another one than the journal let it leave in"));
                }
                filed.chain
            }
            Some(_) => return Err(archive(session, "its file ends elsewhere than the journal says")),
            None => {
                if known.is_some_and(|known| known.seq == head.seq && known.hash != head.hash) {
                    let broken = ChainBreak::Head { at: head.seq };
                    return Err(VerifyError::Broken { session, broken });
                }
                self.report.archived.insert(session, head);
                ChainVerifier::after(head).knowing(known.filter(|known| known.seq > head.seq))
            }
        };
        self.open.insert(session, chain);
        Ok(())
    }

    fn record(&mut self, record: &Record) -> Result<(), VerifyError> {
        let session = record.header.session;
        self.fits_the_file(record)?;
        self.ends(session);
        let chain = self.open.entry(session).or_insert_with(|| ChainVerifier::new(None));
        chain.next(record).map_err(|broken| VerifyError::Broken { session, broken })?;
        self.report.records += 1;
        Ok(())
    }

    /// Begins a session anew, with as many records counted as before it.
    fn forget(&mut self, session: SessionId, records: u64) {
        self.open.remove(&session);
        self.report.archived.remove(&session);
        self.report.records = records;
    }

    /// A session without records has an empty chain.
    fn ends(&mut self, session: SessionId) {
        if !self.open.contains_key(&session) {
            let chain = self.chain(session);
            self.open.insert(session, chain);
        }
    }

    /// A chain from the first record on.
    fn chain(&self, session: SessionId) -> ChainVerifier {
        ChainVerifier::new(self.known.get(&session).copied())
    }

    fn finish(mut self) -> Result<VerifyReport, VerifyError> {
        if let Some(section) = &self.section {
            return Err(archive(section.line.session, "it was cut off: its last line is missing"));
        }
        for (session, filed) in std::mem::take(&mut self.filed) {
            match self.open.get(&session) {
                None => drop(self.open.insert(session, filed.chain)),
                Some(here) if here.head().seq < filed.head.seq => {
                    return Err(archive(session, "the journal holds less than it: records were cut off"));
                }
                Some(_) => {}
            }
        }
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

fn archive(session: SessionId, problem: &str) -> VerifyError {
    VerifyError::Archive { session, problem: problem.into() }
}
