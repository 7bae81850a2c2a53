//! A store before which a network and a process's death stand.
//!
//! What a process asks for travels to the store in a task of the store's own, so that it is done also when its caller is
//! dropped, or dead: dropping a future of a port withdraws nothing.

#![deny(clippy::missing_trait_methods)]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::bus::UnreliableBus;
use super::executor::Group;
use super::faults::{Crashes, Faults, Operation};
use super::time::SimTime;
use super::way::{Lost, Way};
use crate::data::{Account, Amounts, AttemptId, Balance, DataKey, KeyId, Lane, MailKind, Record};
use crate::ports::{
    self, Append, AppendError, Appended, Archive, ArchiveError, Archived, Blob, Bus, Claim, ClaimFilter,
    Dedupe, Duty, Fence, HighWater, Journal, KeyError, KeyStore, Lease, Ledger, MailItem, Mailbox, Marks,
    NamedActor, NewSession, Outbox, OutboxItem, OutboxPosition, Ownership, OwnershipError, Post, PostError,
    Posted, ReconcileError, ReopenError, Reserve, ReserveError, Reserved, Restore, SessionEntry,
    SessionFilter, SettleError, Settlement, Snapshot, Spawn, Store, StoreError, TurnEntry,
};
use crate::words::{
    Digest, Epoch, GroupName, Head, MailId, OwnerId, Pseudonym, Seq, SessionId, Tenant, Timestamp, TurnId,
};

/// The ports of one process onto a store that others use too. Each call may be slow, refused, done without an answer, or
/// not done without an answer; and the process may die before or after it.
#[derive(Clone)]
pub struct UnreliableStore {
    inner: Store,
    keys: Arc<dyn KeyStore>,
    way: Arc<Way>,
}

impl UnreliableStore {
    /// The ports of the process whose tasks are `process`. `server` spawns into a group that never dies.
    pub fn new(
        (inner, keys): (Store, Arc<dyn KeyStore>),
        (process, server): (Group, Arc<dyn Spawn>),
        time: SimTime,
        faults: Arc<Faults>,
        crashes: Crashes,
    ) -> Self {
        Self { inner, keys, way: Arc::new(Way::new((process, server), time, faults, crashes)) }
    }

    /// The ports as a shell takes them.
    pub fn store(&self) -> Store {
        Store::new(Arc::new(self.clone()))
    }

    /// A bus as this process reaches it: the same that goes wrong with the store goes wrong with the bus.
    pub fn bus(&self, inner: Arc<dyn Bus>) -> Arc<dyn Bus> {
        Arc::new(UnreliableBus::new(inner, self.way.clone()))
    }

    /// The key store as a shell takes it.
    pub fn keys(&self) -> Arc<dyn KeyStore> {
        Arc::new(self.clone())
    }

    async fn ask<T: Send + 'static>(
        &self,
        operation: Operation,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Lost> {
        self.way.ask(operation, work).await
    }
}

impl From<Lost> for StoreError {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Unknown => Self::Indeterminate { detail: "the answer was lost".into() },
            Lost::Refused => Self::Unavailable { detail: "it was refused".into() },
        }
    }
}

impl From<Lost> for KeyError {
    fn from(lost: Lost) -> Self {
        let detail = match lost {
            Lost::Unknown => "the answer was lost",
            Lost::Refused => "it was refused",
        };
        Self::Unavailable { detail: detail.into() }
    }
}

/// Asks a port of the inner store: `asked!(self, field.function(arguments), Operation, Error)`.
macro_rules! asked {
    ($self:ident, $port:ident.$function:ident($($argument:expr),*), $operation:ident, $error:ty) => {{
        let port = $self.inner.$port.clone();
        let work = async move { port.$function($($argument),*).await };
        $self.ask(Operation::$operation, work).await.map_err(|lost| <$error>::from(StoreError::from(lost)))?
    }};
}

#[async_trait]
impl Journal for UnreliableStore {
    async fn open_session(&self, new: NewSession) -> Result<SessionEntry, StoreError> {
        asked!(self, journal.open_session(new), OpenSession, StoreError)
    }

    async fn append(&self, append: Arc<Append>) -> Result<Appended, AppendError> {
        asked!(self, journal.append(append), Append, AppendError)
    }

    async fn read(&self, session: SessionId, after: Seq, limit: usize) -> Result<Vec<Record>, StoreError> {
        asked!(self, journal.read(session, after, limit), Read, StoreError)
    }

