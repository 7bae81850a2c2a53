//! What the recorder says against the runtime, and the one thing that it may say: an irreversible act of a process that
//! was stopped between its last look at the clock and the act, and then went on (docs/GUARANTEES.md, "What may still
//! happen late").

use super::{Rule, Verdict};
use crate::crash::harness::{LATENESS, Run};
use crate::recorder::{self, Application, Audit, Class, StepAudit};

pub(super) fn check(run: &Run, audit: &Audit, verdict: &mut Verdict) {
    for violation in audit.violations() {
        let excused = match &violation {
            recorder::Violation::AppliedAgain { step, class: Class::Irreversible, .. } if run.stops => {
                audit.step(step).is_some_and(|done| in_time(done) <= 1 && once_an_attempt(done))
            }
            _ => false,
        };
        if !excused {
            verdict.say(rule_of(&violation), format!("the recorder: {violation}"));
        }
    }
    for done in audit.steps().values() {
        verdict.counts.late += done.applications.len() as u64 - in_time(done);
    }
}

/// How often the effect came when it still might. What came later came after anybody was told that it would not.
pub(super) fn in_time(done: &StepAudit) -> u64 {
    done.applications.iter().filter(|application| !is_late(application)).count() as u64
}

pub(super) fn is_late(application: &Application) -> bool {
    let lateness = u64::try_from(LATENESS.as_millis()).unwrap_or(u64::MAX);
    let deadline = application.payload.get("deadline_ms").and_then(serde_json::Value::as_u64);
    deadline.is_some_and(|deadline| application.at_ms > deadline + lateness)
}

/// Each attempt acts at most once, however late.
fn once_an_attempt(done: &StepAudit) -> bool {
    let attempts: std::collections::BTreeSet<u64> =
        done.applications.iter().map(|application| application.attempt).collect();
    attempts.len() == done.applications.len()
}

fn rule_of(violation: &recorder::Violation) -> Rule {
    match violation {
        recorder::Violation::ManyKeys { .. } | recorder::Violation::SharedKey { .. } => Rule::Key,
        _ => Rule::Effect,
    }
}
