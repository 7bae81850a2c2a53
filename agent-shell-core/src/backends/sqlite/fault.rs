//! What an error of SQLite means for the store.

use std::path::PathBuf;
use std::sync::OnceLock;

use rusqlite::ErrorCode;

use crate::ports::StoreError;
use crate::words;

/// The result of a piece of work inside a transaction: SQLite's own failure outside, the caller's refusal inside.
pub(super) type Work<T, E> = rusqlite::Result<Result<T, E>>;

/// What an error of SQLite means to whoever asked.
pub(super) fn store_error(error: &rusqlite::Error) -> StoreError {
    let detail = error.to_string();
    match error.sqlite_error_code() {
        Some(
            ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase
            | ErrorCode::ConstraintViolation
            | ErrorCode::TypeMismatch,
        ) => StoreError::Corrupt { detail },
        Some(_) => StoreError::Unavailable { detail },
        // A column that does not hold what this version wrote there.
        None => StoreError::Corrupt { detail },
    }
}

/// Whether the disk failed under SQLite. After a failed write or fsync nobody knows what is on the disk: the kernel
/// may drop the pages and report the error once.
pub(super) fn is_disk_failure(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure)
}

/// Whether what failed is the index of the write-ahead log, which lies in a file of its own.
fn is_about_the_index(error: &rusqlite::Error) -> bool {
    use rusqlite::ffi;
    const CODES: [i32; 3] = [ffi::SQLITE_IOERR_SHMOPEN, ffi::SQLITE_IOERR_SHMSIZE, ffi::SQLITE_IOERR_SHMMAP];
    error.sqlite_error().is_some_and(|error| CODES.contains(&error.extended_code))
}

/// What is stored is not what this version stores.
pub(super) fn damaged(what: impl std::fmt::Display) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Blob, what.to_string().into())
}

/// Whether the store may go on. Shared by its threads and its callers.
#[derive(Debug, Default)]
pub(super) struct Health {
    poison: OnceLock<String>,
}

impl Health {
    /// From now on every call is refused. The first reason stays.
    pub(super) fn poison(&self, reason: impl Into<String>) {
        let reason = reason.into();
        tracing::error!(reason, "the disk failed under the store: it accepts nothing more");
        // A second failure adds nothing.
        let _ = self.poison.set(reason);
    }

    pub(super) fn check(&self) -> Result<(), StoreError> {
        match self.poison.get() {
            Some(detail) => Err(StoreError::Poisoned { detail: detail.clone() }),
            None => Ok(()),
        }
    }
}

/// Why a file could not be opened as a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file belongs to another program.
    #[error("{path} is not a file of Agent Shell: choose another path")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A newer version wrote the file.
    #[error(
        "{path} has format {found}, and this version knows formats up to {known}: upgrade agent-shell-core"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format that is known.
        known: i64,
    },
    /// The file lies on a file system of a network.
    #[error(
        "{path} lies on {file_system}, where locks don't hold: put it on a local disk, or use a database server"
    )]
    NetworkFileSystem {
        /// The file.
        path: PathBuf,
        /// The file system.
        file_system: String,
    },
    /// A setting on which durability rests could not be made.
    #[error(
        "{path}: `{setting}` is {found} where {wanted} is needed: is the file read-only, or on a disk without shared memory?"
    )]
    Setting {
        /// The file.
        path: PathBuf,
        /// The setting.
        setting: &'static str,
        /// What it must be.
        wanted: String,
        /// What it is.
        found: String,
    },
    /// The folder in which the file should lie is not there.
    #[error("the folder {folder} is not there, so {path} can't lie in it: make the folder first")]
    NoFolder {
        /// The file.
        path: PathBuf,
        /// The folder.
        folder: PathBuf,
    },
    /// What should be the folder of the file is none.
    #[error("{folder} is no folder, so {path} can't lie in it: choose another path")]
    NotAFolder {
        /// The file.
        path: PathBuf,
        /// What is no folder.
        folder: PathBuf,
    },
    /// The path leads to a folder.
    #[error("{path} is a folder: name a file in it, such as {}", path.join("shell.db").display())]
    IsAFolder {
        /// The folder.
        path: PathBuf,
    },
    /// SQLite or the operating system refused.
    #[error("{path} can't be opened: {detail}")]
    Failed {
        /// The file.
        path: PathBuf,
        /// What a store would say.
        kind: words::ErrorKind,
        /// What was said.
        detail: String,
    },
}

impl OpenError {
    pub(super) fn sqlite(path: &std::path::Path, error: &rusqlite::Error) -> Self {
        let kind = match store_error(error) {
            // The index of the log holds nothing that must last. It could not be made or grow: a full disk, mostly.
            _ if is_about_the_index(error) => words::ErrorKind::Unavailable,
            _ if is_disk_failure(error) => words::ErrorKind::Poisoned,
            StoreError::Corrupt { .. } => words::ErrorKind::Corrupt,
            _ => words::ErrorKind::Unavailable,
        };
        Self::Failed { path: path.into(), kind, detail: error.to_string() }
    }

    pub(super) fn io(path: &std::path::Path, error: &std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::InvalidInput => words::ErrorKind::InvalidInput,
            _ => words::ErrorKind::Unavailable,
        };
        Self::Failed { path: path.into(), kind, detail: error.to_string() }
    }

    /// What the host should do.
    pub fn kind(&self) -> words::ErrorKind {
        match self {
            Self::Foreign { .. }
            | Self::NoFolder { .. }
            | Self::NotAFolder { .. }
            | Self::IsAFolder { .. } => words::ErrorKind::InvalidInput,
            Self::Newer { .. } | Self::NetworkFileSystem { .. } | Self::Setting { .. } => {
                words::ErrorKind::Unsupported
            }
            Self::Failed { kind, .. } => *kind,
        }
    }
}

impl From<OpenError> for words::Error {
    fn from(error: OpenError) -> Self {
        Self::new(error.kind(), error.to_string())
    }
}
