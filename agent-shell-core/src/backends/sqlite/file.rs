//! Opening the file: whose it is, which format it has, and the settings on which durability rests.
//!
//! Nothing but SQLite ever opens the file. To close it anywhere in this process would drop every lock that the process
//! has on it, also those of a transaction that runs through another handle.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::columns::limit;
use super::fault::OpenError;
use super::mounts::{self, FileSystemOf};
use super::options::SqliteOptions;

/// What a file of ours says of itself, and how it came to be as it is.
pub(super) struct Format {
    /// Says in the file's header whose it is.
    pub(super) application_id: i64,
    /// Each brings a file from the format of its index to the next.
    pub(super) migrations: &'static [&'static str],
}

/// "AgSh": a journal.
pub(super) const JOURNAL: Format = Format {
    application_id: 0x4167_5368,
    migrations: &[
        include_str!("schema_1.sql"),
        include_str!("schema_2.sql"),
        include_str!("schema_3.sql"),
        include_str!("schema_4.sql"),
    ],
};

/// "AgKy": keys.
pub(super) const KEYS: Format = Format {
    application_id: 0x4167_4b79,
    migrations: &[include_str!("keys_1.sql"), include_str!("keys_2.sql")],
};

impl Format {
    /// The newest format that is known.
    pub(super) fn newest(&self) -> i64 {
        limit(self.migrations.len())
    }
}

/// Statements that are kept prepared on each connection: more than there are.
const PREPARED: usize = 128;

/// The file that a path leads to, if it may lie where it lies. All processes must agree on it, because what belongs
/// to the file lies beside it. An absolute path is also never taken for a name to which SQLite gives a meaning, such
/// as `:memory:`.
pub(super) fn real_path(
    path: &Path,
    options: &SqliteOptions,
    of: FileSystemOf,
) -> Result<PathBuf, OpenError> {
    let failed = |error: std::io::Error| OpenError::io(path, &error);
    let absolute = std::path::absolute(path).map_err(failed)?;
    let real = match (absolute.canonicalize(), absolute.parent(), absolute.file_name()) {
        (Ok(real), _, _) => real,
        // It is still to be made.
        (Err(_), Some(folder), Some(name)) => real_folder(path, folder)?.join(name),
        (Err(error), _, _) => return Err(failed(error)),
    };
    if real.is_dir() {
        return Err(OpenError::IsAFolder { path: path.into() });
    }
    match of(&real).filter(|kind| mounts::is_network(kind)) {
        Some(file_system) if !options.any_file_system => {
            Err(OpenError::NetworkFileSystem { path: real, file_system })
        }
        _ => Ok(real),
    }
}

/// The folder in which a file is to be made.
fn real_folder(path: &Path, folder: &Path) -> Result<PathBuf, OpenError> {
    let (path, folder) = (path.to_owned(), folder.to_owned());
    match folder.canonicalize() {
        Ok(real) if real.is_dir() => Ok(real),
        Ok(_) => Err(OpenError::NotAFolder { path, folder }),
        Err(error) => Err(match error.kind() {
            std::io::ErrorKind::NotFound => OpenError::NoFolder { path, folder },
            std::io::ErrorKind::NotADirectory => OpenError::NotAFolder { path, folder },
            _ => OpenError::io(&path, &error),
        }),
    }
}

/// How often a setting is tried while another process is in the way, and the pause in between: five seconds in all.
const TRIES: u32 = 500;
const PAUSE: Duration = Duration::from_millis(10);

/// Opens the connection that writes to a journal, making the file or bringing it to the current format first.
pub(super) fn open_journal(path: &Path, options: &SqliteOptions) -> Result<Connection, OpenError> {
    not_emptied(path)?;
    let connection = open(path, &JOURNAL, &journal_settings(options))?;
    // What a crash left in the log is brought into the file, and synced, before anything is acted on. Where another
    // process is in the way, which is not waited for, it lives and did so when it opened.
    let checkpoint = || {
        connection.busy_timeout(Duration::ZERO)?;
        match connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(())) {
            Err(error) if is_busy(&error) => {}
            checkpointed => checkpointed?,
        }
        connection.busy_timeout(options.busy_timeout())
    };
    checkpoint().map_err(|error| OpenError::sqlite(path, &error))?;
    sync_folder(path)?;
    Ok(connection)
}

