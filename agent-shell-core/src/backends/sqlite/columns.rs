//! How words stand in columns.

use rusqlite::Row;

use super::fault::damaged;
use crate::data::{KeyId, RequirementId};
use crate::ports::{Archived, Mark, SessionEntry, SessionStatus};
use crate::words::{Digest, Epoch, Head, OwnerId, Seq, SessionId, Tenant, Timestamp};

/// A number whose order matters. One beyond the largest integer of SQLite becomes that integer: an instant there is
/// 292 million years away.
pub(super) fn ordered(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number that is only kept, bit by bit.
pub(super) fn kept(number: u64) -> i64 {
    number.cast_signed()
}

/// A bound on rows.
pub(super) fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

pub(super) fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::cast_unsigned)
}

pub(super) fn digest(row: &Row<'_>, column: usize) -> rusqlite::Result<Digest> {
    row.get(column).map(Digest::from_bytes)
}

pub(super) fn timestamp(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    number(row, column).map(Timestamp::from_millis)
}

pub(super) fn tenant(row: &Row<'_>, column: usize) -> rusqlite::Result<Tenant> {
    Tenant::new(row.get_ref(column)?.as_str()?).map_err(damaged)
}

pub(super) fn session_id(row: &Row<'_>, column: usize) -> rusqlite::Result<SessionId> {
    row.get(column).map(SessionId::from_bytes)
}

/// Place and hash of a record; both are null where there is none.
pub(super) fn head(row: &Row<'_>, seq: usize, hash: usize) -> rusqlite::Result<Head> {
    match row.get::<_, Option<i64>>(seq)? {
        None => Ok(Head::EMPTY),
        Some(_) => Ok(Head { seq: Seq::new(number(row, seq)?), hash: digest(row, hash)? }),
    }
}

pub(super) fn owner(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<OwnerId>> {
    Ok(row.get::<_, Option<_>>(column)?.map(OwnerId::from_bytes))
}

pub(super) fn mark(row: &Row<'_>, status: usize, wake_at: usize) -> rusqlite::Result<Mark> {
    let status = SessionStatus::from_number(row.get(status)?)
        .ok_or_else(|| damaged("a session's status is none of this version's"))?;
    let wake_at = row.get::<_, Option<i64>>(wake_at)?;
    Ok(Mark { status, wake_at: wake_at.map(|at| Timestamp::from_millis(at.cast_unsigned())) })
}

pub(super) fn requirements_to_bytes(requires: &[RequirementId]) -> Vec<u8> {
    requires.iter().flat_map(|id| *id.0.as_bytes()).collect()
}

pub(super) fn requirements(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<RequirementId>> {
    let (ids, rest) = row.get_ref(column)?.as_blob()?.as_chunks::<32>();
    if !rest.is_empty() {
        return Err(damaged("a session's requirements are not whole digests"));
    }
    Ok(ids.iter().map(|id| RequirementId(Digest::from_bytes(*id))).collect())
}

/// What [`entry`] reads, in its order; a condition on `sessions s` follows.
pub(super) const ENTRY: &str = "\
    SELECT s.id, s.tenant, s.name, s.sealed, s.key, s.created, s.epoch, s.owner, s.status, s.wake_at, s.requires, \
           coalesce(r.seq, s.archived_seq), coalesce(r.hash, s.archived_hash), (SELECT count(*) FROM mail m WHERE m.session = s.nr), \
           max(coalesce((SELECT max(sequence) FROM outbox o WHERE o.session = s.nr), 0), \
               coalesce((SELECT sequence FROM outbox_trimmed t WHERE t.session = s.nr), 0)), \
           s.archived_seq, s.archived_hash, s.archived_at, s.archived_file \
    FROM sessions s LEFT JOIN records r ON r.nr = coalesce( \
         (SELECT record FROM recent_places p WHERE p.session = s.nr ORDER BY p.seq DESC LIMIT 1), \
         (SELECT record FROM places p WHERE p.session = s.nr ORDER BY p.seq DESC LIMIT 1)) ";

/// What left of a session, in four columns which are null where nothing did.
fn archived(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<Archived>> {
    match head(row, first, first + 1)? {
        Head::EMPTY => Ok(None),
        head => {
            let (at, file) = (timestamp(row, first + 2)?, digest(row, first + 3)?);
            Ok(Some(Archived { head, at, file }))
        }
    }
}

pub(super) fn entry(row: &Row<'_>) -> rusqlite::Result<SessionEntry> {
    Ok(SessionEntry {
        id: session_id(row, 0)?,
        tenant: tenant(row, 1)?,
        name: digest(row, 2)?,
        sealed: row.get(3)?,
        key: KeyId(digest(row, 4)?),
        created: timestamp(row, 5)?,
        epoch: Epoch::new(number(row, 6)?),
        owner: owner(row, 7)?,
        mark: mark(row, 8, 9)?,
        requires: requirements(row, 10)?,
        head: head(row, 11, 12)?,
        waiting_mail: number(row, 13)?,
        sequence: number(row, 14)?,
        archived: archived(row, 15)?,
    })
}
