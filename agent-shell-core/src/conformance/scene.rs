//! What the properties share: a store with owners and sessions in it, and looks at all of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ulid::Ulid;

use super::{StoreFixture, Writer};
use crate::data::{KeyId, Lane, MailKind, Record};
use crate::ports::{
    Append, AppendError, Appended, Claim, ClaimFilter, Dedupe, MailItem, NewSession, OutboxItem,
    OutboxPosition, OwnershipError, Post, Posted, SessionEntry, Snapshot, Store,
};
use crate::words::{Digest, MailId, OwnerId, Pseudonym, Seq, SessionId, Tenant, Timestamp, TurnId};

/// More than any property stores, so that one page holds all.
pub(super) const ALL: usize = 10_000;

/// An id that this process has not used.
pub fn unique<T: From<Ulid>>() -> T {
    static LAST: AtomicU64 = AtomicU64::new(0);
    T::from(Ulid(u128::from(LAST.fetch_add(1, Ordering::Relaxed) + 1)))
}

/// The SHA-256 digest of a text.
pub fn digest_of(text: impl AsRef<[u8]>) -> Digest {
    Digest::of(text)
}

/// A tenant.
pub fn tenant(name: &str) -> Tenant {
    Tenant::new(name).expect("the suite's tenants have valid names")
}

/// Mail of a user with this content.
pub fn post(session: SessionId, kind: MailKind, content: &str) -> Post {
    Post {
        id: unique(),
        session,
        kind,
        system: false,
        dedupe: None,
        turn: None,
        actor: Pseudonym::HOST,
        named_actor: None,
        posted: Timestamp::from_millis(1_700_000_000_000),
        sealed: content.into(),
        quota: 100,
    }
}

/// A dedupe row for a key and what was asked for.
pub(super) fn dedupe(key: &str, asked: &str, turn: Option<TurnId>) -> Dedupe {
    Dedupe { key: digest_of(key), digest: digest_of(asked), turn }
}

/// A store under test.
pub struct Scene<'a> {
    /// The store.
    pub store: Store,
    /// Where it came from.
    pub fixture: &'a dyn StoreFixture,
}

/// All that can be seen of one session.
#[derive(Debug, PartialEq)]
pub(super) struct Contents {
    pub(super) entry: Option<SessionEntry>,
    pub(super) records: Vec<Record>,
    pub(super) input: Vec<MailItem>,
    pub(super) control: Vec<MailItem>,
    pub(super) snapshot: Option<Snapshot>,
    pub(super) outbox: Vec<OutboxItem>,
}

impl<'a> Scene<'a> {
    /// A fresh store.
    pub async fn new(fixture: &'a dyn StoreFixture) -> Self {
        Self { store: fixture.store().await, fixture }
    }

    /// The same data, opened again, once the leases of before have run out.
    pub async fn reopened(self) -> Self {
        let Self { store, fixture } = self;
        let store =
            fixture.reopen(store).await.expect("the fixture of a durable store must open its data again");
        fixture.advance(fixture.lease() * 2).await;
        Self { store, fixture }
    }

    /// An owner with a lease.
    pub async fn owner(&self) -> OwnerId {
        let owner = unique();
        let lease = self.store.ownership.enlist(owner, self.fixture.lease()).await;
        lease.expect("a store must enlist a new owner");
        owner
    }

    /// A session of the tenant `default`.
    pub async fn session(&self) -> SessionEntry {
        self.session_of("default").await
    }

    /// A session of a tenant.
    pub async fn session_of(&self, tenant_name: &str) -> SessionEntry {
        self.open(new_session(tenant_name)).await
    }

    pub(super) async fn open(&self, new: NewSession) -> SessionEntry {
        self.store.journal.open_session(new).await.expect("a store must register a session")
    }

    /// A session with an owner of its own.
    pub async fn owned(&self) -> Writer {
        let session = self.session().await;
        let owner = self.owner().await;
        self.take(owner, session.id).await
    }

    /// Claims a session by its id, which must succeed.
    pub async fn take(&self, owner: OwnerId, session: SessionId) -> Writer {
        let claims = self.claim(owner, named([session])).await;
        assert_eq!(claims.len(), 1, "a session that is named and that nobody holds must be claimed");
        Writer::of(&claims[0].entry, owner)
    }

