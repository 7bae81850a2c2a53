//! What was done in the world by a turn with which people meddled: what its records say, once, and nothing else.

use std::collections::BTreeSet;

use agent_shell_core::data::Body;
use agent_shell_core::words::StepId;

use super::Acts;
use super::turn::Turn;
use crate::crash::judge::steps::{check_attempts, check_people};
use crate::crash::judge::{Rule, Verdict};
use crate::recorder::{Class, StepAudit};

/// What an attempt on record may be called with.
#[derive(Default)]
struct OnRecord {
    attempts: BTreeSet<u64>,
    epochs: BTreeSet<u64>,
    keys: BTreeSet<String>,
}

/// All calls that the recorder saw of a turn are on record, and what is on record was done.
pub(super) fn check(turn: &Turn, acts: &Acts<'_>, verdict: &mut Verdict) {
    for (name, done) in acts.of_turn(turn.id) {
        for (rule, problem) in begun(turn, name, done) {
            verdict.say(rule, format!("turn {} step {name}: {problem}", turn.id));
        }
    }
    let undoing = turn.undoing.iter().map(|undoing| &undoing.id);
    for step in turn.steps.iter().map(|planned| &planned.step.id).chain(undoing) {
        let mut found = Vec::new();
        let ends = turn.ends_of(step);
        if ends.len() > 1 {
            found.push((Rule::Step, format!("has {} ends: {ends:?}", ends.len())));
        }
        let entries: Vec<_> = turn.of_step(step).cloned().collect();
        if let Some(class) = class(turn, step) {
            let asked = super::guard::asks(&entries);
            check_attempts(class, asked, &entries, &mut found);
            found.extend(applied(turn, step, class, acts).map(|problem| (Rule::Effect, problem)));
            count(&entries, class, !ends.is_empty() && turn.took_effect(step).is_some(), verdict);
        }
        check_people(&entries, acts.people, &mut found);
        for (rule, problem) in found {
            verdict.say(rule, format!("turn {} step {step}: {problem}", turn.id));
        }
    }
}

/// What was called was begun on record.
fn begun(turn: &Turn, name: &str, done: &StepAudit) -> Vec<(Rule, String)> {
    let id = StepId::new(name).ok();
    let class = id.as_ref().and_then(|step| class(turn, step));
    let (Some(step), Some(class)) = (id, class) else {
        // A plan need not be durable before its pure calls: a process that dies in between leaves none of it.
        let is_pure = done.classes.iter().all(|class| *class == Class::Pure);
        return if is_pure { Vec::new() } else { vec![(Rule::Effect, "was called, and has no tool".into())] };
    };
    if class == Class::Pure {
        return Vec::new();
    }
    let mut on_record = OnRecord::default();
    for entry in turn.of_step(&step) {
        if let Body::StepStarted { attempt, key, .. } = &entry.body {
            on_record.attempts.insert(u64::from(*attempt));
            on_record.epochs.insert(entry.epoch.number());
            on_record.keys.insert(key.clone());
        }
    }
    let OnRecord { attempts, epochs, keys } = on_record;
    let mut found = Vec::new();
    if !done.attempts.is_subset(&attempts) || !done.epochs.is_subset(&epochs) {
        let acted = format!("attempts {:?} in epochs {:?}", done.attempts, done.epochs);
        found.push((
            Rule::Intent,
            format!("acted without an intent: {acted}, on record {attempts:?} in {epochs:?}"),
        ));
    }
    if !done.keys.is_subset(&keys) {
        found.push((Rule::Key, format!("acted under the keys {:?}, on record {keys:?}", done.keys)));
    }
    found
}

/// What was applied is on record, and what is on record was applied once.
fn applied(turn: &Turn, step: &StepId, class: Class, acts: &Acts<'_>) -> Option<String> {
    let done = acts.step(turn.id, step);
    let (calls, all) = done.map_or((0, 0), |done| (done.calls, done.applied));
    let times = done.map_or(0, |done| acts.times(class, done));
    let succeeded = turn.took_effect(step).is_some();
    let fits = match (class, succeeded) {
        (Class::Pure, true) => calls > 0,
        (Class::Pure, false) => true,
        (_, true) if turn.is_by_hand(step) => times == 0,
        // Found by an operator although it came late.
        (Class::Irreversible, true) if acts.stops && times == 0 => all > 0,
        (_, true) => times == 1,
        (_, false) => times == 0,
    };
    let says = if succeeded { "took effect" } else { "did not take effect" };
    (!fits).then(|| format!("{says} on record, and was called {calls} times and applied {times} times"))
}

/// The class of what a step calls.
pub(super) fn class(turn: &Turn, step: &StepId) -> Option<Class> {
    use agent_shell_core::data::EffectClass;
    Some(match turn.terms_of(step)?.class {
        EffectClass::Pure => Class::Pure,
        EffectClass::Idempotent => Class::Idempotent,
        EffectClass::Probed => Class::Probed,
        _ => Class::Irreversible,
    })
}

fn count(
    entries: &[agent_shell_core::runtime::HistoryEntry],
    class: Class,
    succeeded: bool,
    verdict: &mut Verdict,
) {
    let Verdict { counts, classes, .. } = verdict;
    let of_class = &mut classes[class as usize];
    of_class.steps += u64::from(succeeded);
    for entry in entries {
        match &entry.body {
            Body::StepStarted { .. } => of_class.attempts += 1,
            Body::StepInDoubt { .. } => counts.in_doubt += 1,
            Body::UndoParked { .. } => counts.parked += 1,
            _ => {}
        }
    }
}
