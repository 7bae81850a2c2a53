//! Faults of the mailbox.

use async_trait::async_trait;

use super::journal::text;
use super::{Broken, Fault};
use crate::conformance::unique;
use crate::data::{Lane, MailKind};
use crate::ports::{Dedupe, Journal, MailItem, Mailbox, Post, PostError, Posted, SessionFilter, StoreError};
use crate::words::{Digest, MailId, OwnerId, SessionId};

#[async_trait]
impl Mailbox for Broken {
    async fn post(&self, mut post: Post) -> Result<Posted, PostError> {
        let key = post.dedupe.map(|used| (post.session, post.kind, used.key));
        match self.fault {
            Some(Fault::ArchivedSessionsTakeMail) => match self.inner.post(post).await {
                Err(PostError::Archived) => return Ok(Posted::Accepted),
                answer => return answer,
            },
            Some(Fault::ArchivedSessionsTakeNoPurge) if post.kind == MailKind::Purge => {
                return Err(PostError::Archived);
            }
            Some(Fault::MailIsText) => post.sealed = text(&post.sealed),
            Some(Fault::PostsGetNewIds) => post.id = unique(),
            Some(Fault::QuotasAreIgnored) => post.quota = usize::MAX,
            Some(Fault::QuotasAreShared) => post.system = false,
            Some(Fault::KeysAreIgnored) => post.dedupe = None,
            Some(Fault::TurnsAreNotRegistered) => post.turn = None,
            Some(Fault::ActorsAreDropped) => post.named_actor = None,
            Some(Fault::ReadMailFreesItsKey) if key.is_some_and(|key| self.seen().freed.contains(&key)) => {
                post.dedupe = None;
            }
            Some(Fault::KindsShareKeys) => {
                let signal = match post.dedupe {
                    Some(used) => self.inner.dedupe(post.session, MailKind::Signal, used.key).await?,
                    None => None,
                };
                if let Some(first) = signal {
                    return Ok(Posted::Duplicate(first.turn));
                }
            }
            Some(Fault::QuotasComeFirst) => {
                let waiting = self.inner.session(post.session).await?.map_or(0, |entry| entry.waiting_mail);
                if waiting as usize >= post.quota {
                    return Err(PostError::Overloaded { waiting: waiting as usize });
                }
            }
            _ => {}
        }
        self.seen().keys.extend(key.map(|key| (post.id, key)));
        match (self.fault, self.inner.post(post).await) {
            (Some(Fault::UnknownSessionsTakeMail), Err(PostError::NoSession)) => Ok(Posted::Accepted),
            (Some(Fault::MismatchesAreRepeats), Err(PostError::Mismatch)) => Ok(Posted::Duplicate(None)),
            (_, answer) => answer,
        }
    }

    async fn waiting(
        &self,
        session: SessionId,
        lane: Lane,
        after: Option<MailId>,
        limit: usize,
    ) -> Result<Vec<MailItem>, StoreError> {
        if self.is(Fault::PagesAfterReadMailAreEmpty)
            && let Some(after) = after
            && self.inner.waiting(session, lane, None, usize::MAX).await?.iter().all(|item| item.id != after)
        {
            return Ok(Vec::new());
        }
        let mut mail = self.inner.waiting(session, lane, after, self.limit(limit)).await?;
        match self.fault {
            Some(Fault::MailIsInTheOrderOfIds) => mail.sort_by_key(|item| item.id),
            Some(Fault::LanesAreMixed) if lane == Lane::Input => {
                mail.extend(self.inner.waiting(session, Lane::Control, after, limit).await?);
            }
            _ => {}
        }
        Ok(mail)
    }

    async fn awaiting(
        &self,
        owner: OwnerId,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<SessionId>, StoreError> {
        if self.is(Fault::MailIsFoundByAnybody) {
            let all = self.inner.sessions(SessionFilter::default(), None, usize::MAX).await?;
            return Ok(all.iter().filter(|entry| entry.waiting_mail > 0).map(|entry| entry.id).collect());
        }
        if self.is(Fault::QueuedInputsWake) {
            let held = SessionFilter { owner: Some(owner), ..SessionFilter::default() };
            let held = self.inner.sessions(held, after, limit).await?;
            return Ok(held.iter().filter(|entry| entry.waiting_mail > 0).map(|entry| entry.id).collect());
        }
        self.inner.awaiting(owner, after, limit).await
    }

    async fn dedupe(
        &self,
        session: SessionId,
        kind: MailKind,
        key: Digest,
    ) -> Result<Option<Dedupe>, StoreError> {
        let used = self.inner.dedupe(session, kind, key).await?;
        Ok(used.filter(|_| !self.is(Fault::KeysCanNotBeAsked)))
    }
}
