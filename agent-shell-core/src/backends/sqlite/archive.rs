//! The archive port: what leaves, comes back, or goes, each in one transaction.

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::Connection;

use super::append::MAX_APPEND_BYTES;
use super::columns::{self, kept, limit};
use super::fault::Work;
use super::writer::Tx;
use super::{SqliteStore, books, owners, records};
use crate::data::Account;
use crate::failpoint::reach;
use crate::ports::{
    Archive, ArchiveError, Archived, Blob, Busy, Restore, SessionEntry, SessionStatus, StoreError,
};
use crate::words::{Digest, Head, OwnerId, Seq, SessionId};

/// What stands beside the records and leaves with them.
const BESIDE: [&str; 2] = ["blobs", "snapshots"];

/// A session that nobody alive holds and in which nothing waits, with its number.
fn free(tx: &mut Tx, id: SessionId) -> Work<(i64, SessionEntry), ArchiveError> {
    // No owner has this id: all that are dead are buried.
    owners::bury_the_dead(tx, OwnerId::from_bytes([0; 16]))?;
    let Some(known) = tx.sessions.find(&tx.connection, id)? else { return Ok(Err(ArchiveError::NoSession)) };
    let entry = tx
        .connection
        .prepare_cached(&format!("{} WHERE s.nr = ?1", columns::ENTRY))?
        .query_row((known.nr,), columns::entry)?;
    Ok(Ok((known.nr, entry)))
}

fn is_free(entry: &SessionEntry) -> Result<(), ArchiveError> {
    if entry.owner.is_some() {
        return Err(ArchiveError::Busy(Busy::Held));
    }
    if entry.waiting_mail > 0 {
        return Err(ArchiveError::Busy(Busy::Mail));
    }
    Ok(())
}

