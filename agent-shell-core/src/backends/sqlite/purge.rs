//! Erasing a session with the append that purges it.
//!
//! What is erased is sealed, or a keyed digest: it is the key's destruction that forgets it. It goes all the same, so
//! that nothing stays that no one can read.

use rusqlite::Connection;

use super::columns::kept;
use crate::ports::SessionEntry;
use crate::words::{Seq, SessionId};

/// Erases all of a session but its records, its row and its turns, which end with the record at `last`.
pub(super) fn erase(connection: &Connection, session: i64, id: SessionId, last: Seq) -> rusqlite::Result<()> {
    for table in ["blobs", "snapshots", "mail", "dedupe"] {
        connection.prepare_cached(&format!("DELETE FROM {table} WHERE session = ?1"))?.execute((session,))?;
    }
    connection
        .prepare_cached(
            "UPDATE sessions SET sealed = x'', name = ?2, requires = x'', mail = 0 WHERE nr = ?1",
        )?
        .execute((session, SessionEntry::purged_name(id).as_bytes()))?;
    connection
        .prepare_cached(
            "UPDATE turns SET started = coalesce(started, ?2), ended = ?2 WHERE session = ?1 AND ended IS NULL",
        )?
        .execute((session, kept(last.number())))
        .map(drop)
}
