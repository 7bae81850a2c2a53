//! The front door: shells on the ports that come with this crate.

use std::sync::Arc;

use crate::backends::planners::ToolLoop;
use crate::backends::volatile::{VolatileKeys, VolatileStore};
use crate::backends::{SystemClock, SystemEntropy, TokioSpawn};
use crate::ports::{KeyStore, Planner, Store};
use crate::runtime::{Ports, Shell, ShellBuilder};
use crate::words::{Error, ErrorKind, Result};

impl Shell {
    /// A shell on an embedded journal: one SQLite file at `path`, made if it is not there, with its keys in a file of
    /// their own beside it (`path` with `.keys` after it). Needs no server. Several processes of one machine may open
    /// the same file.
    ///
    /// Opening the builder fails with [`ErrorKind::InvalidInput`] when the folder in which the file should lie is not
    /// there, when the path is itself a folder, or when another program made the file, with
    /// [`ErrorKind::Unsupported`] when a newer version did, or when it lies on a network file system, with
    /// [`ErrorKind::Corrupt`] when it is damaged; else with [`ErrorKind::Unavailable`].
    #[cfg(feature = "sqlite")]
    pub fn at(path: impl AsRef<std::path::Path>) -> ShellBuilder {
        use crate::backends::sqlite::{SqliteKeys, SqliteOptions, SqliteStore};
        use crate::words::Clock;

        let path = path.as_ref().to_owned();
        on_ports(async move {
            let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
            let options = SqliteOptions::default();
            // The store first: what is wrong with a path is then told of the path that the host has named, and no key
            // file is made beside what is no journal.
            let store = SqliteStore::store(&path, options.clone(), clock.clone()).await?;
            let keys = SqliteKeys::open(SqliteKeys::path_beside(&path), options, clock).await?;
            system_ports(store, Arc::new(keys))
        })
    }

    /// A shell whose journal lives in the memory of this process, for tests: nothing survives the process.
    pub fn volatile() -> ShellBuilder {
        Self::on(VolatileStore::store(Arc::new(SystemClock::new())), Arc::new(VolatileKeys::new()))
    }

    /// A shell on a store and a key store of the host's own, with the operating system's clock and randomness, and
    /// Tokio's tasks.
    pub fn on(store: Store, keys: Arc<dyn KeyStore>) -> ShellBuilder {
        on_ports(async move { system_ports(store, keys) })
    }
}

/// A shell on these ports, with what the front door adds to every shell.
pub(crate) fn on_ports(ports: impl Future<Output = Result<Ports>> + Send + 'static) -> ShellBuilder {
    ShellBuilder::new(ports).fallback_planner(loop_of_models)
}

fn system_ports(store: Store, keys: Arc<dyn KeyStore>) -> Result<Ports> {
    let spawn = TokioSpawn::current().ok_or_else(|| {
        Error::new(ErrorKind::Unsupported, "a shell runs on Tokio: open it inside a Tokio runtime")
    })?;
    Ok(Ports {
        store,
        keys,
        clock: Arc::new(SystemClock::new()),
        entropy: Arc::new(SystemEntropy::new()),
        spawn: Arc::new(spawn),
    })
}

/// Who plans when the host gives a model and no planner.
fn loop_of_models() -> Arc<dyn Planner> {
    Arc::new(ToolLoop::new())
}
