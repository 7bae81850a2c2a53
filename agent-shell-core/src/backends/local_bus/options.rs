//! The settings of a bus, each with its unit.

use serde::{Deserialize, Serialize};

/// How much a [`LocalBus`](super::LocalBus) holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct LocalBusOptions {
    /// Topics, at most.
    pub topics: usize,
    /// Partitions of each topic.
    pub partitions: u32,
    /// Groups of one topic, at most.
    pub groups: usize,
    /// Messages that one topic holds at most.
    pub messages: usize,
    /// Bytes of keys and payloads that one topic holds at most.
    pub bytes: usize,
    /// Messages that one call brings at most.
    pub batch_messages: usize,
}

impl Default for LocalBusOptions {
    fn default() -> Self {
        Self {
            topics: 64,
            partitions: 8,
            groups: 64,
            messages: 16_384,
            bytes: 64 << 20,
            batch_messages: 1024,
        }
    }
}
