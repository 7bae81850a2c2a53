//! Scorers that are ready to use.

mod calls;
mod judge;
mod text;
mod within;

pub use calls::Calls;
pub use judge::Judge;
pub use text::{Contains, Exact, MatchesSchema, PointerEquals};
pub use within::Within;
