//! The conformance suites on the volatile stores.

#![cfg(feature = "conformance")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{VolatileKeys, VolatileStore};
use crate::conformance::{KeyFixture, StoreFixture, TestClock};
use crate::ports::{KeyStore, Store};

#[derive(Default)]
struct Volatile(TestClock);

#[async_trait]
impl StoreFixture for Volatile {
    async fn store(&self) -> Store {
        VolatileStore::store(Arc::new(self.0.clone()))
    }

    async fn reopen(&self, _: Store) -> Option<Store> {
        None
    }

    async fn advance(&self, time: Duration) {
        self.0.advance(time);
    }
}

#[async_trait]
impl KeyFixture for Volatile {
    async fn keys(&self) -> Arc<dyn KeyStore> {
        Arc::new(VolatileKeys::new())
    }

    async fn reopen(&self, _: Arc<dyn KeyStore>) -> Option<Arc<dyn KeyStore>> {
        None
    }
}

crate::store_conformance!(Volatile::default());
crate::key_conformance!(Volatile::default());
