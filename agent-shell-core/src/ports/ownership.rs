//! Ownership: who may append to a session.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;

use super::journal::SessionEntry;
use super::store::StoreError;
use crate::data::RequirementId;
use crate::words::{Epoch, OwnerId, SessionId, Tenant, Timestamp};

/// One lease per process, and the sessions that each process holds.
///
/// # What an implementation must do
/// - **One owner**: at any moment a session has at most one owner, and every claim takes the next epoch. From the
///   moment a claim is committed the journal refuses the appends of all earlier epochs.
/// - **The living are left alone**: `claim` never takes a session from an owner whose lease runs. An owner is dead
///   when its lease has run out, or, where the backend can tell, when its process has ended.
/// - **Nobody starves**: when claims are limited, each session that keeps having work is claimed in the end, whatever
///   new work the others get and however many new sessions come; and so is each tenant.
/// - Lease time is the backend's own, not the wall clock of a process.
/// - A [`Duty`] has at most one owner that lives, too.
#[async_trait]
pub trait Ownership: Send + Sync + 'static {
    /// Registers a process as an owner, or begins its lease anew, which drops nothing as long as the lease runs. An owner
    /// whose lease was taken away holds nothing when it comes back: what still stands in its name is let go.
    ///
    /// # Errors
    /// [`OwnershipError`].
    ///
    /// # Cancel safety
    /// Dropping the future may leave a registration, which dies with its lease.
    async fn enlist(&self, owner: OwnerId, lease: Duration) -> Result<Lease, OwnershipError>;

    /// Renews the lease for as long as it was given at first, counted from now.
    ///
    /// # Errors
    /// [`OwnershipError::NotEnlisted`] when the lease had run out and somebody noticed: the sessions may be gone. One that
    /// ran out unnoticed may be renewed or not, as long as the answer is true.
    ///
    /// # Cancel safety
    /// Dropping the future does not withdraw the renewal.
    async fn renew(&self, owner: OwnerId) -> Result<Lease, OwnershipError>;

    /// Takes at most `limit` sessions that no living owner holds and that `filter` lets through, each under its next
    /// epoch. The limit is spread over tenants, one session of each and then the second of each, so that a tenant with
    /// much work does not keep others from getting some; beyond that the order is the backend's, as long as nobody
    /// starves. One way: who was served, or came, longest ago comes first, tenants and sessions alike.
    ///
    /// # Errors
    /// [`OwnershipError`].
    ///
    /// # Cancel safety
    /// Dropping the future may leave the sessions claimed by this owner; claiming them again by name returns them
    /// under a new epoch.
    async fn claim(
        &self,
        owner: OwnerId,
        filter: ClaimFilter,
        limit: usize,
    ) -> Result<Vec<Claim>, OwnershipError>;

    /// Lets go of sessions, each if it is still held under this epoch.
    ///
    /// # Errors
    /// [`OwnershipError`].
    ///
    /// # Cancel safety
    /// Dropping the future does not withdraw the release.
    async fn release(&self, owner: OwnerId, sessions: Vec<(SessionId, Epoch)>) -> Result<(), OwnershipError>;

    /// Takes a duty that one process of a store does for all, if no other living owner has it. Returns whether this
    /// owner has it now. It stays the owner's until it resigns, or until its lease is taken away.
    ///
    /// # Errors
    /// [`OwnershipError`].
    ///
    /// # Cancel safety
    /// Dropping the future may leave the duty with this owner.
    async fn hold(&self, owner: OwnerId, duty: Duty) -> Result<bool, OwnershipError>;

    /// Lets go of everything and ends the lease.
    ///
    /// # Errors
    /// [`OwnershipError`].
    ///
    /// # Cancel safety
    /// Dropping the future does not withdraw the resignation.
    async fn resign(&self, owner: OwnerId) -> Result<(), OwnershipError>;
}

/// What one process of a store does for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Duty {
    /// Publishes what stands in the outbox.
    Publish,
}

impl Duty {
    /// The name under which it is stored.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
        }
    }
}

/// A lease that was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// How long it lasts, counted from before the call that gave it.
    pub lasts: Duration,
}

/// Which sessions to claim.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClaimFilter {
    /// Only these, whether or not they have work. Without it: those that have mail which can move them
    /// ([`SessionStatus::reads`](super::SessionStatus::reads)), are `Running`, or whose `wake_at` is not after
    /// `due_by`. A session that this owner itself holds is returned only if named here.
    pub sessions: Option<Vec<SessionId>>,
    /// Only this tenant's.
    pub tenant: Option<Tenant>,
    /// What falls due up to this instant counts as work.
    pub due_by: Timestamp,
    /// What this owner offers: a session that requires anything else is left, unless a purge waits in it, for which nothing
    /// is needed. None claims whatever is required.
    pub offers: Option<BTreeSet<RequirementId>>,
}

/// A session that was claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The session as it is now, with the new epoch and owner.
    pub entry: SessionEntry,
}

/// Why ownership could not be changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OwnershipError {
    /// The owner is not registered, or its lease ran out and was taken away.
    #[error("this process holds no lease: enlist again, and claim the sessions anew")]
    NotEnlisted,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
