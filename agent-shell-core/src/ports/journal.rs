//! The journal: per session, an ordered and contiguous sequence of chained records.

use std::sync::Arc;

use async_trait::async_trait;

use super::archive::Archived;
use super::ledger::Settlement;
use super::mailbox::Post;
use super::outbox::Outgoing;
use super::store::StoreError;
use crate::data::{KeyId, Lane, Record, RequirementId};
use crate::words::{
    AppendId, Digest, Epoch, Head, MailId, OwnerId, Pseudonym, Seq, SessionId, Tenant, Timestamp, TurnId,
};

/// The truth: what is in a journal has happened.
///
/// # What an implementation must do
/// - **Atomic**: an [`Append`] happens whole or not at all: its records, blobs, mail, marks, outbox rows, snapshot,
///   and what it settles.
/// - **Durable on return**: when `append` or `open_session` returns `Ok`, a loss of power loses nothing of it
///   (`volatile` excepted, which promises it for the life of the process).
/// - **Contiguous**: a session's records have the places 1, 2, 3, ... in the order of their appends.
/// - **Fenced**: an append whose owner or epoch is not the session's current one changes nothing. The check is part
///   of the append's transaction.
/// - **Idempotent**: an append whose id was committed returns what it returned, whatever has happened since: the id
///   is looked up before the fence. Only once the session is archived it may be answered as
///   [`AppendError::Archived`], for a backend need not keep the ids of what has left.
/// - **Independent**: appends that are committed together are judged one by one; one that is refused does not harm
///   the others.
/// - **Purged for good**: an append whose mark is [`SessionStatus::Purged`] erases, in its own transaction, all of the
///   session but its records, its entry and its turns: blobs, snapshot, mail, dedupe keys, requirements, the sealed
///   name (which is empty from then on) and the digest of the name (in its place stands
///   [`SessionEntry::purged_name`]), by which it is found no more. Its turns that have not ended start, if they had
///   not, and end with the append's last record. From then on the session takes no append, no mail and no claim.
/// - It stores bytes. It neither opens, nor changes, nor orders by anything inside a body.
#[async_trait]
pub trait Journal: Send + Sync + 'static {
    /// Finds the session with this tenant and name digest, or registers it. Atomic against concurrent callers: all
    /// get the same entry, the first one's. A new one has an empty head, epoch zero, no owner, the default mark, no
    /// requirements and no mail.
    ///
    /// # Errors
    /// [`StoreError`].
    ///
    /// # Cancel safety
    /// Dropping the future does not withdraw the registration.
    async fn open_session(&self, new: NewSession) -> Result<SessionEntry, StoreError>;

    /// Appends records and all that belongs to them. The append is shared, so that a caller can repeat it.
    ///
    /// It is judged in this order, and the first that does not hold is the answer:
    /// 1. the session is registered: else [`AppendError::Corrupt`];
    /// 2. no append with this id is committed: else that one's head, and whether the fence holds now;
    /// 3. the session is not purged, nor archived unless the append purges it, and the fence holds: else
    ///    [`AppendError::Purged`], [`AppendError::Archived`], or [`AppendError::Fenced`]. A lease that ran out does not
    ///    matter as long as nobody claimed the session;
    /// 4. the head, place and hash, is the expected one: else [`AppendError::Conflict`];
    /// 5. there are records, and they are the append's own: each names this session and its tenant, the fence's epoch, the
    ///    append's id, and the next place. Else `Corrupt`. Hashes and bodies are stored as they come: who reads checks
    ///    them;
    /// 6. the outbox goes on where the session's last row stands, a turn starts once and ends once after that, and all
    ///    mail is accepted: else `Corrupt`, or [`AppendError::Unavailable`] when a mailbox is full.
    ///
    /// # Errors
    /// [`AppendError`] tells the caller what to do.
    ///
    /// # Cancel safety
    /// Dropping the future withdraws nothing: the append may still happen. Repeat it with the same id to learn.
    async fn append(&self, append: Arc<Append>) -> Result<Appended, AppendError>;

    /// The records after `after`, in order, at most `limit` (which is at least 1) and at least one if there is any.
    ///
    /// # Errors
    /// [`StoreError`]. An unknown session has no records. Those that were archived are not there.
    ///
    /// # Cancel safety
    /// Reading has no effect.
    async fn read(&self, session: SessionId, after: Seq, limit: usize) -> Result<Vec<Record>, StoreError>;

    /// The sealed bytes of a blob of the session.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the session has no such blob.
    ///
    /// # Cancel safety
    /// Reading has no effect.
    async fn blob(&self, session: SessionId, address: Digest) -> Result<Vec<u8>, StoreError>;

    /// The session's latest snapshot.
    ///
    /// # Errors
    /// [`StoreError`].
    ///
    /// # Cancel safety
    /// Reading has no effect.
    async fn snapshot(&self, session: SessionId) -> Result<Option<Snapshot>, StoreError>;

    /// The entry of a session.
    ///
    /// # Errors
    /// [`StoreError`].
    ///
    /// # Cancel safety
    /// Reading has no effect.
    async fn session(&self, session: SessionId) -> Result<Option<SessionEntry>, StoreError>;

    /// The sessions after `after` in the order of their ids, at most `limit`, that `filter` lets through.
    ///
    /// # Errors
    /// [`StoreError`].
    ///
    /// # Cancel safety
    /// Reading has no effect.
    async fn sessions(
        &self,
        filter: SessionFilter,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<SessionEntry>, StoreError>;

    /// Where a turn stands, from the moment when its mail was posted.
    ///
    /// # Errors
    /// [`StoreError`].
    ///
    /// # Cancel safety
    /// Reading has no effect.
    async fn turn(&self, turn: TurnId) -> Result<Option<TurnEntry>, StoreError>;

    /// The sealed name behind a pseudonym.
    ///
    /// # Errors
    /// [`StoreError`].
    ///
    /// # Cancel safety
    /// Reading has no effect.
    async fn actor(&self, tenant: &Tenant, actor: Pseudonym) -> Result<Option<NamedActor>, StoreError>;
}

