//! Appends: first judged whole, then written, so that one that is refused leaves nothing to undo.

use rusqlite::Connection;

use super::columns::{self, kept, ordered};
use super::fault::Work;
use super::mail;
use super::sessions::{Known, Sessions};
use super::writer::Tx;
use super::{ledger, outbox, purge, records, turns};
use crate::failpoint::reach;
use crate::ports::{Append, AppendError, Appended, NamedActor, SessionStatus};
use crate::words::{Head, Tenant};

/// The largest append, in bytes of bodies, blobs, mail, envelopes and snapshot.
pub(super) const MAX_APPEND_BYTES: usize = 64 << 20;

/// What an append holds, in bytes.
pub(super) fn bytes_of(append: &Append) -> usize {
    append.records.iter().map(|record| record.body.len()).sum::<usize>()
        + append.blobs.iter().map(|blob| blob.sealed.len()).sum::<usize>()
        + append.post_mail.iter().map(|post| post.sealed.len()).sum::<usize>()
        + append.outbox.iter().map(|row| row.envelope.len()).sum::<usize>()
        + append.snapshot.as_ref().map_or(0, |snapshot| snapshot.sealed.len())
}

pub(super) fn append(tx: &mut Tx, append: &Append) -> Work<Appended, AppendError> {
    let Some(session) = tx.sessions.find(&tx.connection, append.session)? else {
        return Ok(Err(corrupt(format!("session {} is not in the store", append.session))));
    };
    if let Some(head) = committed(&tx.connection, &session, append)? {
        return Ok(Ok(Appended { head, still_owner: session.is_owned_under(append.fence) }));
    }
    match session.mark.status {
        SessionStatus::Purged => return Ok(Err(AppendError::Purged)),
        SessionStatus::Archived if !append.purges() => return Ok(Err(AppendError::Archived)),
        _ => {}
    }
    if !session.is_owned_under(append.fence) {
        return Ok(Err(AppendError::Fenced { actual: session.epoch }));
    }
    if append.expected != session.head {
        return Ok(Err(AppendError::Conflict { actual: session.head }));
    }
    if let Err(wrong) = chained(&session, append) {
        return Ok(Err(corrupt(wrong)));
    }
    if let Some(wrong) = outbox::breaks(&tx.connection, &session, append)? {
        return Ok(Err(corrupt(wrong)));
    }
    let turns = match turns::judge(&tx.connection, session.nr, append)? {
        Ok(turns) => turns,
        Err(wrong) => return Ok(Err(corrupt(wrong))),
    };
    let mail = match mail::judge_all(tx, &append.post_mail)? {
        Ok(mail) => mail,
        Err(refusal) => return Ok(Err(refusal)),
    };
    // From here on nothing refuses.
    tx.places.added(records::write(&tx.connection, session.nr, &append.records)?);
    reach!(RecordsWritten);
    write_rest(&tx.connection, &session, append)?;
    turns::write(&tx.connection, session.nr, &turns)?;
    mail::write_all(tx, &append.post_mail, mail)?;
    if append.changes_budgets() {
        let at = tx.now();
        ledger::settle_with(&tx.connection, append, at)?;
        if append.purges() {
            ledger::settle_purged(&tx.connection, session.nr, append.session, at)?;
        }
    }
    let head = append.records.last().map_or(append.expected, crate::data::Record::head);
    if append.purges() {
        purge::erase(&tx.connection, session.nr, append.session, head.seq)?;
    }
    remember(&mut tx.sessions, append, head);
    Ok(Ok(Appended { head, still_owner: true }))
}

/// The head that an earlier append with the same id reached. Such an append stands right after the head that it
/// expected, so that ids need no index.
fn committed(connection: &Connection, session: &Known, append: &Append) -> rusqlite::Result<Option<Head>> {
    if session.head.seq <= append.expected.seq {
        return Ok(None);
    }
    let mut head = None;
    records::each_after(connection, session.nr, append.expected.seq, usize::MAX, |row| {
        let mine = records::append_id(row)? == append.id;
        if mine {
            head = Some(records::head(row)?);
        }
        Ok(mine)
    })?;
    Ok(head)
}

/// Whether the records stand where the append says, and are this append's.
fn chained(session: &Known, append: &Append) -> Result<(), String> {
    if append.records.is_empty() {
        return Err(format!("append {} has no records", append.id));
    }
    let mut seq = append.expected.seq;
    for record in &append.records {
        let header = &record.header;
        seq = seq.next();
        let wrong = if header.seq != seq {
            format!("has place {}", header.seq)
        } else if header.session != append.session || header.tenant != session.tenant {
            format!("belongs to session {} of tenant {}", header.session, header.tenant)
        } else if header.epoch != append.fence.epoch {
            format!("bears epoch {}", header.epoch)
        } else if record.append != append.id {
            format!("bears append {}", record.append)
        } else {
            continue;
        };
        return Err(format!(
            "the record for place {seq} of session {}, epoch {}, append {} {wrong}",
            append.session, append.fence.epoch, append.id
        ));
    }
    Ok(())
}

/// Writes what most appends don't bring.
fn write_rest(connection: &Connection, session: &Known, append: &Append) -> rusqlite::Result<()> {
    for blob in &append.blobs {
        connection
            .prepare_cached(
                "INSERT INTO blobs (session, address, sealed) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            )?
            .execute((session.nr, blob.address.as_bytes(), &blob.sealed))?;
    }
    for id in &append.consume_mail {
        connection
            .prepare_cached("DELETE FROM mail WHERE session = ?1 AND id = ?2")?
            .execute((session.nr, id.to_bytes()))?;
    }
    outbox::write(connection, session.nr, &append.outbox)?;
    if let Some(requires) = &append.requires {
        connection
            .prepare_cached("UPDATE sessions SET requires = ?1 WHERE nr = ?2")?
            .execute((columns::requirements_to_bytes(requires), session.nr))?;
    }
    if let Some(mark) = append.mark.filter(|mark| *mark != session.mark) {
        let wake_at = mark.wake_at.map(|at| ordered(at.as_millis()));
        connection
            .prepare_cached("UPDATE sessions SET status = ?1, wake_at = ?2 WHERE nr = ?3")?
            .execute((mark.status.number(), wake_at, session.nr))?;
    }
    if let Some(snapshot) = &append.snapshot {
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO snapshots (session, seq, hash, fold_version, sealed) \
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute((
                session.nr,
                kept(snapshot.head.seq.number()),
                snapshot.head.hash.as_bytes(),
                snapshot.fold_version,
                &snapshot.sealed,
            ))?;
    }
    append.actors.iter().try_for_each(|named| remember_actor(connection, &session.tenant, named))
}

/// Keeps the name behind a pseudonym; the first one stays.
pub(super) fn remember_actor(
    connection: &Connection,
    tenant: &Tenant,
    named: &NamedActor,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO actors (tenant, actor, key, sealed) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
        )?
        .execute((tenant.as_str(), named.actor.as_bytes(), named.key.0.as_bytes(), &named.sealed))
        .map(drop)
}

fn remember(sessions: &mut Sessions, append: &Append, head: Head) {
    sessions.change(append.session, |known| {
        known.head = head;
        if let Some(mark) = append.mark {
            known.mark = mark;
        }
        if let Some(last) = append.outbox.last() {
            known.sequence = Some(last.sequence);
        }
    });
}

fn corrupt(detail: String) -> AppendError {
    AppendError::Corrupt { detail }
}
