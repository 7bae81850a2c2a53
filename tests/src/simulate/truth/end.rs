//! What must hold once everything has come to its end.

use std::collections::BTreeMap;

use agent_shell_core::FailureCode;
use agent_shell_core::data::{Body, EffectClass, Resolution};
use agent_shell_core::machine::Entry;
use agent_shell_core::words::{StepId, TurnId};

use super::{Facts, Truth};
use crate::crash::judge::journal::SessionLog;
use crate::crash::judge::turns::as_expected;
use crate::crash::judge::{Verdict, steps};
use crate::crash::violation::Rule as CrashRule;
use crate::simulate::rule::Rule;
use crate::simulate::settings::Settings;
use crate::simulate::steering::Meets;
use crate::simulate::work::Work;

/// How a step ended, as far as the world's effects go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// It succeeded.
    Applied,
    /// It did not happen, the records say.
    NotApplied,
    /// It did not happen, and a person has not said yet how it goes on.
    Parked,
    /// The records leave it open, or say that its outcome could not be kept.
    Open,
}

impl Truth {
    /// Checks a run that is over. `is_done` tells whether everything came to its end.
    pub(in crate::simulate) fn check_end(&self, is_done: bool) {
        let facts = self.facts();
        let mut found = Vec::new();
        if !is_done {
            found.extend(facts.left_over(self.settings()));
            facts.events.check_end(&mut found);
            facts.follow.check_end(&mut found);
        } else {
            facts.budgets.check_end(&mut found);
        }
        facts.check_journals(self.settings().seed, &mut found);
        facts.check_effects(is_done, &mut found);
        facts.check_forgotten(&self.shared.keys, &mut found);
        drop(facts);
        found.into_iter().for_each(|(rule, what)| self.say(rule, what));
    }
}

type Found = Vec<(Rule, String)>;

impl Facts {
    fn left_over(&self, settings: &Settings) -> Found {
        let mut found = Found::new();
        for (key, known) in &self.book {
            if self.is_gone(settings, *key, known.accepted) {
                continue;
            }
            let outcome = known.accepted.and_then(|turn| self.turns.get(&turn));
            match (known.accepted, outcome) {
                (None, _) => found.push((Rule::Stuck, format!("{key} was never accepted"))),
                (Some(turn), None) if Meets::of(settings, *key) != Meets::Queues => {
                    found.push((Rule::Steer, format!("{key}: turn {turn} was said, and nothing took it up")))
                }
                (Some(turn), None) => {
                    found.push((Rule::Lost, format!("{key}: turn {turn} was accepted, and never started")))
                }
                (Some(turn), Some(facts)) if facts.outcome.is_none() => {
                    let state = self.sessions.values().filter_map(|mirror| mirror.state.turn.as_ref());
                    let state = state.filter(|running| running.id == turn).flat_map(|running| &running.steps);
                    let phases: Vec<_> = state.map(|step| (step.step.id.as_str(), &step.phase)).collect();
                    found.push((Rule::Stuck, format!("{key}: turn {turn} has not ended: {phases:?}")));
                }
                _ => {}
            }
        }
        self.left_over_children(&mut found);
        found
    }

    /// The crash harness's rules for the records of drawn turns.
    fn check_journals(&self, seed: u64, found: &mut Found) {
        for mirror in self.sessions.values() {
            let log = SessionLog::of(0, mirror.entries.iter().cloned());
            let mut verdict = Verdict::default();
            log.check(&mut verdict);
            for turn in &log.turns {
                let Some(Work::Drawn(scenario)) =
                    turn.key.and_then(|key| self.book.get(&key)).map(|known| &known.work)
                else {
                    continue;
                };
                // A budget, a guard, or what interrupted it, may have ended it otherwise.
                if self.is_limited(turn.id)
                    || self.is_guarded(turn.id)
                    || mirror.steer.interrupted.contains(&turn.id)
                {
                    continue;
                }
                steps::check(seed, turn, &self.people, &mut verdict);
                if let [(_, outcome)] = &turn.ends[..]
                    && let Err(problem) = as_expected(scenario, turn, outcome)
                {
                    found.push((Rule::Outcome, format!("{}: {problem}", scenario.key)));
                }
            }
            for violation in verdict.violations {
                let rule = match violation.rule {
                    CrashRule::Dedupe => Rule::Twice,
                    CrashRule::Key => Rule::Key,
                    CrashRule::Intent => Rule::Intent,
                    _ => Rule::Step,
                };
                found.push((rule, violation.what));
            }
        }
    }

    /// What the records say was done was done, and nothing else was.
    fn check_effects(&self, is_done: bool, found: &mut Found) {
        let mut told: BTreeMap<(TurnId, StepId), Told> = BTreeMap::new();
        for entry in self.sessions.values().flat_map(|mirror| &mirror.entries) {
            if let (Some(turn), Some(step)) = (entry.body.turn(), entry.body.step()) {
                let end = told.entry((turn, step.clone())).or_insert(Told::NotApplied);
                *end = told_by(entry, *end);
            }
        }
        for (of, target) in &self.targets {
            if target.class.is_none_or(|class| class == EffectClass::Pure) {
                continue;
            }
            let end = told.get(of).copied().unwrap_or(Told::NotApplied);
            let problem = match (end, target.applied) {
                (Told::Applied, 1) | (Told::NotApplied | Told::Parked, 0) | (Told::Open, 0 | 1) => continue,
                (Told::Applied, 0) => {
                    "the records say that it succeeded, and it was never applied".to_owned()
                }
                (Told::NotApplied | Told::Parked, times) if is_done => {
                    format!("it was applied {times} times, and the records do not say so")
                }
                (Told::NotApplied | Told::Parked, _) => continue,
                (_, times) => format!("it was applied {times} times"),
            };
            found.push((Rule::Effect, format!("turn {} step {}: {problem}", of.0, of.1)));
        }
    }
}

fn told_by(entry: &Entry, before: Told) -> Told {
    match &entry.body {
        Body::StepStarted { .. } | Body::StepInDoubt { .. } => Told::Open,
        // A tool speaks of its own attempt only: an earlier one may be open.
        Body::AttemptFailed { .. } => before,
        Body::StepSucceeded { .. } => Told::Applied,
        // It was undone by hand.
        Body::StepResolved { resolution: Resolution::Applied(_), .. } if before == Told::Parked => Told::Open,
        Body::StepResolved { resolution: Resolution::Applied(_), .. } => Told::Applied,
        Body::UndoParked { .. } => Told::Parked,
        Body::StepResolved { .. } => Told::NotApplied,
        Body::StepFailed { failure, .. } => match failure.code {
            FailureCode::TooLarge | FailureCode::Context => Told::Open,
            _ => Told::NotApplied,
        },
        _ => before,
    }
}
