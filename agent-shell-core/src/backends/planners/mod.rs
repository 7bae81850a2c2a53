//! Planners that come with this crate: a model that calls tools until it has an answer, a model that plans a whole graph, and
//! how much of the conversation either is shown.

mod asking;
mod draft;
mod tool_loop;
mod whole;
mod window;

pub use tool_loop::ToolLoop;
pub use whole::PlanByModel;
pub use window::{Compaction, Window};
