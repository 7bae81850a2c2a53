//! What is said to turns: each remark is in one turn, in the order in which it was said, and gives up only what had not begun.

use std::collections::{BTreeMap, BTreeSet};

use agent_shell_core::data::{Body, MailKind};
use agent_shell_core::runtime::HistoryEntry;
use agent_shell_core::words::{Seq, StepId, TurnId};
use agent_shell_core::{FailureCode, Outcome};

use super::turn::Turn;
use super::{Acts, Log};
use crate::crash::control::turn::Submission;
use crate::crash::judge::{Rule, Verdict};
use crate::crash::scenario::TurnKey;

/// What became of something that was submitted.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Fate {
    /// Where it was said to a turn, and to which.
    pub(super) said: Vec<(Seq, TurnId)>,
    /// The turns with which it ended, because a plan took it up.
    pub(super) joined: Vec<TurnId>,
    /// Where it started as a turn of its own.
    pub(super) started: Vec<Seq>,
    /// Where it was withdrawn.
    pub(super) withdrawn: Vec<Seq>,
    pub(super) outcomes: Vec<Outcome>,
}

/// What became of all that was submitted to a session, by its id, and the key that it bears.
pub(super) fn fates(log: &Log) -> BTreeMap<TurnId, (Option<TurnKey>, Fate)> {
    let mut fates: BTreeMap<TurnId, (Option<TurnKey>, Fate)> = BTreeMap::new();
    let key = |input: &agent_shell_core::data::Payload| serde_json::from_value((*input.value()).clone()).ok();
    for entry in &log.entries {
        match &entry.body {
            Body::TurnSteered { turn, request, .. } => {
                let (of, fate) = fates.entry(request.turn).or_default();
                *of = of.or(key(&request.input));
                fate.said.push((entry.seq, *turn));
            }
            Body::TurnStarted { turn, input, .. } => {
                let (of, fate) = fates.entry(*turn).or_default();
                *of = of.or(key(input));
                fate.started.push(entry.seq);
            }
            Body::TurnWithdrawn { turn, .. } => {
                let (_, fate) = fates.entry(*turn).or_default();
                fate.withdrawn.push(entry.seq);
                fate.outcomes.push(Outcome::Cancelled);
            }
            _ => {}
        }
    }
    for turn in &log.turns {
        for end in &turn.ends {
            fates.entry(turn.id).or_default().1.outcomes.push(end.outcome.clone());
            for joined in &end.joined {
                let (_, fate) = fates.entry(*joined).or_default();
                fate.joined.push(turn.id);
                fate.outcomes.push(end.outcome.clone());
            }
        }
    }
    fates
}

impl Fate {
    /// What is wrong with it.
    pub(super) fn problem(&self) -> Option<String> {
        let Self { said, joined, started, withdrawn, outcomes } = self;
        let problem = if said.len() > 1 {
            "was said to more than one turn"
        } else if joined.len() + started.len() > 1 {
            "is in more than one turn"
        } else if joined.is_empty() && started.is_empty() && withdrawn.is_empty() {
            "was said, and is in no turn"
        } else if !joined.is_empty() && said.first().map(|(_, turn)| turn) != joined.first() {
            "ended with a turn to which it was not said"
        } else if !withdrawn.is_empty() && joined.len() + started.len() > 0 {
            "was withdrawn, and is in a turn all the same"
        } else if outcomes.len() != 1 {
            "does not have one outcome"
        } else {
            return None;
        };
        Some(format!("{problem}: {self:?}"))
    }
}

/// Checks all that was said in a session.
pub(super) fn check(seed: u64, owners: u64, log: &Log, acts: &Acts<'_>, verdict: &mut Verdict) {
    let fates = fates(log);
    for (id, (key, fate)) in &fates {
        if let Some(problem) = fate.problem() {
            verdict.say(Rule::Steer, format!("turn {id} ({key:?}): {problem}"));
        }
        verdict.counts.steered += fate.said.len() as u64;
        verdict.counts.taken_up += fate.joined.len() as u64;
        verdict.counts.withdrawn += fate.withdrawn.len() as u64;
    }
    for entry in &log.entries {
        if let Body::MailRefused { mail_kind: MailKind::Submit | MailKind::Steer, reason, .. } = &entry.body {
            verdict.say(Rule::Steer, format!("what was said was refused at record {}: {reason}", entry.seq));
        }
    }
    in_order(seed, owners, &fates, verdict);
    for (place, turn) in log.turns.iter().enumerate() {
        taken_up(turn, &fates, verdict);
        follows(turn, log.turns.get(place + 1), &fates, verdict);
        given_up(turn, acts, verdict);
    }
}

