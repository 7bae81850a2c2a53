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

pub(crate) use expected::Expected;

use crate::recorder::Class;

/// A turn as the harness knows it before the runtime has given it an id; also its dedupe key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct TurnKey {
    pub(crate) session: u64,
    pub(crate) number: u64,
}

impl TurnKey {
    /// The number of the last turn of each session.
    pub(crate) const CLOSING: u64 = u32::MAX as u64;
    /// The first session whose turns a model plans.
    pub(crate) const TALKS: u64 = 1 << 20;

    /// The first session whose turns are steered, interrupted, cancelled, guarded and undone.
    pub(crate) const CONTROLS: u64 = 1 << 21;

    /// Whether a model plans the turn: then nothing of it follows from the seed alone.
    pub(crate) fn talks(self) -> bool {
        (Self::TALKS..Self::CONTROLS).contains(&self.session)
    }

    /// Whether people meddle with the turn: then nothing of it follows from the seed alone.
    pub(crate) fn is_controlled(self) -> bool {
        self.session >= Self::CONTROLS
    }
}

impl fmt::Display for TurnKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}-t{}", self.session, self.number)
    }
}

/// The name of a session of the run.
pub(crate) fn session_name(session: u64) -> String {
    format!("crash-{session}")
}

/// A turn of the run.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) key: TurnKey,
    /// Each depends on earlier ones only.
    pub(crate) steps: Vec<StepSpec>,
    /// Rounds of planning; one with a fixed plan, or any number with the planner.
    pub(crate) rounds: usize,
    pub(crate) planned: bool,
    /// Whether an operator who finds that a step was not applied gives it up instead of trying again.
    pub(crate) gives_up: bool,
    /// Whether it is submitted only once, whatever becomes of the answer.
    pub(crate) once: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct StepSpec {
    pub(crate) id: String,
    pub(crate) act: Act,
    /// The round in which it is planned, from 0.
    pub(crate) round: usize,
    /// A number of its own.
    pub(crate) own: u64,
    /// Numbers of others.
    pub(crate) of: Vec<Source>,
    /// Steps that come before without giving a number, by their place.
    pub(crate) after: Vec<usize>,
    pub(crate) lock: Option<&'static str>,
    pub(crate) writes: Vec<(&'static str, Reducer, &'static str)>,
    pub(crate) fate: Fate,
}

/// Where a number comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The output of the step at this place.
    Step(usize),
    /// The sum that earlier steps left in the context.
    Sum,
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Tool(ToolKind),
    Timer { ms: u64 },
    Approval,
    Signal,
}

/// How a step is meant to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Succeeds,
    /// The approver says no.
    Denied,
    /// The tool refuses, and repeating is of no use.
    Refused,
}

/// The tools of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ToolKind {
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
    pub(crate) const ALL: [Self; 7] =
        [Self::Look, Self::Put, Self::Book, Self::Send, Self::Pay, Self::Wire, Self::Publish];

    pub(crate) fn name(self) -> &'static str {
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

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    pub(crate) fn class(self) -> Class {
        match self {
            Self::Look => Class::Pure,
            Self::Put | Self::Pay => Class::Idempotent,
            Self::Book => Class::Probed,
            Self::Send | Self::Wire | Self::Publish => Class::Irreversible,
        }
    }

    pub(crate) fn asks_first(self) -> bool {
        matches!(self, Self::Pay | Self::Wire)
    }

    pub(crate) fn is_held(self) -> bool {
        self == Self::Publish
    }
}

/// What every tool takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Work {
    pub(crate) own: u64,
    pub(crate) of: Vec<u64>,
    pub(crate) refuse: bool,
}

/// The number that a tool makes of its input.
pub(crate) fn number_of(kind: ToolKind, work: &Work) -> u64 {
    let of = work.of.iter().zip(1_u64..).fold(0_u64, |sum, (number, place)| sum + number * place);
    (kind as u64 * 7_919 + work.own * 31 + of) % 1_000_003
}

/// The output of a tool. One in four is so large that it is stored beside its record.
pub(crate) fn output_of(kind: ToolKind, work: &Work) -> Value {
    let number = number_of(kind, work);
    let pad = if number.is_multiple_of(4) { "x".repeat(600) } else { String::new() };
    json!({ "n": number, "set": [number % 30], "pad": pad })
}

impl Scenario {
    /// The number that the signal of a step carries.
    pub(crate) fn signal_number(&self, place: usize) -> u64 {
        self.steps[place].own * 3 + 1
    }

    /// The name of the signal for which a step waits, and the dedupe key with which it is sent.
    pub(crate) fn signal_name(&self, place: usize) -> String {
        format!("{}-{}", self.key, self.steps[place].id)
    }

    /// The place of a step.
    pub(crate) fn place(&self, step: &str) -> Option<usize> {
        self.steps.iter().position(|spec| spec.id == step)
    }

    /// The turn's input: its name, so that the journal can be read without the harness's notes.
    pub(crate) fn input(&self) -> Value {
        json!(self.key)
    }
}
