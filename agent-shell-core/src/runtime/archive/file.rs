//! The file of a session: written, synced, read back and verified.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use sha2::Digest as _;

use super::WhyNot;
use crate::data::Record;
use crate::ports::SessionEntry;
use crate::runtime::core::Core;
use crate::runtime::lines::{self, ArchiveLine, EndLine, Line};
use crate::runtime::verify::verify_export;
use crate::words::{AppendId, Digest, Error, ErrorKind, Head, Result, Seq, SessionId};

/// Records read at once.
const PAGE: usize = 512;
/// Blobs read at once.
const BLOBS: usize = 8;

/// The name of the file that holds a session up to a place. Later files of a session come later in the order of
/// names, so that `cat *.jsonl` gives them as a check wants them. The digest keeps a file from ever taking the place of
/// one that holds something else, and that the journal may name by now.
fn name(session: SessionId, up_to: Seq, sha256: Digest) -> String {
    let sha256 = sha256.to_string();
    format!("{session}-{:010}-{}.jsonl", up_to.number(), sha256.get(..16).unwrap_or(&sha256))
}

/// A file that was seen to be whole.
pub(super) struct Written {
    pub(super) path: PathBuf,
    pub(super) head: Head,
    pub(super) sha256: Digest,
}

/// Writes a session up to a record, if its records verify. What is written while the session leaves by another's hand
/// may lack what left meanwhile: it does not become a file.
pub(super) async fn write(
    core: &Core,
    entry: &SessionEntry,
    up_to: Seq,
    folder: &Path,
) -> Result<std::result::Result<Written, WhyNot>> {
    let before = Seq::new(up_to.number().saturating_sub(1));
    let last = core.store.journal.read(entry.id, before, 1).await?;
    let Some(head) = last.first().map(Record::head).filter(|head| head.seq == up_to) else {
        return Ok(Err(WhyNot::Changed));
    };
    let begun = format!("{}-{:010}.{}.part", entry.id, up_to.number(), core.ids.make::<AppendId>());
    let part = Part(folder.join(begun));
    let failed = |error: io::Error| not_written(&part.0, &error);
    let mut out = Out::new(File::create_new(&part.0).map_err(failed)?, core.limits.archive_bytes);
    match fill(core, entry, head, &mut out).await? {
        Ok(()) => {}
        Err(error) if out.is_full() => {
            tracing::warn!(session = %entry.id, %error, "a session is too large to be archived");
            return Ok(Err(WhyNot::TooLarge));
        }
        Err(error) => return Err(failed(error)),
    }
    // Records and blobs were read one after another: only of a session that is still whole they are all there.
    match core.store.journal.session(entry.id).await? {
        Some(now) if now.archived.is_none() && now.head == entry.head => {}
        _ => return Ok(Err(WhyNot::Changed)),
    }
    let sha256 = out.finish().map_err(failed)?;
    let there = match read(&part.0, core.limits.archive_bytes) {
        Ok(there) => there,
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            tracing::error!(session = %entry.id, %error, "a session that does not verify is not archived");
            return Ok(Err(WhyNot::Damaged(error.to_string())));
        }
        Err(error) => return Err(error),
    };
    if there.sha256 != sha256 || there.line.head() != head {
        return Ok(Err(WhyNot::Damaged("the file is not what was written".into())));
    }
    let path = folder.join(name(entry.id, up_to, sha256));
    fs::rename(&part.0, &path).and_then(|()| sync_folder(folder)).map_err(failed)?;
    Ok(Ok(Written { path, head, sha256 }))
}

/// Removes what was begun, when it does not become the file.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        // It is not there any more when it has become the file.
        drop(fs::remove_file(&self.0));
    }
}

async fn fill(core: &Core, entry: &SessionEntry, head: Head, out: &mut Out) -> Result<io::Result<()>> {
    let (journal, archive) = (&*core.store.journal, &*core.store.archive);
    let (mut seq, mut records) = (Seq::ZERO, 0);
    let mut lines = vec![lines::of_archive(ArchiveLine::of(entry, head))];
    loop {
        let page = journal.read(entry.id, seq, PAGE).await?;
        let page = page.iter().take_while(|record| record.header.seq <= head.seq);
        let before = records;
        for record in page {
            seq = record.header.seq;
            records += 1;
            lines.push(lines::of_record(record, None));
        }
        if let Err(error) = out.lines(lines.drain(..)) {
            return Ok(Err(error));
        }
        if before == records || seq == head.seq {
            break;
        }
    }
    let (mut after, mut blobs) = (None, 0);
    loop {
        let page = archive.blobs(entry.id, after, BLOBS).await?;
        blobs += page.len() as u64;
        if let Err(error) = out.lines(page.iter().map(|blob| lines::of_blob(entry.id, blob))) {
            return Ok(Err(error));
        }
        match page.last() {
            Some(last) => after = Some(last.address),
            None => break,
        }
    }
    let sha256 = out.sha256();
    Ok(out.lines([lines::of_end(EndLine { session: entry.id, records, blobs, sha256 })]))
}