/// A session to find or to register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSession {
    /// The id it gets if it is new.
    pub id: SessionId,
    /// Its tenant.
    pub tenant: Tenant,
    /// The keyed digest of its name, unique within the tenant.
    pub name: Digest,
    /// Its name and subject, sealed under the subject's key.
    pub sealed: Vec<u8>,
    /// The key under which its data is sealed.
    pub key: KeyId,
    /// When it was registered.
    pub created: Timestamp,
}

/// What a store knows of a session without opening anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionEntry {
    /// Its id.
    pub id: SessionId,
    /// Its tenant.
    pub tenant: Tenant,
    /// The keyed digest of its name.
    pub name: Digest,
    /// Its name and subject, sealed.
    pub sealed: Vec<u8>,
    /// The key under which its data is sealed.
    pub key: KeyId,
    /// When it was registered.
    pub created: Timestamp,
    /// The end of its chain.
    pub head: Head,
    /// The epoch of its latest owner; zero when it never had one.
    pub epoch: Epoch,
    /// Its owner, when it has one.
    pub owner: Option<OwnerId>,
    /// What it does, and when it wants to be woken.
    pub mark: Mark,
    /// What it requires of an owner.
    pub requires: Vec<RequirementId>,
    /// How much mail waits in it.
    pub waiting_mail: u64,
    /// The sequence of the last envelope that was written for it, whether or not its row is still there; zero when
    /// there was none.
    pub sequence: u64,
    /// What of it stands in a file and no more here; none when all of it is here.
    pub archived: Option<Archived>,
}

impl SessionEntry {
    /// What stands in the place of the digest of a purged session's name: no name has it.
    pub fn purged_name(session: SessionId) -> Digest {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&session.to_bytes());
        Digest::from_bytes(bytes)
    }
}

/// What a session does, for those who look from outside. The owner sets it with the append that changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark {
    /// What it does.
    pub status: SessionStatus,
    /// When something in it falls due: a timer, an expiry, a deadline.
    pub wake_at: Option<Timestamp>,
}

