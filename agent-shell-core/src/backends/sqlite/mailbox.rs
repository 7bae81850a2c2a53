//! The mailbox port.

use async_trait::async_trait;

use super::columns::{self, limit};
use super::fault::damaged;
use super::{SqliteStore, mail};
use crate::data::{Lane, MailKind};
use crate::ports::{Dedupe, MailItem, Mailbox, Post, PostError, Posted, StoreError};
use crate::words::{Digest, MailId, OwnerId, Pseudonym, SessionId, TurnId};

#[async_trait]
impl Mailbox for SqliteStore {
    async fn post(&self, post: Post) -> Result<Posted, PostError> {
        self.on_writer(post.sealed.len(), move |tx| mail::post(tx, &post)).await
    }

    async fn waiting(
        &self,
        session: SessionId,
        lane: Lane,
        after: Option<MailId>,
        rows: usize,
    ) -> Result<Vec<MailItem>, StoreError> {
        self.on_reader(move |reader| {
            let Some((nr, _)) = reader.session(session)? else { return Ok(Vec::new()) };
            // Mail that was consumed meanwhile is nowhere; what waits is then read from the beginning.
            let after = after.map(MailId::to_bytes);
            reader
                .connection
                .prepare_cached(
                    "SELECT id, kind, actor, posted, turn, sealed FROM mail WHERE session = ?1 AND lane = ?2 \
                     AND place > coalesce((SELECT place FROM mail WHERE session = ?1 AND id = ?3), 0) \
                     ORDER BY place LIMIT ?4",
                )?
                .query_map((nr, mail::lane(lane), after, limit(rows)), |row| {
                    Ok(MailItem {
                        id: MailId::from_bytes(row.get(0)?),
                        kind: MailKind::parse(row.get_ref(1)?.as_str()?)
                            .ok_or_else(|| damaged("mail has a kind that is none of this version's"))?,
                        actor: Pseudonym::from_bytes(row.get(2)?),
                        posted: columns::timestamp(row, 3)?,
                        turn: row.get::<_, Option<_>>(4)?.map(TurnId::from_bytes),
                        sealed: row.get(5)?,
                    })
                })?
                .collect()
        })
        .await
    }

    async fn awaiting(
        &self,
        owner: OwnerId,
        after: Option<SessionId>,
        rows: usize,
    ) -> Result<Vec<SessionId>, StoreError> {
        // No id is all zeros, so nothing is passed over when the first page is asked for.
        let after = after.map_or([0; 16], SessionId::to_bytes);
        self.on_reader(move |reader| {
            reader
                .connection
                .prepare_cached(
                    "SELECT id FROM sessions WHERE owner = ?1 AND id > ?2 \
                     AND EXISTS (SELECT 1 FROM mail m WHERE m.session = sessions.nr \
                                 AND (m.lane <> 0 OR sessions.status = 0)) ORDER BY id LIMIT ?3",
                )?
                .query_map((owner.to_bytes(), after, limit(rows)), |row| {
                    Ok(SessionId::from_bytes(row.get(0)?))
                })?
                .collect()
        })
        .await
    }

    async fn dedupe(
        &self,
        session: SessionId,
        kind: MailKind,
        key: Digest,
    ) -> Result<Option<Dedupe>, StoreError> {
        self.on_reader(move |reader| match reader.session(session)? {
            Some((nr, _)) => mail::dedupe(&reader.connection, nr, kind, key),
            None => Ok(None),
        })
        .await
    }
}
