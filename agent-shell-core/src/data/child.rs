//! Children: what a step hands to a session of its own, and what parent and child tell each other.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::body::PlannerRef;
use super::budget::{Account, Ceiling};
use super::chat::AnswerFormat;
use super::outcome::Outcome;
use super::plan::Plan;
use super::template::{self, Template};
use crate::words::{InvalidName, PlannerName, SessionId, SessionName, StepId, ToolName, TurnId};

/// What a step lets a child do: a turn in a session of its own, with a planner, an input, and no more tools than these.
///
/// The child has its parent's tenant, subject and actor. Its answer is the step's output. What it applied is undone when its
/// parent's turn undoes the step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Delegate {
    /// Who plans the child's turn.
    pub planner: PlannerRef,
    /// Its input.
    #[serde(serialize_with = "template::written")]
    pub input: Template,
    /// The tools that the child may use; without it, those that its parent may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<BTreeSet<ToolName>>,
    /// What the child's turn may spend, besides what its parent's may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Ceiling>,
    /// The form that the child's answer must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wants: Option<AnswerFormat>,
    /// The first name that was not valid when this was written; a plan with it is refused.
    #[serde(skip)]
    pub(super) invalid: Option<InvalidName>,
}

impl Delegate {
    fn new(planner: PlannerRef, input: Template) -> Self {
        Self { planner, input, tools: None, budget: None, wants: None, invalid: None }
    }

    /// To a planner of the shell. A wrong name is reported when the plan is made, one that no planner of the shell has when
    /// the plan is adopted.
    pub fn to_planner(planner: impl AsRef<str>, input: impl Into<Template>) -> Self {
        let unnamed = || PlannerName::new("unnamed").expect("a constant name is valid");
        let (planner, invalid) = match PlannerName::new(planner) {
            Ok(planner) => (planner, None),
            Err(error) => (unnamed(), Some(error)),
        };
        Self { invalid, ..Self::new(PlannerRef::Named(planner), input.into()) }
    }

    /// A fixed plan, whose templates may use the input.
    pub fn to_plan(plan: Plan, input: impl Into<Template>) -> Self {
        Self::new(PlannerRef::Fixed(plan), input.into())
    }

    /// Lets the child use these tools alone. They must be among those that its parent may use. What undoes a call of them
    /// is no call of the child's, and need not be named.
    #[must_use]
    pub fn tools<T: AsRef<str>>(mut self, tools: impl IntoIterator<Item = T>) -> Self {
        let allowed = self.tools.get_or_insert_default();
        for tool in tools {
            match ToolName::new(tool) {
                Ok(tool) => drop(allowed.insert(tool)),
                Err(error) => drop(self.invalid.get_or_insert(error)),
            }
        }
        self
    }

    /// What the child's turn may spend. What it spends counts against its parent's turn and session as well, and so on up.
    #[must_use]
    pub fn budget(mut self, ceiling: Ceiling) -> Self {
        self.budget = Some(ceiling);
        self
    }

    /// The form that the child's answer must have: the JSON Schema of `T`.
    #[must_use]
    pub fn wants<T: schemars::JsonSchema>(mut self) -> Self {
        let schema = schemars::schema_for!(T).to_value();
        self.wants = Some(AnswerFormat { name: T::schema_name().into_owned(), schema });
        self
    }
}

/// Whose child a session is. Sealed beside the session's entry before the child starts, so whoever starts it again after a
/// crash starts the same turn; and said by the session's first record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChildOf {
    /// The parent's session.
    pub session: SessionId,
    /// The parent's turn.
    pub turn: TurnId,
    /// The step of it.
    pub step: StepId,
    /// The turn of the child that the step waits for. Other turns of the session are nobody's child.
    pub child: TurnId,
    /// How many sessions stand above this one: 1 for the child of a session that is nobody's.
    pub depth: u32,
    /// The tools that the session may use; all of the shell's without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<BTreeSet<ToolName>>,
    /// The accounts of the sessions and turns above it that had a ceiling when the child was made: the child's attempts
    /// must fit under these, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub under: Vec<Share>,
}

impl ChildOf {
    /// The child of a step, without bounds of its own.
    pub fn new(session: SessionId, turn: TurnId, step: StepId, child: TurnId, depth: u32) -> Self {
        Self { session, turn, step, child, depth, tools: None, under: Vec::new() }
    }

    /// The name of the child's session. It is the same whoever makes it.
    pub(crate) fn name(&self) -> Result<SessionName, InvalidName> {
        SessionName::new(format!("{}/{}/{}", self.session, self.turn, self.step))
    }

    /// Whether the session may use a tool.
    pub fn allows(&self, tool: &ToolName) -> bool {
        self.tools.as_ref().is_none_or(|tools| tools.contains(tool))
    }
}

/// An account of a parent, and what it may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// The account.
    pub account: Account,
    /// Its ceiling.
    pub ceiling: Ceiling,
}

/// What a parent's session and a child's tell each other. It is posted in the append of the record that it follows from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ChildMail {
    /// To the parent: the child's turn has answered, or ended.
    Ended(Box<ChildEnd>),
    /// To the child: its parent's turn ended, and nothing of it is undone. A child that has answered ends.
    Release {
        /// The child's turn.
        turn: TurnId,
    },
    /// To the child: it is cancelled, or undone when it has answered.
    Cancel {
        /// The child's turn.
        turn: TurnId,
        /// Why.
        reason: String,
    },
}

/// How a child's turn stands when it has answered or ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChildEnd {
    /// The parent's turn.
    pub turn: TurnId,
    /// The step of it.
    pub step: StepId,
    /// The child's turn.
    pub child: TurnId,
    /// How it ended, or what it answered.
    pub outcome: Outcome,
    /// Whether it can be undone, and waits for what becomes of its parent's turn.
    pub waits: bool,
    /// Whether anything of it stays applied.
    pub applied: bool,
    /// Whether untrusted content was read in it.
    pub untrusted: bool,
}

impl ChildEnd {
    /// How a child stands to its parent that has ended, and of which nothing stays applied.
    pub fn new(of: &ChildOf, outcome: Outcome) -> Self {
        let (turn, step, child) = (of.turn, of.step.clone(), of.child);
        Self { turn, step, child, outcome, waits: false, applied: false, untrusted: false }
    }
}
