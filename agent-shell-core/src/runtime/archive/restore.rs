//! Back from a file: into the journal, or only to be read.

use std::path::Path;
use std::sync::Arc;

use super::file::{self, Contents};
use crate::ports::{ArchiveError, Blob, Restore, SessionEntry};
use crate::runtime::history::History;
use crate::runtime::shell::Shell;
use crate::words::{Error, ErrorKind, Head, Result, Seq, SessionId};

/// A session that is in the journal again.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restored {
    /// The session.
    pub session: SessionId,
    /// The last record that the file holds.
    pub head: Head,
    /// Whether it was in the journal already, and nothing was done.
    pub was_there: bool,
}

impl Shell {
    /// Puts an archived session back into the journal, whole and in one transaction. It then goes on as before. The
    /// file stays where it is.
    ///
    /// Only the file that left is taken back, byte for byte: the journal keeps its SHA-256. Repeating it is safe.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when the file is damaged, cut off, or not the one that left; [`ErrorKind::NotFound`]
    /// when there is no such file, or the journal knows no such session, because it has expired, say;
    /// [`ErrorKind::InvalidInput`] when the session was archived again since, and this is an older file. Else what the
    /// store says: while a purge waits, `Unavailable`. Nothing was changed.
    ///
    /// # Cancel safety
    /// Dropping the future may leave the session restored: repeat it.
    pub async fn restore(&self, file: impl AsRef<Path>) -> Result<Restored> {
        self.core.stop.check()?;
        let Contents { line, records, blobs, sha256 } = self.contents(file.as_ref()).await?;
        let (session, head) = (line.session, line.head());
        let entry = self.core.store.journal.session(session).await?.ok_or_else(|| {
            let message = format!(
                "the journal knows no session {session}: it has expired, or the file is of another journal. Read it \
                 with `Shell::read_archive`"
            );
            Error::new(ErrorKind::NotFound, message)
        })?;
        let restored = |was_there| Restored { session, head, was_there };
        let Some(archived) = entry.archived else {
            return self.is_there(&entry, head).await.map(|()| restored(true));
        };
        if archived.head != head {
            return Err(another(&entry, head));
        }
        if archived.file != sha256 || entry.tenant != line.tenant || entry.key != line.key() {
            let message = format!(
                "the file is not the one that session {session} was archived in: it was changed, or made by another. \
                 Its SHA-256 must be {}",
                archived.file
            );
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        let blobs = blobs.into_iter().map(|(address, sealed)| Blob { address, sealed }).collect();
        let restore = Restore { session, archived, records, blobs, requires: line.requires };
        match self.core.store.archive.restore(Arc::new(restore)).await {
            Ok(()) => Ok(restored(false)),
            // Another one was faster, perhaps with the same file.
            Err(ArchiveError::NotArchived) => {
                let entry = self.core.store.journal.session(session).await?.unwrap_or(entry);
                self.is_there(&entry, head).await.map(|()| restored(true))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn contents(&self, file: &Path) -> Result<Contents> {
        let (file, most) = (file.to_path_buf(), self.core.limits.archive_bytes);
        self.core.blocking(move || file::read(&file, most)).await
    }

    /// Whether the session stands in the journal with what the file holds.
    async fn is_there(&self, entry: &SessionEntry, head: Head) -> Result<()> {
        let before = Seq::new(head.seq.number().saturating_sub(1));
        let records = self.core.store.journal.read(entry.id, before, 1).await?;
        match records.first() {
            Some(record) if record.head() == head => Ok(()),
            _ => Err(another(entry, head)),
        }
    }

    /// The records that a file holds, checked and opened, without touching the journal. The session may have expired
    /// there; its key must still be in the key store.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when the file is damaged or cut off, [`ErrorKind::NotFound`] when there is none,
    /// [`ErrorKind::Purged`] when the key was destroyed; else what the key store says.
    ///
    /// # Cancel safety
    /// Reading has no effect.
    pub async fn read_archive(&self, file: impl AsRef<Path>) -> Result<History> {
        let contents = self.contents(file.as_ref()).await?;
        let keys = self.core.keyring.session(contents.line.key(), false).await?;
        let Contents { line, records, blobs, .. } = contents;
        Ok(History::of_file(line.session, keys, records, blobs))
    }
}

fn another(entry: &SessionEntry, head: Head) -> Error {
    let message = format!(
        "the file ends at record {} of session {}, which the journal has in another way: give the file that it was \
         archived in last",
        head.seq, entry.id
    );
    Error::new(ErrorKind::InvalidInput, message)
}
