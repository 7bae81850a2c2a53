//! The backends that come with this crate: what the operating system gives, and stores that need no server.

pub mod local_bus;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod system;
pub mod volatile;

pub use system::{SystemClock, SystemEntropy, TokioSpawn};
