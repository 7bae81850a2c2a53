//! Mail: whether it is kept, and keeping it.

use rusqlite::{Connection, OptionalExtension};

use super::append::remember_actor;
use super::columns::kept;
use super::fault::Work;
use super::turns;
use super::writer::Tx;
use crate::data::{Lane, MailKind};
use crate::ports::{AppendError, Dedupe, Post, PostError, Posted, SessionStatus};
use crate::words::{Digest, SessionId, TurnId};

/// What becomes of mail that is not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Keep,
    /// The same piece waits already, or waited.
    Waits,
    /// Its dedupe key was used for the same before.
    Duplicate(Option<TurnId>),
}

pub(super) const fn lane(lane: Lane) -> i64 {
    match lane {
        Lane::Input => 0,
        Lane::Control => 1,
        Lane::Signal => 2,
        Lane::Steer => 3,
    }
}

/// Posts one piece of mail.
pub(super) fn post(tx: &mut Tx, post: &Post) -> Work<Posted, PostError> {
    let Some(session) = tx.sessions.find(&tx.connection, post.session)? else {
        return Ok(Err(PostError::NoSession));
    };
    match session.mark.status {
        SessionStatus::Purged => return Ok(Err(PostError::Purged)),
        SessionStatus::Archived if post.kind != MailKind::Purge => return Ok(Err(PostError::Archived)),
        _ => {}
    }
    match judge(&tx.connection, session.nr, post, post.system, 0)? {
        Ok(Verdict::Keep) => {
            write(tx, post, post.system)?;
            Ok(Ok(Posted::Accepted))
        }
        Ok(Verdict::Waits) => Ok(Ok(Posted::Accepted)),
        Ok(Verdict::Duplicate(turn)) => Ok(Ok(Posted::Duplicate(turn))),
        Err(refusal) => Ok(Err(refusal)),
    }
}

/// Judges all mail of an append, which counts as the runtime's own. `kept_before` counts what the same transaction
/// is about to keep in the session.
pub(super) fn judge_all(tx: &mut Tx, posts: &[Post]) -> Work<Vec<Verdict>, AppendError> {
    let mut verdicts: Vec<Verdict> = Vec::with_capacity(posts.len());
    for (index, post) in posts.iter().enumerate() {
        let Some(session) = tx.sessions.find(&tx.connection, post.session)? else {
            return Ok(Err(refusal(post.session, &PostError::NoSession)));
        };
        if matches!(session.mark.status, SessionStatus::Purged | SessionStatus::Archived) {
            // Nobody is there to read it, and the sender need not know.
            verdicts.push(Verdict::Waits);
            continue;
        }
        let earlier = || {
            let kept = posts[..index].iter().zip(&verdicts);
            kept.filter(|(other, verdict)| other.session == post.session && **verdict == Verdict::Keep)
                .map(|(other, _)| other)
        };
        let in_lane = earlier().filter(|other| other.kind.lane() == post.kind.lane()).count();
        let verdict = match earlier().find_map(|other| against(other, post)) {
            Some(verdict) => verdict,
            None => judge(&tx.connection, session.nr, post, true, in_lane)?,
        };
        match verdict {
            Ok(verdict) => verdicts.push(verdict),
            Err(error) => return Ok(Err(refusal(post.session, &error))),
        }
    }
    Ok(Ok(verdicts))
}

/// Keeps the mail of an append as it was judged.
pub(super) fn write_all(tx: &mut Tx, posts: &[Post], verdicts: Vec<Verdict>) -> rusqlite::Result<()> {
    let kept = posts.iter().zip(verdicts).filter(|(_, verdict)| *verdict == Verdict::Keep);
    for (post, _) in kept {
        write(tx, post, true)?;
    }
    Ok(())
}

/// Judges mail against another piece for the same session that is kept in the same append.
fn against(other: &Post, post: &Post) -> Option<Result<Verdict, PostError>> {
    if other.id == post.id || other.turn.is_some_and(|turn| post.turn == Some(turn)) {
        return Some(Ok(Verdict::Waits));
    }
    let (before, now) = (other.dedupe?, post.dedupe?);
    (other.kind == post.kind && before.key == now.key).then(|| same(before, now))
}

