//! Faults of the archive.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Broken, Fault};
use crate::ports::{Archive, ArchiveError, Archived, Blob, Busy, Journal, Restore, StoreError};
use crate::words::{Digest, Head, SessionId};

#[async_trait]
impl Archive for Broken {
    async fn blobs(
        &self,
        session: SessionId,
        after: Option<Digest>,
        limit: usize,
    ) -> Result<Vec<Blob>, StoreError> {
        self.inner.blobs(session, after, self.limit(limit)).await
    }

    async fn archive(
        &self,
        session: SessionId,
        mut expected: Head,
        mut archived: Archived,
    ) -> Result<(), ArchiveError> {
        if self.is(Fault::ArchivesDoNothing) {
            return Ok(());
        }
        if self.is(Fault::ArchivesIgnoreHeads)
            && let Some(entry) = self.inner.session(session).await?
        {
            (expected, archived.head) = (entry.head, entry.head);
        }
        match (self.fault, self.inner.archive(session, expected, archived).await) {
            (Some(Fault::ArchivesIgnoreWork), Err(ArchiveError::Busy(Busy::Working)))
            | (Some(Fault::ArchivesIgnoreOwners), Err(ArchiveError::Busy(Busy::Held)))
            | (Some(Fault::ArchivesIgnoreMail), Err(ArchiveError::Busy(Busy::Mail)))
            | (Some(Fault::ArchivesIgnoreRows), Err(ArchiveError::Busy(Busy::Outbox))) => Ok(()),
            (Some(Fault::ThePurgeLeavesToo), Err(ArchiveError::Wrong { .. })) => Ok(()),
            (_, answer) => answer,
        }
    }

    async fn restore(&self, restore: Arc<Restore>) -> Result<(), ArchiveError> {
        let mut restore = Restore::clone(&restore);
        if self.is(Fault::RestoresLoseBlobs) {
            restore.blobs.clear();
        }
        if self.is(Fault::RestoresLoseRequirements) {
            restore.requires.clear();
        }
        if self.is(Fault::RestoresTakeAnyFile)
            && let Some(archived) =
                self.inner.session(restore.session).await?.and_then(|entry| entry.archived)
        {
            restore.archived = archived;
        }
        match (self.fault, self.inner.restore(Arc::new(restore)).await) {
            (Some(Fault::RestoresAreNotChecked), Err(ArchiveError::Wrong { .. })) => Ok(()),
            (_, answer) => answer,
        }
    }

    async fn expire(&self, session: SessionId, mut archived: Archived) -> Result<(), ArchiveError> {
        if self.is(Fault::ExpiryTakesAnyFile)
            && let Some(really) = self.inner.session(session).await?.and_then(|entry| entry.archived)
        {
            archived = really;
        }
        match (self.fault, self.inner.expire(session, archived).await) {
            (Some(Fault::ExpiryIgnoresRows), Err(ArchiveError::Busy(Busy::Outbox)))
            | (Some(Fault::ExpiryIgnoresMail), Err(ArchiveError::Busy(Busy::Mail))) => Ok(()),
            (Some(Fault::ExpiryIsForgotten), Ok(())) => {
                // The session is there again, under its old name.
                let new = self.seen().opened.get(&session).cloned();
                if let Some(new) = new {
                    self.inner.open_session(new).await?;
                }
                Ok(())
            }
            (_, answer) => answer,
        }
    }
}
