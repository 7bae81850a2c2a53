//! Where turns stand: marks of an append.

use rusqlite::{Connection, OptionalExtension};

use super::columns::{self, kept};
use crate::ports::{Append, TurnEntry, TurnMark};
use crate::words::{Seq, TurnId};

/// What is known of a turn, and in which session by its number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stand {
    session: i64,
    started: Seq,
    ended: Option<Seq>,
}

/// The stands that turns have after the marks of an append, or what is wrong with them.
pub(super) fn judge(
    connection: &Connection,
    session: i64,
    append: &Append,
) -> rusqlite::Result<Result<Vec<(TurnId, Stand)>, String>> {
    let mut changed: Vec<(TurnId, Stand)> = Vec::with_capacity(append.turns.len());
    for mark in &append.turns {
        let (TurnMark::Started(turn, _) | TurnMark::Ended(turn, _)) = *mark;
        let before = match changed.iter().rev().find(|(id, _)| *id == turn) {
            Some((_, stand)) => Some(*stand),
            None => stored(connection, turn)?,
        };
        let after = match (*mark, before) {
            (TurnMark::Started(_, started), None) => Stand { session, started, ended: None },
            (TurnMark::Ended(_, ended), Some(before))
                if before.session == session && before.ended.is_none() =>
            {
                Stand { ended: Some(ended), ..before }
            }
            _ => {
                let at = append.session;
                return Ok(Err(format!("{mark:?} does not follow {before:?} in session {at}")));
            }
        };
        changed.push((turn, after));
    }
    Ok(Ok(changed))
}

fn stored(connection: &Connection, turn: TurnId) -> rusqlite::Result<Option<Stand>> {
    connection
        .prepare_cached("SELECT session, started, ended FROM turns WHERE turn = ?1")?
        .query_row((turn.to_bytes(),), |row| {
            let ended = row.get::<_, Option<i64>>(2)?;
            Ok(Stand {
                session: row.get(0)?,
                started: Seq::new(columns::number(row, 1)?),
                ended: ended.map(|seq| Seq::new(seq.cast_unsigned())),
            })
        })
        .optional()
}

pub(super) fn write(
    connection: &Connection,
    session: i64,
    changed: &[(TurnId, Stand)],
) -> rusqlite::Result<()> {
    for (turn, stand) in changed {
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO turns (turn, session, started, ended) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute((
                turn.to_bytes(),
                session,
                kept(stand.started.number()),
                stand.ended.map(|seq| kept(seq.number())),
            ))?;
    }
    Ok(())
}

/// The entry of a turn.
pub(super) fn entry(connection: &Connection, turn: TurnId) -> rusqlite::Result<Option<TurnEntry>> {
    connection
        .prepare_cached(
            "SELECT s.id, t.started, t.ended FROM turns t JOIN sessions s ON s.nr = t.session WHERE t.turn = ?1",
        )?
        .query_row((turn.to_bytes(),), |row| {
            let ended = row.get::<_, Option<i64>>(2)?;
            Ok(TurnEntry {
                session: columns::session_id(row, 0)?,
                started: Seq::new(columns::number(row, 1)?),
                ended: ended.map(|seq| Seq::new(seq.cast_unsigned())),
            })
        })
        .optional()
}
