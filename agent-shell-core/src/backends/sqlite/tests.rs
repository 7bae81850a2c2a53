//! Tests of the SQLite stores. Most use the suites' writers, and run with the feature `conformance`.
#![allow(
    clippy::disallowed_methods,
    reason = "tests have threads of their own, which stand in each other's way"
)]

#[cfg(feature = "conformance")]
mod archive;
mod group;
#[cfg(unix)]
mod locks;
mod mounts;
mod open;
mod outbox;

#[cfg(feature = "conformance")]
mod conformance;
#[cfg(feature = "conformance")]
mod failures;
#[cfg(all(unix, feature = "conformance"))]
mod keys;
#[cfg(feature = "conformance")]
mod ledger;
#[cfg(feature = "conformance")]
mod owners;
#[cfg(feature = "conformance")]
mod processes;
#[cfg(feature = "conformance")]
mod queues;
#[cfg(feature = "conformance")]
mod records;

use std::path::Path;
use std::sync::Arc;

use super::{OpenError, SqliteOptions, SqliteStore};
use crate::backends::SystemClock;

/// A store with the settings that hosts get.
async fn opened(path: &Path) -> SqliteStore {
    open(path).await.expect("the store opens")
}

async fn open(path: &Path) -> Result<SqliteStore, OpenError> {
    SqliteStore::open(path, SqliteOptions::default(), Arc::new(SystemClock::new())).await
}

fn run(test: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime can be built").block_on(test);
}
