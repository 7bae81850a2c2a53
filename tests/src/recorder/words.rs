//! What is said on the socket, one JSON object a line.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::audit::Totals;

/// What may be done with an effect whose outcome is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// No effect: the call is counted, nothing more.
    Pure,
    /// A repeated key is answered with the first result, and not applied again.
    Idempotent,
    /// A used key and a stale epoch are refused; a probe tells what happened.
    Probed,
    /// Applied each time it is called.
    Irreversible,
}

/// One call of a tool: what it asks the outside world to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Effect {
    /// The class that the tool was declared with.
    pub class: Class,
    /// The turn, by any name that the caller uses for it throughout.
    pub turn: String,
    /// The step within the turn.
    pub step: String,
    /// The idempotency key of the call.
    pub key: String,
    /// The epoch of the owner who acts.
    pub epoch: u64,
    /// Which attempt of the step this is.
    pub attempt: u64,
    /// Whatever the tool sends along; kept in the log, never looked at.
    #[serde(default)]
    pub payload: Value,
}

/// The name of a step.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepName {
    /// Its turn.
    pub turn: String,
    /// The step within the turn.
    pub step: String,
}

/// A promise not to accept a lower epoch for a step from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fence {
    /// The turn.
    pub turn: String,
    /// The step within the turn.
    pub step: String,
    /// The lowest epoch that may still act.
    pub epoch: u64,
}

/// The question of whether a key was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// The key.
    pub key: String,
    /// If given, it is durable before the answer, so that an answer of "not applied" stays true: a
    /// late call of an earlier owner is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Fence>,
}

/// One line to the recorder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Do this. Answered by `Applied`, `Counted` or `Refused`.
    Effect(Effect),
    /// Was it done? Answered by `Probed`.
    Probe(Probe),
    /// What an operator finds out who looks: what was done for this step. Answered by `Truth`.
    Truth(StepName),
    /// The totals. Answered by `Audit`.
    Audit {},
}

/// The result of an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// How often the effect of this step has been applied, this time included.
    pub times: u64,
    /// The number of this application among all, from 1.
    pub number: u64,
}

/// The answer to a pure call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// How often this step has called, this time included.
    pub calls: u64,
}

/// Why a probed effect was not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The key was applied before.
    #[serde(rename = "used key")]
    UsedKey,
    /// A higher epoch was seen for this step.
    #[serde(rename = "stale epoch")]
    StaleEpoch,
}

/// The answer to a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probed {
    /// The result, if the key was applied.
    pub applied: Option<Applied>,
}

/// What was done for a step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Truth {
    /// The last application, if there was one.
    pub applied: Option<Applied>,
    /// The number of calls, repeated and refused ones included.
    pub calls: u64,
    /// Every key that was used, in order of the alphabet.
    pub keys: Vec<String>,
}

/// One line from the recorder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The effect was applied, now or, for a repeated idempotent key, before.
    Applied(Applied),
    /// A pure call was counted.
    Counted(Counted),
    /// A probed effect was not applied.
    Refused(Refusal),
    /// The answer to a probe.
    Probed(Probed),
    /// The answer to a question for the truth.
    Truth(Truth),
    /// The totals.
    Audit(Totals),
    /// The line was not a request, or there are too many connections.
    Error(String),
}
