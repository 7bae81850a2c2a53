//! A durable agent runtime to embed in a host application.

pub mod backends;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod data;
pub mod ports;
pub mod words;

pub use ports::{Call, Tool, ToolError};
