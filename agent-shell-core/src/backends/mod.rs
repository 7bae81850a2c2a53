//! The backends that come with this crate: what the operating system gives, stores that need no server, models that need
//! no vendor, planners, guards, and roles.

pub mod guards;
pub mod local_bus;
pub mod models;
pub mod planners;
pub mod roles;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod system;
pub mod volatile;

pub use system::{SystemClock, SystemEntropy, TokioSpawn};