/// A file that is being written, and the digest of what it holds.
struct Out {
    file: BufWriter<File>,
    hash: sha2::Sha256,
    left: u64,
    full: bool,
}

impl Out {
    fn new(file: File, most: u64) -> Self {
        Self { file: BufWriter::new(file), hash: sha2::Sha256::new(), left: most, full: false }
    }

    fn lines(&mut self, lines: impl IntoIterator<Item = serde_json::Result<String>>) -> io::Result<()> {
        for line in lines {
            let mut line = line?;
            line.push('\n');
            let Some(left) = self.left.checked_sub(line.len() as u64) else {
                self.full = true;
                return Err(io::Error::other("the file would be larger than `Limits::archive_bytes`"));
            };
            self.left = left;
            self.hash.update(&line);
            self.file.write_all(line.as_bytes())?;
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.full
    }

    fn sha256(&self) -> Digest {
        Digest::from_bytes(self.hash.clone().finalize().into())
    }

    fn finish(self) -> io::Result<Digest> {
        let sha256 = self.sha256();
        self.file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        Ok(sha256)
    }
}

/// What a file holds.
pub(super) struct Contents {
    pub(super) line: ArchiveLine,
    pub(super) records: Vec<Record>,
    pub(super) blobs: BTreeMap<Digest, Vec<u8>>,
    pub(super) sha256: Digest,
}

/// Reads a file and checks it: its chain, its counts, and that nothing of it was cut off or changed.
pub(super) fn read(path: &Path, most: u64) -> Result<Contents> {
    let mut bytes = Vec::new();
    let opened = File::open(path).and_then(|file| file.take(most.saturating_add(1)).read_to_end(&mut bytes));
    opened.map_err(|error| {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Unavailable,
        };
        Error::new(kind, format!("the archive `{}` can't be read: {error}", path.display()))
    })?;
    if bytes.len() as u64 > most {
        let message = format!("the archive `{}` is larger than `Limits::archive_bytes`", path.display());
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    let wrong = |problem: String| {
        let message = format!(
            "the archive `{}` is damaged or cut off: take it from a copy or a backup ({problem})",
            path.display()
        );
        Error::new(ErrorKind::Corrupt, message)
    };
    verify_export(&*bytes, &BTreeMap::new()).map_err(|error| wrong(error.to_string()))?;
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').map(lines::read);
    let Some(Ok(Line::Archive(line))) = lines.next() else {
        return Err(wrong("it does not begin as an archive does".into()));
    };
    let (mut records, mut blobs, mut ended) = (Vec::new(), BTreeMap::new(), false);
    for other in lines {
        match other.map_err(wrong)? {
            Line::Record(record) if !ended => records.push(*record),
            Line::Blob(_, blob) if !ended => drop(blobs.insert(blob.address, blob.sealed)),
            Line::End(_) if !ended => ended = true,
            _ => return Err(wrong("it holds more than one session".into())),
        }
    }
    Ok(Contents { line, records, blobs, sha256: Digest::of(&bytes) })
}

/// Makes the name of a folder durable, which may have been made a moment ago.
pub(super) fn sync_name_of(folder: &Path) -> io::Result<()> {
    let Some(above) = folder.canonicalize()?.parent().map(Path::to_path_buf) else { return Ok(()) };
    match sync_folder(&above) {
        // Who may not look into it did not make the folder.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        done => done,
    }
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    // Elsewhere a folder can't be opened, and names are durable with their files.
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

pub(super) fn not_written(path: &Path, error: &io::Error) -> Error {
    let message = format!(
        "the archive `{}` can't be written, and its session stays in the journal: make room, or give another folder \
         ({error})",
        path.display()
    );
    Error::new(ErrorKind::Unavailable, message)
}