    async fn blob(&self, session: SessionId, address: Digest) -> Result<Vec<u8>, StoreError> {
        asked!(self, journal.blob(session, address), Blob, StoreError)
    }

    async fn snapshot(&self, session: SessionId) -> Result<Option<Snapshot>, StoreError> {
        asked!(self, journal.snapshot(session), Snapshot, StoreError)
    }

    async fn session(&self, session: SessionId) -> Result<Option<SessionEntry>, StoreError> {
        asked!(self, journal.session(session), Session, StoreError)
    }

    async fn sessions(
        &self,
        filter: SessionFilter,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<SessionEntry>, StoreError> {
        asked!(self, journal.sessions(filter, after, limit), Sessions, StoreError)
    }

    async fn turn(&self, turn: TurnId) -> Result<Option<TurnEntry>, StoreError> {
        asked!(self, journal.turn(turn), Turn, StoreError)
    }

    async fn actor(&self, tenant: &Tenant, actor: Pseudonym) -> Result<Option<NamedActor>, StoreError> {
        let tenant = tenant.clone();
        asked!(self, journal.actor(&tenant, actor), Actor, StoreError)
    }
}

#[async_trait]
impl Mailbox for UnreliableStore {
    async fn post(&self, post: Post) -> Result<Posted, PostError> {
        asked!(self, mailbox.post(post), Post, PostError)
    }

    async fn waiting(
        &self,
        session: SessionId,
        lane: Lane,
        after: Option<MailId>,
        limit: usize,
    ) -> Result<Vec<MailItem>, StoreError> {
        asked!(self, mailbox.waiting(session, lane, after, limit), Waiting, StoreError)
    }

    async fn awaiting(
        &self,
        owner: OwnerId,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<SessionId>, StoreError> {
        asked!(self, mailbox.awaiting(owner, after, limit), Awaiting, StoreError)
    }

    async fn dedupe(
        &self,
        session: SessionId,
        kind: MailKind,
        key: Digest,
    ) -> Result<Option<Dedupe>, StoreError> {
        asked!(self, mailbox.dedupe(session, kind, key), Dedupe, StoreError)
    }
}

#[async_trait]
impl Ownership for UnreliableStore {
    async fn enlist(&self, owner: OwnerId, lease: Duration) -> Result<Lease, OwnershipError> {
        asked!(self, ownership.enlist(owner, lease), Enlist, OwnershipError)
    }

    async fn renew(&self, owner: OwnerId) -> Result<Lease, OwnershipError> {
        asked!(self, ownership.renew(owner), Renew, OwnershipError)
    }

    async fn claim(
        &self,
        owner: OwnerId,
        filter: ClaimFilter,
        limit: usize,
    ) -> Result<Vec<Claim>, OwnershipError> {
        asked!(self, ownership.claim(owner, filter, limit), Claim, OwnershipError)
    }

    async fn release(&self, owner: OwnerId, sessions: Vec<(SessionId, Epoch)>) -> Result<(), OwnershipError> {
        asked!(self, ownership.release(owner, sessions), Release, OwnershipError)
    }

    async fn hold(&self, owner: OwnerId, duty: Duty) -> Result<bool, OwnershipError> {
        asked!(self, ownership.hold(owner, duty), Hold, OwnershipError)
    }

    async fn resign(&self, owner: OwnerId) -> Result<(), OwnershipError> {
        asked!(self, ownership.resign(owner), Resign, OwnershipError)
    }
}

#[async_trait]
impl Outbox for UnreliableStore {
    async fn pending(&self, after: OutboxPosition, limit: usize) -> Result<Vec<OutboxItem>, StoreError> {
        asked!(self, outbox.pending(after, limit), Pending, StoreError)
    }

    async fn kept(&self, after: OutboxPosition, limit: usize) -> Result<Vec<OutboxItem>, StoreError> {
        asked!(self, outbox.kept(after, limit), Kept, StoreError)
    }

    async fn acknowledge(&self, through: OutboxPosition) -> Result<(), StoreError> {
        asked!(self, outbox.acknowledge(through), Acknowledge, StoreError)
    }

    async fn replay(
        &self,
        session: SessionId,
        sequence: u64,
        limit: usize,
    ) -> Result<Vec<OutboxItem>, StoreError> {
        asked!(self, outbox.replay(session, sequence, limit), Replay, StoreError)
    }

