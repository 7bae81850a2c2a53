//! The conformance suites on the SQLite stores.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tempfile::TempDir;

use crate::backends::sqlite::{LeaseTime, SqliteKeys, SqliteOptions, SqliteStore};
use crate::conformance::{KeyFixture, StoreFixture, TestClock};
use crate::ports::{KeyStore, Store};

/// Files in a folder of the fixture's own.
struct Sqlite {
    folder: TempDir,
    clock: TestClock,
    files: AtomicUsize,
    latest: Mutex<PathBuf>,
}

impl Sqlite {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        Self { folder, clock: TestClock::default(), files: AtomicUsize::new(0), latest: Mutex::default() }
    }

    fn fresh(&self) {
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        *self.latest.lock().unwrap() = self.folder.path().join(format!("{number}.db"));
    }

    fn latest(&self) -> PathBuf {
        self.latest.lock().unwrap().clone()
    }

    fn options() -> SqliteOptions {
        SqliteOptions { lease_time: LeaseTime::Clock, ..SqliteOptions::default() }
    }

    async fn open(&self) -> Store {
        let clock = Arc::new(self.clock.clone());
        SqliteStore::store(self.latest(), Self::options(), clock).await.expect("the store opens")
    }

    async fn open_keys(&self) -> Arc<dyn KeyStore> {
        let clock = Arc::new(self.clock.clone());
        let path = SqliteKeys::path_beside(self.latest());
        Arc::new(SqliteKeys::open(path, Self::options(), clock).await.expect("the key store opens"))
    }
}

#[async_trait]
impl StoreFixture for Sqlite {
    async fn store(&self) -> Store {
        self.fresh();
        self.open().await
    }

    async fn reopen(&self, store: Store) -> Option<Store> {
        drop(store);
        Some(self.open().await)
    }

    async fn advance(&self, time: Duration) {
        self.clock.advance(time);
    }
}

#[async_trait]
impl KeyFixture for Sqlite {
    async fn keys(&self) -> Arc<dyn KeyStore> {
        self.fresh();
        self.open_keys().await
    }

    async fn reopen(&self, keys: Arc<dyn KeyStore>) -> Option<Arc<dyn KeyStore>> {
        drop(keys);
        Some(self.open_keys().await)
    }

    async fn holds(&self, bytes: &[u8; 32]) -> Option<bool> {
        let holds = |entry: std::fs::DirEntry| {
            let content = std::fs::read(entry.path()).expect("a file of the store can be read");
            content.windows(bytes.len()).any(|window| window == bytes)
        };
        Some(std::fs::read_dir(self.folder.path()).unwrap().any(|entry| holds(entry.unwrap())))
    }
}

crate::durable_store_conformance!(Sqlite::new());
crate::durable_key_conformance!(Sqlite::new());
