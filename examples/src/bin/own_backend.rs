//! A backend of one's own, here a key store, and its proof by the suite that the built-in key stores pass.
//! A `Store` is proved alike, with a `StoreFixture` and `check_store`; what outlives its process passes the durable
//! suites, too. In a crate of backends, `durable_key_conformance!(fixture)` makes a test of each property.
use std::{collections::HashMap, sync::Arc};

use agent_shell_core::conformance::{KeyFixture, check_keys, key_suite, run};
use agent_shell_core::{data::DataKey, data::KeyId, ports::KeyError, ports::KeyStore};

/// The keys, and the tombstones of those that were destroyed.
#[derive(Default)]
struct OwnKeys(tokio::sync::Mutex<HashMap<KeyId, Option<DataKey>>>);

#[async_trait::async_trait]
impl KeyStore for OwnKeys {
    async fn create(&self, id: KeyId, fresh: DataKey) -> Result<DataKey, KeyError> {
        self.0.lock().await.entry(id).or_insert(Some(fresh)).clone().ok_or(KeyError::Destroyed)
    }
    async fn fetch(&self, id: KeyId) -> Result<DataKey, KeyError> {
        self.0.lock().await.get(&id).cloned().ok_or(KeyError::Lost)?.ok_or(KeyError::Destroyed)
    }
    async fn destroy(&self, id: KeyId) -> Result<(), KeyError> {
        self.0.lock().await.insert(id, None);
        Ok(())
    }
}

#[async_trait::async_trait]
impl KeyFixture for OwnKeys {
    async fn keys(&self) -> Arc<dyn KeyStore> {
        Arc::new(Self::default())
    }
    async fn reopen(&self, _last_handle: Arc<dyn KeyStore>) -> Option<Arc<dyn KeyStore>> {
        None // A durable one opens its data again here.
    }
}

fn main() {
    run(async { check_keys(&OwnKeys::default()).await }); // It panics, and says what a backend must do.
    key_suite().iter().for_each(|(property, _)| println!("proved: {property}"));
}
