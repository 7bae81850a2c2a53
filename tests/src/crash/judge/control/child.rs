//! Children: each starts once, its parent has its answer once, and where the parent's turn did not succeed the child is undone.

use std::collections::BTreeMap;

use agent_shell_core::data::{Action, Body};
use agent_shell_core::runtime::HistoryEntry;
use agent_shell_core::words::{SessionId, StepId, TurnId};
use agent_shell_core::{FailureCode, Outcome};
use serde_json::Value;

use super::turn::{StepEnd, Turn};
use super::{Log, Origin};
use crate::crash::judge::{Rule, Verdict};

/// A child, as its parent's record tells of it.
struct Started {
    session: SessionId,
    child: TurnId,
    input: Value,
}

pub(super) fn check(logs: &[Log], verdict: &mut Verdict) {
    let mut by_step: BTreeMap<(TurnId, StepId), Vec<SessionId>> = BTreeMap::new();
    for log in logs {
        if let Origin::Child(of) = &log.origin {
            by_step.entry((of.turn, of.step.clone())).or_default().push(log.id);
        }
    }
    for ((turn, step), sessions) in by_step.iter().filter(|(_, sessions)| sessions.len() > 1) {
        let what = format!("turn {turn} step {step}: has {} children: {sessions:?}", sessions.len());
        verdict.say(Rule::Child, what);
    }
    for log in logs.iter().filter(|log| !log.is_fork()) {
        for turn in &log.turns {
            for planned in &turn.steps {
                let step = &planned.step.id;
                let Action::Child(_) = planned.step.action else { continue };
                let (started, mut found) = (started(turn, step), Vec::new());
                verdict.counts.children += started.len() as u64;
                match &started[..] {
                    [] => {}
                    [child] => of_one(logs, (log, turn, step), child, &mut found),
                    more => found.push(format!("its child was started {} times", more.len())),
                }
                for problem in found {
                    verdict.say(Rule::Child, format!("turn {} step {step}: {problem}", turn.id));
                }
            }
        }
    }
}

fn started(turn: &Turn, step: &StepId) -> Vec<Started> {
    let started = turn.of_step(step).filter_map(|entry| match &entry.body {
        Body::ChildStarted { session, child, input, .. } => {
            Some(Started { session: *session, child: *child, input: (*input.value()).clone() })
        }
        _ => None,
    });
    started.collect()
}

/// What is wrong with the child of a step.
fn of_one(
    logs: &[Log],
    (log, turn, step): (&Log, &Turn, &StepId),
    started: &Started,
    found: &mut Vec<String>,
) {
    let Some(child) = logs.iter().find(|log| log.id == started.session) else {
        return found.push(format!("there is no session {} of its child", started.session));
    };
    match &child.origin {
        Origin::Child(of) => {
            if (of.session, of.turn, &of.step, of.child) != (log.id, turn.id, step, started.child) {
                found.push(format!("the session of its child says that it is the child of {of:?}"));
            }
        }
        _ => found.push("the session of its child says that it is nobody's".into()),
    }
    let outcome = match run(child, started, found) {
        Some(turn) => turn.end().map(|end| end.outcome.clone()),
        None => Some(Outcome::Cancelled),
    };
    let answer = answer(child, started.child);
    told(turn, step, outcome.as_ref(), answer.as_ref(), found);
}

/// The turn of a child, which runs once, or not at all when it was withdrawn before.
fn run<'a>(child: &'a Log, started: &Started, found: &mut Vec<String>) -> Option<&'a Turn> {
    let withdrawn = |entry: &HistoryEntry| matches!(&entry.body, Body::TurnWithdrawn { turn, .. } if *turn == started.child);
    match &child.turns[..] {
        [] if child.entries.iter().any(withdrawn) => None,
        [turn] if turn.id == started.child => {
            let input = turn.records.iter().find_map(|entry| match &entry.body {
                Body::TurnStarted { input, .. } => Some(input.value()),
                _ => None,
            });
            if input.as_deref() != Some(&started.input) {
                found.push(format!("its child was given {}, and runs with {input:?}", started.input));
            }
            Some(turn)
        }
        turns => {
            let ids: Vec<TurnId> = turns.iter().map(|turn| turn.id).collect();
            found.push(format!("its child is {}, and its session runs {ids:?}", started.child));
            turns.iter().find(|turn| turn.id == started.child)
        }
    }
}

/// What a child answered, also when that was undone later.
fn answer(child: &Log, id: TurnId) -> Option<Value> {
    child.entries.iter().find_map(|entry| match &entry.body {
        Body::TurnAnswered { turn, answer } if *turn == id => Some((*answer.value()).clone()),
        Body::TurnEnded { turn, outcome, answer, .. } if *turn == id => match (outcome, answer) {
            (_, Some(answer)) => Some((*answer.value()).clone()),
            (Outcome::Answered(answer), None) => Some(answer.clone()),
            _ => None,
        },
        _ => None,
    })
}

/// The parent was told how its child stands, once, and made of it what it is; and the child went the way of its parent.
fn told(
    turn: &Turn,
    step: &StepId,
    outcome: Option<&Outcome>,
    answer: Option<&Value>,
    found: &mut Vec<String>,
) {
    let ends: Vec<bool> = turn
        .of_step(step)
        .filter_map(|entry| match &entry.body {
            Body::ChildEnded { waits, .. } => Some(*waits),
            _ => None,
        })
        .collect();
    let [waits] = ends[..] else {
        return found.push(format!("was told {} times how its child stands", ends.len()));
    };
    let output = turn.of_step(step).find_map(|entry| match &entry.body {
        Body::StepSucceeded { output, .. } => Some((*output.value()).clone()),
        _ => None,
    });
    let code = turn.of_step(step).find_map(|entry| match &entry.body {
        Body::StepFailed { failure, .. } => Some(failure.code),
        _ => None,
    });
    match (&output, answer) {
        (Some(output), Some(answer)) if output == answer => {}
        (Some(output), _) => {
            found.push(format!("has the output {output}, and its child answered {answer:?}"))
        }
        // It was cancelled before its answer was known.
        (None, Some(_)) if code == Some(FailureCode::Child) && !waits => {}
        (None, Some(answer)) => found.push(format!("failed as {code:?}, and its child answered {answer}")),
        (None, None) if code == Some(FailureCode::Child) => {}
        (None, None) => found.push(format!("failed as {code:?}, and its child did not answer")),
    }
    let is_undone = turn.undoing.iter().any(|undoing| {
        undoing.of == *step && matches!(turn.ends_of(&undoing.id).first(), Some((_, StepEnd::Succeeded)))
    });
    let fits = match (outcome, waits) {
        (None, _) => false,
        (Some(Outcome::Answered(_)), true) => !turn.has_failed(),
        (Some(Outcome::Answered(_)), false) => true,
        (Some(_), true) => turn.has_failed(),
        (Some(_), false) => output.is_none(),
    };
    if !fits || (is_undone && matches!(outcome, Some(Outcome::Answered(_)))) {
        let end = turn.end().map(|end| &end.outcome);
        found.push(format!("its child ended as {outcome:?} (waits: {waits}), and its own turn as {end:?}"));
    }
}
