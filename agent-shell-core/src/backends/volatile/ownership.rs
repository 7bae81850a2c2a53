//! Ownership: leases on the clock's monotonic time, and claims that take turns among tenants.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;

use super::session::{Session, State};
use super::{LOCKED, VolatileStore, lock};
use crate::ports::{Claim, ClaimFilter, Duty, Lease, Ownership, OwnershipError, SessionStatus};
use crate::words::{Epoch, Monotonic, OwnerId, SessionId, Tenant, Timestamp};

/// The owners whose death nobody has noticed, and whose turn it is.
#[derive(Default)]
pub(super) struct Owners {
    enlisted: HashMap<OwnerId, Enlisted>,
    /// The tenant that was served last, so that a small limit does not always serve the same ones.
    served: Option<Tenant>,
    /// Who has which duty; of no meaning when the owner is dead.
    duties: HashMap<Duty, OwnerId>,
}

struct Enlisted {
    lasts: Duration,
    until: Monotonic,
}

impl Owners {
    /// Takes the leases away that have run out.
    fn bury(&mut self, now: Monotonic) {
        self.enlisted.retain(|_, enlisted| now < enlisted.until);
    }

    /// Takes a duty, unless another owner that lives has it.
    fn hold(&mut self, owner: OwnerId, duty: Duty) -> bool {
        let holder = self.duties.get(&duty).copied().filter(|holder| self.lives(*holder));
        let mine = holder.is_none_or(|holder| holder == owner);
        if mine {
            self.duties.insert(duty, owner);
        }
        mine
    }

    fn lives(&self, owner: OwnerId) -> bool {
        self.enlisted.contains_key(&owner)
    }
}

impl VolatileStore {
    /// Lets go of every session in the owner's name.
    fn let_go(&self, owner: OwnerId) {
        for session in self.sessions.read().expect(LOCKED).values() {
            lock(&session.state).owner.take_if(|holder| *holder == owner);
        }
    }

    fn claim_now(
        &self,
        owner: OwnerId,
        filter: &ClaimFilter,
        limit: usize,
    ) -> Result<Vec<Claim>, OwnershipError> {
        // The list of owners stays locked, so that nobody's lease begins or ends while sessions change hands.
        let mut owners = lock(&self.owners);
        owners.bury(self.clock.monotonic());
        if !owners.lives(owner) {
            return Err(OwnershipError::NotEnlisted);
        }
        let mut claims = Vec::new();
        for session in in_turns(self.candidates(owner, filter, &owners), owners.served.as_ref()) {
            if claims.len() >= limit {
                break;
            }
            let mut state = lock(&session.state);
            if may_take(&state, owner, filter, &owners).is_some() {
                state.owner = Some(owner);
                state.epoch = state.epoch.next();
                state.served = self.claims.fetch_add(1, Ordering::Relaxed) + 1;
                claims.push(Claim { entry: session.entry(&state) });
            }
        }
        if let Some(last) = claims.last() {
            owners.served = Some(last.entry.tenant.clone());
        }
        Ok(claims)
    }

    /// The sessions that may be taken, by tenant: those that were served longest ago first, and among them those
    /// that have waited longest. So no session has ever more before it than there were.
    fn candidates(&self, owner: OwnerId, filter: &ClaimFilter, owners: &Owners) -> Candidates {
        let sessions = self.sessions.read().expect(LOCKED);
        let mut found: Candidates = BTreeMap::new();
        let mut consider = |session: &Arc<Session>| {
            let tenant = &session.new.tenant;
            if filter.tenant.as_ref().is_some_and(|only| only != tenant) {
                return;
            }
            let state = lock(&session.state);
            if let Some(since) = may_take(&state, owner, filter, owners) {
                let turn = (state.served, since);
                found.entry(tenant.clone()).or_default().push((turn, session.clone()));
            }
        };
        match &filter.sessions {
            Some(named) => {
                let named: BTreeSet<_> = named.iter().collect();
                named.into_iter().filter_map(|id| sessions.get(id)).for_each(&mut consider);
            }
            None => sessions.values().for_each(&mut consider),
        }
        found.values_mut().for_each(|of_tenant| of_tenant.sort_by_key(|(turn, _)| *turn));
        found
    }
}

type Candidates = BTreeMap<Tenant, Vec<((u64, Timestamp), Arc<Session>)>>;

