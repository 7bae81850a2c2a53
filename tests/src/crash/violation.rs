//! Broken promises.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// What was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Rule {
    /// An accepted turn is never lost.
    Lost,
    /// A submit under one dedupe key makes one turn, and a signal is delivered once.
    Dedupe,
    /// A turn ends, or rests, in bounded time.
    Stuck,
    /// A turn ends once, as it had to, and stays so.
    Outcome,
    /// No effect is done twice, and the journal says what was done.
    Effect,
    /// An intent is durable before the act.
    Intent,
    /// A repeat bears the same key.
    Key,
    /// A step ends once, with its own output.
    Step,
    /// What depends on a step, or shares its lock, comes after it.
    Order,
    /// An attempt is repeated only as its class allows.
    Repeat,
    /// Nobody acts unnamed, or says "not applied" too early.
    Person,
    /// The chain holds, and goes through every head that was durable.
    Chain,
    /// What is reserved is settled, once, and the balances are what the ledger's operations make.
    Budget,
    /// Questions of a session continue each other, and none is asked again that was answered.
    Question,
    /// A follower is told each record of a turn once, in order.
    Followed,
    /// What a turn applied that did not succeed is undone, once, in reverse; nothing else is.
    Undo,
    /// What is said to a running turn is in one turn, in order, and undoes nothing.
    Steer,
    /// What guards ruled is done, and they rule once.
    Guard,
    /// A child runs once, its parent has its answer, and is undone with it.
    Child,
    /// A fork without effects touches nothing, and is made once.
    Fork,
    /// Who was handed a session plans it.
    HandOff,
    /// Nothing fails that has no reason to.
    Trouble,
}

/// A broken promise, and where.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Violation {
    pub(crate) rule: Rule,
    pub(crate) what: String,
}

impl Violation {
    pub(crate) fn new(rule: Rule, what: impl Into<String>) -> Self {
        Self { rule, what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.what)
    }
}

/// How many there are of each kind.
pub(crate) fn by_rule(violations: &[Violation]) -> BTreeMap<Rule, usize> {
    let mut counts = BTreeMap::new();
    for violation in violations {
        *counts.entry(violation.rule).or_default() += 1;
    }
    counts
}
