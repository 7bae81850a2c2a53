//! The ownership port.

use std::time::Duration;

use async_trait::async_trait;

use super::{SqliteStore, claim, owners};
use crate::ports::{Claim, ClaimFilter, Duty, Lease, Ownership, OwnershipError};
use crate::words::{Epoch, OwnerId, SessionId};

#[async_trait]
impl Ownership for SqliteStore {
    async fn enlist(&self, owner: OwnerId, lease: Duration) -> Result<Lease, OwnershipError> {
        self.on_writer(0, move |tx| owners::enlist(tx, owner, lease)).await
    }

    async fn renew(&self, owner: OwnerId) -> Result<Lease, OwnershipError> {
        self.on_writer(0, move |tx| owners::renew(tx, owner)).await
    }

    async fn claim(
        &self,
        owner: OwnerId,
        filter: ClaimFilter,
        limit: usize,
    ) -> Result<Vec<Claim>, OwnershipError> {
        self.on_writer(0, move |tx| claim::claim(tx, owner, &filter, limit)).await
    }

    async fn release(&self, owner: OwnerId, sessions: Vec<(SessionId, Epoch)>) -> Result<(), OwnershipError> {
        self.on_writer(0, move |tx| owners::release(tx, owner, &sessions)).await
    }

    async fn hold(&self, owner: OwnerId, duty: Duty) -> Result<bool, OwnershipError> {
        self.on_writer(0, move |tx| owners::hold(tx, owner, duty)).await
    }

    async fn resign(&self, owner: OwnerId) -> Result<(), OwnershipError> {
        self.on_writer(0, move |tx| owners::resign(tx, owner)).await
    }
}
