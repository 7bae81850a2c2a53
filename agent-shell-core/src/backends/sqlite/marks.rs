//! Marks: one row for each group and session.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row};

use super::SqliteStore;
use super::columns::{self, limit, ordered};
use super::writer::Tx;
use crate::ports::{HighWater, Marks, StoreError};
use crate::words::{GroupName, SessionId};

fn mark(row: &Row<'_>, done: usize) -> rusqlite::Result<HighWater> {
    Ok(HighWater { done: columns::number(row, done)?, seen: columns::number(row, done + 1)? })
}

fn load(connection: &Connection, group: &GroupName, session: SessionId) -> rusqlite::Result<HighWater> {
    let found = connection
        .prepare_cached("SELECT done, seen FROM marks WHERE consumers = ?1 AND session = ?2")?
        .query_row((group.as_str(), session.to_bytes()), |row| mark(row, 0))
        .optional()?;
    Ok(found.unwrap_or_default())
}

fn save(
    connection: &Connection,
    group: &GroupName,
    session: SessionId,
    mark: HighWater,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO marks (consumers, session, done, seen) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT DO UPDATE SET done = max(done, excluded.done), seen = max(seen, excluded.seen)",
        )?
        .execute((group.as_str(), session.to_bytes(), ordered(mark.done), ordered(mark.seen)))
        .map(drop)
}

#[async_trait]
impl Marks for SqliteStore {
    async fn load(&self, group: &GroupName, sessions: &[SessionId]) -> Result<Vec<HighWater>, StoreError> {
        let (group, sessions) = (group.clone(), sessions.to_vec());
        self.on_reader(move |reader| {
            sessions.iter().map(|session| load(&reader.connection, &group, *session)).collect()
        })
        .await
    }

    async fn save(&self, group: &GroupName, marks: &[(SessionId, HighWater)]) -> Result<(), StoreError> {
        let (group, marks) = (group.clone(), marks.to_vec());
        self.on_writer(0, move |tx: &mut Tx| {
            let mut marks = marks.iter();
            marks.try_for_each(|(session, mark)| save(&tx.connection, &group, *session, *mark)).map(Ok)
        })
        .await
    }

    async fn behind(
        &self,
        group: &GroupName,
        after: Option<SessionId>,
        rows: usize,
    ) -> Result<Vec<(SessionId, HighWater)>, StoreError> {
        let group = group.clone();
        // No id is all zeros, so nothing is passed over when the first page is asked for.
        let after = after.map_or([0; 16], SessionId::to_bytes);
        self.on_reader(move |reader| {
            reader
                .connection
                .prepare_cached(
                    "SELECT session, done, seen FROM marks \
                     WHERE consumers = ?1 AND session > ?2 AND seen > done ORDER BY session LIMIT ?3",
                )?
                .query_map((group.as_str(), after, limit(rows)), |row| {
                    Ok((columns::session_id(row, 0)?, mark(row, 1)?))
                })?
                .collect()
        })
        .await
    }
}
