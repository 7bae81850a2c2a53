//! A step of a plan: what it does, what it waits for, and what it leaves in the turn's context.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ask::{Ask, Say};
use super::chat::Prompt;
use super::child::Delegate;
use super::contract::Retry;
use super::template::{self, Template};
use crate::words::{ContextKey, InvalidName, LockName, ModelName, SignalName, StepId, Timestamp, ToolName};

/// One step. It starts as soon as every step that it depends on has succeeded and its locks are free.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Step {
    /// Its name within the turn.
    pub id: StepId,
    /// What it does.
    pub action: Action,
    /// Steps that must have succeeded before, besides those whose output it takes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<StepId>,
    /// Steps that name a common lock run one after another.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locks: Vec<LockName>,
    /// What its output changes in the turn's context.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub writes: Vec<Write>,
    /// How failed attempts are repeated; without it, as the tool says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// How long one attempt may take, in milliseconds; without it, as the tool says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt_ms: Option<u64>,
    /// How long one attempt should take at most, in milliseconds: longer is told, and nothing else follows. Without it, as
    /// the turn's [`LatencyBudgets`](super::LatencyBudgets) say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<NonZeroU32>,
    /// Whether it waits until all else in the turn has succeeded. Nothing may depend on such a step.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// Whether the turn goes on when it fails. Who only awaits its end is then told; who needs its output fails as `Skipped`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_fail: bool,
    /// Whether it is made again when something that it has read of the turn's context changes while it runs. Only a `Pure` step
    /// may be; see [`Step::optimistic`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optimistic: bool,
    /// The id of the call that it makes for a model: so the model is told what became of it although its turn ended first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    #[serde(skip)]
    pub(super) fault: Option<Fault>,
}

/// The first name that was not valid when the step was written; a plan with the step is refused.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fault {
    /// The step's own, so that the step has none.
    Id(InvalidName),
    /// One that the step mentions.
    Name(InvalidName),
    /// Its latency budget is less than a millisecond.
    Latency,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// Calls a tool; the step's output is the tool's.
    Tool {
        /// The tool.
        name: ToolName,
        /// Its input.
        #[serde(serialize_with = "template::written")]
        input: Template,
    },
    /// Asks a model; the step's output is its answer: the text, or the JSON where the prompt asks for a form.
    Model(Box<Ask>),
    /// Lets a child session do it; the step's output is the child's answer.
    Child(Box<Delegate>),
    /// Waits for an actor's approval of what `shown` says. The output is null.
    Approval {
        /// What the approver is shown, and what the approval binds to.
        #[serde(serialize_with = "template::written")]
        shown: Template,
        /// How long it may be given, in milliseconds; without it, for ever.
        expires_ms: Option<u64>,
    },
    /// Waits for a signal; the output is its payload.
    Signal {
        /// The signal.
        name: SignalName,
        /// How long it may come, in milliseconds; without it, for ever.
        expires_ms: Option<u64>,
    },
    /// Waits so long, across restarts. The output tells how late it fired, in milliseconds.
    Timer {
        /// From the start of the step.
        delay_ms: u64,
    },
    /// Waits until an instant, across restarts. The output tells how late it fired, in milliseconds.
    TimerAt {
        /// The instant.
        at: Timestamp,
    },
}

/// A change of the turn's context by a step that succeeded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Write {
    /// The key that changes.
    pub key: ContextKey,
    /// How the delta is merged into the key's value.
    pub reducer: Reducer,
    /// Which part of the output is the delta, as an RFC 6901 pointer; empty for the whole.
    pub pointer: String,
}

/// How a delta is merged. The set is closed: the merged value is recorded, and no code of a host runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reducer {
    /// The delta becomes the value. Does not commute.
    Replace,
    /// The delta is appended to a list. Does not commute.
    Append,
    /// Integers are added; a sum beyond 64 bits fails the step.
    Sum,
    /// The larger of two numbers.
    Max,
    /// The smaller of two numbers.
    Min,
    /// The union of two lists without repeats, sorted by canonical JSON.
    Union,
}

impl Reducer {
    /// Whether the result is the same in whatever order deltas come.
    pub fn commutes(self) -> bool {
        !matches!(self, Self::Replace | Self::Append)
    }
}

impl Step {
    fn new(id: impl AsRef<str>, action: impl FnOnce() -> Result<Action, InvalidName>) -> Self {
        let placeholder = || Action::Timer { delay_ms: 0 };
        let unnamed = || StepId::new("unnamed").expect("a constant name is valid");
        let (id, action, fault) = match (StepId::new(id), action()) {
            (Ok(id), Ok(action)) => (id, action, None),
            (Ok(id), Err(error)) => (id, placeholder(), Some(Fault::Name(error))),
            (Err(error), _) => (unnamed(), placeholder(), Some(Fault::Id(error))),
        };
        Self {
            id,
            action,
            after: Vec::new(),
            locks: Vec::new(),
            writes: Vec::new(),
            retry: None,
            attempt_ms: None,
            latency_ms: None,
            held: false,
            may_fail: false,
            optimistic: false,
            call: None,
            fault,
        }
    }

