//! What a turn does, and what must come of it. Both follow from the seed and the turn's name; nothing here asks the
//! runtime.

mod draw;
mod expected;
mod plan;
#[cfg(test)]
mod tests;

use std::fmt;

use agent_shell_core::Reducer;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(super) use expected::Expected;

use crate::recorder::Class;

/// A turn as the harness knows it before the runtime has given it an id; also its dedupe key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct TurnKey {
    pub(super) session: u64,
    pub(super) number: u64,
}

impl TurnKey {
    /// The number of the last turn of each session.
    pub(super) const CLOSING: u64 = u32::MAX as u64;
}

impl fmt::Display for TurnKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}-t{}", self.session, self.number)
    }
}

/// The name of a session of the run.
pub(super) fn session_name(session: u64) -> String {
    format!("crash-{session}")
}

/// A turn of the run.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) key: TurnKey,
    /// Each depends on earlier ones only.
    pub(super) steps: Vec<StepSpec>,
    /// Rounds of planning; one with a fixed plan, or any number with the planner.
    pub(super) rounds: usize,
    pub(super) planned: bool,
    /// Whether an operator who finds that a step was not applied gives it up instead of trying again.
    pub(super) gives_up: bool,
    /// Whether it is submitted only once, whatever becomes of the answer.
    pub(super) once: bool,
}

#[derive(Clone, Debug)]
pub(super) struct StepSpec {
    pub(super) id: String,
    pub(super) act: Act,
    /// The round in which it is planned, from 0.
    pub(super) round: usize,
    /// A number of its own.
    pub(super) own: u64,
    /// Numbers of others.
    pub(super) of: Vec<Source>,
    /// Steps that come before without giving a number, by their place.
    pub(super) after: Vec<usize>,
    pub(super) lock: Option<&'static str>,
    pub(super) writes: Vec<(&'static str, Reducer, &'static str)>,
    pub(super) fate: Fate,
}

/// Where a number comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The output of the step at this place.
    Step(usize),
    /// The sum that earlier steps left in the context.
    Sum,
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Tool(ToolKind),
    Timer { ms: u64 },
    Approval,
    Signal,
}

/// How a step is meant to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Succeeds,
    /// The approver says no.
    Denied,
    /// The tool refuses, and repeating is of no use.
    Refused,
}

/// The tools of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ToolKind {
    Look,
    Put,
    Book,
    Send,
    /// Idempotent, and asks first.
    Pay,
    /// Irreversible, and asks first.
    Wire,
    /// Irreversible, and held until all else has succeeded.
    Publish,
}

impl ToolKind {
    pub(super) const ALL: [Self; 7] =
        [Self::Look, Self::Put, Self::Book, Self::Send, Self::Pay, Self::Wire, Self::Publish];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Look => "look",
            Self::Put => "put",
            Self::Book => "book",
            Self::Send => "send",
            Self::Pay => "pay",
            Self::Wire => "wire",
            Self::Publish => "publish",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    pub(super) fn class(self) -> Class {
        match self {
            Self::Look => Class::Pure,
            Self::Put | Self::Pay => Class::Idempotent,
            Self::Book => Class::Probed,
            Self::Send | Self::Wire | Self::Publish => Class::Irreversible,
        }
    }

    pub(super) fn asks_first(self) -> bool {
        matches!(self, Self::Pay | Self::Wire)
    }

    pub(super) fn is_held(self) -> bool {
        self == Self::Publish
    }
}

/// What every tool takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Work {
    pub(super) own: u64,
    pub(super) of: Vec<u64>,
    pub(super) refuse: bool,
}

/// The number that a tool makes of its input.
pub(super) fn number_of(kind: ToolKind, work: &Work) -> u64 {
    let of = work.of.iter().zip(1_u64..).fold(0_u64, |sum, (number, place)| sum + number * place);
    (kind as u64 * 7_919 + work.own * 31 + of) % 1_000_003
}

/// The output of a tool. One in four is so large that it is stored beside its record.
pub(super) fn output_of(kind: ToolKind, work: &Work) -> Value {
    let number = number_of(kind, work);
    let pad = if number.is_multiple_of(4) { "x".repeat(600) } else { String::new() };
    json!({ "n": number, "set": [number % 30], "pad": pad })
}

impl Scenario {
    /// The number that the signal of a step carries.
    pub(super) fn signal_number(&self, place: usize) -> u64 {
        self.steps[place].own * 3 + 1
    }

    /// The name of the signal for which a step waits, and the dedupe key with which it is sent.
    pub(super) fn signal_name(&self, place: usize) -> String {
        format!("{}-{}", self.key, self.steps[place].id)
    }

    /// The place of a step.
    pub(super) fn place(&self, step: &str) -> Option<usize> {
        self.steps.iter().position(|spec| spec.id == step)
    }

    /// The turn's input: its name, so that the journal can be read without the harness's notes.
    pub(super) fn input(&self) -> Value {
        json!(self.key)
    }
}