fn same(before: Dedupe, now: Dedupe) -> Result<Verdict, PostError> {
    if before.digest == now.digest { Ok(Verdict::Duplicate(before.turn)) } else { Err(PostError::Mismatch) }
}

fn judge(
    connection: &Connection,
    session: i64,
    post: &Post,
    system: bool,
    kept_before: usize,
) -> Work<Verdict, PostError> {
    let waits = connection
        .prepare_cached("SELECT 1 FROM mail WHERE session = ?1 AND id = ?2")?
        .exists((session, post.id.to_bytes()))?;
    if waits || is_registered(connection, session, post)? {
        return Ok(Ok(Verdict::Waits));
    }
    if let Some(now) = post.dedupe
        && let Some(before) = dedupe(connection, session, post.kind, now.key)?
    {
        return Ok(same(before, now));
    }
    let waiting = connection
        .prepare_cached("SELECT count(*) FROM mail WHERE session = ?1 AND lane = ?2 AND system = ?3")?
        .query_row((session, lane(post.kind.lane()), system), |row| row.get::<_, u32>(0))?
        as usize
        + kept_before;
    if waiting >= post.quota {
        return Ok(Err(PostError::Overloaded { waiting }));
    }
    Ok(Ok(Verdict::Keep))
}

/// Whether the turn that mail asks for was asked for before: the post is a repeat, whatever became of the mail.
fn is_registered(connection: &Connection, session: i64, post: &Post) -> rusqlite::Result<bool> {
    match post.turn {
        Some(turn) => turns::is_of(connection, session, turn),
        None => Ok(false),
    }
}

/// What a dedupe key was first used for.
pub(super) fn dedupe(
    connection: &Connection,
    session: i64,
    kind: MailKind,
    key: Digest,
) -> rusqlite::Result<Option<Dedupe>> {
    connection
        .prepare_cached("SELECT digest, turn FROM dedupe WHERE session = ?1 AND kind = ?2 AND key = ?3")?
        .query_row((session, kind.as_str(), key.as_bytes()), |row| {
            let turn = row.get::<_, Option<_>>(1)?.map(TurnId::from_bytes);
            Ok(Dedupe { key, digest: Digest::from_bytes(row.get(0)?), turn })
        })
        .optional()
}

fn write(tx: &mut Tx, post: &Post, system: bool) -> rusqlite::Result<()> {
    let Tx { connection, sessions, .. } = tx;
    let Some(session) = sessions.find(connection, post.session)? else { return Ok(()) };
    connection
        .prepare_cached(
            "INSERT INTO mail (session, lane, system, id, kind, actor, posted, turn, sealed) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute((
            session.nr,
            lane(post.kind.lane()),
            system,
            post.id.to_bytes(),
            post.kind.as_str(),
            post.actor.as_bytes(),
            kept(post.posted.as_millis()),
            post.turn.map(TurnId::to_bytes),
            &post.sealed,
        ))?;
    if let Some(turn) = post.turn {
        turns::register(connection, session.nr, turn)?;
    }
    if let Some(dedupe) = &post.dedupe {
        connection
            .prepare_cached(
                "INSERT INTO dedupe (session, kind, key, digest, turn) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute((
                session.nr,
                post.kind.as_str(),
                dedupe.key.as_bytes(),
                dedupe.digest.as_bytes(),
                dedupe.turn.map(TurnId::to_bytes),
            ))?;
    }
    if let Some(named) = &post.named_actor {
        remember_actor(connection, &session.tenant, named)?;
    }
    if session.owner.is_none() && !session.has_mail && session.mark.status.reads(post.kind.lane()) {
        // For a claim to find. An owner finds its own sessions' mail itself.
        connection.prepare_cached("UPDATE sessions SET mail = 1 WHERE nr = ?1")?.execute((session.nr,))?;
        sessions.change(post.session, |known| known.has_mail = true);
    }
    Ok(())
}

/// What mail that was refused means for the append that posts it.
fn refusal(session: SessionId, error: &PostError) -> AppendError {
    let detail = format!("session {session} refused mail: {error}");
    match error {
        PostError::NoSession | PostError::Mismatch | PostError::Purged | PostError::Archived => {
            AppendError::Corrupt { detail }
        }
        PostError::Overloaded { .. } | PostError::Store(_) => AppendError::Unavailable { detail },
    }
}
