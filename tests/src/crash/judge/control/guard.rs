//! Guards: each place of a step is ruled on once, before anything comes of it, and what was ruled is what is done.

use agent_shell_core::FailureCode;
use agent_shell_core::data::canonical::canonical_digest;
use agent_shell_core::data::{Action, Body, GuardPlace, Verdict as Ruled, WaitEnd, WaitFor};
use agent_shell_core::runtime::HistoryEntry;
use agent_shell_core::words::StepId;
use serde_json::Value;

use super::Acts;
use super::turn::Turn;
use crate::crash::judge::{Rule, Verdict};

/// A ruling on a step.
struct Ruling<'a> {
    entry: &'a HistoryEntry,
    denies: bool,
    asks: bool,
    /// What it put in the place of what was ruled on.
    value: Option<Value>,
    digest: agent_shell_core::words::Digest,
}

/// Whether a guard asks for an approval of a step's call.
pub(super) fn asks(entries: &[HistoryEntry]) -> bool {
    rulings(entries.iter(), GuardPlace::BeforeTool).any(|ruling| ruling.asks)
}

fn rulings<'a>(
    entries: impl Iterator<Item = &'a HistoryEntry>,
    at: GuardPlace,
) -> impl Iterator<Item = Ruling<'a>> {
    entries.filter_map(move |entry| match &entry.body {
        Body::GuardRuled { place, digest, rulings, value, .. } if *place == at => Some(Ruling {
            entry,
            denies: rulings.iter().any(|ruling| matches!(ruling.verdict, Ruled::Denied | Ruled::Failed)),
            asks: rulings.iter().any(|ruling| ruling.verdict == Ruled::Asked),
            value: value.as_ref().map(|value| (*value.value()).clone()),
            digest: *digest,
        }),
        _ => None,
    })
}

pub(super) fn check(turn: &Turn, acts: &Acts<'_>, verdict: &mut Verdict) {
    for planned in &turn.steps {
        let Action::Tool { .. } = planned.step.action else { continue };
        let (step, mut found) = (&planned.step.id, Vec::new());
        let before = only(turn, step, GuardPlace::BeforeTool, &mut found);
        let after = only(turn, step, GuardPlace::AfterTool, &mut found);
        before_call(turn, step, before.as_ref(), acts, &mut found);
        after_call(turn, step, after.as_ref(), &mut found);
        for ruling in before.iter().chain(&after) {
            verdict.counts.rulings += 1;
            verdict.counts.ruled_denied += u64::from(ruling.denies);
            verdict.counts.ruled_asked += u64::from(ruling.asks);
            verdict.counts.ruled_rewritten += u64::from(ruling.value.is_some());
        }
        for problem in found {
            verdict.say(Rule::Guard, format!("turn {} step {step}: {problem}", turn.id));
        }
    }
    for undoing in &turn.undoing {
        let ruled = |entry: &HistoryEntry| matches!(entry.body, Body::GuardRuled { .. });
        if turn.of_step(&undoing.id).any(ruled) {
            verdict.say(Rule::Guard, format!("turn {} step {}: guards ruled on it", turn.id, undoing.id));
        }
    }
}

/// The ruling on a step in a place. Its input is fixed, so there is no second one.
fn only<'a>(turn: &'a Turn, step: &'a StepId, at: GuardPlace, found: &mut Vec<String>) -> Option<Ruling<'a>> {
    let mut all = rulings(turn.of_step(step), at);
    let (first, more) = (all.next(), all.count());
    if more > 0 {
        found.push(format!("guards ruled {} times {at:?}", more + 1));
    }
    first
}

/// What is called is what was ruled on, or what was put in its place; nothing is called that was denied, or that nobody has
/// approved.
fn before_call(
    turn: &Turn,
    step: &StepId,
    ruling: Option<&Ruling<'_>>,
    acts: &Acts<'_>,
    found: &mut Vec<String>,
) {
    let begins = |entry: &&HistoryEntry| matches!(entry.body, Body::StepStarted { .. });
    let first = turn.of_step(step).find(begins).map(|entry| entry.seq);
    let done = acts.step(turn.id, step);
    let Some(ruling) = ruling else {
        if first.is_some() || turn.took_effect(step).is_some() {
            found.push("was called, and no guard had ruled".into());
        }
        return;
    };
    if first.is_some_and(|first| first < ruling.entry.seq) {
        found.push("began before guards ruled".into());
    }
    if ruling.denies {
        if first.is_some() || done.is_some_and(|done| done.calls > 0) {
            found.push("was called, and a guard had denied it".into());
        }
        let code = turn.of_step(step).find_map(|entry| match &entry.body {
            Body::StepFailed { failure, .. } => Some(failure.code),
            _ => None,
        });
        if !matches!(code, None | Some(FailureCode::Guard | FailureCode::Superseded)) {
            found.push(format!("was denied by a guard, and failed as {code:?}"));
        }
    }
    let fits = |input: &Value| match &ruling.value {
        Some(value) => value == input,
        None => canonical_digest(input).is_ok_and(|digest| digest == ruling.digest),
    };
    let fixed = turn.fixed(step).map(|(input, _)| input);
    let acted = done.into_iter().flat_map(|done| &done.applications);
    let acted = acted.filter_map(|application| application.payload.get("input").cloned());
    for input in fixed.into_iter().chain(acted) {
        if !fits(&input) {
            let put = &ruling.value;
            found.push(format!(
                "was called with {input}, on which nobody ruled; put in its place was {put:?}"
            ));
        }
    }
    approvals(turn, step, ruling, &fits, found);
}

/// An approval is asked for where a guard asks, of exactly what was ruled on.
fn approvals(
    turn: &Turn,
    step: &StepId,
    ruling: &Ruling<'_>,
    fits: &dyn Fn(&Value) -> bool,
    found: &mut Vec<String>,
) {
    let mut approved = false;
    for entry in turn.of_step(step) {
        match &entry.body {
            Body::WaitOpened { wait: WaitFor::Approval { shown, .. }, .. } => {
                if !ruling.asks {
                    found.push("waits for an approval for which nobody asks".into());
                }
                if !fits(&shown.value()) {
                    found.push(format!("shows {} for approval, on which nobody ruled", shown.value()));
                }
            }
            Body::WaitEnded { end: WaitEnd::Approved, .. } => approved = true,
            Body::StepStarted { .. } if ruling.asks && !approved => {
                found.push("was called, and nobody had approved".into());
            }
            _ => {}
        }
    }
}

/// What guards left of a result is the step's output.
fn after_call(turn: &Turn, step: &StepId, ruling: Option<&Ruling<'_>>, found: &mut Vec<String>) {
    let returned = turn.of_step(step).find_map(|entry| match &entry.body {
        Body::StepReturned { output, .. } => Some((*output.value()).clone()),
        _ => None,
    });
    let succeeded = turn.of_step(step).find_map(|entry| match &entry.body {
        Body::StepSucceeded { output, .. } => Some((entry.seq, (*output.value()).clone())),
        _ => None,
    });
    let Some((seq, output)) = succeeded else { return };
    let (Some(ruling), Some(returned)) = (ruling, returned) else {
        return found.push("succeeded, and no guard had ruled on what it brought".into());
    };
    if ruling.entry.seq > seq {
        found.push("succeeded before guards ruled on what it brought".into());
    }
    let fits = match (&ruling.value, ruling.denies) {
        (_, true) => turn.acts(step) && output.get("withheld").is_some(),
        (Some(value), false) => output == *value,
        (None, false) => output == returned,
    };
    if !fits {
        found.push(format!("has the output {output}, and guards left {:?} of {returned}", ruling.value));
    }
}
