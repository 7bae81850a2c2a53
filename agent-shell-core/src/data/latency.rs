//! Latency budgets: how long each stage of a turn may take. One that takes longer is told, and nothing else comes of it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a latency budget bounds: a stage of a turn, or the turn as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LatencyStage {
    /// From when the request was posted to the turn's first record, on the wall clock: what waits for an earlier turn of the
    /// session, for a place, or for a process, waits here.
    Accept,
    /// From when a planner is asked for a round to its answer.
    Plan,
    /// From when nothing but the runtime keeps an attempt at a step from its begin, to that: all that it depends on is there,
    /// it is approved, the pause after the attempt before is over. The begin is the record of its intent where there is one.
    Schedule,
    /// From when an append is asked for to when it is durable, its repeats included.
    Append,
    /// One attempt at a question to a model, from its begin to its end.
    Model,
    /// One attempt at a call of a tool, from its begin to its end; also of one that undoes another.
    Tool,
    /// From when the request was posted to the end of the turn, on the wall clock, all waits included.
    Turn,
}

impl LatencyStage {
    /// Every one.
    pub const ALL: [Self; 7] =
        [Self::Accept, Self::Plan, Self::Schedule, Self::Append, Self::Model, Self::Tool, Self::Turn];

    /// Its name, as records and events say it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Plan => "plan",
            Self::Schedule => "schedule",
            Self::Append => "append",
            Self::Model => "model",
            Self::Tool => "tool",
            Self::Turn => "turn",
        }
    }
}

impl fmt::Display for LatencyStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How long each stage of a turn may take, in whole milliseconds; no bound where none is set. What takes exactly so long
/// is within its budget.
///
/// ```
/// use agent_shell_core::data::{LatencyBudgets, LatencyStage};
/// use std::time::Duration;
///
/// let budgets = LatencyBudgets::NONE
///     .with(LatencyStage::Tool, Duration::from_millis(500))
///     .with(LatencyStage::Turn, Duration::from_secs(10));
/// assert_eq!((budgets.tool_ms, budgets.of(LatencyStage::Turn)), (Some(500), Some(10_000)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct LatencyBudgets {
    /// That of [`LatencyStage::Accept`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accept_ms: Option<u64>,
    /// That of [`LatencyStage::Plan`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan_ms: Option<u64>,
    /// That of [`LatencyStage::Schedule`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule_ms: Option<u64>,
    /// That of [`LatencyStage::Append`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub append_ms: Option<u64>,
    /// That of [`LatencyStage::Model`], where the step has none of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_ms: Option<u64>,
    /// That of [`LatencyStage::Tool`], where the step has none of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_ms: Option<u64>,
    /// That of [`LatencyStage::Turn`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turn_ms: Option<u64>,
}

impl LatencyBudgets {
    /// No bound at all.
    pub const NONE: Self = Self {
        accept_ms: None,
        plan_ms: None,
        schedule_ms: None,
        append_ms: None,
        model_ms: None,
        tool_ms: None,
        turn_ms: None,
    };

    /// How long a stage may take, in milliseconds.
    pub const fn of(&self, stage: LatencyStage) -> Option<u64> {
        match stage {
            LatencyStage::Accept => self.accept_ms,
            LatencyStage::Plan => self.plan_ms,
            LatencyStage::Schedule => self.schedule_ms,
            LatencyStage::Append => self.append_ms,
            LatencyStage::Model => self.model_ms,
            LatencyStage::Tool => self.tool_ms,
            LatencyStage::Turn => self.turn_ms,
        }
    }

    /// The same with a bound for a stage, in whole milliseconds. A shell with one of less than a millisecond does not open.
    #[must_use]
    pub fn with(mut self, stage: LatencyStage, budget: Duration) -> Self {
        let member = match stage {
            LatencyStage::Accept => &mut self.accept_ms,
            LatencyStage::Plan => &mut self.plan_ms,
            LatencyStage::Schedule => &mut self.schedule_ms,
            LatencyStage::Append => &mut self.append_ms,
            LatencyStage::Model => &mut self.model_ms,
            LatencyStage::Tool => &mut self.tool_ms,
            LatencyStage::Turn => &mut self.turn_ms,
        };
        *member = Some(u64::try_from(budget.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// What is wrong with them, if anything: nothing ends before it began.
    pub(crate) fn problem(&self) -> Option<String> {
        let zero = LatencyStage::ALL.into_iter().find(|stage| self.of(*stage) == Some(0))?;
        Some(format!("the latency budget `{zero}` is 0 ms: it must be at least 1 ms"))
    }
}

/// How long something took, in whole milliseconds, rounded up: so what took longer than a budget says more than it.
pub(crate) fn took_ms(took: Duration) -> u64 {
    u64::try_from(took.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_millisecond_counts_as_one() {
        let took = |nanos| took_ms(Duration::from_nanos(nanos));
        assert_eq!((took(0), took(1), took(1_000_000), took(1_000_001)), (0, 1, 1, 2));
        assert_eq!(took_ms(Duration::MAX), u64::MAX);
    }
}