    /// A step that undoes another: it calls a compensation, with what the machine gives it.
    pub(crate) fn undoing(id: StepId, tool: ToolName, locks: Vec<LockName>) -> Self {
        let action = Action::Tool { name: tool, input: Template::Value(serde_json::Value::Null) };
        let mut step = Self::new(id, || Ok(action));
        step.locks = locks;
        step
    }

    fn mentions(&mut self, wrong: InvalidName) {
        self.fault.get_or_insert(Fault::Name(wrong));
    }

    /// A step that calls a tool; its output is the tool's. A wrong name is reported when the plan is made, a name that no
    /// tool of the shell has when the plan is submitted.
    pub fn tool(id: impl AsRef<str>, tool: impl AsRef<str>, input: impl Into<Template>) -> Self {
        Self::new(id, || Ok(Action::Tool { name: ToolName::new(tool)?, input: input.into() }))
    }

    /// A step that asks a model, alone: nothing of the session's conversation is shown. Its output is the answer's text, or,
    /// where the prompt asks for a form, the answer as JSON. A wrong name is reported when the plan is made, a name that no
    /// model of the shell has when the plan is submitted.
    pub fn ask(
        id: impl AsRef<str>,
        model: impl AsRef<str>,
        prompt: Prompt,
        question: impl Into<Template>,
    ) -> Self {
        Self::new(id, || {
            let ask = Ask::new(ModelName::new(model)?, prompt, Say::User(question.into()));
            Ok(Action::Model(Box::new(ask)))
        })
    }

    /// A step that asks a model as `ask` says. For planners.
    pub fn model(id: impl AsRef<str>, ask: Ask) -> Self {
        Self::new(id, || Ok(Action::Model(Box::new(ask))))
    }

    /// A step that a child session does: a turn of its own, with a planner, an input and tools as `delegate` says. The
    /// step's output is the child's answer; a child that does not answer fails the step with
    /// [`FailureCode::Child`](super::FailureCode::Child). A child whose step has an
    /// [`attempt_deadline`](Self::attempt_deadline) has so long to answer. It is started once.
    pub fn child(id: impl AsRef<str>, delegate: Delegate) -> Self {
        Self::new(id, || match delegate.invalid {
            Some(error) => Err(error),
            None => Ok(Action::Child(Box::new(delegate))),
        })
    }

    /// A step that undoes what a child did.
    pub(crate) fn undoing_child(id: StepId, delegate: Box<Delegate>, locks: Vec<LockName>) -> Self {
        let mut step = Self::new(id, || Ok(Action::Child(delegate)));
        step.locks = locks;
        step
    }

    /// A step that waits until an actor approves what `shown` says. Its output is null. Denied, it fails with `Denied`;
    /// it waits for ever unless it [expires](Self::expires). A call that asks first needs none of these:
    /// [`Tool::ask_first`](crate::Tool::ask_first).
    pub fn approval(id: impl AsRef<str>, shown: impl Into<Template>) -> Self {
        Self::new(id, || Ok(Action::Approval { shown: shown.into(), expires_ms: None }))
    }

    /// A step that waits for a signal ([`Session::signal`](crate::Session::signal)). Its output is the signal's payload.
    /// It takes the first that came and that no other step has taken, also one that came before the step, or the turn,
    /// began; it waits for ever unless it [expires](Self::expires).
    pub fn signal(id: impl AsRef<str>, name: impl AsRef<str>) -> Self {
        Self::new(id, || Ok(Action::Signal { name: SignalName::new(name)?, expires_ms: None }))
    }

    /// A step that waits so long, in whole milliseconds, across restarts, counted from when the step could start. Its output
    /// is `{"late_ms": n}`: how late it fired, in milliseconds.
    pub fn timer(id: impl AsRef<str>, delay: Duration) -> Self {
        Self::new(id, || Ok(Action::Timer { delay_ms: millis(delay) }))
    }

    /// A step that waits until an instant, across restarts. Its output is `{"late_ms": n}`, as that of
    /// [`timer`](Self::timer).
    pub fn timer_at(id: impl AsRef<str>, at: Timestamp) -> Self {
        Self::new(id, || Ok(Action::TimerAt { at }))
    }

    /// Starts only after these steps have succeeded.
    #[must_use]
    pub fn after<S: AsRef<str>>(mut self, steps: impl IntoIterator<Item = S>) -> Self {
        for step in steps {
            match StepId::new(step) {
                Ok(step) => self.after.push(step),
                Err(error) => self.mentions(error),
            }
        }
        self
    }

    /// Never runs beside another step with the same lock.
    #[must_use]
    pub fn lock(mut self, name: impl AsRef<str>) -> Self {
        match LockName::new(name) {
            Ok(lock) => self.locks.push(lock),
            Err(error) => self.mentions(error),
        }
        self
    }

    /// Merges the output, or the part of it that the RFC 6901 pointer names, into a key of the turn's context.
    #[must_use]
    pub fn writes(mut self, key: impl AsRef<str>, reducer: Reducer, pointer: impl Into<String>) -> Self {
        match ContextKey::new(key) {
            Ok(key) => self.writes.push(Write { key, reducer, pointer: pointer.into() }),
            Err(error) => self.mentions(error),
        }
        self
    }

