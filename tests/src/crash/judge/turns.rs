//! Turns: none is lost, none is there twice, and each ended as it had to.

use std::collections::{BTreeMap, BTreeSet};

use agent_shell_core::words::TurnId;
use agent_shell_core::{FailureCode, Outcome, Shell};

use super::journal::{SessionLog, TurnLog};
use super::{Rule, Verdict};
use crate::crash::CrashError;
use crate::crash::book::{Book, Known};
use crate::crash::scenario::{Expected, Scenario, TurnKey};

pub(super) async fn check(
    shell: &Shell,
    seed: u64,
    book: &Book,
    sessions: &[SessionLog],
    verdict: &mut Verdict,
) -> Result<(), CrashError> {
    let mut by_key: BTreeMap<TurnKey, Vec<&TurnLog>> = BTreeMap::new();
    for turn in sessions.iter().flat_map(|session| &session.turns) {
        match turn.key {
            Some(key) => by_key.entry(key).or_default().push(turn),
            None => verdict.say(Rule::Trouble, format!("turn {}: nobody asked for such an input", turn.id)),
        }
    }
    for (key, turns) in &by_key {
        let ids: BTreeSet<TurnId> = turns.iter().map(|turn| turn.id).collect();
        if turns.len() > 1 {
            verdict.say(Rule::Dedupe, format!("{key}: one dedupe key, and {} turns: {ids:?}", turns.len()));
        }
        if !book.turns.contains_key(key) {
            verdict.say(Rule::Trouble, format!("{key}: nobody submitted it"));
        }
    }
    for (key, known) in book.turns.iter().filter(|(key, _)| !key.is_controlled()) {
        let turns = by_key.get(key).map(Vec::as_slice).unwrap_or_default();
        answers(known, turns, verdict);
        if let Some((id, _)) = known.accepted {
            verdict.counts.accepted += 1;
            if !turns.iter().any(|turn| turn.id == id) {
                verdict.say(Rule::Lost, format!("{key}: turn {id} was accepted, and never started"));
            }
        }
        for turn in turns {
            ended(shell, &Scenario::draw(seed, *key), known, turn, verdict).await?;
        }
    }
    Ok(())
}

/// Submits whose answer nobody read: were they there?
fn answers(known: &Known, turns: &[&TurnLog], verdict: &mut Verdict) {
    verdict.counts.unanswered += known.unanswered;
    if known.unanswered == 0 {
        return;
    }
    // An id begins with the time when it was made: before the worker that was answered had been started?
    let made_ms = |turn: TurnId| turn.to_bytes()[..6].iter().fold(0, |ms, byte| ms << 8 | u64::from(*byte));
    let was_there = match known.accepted {
        Some((turn, started_ms)) => made_ms(turn) < started_ms,
        None => !turns.is_empty(),
    };
    verdict.counts.unanswered_there += u64::from(was_there);
}

async fn ended(
    shell: &Shell,
    scenario: &Scenario,
    known: &Known,
    turn: &TurnLog,
    verdict: &mut Verdict,
) -> Result<(), CrashError> {
    let key = scenario.key;
    let [(_, outcome)] = &turn.ends[..] else {
        let last =
            turn.steps.iter().map(|(step, entries)| (step, entries.last().map(|entry| entry.body.kind())));
        let last: BTreeMap<_, _> = last.collect();
        let ends = turn.ends.len();
        let rule = if ends == 0 { Rule::Stuck } else { Rule::Outcome };
        verdict
            .say(rule, format!("{key}: turn {} has {ends} ends, not one; last records: {last:?}", turn.id));
        return Ok(());
    };
    verdict.counts.ended += 1;
    match outcome {
        Outcome::Answered(_) => verdict.counts.answered += 1,
        _ => verdict.counts.failed += 1,
    }
    if let Err(problem) = as_expected(scenario, turn, outcome) {
        verdict.say(Rule::Outcome, format!("{key}: {problem}"));
    }
    let read = shell.turn(turn.id).ended().await?;
    if read.as_ref() != Some(outcome) {
        verdict.say(Rule::Outcome, format!("{key}: ended as {outcome:?}, and is read as {read:?}"));
    }
    if let Some(seen) = known.outcome.as_ref().filter(|seen| *seen != outcome) {
        verdict.say(Rule::Outcome, format!("{key}: was seen to end as {seen:?}, and ended as {outcome:?}"));
    }
    Ok(())
}

/// The outcome is the one that the drawing asks for, or follows from the first step that an operator gave up.
pub(crate) fn as_expected(scenario: &Scenario, turn: &TurnLog, outcome: &Outcome) -> Result<(), String> {
    if scenario.key.talks() {
        let codes = [FailureCode::Budget, FailureCode::Model, FailureCode::Stuck, FailureCode::TooLarge];
        return match outcome {
            Outcome::Answered(_) => Ok(()),
            Outcome::Failed(failure) if codes.contains(&failure.code) => Ok(()),
            _ => Err(format!("a turn that a model planned ended as {outcome:?}")),
        };
    }
    let given_up = turn.first_given_up().filter(|_| scenario.gives_up);
    let expected = match given_up {
        Some(step) => Expected::Failure { step, code: FailureCode::ResolvedNotApplied },
        None => scenario.expected(),
    };
    let fits = match (&expected, outcome) {
        (Expected::Answer(expected), Outcome::Answered(answer)) => expected == answer,
        (Expected::Failure { step, code }, Outcome::Failed(failure)) => {
            failure.code == *code && failure.step.as_ref().is_some_and(|failed| failed.as_str() == step)
        }
        _ => false,
    };
    if fits { Ok(()) } else { Err(format!("ended as {outcome:?}, not as {expected:?}")) }
}
