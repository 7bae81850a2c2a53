//! The simulation: several owners, each a whole shell, on one store in simulated time. What each seed draws goes wrong:
//! processes die between any two polls, stand still for longer than their lease, and lose answers; the store is slow,
//! refuses, forgets to answer; tools and probes fail, hang, panic and act late; wall clocks jump. After every event the
//! promises that apply are checked (`truth`), against the records that are in the store and against the world that the
//! tools act on. At last nothing goes wrong any more, and everything must come to its end.
//!
//! One seed is one run: its journals are the same bytes every time. What a turn does is drawn by `work`, partly from the
//! crash harness's scenarios, whose outcome is known without the runtime.

mod budgets;
mod bugs;
mod bugs_budgets;
mod bugs_children;
mod bugs_events;
mod bugs_guards;
mod bugs_talk;
mod bugs_undo;
mod command;
mod coverage;
mod events;
mod following;
mod guarding;
mod heeding;
mod host;
mod model;
mod nested;
mod planner;
mod report;
mod rule;
mod run;
mod settings;
mod sights;
mod steering;
mod talking;
mod tools;
mod truth;
mod undoing;
mod watched;
mod watched_budgets;
mod watched_events;
mod work;

pub use bugs::Bug;
pub use command::run as run_program;
pub use coverage::{Coverage, WorldFault};
pub use rule::{Breach, Rule};
pub use run::{Outcome, simulate};
pub use sights::Sight;
