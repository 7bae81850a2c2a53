//! Hand-offs: a turn that names no planner is planned by whom the session was handed to last.

use agent_shell_core::data::{Body, PlannerRef};

use super::Log;
use crate::crash::control::turn::Submission;
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
                let names = Submission::draw(seed, key).names;
                let expected = if names { PLANNER } else { &handed_to };
                if !matches!(&**planner, PlannerRef::Named(named) if named.as_str() == expected) {
                    let what = format!("turn {turn} ({key}): is planned by {planner:?}, not by `{expected}`");
                    verdict.say(Rule::HandOff, what);
                }
            }
            _ => {}
        }
    }
}
