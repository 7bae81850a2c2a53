//! The report of many runs.

use std::fmt::Write;

use serde_json::{Value, json};

use super::coverage::Coverage;
use super::run::Outcome;

/// What many runs add up to.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) runs: u64,
    pub(super) records: u64,
    pub(super) polls: u64,
    pub(super) lasted_ms: u64,
    pub(super) coverage: Coverage,
    /// The runs that broke a promise.
    pub(super) broken: Vec<Outcome>,
}

impl Report {
    pub(super) fn add(&mut self, outcome: Outcome) {
        self.runs += 1;
        self.records += outcome.records;
        self.polls += outcome.polls;
        self.lasted_ms += outcome.lasted.as_millis() as u64;
        self.coverage.add(&outcome.coverage);
        if !outcome.breaches.is_empty() {
            self.broken.push(outcome);
        }
    }

    pub(super) fn table(&self) -> String {
        let mut out = String::new();
        let mut line = |name: &str, count: u64| {
            writeln!(out, "{count:>12}  {name}").expect("writing to a String does not fail");
        };
        for (name, count) in self.coverage.rows() {
            line(&name, count);
        }
        line("runs", self.runs);
        line("records", self.records);
        line("polls", self.polls);
        line("simulated seconds", self.lasted_ms / 1000);
        line("runs that broke a promise", self.broken.len() as u64);
        out
    }

    pub(super) fn json(&self) -> Value {
        let broken = self.broken.iter().map(|run| json!({ "seed": run.seed, "breaches": run.breaches }));
        json!({
            "runs": self.runs,
            "records": self.records,
            "polls": self.polls,
            "simulated_ms": self.lasted_ms,
            "coverage": self.coverage.json(),
            "broken": broken.collect::<Vec<_>>(),
        })
    }
}
