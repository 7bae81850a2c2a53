//! The suites with which a backend proves that it keeps the contract of a port. Each property is a function that
//! panics where the backend breaks it, and says what a backend must do.
//!
//! A backend's author writes a fixture and one line, and gets one test for each property, under its name:
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use agent_shell_core::{backends::volatile::VolatileStore, ports::Store};
//! use agent_shell_core::conformance::{StoreFixture, TestClock};
//!
//! #[derive(Default)]
//! struct Volatile(TestClock);
//!
//! #[async_trait::async_trait]
//! impl StoreFixture for Volatile {
//!     async fn store(&self) -> Store {
//!         VolatileStore::store(Arc::new(self.0.clone()))
//!     }
//!     async fn reopen(&self, _: Store) -> Option<Store> {
//!         None // What is in memory can't be opened again; a durable backend returns its data here.
//!     }
//!     async fn advance(&self, time: Duration) {
//!         self.0.advance(time);
//!     }
//! }
//!
//! agent_shell_core::store_conformance!(Volatile::default());
//! # agent_shell_core::conformance::run(async {
//! agent_shell_core::conformance::check_store(&Volatile::default()).await;
//! # });
//! ```
//!
//! In a crate of its own that takes a test dependency with the feature, and `async-trait` for the ports:
//!
//! ```toml
//! [dependencies]
//! agent-shell-core = { version = "0.1", default-features = false }
//! async-trait = "0.1"
//!
//! [dev-dependencies]
//! agent-shell-core = { version = "0.1", default-features = false, features = ["conformance"] }
//! ```
//!
//! `durable_store_conformance!` asks for the same and for what must outlive a reopening; `key_conformance!` and
//! `durable_key_conformance!` are for key stores, `bus_conformance!` is for buses. Attributes before the fixture go to every test:
//! `store_conformance!(#[ignore = "needs a server"] Fixture)`.

pub mod append;
pub mod archive;
pub mod bus;
mod bus_scene;
pub mod claims;
mod clock;
pub mod concurrency;
pub mod dedupe;
pub mod durability;
pub mod duties;
pub mod fairness;
pub mod fencing;
pub mod idempotence;
pub mod keys;
pub mod leases;
pub mod ledger;
pub mod ledger_close;
pub mod ledger_order;
mod ledger_scene;
pub mod ledger_settle;
mod list;
pub mod listing;
pub mod mail;
pub mod marks;
pub mod outbox;
pub mod purge;
pub mod reading;
mod scene;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;

pub use clock::TestClock;
pub use list::{bus_suite, durable_key_suite, durable_store_suite, key_suite, store_suite};
pub use scene::{Scene, digest_of, post, tenant, unique};
pub use writer::Writer;

use crate::ports::{Bus, KeyStore, Store};
use crate::words::Timestamp;

/// How the suite gets at a backend's store.
#[async_trait]
pub trait StoreFixture: Send + Sync {
    /// A fresh, empty store.
    async fn store(&self) -> Store;

    /// Closes the store, of which this is the last handle, and opens the same data again. None where nothing
    /// outlives a closing.
    async fn reopen(&self, store: Store) -> Option<Store>;

    /// Lets so much of the leases' time pass.
    async fn advance(&self, time: Duration);

    /// How long the suite's leases last. A fixture whose `advance` really waits may shorten it; it must still be
    /// long enough that no lease runs out while the suite works.
    fn lease(&self) -> Duration {
        Duration::from_secs(10)
    }
}

/// How the suite gets at a backend's key store.
#[async_trait]
pub trait KeyFixture: Send + Sync {
    /// A fresh, empty key store.
    async fn keys(&self) -> Arc<dyn KeyStore>;

    /// Closes the key store, of which this is the last handle, and opens the same data again. None where nothing
    /// outlives a closing.
    async fn reopen(&self, keys: Arc<dyn KeyStore>) -> Option<Arc<dyn KeyStore>>;

    /// Whether these bytes stand, as the store writes them down, in any file of the store. None where that can't be
    /// searched.
    async fn holds(&self, _bytes: &[u8; 32]) -> Option<bool> {
        None
    }
}

/// How the suite gets at a bus.
#[async_trait]
pub trait BusFixture: Send + Sync {
    /// A bus on which the suite makes topics of its own. It has room for a thousand messages of a hundred bytes.
    async fn bus(&self) -> Arc<dyn Bus>;

    /// The wall time by which the bus measures lag.
    fn now(&self) -> Timestamp;

    /// How many messages of a few bytes fill a topic at most; none for a bus that does not fill.
    fn capacity(&self) -> Option<usize> {
        None
    }
}

/// A property of a bus: it panics where the bus breaks it.
pub type BusProperty = for<'a> fn(&'a dyn BusFixture) -> BoxFuture<'a, ()>;

/// A property of a store: it panics where the store breaks it.
pub type StoreProperty = for<'a> fn(&'a dyn StoreFixture) -> BoxFuture<'a, ()>;

/// A property of a key store: it panics where the key store breaks it.
pub type KeyProperty = for<'a> fn(&'a dyn KeyFixture) -> BoxFuture<'a, ()>;

/// Checks every property of [`store_suite`].
///
/// # Panics
/// When the backend breaks one; the property's name is printed before.
pub async fn check_store(fixture: &dyn StoreFixture) {
    for (name, property) in store_suite() {
        let announced = Announced(name);
        property(fixture).await;
        std::mem::forget(announced);
    }
}

/// Checks every property of [`key_suite`].
///
/// # Panics
/// When the backend breaks one; the property's name is printed before.
pub async fn check_keys(fixture: &dyn KeyFixture) {
    for (name, property) in key_suite() {
        let announced = Announced(name);
        property(fixture).await;
        std::mem::forget(announced);
    }
}

/// Checks every property of [`bus_suite`].
///
/// # Panics
/// When the bus breaks one; the property's name is printed before.
pub async fn check_bus(fixture: &dyn BusFixture) {
    for (name, property) in bus_suite() {
        let announced = Announced(name);
        property(fixture).await;
        std::mem::forget(announced);
    }
}

/// Prints the name of the property that panics.
struct Announced(&'static str);

impl Drop for Announced {
    fn drop(&mut self) {
        eprintln!("the backend does not keep the property `{}`", self.0);
    }
}

/// Runs one test on a runtime with several threads, so that what is concurrent really is.
///
/// # Panics
/// When the test does, or when no runtime can be built.
pub fn run(test: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(4).enable_all().build();
    runtime.expect("the system can start four threads").block_on(test);
}
