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
    /// [`KeyError::Destroyed`] when there was one, [`KeyError::Unavailable`] when it can't be told.
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
    /// [`KeyError::Unavailable`].
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
    /// The key store can't be asked now.
    #[error("the key store is not available: try again ({detail})")]
    Unavailable {
        /// What it said.
        detail: String,
    },
}
