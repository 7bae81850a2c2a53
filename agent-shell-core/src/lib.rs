//! A durable agent runtime to embed in a host application.

pub mod backends;
pub mod data;
pub mod ports;
pub mod words;

pub use ports::{Call, Tool, ToolError};
