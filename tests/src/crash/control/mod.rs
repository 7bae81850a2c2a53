//! Sessions with whose turns people meddle: they are steered, interrupted, cancelled and handed over, and expire; guards
//! rule on their calls; what they applied can be undone. What comes of a turn depends on when all that happens, so nobody
//! works it out: the judge knows the promises alone.

mod guard;
mod planner;
pub(super) mod tools;
pub(super) mod turn;

pub(super) use guard::Keeper;
pub(super) use planner::Controlled;

/// The planner of turns that name it.
pub(super) const PLANNER: &str = "controlled";
/// The planners of turns that name none: a session is handed from one to the other.
pub(super) const DEFAULTS: [&str; 2] = ["default", "other"];
