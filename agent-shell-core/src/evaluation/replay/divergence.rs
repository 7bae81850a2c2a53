//! Where a replay first differs from its record, and in what.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::difference::{Difference, differences};
use crate::ports::ModelRequest;
use crate::words::{StepId, TurnId};

/// The first thing that differs from the record: before it everything was the same, and after it the record says nothing.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Divergence {
    /// The turn's place among those of its session, from 1.
    pub number: usize,
    /// The recorded turn; none where the record is a recorder's file.
    pub turn: Option<TurnId>,
    /// The step, by its name in the replay, or in the record where it has none there; none when it is the turn itself.
    pub step: Option<StepId>,
    /// What differs.
    pub what: Differs,
    /// Where and how; of a question these are places of its [request](ModelRequest), of a call places of its arguments.
    pub differences: Vec<Difference>,
}

/// What differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Differs {
    /// The instructions of a question.
    Instructions,
    /// The tools that a question shows.
    Tools,
    /// The form of the answer that a question asks for.
    AnswerFormat,
    /// The settings of a question.
    Settings,
    /// The messages of a question.
    Messages,
    /// A question is asked that is not recorded.
    QuestionMore,
    /// A question is recorded that is not asked.
    QuestionLess,
    /// The arguments of a call, or its tool.
    Call,
    /// A call is made that is not recorded.
    CallMore {
        /// The tool.
        tool: String,
    },
    /// A call is recorded that is not made.
    CallLess {
        /// The tool.
        tool: String,
    },
    /// The tool does not take the recorded arguments any more.
    Arguments {
        /// What is wrong with them.
        problem: String,
    },
    /// The turn's end, although every question and every call was the same.
    Outcome,
    /// The turn did not come to an end, or was not taken.
    NoOutcome {
        /// Why.
        problem: String,
    },
    /// The record does not say how a question or a call ended.
    NotRecorded,
}

/// How a question differs from the recorded one: the first part that does, and every place. None when it is the same.
pub(super) fn of_requests(recorded: &ModelRequest, now: &ModelRequest) -> Option<(Differs, Vec<Difference>)> {
    if recorded == now {
        return None;
    }
    let (one, other) = (&recorded.prompt, &now.prompt);
    let parts = [
        (Differs::Instructions, one.instructions != other.instructions),
        (Differs::Tools, one.tools != other.tools),
        (Differs::AnswerFormat, one.answer != other.answer),
        (Differs::Settings, one.settings != other.settings),
    ];
    let what = parts.into_iter().find(|(_, differs)| *differs).map_or(Differs::Messages, |(what, _)| what);
    Some((what, differences(&readable(recorded), &readable(now))))
}

/// A request with its tools under their names, so that one tool more does not make all of them differ.
fn readable(request: &ModelRequest) -> Value {
    let mut value = json!(request);
    let tools: Map<String, Value> =
        request.prompt.tools.iter().map(|tool| (tool.name.to_string(), json!(tool))).collect();
    // Two orders of the same tools are two prompts.
    let order: Vec<&str> = request.prompt.tools.iter().map(|tool| tool.name.as_str()).collect();
    value["prompt"]["order_of_tools"] = json!(order.join(", "));
    value["prompt"]["tools"] = Value::Object(tools);
    value
}

impl fmt::Display for Differs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instructions => f.write_str("the instructions differ"),
            Self::Tools => f.write_str("the tools differ"),
            Self::AnswerFormat => f.write_str("the form of the answer differs"),
            Self::Settings => f.write_str("the settings differ"),
            Self::Messages => f.write_str("the messages differ"),
            Self::QuestionMore => f.write_str("a question is asked that is not recorded"),
            Self::QuestionLess => f.write_str("a recorded question is not asked"),
            Self::Call => f.write_str("the call differs"),
            Self::CallMore { tool } => write!(f, "`{tool}` is called, which is not recorded"),
            Self::CallLess { tool } => write!(f, "the recorded call of `{tool}` is not made"),
            Self::Arguments { problem } => write!(f, "the recorded arguments are not taken: {problem}"),
            Self::Outcome => f.write_str("the outcome differs"),
            Self::NoOutcome { problem } => write!(f, "there is no outcome: {problem}"),
            Self::NotRecorded => f.write_str("the record does not say how it ended"),
        }
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "turn {}", self.number)?;
        if let Some(turn) = self.turn {
            write!(f, " ({turn})")?;
        }
        if let Some(step) = &self.step {
            write!(f, ", step `{step}`")?;
        }
        write!(f, ": {}", self.what)?;
        self.differences.iter().try_for_each(|difference| write!(f, "\n  {difference}"))
    }
}
