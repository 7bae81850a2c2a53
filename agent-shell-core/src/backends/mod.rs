//! The backends that come with this crate: what the operating system gives, and stores that need no server.

mod system;
pub mod volatile;

pub use system::{SystemClock, SystemEntropy, TokioSpawn};
