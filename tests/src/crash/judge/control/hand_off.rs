//! Hand-offs: a turn that names no planner is planned by whom the session was handed to last.

use agent_shell_core::data::{Body, PlannerRef};

use super::Log;
use crate::crash::control::turn::{Meets, Submission};
use crate::crash::control::{DEFAULTS, PLANNER};
use crate::crash::judge::{Rule, Verdict};
use crate::crash::scenario::TurnKey;

pub(super) fn check(seed: u64, log: &Log, verdict: &mut Verdict) {
    let mut handed_to = DEFAULTS[0].to_owned();
    for entry in &log.entries {
        match &entry.body {
            Body::SessionHandedOff { planner, .. } => {
                handed_to = planner.to_string();
                verdict.counts.handed_off += 1;
            }
            Body::TurnStarted { turn, input, planner, .. } => {
                let Ok(key) = serde_json::from_value::<TurnKey>((*input.value()).clone()) else { continue };
                let submission = Submission::draw(seed, key);
                let expected = match submission {
                    Submission { names: true, .. } => PLANNER,
                    // What is said to a turn keeps the planner that it was posted for.
                    Submission { meets: Meets::Steers | Meets::Interrupts, .. } => DEFAULTS[0],
                    Submission { .. } => &handed_to,
                };
                if !matches!(&**planner, PlannerRef::Named(named) if named.as_str() == expected) {
                    let what = format!("turn {turn} ({key}): is planned by {planner:?}, not by `{expected}`");
                    verdict.say(Rule::HandOff, what);
                }
            }
            _ => {}
        }
    }
}