fn archive(tx: &mut Tx, id: SessionId, expected: Head, archived: Archived) -> Work<(), ArchiveError> {
    let (nr, entry) = match free(tx, id)? {
        Ok(found) => found,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if let Some(before) = entry.archived {
        return Ok(if before == archived { Ok(()) } else { Err(ArchiveError::NotArchived) });
    }
    let (status, wants) = match entry.mark.status {
        SessionStatus::Idle if entry.mark.wake_at.is_none() => (SessionStatus::Archived, entry.head.seq),
        // The record of the purge stays.
        SessionStatus::Purged => (SessionStatus::Purged, Seq::new(entry.head.seq.number().saturating_sub(1))),
        _ => return Ok(Err(ArchiveError::Busy(Busy::Working))),
    };
    if entry.head != expected {
        return Ok(Err(ArchiveError::Changed { actual: entry.head }));
    }
    if wants == Seq::ZERO || head_at(&tx.connection, nr, wants)? != Some(archived.head) {
        let detail = "the archived head is not the one up to which the session is finished".into();
        return Ok(Err(ArchiveError::Wrong { detail }));
    }
    if let Err(busy) = is_free(&entry) {
        return Ok(Err(busy));
    }
    let connection = &tx.connection;
    let unacknowledged = connection
        .prepare_cached(
            "SELECT 1 FROM outbox WHERE session = ?1 \
             AND position > (SELECT position FROM outbox_acknowledged)",
        )?
        .exists((nr,))?;
    if unacknowledged {
        return Ok(Err(ArchiveError::Busy(Busy::Outbox)));
    }
    // What could not come back does not leave.
    let bytes = records::bytes(connection, nr, archived.head.seq)? + blob_bytes(connection, nr)?;
    if bytes > MAX_RESTORE_BYTES {
        return Ok(Err(ArchiveError::TooLarge { bytes, allowed: MAX_RESTORE_BYTES }));
    }
    records::remove(connection, nr, archived.head.seq)?;
    remove_from(connection, nr, &BESIDE)?;
    connection
        .prepare_cached(
            "UPDATE sessions SET status = ?2, requires = x'', mail = 0, owner = NULL, archived_seq = ?3, \
             archived_hash = ?4, archived_at = ?5, archived_file = ?6 WHERE nr = ?1",
        )?
        .execute((
            nr,
            status.number(),
            kept(archived.head.seq.number()),
            archived.head.hash.as_bytes(),
            kept(archived.at.as_millis()),
            archived.file.as_bytes(),
        ))?;
    tx.changed(id);
    reach!(ArchiveTaken);
    Ok(Ok(()))
}

/// The head that ends with the record at a place, if one stands there.
fn head_at(connection: &Connection, nr: i64, seq: Seq) -> rusqlite::Result<Option<Head>> {
    let mut head = None;
    let before = Seq::new(seq.number().saturating_sub(1));
    records::each_after(connection, nr, before, 1, |row| {
        head = Some(records::head(row)?);
        Ok(false)
    })?;
    Ok(head.filter(|head| head.seq == seq))
}

fn restore(tx: &mut Tx, restore: &Restore) -> Work<(), ArchiveError> {
    if let Some(detail) = restore.problem() {
        return Ok(Err(ArchiveError::Wrong { detail }));
    }
    let (nr, entry) = match free(tx, restore.session)? {
        Ok(found) => found,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if entry.archived != Some(restore.archived) {
        return Ok(Err(ArchiveError::NotArchived));
    }
    if let Err(busy) = is_free(&entry) {
        return Ok(Err(busy));
    }
    let connection = &tx.connection;
    records::put_back(connection, nr, &restore.records)?;
    for blob in &restore.blobs {
        connection
            .prepare_cached("INSERT INTO blobs (session, address, sealed) VALUES (?1, ?2, ?3)")?
            .execute((nr, blob.address.as_bytes(), &blob.sealed))?;
    }
    let (status, requires) = match entry.mark.status {
        SessionStatus::Archived => (SessionStatus::Idle, columns::requirements_to_bytes(&restore.requires)),
        status => (status, Vec::new()),
    };
    connection
        .prepare_cached(
            "UPDATE sessions SET status = ?2, requires = ?3, archived_seq = NULL, archived_hash = NULL, \
             archived_at = NULL, archived_file = NULL WHERE nr = ?1",
        )?
        .execute((nr, status.number(), requires))?;
    tx.changed(restore.session);
    Ok(Ok(()))
}

fn expire(tx: &mut Tx, id: SessionId, archived: Archived) -> Work<(), ArchiveError> {
    let (nr, entry) = match free(tx, id)? {
        Ok(found) => found,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if entry.archived != Some(archived) {
        return Ok(Err(ArchiveError::NotArchived));
    }
    if let Err(busy) = is_free(&entry) {
        return Ok(Err(busy));
    }
    let connection = &tx.connection;
    if connection.prepare_cached("SELECT 1 FROM outbox WHERE session = ?1")?.exists((nr,))? {
        return Ok(Err(ArchiveError::Busy(Busy::Outbox)));
    }
    records::remove(connection, nr, entry.head.seq)?;
    remove_from(connection, nr, &BESIDE)?;
    remove_from(connection, nr, &["dedupe", "outbox_trimmed"])?;
    connection
        .prepare_cached("DELETE FROM turns INDEXED BY turns_ended WHERE session = ?1 AND ended IS NOT NULL")?
        .execute((nr,))?;
    books::close(connection, Account::session(id))?;
    connection.prepare_cached("UPDATE sessions_removed SET newest = max(newest, ?1)")?.execute((nr,))?;
    connection.prepare_cached("DELETE FROM sessions WHERE nr = ?1")?.execute((nr,))?;
    tx.changed(id);
    Ok(Ok(()))
}

fn blob_bytes(connection: &Connection, nr: i64) -> rusqlite::Result<usize> {
    let sum: i64 = connection
        .prepare_cached("SELECT coalesce(sum(length(sealed)), 0) FROM blobs WHERE session = ?1")?
        .query_row((nr,), |row| row.get(0))?;
    Ok(usize::try_from(sum).unwrap_or(usize::MAX))
}

fn remove_from(connection: &Connection, nr: i64, tables: &[&str]) -> rusqlite::Result<()> {
    tables.iter().try_for_each(|table| {
        connection
            .prepare_cached(&format!("DELETE FROM {table} WHERE session = ?1"))?
            .execute((nr,))
            .map(drop)
    })
}

#[async_trait]
impl Archive for SqliteStore {
    async fn blobs(
        &self,
        session: SessionId,
        after: Option<Digest>,
        rows: usize,
    ) -> Result<Vec<Blob>, StoreError> {
        self.on_reader(move |reader| {
            let Some((nr, _)) = reader.session(session)? else { return Ok(Vec::new()) };
            // An empty address comes before every other.
            let after = after.map_or(Vec::new(), |after| after.as_bytes().to_vec());
            reader
                .connection
                .prepare_cached(
                    "SELECT address, sealed FROM blobs WHERE session = ?1 AND address > ?2 \
                     ORDER BY address LIMIT ?3",
                )?
                .query_map((nr, after, limit(rows)), |row| {
                    Ok(Blob { address: columns::digest(row, 0)?, sealed: row.get(1)? })
                })?
                .collect()
        })
        .await
    }

    async fn archive(
        &self,
        session: SessionId,
        expected: Head,
        archived: Archived,
    ) -> Result<(), ArchiveError> {
        self.on_writer(0, move |tx| archive(tx, session, expected, archived)).await
    }

    async fn restore(&self, back: Arc<Restore>) -> Result<(), ArchiveError> {
        let bytes = back.bytes();
        if bytes > MAX_RESTORE_BYTES {
            return Err(ArchiveError::TooLarge { bytes, allowed: MAX_RESTORE_BYTES });
        }
        self.on_writer(bytes, move |tx| restore(tx, &back)).await
    }

    async fn expire(&self, session: SessionId, archived: Archived) -> Result<(), ArchiveError> {
        self.on_writer(0, move |tx| expire(tx, session, archived)).await
    }
}

/// The largest session that leaves, and comes back in one transaction, in bytes of bodies and blobs. Tests reach it.
const MAX_RESTORE_BYTES: usize = if cfg!(test) { 1 << 20 } else { 8 * MAX_APPEND_BYTES };
