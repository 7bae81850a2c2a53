//! Where turns stand: registered by mail, marked by appends.

use rusqlite::{Connection, OptionalExtension, Row};

use super::columns::{self, kept};
use super::fault::damaged;
use crate::ports::{Append, TurnEntry, TurnMark};
use crate::words::{Seq, TurnId};

/// What is known of a turn, and in which session by its number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stand {
    session: i64,
    started: Option<Seq>,
    ended: Option<Seq>,
}

impl Stand {
    pub(super) fn is_of(&self, session: i64) -> bool {
        self.session == session
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }
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
            None => stand(connection, turn)?,
        };
        let after = match (*mark, before) {
            (TurnMark::Started(_, started), None) => Stand { session, started: Some(started), ended: None },
            (TurnMark::Started(_, started), Some(before))
                if before.session == session && before.started.is_none() =>
            {
                Stand { started: Some(started), ..before }
            }
            (TurnMark::Ended(_, ended), Some(before))
                if before.session == session && before.started.is_some() && before.ended.is_none() =>
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

/// Where a turn stands.
pub(super) fn stand(connection: &Connection, turn: TurnId) -> rusqlite::Result<Option<Stand>> {
    connection
        .prepare_cached("SELECT session, started, ended FROM turns WHERE turn = ?1")?
        .query_row((turn.to_bytes(),), |row| {
            Ok(Stand { session: row.get(0)?, started: place(row, 1)?, ended: place(row, 2)? })
        })
        .optional()
}

/// The turns of a session that have not ended.
pub(super) fn open(connection: &Connection, session: i64) -> rusqlite::Result<Vec<TurnId>> {
    connection
        .prepare_cached("SELECT turn FROM turns WHERE session = ?1 AND ended IS NULL")?
        .query_map((session,), |row| row.get(0).map(TurnId::from_bytes))?
        .collect()
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
                stand.started.map(|seq| kept(seq.number())),
                stand.ended.map(|seq| kept(seq.number())),
            ))?;
    }
    Ok(())
}

/// Makes the entry of a turn whose mail is kept.
pub(super) fn register(connection: &Connection, session: i64, turn: TurnId) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT INTO turns (turn, session) VALUES (?1, ?2)")?
        .execute((turn.to_bytes(), session))
        .map(drop)
}

/// Whether a turn is registered in this session. One that is another session's is damage: ids are unique.
pub(super) fn is_of(connection: &Connection, session: i64, turn: TurnId) -> rusqlite::Result<bool> {
    match stand(connection, turn)? {
        Some(stand) if stand.session != session => Err(damaged("a turn is registered in another session")),
        stand => Ok(stand.is_some()),
    }
}

fn place(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Seq>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(|seq| Seq::new(seq.cast_unsigned())))
}

/// The entry of a turn.
pub(super) fn entry(connection: &Connection, turn: TurnId) -> rusqlite::Result<Option<TurnEntry>> {
    connection
        .prepare_cached(
            "SELECT s.id, t.started, t.ended FROM turns t JOIN sessions s ON s.nr = t.session WHERE t.turn = ?1",
        )?
        .query_row((turn.to_bytes(),), |row| {
            Ok(TurnEntry {
                session: columns::session_id(row, 0)?,
                started: place(row, 1)?,
                ended: place(row, 2)?,
            })
        })
        .optional()
}
