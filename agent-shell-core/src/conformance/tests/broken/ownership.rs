//! Faults of ownership.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;

use super::{Broken, Fault};
use crate::conformance::scene::named;
use crate::ports::{
    Claim, ClaimFilter, Duty, Journal, Lease, Ownership, OwnershipError, SessionFilter, SessionStatus,
};
use crate::words::{Epoch, OwnerId, SessionId};

const LONG: Duration = Duration::from_secs(1 << 30);

impl Broken {
    /// Spoils what is asked for.
    async fn spoil_claim(&self, owner: OwnerId, filter: &mut ClaimFilter) -> Result<(), OwnershipError> {
        match self.fault {
            Some(Fault::WorkIsNotSeen) => drop(filter.sessions.get_or_insert_default()),
            Some(Fault::NamesNeedWork) => {
                let mut busy = Vec::new();
                for session in filter.sessions.take().unwrap_or_default() {
                    let entry = self.inner.session(session).await?;
                    busy.extend(entry.filter(|entry| entry.waiting_mail > 0).map(|entry| entry.id));
                }
                filter.sessions = Some(busy);
            }
            Some(Fault::TheLivingAreRobbed) => {
                let leases = self.seen().leases.clone();
                for (other, lease) in leases.into_iter().filter(|(other, _)| *other != owner) {
                    self.inner.resign(other).await?;
                    self.inner.enlist(other, lease).await?;
                }
            }
            Some(Fault::RequirementsAreIgnored) => filter.offers = None,
            Some(Fault::ClaimsIgnoreTenants) => filter.tenant = None,
            Some(Fault::StrangersAreEnlisted) => drop(self.inner.enlist(owner, LONG).await?),
            _ => {}
        }
        Ok(())
    }

    /// Serves one tenant after the other.
    async fn claim_in_line(
        &self,
        owner: OwnerId,
        filter: &ClaimFilter,
        limit: usize,
    ) -> Result<Vec<Claim>, OwnershipError> {
        let all = self.inner.sessions(SessionFilter::default(), None, usize::MAX).await?;
        let mut claims = Vec::new();
        for tenant in all.into_iter().map(|entry| entry.tenant).collect::<BTreeSet<_>>() {
            let filter = ClaimFilter { tenant: Some(tenant), ..filter.clone() };
            claims.extend(self.inner.claim(owner, filter, limit - claims.len()).await?);
        }
        Ok(claims)
    }

    /// Serves the sessions with work always in one order, that of their ids or its reverse.
    async fn claim_in_order(
        &self,
        owner: OwnerId,
        filter: ClaimFilter,
        limit: usize,
    ) -> Result<Vec<Claim>, OwnershipError> {
        let mut ids = Vec::new();
        for entry in self.inner.sessions(SessionFilter::default(), None, usize::MAX).await? {
            let due = entry.mark.wake_at.is_some_and(|wake_at| wake_at <= filter.due_by);
            let works = entry.waiting_mail > 0 || entry.mark.status == SessionStatus::Running || due;
            ids.extend((works && entry.owner.is_none()).then_some(entry.id));
        }
        if self.is(Fault::TheNewestAreServedFirst) {
            ids.reverse();
        }
        ids.truncate(limit);
        self.inner.claim(owner, ClaimFilter { sessions: Some(ids), ..filter }, limit).await
    }
}

#[async_trait]
impl Ownership for Broken {
    async fn enlist(&self, owner: OwnerId, lease: Duration) -> Result<Lease, OwnershipError> {
        self.seen().leases.insert(owner, lease);
        match self.fault {
            Some(Fault::LeasesDoNotEnd) => {
                self.inner.enlist(owner, LONG).await?;
                Ok(Lease { lasts: lease })
            }
            Some(Fault::LeasesEndEarly) => self.inner.enlist(owner, lease / 4).await,
            Some(Fault::EnlistingDropsAll) => {
                self.inner.resign(owner).await?;
                self.inner.enlist(owner, lease).await
            }
            Some(Fault::EnlistingKeepsAll) => {
                let lease = self.inner.enlist(owner, lease).await?;
                let held = self.seen().held.get(&owner).cloned().unwrap_or_default();
                self.inner.claim(owner, named(held), usize::MAX).await?;
                Ok(lease)
            }
            _ => self.inner.enlist(owner, lease).await,
        }
    }

