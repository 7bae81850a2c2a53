//! The backends that come with this crate: what the operating system gives, stores that need no server, and
//! models that need no vendor.

pub mod local_bus;
pub mod models;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod system;
pub mod volatile;

pub use system::{SystemClock, SystemEntropy, TokioSpawn};
