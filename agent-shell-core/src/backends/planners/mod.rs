//! Planners that come with this crate: a model that calls tools until it has an answer, and how much of the conversation it
//! is shown.

mod tool_loop;
mod window;

pub use tool_loop::ToolLoop;
pub use window::{Compaction, Window};
