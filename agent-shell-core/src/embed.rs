//! The front door: shells with the ports that come with this crate.

use std::sync::Arc;

use crate::backends::volatile::{VolatileKeys, VolatileStore};
use crate::backends::{SystemClock, SystemEntropy, TokioSpawn};
use crate::ports::{KeyStore, Store};
use crate::runtime::{Shell, ShellBuilder};

impl Shell {
    /// A shell on an embedded journal: one SQLite file at `path`, made if it is not there, with its keys in a file
    /// beside it (`path` with `.keys` after it). Needs no server. Several processes may open one file.
    ///
    /// # Errors
    /// [`Corrupt`](crate::words::ErrorKind::Corrupt) for a damaged file, [`Unsupported`](crate::words::ErrorKind::Unsupported)
    /// for one that another program or a newer version made, or on a network file system; else
    /// [`Unavailable`](crate::words::ErrorKind::Unavailable).
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    #[cfg(feature = "sqlite")]
    pub fn at(path: impl AsRef<std::path::Path>) -> crate::words::Result<ShellBuilder> {
        todo!()
    }

    /// A shell whose journal lives in this process's memory, for tests: nothing survives the process.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn volatile() -> ShellBuilder {
        let clock = Arc::new(SystemClock::new());
        Self::on(VolatileStore::store(clock), Arc::new(VolatileKeys::new()))
    }

    /// A shell on a store and a key store of the host's own, with the operating system's clock and randomness and
    /// Tokio's tasks.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn on(store: Store, keys: Arc<dyn KeyStore>) -> ShellBuilder {
        let clock = Arc::new(SystemClock::new());
        let spawn = Arc::new(TokioSpawn::current());
        ShellBuilder::new(store, keys, clock, Arc::new(SystemEntropy::new()), spawn)
    }
}
