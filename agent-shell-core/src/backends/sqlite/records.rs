//! Records in their table, and the index that finds those of a session.

use rusqlite::{Connection, Row};

use super::columns::{self, kept, limit};
use crate::data::{Body, Header, Kind, Record};
use crate::words::{AppendId, Epoch, Head, Pseudonym, Seq, SessionId, Tenant};

/// Entries of the small part of the index from which on it is merged into the large one. Tests merge all the time.
const RECENT: usize = if cfg!(test) { 4 } else { 1024 };

/// The small part of the index, as the writer knows it.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Its entries, once they were counted.
    recent: Option<usize>,
}

impl Places {
    pub(super) fn added(&mut self, entries: usize) {
        self.recent = self.recent.map(|recent| recent + entries);
    }

    /// Merges the small part into the large one when it has grown: in the order of the large one, so that each of
    /// its pages is changed once.
    pub(super) fn merge_if_grown(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let recent = match self.recent {
            Some(recent) => recent,
            None => connection
                .prepare_cached("SELECT count(*) FROM recent_places")?
                .query_row((), |row| row.get::<_, u32>(0))? as usize,
        };
        self.recent = Some(recent);
        if recent < RECENT {
            return Ok(());
        }
        connection
            .prepare_cached("INSERT INTO places SELECT * FROM recent_places ORDER BY session, seq")?
            .execute(())?;
        connection.prepare_cached("DELETE FROM recent_places")?.execute(())?;
        self.recent = Some(0);
        Ok(())
    }
}

/// Adds records of one session; returns how many.
pub(super) fn write(connection: &Connection, session: i64, records: &[Record]) -> rusqlite::Result<usize> {
    insert(connection, session, records, "recent_places")
}

/// Adds records that stood here before: what stands in the small part of the index comes after them.
pub(super) fn put_back(connection: &Connection, session: i64, records: &[Record]) -> rusqlite::Result<()> {
    insert(connection, session, records, "places").map(drop)
}

/// What the bodies of a session's records up to a place have, in bytes.
pub(super) fn bytes(connection: &Connection, session: i64, up_to: Seq) -> rusqlite::Result<usize> {
    let mut all = 0;
    for part in ["places", "recent_places"] {
        let sum: i64 = connection
            .prepare_cached(&format!(
                "SELECT coalesce(sum(length(body)), 0) FROM records \
                 WHERE nr IN (SELECT record FROM {part} WHERE session = ?1 AND seq <= ?2)"
            ))?
            .query_row((session, kept(up_to.number())), |row| row.get(0))?;
        all += usize::try_from(sum).unwrap_or(usize::MAX);
    }
    Ok(all)
}

/// Removes the records of a session up to a place.
pub(super) fn remove(connection: &Connection, session: i64, up_to: Seq) -> rusqlite::Result<()> {
    for part in ["places", "recent_places"] {
        let of_part = format!("FROM {part} WHERE session = ?1 AND seq <= ?2");
        for sql in [
            format!("DELETE FROM records WHERE nr IN (SELECT record {of_part})"),
            format!("DELETE {of_part}"),
        ] {
            connection.prepare_cached(&sql)?.execute((session, kept(up_to.number())))?;
        }
    }
    Ok(())
}

fn insert(connection: &Connection, session: i64, records: &[Record], part: &str) -> rusqlite::Result<usize> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO records (session, seq, epoch, version, time, kind, actor, append, hash, body_digest, body) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?;
    let mut place = connection.prepare_cached(&format!("INSERT INTO {part} VALUES (?1, ?2, ?3)"))?;
    for record in records {
        let header = &record.header;
        insert.execute((
            session,
            kept(header.seq.number()),
            kept(header.epoch.number()),
            header.version,
            kept(header.time.as_millis()),
            header.kind.as_str(),
            &header.actor.as_bytes()[..],
            &record.append.to_bytes()[..],
            &record.hash.as_bytes()[..],
            &header.body_digest.as_bytes()[..],
            &record.body,
        ))?;
        place.execute((session, kept(header.seq.number()), connection.last_insert_rowid()))?;
    }
    Ok(records.len())
}

/// Shows the records of a session after a place, in order, at most `rows` and until `see` returns false. Runs inside
/// a transaction, because it reads both parts of the index one after another.
pub(super) fn each_after(
    connection: &Connection,
    session: i64,
    after: Seq,
    rows: usize,
    mut see: impl FnMut(&Row<'_>) -> rusqlite::Result<bool>,
) -> rusqlite::Result<()> {
    let mut left = rows;
    // All that stands in the large part was written before what stands in the small one.
    for part in ["places", "recent_places"] {
        let mut statement = connection.prepare_cached(&format!(
            "SELECT r.seq, r.hash, r.append, r.epoch, r.version, r.time, r.kind, r.actor, r.body_digest, r.body \
             FROM {part} p CROSS JOIN records r ON r.nr = p.record \
             WHERE p.session = ?1 AND p.seq > ?2 ORDER BY p.seq LIMIT ?3"
        ))?;
        let mut found = statement.query((session, kept(after.number()), limit(left)))?;
        while let Some(row) = found.next()? {
            left -= 1;
            if !see(row)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The head that ends with a record of [`each_after`].
pub(super) fn head(row: &Row<'_>) -> rusqlite::Result<Head> {
    columns::head(row, 0, 1)
}

/// The append that wrote a record of [`each_after`].
pub(super) fn append_id(row: &Row<'_>) -> rusqlite::Result<AppendId> {
    row.get(2).map(AppendId::from_bytes)
}

/// A record of [`each_after`].
pub(super) fn record(row: &Row<'_>, session: SessionId, tenant: &Tenant) -> rusqlite::Result<Record> {
    let Head { seq, hash } = head(row)?;
    Ok(Record {
        header: Header {
            tenant: tenant.clone(),
            session,
            seq,
            epoch: Epoch::new(columns::number(row, 3)?),
            version: row.get(4)?,
            time: columns::timestamp(row, 5)?,
            kind: kind(row.get_ref(6)?.as_str()?),
            actor: Pseudonym::from_bytes(row.get(7)?),
            body_digest: columns::digest(row, 8)?,
        },
        append: append_id(row)?,
        hash,
        body: row.get(9)?,
    })
}

/// Known kinds need no text of their own.
fn kind(text: &str) -> Kind {
    match Body::KINDS.iter().find(|known| **known == text) {
        Some(known) => Kind((*known).into()),
        None => Kind(text.to_owned().into()),
    }
}
