//! Deliberate faults of a store or of the runtime, each behind a switch, to see that the simulation finds them. What can
//! only be broken inside the runtime is told of in docs/SIMULATION.md.

#![deny(clippy::missing_trait_methods)]

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use agent_shell_core::data::{Lane, MailKind, Record, record_hash};
use agent_shell_core::ports::{
    Append, AppendError, Appended, Claim, ClaimFilter, Dedupe, Duty, Fence, Journal, Lease, MailItem,
    Mailbox, NamedActor, NewSession, Ownership, OwnershipError, Post, PostError, Posted, SessionEntry,
    SessionFilter, Snapshot, Spawn, Store, StoreError, TurnEntry,
};
use agent_shell_core::simulation::SimTime;
use agent_shell_core::words::{
    Digest, Epoch, Head, MailId, OwnerId, Pseudonym, Seq, SessionId, Tenant, TurnId,
};
use async_trait::async_trait;

/// A deliberate fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Bug {
    /// The journal takes the appends of any owner.
    FencingDropped,
    /// The mailbox keeps mail again whose dedupe key was used.
    DedupeIgnored,
    /// An append is answered before it is durable, so an act begins before its intent is.
    IntentAfterAct,
    /// A snapshot is said to stand one record before where it was taken.
    SnapshotOffByOne,
    /// A lease is said to last much longer than it does.
    LeaseMarginIgnored,
    /// The outbox's rows are acknowledged when they are read, before the bus has them.
    OutboxCursorEarly,
    /// A mark is saved as done when the event was taken.
    MarkBeforeEffect,
    /// The outbox says to have nothing when a consumer asks for what it misses.
    ReplayForgotten,
    /// The key store says to have destroyed keys that it keeps.
    KeysKept,
    /// A model is told of its calls in another order.
    ResultsReordered,
    /// A model is asked again what it has answered.
    AskedAgain,
    /// A question shows the whole conversation, whatever its policy allows.
    BoundIgnored,
    /// A loop corrects a model, and lets it repeat itself, for ever.
    LoopUnbounded,
    /// A turn's answer is not what the model said.
    AnswerChanged,
    /// The ledger takes reservations whatever the ceilings are.
    CeilingIgnored,
    /// The settlements of an append are forgotten.
    SettlementsForgotten,
    /// An account that an overrun has closed is opened for whoever asks next.
    OverrunIgnored,
    /// A turn is said to have ended one record before its last.
    EndedEarly,
    /// A follower that connects anew is told its last record again.
    FollowedAgain,
    /// A follower is not told that text counts for nothing.
    RetractionForgotten,
    /// An optimistic step that is made again is given what it had read at first.
    StaleRead,
    /// A guard's shell lets pass whatever it denied.
    GuardsIgnored,
    /// Guards are asked again about what they have ruled on.
    GuardsAskedAgain,
    /// A compensation is called for another call.
    UndoOther,
    /// A compensation is called twice.
    UndoTwice,
    /// A child's request is posted before its parent's record of it is durable.
    ChildEarly,
    /// What parents and children tell each other is posted twice.
    ChildTwice,
    /// A child is not told that its parent has no use for it.
    ChildCancelLost,
    /// What is said to a turn that runs is taken, and given to nobody.
    SteersLost,
    /// A planner is not shown what was said while its turn ran.
    SteersUnshown,
}

impl Bug {
    /// Every one.
    pub const ALL: [Self; 30] = [
        Self::FencingDropped,
        Self::DedupeIgnored,
        Self::IntentAfterAct,
        Self::SnapshotOffByOne,
        Self::LeaseMarginIgnored,
        Self::OutboxCursorEarly,
        Self::MarkBeforeEffect,
        Self::ReplayForgotten,
        Self::KeysKept,
        Self::ResultsReordered,
        Self::AskedAgain,
        Self::BoundIgnored,
        Self::LoopUnbounded,
        Self::AnswerChanged,
        Self::CeilingIgnored,
        Self::SettlementsForgotten,
        Self::OverrunIgnored,
        Self::EndedEarly,
        Self::FollowedAgain,
        Self::RetractionForgotten,
        Self::StaleRead,
        Self::GuardsIgnored,
        Self::GuardsAskedAgain,
        Self::UndoOther,
        Self::UndoTwice,
        Self::ChildEarly,
        Self::ChildTwice,
        Self::ChildCancelLost,
        Self::SteersLost,
        Self::SteersUnshown,
    ];

