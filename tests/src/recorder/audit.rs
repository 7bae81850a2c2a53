//! What a log says about every step, and where the promises were broken.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::log::{self, Entry, Outcome};
use super::server::RecorderError;
use super::words::{Class, Effect, StepName};

/// What was done for one step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepAudit {
    /// The classes that were declared; one, if all is well.
    pub classes: BTreeSet<Class>,
    /// Calls, repeated and refused ones included.
    pub calls: u64,
    /// How often an effect was applied.
    pub applied: u64,
    /// Every key in a call, repeated and refused ones included.
    pub keys: BTreeSet<String>,
    /// The epochs of the calls.
    pub epochs: BTreeSet<u64>,
    /// The attempts of the calls.
    pub attempts: BTreeSet<u64>,
    /// The calls that were applied.
    pub applications: Vec<Application>,
}

/// A call that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// Its attempt.
    pub attempt: u64,
    /// The epoch of the owner who acted.
    pub epoch: u64,
    /// When it arrived, in wall time.
    pub at_ms: u64,
    /// What the tool sent along.
    pub payload: Value,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// An effect other than a pure one was applied more than once.
    AppliedAgain {
        /// The step.
        step: StepName,
        /// Its class.
        class: Class,
        /// How often.
        times: u64,
    },
    /// The calls of one step, which is not pure, bore different keys.
    ManyKeys {
        /// The step.
        step: StepName,
        /// The keys.
        keys: BTreeSet<String>,
    },
    /// The calls of one step were declared with different classes.
    ManyClasses {
        /// The step.
        step: StepName,
        /// The classes.
        classes: BTreeSet<Class>,
    },
    /// Two steps used one key, so the effect of the second may have been swallowed.
    SharedKey {
        /// The key.
        key: String,
        /// Who used it first.
        first: StepName,
        /// Who used it after that.
        second: StepName,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AppliedAgain { step, class, times } => {
                write!(f, "turn {} step {}: {class:?} effect applied {times} times", step.turn, step.step)
            }
            Self::ManyKeys { step, keys } => {
                write!(f, "turn {} step {}: called with {} keys: {keys:?}", step.turn, step.step, keys.len())
            }
            Self::ManyClasses { step, classes } => {
                write!(f, "turn {} step {}: called as {classes:?}", step.turn, step.step)
            }
            Self::SharedKey { key, first, second } => write!(
                f,
                "key {key}: used by turn {} step {} and by turn {} step {}",
                first.turn, first.step, second.turn, second.step
            ),
        }
    }
}

/// Sums over all steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Calls of every class.
    pub calls: u64,
    /// Calls of the class `Pure`.
    pub pure: u64,
    /// Applications.
    pub applied: u64,
    /// Calls with an idempotent key that had been applied before.
    pub repeated: u64,
    /// Calls that were refused.
    pub refused: u64,
    /// Steps.
    pub steps: u64,
    /// Different keys of the calls that are not pure.
    pub keys: u64,
    /// Broken promises.
    pub violations: u64,
}

/// What a log says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    steps: BTreeMap<StepName, StepAudit>,
    keys: BTreeMap<String, StepName>,
    shared: Vec<Violation>,
    sums: Totals,
}

impl Audit {
    /// The steps, in order of their names.
    pub fn steps(&self) -> &BTreeMap<StepName, StepAudit> {
        &self.steps
    }

    /// What was done for this step, if it ever called.
    pub fn step(&self, name: &StepName) -> Option<&StepAudit> {
        self.steps.get(name)
    }

    /// The sums.
    pub fn totals(&self) -> Totals {
        Totals {
            steps: self.steps.len() as u64,
            keys: self.keys.len() as u64,
            violations: self.violations().len() as u64,
            ..self.sums
        }
    }

    /// Every broken promise; empty if all is well.
    pub fn violations(&self) -> Vec<Violation> {
        let of_steps = self.steps.iter().flat_map(|(name, step)| violations_of(name, step));
        of_steps.chain(self.shared.iter().cloned()).collect()
    }

    pub(super) fn observe(&mut self, entry: &Entry) {
        if let Entry::Call { effect, outcome, at_ms } = entry {
            self.count(effect, *outcome, *at_ms);
        }
    }

    fn count(&mut self, effect: &Effect, outcome: Outcome, at_ms: u64) {
        let name = StepName { turn: effect.turn.clone(), step: effect.step.clone() };
        self.sums.calls += 1;
        match outcome {
            Outcome::Counted => self.sums.pure += 1,
            Outcome::Applied { .. } => self.sums.applied += 1,
            Outcome::Repeated { .. } => self.sums.repeated += 1,
            Outcome::UsedKey | Outcome::StaleEpoch => self.sums.refused += 1,
        }
        if effect.class != Class::Pure {
            self.claim(&effect.key, &name);
        }
        let step = self.steps.entry(name).or_default();
        step.classes.insert(effect.class);
        step.calls += 1;
        if let Outcome::Applied { .. } = outcome {
            let (attempt, epoch, payload) = (effect.attempt, effect.epoch, effect.payload.clone());
            step.applied += 1;
            step.applications.push(Application { attempt, epoch, at_ms, payload });
        }
        step.keys.insert(effect.key.clone());
        step.epochs.insert(effect.epoch);
        step.attempts.insert(effect.attempt);
    }

    fn claim(&mut self, key: &str, name: &StepName) {
        let first = self.keys.entry(key.to_owned()).or_insert_with(|| name.clone());
        if first != name {
            let shared =
                Violation::SharedKey { key: key.to_owned(), first: first.clone(), second: name.clone() };
            if !self.shared.contains(&shared) {
                self.shared.push(shared);
            }
        }
    }
}

/// Reads a recorder's log, also one that is still being written: a torn last line is left out.
pub fn audit_log(log: &Path) -> Result<Audit, RecorderError> {
    let mut audit = Audit::default();
    log::replay(log, |entry| audit.observe(&entry))?;
    Ok(audit)
}

fn violations_of(name: &StepName, step: &StepAudit) -> Vec<Violation> {
    let mut found = Vec::new();
    let class = step.classes.iter().next_back().copied().unwrap_or(Class::Pure);
    if class != Class::Pure && step.applied > 1 {
        found.push(Violation::AppliedAgain { step: name.clone(), class, times: step.applied });
    }
    // A pure step whose read set changed runs again on another input, and so under another key.
    if class != Class::Pure && step.keys.len() > 1 {
        found.push(Violation::ManyKeys { step: name.clone(), keys: step.keys.clone() });
    }
    if step.classes.len() > 1 {
        found.push(Violation::ManyClasses { step: name.clone(), classes: step.classes.clone() });
    }
    found
}