/// One worker after another submits for each place among the owners, and each waits for its answer: so what bears a higher
/// number was said later.
fn in_order(
    seed: u64,
    owners: u64,
    fates: &BTreeMap<TurnId, (Option<TurnKey>, Fate)>,
    verdict: &mut Verdict,
) {
    let mut seen: BTreeMap<(u64, bool), Vec<(Seq, u64)>> = BTreeMap::new();
    for (key, fate) in fates.values() {
        let Some(key) = key.filter(|key| key.number != TurnKey::CLOSING) else { continue };
        let steers = Submission::draw(seed, key).steers();
        let first = fate.said.iter().map(|(seq, _)| *seq).chain(fate.started.iter().copied()).min();
        if let Some(first) = first {
            seen.entry((key.number % owners.max(1), steers)).or_default().push((first, key.number));
        }
    }
    for of_slot in seen.values_mut() {
        of_slot.sort_unstable();
        for pair in of_slot.windows(2) {
            let ((at, before), (_, next)) = (pair[0], pair[1]);
            if before > next {
                let what =
                    format!("number {before}, at record {at}, came before number {next}, said earlier");
                verdict.say(Rule::Steer, what);
            }
        }
    }
}

/// What plans have taken up ends with the turn, and no more.
fn taken_up(turn: &Turn, fates: &BTreeMap<TurnId, (Option<TurnKey>, Fate)>, verdict: &mut Verdict) {
    let Some(end) = turn.end() else { return };
    let (mut said, mut taken): (Vec<TurnId>, usize) = (Vec::new(), 0);
    for entry in &turn.records {
        match &entry.body {
            Body::TurnSteered { request, .. } => {
                let withdrawn = |(_, fate): &(_, Fate)| !fate.withdrawn.is_empty();
                // What is withdrawn no plan had taken up: it never counts.
                if !fates.get(&request.turn).is_some_and(withdrawn) {
                    said.push(request.turn);
                }
            }
            Body::PlanAdopted { plan, .. } => taken = taken.max(plan.steers() as usize),
            _ => {}
        }
    }
    let fits = end.joined.len() <= taken && said.starts_with(&end.joined);
    if !fits {
        let (id, joined) = (turn.id, &end.joined);
        verdict.say(Rule::Steer, format!("turn {id}: {joined:?} have joined, of {said:?}, {taken} taken up"));
    }
}

/// What no plan has taken up is the next turn, in its order.
fn follows(
    turn: &Turn,
    next: Option<&Turn>,
    fates: &BTreeMap<TurnId, (Option<TurnKey>, Fate)>,
    verdict: &mut Verdict,
) {
    let Some(end) = turn.end() else { return };
    let said = turn.records.iter().filter_map(|entry| match &entry.body {
        Body::TurnSteered { request, .. } => Some(request.turn),
        _ => None,
    });
    let mut left = said.filter(|said| {
        let withdrawn = fates.get(said).is_some_and(|(_, fate)| !fate.withdrawn.is_empty());
        !end.joined.contains(said) && !withdrawn
    });
    if let Some(left) = left.next()
        && next.is_none_or(|next| next.id != left)
    {
        // Others may have been left before, of an earlier turn.
        let started = fates.get(&left).and_then(|(_, fate)| fate.started.first().copied());
        let next_was_left =
            next.is_some_and(|next| fates.get(&next.id).is_some_and(|(_, fate)| !fate.said.is_empty()));
        if started.is_none() || !next_was_left {
            let (id, next) = (turn.id, next.map(|next| next.id));
            verdict.say(Rule::Steer, format!("turn {id}: {left} is left, and the next turn is {next:?}"));
        }
    }
}

/// What an interruption gives up had not begun, and does not begin.
fn given_up(turn: &Turn, acts: &Acts<'_>, verdict: &mut Verdict) {
    let interruptions: BTreeSet<Seq> = turn
        .records
        .iter()
        .filter(|entry| matches!(entry.body, Body::TurnSteered { at_once: true, .. }))
        .map(|entry| entry.seq)
        .collect();
    verdict.counts.interrupted += interruptions.len() as u64;
    for planned in &turn.steps {
        let step = &planned.step.id;
        let Some(problem) = superseded(turn, step, &interruptions) else { continue };
        verdict.counts.superseded += 1;
        let done = acts.step(turn.id, step);
        let applied = done.is_some_and(|done| done.applied > 0) && turn.acts(step);
        let problem = problem.or(applied.then(|| "took effect in the world".to_owned()));
        if let Some(problem) = problem {
            verdict.say(Rule::Steer, format!("turn {} step {step}: was given up, and {problem}", turn.id));
        }
    }
}

/// What is wrong with a step that was given up; none of it when it was not.
fn superseded(turn: &Turn, step: &StepId, interruptions: &BTreeSet<Seq>) -> Option<Option<String>> {
    let is_given_up = |entry: &&HistoryEntry| matches!(&entry.body, Body::StepFailed { failure, .. } if failure.code == FailureCode::Superseded);
    let at = turn.of_step(step).find(is_given_up)?.seq;
    if interruptions.range(..at).next().is_none() {
        return Some(Some("nobody had interrupted".into()));
    }
    let mut unknown = false;
    for entry in turn.of_step(step) {
        match &entry.body {
            Body::StepStarted { .. } if entry.seq > at => return Some(Some("began after that".into())),
            Body::StepStarted { .. } => unknown = true,
            Body::AttemptFailed { not_applied: true, .. } => unknown = false,
            Body::StepFailed { .. } if unknown => {
                return Some(Some("nobody knew what had become of it".into()));
            }
            _ => {}
        }
    }
    Some(None)
}
