//! Reading a session's records, page by page.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::core::Core;
use super::keyring::SessionKeys;
use super::reader::{Blobs, check, is_archived, open_own};
use crate::data::Record;
use crate::machine::Entry;
use crate::words::{Digest, Head, Result, SessionId};

/// A record as a person reads it.
pub type HistoryEntry = Entry;

/// The records of a session from the first on, each checked against the chain and opened.
pub struct History {
    source: Source,
    session: SessionId,
    keys: SessionKeys,
    head: Head,
}

/// Where the records stand.
enum Source {
    Journal(Arc<Core>),
    File { records: Vec<Record>, blobs: BTreeMap<Digest, Vec<u8>> },
}

impl History {
    pub(crate) fn new(core: Arc<Core>, session: SessionId, keys: SessionKeys) -> Self {
        Self { source: Source::Journal(core), session, keys, head: Head::EMPTY }
    }

    /// The records of an archive file, from the first on.
    pub(crate) fn of_file(
        session: SessionId,
        keys: SessionKeys,
        records: Vec<Record>,
        blobs: BTreeMap<Digest, Vec<u8>>,
    ) -> Self {
        Self { source: Source::File { records, blobs }, session, keys, head: Head::EMPTY }
    }

    /// The next records, at most `limit`; none at the end. Records that are written meanwhile are found by a later
    /// call.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::words::ErrorKind::Corrupt) at the first record that does not follow from those
    /// before it, [`ErrorKind::Purged`](crate::words::ErrorKind::Purged) when the session was purged since it was opened,
    /// [`ErrorKind::Archived`](crate::words::ErrorKind::Archived) when they stand in a file; else what the store says.
    ///
    /// # Cancel safety
    /// Dropping the future skips nothing: the next call returns the same records.
    pub async fn next(&mut self, limit: usize) -> Result<Vec<HistoryEntry>> {
        let limit = limit.max(1);
        let (records, blobs) = match &self.source {
            Source::Journal(core) => {
                let journal = &*core.store.journal;
                let records = journal.read(self.session, self.head.seq, limit).await?;
                if records.first().is_none_or(|next| next.header.seq != self.head.seq.next()) {
                    is_archived(journal, self.session, self.head.seq).await?;
                }
                (records, Blobs::In(journal))
            }
            Source::File { records, blobs } => {
                let read = usize::try_from(self.head.seq.number()).unwrap_or(usize::MAX);
                (records.iter().skip(read).take(limit).cloned().collect(), Blobs::Of(blobs))
            }
        };
        let mut head = self.head;
        let mut entries = Vec::with_capacity(records.len());
        for record in &records {
            check(&head, record, self.session)?;
            entries.push(open_own(blobs, &self.keys, record).await?);
            head = record.head();
        }
        self.head = head;
        Ok(entries)
    }
}
