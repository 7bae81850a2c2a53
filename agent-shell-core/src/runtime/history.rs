//! Reading a session's records, page by page.

use std::sync::Arc;

use super::core::Core;
use super::keyring::SessionKeys;
use super::reader::{check, open_own};
use crate::machine::Entry;
use crate::words::{Head, Result, SessionId};

/// A record as a person reads it.
pub type HistoryEntry = Entry;

/// The records of a session from the first on, each checked against the chain and opened.
pub struct History {
    core: Arc<Core>,
    session: SessionId,
    keys: SessionKeys,
    head: Head,
}

impl History {
    pub(crate) fn new(core: Arc<Core>, session: SessionId, keys: SessionKeys) -> Self {
        Self { core, session, keys, head: Head::EMPTY }
    }

    /// The next records, at most `limit`; none at the end. Records that are written meanwhile are found by a later
    /// call.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::words::ErrorKind::Corrupt) at the first record that does not follow from those
    /// before it, [`ErrorKind::Purged`](crate::words::ErrorKind::Purged) when the session was purged since it was opened;
    /// else what the store says.
    ///
    /// # Cancel safety
    /// Dropping the future skips nothing: the next call returns the same records.
    pub async fn next(&mut self, limit: usize) -> Result<Vec<HistoryEntry>> {
        let journal = &*self.core.store.journal;
        let records = journal.read(self.session, self.head.seq, limit.max(1)).await?;
        let mut head = self.head;
        let mut entries = Vec::with_capacity(records.len());
        for record in &records {
            check(&head, record, self.session)?;
            entries.push(open_own(journal, &self.keys, record).await?);
            head = record.head();
        }
        self.head = head;
        Ok(entries)
    }
}
