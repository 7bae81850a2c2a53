//! Leases of processes: given, renewed, and taken from the dead.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};

use super::columns::{self, kept, ordered};
use super::fault::Work;
use super::lease_clock::LeaseClock;
use super::owner_files::OwnerFiles;
use super::writer::Tx;
use crate::ports::{Duty, Lease, OwnershipError, StoreError};
use crate::words::{Epoch, OwnerId, SessionId};

/// What the writer needs to judge who lives.
pub(super) struct Owners {
    pub(super) clock: LeaseClock,
    pub(super) files: Arc<OwnerFiles>,
}

/// Makes a session nobody's, and notes whether mail waits that can move it, for a claim to find.
const LET_GO: &str = "UPDATE sessions SET owner = NULL, mail = EXISTS (SELECT 1 FROM mail m \
                      WHERE m.session = sessions.nr AND (m.lane <> 0 OR sessions.status = 0)) ";

pub(super) fn enlist(tx: &mut Tx, owner: OwnerId, lease: Duration) -> Work<Lease, OwnershipError> {
    // The lock comes first: whoever finds the row must find the lock held.
    let why_not = match tx.owners.files.hold(owner) {
        Ok(true) => None,
        Ok(false) => Some("another process has this owner's id".to_owned()),
        Err(error) => Some(format!("the lock of the owner can't be taken: {error}")),
    };
    if let Some(detail) = why_not {
        return Ok(Err(StoreError::Unavailable { detail }.into()));
    }
    let lasts_ms = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
    let expires = tx.owners.clock.now_ms().saturating_add(lasts_ms);
    tx.connection
        .prepare_cached(
            "INSERT OR REPLACE INTO owners (id, boot, expires, lasts_ms) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute((owner.to_bytes(), tx.owners.clock.boot(), ordered(expires), ordered(lasts_ms)))?;
    Ok(Ok(Lease { lasts: lease }))
}

pub(super) fn renew(tx: &mut Tx, owner: OwnerId) -> Work<Lease, OwnershipError> {
    let lasts = tx
        .connection
        .prepare_cached(
            "UPDATE owners SET boot = ?2, \
             expires = CASE WHEN lasts_ms > ?4 - ?3 THEN ?4 ELSE ?3 + lasts_ms END \
             WHERE id = ?1 RETURNING lasts_ms",
        )?
        .query_row(
            (owner.to_bytes(), tx.owners.clock.boot(), ordered(tx.owners.clock.now_ms()), i64::MAX),
            |row| columns::number(row, 0),
        )
        .optional()?;
    Ok(match lasts {
        Some(lasts_ms) => Ok(Lease { lasts: Duration::from_millis(lasts_ms) }),
        None => Err(OwnershipError::NotEnlisted),
    })
}

pub(super) fn release(
    tx: &mut Tx,
    owner: OwnerId,
    sessions: &[(SessionId, Epoch)],
) -> Work<(), OwnershipError> {
    let mut let_go =
        tx.connection.prepare_cached(&format!("{LET_GO} WHERE id = ?1 AND owner = ?2 AND epoch = ?3"))?;
    for (session, epoch) in sessions {
        let_go.execute((session.to_bytes(), owner.to_bytes(), kept(epoch.number())))?;
        tx.sessions.forget(*session);
    }
    Ok(Ok(()))
}

/// Takes a duty, unless another owner that lives has it.
pub(super) fn hold(tx: &mut Tx, owner: OwnerId, duty: Duty) -> Work<bool, OwnershipError> {
    if !is_enlisted(&tx.connection, owner)? {
        return Ok(Err(OwnershipError::NotEnlisted));
    }
    let holder = |connection: &Connection| {
        connection
            .prepare_cached("SELECT d.owner FROM duties d JOIN owners o ON o.id = d.owner WHERE d.name = ?1")?
            .query_row((duty.name(),), |row| columns::owner(row, 0))
            .optional()
    };
    match holder(&tx.connection)?.flatten() {
        Some(other) if other != owner => bury_the_dead(tx, owner)?,
        // Nothing is written, so that asking again costs no sync.
        Some(_) => return Ok(Ok(true)),
        None => {}
    }
    if holder(&tx.connection)?.is_some() {
        return Ok(Ok(false));
    }
    tx.connection
        .prepare_cached("INSERT OR REPLACE INTO duties (name, owner) VALUES (?1, ?2)")?
        .execute((duty.name(), owner.to_bytes()))?;
    Ok(Ok(true))
}

pub(super) fn resign(tx: &mut Tx, owner: OwnerId) -> Work<(), OwnershipError> {
    strike_off(tx, owner)?;
    tx.owners.files.let_go(owner);
    Ok(Ok(()))
}

pub(super) fn is_enlisted(connection: &Connection, owner: OwnerId) -> rusqlite::Result<bool> {
    connection.prepare_cached("SELECT 1 FROM owners WHERE id = ?1")?.exists((owner.to_bytes(),))
}

/// Takes everything from the owners that are dead, except `me`.
pub(super) fn bury_the_dead(tx: &mut Tx, me: OwnerId) -> rusqlite::Result<()> {
    let now = ordered(tx.owners.clock.now_ms());
    let others: Vec<(OwnerId, bool)> = tx
        .connection
        .prepare_cached("SELECT id, boot = ?2 AND expires > ?3 FROM owners WHERE id <> ?1")?
        .query_map((me.to_bytes(), tx.owners.clock.boot(), now), |row| {
            Ok((OwnerId::from_bytes(row.get(0)?), row.get(1)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    for (owner, lease_runs) in others {
        // Asked for in any case, because it removes the file of a dead process.
        let ended = tx.owners.files.is_dead(owner);
        if ended || !lease_runs {
            tracing::info!(%owner, ended, lease_runs, "an owner is dead: its sessions may be claimed");
            strike_off(tx, owner)?;
        }
    }
    Ok(())
}

fn strike_off(tx: &mut Tx, owner: OwnerId) -> rusqlite::Result<()> {
    let connection = &tx.connection;
    let freed =
        connection.prepare_cached(&format!("{LET_GO} WHERE owner = ?1"))?.execute((owner.to_bytes(),))?;
    connection.prepare_cached("DELETE FROM owners WHERE id = ?1")?.execute((owner.to_bytes(),))?;
    connection.prepare_cached("DELETE FROM duties WHERE owner = ?1")?.execute((owner.to_bytes(),))?;
    if freed > 0 {
        tx.sessions.clear();
    }
    Ok(())
}