/// Refuses a file that is empty, or gone, beside a log that is not: SQLite would throw the log away and begin anew. The
/// log is looked at first, because whoever makes a file at this moment has synced it before there is anything in its log.
fn not_emptied(path: &Path) -> Result<(), OpenError> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let length = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
    if length(log.as_ref()) == 0 || length(path) > 0 {
        return Ok(());
    }
    let detail = "it is empty or missing, and its write-ahead log is not: restore it beside that log".into();
    Err(OpenError::Failed { path: path.into(), kind: crate::words::ErrorKind::Corrupt, detail })
}

/// Opens the connection of a key store, making the file if there is none.
pub(super) fn open_keys(path: &Path, options: &SqliteOptions) -> Result<Connection, OpenError> {
    let connection = open(path, &KEYS, &key_settings(options))?;
    sync_folder(path)?;
    Ok(connection)
}

/// Makes the names of the files durable: that of the file, of its log and of its rollback journal, all of which are
/// there by now. SQLite does this too, and keeps to itself when it fails.
fn sync_folder(path: &Path) -> Result<(), OpenError> {
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        let synced = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(|error| OpenError::Failed {
            path: path.into(),
            kind: crate::words::ErrorKind::Poisoned,
            detail: format!("its folder can't be synced: {error}"),
        })?;
    }
    Ok(())
}