/// What a session does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum SessionStatus {
    /// It has no turn.
    #[default]
    Idle,
    /// Its turn has work to do; a session in this state whose owner died is claimed.
    Running,
    /// Its turn waits for a signal or an instant.
    Waiting,
    /// Its turn rests until a person approves or resolves.
    Resting,
    /// Its subject's data was erased. It takes nothing more.
    Purged,
    /// Its records stand in a file. It takes nothing but a purge until it is restored.
    Archived,
}

impl SessionStatus {
    /// Whether mail in `lane` can move a session in this state. An input can't as long as a turn runs or rests: it
    /// is no reason to claim a session, or to wake its owner.
    pub const fn reads(self, lane: Lane) -> bool {
        match self {
            Self::Idle => true,
            Self::Running | Self::Waiting | Self::Resting => !matches!(lane, Lane::Input),
            // Nothing but a purge is posted to it.
            Self::Archived => matches!(lane, Lane::Control),
            Self::Purged => false,
        }
    }

    /// The status as stored.
    pub const fn number(self) -> u8 {
        match self {
            Self::Idle => 0,
            Self::Running => 1,
            Self::Waiting => 2,
            Self::Resting => 3,
            Self::Purged => 4,
            Self::Archived => 5,
        }
    }

    /// The status that is stored as `number`.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Idle),
            1 => Some(Self::Running),
            2 => Some(Self::Waiting),
            3 => Some(Self::Resting),
            4 => Some(Self::Purged),
            5 => Some(Self::Archived),
            _ => None,
        }
    }
}

/// Which sessions to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// Only this tenant's.
    pub tenant: Option<Tenant>,
    /// Only the one with this name digest.
    pub name: Option<Digest>,
    /// Only those with this status.
    pub status: Option<SessionStatus>,
    /// Only those that this owner holds.
    pub owner: Option<OwnerId>,
    /// Only those whose data is sealed under this key.
    pub key: Option<KeyId>,
}

/// Where a turn stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TurnEntry {
    /// Its session.
    pub session: SessionId,
    /// The place of its first record; none as long as it waits in the mailbox.
    pub started: Option<Seq>,
    /// The place of its last record, once it has ended.
    pub ended: Option<Seq>,
}

impl TurnEntry {
    /// The entry of a turn that waits in the mailbox of a session.
    pub const fn waiting(session: SessionId) -> Self {
        Self { session, started: None, ended: None }
    }
}

/// Who may append: an owner and the epoch under which it claimed the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    /// The owner.
    pub owner: OwnerId,
    /// Its epoch.
    pub epoch: Epoch,
}

/// One atomic append to one session.
#[derive(Debug, Clone, PartialEq)]
pub struct Append {
    /// Names this append; a retry bears the same.
    pub id: AppendId,
    /// The session.
    pub session: SessionId,
    /// Who appends.
    pub fence: Fence,
    /// The head after which the records stand.
    pub expected: Head,
    /// The records, at least one, chained onto `expected`, each bearing `id`.
    pub records: Vec<Record>,
    /// Blobs of the session. One that exists is left as it is.
    pub blobs: Vec<Blob>,
    /// Mail of this session that the records consume; it is removed. What is not there is passed over.
    pub consume_mail: Vec<MailId>,
    /// Mail to other sessions or to this one, posted as the runtime's own, whatever [`Post::system`] says: it counts
    /// against the reserved quota. A repeat is passed over, and so is mail to a session that was purged or archived;
    /// mail that is refused refuses the append, as `Unavailable` when the mailbox is full, else as `Corrupt`.
    pub post_mail: Vec<Post>,
    /// Envelopes for the outbox.
    pub outbox: Vec<Outgoing>,
    /// The session's new requirements, when they change.
    pub requires: Option<Vec<RequirementId>>,
    /// The session's new mark, when it changes.
    pub mark: Option<Mark>,
    /// Turns that start or end with these records.
    pub turns: Vec<TurnMark>,
    /// A new snapshot, which replaces the one before. Its head is this session's; a reader that finds that it does not fit
    /// the records passes it over.
    pub snapshot: Option<Snapshot>,
    /// Actors that appear for the first time.
    pub actors: Vec<NamedActor>,
    /// What attempts of this session cost. One that is not reserved in the ledger, or is settled already, is passed over.
    pub settle: Vec<Settlement>,
}

