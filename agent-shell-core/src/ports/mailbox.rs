//! The mailbox: requests to a session from processes that need not own it.

use async_trait::async_trait;

use super::journal::NamedActor;
use super::store::StoreError;
use crate::data::{Lane, MailKind};
use crate::words::{Digest, MailId, OwnerId, Pseudonym, SessionId, Timestamp, TurnId};

/// Durable, deduplicated mail to sessions. Posting needs no ownership; mail is consumed inside an append of the
/// owner ([`Append::consume_mail`](super::Append::consume_mail)).
///
/// # What an implementation must do
/// - **Durable on return**, as the journal.
/// - **Ordered**: `waiting` returns a session's mail in the order in which its posts were committed.
/// - **Deduplicated**: of the posts with one (session, kind, dedupe key) the first is kept, for the life of the
///   session, also after it was consumed. A later one with the same digest is answered with the first one's turn;
///   with another digest it is refused.
/// - **Idempotent by id**: a post whose id waits already is answered as the first time, [`Posted::Accepted`], and so is one
///   whose turn is registered in the session already, also when its mail was consumed. A turn that is registered in
///   another session is [`StoreError::Corrupt`]: ids of turns are never used twice.
/// - **Bounded**: user mail beyond the quota of its lane is refused. Inputs can't fill the lane of control mail, and
///   users can't fill the runtime's own quota.
#[async_trait]
pub trait Mailbox: Send + Sync + 'static {
    /// Posts mail to a session. Repeats are recognised first (by turn, by id, by dedupe key), so that they need no room;
    /// then the quota is looked at.
    ///
    /// # Errors
    /// [`PostError`]; nothing is kept when it is refused.
    ///
    /// # Cancel safety
    /// Dropping the future does not withdraw the mail. With a dedupe key, post it again to learn.
    async fn post(&self, post: Post) -> Result<Posted, PostError>;

    /// The mail that waits in one lane of a session, in order, after `after`, at most `limit`. When `after` waits no
    /// more, from the first: so nothing is passed over.
    ///
    /// # Errors
    /// [`StoreError`]. An unknown session has no mail.
    ///
    /// # Cancel safety
    /// Reading has no effect.
    async fn waiting(
        &self,
        session: SessionId,
        lane: Lane,
        after: Option<MailId>,
        limit: usize,
    ) -> Result<Vec<MailItem>, StoreError>;

    /// The sessions after `after`, in the order of their ids, that `owner` holds and in which mail waits that can move
    /// them ([`SessionStatus::reads`](super::SessionStatus::reads)), at most `limit`: how an owner finds mail that
    /// another process posted.
    ///
    /// # Errors
    /// [`StoreError`].
    ///
    /// # Cancel safety
    /// Reading has no effect.
    async fn awaiting(
        &self,
        owner: OwnerId,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<SessionId>, StoreError>;

    /// The answer that a dedupe key got, when it was used.
    ///
    /// # Errors
    /// [`StoreError`].
    ///
    /// # Cancel safety
    /// Reading has no effect.
    async fn dedupe(
        &self,
        session: SessionId,
        kind: MailKind,
        key: Digest,
    ) -> Result<Option<Dedupe>, StoreError>;
}

/// Mail to post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    /// Its id; a retry bears the same.
    pub id: MailId,
    /// To whom.
    pub session: SessionId,
    /// What it asks for.
    pub kind: MailKind,
    /// Whether the runtime itself posts it, against the reserved quota.
    pub system: bool,
    /// The caller's own key, when it gave one.
    pub dedupe: Option<Dedupe>,
    /// The turn that it asks for. It is registered with the mail, so that it is found from then on
    /// ([`Journal::turn`](super::Journal::turn)).
    pub turn: Option<TurnId>,
    /// Who asks.
    pub actor: Pseudonym,
    /// The name behind the actor, when it may be new to the store.
    pub named_actor: Option<NamedActor>,
    /// When it was posted, by the poster's wall clock.
    pub posted: Timestamp,
    /// The content, sealed under the session's key.
    pub sealed: Vec<u8>,
    /// How much mail of its lane may wait in the session, this one included; users' and the runtime's are counted
    /// apart.
    pub quota: usize,
}

/// A dedupe key and what it was first used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dedupe {
    /// A keyed digest of the caller's key.
    pub key: Digest,
    /// A keyed digest of what was asked for.
    pub digest: Digest,
    /// The turn that it named, when it named one.
    pub turn: Option<TurnId>,
}

/// What became of a post.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Posted {
    /// It is durable.
    Accepted,
    /// The same was asked for before under this dedupe key; this is the turn that it named.
    Duplicate(Option<TurnId>),
}

/// Mail that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailItem {
    /// Its id.
    pub id: MailId,
    /// What it asks for.
    pub kind: MailKind,
    /// Who asks.
    pub actor: Pseudonym,
    /// When it was posted.
    pub posted: Timestamp,
    /// The turn that it asks for.
    pub turn: Option<TurnId>,
    /// The content, sealed.
    pub sealed: Vec<u8>,
}

/// Why mail was not posted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PostError {
    /// The dedupe key was used before, for something else.
    #[error("the dedupe key was used before with another content: use a new key")]
    Mismatch,
    /// As much mail waits as may.
    #[error("{waiting} pieces of mail wait in the session, and more are not allowed: try again later")]
    Overloaded {
        /// How much waits.
        waiting: usize,
    },
    /// There is no such session.
    #[error("there is no such session")]
    NoSession,
    /// The session was purged.
    #[error("the session was purged: it takes nothing more")]
    Purged,
    /// The session is archived.
    #[error(
        "the session is archived: restore it from its file `<session id>-<place>-<digest>.jsonl` with `Shell::restore` first"
    )]
    Archived,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
