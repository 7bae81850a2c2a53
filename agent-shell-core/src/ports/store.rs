//! One backend's set of ports that share transactions.

use std::sync::Arc;

use super::{Archive, Journal, Ledger, Mailbox, Marks, Outbox, Ownership};

/// What one backend builds: ports onto one store, whose appends, mail, ownership, outbox and ledger share
/// transactions.
/// Cheap to clone.
#[derive(Clone)]
#[non_exhaustive]
pub struct Store {
    /// Records, snapshots, blobs and the list of sessions.
    pub journal: Arc<dyn Journal>,
    /// Mail to sessions.
    pub mailbox: Arc<dyn Mailbox>,
    /// Who owns which session.
    pub ownership: Arc<dyn Ownership>,
    /// Envelopes on their way out.
    pub outbox: Arc<dyn Outbox>,
    /// How far consumers are.
    pub marks: Arc<dyn Marks>,
    /// What leaves the journal, and comes back.
    pub archive: Arc<dyn Archive>,
    /// What may be spent.
    pub ledger: Arc<dyn Ledger>,
}

impl Store {
    /// A store whose ports are all one object.
    pub fn new<B: Journal + Mailbox + Ownership + Outbox + Marks + Archive + Ledger>(
        backend: Arc<B>,
    ) -> Self {
        Self {
            journal: backend.clone(),
            mailbox: backend.clone(),
            ownership: backend.clone(),
            outbox: backend.clone(),
            marks: backend.clone(),
            archive: backend.clone(),
            ledger: backend,
        }
    }
}

/// Why a store could not do what has no more specific error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no such thing.
    #[error("{what} is not in the store")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// A write may or may not have happened. Do it again; every write of a port may be repeated.
    #[error("the store did not say whether the write is durable: repeat it ({detail})")]
    Indeterminate {
        /// What the backend said.
        detail: String,
    },
    /// The store can't be reached, or its queue is full. Nothing was written; try again later.
    #[error("the store is not available: try again ({detail})")]
    Unavailable {
        /// What the backend said.
        detail: String,
    },
    /// What is stored is damaged.
    #[error("the store is damaged: stop, and restore it from a backup ({detail})")]
    Corrupt {
        /// What was found.
        detail: String,
    },
    /// The disk failed under a write. This handle accepts nothing more; reopen the store in a new process.
    #[error("the disk failed under the store: restart the process ({detail})")]
    Poisoned {
        /// What the backend said.
        detail: String,
    },
}