/// One session of each tenant, then the second of each, and so on; the tenants after `served` come first.
fn in_turns(mut candidates: Candidates, served: Option<&Tenant>) -> impl Iterator<Item = Arc<Session>> {
    let later = match served {
        Some(served) => candidates.split_off(served),
        None => BTreeMap::new(),
    };
    let mut later: Vec<_> = later.into_iter().collect();
    if later.first().is_some_and(|(tenant, _)| Some(tenant) == served) {
        let last = later.remove(0);
        candidates.insert(last.0, last.1);
    }
    let mut tenants: Vec<_> =
        later.into_iter().chain(candidates).map(|(_, of_tenant)| of_tenant.into_iter()).collect();
    let mut rounds = Vec::new();
    while !tenants.is_empty() {
        tenants.retain_mut(|of_tenant| of_tenant.next().map(|(_, session)| rounds.push(session)).is_some());
    }
    rounds.into_iter()
}

/// Whether `owner` may take the session, and since when it has had work, as far as its mark and mail tell.
fn may_take(state: &State, owner: OwnerId, filter: &ClaimFilter, owners: &Owners) -> Option<Timestamp> {
    let named = filter.sessions.is_some();
    let free = match state.owner {
        Some(holder) if holder == owner => named,
        Some(holder) => !owners.lives(holder),
        None => true,
    };
    // A purge needs nothing, and must not wait for a tool.
    let able =
        filter.offers.as_ref().is_none_or(|offers| state.requires.iter().all(|one| offers.contains(one)))
            || state.mail.has_purge();
    if !free || !able || state.mark.status == SessionStatus::Purged {
        return None;
    }
    let running = (state.mark.status == SessionStatus::Running).then(Timestamp::default);
    let due = state.mark.wake_at.filter(|wake_at| *wake_at <= filter.due_by);
    let mail = state.mail.oldest(state.mark.status).map(|item| item.posted);
    let since = [running, due, mail].into_iter().flatten().min();
    since.or_else(|| named.then(Timestamp::default))
}

#[async_trait]
impl Ownership for VolatileStore {
    async fn enlist(&self, owner: OwnerId, lease: Duration) -> Result<Lease, OwnershipError> {
        let mut owners = lock(&self.owners);
        let now = self.clock.monotonic();
        owners.bury(now);
        if !owners.lives(owner) {
            owners.duties.retain(|_, holder| *holder != owner);
            self.let_go(owner);
        }
        owners.enlisted.insert(owner, Enlisted { lasts: lease, until: now.plus(lease) });
        Ok(Lease { lasts: lease })
    }

    async fn renew(&self, owner: OwnerId) -> Result<Lease, OwnershipError> {
        let mut owners = lock(&self.owners);
        let enlisted = owners.enlisted.get_mut(&owner).ok_or(OwnershipError::NotEnlisted)?;
        enlisted.until = self.clock.monotonic().plus(enlisted.lasts);
        Ok(Lease { lasts: enlisted.lasts })
    }

    async fn claim(
        &self,
        owner: OwnerId,
        filter: ClaimFilter,
        limit: usize,
    ) -> Result<Vec<Claim>, OwnershipError> {
        self.claim_now(owner, &filter, limit)
    }

    async fn release(&self, owner: OwnerId, sessions: Vec<(SessionId, Epoch)>) -> Result<(), OwnershipError> {
        for (session, epoch) in sessions {
            if let Some(session) = self.find(session) {
                let mut state = lock(&session.state);
                if state.epoch == epoch {
                    state.owner.take_if(|holder| *holder == owner);
                }
            }
        }
        Ok(())
    }

    async fn hold(&self, owner: OwnerId, duty: Duty) -> Result<bool, OwnershipError> {
        let mut owners = lock(&self.owners);
        owners.bury(self.clock.monotonic());
        if !owners.lives(owner) {
            return Err(OwnershipError::NotEnlisted);
        }
        Ok(owners.hold(owner, duty))
    }

    async fn resign(&self, owner: OwnerId) -> Result<(), OwnershipError> {
        let mut owners = lock(&self.owners);
        owners.enlisted.remove(&owner);
        owners.duties.retain(|_, holder| *holder != owner);
        self.let_go(owner);
        Ok(())
    }
}
