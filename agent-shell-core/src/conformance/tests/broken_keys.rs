//! A key store that is as wrong as it is told to be.

use std::collections::HashMap;
use std::sync::Mutex;

use async_trait::async_trait;

use crate::data::{DataKey, KeyId};
use crate::ports::{KeyError, KeyStore};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyFault {
    NothingIsKept,
    KeysAreReplaced,
    CallersGetTheirOwn,
    AMissingKeyIsDestroyed,
    ADestroyedKeyIsLost,
    DestructionLeavesNoTombstone,
    DestructionNeedsAKey,
    DestructionHidesTheBytes,
    DestructionTakesAll,
    AReopeningLosesKeys,
    AReopeningLosesTombstones,
}

use KeyFault::*;

/// Which properties must fail on which fault.
pub(super) const FAULTS: &[(KeyFault, &[&str])] = &[
    (NothingIsKept, &["a_key_is_kept", "a_key_is_made_once_under_concurrent_callers"]),
    (KeysAreReplaced, &["a_key_is_made_once", "keys_outlive_a_reopening"]),
    (CallersGetTheirOwn, &["a_key_is_made_once", "a_key_is_made_once_under_concurrent_callers"]),
    (AMissingKeyIsDestroyed, &["a_missing_key_is_lost_not_destroyed"]),
    (ADestroyedKeyIsLost, &["a_destroyed_key_is_gone_for_good"]),
    (DestructionLeavesNoTombstone, &["a_destroyed_key_is_gone_for_good", "a_tombstone_needs_no_key"]),
    (DestructionNeedsAKey, &["a_tombstone_needs_no_key", "tombstones_outlive_a_reopening"]),
    (DestructionHidesTheBytes, &["a_destroyed_key_leaves_no_bytes"]),
    (DestructionTakesAll, &["a_destroyed_key_is_gone_for_good"]),
    (AReopeningLosesKeys, &["keys_outlive_a_reopening", "a_destroyed_key_leaves_no_bytes"]),
    (AReopeningLosesTombstones, &["tombstones_outlive_a_reopening"]),
];

pub(super) struct BrokenKeys {
    fault: Option<KeyFault>,
    keys: Mutex<HashMap<KeyId, Option<DataKey>>>,
    hidden: Mutex<Vec<DataKey>>,
}

impl BrokenKeys {
    pub(super) fn new(fault: Option<KeyFault>) -> Self {
        Self { fault, keys: Mutex::default(), hidden: Mutex::default() }
    }

    pub(super) fn reopen(&self) {
        match self.fault {
            Some(AReopeningLosesKeys) => self.keys.lock().unwrap().clear(),
            Some(AReopeningLosesTombstones) => self.keys.lock().unwrap().retain(|_, key| key.is_some()),
            _ => {}
        }
    }

    pub(super) fn holds(&self, bytes: &[u8; 32]) -> bool {
        let keys = self.keys.lock().unwrap();
        let hidden = self.hidden.lock().unwrap();
        keys.values().flatten().chain(&*hidden).any(|key| key.expose() == bytes)
    }
}

#[async_trait]
impl KeyStore for BrokenKeys {
    async fn create(&self, id: KeyId, fresh: DataKey) -> Result<DataKey, KeyError> {
        let mut keys = self.keys.lock().unwrap();
        match self.fault {
            Some(NothingIsKept) => return Ok(fresh),
            Some(KeysAreReplaced) if !matches!(keys.get(&id), Some(None)) => {
                keys.insert(id, Some(fresh.clone()));
            }
            Some(CallersGetTheirOwn) => {
                keys.entry(id).or_insert(Some(fresh.clone()));
                return Ok(fresh);
            }
            _ => {}
        }
        keys.entry(id).or_insert(Some(fresh)).clone().ok_or(KeyError::Destroyed)
    }

    async fn fetch(&self, id: KeyId) -> Result<DataKey, KeyError> {
        match (self.keys.lock().unwrap().get(&id), self.fault) {
            (Some(Some(key)), _) => Ok(key.clone()),
            (Some(None), Some(ADestroyedKeyIsLost)) => Err(KeyError::Lost),
            (None, Some(AMissingKeyIsDestroyed)) | (Some(None), _) => Err(KeyError::Destroyed),
            (None, _) => Err(KeyError::Lost),
        }
    }

    async fn destroy(&self, id: KeyId) -> Result<(), KeyError> {
        let mut keys = self.keys.lock().unwrap();
        let key = keys.get(&id).cloned().flatten();
        match self.fault {
            Some(DestructionLeavesNoTombstone) => drop(keys.remove(&id)),
            Some(DestructionNeedsAKey) if key.is_none() => {}
            Some(DestructionTakesAll) => keys.values_mut().for_each(|key| *key = None),
            Some(DestructionHidesTheBytes) => {
                self.hidden.lock().unwrap().extend(key);
                keys.insert(id, None);
            }
            _ => drop(keys.insert(id, None)),
        }
        Ok(())
    }
}