    /// Its name on a command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FencingDropped => "fencing-dropped",
            Self::DedupeIgnored => "dedupe-ignored",
            Self::IntentAfterAct => "intent-after-act",
            Self::SnapshotOffByOne => "snapshot-off-by-one",
            Self::LeaseMarginIgnored => "lease-margin-ignored",
            Self::OutboxCursorEarly => "outbox-cursor-early",
            Self::MarkBeforeEffect => "mark-before-effect",
            Self::ReplayForgotten => "replay-forgotten",
            Self::KeysKept => "keys-kept",
            Self::ResultsReordered => "results-reordered",
            Self::AskedAgain => "asked-again",
            Self::BoundIgnored => "bound-ignored",
            Self::LoopUnbounded => "loop-unbounded",
            Self::AnswerChanged => "answer-changed",
            Self::CeilingIgnored => "ceiling-ignored",
            Self::SettlementsForgotten => "settlements-forgotten",
            Self::OverrunIgnored => "overrun-ignored",
            Self::EndedEarly => "ended-early",
            Self::FollowedAgain => "followed-again",
            Self::RetractionForgotten => "retraction-forgotten",
            Self::StaleRead => "stale-read",
            Self::GuardsIgnored => "guards-ignored",
            Self::GuardsAskedAgain => "guards-asked-again",
            Self::UndoOther => "undo-other",
            Self::UndoTwice => "undo-twice",
            Self::ChildEarly => "child-early",
            Self::ChildTwice => "child-twice",
            Self::ChildCancelLost => "child-cancel-lost",
            Self::SteersLost => "steers-lost",
            Self::SteersUnshown => "steers-unshown",
        }
    }

    /// Whether the store itself is at fault: then what is watched is what it says, and not what it does.
    pub(super) const fn is_of_store(self) -> bool {
        matches!(
            self,
            Self::FencingDropped
                | Self::DedupeIgnored
                | Self::CeilingIgnored
                | Self::SettlementsForgotten
                | Self::OverrunIgnored
        )
    }
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Bug {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|bug| bug.name() == text);
        found.ok_or_else(|| format!("one of {}", Self::ALL.map(Self::name).join(", ")))
    }
}

pub(super) struct Faulty {
    pub(super) inner: Store,
    pub(super) bug: Bug,
    pub(super) time: SimTime,
    server: Arc<dyn Spawn>,
}

/// The same store with a deliberate fault.
pub(super) fn faulty(inner: Store, bug: Bug, time: SimTime, server: Arc<dyn Spawn>) -> Store {
    let mut store = inner.clone();
    let faulty = Arc::new(Faulty { inner, bug, time, server });
    (store.journal, store.mailbox, store.ownership) = (faulty.clone(), faulty.clone(), faulty.clone());
    (store.outbox, store.marks, store.ledger) = (faulty.clone(), faulty.clone(), faulty);
    store
}

impl Faulty {
    /// Takes an append whoever makes it: it is written as the owner's, after whatever is there.
    async fn append_unfenced(&self, append: Arc<Append>) -> Result<Appended, AppendError> {
        match self.inner.journal.append(append.clone()).await {
            Err(AppendError::Fenced { .. }) => {}
            answer => return answer,
        }
        let Some(entry) = self.inner.journal.session(append.session).await? else {
            return Err(AppendError::Corrupt { detail: "there is no such session".into() });
        };
        let Some(owner) = entry.owner else {
            return Err(AppendError::Fenced { actual: entry.epoch });
        };
        let forged = forged((*append).clone(), Fence { owner, epoch: entry.epoch }, entry.head);
        self.inner.journal.append(Arc::new(forged)).await?;
        let head = append.records.last().map_or(append.expected, Record::head);
        Ok(Appended { head, still_owner: true })
    }

    /// Answers at once, and appends a little later.
    fn append_late(&self, append: Arc<Append>) -> Appended {
        let head = append.records.last().map_or(append.expected, Record::head);
        let (journal, time) = (self.inner.journal.clone(), self.time.clone());
        self.server.spawn(Box::pin(async move {
            time.sleep(Duration::from_millis(4)).await;
            // Nobody waits for this answer: that is the fault.
            drop(journal.append(append).await);
        }));
        Appended { head, still_owner: true }
    }
}

