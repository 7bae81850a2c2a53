//! Undoing: what a turn applied that did not succeed is undone once, by a call that names it, in a reverse topological order
//! of the steps; what did not happen, or belongs to a turn that succeeded, is not.

use std::collections::BTreeSet;

use agent_shell_core::data::{Action, Body};
use agent_shell_core::words::{Seq, StepId};

use super::turn::{Planned, StepEnd, Turn, Undoing};
use super::{Acts, acts};
use crate::crash::judge::{Rule, Verdict};

pub(super) fn check(turn: &Turn, acts: &Acts<'_>, verdict: &mut Verdict) {
    let Some(end) = turn.end() else { return };
    let mut found = Vec::new();
    if turn.has_failed() {
        for step in happened(turn) {
            match turn.undoing.iter().filter(|undoing| undoing.of == *step).count() {
                1 => {}
                0 => found.push(format!("step {step} happened, and was not undone")),
                times => found.push(format!("step {step} was undone {times} times")),
            }
        }
        told(turn, &mut found);
        order(turn, acts, &mut found);
    } else if let Some(undoing) = turn.undoing.first() {
        found.push(format!("step {} is undone, and the turn ended as {:?}", undoing.of, end.outcome));
    }
    for undoing in &turn.undoing {
        if !happened(turn).contains(&undoing.of) {
            found.push(format!("step {} is undone, and did not happen", undoing.of));
        }
        named(turn, undoing, acts, &mut found);
    }
    verdict.counts.undone += end.undone.undone.len() as u64;
    verdict.counts.left += end.undone.left.len() as u64;
    for problem in found {
        verdict.say(Rule::Undo, format!("turn {}: {problem}", turn.id));
    }
}

/// The steps that took effect and that something can undo.
fn happened(turn: &Turn) -> BTreeSet<&StepId> {
    let can_be_undone = |step: &StepId| match &turn.planned(step).map(|planned| &planned.step.action) {
        Some(Action::Tool { .. }) => {
            turn.acts(step) && turn.terms_of(step).is_some_and(|terms| terms.compensation.is_some())
        }
        Some(Action::Child(_)) => {
            turn.of_step(step).any(|entry| matches!(entry.body, Body::ChildEnded { waits: true, .. }))
        }
        _ => false,
    };
    let steps = turn.steps.iter().map(|planned| &planned.step.id);
    steps.filter(|step| turn.took_effect(step).is_some() && can_be_undone(step)).collect()
}

/// Whether a step did anything that stays as long as nothing undoes it.
fn applied(turn: &Turn, step: &StepId) -> bool {
    match turn.planned(step).map(|planned| &planned.step.action) {
        Some(Action::Child(_)) => {
            let told = |body: &Body| matches!(body, Body::ChildEnded { applied: true, .. });
            turn.of_step(step).any(|entry| told(&entry.body))
        }
        _ => turn.acts(step) && turn.took_effect(step).is_some(),
    }
}

/// The record of the end names what was undone, in that order, and what stays applied.
fn told(turn: &Turn, found: &mut Vec<String>) {
    let Some(end) = turn.end() else { return };
    let mut undone: Vec<(Seq, &StepId)> = Vec::new();
    for undoing in &turn.undoing {
        match turn.ends_of(&undoing.id).first() {
            Some((seq, StepEnd::Succeeded)) => undone.push((*seq, &undoing.of)),
            Some(_) => {}
            None => found.push(format!("the turn ended, and step {} did not", undoing.id)),
        }
    }
    undone.sort_unstable();
    let undone: Vec<&StepId> = undone.into_iter().map(|(_, step)| step).collect();
    if !end.undone.undone.iter().eq(undone.iter().copied()) {
        found.push(format!("says that {:?} was undone, and that was {undone:?}", end.undone.undone));
    }
    let steps = turn.steps.iter().map(|planned| &planned.step.id);
    let left: Vec<&StepId> = steps.filter(|step| applied(turn, step) && !undone.contains(step)).collect();
    if !end.undone.left.iter().eq(left.iter().copied()) {
        found.push(format!("says that {:?} stays applied, and that is {left:?}", end.undone.left));
    }
}

/// Nothing is undone while what came after it stands.
fn order(turn: &Turn, acts: &Acts<'_>, found: &mut Vec<String>) {
    let happened = happened(turn);
    for undoing in &turn.undoing {
        let after = after(turn, &undoing.of);
        for later in happened.iter().filter(|later| after.contains(**later)) {
            let mut say = |problem: &str| {
                found.push(format!(
                    "step {} is undone, and {later}, which came after it, {problem}",
                    undoing.of
                ));
            };
            if turn.took_effect(later).is_none_or(|seq| seq > undoing.planned) {
                say("took effect later");
            }
            let Some(other) = turn.undoing.iter().find(|other| other.of == **later) else { continue };
            if turn.ends_of(&other.id).first().is_none_or(|(seq, _)| *seq > undoing.planned) {
                say("stands");
            }
            let last = acts.in_time(turn, &other.id).max();
            let first = acts.in_time(turn, &undoing.id).min();
            if let (Some(last), Some(first)) = (last, first)
                && last > first
            {
                say("was undone after it in the world");
            }
        }
    }
}

/// The steps that came after one: those that depend on it, those of later rounds, and what was held back.
fn after<'a>(turn: &'a Turn, step: &StepId) -> BTreeSet<&'a StepId> {
    let Some(place) = turn.steps.iter().position(|planned| planned.step.id == *step) else {
        return BTreeSet::new();
    };
    let (of, mut after) = (&turn.steps[place], BTreeSet::new());
    let stage = |planned: &Planned, place: usize| match turn.is_held(planned) {
        true => (u32::MAX, place),
        false => (planned.round, 0),
    };
    // A step depends on earlier ones only by name: an order of the plan's own need not be one.
    loop {
        let before = after.len();
        for (other, planned) in turn.steps.iter().enumerate() {
            let depends = planned
                .step
                .dependencies()
                .into_iter()
                .any(|needed| needed == step || after.contains(needed));
            if depends || stage(planned, other) > stage(of, place) {
                after.insert(&planned.step.id);
            }
        }
        if after.len() == before {
            return after;
        }
    }
}

/// A compensation is called for the call that it undoes, also in the world.
fn named(turn: &Turn, undoing: &Undoing, acts: &Acts<'_>, found: &mut Vec<String>) {
    let Some(class) = acts::class(turn, &undoing.id) else { return };
    let Some((input, key)) = turn.fixed(&undoing.of) else { return };
    if let Some((undo, _)) = turn.fixed(&undoing.id)
        && (undo["key"] != key || undo["input"] != input)
    {
        found.push(format!("step {} was called with {undo}, and undoes {input} under {key}", undoing.id));
    }
    let done = acts.step(turn.id, &undoing.id);
    for application in done.into_iter().flat_map(|done| &done.applications) {
        if application.payload["undoes"] != key {
            let told = &application.payload;
            found.push(format!("step {} ({class:?}) told the world {told}, and undoes {key}", undoing.id));
        }
    }
}
