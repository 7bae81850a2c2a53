//! Children of wild turns: what their sessions do, and where in a run they are.

use std::time::Duration;

use agent_shell_core::data::Ceiling;
use agent_shell_core::{Delegate, Step, Template};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::budgets;
use super::host::PLANNER;
use super::work::{Wild, WildEnd};
use crate::crash::scenario::TurnKey;
use crate::random::Random;

/// A turn of a run, by the input that it is asked with: one that hosts ask for, or a child of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    session: u64,
    number: u64,
    /// The steps that lead to it, from the turn that hosts asked for.
    #[serde(default)]
    child: Vec<String>,
}

impl Place {
    /// What an input says.
    pub(super) fn read(input: &Value) -> Option<Self> {
        serde_json::from_value(input.clone()).ok()
    }

    /// The turn that hosts asked for.
    pub(super) fn key(&self) -> TurnKey {
        TurnKey { session: self.session, number: self.number }
    }

    /// How many turns are above it.
    pub(super) fn depth(&self) -> usize {
        self.child.len()
    }

    /// The steps that lead to it.
    pub(super) fn path(&self) -> &[String] {
        &self.child
    }

    /// Whether a step leads to it.
    pub(super) fn is_of(&self, step: &str) -> bool {
        self.child.last().is_some_and(|last| last == step)
    }
}

/// What a step lets a child do.
#[derive(Clone, Debug)]
pub(super) struct Nested {
    pub(super) work: Wild,
    pub(super) budget: Option<Ceiling>,
    /// The tools that it may use, where they are named.
    tools: Option<Vec<String>>,
    /// How long it may take.
    allowed: Option<Duration>,
}

/// Whether wild turns of a seed have children.
pub(super) fn is_in(seed: u64) -> bool {
    Random::of(&[seed, 0xc41d]).percent(35)
}

impl Nested {
    /// The child of a step of a turn at some depth.
    pub(super) fn draw(random: &mut Random, key: TurnKey, depth: usize) -> Self {
        // Two in three do nothing but what can be undone, and mostly succeed.
        let mut work = if random.percent(65) { Wild::tame(random, key) } else { Wild::draw(random, key) };
        if depth < 1 && random.percent(35) {
            work.add_children(random, depth + 1);
        }
        let named = random.percent(30).then(|| {
            let mut tools = work.tools();
            // Now and then one that it needs is missing.
            if random.percent(15) {
                tools.pop();
            }
            tools
        });
        let budget = random.percent(25).then(|| budgets::ceiling(random, 4));
        let allowed = random.percent(12).then(|| Duration::from_millis(100 + random.below(3_000)));
        Self { work, budget, tools: named, allowed }
    }

    /// The step. `path` leads to it.
    pub(super) fn step(&self, key: TurnKey, path: &[String]) -> Step {
        let input = Template::object([
            ("session", Template::from(key.session)),
            ("number", Template::from(key.number)),
            ("child", Template::list(path.iter().map(|step| Template::from(step.as_str())))),
        ]);
        let planned = match self.work.ends {
            WildEnd::Fixed => self.work.plan_at(0, path).ok(),
            _ => None,
        };
        let delegate = match planned {
            Some(plan) => Delegate::to_plan(plan, input),
            None => Delegate::to_planner(PLANNER, input),
        };
        let delegate = match &self.tools {
            Some(tools) => delegate.tools(tools),
            None => delegate,
        };
        let delegate = match self.budget {
            Some(budget) => delegate.budget(budget),
            None => delegate,
        };
        let step = Step::child(path.last().map_or("", String::as_str), delegate);
        match self.allowed {
            Some(allowed) => step.attempt_deadline(allowed),
            None => step,
        }
    }

    /// The tools that it may hand on.
    pub(super) fn needs(&self) -> Vec<String> {
        self.tools.clone().unwrap_or_else(|| self.work.tools())
    }
}
