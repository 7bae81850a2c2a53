//! The key store: the keys without which nothing can be read.

use async_trait::async_trait;

use crate::data::{DataKey, KeyId};

/// Keeps data keys apart from the data. Destroying a key is how a subject is forgotten.
///
/// # What an implementation must do
/// - **Durable on return**: a key that `create` returned is still there after a loss of power.
/// - **Atomic**: concurrent `create` calls for one id all return the same key.
/// - **Final**: after `destroy` returned, no call returns the key, its bytes are in no file of the store, and a
///   tombstone without them stays. `create` does not bring it back.
/// - It tells a key that was destroyed from one that is missing and from a store that can't be asked.
#[async_trait]
pub trait KeyStore: Send + Sync + 'static {
    /// The key with this id, made from `fresh` if there is none yet.
    ///
    /// # Errors
    /// [`KeyError::Destroyed`] when there was one; else why it can't be told.
    ///
    /// # Cancel safety
    /// Dropping the future may leave the key created.
    async fn create(&self, id: KeyId, fresh: DataKey) -> Result<DataKey, KeyError>;

    /// The key with this id.
    ///
    /// # Errors
    /// [`KeyError`].
    ///
    /// # Cancel safety
    /// Reading has no effect.
    async fn fetch(&self, id: KeyId) -> Result<DataKey, KeyError>;

    /// Erases the key for good. Doing it again, or for an id that never was, leaves the tombstone too.
    ///
    /// # Errors
    /// Why it can't be done: never [`KeyError::Destroyed`] or [`KeyError::Lost`].
    ///
    /// # Cancel safety
    /// Dropping the future does not withdraw the destruction.
    async fn destroy(&self, id: KeyId) -> Result<(), KeyError>;
}

/// Why there is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// It was destroyed: what it sealed is purged.
    #[error("the key was destroyed: what it sealed is gone for good")]
    Destroyed,
    /// It is missing, and was never destroyed: the key store must be restored. This is not a purge.
    #[error("the key is missing and was never destroyed: restore the key store that belongs to this journal")]
    Lost,
    /// What the key store holds is damaged: restore it. This is not a purge.
    #[error("the key store is damaged: restore the one that belongs to this journal ({detail})")]
    Corrupt {
        /// Where.
        detail: String,
    },
    /// The disk failed under the key store. This handle accepts nothing more; the process should stop.
    #[error("the disk failed under the key store: restart the process ({detail})")]
    Poisoned {
        /// What failed.
        detail: String,
    },
    /// The key store can't be asked now.
    #[error("the key store is not available: try again ({detail})")]
    Unavailable {
        /// What it said.
        detail: String,
    },
}