fn forged(mut append: Append, fence: Fence, expected: Head) -> Append {
    (append.fence, append.expected) = (fence, expected);
    let Head { mut seq, mut hash } = expected;
    for record in &mut append.records {
        seq = seq.next();
        (record.header.seq, record.header.epoch) = (seq, fence.epoch);
        hash = record_hash(&hash, &record.header);
        record.hash = hash;
    }
    append.turns.clear();
    append.snapshot = None;
    append
}

/// The head before the last record of an append.
fn head_before_last(append: &Append) -> Head {
    let before = append.records.iter().rev().nth(1);
    before.map_or(append.expected, Record::head)
}

#[async_trait]
impl Journal for Faulty {
    async fn open_session(&self, new: NewSession) -> Result<SessionEntry, StoreError> {
        self.inner.journal.open_session(new).await
    }

    async fn append(&self, append: Arc<Append>) -> Result<Appended, AppendError> {
        match self.bug {
            Bug::FencingDropped => self.append_unfenced(append).await,
            Bug::IntentAfterAct => Ok(self.append_late(append)),
            Bug::SettlementsForgotten => {
                let mut forgetful = (*append).clone();
                forgetful.settle.clear();
                self.inner.journal.append(Arc::new(forgetful)).await
            }
            Bug::SnapshotOffByOne if append.snapshot.is_some() => {
                let mut moved = (*append).clone();
                let head = head_before_last(&append);
                if let Some(snapshot) = &mut moved.snapshot {
                    snapshot.head = head;
                }
                self.inner.journal.append(Arc::new(moved)).await
            }
            Bug::ChildEarly | Bug::ChildTwice | Bug::ChildCancelLost => {
                let changed = self.of_children((*append).clone()).await;
                self.inner.journal.append(Arc::new(changed)).await
            }
            _ => self.inner.journal.append(append).await,
        }
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
        let mut entry = self.inner.journal.turn(turn).await?;
        if self.bug == Bug::EndedEarly
            && let Some(ended) = entry.as_mut().and_then(|entry| entry.ended.as_mut())
        {
            *ended = Seq::new(ended.number() - 1);
        }
        Ok(entry)
    }

    async fn actor(&self, tenant: &Tenant, actor: Pseudonym) -> Result<Option<NamedActor>, StoreError> {
        self.inner.journal.actor(tenant, actor).await
    }
}

#[async_trait]
impl Mailbox for Faulty {
    async fn post(&self, mut post: Post) -> Result<Posted, PostError> {
        if self.bug == Bug::DedupeIgnored {
            post.dedupe = None;
        }
        self.inner.mailbox.post(post).await
    }

    async fn waiting(
        &self,
        session: SessionId,
        lane: Lane,
        after: Option<MailId>,
        limit: usize,
    ) -> Result<Vec<MailItem>, StoreError> {
        if self.bug == Bug::SteersLost && lane == Lane::Steer {
            return Ok(Vec::new());
        }
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

impl Faulty {
    fn said(&self, given: Lease) -> Lease {
        match self.bug {
            Bug::LeaseMarginIgnored => Lease { lasts: given.lasts * 8 },
            _ => given,
        }
    }
}

#[async_trait]
impl Ownership for Faulty {
    async fn enlist(&self, owner: OwnerId, lease: Duration) -> Result<Lease, OwnershipError> {
        Ok(self.said(self.inner.ownership.enlist(owner, lease).await?))
    }

    async fn renew(&self, owner: OwnerId) -> Result<Lease, OwnershipError> {
        Ok(self.said(self.inner.ownership.renew(owner).await?))
    }

    async fn claim(
        &self,
        owner: OwnerId,
        filter: ClaimFilter,
        limit: usize,
    ) -> Result<Vec<Claim>, OwnershipError> {
        self.inner.ownership.claim(owner, filter, limit).await
    }

    async fn release(&self, owner: OwnerId, sessions: Vec<(SessionId, Epoch)>) -> Result<(), OwnershipError> {
        self.inner.ownership.release(owner, sessions).await
    }

    async fn hold(&self, owner: OwnerId, duty: Duty) -> Result<bool, OwnershipError> {
        self.inner.ownership.hold(owner, duty).await
    }

    async fn resign(&self, owner: OwnerId) -> Result<(), OwnershipError> {
        self.inner.ownership.resign(owner).await
    }
}
