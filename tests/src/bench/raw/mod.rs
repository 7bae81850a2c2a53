//! What the disk and SQLite can do with the same bytes and no runtime.

mod file;
mod sqlite;

pub(super) use file::WriteFdatasync;
pub(super) use sqlite::SqliteGroupCommit;
