//! The outbox: rows written with appends, read by a publisher.

use async_trait::async_trait;
use rusqlite::{Connection, Row};

use super::SqliteStore;
use super::columns::{self, kept, limit, ordered};
use super::fault::Work;
use super::sessions::Known;
use super::writer::Tx;
use crate::ports::{Append, Outbox, OutboxItem, OutboxPosition, Outgoing, StoreError};
use crate::words::{OutgoingId, SessionId, Timestamp};

/// Rows that one transaction looks at and removes at most, so that a trim does not hold up appends.
const TRIMMED_AT_ONCE: usize = 2_000;

/// What breaks the sequence of the session's envelopes, if anything does.
pub(super) fn breaks(
    connection: &Connection,
    session: &Known,
    append: &Append,
) -> rusqlite::Result<Option<String>> {
    if append.outbox.is_empty() {
        return Ok(None);
    }
    let last = match session.sequence {
        Some(last) => last,
        None => connection
            .prepare_cached(
                "SELECT max(coalesce((SELECT max(sequence) FROM outbox WHERE session = ?1), 0), \
                            coalesce((SELECT sequence FROM outbox_trimmed WHERE session = ?1), 0))",
            )?
            .query_row((session.nr,), |row| columns::number(row, 0))?,
    };
    let mut follows = last;
    Ok(append.outbox.iter().find_map(|row| {
        follows += 1;
        (row.sequence != follows).then(|| {
            let (at, sequence) = (append.session, row.sequence);
            format!("an envelope has sequence {sequence} where {follows} follows in session {at}")
        })
    }))
}

pub(super) fn write(connection: &Connection, session: i64, rows: &[Outgoing]) -> rusqlite::Result<()> {
    for row in rows {
        connection
            .prepare_cached(
                "INSERT INTO outbox (session, sequence, id, topic, written, envelope) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute((
                session,
                kept(row.sequence),
                row.id.to_bytes(),
                &row.topic,
                ordered(row.written.as_millis()),
                &row.envelope,
            ))?;
    }
    Ok(())
}

const ITEM: &str = "SELECT o.position, s.id, o.sequence, o.id, o.topic, o.written, o.envelope \
                    FROM outbox o JOIN sessions s ON s.nr = o.session ";

fn item(row: &Row<'_>) -> rusqlite::Result<OutboxItem> {
    Ok(OutboxItem {
        position: OutboxPosition(columns::number(row, 0)?),
        session: columns::session_id(row, 1)?,
        outgoing: Outgoing {
            sequence: columns::number(row, 2)?,
            id: row.get(3).map(OutgoingId::from_bytes)?,
            topic: row.get(4)?,
            written: columns::timestamp(row, 5)?,
            envelope: row.get(6)?,
        },
    })
}

#[async_trait]
impl Outbox for SqliteStore {
    async fn pending(&self, after: OutboxPosition, rows: usize) -> Result<Vec<OutboxItem>, StoreError> {
        self.on_reader(move |reader| {
            let sql = format!(
                "{ITEM} WHERE o.position > max(?1, (SELECT position FROM outbox_acknowledged)) \
                 ORDER BY o.position LIMIT ?2"
            );
            reader
                .connection
                .prepare_cached(&sql)?
                .query_map((ordered(after.0), limit(rows)), item)?
                .collect()
        })
        .await
    }

    async fn kept(&self, after: OutboxPosition, rows: usize) -> Result<Vec<OutboxItem>, StoreError> {
        self.on_reader(move |reader| {
            let sql = format!("{ITEM} WHERE o.position > ?1 ORDER BY o.position LIMIT ?2");
            reader
                .connection
                .prepare_cached(&sql)?
                .query_map((ordered(after.0), limit(rows)), item)?
                .collect()
        })
        .await
    }

    async fn acknowledge(&self, through: OutboxPosition) -> Result<(), StoreError> {
        self.on_writer(0, move |tx: &mut Tx| {
            // A position that no row has reached acknowledges nothing that is still to come.
            tx.connection
                .prepare_cached(
                    "UPDATE outbox_acknowledged SET position = max(position, min(?1, \
                     coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'outbox'), 0)))",
                )?
                .execute((ordered(through.0),))?;
            Ok(Ok(()))
        })
        .await
    }

    async fn replay(
        &self,
        session: SessionId,
        sequence: u64,
        rows: usize,
    ) -> Result<Vec<OutboxItem>, StoreError> {
        self.on_reader(move |reader| {
            let sql = format!("{ITEM} WHERE s.id = ?1 AND o.sequence >= ?2 ORDER BY o.sequence LIMIT ?3");
            reader
                .connection
                .prepare_cached(&sql)?
                .query_map((session.to_bytes(), ordered(sequence), limit(rows)), item)?
                .collect()
        })
        .await
    }

    async fn trim(&self, before: Timestamp) -> Result<u64, StoreError> {
        let mut trimmed = 0;
        loop {
            let removed = self.on_writer(0, move |tx: &mut Tx| trim(&tx.connection, before)).await?;
            trimmed += removed as u64;
            // Rows are about as old as their order says, so what is left is young.
            if removed < TRIMMED_AT_ONCE / 2 {
                return Ok(trimmed);
            }
        }
    }
}

/// Removes the old ones of the first rows, and keeps the last sequence of each session whose rows go.
fn trim(connection: &Connection, before: Timestamp) -> Work<usize, StoreError> {
    // The inner query bounds what is looked at, however many rows are young.
    let rows: Vec<(i64, i64, i64)> = connection
        .prepare_cached(
            "SELECT position, session, sequence FROM ( \
                 SELECT position, session, sequence, written FROM outbox \
                 WHERE position <= (SELECT position FROM outbox_acknowledged) \
                 ORDER BY position LIMIT ?2 \
             ) WHERE written < ?1",
        )?
        .query_map((ordered(before.as_millis()), limit(TRIMMED_AT_ONCE)), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    for (position, session, sequence) in &rows {
        connection
            .prepare_cached(
                "INSERT INTO outbox_trimmed (session, sequence) VALUES (?1, ?2) \
                 ON CONFLICT DO UPDATE SET sequence = max(sequence, excluded.sequence)",
            )?
            .execute((session, sequence))?;
        connection.prepare_cached("DELETE FROM outbox WHERE position = ?1")?.execute((position,))?;
    }
    Ok(Ok(rows.len()))
}
