//! What the recorder knows: which key was applied with which result, which epoch is the highest, and
//! what its answers are. No I/O; the log replays into it.

use std::collections::BTreeMap;

use super::audit::{Audit, Totals};
use super::log::{Entry, Outcome};
use super::words::{Answer, Applied, Class, Counted, Effect, Fence, Probed, Refusal, StepName, Truth};

#[derive(Debug, Default)]
pub(super) struct Ledger {
    audit: Audit,
    results: BTreeMap<String, Applied>,
    epochs: BTreeMap<StepName, u64>,
    last: BTreeMap<StepName, Applied>,
    number: u64,
}

impl Ledger {
    /// What would come of this effect now. Changes nothing: that is [`Self::observe`]'s, once the entry
    /// is written.
    pub(super) fn decide(&self, effect: &Effect) -> Outcome {
        let next = Outcome::Applied { number: self.number + 1 };
        match (effect.class, self.results.get(&effect.key)) {
            (Class::Pure, _) => Outcome::Counted,
            (Class::Idempotent, Some(first)) => Outcome::Repeated { number: first.number },
            (Class::Probed, Some(_)) => Outcome::UsedKey,
            (Class::Probed, None) if effect.epoch < self.epoch(effect) => Outcome::StaleEpoch,
            (Class::Idempotent | Class::Probed, None) | (Class::Irreversible, _) => next,
        }
    }

    /// Takes in what the log holds.
    pub(super) fn observe(&mut self, entry: &Entry) {
        self.audit.observe(entry);
        match entry {
            Entry::Fence(fence) => {
                let name = StepName { turn: fence.turn.clone(), step: fence.step.clone() };
                self.raise(name, fence.epoch);
            }
            Entry::Call { effect, outcome, .. } => {
                self.raise(name(effect), effect.epoch);
                if let Outcome::Applied { number } = *outcome {
                    self.apply(effect, number);
                }
            }
        }
    }

    /// The answer to an effect whose entry was observed.
    pub(super) fn answer(&self, effect: &Effect, outcome: Outcome) -> Answer {
        match outcome {
            Outcome::Counted => Answer::Counted(Counted { calls: self.truth(&name(effect)).calls }),
            Outcome::UsedKey => Answer::Refused(Refusal::UsedKey),
            Outcome::StaleEpoch => Answer::Refused(Refusal::StaleEpoch),
            Outcome::Applied { number } | Outcome::Repeated { number } => Answer::Applied(
                self.results.get(&effect.key).copied().unwrap_or(Applied { times: 1, number }),
            ),
        }
    }

    pub(super) fn probe(&self, key: &str) -> Probed {
        Probed { applied: self.results.get(key).copied() }
    }

    /// Whether the fence would change anything.
    pub(super) fn is_news(&self, fence: &Fence) -> bool {
        let name = StepName { turn: fence.turn.clone(), step: fence.step.clone() };
        self.epochs.get(&name).is_none_or(|highest| fence.epoch > *highest)
    }

    pub(super) fn truth(&self, name: &StepName) -> Truth {
        let Some(step) = self.audit.step(name) else { return Truth::default() };
        Truth {
            applied: self.last.get(name).copied(),
            calls: step.calls,
            keys: step.keys.iter().cloned().collect(),
        }
    }

    pub(super) fn totals(&self) -> Totals {
        self.audit.totals()
    }

    fn epoch(&self, effect: &Effect) -> u64 {
        self.epochs.get(&name(effect)).copied().unwrap_or(0)
    }

    fn raise(&mut self, name: StepName, epoch: u64) {
        let highest = self.epochs.entry(name).or_insert(epoch);
        *highest = epoch.max(*highest);
    }

    fn apply(&mut self, effect: &Effect, number: u64) {
        let name = name(effect);
        let times = self.audit.step(&name).map_or(1, |step| step.applied);
        let applied = Applied { times, number };
        self.number = number;
        self.results.insert(effect.key.clone(), applied);
        self.last.insert(name, applied);
    }
}

fn name(effect: &Effect) -> StepName {
    StepName { turn: effect.turn.clone(), step: effect.step.clone() }
}
