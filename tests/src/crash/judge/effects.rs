//! Effects: what the journal says was done is what the recorder saw, once, and nothing else was done.

use std::collections::{BTreeMap, BTreeSet};

use agent_shell_core::data::Body;

use super::Verdict;
use super::journal::{SessionLog, TurnLog};
use crate::crash::scenario::ToolKind;
use crate::recorder::{Audit, Class, StepAudit, StepName};

pub(super) fn check(sessions: &[SessionLog], audit: &Audit, verdict: &mut Verdict) {
    let turns: BTreeMap<String, &TurnLog> =
        sessions.iter().flat_map(|session| &session.turns).map(|turn| (turn.id.to_string(), turn)).collect();
    for (name, done) in audit.steps() {
        count(done, verdict);
        match turns.get(&name.turn) {
            Some(turn) => known(turn, &name.step, done, verdict),
            None => verdict
                .violations
                .push(format!("{name:?}: the recorder was called for a turn that is not there")),
        }
    }
    for (id, turn) in &turns {
        for step in turn.steps.keys() {
            applied(id, turn, step, audit, verdict);
        }
    }
}

/// What was done was begun on record, under the key of the record; and what was applied has succeeded.
fn known(turn: &TurnLog, step: &str, done: &StepAudit, verdict: &mut Verdict) {
    let Some(kind) = ToolKind::of_step(step) else {
        verdict.violations.push(format!("turn {} step {step}: was called, and is no tool's", turn.id));
        return;
    };
    let mut say =
        |problem: String| verdict.violations.push(format!("turn {} step {step}: {problem}", turn.id));
    if kind.class() == Class::Pure {
        return;
    }
    let entries = turn.steps.get(step).map(Vec::as_slice).unwrap_or_default();
    let (mut attempts, mut epochs, mut keys) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for entry in entries {
        if let Body::StepStarted { attempt, key, .. } = &entry.body {
            attempts.insert(u64::from(*attempt));
            epochs.insert(entry.epoch.number());
            keys.insert(key.clone());
        }
    }
    if !done.attempts.is_subset(&attempts) || !done.epochs.is_subset(&epochs) {
        say(format!(
            "acted without an intent: attempts {:?} in epochs {:?}, on record {attempts:?} in {epochs:?}",
            done.attempts, done.epochs
        ));
    }
    if !done.keys.is_subset(&keys) {
        say(format!("acted under the keys {:?}, on record {keys:?}", done.keys));
    }
    if done.applied > 0 && turn.success(step).is_none() {
        say(format!("was applied {} times, and the journal does not say that it succeeded", done.applied));
    }
}

/// What has succeeded was applied once.
fn applied(id: &str, turn: &TurnLog, step: &str, audit: &Audit, verdict: &mut Verdict) {
    let Some(kind) = ToolKind::of_step(step).filter(|_| turn.success(step).is_some()) else { return };
    let done = audit.step(&StepName { turn: id.to_owned(), step: step.to_owned() });
    let (calls, times) = done.map_or((0, 0), |done| (done.calls, done.applied));
    let fits = if kind.class() == Class::Pure { calls > 0 } else { times == 1 };
    if !fits {
        let problem = format!("succeeded, and was called {calls} times and applied {times} times");
        verdict.violations.push(format!("turn {id} step {step}: {problem}"));
    }
}

fn count(done: &StepAudit, verdict: &mut Verdict) {
    let class = done.classes.iter().next_back().copied().unwrap_or(Class::Pure);
    let counts = &mut verdict.counts.classes[class as usize];
    counts.calls += done.calls;
    counts.repeats += done.calls.saturating_sub(done.keys.len() as u64);
}
