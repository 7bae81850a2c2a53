//! The settings of a store, each with its unit and a default that suits a server.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How a [`SqliteStore`](super::SqliteStore) uses its file, its threads and its queues.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct SqliteOptions {
    /// Writes that may wait for the writer. A caller beyond that waits until there is room, first come first served.
    pub queued_writes: usize,
    /// What the writes that wait may hold together, in bytes. A caller beyond that waits.
    pub queued_bytes: usize,
    /// Reads that may wait for the reader. A caller beyond that waits.
    pub queued_reads: usize,
    /// Writes that share one transaction, at most.
    pub group_writes: usize,
    /// What the writes of one transaction hold together, in bytes; one that is larger goes alone.
    pub group_bytes: usize,
    /// How long a write waits for other processes that write to the same file, in milliseconds.
    pub busy_timeout_ms: u32,
    /// Pages of the write-ahead log after which it is copied into the file.
    pub checkpoint_pages: u32,
    /// Page cache of each of the two connections, in KiB.
    pub cache_kib: u32,
    /// What leases are measured with.
    pub lease_time: LeaseTime,
    /// Opens the file on whatever file system it lies. Without it a file system of a network is refused, because
    /// its locks don't hold and its writes are not durable when it says so.
    pub any_file_system: bool,
}

/// What leases are measured with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LeaseTime {
    /// The machine's time since its boot, which all its processes share and which runs on while it sleeps.
    #[default]
    Boot,
    /// The monotonic time of the clock that the store is opened with: for simulations and tests, in which one
    /// process holds every handle.
    Clock,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            queued_writes: 4096,
            queued_bytes: 256 << 20,
            queued_reads: 1024,
            group_writes: 512,
            group_bytes: 16 << 20,
            busy_timeout_ms: 5_000,
            checkpoint_pages: 1_000,
            cache_kib: 16 << 10,
            lease_time: LeaseTime::Boot,
            any_file_system: false,
        }
    }
}

impl SqliteOptions {
    pub(super) fn busy_timeout(&self) -> Duration {
        Duration::from_millis(self.busy_timeout_ms.into())
    }
}
