//! The pure machine: what a session's records add up to, what follows from an event, and what is owed next.
//!
//! `(state, event) -> records` and `(state, live) -> records and commands`. It has no clock, does no I/O, starts
//! nothing and calls no code of a host: the answers of tools, planners and approvers come to it as events. What is
//! owed follows from the folded records alone, so a process that takes a session over goes on where the last one
//! was, without replaying anybody's code.

mod attempt;
mod children;
mod context;
mod event;
mod fold;
mod forked;
mod guarded;
mod identity;
mod interrupted;
mod labels;
mod latency;
mod mail;
mod optimistic;
mod origins;
mod owed;
mod planned;
mod resolve;
mod start;
mod state;
mod steer;
mod talk;
#[cfg(test)]
mod tests;
mod transition;
mod undo;
mod withheld;

pub use children::{Child, Parcel, parcels};
pub use event::{AttemptEnd, Command, Env, Event, Live, PlanAnswer, react};
pub use fold::{Entry, FOLD_VERSION, FoldError, fold};
pub(crate) use forked::{Copied, ForkedAt, carried, copied, doubts, recall};
pub use forked::{Forked, RecordedCall, RecordedCalls, RecordedEnd};
pub use interrupted::is_suspect;
pub use latency::Latency;
pub use origins::{Origin, Source};
pub use owed::{Owed, next_wake, owed, status};
pub(crate) use resolve::{MOST_LEVELS_OF_A_PLAN, json_bytes, too_large};
pub use state::{Ending, Folded, Phase, RuledOn, Steer, StepState, TurnState};
pub use talk::{Kept, Talk};
pub use transition::{Stage, TRANSITIONS, Transition};
pub(crate) use withheld::{call_made, is_replayed};