    /// Claims what the filter lets through.
    pub async fn claim(&self, owner: OwnerId, filter: ClaimFilter) -> Vec<Claim> {
        self.claim_at_most(owner, filter, ALL).await.expect("an owner with a lease must be allowed to claim")
    }

    pub(super) async fn claim_at_most(
        &self,
        owner: OwnerId,
        filter: ClaimFilter,
        limit: usize,
    ) -> Result<Vec<Claim>, OwnershipError> {
        self.store.ownership.claim(owner, filter, limit).await
    }

    /// Lets every lease run out that is not renewed.
    pub async fn outlive_leases(&self) {
        self.fixture.advance(self.fixture.lease() * 2).await;
    }

    pub(super) async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        self.store.journal.append(Arc::new(append)).await
    }

    pub(super) async fn accept(&self, post: Post) -> MailId {
        let id = post.id;
        let posted = self.store.mailbox.post(post).await;
        assert_eq!(posted, Ok(Posted::Accepted), "a mailbox must accept new mail within its quota");
        id
    }

    pub(super) async fn entry(&self, session: SessionId) -> SessionEntry {
        let entry = self.store.journal.session(session).await.expect("a store must answer");
        entry.expect("a session that was registered must be there")
    }

    pub(super) async fn records(&self, session: SessionId) -> Vec<Record> {
        self.store.journal.all_records(session).await
    }

    pub(super) async fn waiting(&self, session: SessionId, lane: Lane) -> Vec<MailItem> {
        self.store.mailbox.waiting(session, lane, None, ALL).await.expect("a mailbox must answer")
    }

    pub(super) async fn pending(&self) -> Vec<OutboxItem> {
        let pending = self.store.outbox.pending(OutboxPosition::default(), ALL).await;
        pending.expect("an outbox must answer")
    }

    pub(super) async fn contents(&self, session: SessionId) -> Contents {
        Contents {
            entry: self.store.journal.session(session).await.expect("a store must answer"),
            records: self.records(session).await,
            input: self.waiting(session, Lane::Input).await,
            control: self.waiting(session, Lane::Control).await,
            snapshot: self.store.journal.snapshot(session).await.expect("a store must answer"),
            outbox: self.store.outbox.replay(session, 1, ALL).await.expect("an outbox must answer"),
        }
    }
}

/// Reads a session page by page, as a reader must.
trait AllRecords {
    async fn all_records(&self, session: SessionId) -> Vec<Record>;
}

impl AllRecords for Arc<dyn crate::ports::Journal> {
    async fn all_records(&self, session: SessionId) -> Vec<Record> {
        let mut records: Vec<Record> = Vec::new();
        loop {
            let after = records.last().map_or(Seq::ZERO, |record| record.header.seq);
            let page = self.read(session, after, ALL).await.expect("a journal must answer");
            if page.is_empty() {
                return records;
            }
            records.extend(page);
            assert!(records.len() <= ALL, "a reader that goes on after the last record must come to an end");
        }
    }
}

/// A session to register, with a name of its own.
pub(super) fn new_session(tenant_name: &str) -> NewSession {
    let id: SessionId = unique();
    NewSession {
        id,
        tenant: tenant(tenant_name),
        name: digest_of(format!("name of {id}")),
        sealed: format!("sealed \0 {id}").into_bytes(),
        key: KeyId(digest_of(format!("key of {id}"))),
        created: Timestamp::from_millis(1_700_000_000_123),
    }
}

/// A filter that names sessions.
pub(super) fn named(sessions: impl IntoIterator<Item = SessionId>) -> ClaimFilter {
    ClaimFilter { sessions: Some(sessions.into_iter().collect()), ..ClaimFilter::default() }
}

/// The ids of claimed sessions, sorted.
pub(super) fn ids(claims: &[Claim]) -> Vec<SessionId> {
    let mut ids: Vec<_> = claims.iter().map(|claim| claim.entry.id).collect();
    ids.sort();
    ids
}

/// The contents of mail, as text.
pub(super) fn texts(mail: &[MailItem]) -> Vec<String> {
    mail.iter().map(|item| String::from_utf8_lossy(&item.sealed).into_owned()).collect()
}
