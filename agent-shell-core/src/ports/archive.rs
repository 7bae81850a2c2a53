//! The archive: finished sessions leave the journal, and come back.

use std::sync::Arc;

use async_trait::async_trait;

use super::journal::Blob;
use super::store::StoreError;
use crate::data::{Record, RequirementId};
use crate::words::{Digest, Head, SessionId, Timestamp};

/// Taking records out of the journal that stand in a file, putting them back, and removing what is left.
///
/// What the file looks like, and whether it can be read, is the caller's matter: here the journal lets go of what it
/// is told that somebody else has.
///
/// # What an implementation must do
/// - **Atomic and durable on return**, as the journal.
/// - **Only what is finished**: a session may leave when it is `Idle` or `Purged`, no instant will wake it, its head is
///   the expected one, no living owner holds it, no mail waits in it, and none of its outbox rows is unacknowledged. A
///   dead owner's hold is no hold. All of it is looked at in the transaction that takes the records.
/// - **A stub stays**: the entry with [`SessionEntry::archived`](super::SessionEntry::archived), its turns, its dedupe
///   keys, and the records after [`Archived::head`]. An `Idle` session becomes `Archived`: it takes no append but the
///   one that purges it, no mail but [`MailKind::Purge`](crate::data::MailKind::Purge), and is claimed only when such
///   mail waits. A `Purged` one stays what it is, with the record of its purge.
/// - **What leaves can come back**: what `restore` would refuse for its size, `archive` refuses.
/// - **Chained**: an append to an archived session stands after its head, as if the records were there.
#[async_trait]
pub trait Archive: Send + Sync + 'static {
    /// The blobs of a session after `after`, in the order of their addresses, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`]. An unknown session has no blobs.
    ///
    /// # Cancel safety
    /// Reading has no effect.
    async fn blobs(
        &self,
        session: SessionId,
        after: Option<Digest>,
        limit: usize,
    ) -> Result<Vec<Blob>, StoreError>;

    /// Takes the records up to `archived.head` out of the journal, with all blobs, the snapshot and the requirements.
    /// `expected` is the session's head. A session that is archived exactly so is left as it is: a repeat.
    ///
    /// # Errors
    /// [`ArchiveError`]; nothing was changed, unless it says that this is not known.
    ///
    /// # Cancel safety
    /// Dropping the future may leave the session archived: repeat it to learn.
    async fn archive(
        &self,
        session: SessionId,
        expected: Head,
        archived: Archived,
    ) -> Result<(), ArchiveError>;

    /// Puts back what was taken. An `Archived` session is `Idle` then, a `Purged` one stays so; its records and blobs come
    /// back sealed under keys that are destroyed, for whoever checks the chain.
    ///
    /// # Errors
    /// [`ArchiveError`]; nothing was changed, unless it says that this is not known.
    ///
    /// # Cancel safety
    /// Dropping the future may leave the session restored.
    async fn restore(&self, restore: Arc<Restore>) -> Result<(), ArchiveError>;

    /// Removes an archived session wholly: its entry, records, turns, dedupe keys, mail and name, and its own account of the
    /// ledger. Refused as long as
    /// rows of it stand in the outbox, for a consumer may still ask for them.
    ///
    /// # Errors
    /// [`ArchiveError`]; nothing was changed, unless it says that this is not known.
    ///
    /// # Cancel safety
    /// Dropping the future may leave the session removed.
    async fn expire(&self, session: SessionId, archived: Archived) -> Result<(), ArchiveError>;
}

/// What stands in a file and no more in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Archived {
    /// The last record that left. The journal's own records begin after it.
    pub head: Head,
    /// When it left.
    pub at: Timestamp,
    /// The SHA-256 of the whole file.
    pub file: Digest,
}

/// What is put back.
#[derive(Debug, Clone, PartialEq)]
pub struct Restore {
    /// The session.
    pub session: SessionId,
    /// What the session must still say of itself.
    pub archived: Archived,
    /// Its records from the first one up to `archived.head`, without a gap.
    pub records: Vec<Record>,
    /// Its blobs.
    pub blobs: Vec<Blob>,
    /// What it requires of an owner.
    pub requires: Vec<RequirementId>,
}

impl Restore {
    /// What is wrong with the records, if they are not those that left: places, sessions, or the last one.
    pub fn problem(&self) -> Option<String> {
        let session = self.session;
        for (record, seq) in self.records.iter().zip(1..) {
            if record.header.seq.number() != seq || record.header.session != session {
                return Some(format!("record {seq} of session {session} is not the one to put back"));
            }
        }
        let last = self.records.last().map(Record::head);
        (last != Some(self.archived.head))
            .then(|| format!("the records to put back do not end at the archived head of session {session}"))
    }

    /// What it holds, in bytes.
    pub fn bytes(&self) -> usize {
        self.records.iter().map(|record| record.body.len()).sum::<usize>()
            + self.blobs.iter().map(|blob| blob.sealed.len()).sum::<usize>()
    }
}

/// Why a session can't leave, come back or go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Busy {
    /// It has a turn, or an instant will wake it.
    Working,
    /// A living owner holds it.
    Held,
    /// Mail waits in it.
    Mail,
    /// Rows of it stand in the outbox that are still needed.
    Outbox,
}

impl std::fmt::Display for Busy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Working => "it has work to do",
            Self::Held => "a process holds it",
            Self::Mail => "mail waits in it",
            Self::Outbox => "events of it stand in the outbox",
        })
    }
}

/// Why nothing was archived, restored or removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The session is not finished, or not yet.
    #[error("the session is left as it is: {0}")]
    Busy(Busy),
    /// The head is not the expected one: the session went on meanwhile.
    #[error("the session went on meanwhile: its head is record {}", actual.seq)]
    Changed {
        /// The session's head.
        actual: Head,
    },
    /// The session is not archived, or not in this way.
    #[error("the session is not archived so: look at it again")]
    NotArchived,
    /// There is no such session.
    #[error("there is no such session")]
    NoSession,
    /// What is to be put back is not what left.
    #[error("what is to be put back is not what left: {detail}")]
    Wrong {
        /// What is wrong with it.
        detail: String,
    },
    /// It is larger than the backend can take at once.
    #[error("the session has {bytes} bytes: the journal takes at most {allowed} at once")]
    TooLarge {
        /// What it has.
        bytes: usize,
        /// What is allowed.
        allowed: usize,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
