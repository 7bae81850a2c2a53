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
    let (begun, most) = (folder.join(begun), core.limits.archive_bytes);
    let part = core.blocking(move || Part::new(begun, most)).await?;
    let part = match fill(core, entry, head, part).await? {
        Ok(part) => part,
        Err(error) => {
            tracing::warn!(session = %entry.id, %error, "a session is too large to be archived");
            return Ok(Err(WhyNot::TooLarge));
        }
    };
    // Records and blobs were read one after another: only of a session that is still whole they are all there.
    match core.store.journal.session(entry.id).await? {
        Some(now) if now.archived.is_none() && now.head == entry.head => {}
        _ => return Ok(Err(WhyNot::Changed)),
    }
    let (folder, session) = (folder.to_path_buf(), entry.id);
    core.blocking(move || part.become_file(&folder, session, head, most)).await
}

/// Writes all lines of a session, unless they are more than a file may hold.
async fn fill(
    core: &Core,
    entry: &SessionEntry,
    head: Head,
    part: Part,
) -> Result<std::result::Result<Part, TooLarge>> {
    let (journal, archive, session) = (&*core.store.journal, &*core.store.archive, entry.id);
    let first = lines::of_archive(ArchiveLine::of(entry, head));
    let mut part = match core.blocking(move || part.with([first])).await? {
        Ok(part) => part,
        Err(error) => return Ok(Err(error)),
    };
    let (mut seq, mut records) = (Seq::ZERO, 0);
    while seq != head.seq {
        let mut page = journal.read(session, seq, PAGE).await?;
        page.retain(|record| record.header.seq <= head.seq);
        let Some(last) = page.last() else { break };
        seq = last.header.seq;
        records += page.len() as u64;
        let lines = move || part.with(page.iter().map(|record| lines::of_record(record, None)));
        part = match core.blocking(lines).await? {
            Ok(part) => part,
            Err(error) => return Ok(Err(error)),
        };
    }
    let (mut after, mut blobs) = (None, 0);
    loop {
        let page = archive.blobs(session, after, BLOBS).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.address);
        blobs += page.len() as u64;
        let lines = move || part.with(page.iter().map(|blob| lines::of_blob(session, blob)));
        part = match core.blocking(lines).await? {
            Ok(part) => part,
            Err(error) => return Ok(Err(error)),
        };
    }
    let sha256 = part.sha256();
    let end = EndLine { session, records, blobs, sha256 };
    core.blocking(move || part.with([lines::of_end(end)])).await
}

#[derive(Debug, thiserror::Error)]
#[error("the file would be larger than `Limits::archive_bytes`")]
struct TooLarge;

/// A file that is being written, and the digest of what it holds. It is removed when it does not become the file.
struct Part {
    path: PathBuf,
    file: BufWriter<File>,
    hash: sha2::Sha256,
    left: u64,
}

impl Drop for Part {
    fn drop(&mut self) {
        // It is not there any more when it has become the file.
        drop(fs::remove_file(&self.path));
    }
}

impl Part {
    fn new(path: PathBuf, most: u64) -> Result<Self> {
        let file = File::create_new(&path).map_err(|error| not_written(&path, &error))?;
        Ok(Self { path, file: BufWriter::new(file), hash: sha2::Sha256::new(), left: most })
    }

    fn with(
        mut self,
        lines: impl IntoIterator<Item = serde_json::Result<String>>,
    ) -> Result<std::result::Result<Self, TooLarge>> {
        for line in lines {
            let mut line = line.map_err(|error| not_written(&self.path, &error.into()))?;
            line.push('\n');
            let Some(left) = self.left.checked_sub(line.len() as u64) else { return Ok(Err(TooLarge)) };
            self.left = left;
            self.hash.update(&line);
            self.file.write_all(line.as_bytes()).map_err(|error| not_written(&self.path, &error))?;
        }
        Ok(Ok(self))
    }

    fn sha256(&self) -> Digest {
        Digest::from_bytes(self.hash.clone().finalize().into())
    }

    /// Syncs it, reads it back as a restore would, and gives it its name.
    fn become_file(
        mut self,
        folder: &Path,
        session: SessionId,
        head: Head,
        most: u64,
    ) -> Result<std::result::Result<Written, WhyNot>> {
        let synced = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        synced.map_err(|error| not_written(&self.path, &error))?;
        let sha256 = self.sha256();
        let there = match read(&self.path, most) {
            Ok(there) => there,
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                tracing::error!(%session, %error, "a session that does not verify is not archived");
                return Ok(Err(WhyNot::Damaged(error.to_string())));
            }
            Err(error) => return Err(error),
        };
        if there.sha256 != sha256 || there.line.head() != head {
            return Ok(Err(WhyNot::Damaged("the file is not what was written".into())));
        }
        let path = folder.join(name(session, head.seq, sha256));
        let named = fs::rename(&self.path, &path).and_then(|()| sync_folder(folder));
        named.map_err(|error| not_written(&self.path, &error))?;
        Ok(Ok(Written { path, head, sha256 }))
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
