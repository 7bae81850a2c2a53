//! Sealed texts of a journal on SQLite, opened with keys. The places are those of docs/FORMAT.md, "Sealing".

use std::path::Path;

use agent_shell_core::data::{DataKey, Sealer};
use rusqlite::{Connection, OpenFlags};

use super::Finding;
use super::encodings;

const JOURNAL: i64 = 0x4167_5368;
const KEYS: i64 = 0x4167_4b79;

/// Every sealed text of a journal: its table, the text, and the context that it was sealed for.
const SEALED: &[(&str, &str)] = &[
    (
        "records",
        "SELECT r.body, CAST('record/1' AS BLOB), s.id, CAST(r.kind AS BLOB) FROM records r JOIN sessions s ON s.nr = r.session",
    ),
    (
        "mail",
        "SELECT m.sealed, CAST('mail/1' AS BLOB), s.id, CAST(m.kind AS BLOB) FROM mail m JOIN sessions s ON s.nr = m.session",
    ),
    (
        "blobs",
        "SELECT b.sealed, CAST('blob/1' AS BLOB), s.id, b.address FROM blobs b JOIN sessions s ON s.nr = b.session",
    ),
    ("sessions", "SELECT sealed, CAST('session-name/1' AS BLOB), x'', x'' FROM sessions"),
    ("actors", "SELECT sealed, CAST('actor/1' AS BLOB), x'', x'' FROM actors"),
];

fn open(file: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

fn is_a(file: &Path, application: i64) -> bool {
    let id =
        open(file).and_then(|file| file.query_row("PRAGMA application_id", (), |row| row.get::<_, i64>(0)));
    id.is_ok_and(|id| id == application)
}

pub(super) fn is_key_file(file: &Path) -> bool {
    is_a(file, KEYS)
}

pub(super) fn is_journal(file: &Path) -> bool {
    is_a(file, JOURNAL)
}

pub(super) fn keys_in(file: &Path) -> rusqlite::Result<Vec<DataKey>> {
    let connection = open(file)?;
    let mut keys = connection.prepare("SELECT key FROM keys WHERE key IS NOT NULL")?;
    keys.query_map((), |row| row.get(0).map(DataKey::from_bytes))?.collect()
}

/// The markers in what the keys open.
pub(super) fn search(file: &Path, keys: &[DataKey], markers: &[&str]) -> rusqlite::Result<Vec<Finding>> {
    let connection = open(file)?;
    let sealers: Vec<Sealer> = keys.iter().map(Sealer::new).collect();
    let mut found = Vec::new();
    let mut try_all = |table: &str, context: &[u8], sealed: &[u8]| {
        for text in sealers.iter().filter_map(|sealer| sealer.open(context, sealed).ok()) {
            let places = encodings::search(&text, markers);
            let place = || format!("{}, table {table}", file.display());
            found.extend(places.into_iter().map(|(marker, _)| Finding {
                marker,
                place: place(),
                form: "sealed",
            }));
        }
    };
    for (table, query) in SEALED {
        let mut rows = connection.prepare(query)?;
        let mut rows = rows.query(())?;
        while let Some(row) = rows.next()? {
            let part = |column: usize| row.get::<_, Vec<u8>>(column);
            try_all(table, &[part(1)?, part(2)?, part(3)?].concat(), &part(0)?);
        }
    }
    let mut snapshots = connection.prepare(
        "SELECT n.sealed, s.id, n.seq, n.hash FROM snapshots n JOIN sessions s ON s.nr = n.session",
    )?;
    let mut snapshots = snapshots.query(())?;
    while let Some(row) = snapshots.next()? {
        let seq = row.get::<_, i64>(2)?.to_be_bytes();
        let (session, hash) = (row.get::<_, Vec<u8>>(1)?, row.get::<_, Vec<u8>>(3)?);
        try_all(
            "snapshots",
            &[b"snapshot/1", &session[..], &seq, &hash].concat(),
            &row.get::<_, Vec<u8>>(0)?,
        );
    }
    Ok(found)
}