    async fn renew(&self, owner: OwnerId) -> Result<Lease, OwnershipError> {
        let lasts = self.seen().leases.get(&owner).copied();
        match self.fault {
            Some(Fault::RenewalsDoNothing) => {
                lasts.map(|lasts| Lease { lasts }).ok_or(OwnershipError::NotEnlisted)
            }
            Some(Fault::StrangersAreEnlisted) => self.inner.enlist(owner, LONG).await,
            _ => self.inner.renew(owner).await,
        }
    }

    async fn claim(
        &self,
        owner: OwnerId,
        mut filter: ClaimFilter,
        limit: usize,
    ) -> Result<Vec<Claim>, OwnershipError> {
        let by_work = filter.sessions.is_none();
        let offers = filter.offers.clone().filter(|_| self.is(Fault::PurgesNeedWhatIsRequired));
        self.spoil_claim(owner, &mut filter).await?;
        let unfair = self.is(Fault::TheFirstAreServedFirst) || self.is(Fault::TheNewestAreServedFirst);
        let mut claims = if self.is(Fault::TenantsAreServedInLine) {
            self.claim_in_line(owner, &filter, limit).await?
        } else if unfair && by_work {
            self.claim_in_order(owner, filter, limit).await?
        } else {
            self.inner.claim(owner, filter, self.limit(limit)).await?
        };
        if let Some(offers) = offers {
            let lacks =
                |claim: &Claim| claim.entry.requires.iter().any(|required| !offers.contains(required));
            let (lacking, able) = claims.into_iter().partition(lacks);
            claims = able;
            let lacking: Vec<Claim> = lacking;
            let held = lacking.iter().map(|claim| (claim.entry.id, claim.entry.epoch)).collect();
            self.inner.release(owner, held).await?;
        }
        if self.is(Fault::OwnSessionsAreClaimedAgain) && by_work {
            let held = self.seen().held.get(&owner).cloned().unwrap_or_default();
            claims.extend(self.inner.claim(owner, named(held), limit).await?);
        }
        if self.is(Fault::QueuedInputsAreWork) && by_work {
            let all = self.inner.sessions(SessionFilter::default(), None, usize::MAX).await?;
            let with_mail = all.iter().filter(|entry| entry.waiting_mail > 0).map(|entry| entry.id);
            claims.extend(self.inner.claim(owner, named(with_mail), limit).await?);
        }
        self.seen().held.entry(owner).or_default().extend(claims.iter().map(|claim| claim.entry.id));
        if self.is(Fault::EpochsStay) {
            claims.iter_mut().for_each(|claim| claim.entry.epoch = Epoch::new(1));
        }
        Ok(claims)
    }

    async fn release(&self, owner: OwnerId, sessions: Vec<(SessionId, Epoch)>) -> Result<(), OwnershipError> {
        if !self.is(Fault::StaleReleasesCount) {
            return self.inner.release(owner, sessions).await;
        }
        let mut current = Vec::new();
        for (session, _) in sessions {
            current.extend(self.inner.session(session).await?.map(|entry| (session, entry.epoch)));
        }
        self.inner.release(owner, current).await
    }

    async fn hold(&self, owner: OwnerId, duty: Duty) -> Result<bool, OwnershipError> {
        match self.fault {
            Some(Fault::DutiesAreShared) => Ok(true),
            Some(Fault::DutiesStayWithTheDead) => {
                let holder = *self.seen().duties.entry(duty).or_insert(owner);
                Ok(holder == owner)
            }
            Some(Fault::StrangersAreEnlisted) => {
                self.inner.enlist(owner, LONG).await?;
                self.inner.hold(owner, duty).await
            }
            _ => self.inner.hold(owner, duty).await,
        }
    }

    async fn resign(&self, owner: OwnerId) -> Result<(), OwnershipError> {
        if self.is(Fault::ResigningDoesNothing) { Ok(()) } else { self.inner.resign(owner).await }
    }
}