    /// Repeats failed attempts as `retry` says, instead of as the tool says.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = Some(retry);
        self
    }

    /// Ends an attempt that takes longer, instead of when the tool says.
    #[must_use]
    pub fn attempt_deadline(mut self, deadline: Duration) -> Self {
        self.attempt_ms = Some(millis(deadline));
        self
    }

    /// Tells when an attempt takes longer, instead of when the turn's
    /// [`LatencyBudgets`](super::LatencyBudgets) say: with a record and an event, once. The attempt goes on. In whole
    /// milliseconds, of which there is at least one; for steps that call a tool or ask a model.
    #[must_use]
    pub fn latency_budget(mut self, budget: Duration) -> Self {
        self.latency_ms = NonZeroU32::new(u32::try_from(budget.as_millis()).unwrap_or(u32::MAX));
        if self.latency_ms.is_none() {
            self.fault.get_or_insert(Fault::Latency);
        }
        self
    }

    /// Ends a wait for an approval or a signal that takes longer; the step fails with `Expired`.
    #[must_use]
    pub fn expires(mut self, after: Duration) -> Self {
        if let Action::Approval { expires_ms, .. } | Action::Signal { expires_ms, .. } = &mut self.action {
            *expires_ms = Some(millis(after));
        }
        self
    }

    /// Waits until all else in the turn has succeeded. Nothing may depend on it.
    #[must_use]
    pub fn held(mut self) -> Self {
        self.held = true;
        self
    }

    /// Lets the turn go on when the step fails.
    #[must_use]
    pub fn may_fail(mut self) -> Self {
        self.may_fail = true;
        self
    }

    /// Reads the turn's context beside steps that change it, without a [lock](Self::lock): when a value that its input is made
    /// of has changed by the time that it ends, its result counts for nothing and it is made again, of what the context holds
    /// by then. So its outcome stands beside the very values that it has read, whatever ran meanwhile, also after a crash.
    ///
    /// Only a step that touches nothing may be made again so: a call of a [`Pure`](crate::Tool::pure) tool, or a question
    /// [alone](Self::ask), which is billed each time. Another kind of step is refused with its plan, a call of a tool of another
    /// class when the plan is adopted.
    ///
    /// It is no failed attempt: no retry is used up, and nothing pauses. It comes to an end, because each time another step must
    /// have written, and a turn has so many steps at most. An approval or a ruling of guards that it had got counts for the
    /// input that it had, so a changed one is asked about anew. Without this a step that reads what an unordered one writes is
    /// refused with the plan.
    ///
    /// ```
    /// use agent_shell_core::{Plan, Reducer, Step, Template, context, input};
    ///
    /// let count = |id: &str, from: &str| {
    ///     Step::tool(id, "count", input(from)).writes("words", Reducer::Sum, "")
    /// };
    /// let seen = Template::object([("words", context("words"))]);
    /// let plan = Plan::new([
    ///     count("title", "/title"),
    ///     count("body", "/body"),
    ///     // Runs beside the two, and again when one of them has written.
    ///     Step::tool("estimate", "estimate", seen).optimistic(),
    /// ])?;
    /// # assert_eq!(plan.steps().len(), 3);
    /// # Ok::<_, agent_shell_core::data::PlanError>(())
    /// ```
    #[must_use]
    pub fn optimistic(mut self) -> Self {
        self.optimistic = true;
        self
    }

    /// Makes the call with this id, of the last message of the session's conversation. For planners.
    #[must_use]
    pub fn for_call(mut self, id: impl Into<String>) -> Self {
        self.call = Some(id.into());
        self
    }

    /// The template from which the step's input is made, when it has one.
    pub fn template(&self) -> Option<&Template> {
        match &self.action {
            Action::Tool { input, .. } => Some(input),
            Action::Approval { shown, .. } => Some(shown),
            Action::Model(ask) => ask.template(),
            Action::Child(delegate) => Some(&delegate.input),
            _ => None,
        }
    }

    /// The steps that must have succeeded before this one starts, each once.
    pub fn needs(&self) -> BTreeSet<&StepId> {
        let mut steps = self.template().map(Template::steps).unwrap_or_default();
        steps.extend(&self.after);
        steps
    }

    /// The steps that must have ended before this one starts, well or not, but for those that are held back.
    pub fn awaits(&self) -> BTreeSet<&StepId> {
        match &self.action {
            Action::Model(ask) => ask.awaits(),
            _ => BTreeSet::new(),
        }
    }

    /// The steps that come before this one, each once.
    pub fn dependencies(&self) -> BTreeSet<&StepId> {
        let mut steps = self.needs();
        steps.extend(self.awaits());
        steps
    }

    /// The question, when it is one in the session's conversation.
    pub(super) fn converses(&self) -> Option<&Ask> {
        match &self.action {
            Action::Model(ask) => ask.first_shown.map(|_| &**ask),
            _ => None,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
