//! Keys in memory.

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;

use async_trait::async_trait;

use super::lock;
use crate::data::{DataKey, KeyId};
use crate::ports::{KeyError, KeyStore};

/// A key store in memory: what was sealed under its keys can't be read once it is dropped.
#[derive(Default)]
pub struct VolatileKeys {
    /// A key, or the tombstone of one.
    keys: Mutex<HashMap<KeyId, Option<DataKey>>>,
}

impl VolatileKeys {
    /// An empty key store.
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl KeyStore for VolatileKeys {
    async fn create(&self, id: KeyId, fresh: DataKey) -> Result<DataKey, KeyError> {
        lock(&self.keys).entry(id).or_insert(Some(fresh)).clone().ok_or(KeyError::Destroyed)
    }

    async fn fetch(&self, id: KeyId) -> Result<DataKey, KeyError> {
        match lock(&self.keys).get(&id) {
            Some(Some(key)) => Ok(key.clone()),
            Some(None) => Err(KeyError::Destroyed),
            None => Err(KeyError::Lost),
        }
    }

    async fn destroy(&self, id: KeyId) -> Result<(), KeyError> {
        lock(&self.keys).insert(id, None);
        Ok(())
    }
}

impl fmt::Debug for VolatileKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VolatileKeys(..)")
    }
}