impl Append {
    /// Whether the session is purged with this append.
    pub fn purges(&self) -> bool {
        self.mark.is_some_and(|mark| mark.status == SessionStatus::Purged)
    }

    /// Whether it may change the [ledger](super::Ledger): it settles, ends a turn, or purges.
    pub fn changes_budgets(&self) -> bool {
        !self.settle.is_empty()
            || self.turns.iter().any(|mark| matches!(mark, TurnMark::Ended(..)))
            || self.purges()
    }
}

/// A sealed text beside the records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// A keyed digest of the text, unique within the session.
    pub address: Digest,
    /// The sealed text.
    pub sealed: Vec<u8>,
}

/// A turn that starts or ends with an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnMark {
    /// Its first record stands at this place.
    Started(TurnId, Seq),
    /// Its last record stands at this place.
    Ended(TurnId, Seq),
}

/// What a session's records fold to, kept so that not all of them must be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The head up to which the records are folded.
    pub head: Head,
    /// The version of the fold; another one folds the records again.
    pub fold_version: u32,
    /// The sealed state.
    pub sealed: Vec<u8>,
}

/// The name behind a pseudonym.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedActor {
    /// The pseudonym.
    pub actor: Pseudonym,
    /// The key under which the name is sealed: the actor's own.
    pub key: KeyId,
    /// The sealed name.
    pub sealed: Vec<u8>,
}

/// An append that is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The head after this append.
    pub head: Head,
    /// Whether the caller still owns the session.
    pub still_owner: bool,
}

/// Why an append did not happen, or may not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The session has another owner or epoch. Drop the session.
    #[error("the session is owned under epoch {actual}: this owner must let it go")]
    Fenced {
        /// The session's epoch.
        actual: Epoch,
    },
    /// The head is not the expected one, and the fence holds: the caller lost track. Read the session again.
    #[error("the head is record {}, not the expected one: read the session again", actual.seq)]
    Conflict {
        /// The session's head.
        actual: Head,
    },
    /// It may have happened. Repeat it with the same id.
    #[error("the journal did not say whether the append is durable: repeat it with the same id ({detail})")]
    Indeterminate {
        /// What the backend said.
        detail: String,
    },
    /// What is stored is damaged, the session is not registered, or what the append brings does not follow from what is
    /// there: its own records, envelopes, turns or mail.
    #[error("the journal is damaged: stop, and restore it from a backup ({detail})")]
    Corrupt {
        /// What was found.
        detail: String,
    },
    /// Nothing happened; try again later.
    #[error("the journal is not available: try again ({detail})")]
    Unavailable {
        /// What the backend said.
        detail: String,
    },
    /// The disk failed. This handle accepts nothing more.
    #[error("the disk failed under the journal: restart the process ({detail})")]
    Poisoned {
        /// What the backend said.
        detail: String,
    },
    /// The append is larger than the backend can take.
    #[error("the append has {bytes} bytes: the journal takes at most {allowed}")]
    TooLarge {
        /// What it has.
        bytes: usize,
        /// What is allowed.
        allowed: usize,
    },
    /// The session was purged.
    #[error("the session was purged")]
    Purged,
    /// The session is archived.
    #[error("the session is archived: restore it from its file first")]
    Archived,
}

impl From<StoreError> for AppendError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound { what } => Self::Corrupt { detail: format!("{what} is not in the store") },
            StoreError::Indeterminate { detail } => Self::Indeterminate { detail },
            StoreError::Unavailable { detail } => Self::Unavailable { detail },
            StoreError::Corrupt { detail } => Self::Corrupt { detail },
            StoreError::Poisoned { detail } => Self::Poisoned { detail },
        }
    }
}
