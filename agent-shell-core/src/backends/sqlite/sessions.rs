//! Sessions as the writer knows them, and the registration of new ones.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension};

use super::columns::{self, kept};
use super::fault::Work;
use super::writer::Tx;
use crate::ports::{Fence, Mark, NewSession, SessionEntry, StoreError};
use crate::words::{Digest, Epoch, Head, OwnerId, SessionId, Tenant};

/// Sessions that the writer remembers at most; beyond that it forgets all and reads them again.
const REMEMBERED: usize = 1 << 16;

/// What an append needs to know of a session.
#[derive(Debug, Clone)]
pub(super) struct Known {
    /// The session's number in the file.
    pub(super) nr: i64,
    pub(super) tenant: Tenant,
    pub(super) epoch: Epoch,
    pub(super) owner: Option<OwnerId>,
    pub(super) mark: Mark,
    pub(super) head: Head,
    /// Whether the row says that mail waits; only right while nobody owns the session.
    pub(super) has_mail: bool,
    /// The sequence of its last envelope, once it was asked for.
    pub(super) sequence: Option<u64>,
}

impl Known {
    pub(super) fn is_owned_under(&self, fence: Fence) -> bool {
        self.owner == Some(fence.owner) && self.epoch == fence.epoch
    }
}

/// What the writer remembers of sessions, so that an append needs no query. It holds what the open transaction will
/// leave, and is right as long as nobody else commits: a rollback, or another process's commit, empties it.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    known: HashMap<SessionId, Known>,
}

impl Sessions {
    /// The session with this id, read from the file if it is not remembered.
    pub(super) fn find(&mut self, connection: &Connection, id: SessionId) -> rusqlite::Result<Option<Known>> {
        if let Some(known) = self.known.get(&id) {
            return Ok(Some(known.clone()));
        }
        let read = connection
            .prepare_cached(
                "SELECT s.nr, s.tenant, s.epoch, s.owner, s.status, s.wake_at, \
                        coalesce(r.seq, s.archived_seq), coalesce(r.hash, s.archived_hash), s.mail \
                 FROM sessions s LEFT JOIN records r ON r.nr = coalesce( \
                      (SELECT record FROM recent_places p WHERE p.session = s.nr ORDER BY p.seq DESC LIMIT 1), \
                      (SELECT record FROM places p WHERE p.session = s.nr ORDER BY p.seq DESC LIMIT 1)) \
                 WHERE s.id = ?1",
            )?
            .query_row((id.to_bytes(),), |row| {
                Ok(Known {
                    nr: row.get(0)?,
                    tenant: columns::tenant(row, 1)?,
                    epoch: Epoch::new(columns::number(row, 2)?),
                    owner: columns::owner(row, 3)?,
                    mark: columns::mark(row, 4, 5)?,
                    head: columns::head(row, 6, 7)?,
                    has_mail: row.get(8)?,
                    sequence: None,
                })
            })
            .optional()?;
        if let Some(known) = &read {
            self.make_room();
            self.known.insert(id, known.clone());
        }
        Ok(read)
    }

    fn make_room(&mut self) {
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
    }

    /// Changes what is remembered of a session, if it is.
    pub(super) fn change(&mut self, id: SessionId, change: impl FnOnce(&mut Known)) {
        if let Some(known) = self.known.get_mut(&id) {
            change(known);
        }
    }

    /// Remembers a session that was just claimed.
    pub(super) fn remember(&mut self, nr: i64, entry: &SessionEntry) {
        let known = Known {
            nr,
            tenant: entry.tenant.clone(),
            epoch: entry.epoch,
            owner: entry.owner,
            mark: entry.mark,
            head: entry.head,
            has_mail: false,
            sequence: Some(entry.sequence),
        };
        self.make_room();
        self.known.insert(entry.id, known);
    }

    /// Forgets one session.
    pub(super) fn forget(&mut self, id: SessionId) {
        self.known.remove(&id);
    }

    /// Forgets all sessions.
    pub(super) fn clear(&mut self) {
        self.known.clear();
    }
}

/// The entry of the session with this tenant and name.
pub(super) fn by_name(
    connection: &Connection,
    tenant: &Tenant,
    name: Digest,
) -> rusqlite::Result<Option<SessionEntry>> {
    connection
        .prepare_cached(&format!("{} WHERE s.tenant = ?1 AND s.name = ?2", columns::ENTRY))?
        .query_row((tenant.as_str(), name.as_bytes()), columns::entry)
        .optional()
}

/// Finds a session by its name or registers it.
pub(super) fn open(tx: &mut Tx, new: &NewSession) -> Work<SessionEntry, StoreError> {
    if let Some(entry) = by_name(&tx.connection, &new.tenant, new.name)? {
        return Ok(Ok(entry));
    }
    if tx.sessions.find(&tx.connection, new.id)?.is_some() {
        let detail = format!("session {} exists under another name", new.id);
        return Ok(Err(StoreError::Corrupt { detail }));
    }
    tx.connection
        .prepare_cached(
            "INSERT INTO sessions (nr, id, tenant, name, sealed, key, created) \
             SELECT 1 + max(newest, coalesce((SELECT max(nr) FROM sessions), 0)), ?1, ?2, ?3, ?4, ?5, ?6 \
             FROM sessions_removed",
        )?
        .execute((
            new.id.to_bytes(),
            new.tenant.as_str(),
            new.name.as_bytes(),
            &new.sealed,
            new.key.0.as_bytes(),
            kept(new.created.as_millis()),
        ))?;
    let NewSession { id, tenant, name, sealed, key, created } = new.clone();
    Ok(Ok(SessionEntry {
        id,
        tenant,
        name,
        sealed,
        key,
        created,
        head: Head::EMPTY,
        epoch: Epoch::ZERO,
        owner: None,
        mark: Mark::default(),
        requires: Vec::new(),
        waiting_mail: 0,
        sequence: 0,
        archived: None,
    }))
}
