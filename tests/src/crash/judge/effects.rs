//! Effects: what the journal says was done is what the recorder saw, once, and nothing else was done.

use std::collections::{BTreeMap, BTreeSet};

use agent_shell_core::data::Body;

use super::journal::{SessionLog, TurnLog};
use super::{Rule, Verdict, late};
use crate::crash::harness::Run;
use crate::crash::scenario::{ToolKind, TurnKey};
use crate::recorder::{Audit, Class, StepAudit, StepName};

/// Checks all calls but those of turns that are judged `elsewhere`.
pub(super) fn check(
    run: &Run,
    sessions: &[SessionLog],
    elsewhere: &BTreeSet<String>,
    audit: &Audit,
    verdict: &mut Verdict,
) {
    let turns: BTreeMap<String, &TurnLog> =
        sessions.iter().flat_map(|session| &session.turns).map(|turn| (turn.id.to_string(), turn)).collect();
    for (name, done) in audit.steps() {
        count(done, verdict);
        match turns.get(&name.turn) {
            Some(turn) => known(run, turn, &name.step, done, verdict),
            None if elsewhere.contains(&name.turn) => {}
            None => verdict.say(Rule::Effect, format!("{name:?}: called for a turn that is not there")),
        }
    }
    for (id, turn) in &turns {
        for step in turn.steps.keys() {
            applied(run, id, turn, step, audit, verdict);
        }
    }
}

/// What was done was begun on record, under the key of the record; and what was applied has succeeded.
fn known(run: &Run, turn: &TurnLog, step: &str, done: &StepAudit, verdict: &mut Verdict) {
    let Some(kind) = turn.tools.get(step).copied() else {
        // A plan need not be durable before its pure calls: a process that dies in between leaves none of it.
        if turn.key.is_some_and(TurnKey::talks) && done.classes.iter().all(|class| *class == Class::Pure) {
            return;
        }
        return verdict
            .say(Rule::Effect, format!("turn {} step {step}: was called, and has no tool", turn.id));
    };
    let mut say = |rule, problem| verdict.say(rule, format!("turn {} step {step}: {problem}", turn.id));
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
        let problem = format!(
            "acted without an intent: attempts {:?} in epochs {:?}, on record {attempts:?} in {epochs:?}",
            done.attempts, done.epochs
        );
        say(Rule::Intent, problem);
    }
    if !done.keys.is_subset(&keys) {
        say(Rule::Key, format!("acted under the keys {:?}, on record {keys:?}", done.keys));
    }
    let times = times(run, kind, done);
    if times > 0 && turn.success(step).is_none() {
        say(Rule::Effect, format!("applied {times} times, and the journal does not say that it succeeded"));
    }
}

/// What has succeeded was applied once.
fn applied(run: &Run, id: &str, turn: &TurnLog, step: &str, audit: &Audit, verdict: &mut Verdict) {
    let Some(kind) = turn.tools.get(step).copied().filter(|_| turn.success(step).is_some()) else { return };
    let done = audit.step(&StepName { turn: id.to_owned(), step: step.to_owned() });
    let (calls, all) = done.map_or((0, 0), |done| (done.calls, done.applied));
    let times = done.map_or(0, |done| times(run, kind, done));
    let fits = match kind.class() {
        Class::Pure => calls > 0,
        // Found by an operator although it came late.
        Class::Irreversible if run.stops && times == 0 => all > 0,
        _ => times == 1,
    };
    if !fits {
        let problem = format!("succeeded, and was called {calls} times and applied {times} times");
        verdict.say(Rule::Effect, format!("turn {id} step {step}: {problem}"));
    }
}

/// How often an effect was applied; where processes are stopped, late acts of irreversible tools are not the runtime's.
fn times(run: &Run, kind: ToolKind, done: &StepAudit) -> u64 {
    if run.stops && kind.class() == Class::Irreversible { late::in_time(done) } else { done.applied }
}

fn count(done: &StepAudit, verdict: &mut Verdict) {
    let class = done.classes.iter().next_back().copied().unwrap_or(Class::Pure);
    let counts = &mut verdict.classes[class as usize];
    counts.calls += done.calls;
    counts.repeats += done.calls.saturating_sub(done.keys.len() as u64);
}
