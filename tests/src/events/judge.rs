//! What the journal's file and the log say in the end.

use std::collections::BTreeMap;
use std::path::Path;

use agent_shell_core::words::SessionId;
use rusqlite::Connection;

use super::{EventsError, journal, log};

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) sessions: usize,
    /// Events that were told.
    pub(super) events: usize,
    /// How often the log has an event again.
    pub(super) repeats: usize,
    pub(super) violations: Vec<String>,
}

/// Sequences by session, in the order in which they stand somewhere.
type Sequences = BTreeMap<String, Vec<u64>>;

pub(super) fn judge(folder: &Path) -> Result<Verdict, EventsError> {
    let connection = Connection::open(journal(folder))?;
    let told = read(
        &connection,
        "SELECT s.id, o.sequence FROM outbox o JOIN sessions s ON s.nr = o.session ORDER BY o.position",
        |row| Ok(SessionId::from_bytes(row.get(0)?).to_string()),
    )?;
    let ledger = read(&connection, "SELECT session, sequence FROM ledger ORDER BY place", |row| row.get(0))?;
    let mut logged = Sequences::new();
    for line in std::fs::read_to_string(log(folder))?.lines() {
        let Some((session, sequence)) = line.split_once(' ') else { continue };
        logged.entry(session.into()).or_default().push(sequence.parse().unwrap_or(0));
    }
    let mut verdict = Verdict { sessions: told.len(), ..Verdict::default() };
    verdict.events = told.values().map(Vec::len).sum();
    for (session, sequences) in &told {
        let all: Vec<u64> = (1..=sequences.len() as u64).collect();
        if *sequences != all {
            verdict.violations.push(format!("session {session} told {sequences:?}"));
        }
        let once = ledger.get(session).cloned().unwrap_or_default();
        if once != all {
            verdict
                .violations
                .push(format!("session {session}: the ledger has {once:?}, not 1 to {}", all.len()));
        }
        let found = logged.get(session).cloned().unwrap_or_default();
        let mut new = Vec::new();
        found.iter().for_each(|sequence| {
            if !new.contains(sequence) {
                new.push(*sequence);
            }
        });
        verdict.repeats += found.len() - new.len();
        if new != all {
            verdict
                .violations
                .push(format!("session {session}: the log has first {new:?}, not 1 to {}", all.len()));
        }
    }
    for session in ledger.keys().chain(logged.keys()).filter(|session| !told.contains_key(*session)) {
        verdict.violations.push(format!("session {session} told nothing, and was heard"));
    }
    let unacknowledged: i64 = connection.query_row(
        "SELECT count(*) FROM outbox WHERE position > (SELECT position FROM outbox_acknowledged)",
        (),
        |row| row.get(0),
    )?;
    if unacknowledged > 0 {
        verdict.violations.push(format!("{unacknowledged} rows are not acknowledged after a shutdown"));
    }
    Ok(verdict)
}

fn read(
    connection: &Connection,
    sql: &str,
    session: impl Fn(&rusqlite::Row<'_>) -> rusqlite::Result<String>,
) -> Result<Sequences, EventsError> {
    let mut sequences = Sequences::new();
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        sequences.entry(session(row)?).or_default().push(row.get::<_, i64>(1)?.cast_unsigned());
    }
    Ok(sequences)
}