    async fn trim(&self, before: Timestamp) -> Result<u64, StoreError> {
        asked!(self, outbox.trim(before), Trim, StoreError)
    }
}

#[async_trait]
impl Marks for UnreliableStore {
    async fn load(&self, group: &GroupName, sessions: &[SessionId]) -> Result<Vec<HighWater>, StoreError> {
        let (group, sessions) = (group.clone(), sessions.to_vec());
        asked!(self, marks.load(&group, &sessions), LoadMarks, StoreError)
    }

    async fn save(&self, group: &GroupName, marks: &[(SessionId, HighWater)]) -> Result<(), StoreError> {
        let (group, raised) = (group.clone(), marks.to_vec());
        asked!(self, marks.save(&group, &raised), SaveMarks, StoreError)
    }

    async fn behind(
        &self,
        group: &GroupName,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<(SessionId, HighWater)>, StoreError> {
        let group = group.clone();
        asked!(self, marks.behind(&group, after, limit), Behind, StoreError)
    }
}

#[async_trait]
impl Archive for UnreliableStore {
    async fn blobs(
        &self,
        session: SessionId,
        after: Option<Digest>,
        limit: usize,
    ) -> Result<Vec<Blob>, StoreError> {
        asked!(self, archive.blobs(session, after, limit), Blobs, StoreError)
    }

    async fn archive(
        &self,
        session: SessionId,
        expected: Head,
        archived: Archived,
    ) -> Result<(), ArchiveError> {
        asked!(self, archive.archive(session, expected, archived), Archive, ArchiveError)
    }

    async fn restore(&self, restore: Arc<Restore>) -> Result<(), ArchiveError> {
        asked!(self, archive.restore(restore), Restore, ArchiveError)
    }

    async fn expire(&self, session: SessionId, archived: Archived) -> Result<(), ArchiveError> {
        asked!(self, archive.expire(session, archived), Expire, ArchiveError)
    }
}

#[async_trait]
impl Ledger for UnreliableStore {
    async fn reserve(&self, reserve: Reserve) -> Result<Reserved, ReserveError> {
        asked!(self, ledger.reserve(reserve), Reserve, ReserveError)
    }

    async fn settle(
        &self,
        session: SessionId,
        fence: Fence,
        settlements: Vec<Settlement>,
    ) -> Result<(), SettleError> {
        asked!(self, ledger.settle(session, fence, settlements), Settle, SettleError)
    }

    async fn sweep(&self, session: SessionId, fence: Fence) -> Result<u64, SettleError> {
        asked!(self, ledger.sweep(session, fence), Sweep, SettleError)
    }

    async fn reconcile(&self, attempt: AttemptId, billed: Amounts) -> Result<(), ReconcileError> {
        asked!(self, ledger.reconcile(attempt, billed), Reconcile, ReconcileError)
    }

    async fn balance(&self, account: Account) -> Result<Option<Balance>, StoreError> {
        asked!(self, ledger.balance(account), Balance, StoreError)
    }

    async fn reopen(&self, account: Account, overrun_seen: Amounts) -> Result<(), ReopenError> {
        asked!(self, ledger.reopen(account, overrun_seen), Reopen, ReopenError)
    }

    async fn operations(&self, after: u64, limit: usize) -> Result<Vec<ports::Operation>, StoreError> {
        asked!(self, ledger.operations(after, limit), Operations, StoreError)
    }

    async fn trim(&self, through: u64) -> Result<u64, StoreError> {
        asked!(self, ledger.trim(through), TrimLedger, StoreError)
    }
}

#[async_trait]
impl KeyStore for UnreliableStore {
    async fn create(&self, id: KeyId, fresh: DataKey) -> Result<DataKey, KeyError> {
        let keys = self.keys.clone();
        self.ask(Operation::CreateKey, async move { keys.create(id, fresh).await }).await?
    }

    async fn fetch(&self, id: KeyId) -> Result<DataKey, KeyError> {
        let keys = self.keys.clone();
        self.ask(Operation::FetchKey, async move { keys.fetch(id).await }).await?
    }

    async fn destroy(&self, id: KeyId) -> Result<(), KeyError> {
        let keys = self.keys.clone();
        self.ask(Operation::DestroyKey, async move { keys.destroy(id).await }).await?
    }
}
