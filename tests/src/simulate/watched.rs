//! The store as the truth sees it: directly before the real one, everything that is done is told to the truth in the
//! same moment.

#![deny(clippy::missing_trait_methods)]

use std::sync::Arc;
use std::time::Duration;

use agent_shell_core::data::{Lane, MailKind, Record};
use agent_shell_core::ports::{
    Append, AppendError, Appended, Claim, ClaimFilter, Dedupe, Duty, Journal, Lease, MailItem, Mailbox,
    NamedActor, NewSession, Ownership, OwnershipError, Post, PostError, Posted, SessionEntry, SessionFilter,
    Snapshot, Store, StoreError, TurnEntry,
};
use agent_shell_core::words::{Digest, Epoch, MailId, OwnerId, Pseudonym, Seq, SessionId, Tenant, TurnId};
use async_trait::async_trait;

use super::truth::{Asked, Truth};

pub(super) struct Watched {
    pub(super) inner: Store,
    pub(super) truth: Truth,
}

/// The same store, watched.
pub(super) fn watched(inner: Store, truth: Truth) -> Store {
    let mut store = inner.clone();
    let watched = Arc::new(Watched { inner, truth });
    (store.journal, store.mailbox, store.ownership) = (watched.clone(), watched.clone(), watched.clone());
    (store.outbox, store.marks, store.ledger) = (watched.clone(), watched.clone(), watched);
    store
}

#[async_trait]
impl Journal for Watched {
    async fn open_session(&self, new: NewSession) -> Result<SessionEntry, StoreError> {
        let entry = self.inner.journal.open_session(new).await?;
        self.truth.opened(&entry);
        Ok(entry)
    }

    async fn append(&self, append: Arc<Append>) -> Result<Appended, AppendError> {
        let answer = self.inner.journal.append(append.clone()).await;
        self.ledger_moved(Asked::Nothing).await;
        self.truth.appended(&append, &answer);
        answer
    }

    async fn read(&self, session: SessionId, after: Seq, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.inner.journal.read(session, after, limit).await
    }

    async fn blob(&self, session: SessionId, address: Digest) -> Result<Vec<u8>, StoreError> {
        self.inner.journal.blob(session, address).await
    }

    async fn snapshot(&self, session: SessionId) -> Result<Option<Snapshot>, StoreError> {
        self.inner.journal.snapshot(session).await
    }

    async fn session(&self, session: SessionId) -> Result<Option<SessionEntry>, StoreError> {
        self.inner.journal.session(session).await
    }

    async fn sessions(
        &self,
        filter: SessionFilter,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<SessionEntry>, StoreError> {
        self.inner.journal.sessions(filter, after, limit).await
    }

    async fn turn(&self, turn: TurnId) -> Result<Option<TurnEntry>, StoreError> {
        self.inner.journal.turn(turn).await
    }

    async fn actor(&self, tenant: &Tenant, actor: Pseudonym) -> Result<Option<NamedActor>, StoreError> {
        self.inner.journal.actor(tenant, actor).await
    }
}

#[async_trait]
impl Mailbox for Watched {
    async fn post(&self, post: Post) -> Result<Posted, PostError> {
        let (actor, turn, session) = (post.named_actor.clone(), post.turn, post.session);
        let answer = self.inner.mailbox.post(post).await;
        if let (Ok(Posted::Accepted), Some(turn)) = (&answer, turn) {
            self.truth.posted(turn, session);
        }
        if let (Ok(Posted::Accepted), Some(actor)) = (&answer, actor) {
            self.truth.named(actor.actor);
        }
        answer
    }

    async fn waiting(
        &self,
        session: SessionId,
        lane: Lane,
        after: Option<MailId>,
        limit: usize,
    ) -> Result<Vec<MailItem>, StoreError> {
        self.inner.mailbox.waiting(session, lane, after, limit).await
    }

    async fn awaiting(
        &self,
        owner: OwnerId,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<SessionId>, StoreError> {
        self.inner.mailbox.awaiting(owner, after, limit).await
    }

    async fn dedupe(
        &self,
        session: SessionId,
        kind: MailKind,
        key: Digest,
    ) -> Result<Option<Dedupe>, StoreError> {
        self.inner.mailbox.dedupe(session, kind, key).await
    }
}

#[async_trait]
impl Ownership for Watched {
    async fn enlist(&self, owner: OwnerId, lease: Duration) -> Result<Lease, OwnershipError> {
        let given = self.inner.ownership.enlist(owner, lease).await?;
        self.truth.enlisted(owner, given.lasts);
        Ok(given)
    }

    async fn renew(&self, owner: OwnerId) -> Result<Lease, OwnershipError> {
        let given = self.inner.ownership.renew(owner).await?;
        self.truth.leased(owner, given.lasts);
        Ok(given)
    }

    async fn claim(
        &self,
        owner: OwnerId,
        filter: ClaimFilter,
        limit: usize,
    ) -> Result<Vec<Claim>, OwnershipError> {
        let claims = self.inner.ownership.claim(owner, filter, limit).await?;
        claims.iter().for_each(|claim| self.truth.claimed(owner, &claim.entry));
        Ok(claims)
    }

    async fn release(&self, owner: OwnerId, sessions: Vec<(SessionId, Epoch)>) -> Result<(), OwnershipError> {
        let released = sessions.clone();
        self.inner.ownership.release(owner, sessions).await?;
        released.into_iter().for_each(|(session, epoch)| self.truth.released(owner, session, epoch));
        Ok(())
    }

    async fn hold(&self, owner: OwnerId, duty: Duty) -> Result<bool, OwnershipError> {
        self.inner.ownership.hold(owner, duty).await
    }

    async fn resign(&self, owner: OwnerId) -> Result<(), OwnershipError> {
        self.inner.ownership.resign(owner).await?;
        self.truth.resigned(owner);
        Ok(())
    }
}