fn open(path: &Path, format: &Format, settings: &[(&'static str, String)]) -> Result<Connection, OpenError> {
    let failed = |error: rusqlite::Error| OpenError::sqlite(path, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    // Nothing is written to a file before it is known to be ours.
    belongs_to_us(path, format, &mut connection)?;
    settle(path, &connection, settings)?;
    migrate(path, format, &mut connection)?;
    tune(&connection).map_err(failed)?;
    Ok(connection)
}

/// Opens the connection that reads. The file is there and was settled by the writer.
pub(super) fn open_reader(path: &Path, options: &SqliteOptions) -> Result<Connection, OpenError> {
    let failed = |error: rusqlite::Error| OpenError::sqlite(path, &error);
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(options.busy_timeout()).map_err(failed)?;
    settle(path, &connection, &[("cache_size", cache_size(options)), ("query_only", "1".into())])?;
    tune(&connection).map_err(failed)?;
    Ok(connection)
}

fn tune(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(PREPARED);
    // One plan for a statement, whatever is bound to it. Without this SQLite, where it is built with STAT4, compiles
    // a statement with a bound LIMIT anew for every value, which takes longer than to run it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

/// What the writing connection is set to, in this order, and must then say that it is.
fn journal_settings(options: &SqliteOptions) -> [(&'static str, String); 7] {
    [
        ("busy_timeout", options.busy_timeout_ms.to_string()),
        ("journal_mode", "wal".into()),
        // FULL: the log is synced at every commit.
        ("synchronous", "2".into()),
        // On the systems that have it, a sync that reaches the disk and not only its cache.
        ("fullfsync", "1".into()),
        ("checkpoint_fullfsync", "1".into()),
        // The writer makes its own checkpoints, because SQLite keeps the errors of its automatic ones to itself.
        ("wal_autocheckpoint", "0".into()),
        ("cache_size", cache_size(options)),
    ]
}

fn key_settings(options: &SqliteOptions) -> [(&'static str, String); 6] {
    [
        ("busy_timeout", options.busy_timeout_ms.to_string()),
        // No log: it would keep keys. A rollback journal is emptied, and that synced, with every commit.
        ("journal_mode", "truncate".into()),
        ("synchronous", "2".into()),
        ("fullfsync", "1".into()),
        // What is deleted is overwritten with zeros.
        ("secure_delete", "1".into()),
        // What does not fit the cache stays there and is not spilled into a file.
        ("temp_store", "2".into()),
    ]
}

/// Negative: a number of KiB and not of pages.
fn cache_size(options: &SqliteOptions) -> String {
    format!("-{}", options.cache_kib.max(1))
}

/// Makes settings and reads each back.
pub(super) fn settle(
    path: &Path,
    connection: &Connection,
    settings: &[(&'static str, String)],
) -> Result<(), OpenError> {
    let failed = |error: rusqlite::Error| OpenError::sqlite(path, &error);
    for (setting, wanted) in settings {
        carry_out(connection, &format!("PRAGMA {setting} = {wanted}")).map_err(failed)?;
        in_force(path, connection, setting, wanted)?;
    }
    Ok(())
}

/// Runs a statement to its end. One that answers with a row commits only after it, and an error of that commit shows in
/// the step after the row, which `execute_batch` does not make.
fn carry_out(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    for _ in 0..TRIES {
        match carried_out(connection, sql) {
            // A change of the journal's mode does not wait by itself while another process opens the file.
            Err(error) if is_busy(&error) => pause(),
            done => return done,
        }
    }
    carried_out(connection, sql)
}

fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
}

fn pause() {
    #[allow(clippy::disallowed_methods)] // The Clock port's sleep is for tasks.
    std::thread::sleep(PAUSE);
}

fn carried_out(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query(())?;
    while rows.next()?.is_some() {}
    Ok(())
}

/// Checks that a setting is what it must be.
pub(super) fn in_force(
    path: &Path,
    connection: &Connection,
    setting: &'static str,
    wanted: &str,
) -> Result<(), OpenError> {
    let found: rusqlite::types::Value = connection
        .query_row(&format!("PRAGMA {setting}"), (), |row| row.get(0))
        .map_err(|error| OpenError::sqlite(path, &error))?;
    let found = match found {
        rusqlite::types::Value::Integer(number) => number.to_string(),
        rusqlite::types::Value::Text(text) => text,
        other => format!("{other:?}"),
    };
    if found == wanted {
        return Ok(());
    }
    Err(OpenError::Setting { path: path.into(), setting, wanted: wanted.into(), found })
}

fn belongs_to_us(path: &Path, ours: &Format, connection: &mut Connection) -> Result<(), OpenError> {
    let failed = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => OpenError::Foreign { path: path.into() },
        _ => OpenError::sqlite(path, &error),
    };
    // One transaction, so that a process which makes the file at this moment is seen before or after.
    let transaction = connection.transaction().map_err(failed)?;
    let number = |sql: &str| transaction.query_row(sql, (), |row| row.get::<_, i64>(0)).map_err(failed);
    let application = number("PRAGMA application_id")?;
    let format = number("PRAGMA user_version")?;
    let tables = number("SELECT count(*) FROM sqlite_schema")?;
    if application != ours.application_id && (application, format, tables) != (0, 0, 0) {
        return Err(OpenError::Foreign { path: path.into() });
    }
    not_newer(path, ours, format)
}

fn not_newer(path: &Path, ours: &Format, found: i64) -> Result<(), OpenError> {
    let known = ours.newest();
    if found <= known { Ok(()) } else { Err(OpenError::Newer { path: path.into(), found, known }) }
}

fn migrate(path: &Path, ours: &Format, connection: &mut Connection) -> Result<(), OpenError> {
    let failed = |error: rusqlite::Error| OpenError::sqlite(path, &error);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let format: i64 = transaction.query_row("PRAGMA user_version", (), |row| row.get(0)).map_err(failed)?;
    // Another process may have brought it further since it was looked at.
    not_newer(path, ours, format)?;
    if format == ours.newest() {
        return Ok(());
    }
    for script in ours.migrations.iter().skip(usize::try_from(format).unwrap_or(0)) {
        transaction.execute_batch(script).map_err(failed)?;
    }
    let (application, format) = (ours.application_id, ours.newest());
    let stamp = format!("PRAGMA application_id = {application}; PRAGMA user_version = {format};");
    transaction.execute_batch(&stamp).map_err(failed)?;
    transaction.commit().map_err(failed)
}
