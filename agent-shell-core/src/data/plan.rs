//! A plan: a directed acyclic graph of steps, checked when it is made.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

use super::ask::{PromptRef, Say};
use super::canonical::NotCanonical;
use super::chat::Prompt;
use super::step::{Action, Fault, Reducer, Step};
use super::template::{self, Template};
use crate::words::{ContextKey, Digest, InvalidName, StepId};

/// A checked plan. Every plan that exists has unique ids, known references, pointers that are pointers, no cycle, at most
/// [`Plan::MAX_STEPS`] steps, and no two unordered steps whose order would change the context.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Draft")]
pub struct Plan {
    draft: Draft,
}

/// How the names of steps begin that undo others.
const UNDO: &str = "undo:";

/// The name of the step that undoes the step at `place` of its turn.
pub(crate) fn undo_of(step: &StepId, place: usize) -> StepId {
    let by_name = StepId::new(format!("{UNDO}{step}"));
    by_name.or_else(|_| StepId::new(format!("{UNDO}{place}"))).unwrap_or_else(|_| step.clone())
}

/// Whether a step undoes another one.
pub(crate) fn is_undo(step: &StepId) -> bool {
    step.as_str().starts_with(UNDO)
}

/// Why steps do not make a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// There is no step.
    #[error("the plan has no step: a plan needs at least one")]
    Empty,
    /// There are too many.
    #[error("the plan has {found} steps: at most {allowed} are allowed; plan in rounds")]
    TooManySteps {
        /// How many there are.
        found: usize,
        /// How many are allowed.
        allowed: usize,
    },
    /// A name is not valid.
    #[error("{part}: {error}")]
    Name {
        /// What holds it.
        part: PlanPart,
        /// What is wrong with it.
        error: InvalidName,
    },
    /// A pointer into a value is not one as RFC 6901 defines it.
    #[error(
        "{part}: `{pointer}` is no pointer (RFC 6901): leave it empty for the whole, or begin each member with `/`; \
         inside a name write `~` as `~0`, and `/` as `~1`"
    )]
    Pointer {
        /// What holds it.
        part: PlanPart,
        /// The text that is none.
        pointer: String,
    },
    /// A step has a name that only steps which undo others have.
    #[error(
        "step `{step}`: names that begin with `{UNDO}` are those of steps that undo others: give it another one"
    )]
    Reserved {
        /// The name.
        step: StepId,
    },
    /// Two steps have one name.
    #[error("two steps are called `{step}`: give each its own id")]
    Duplicate {
        /// The name.
        step: StepId,
    },
    /// A step depends on one that there is not.
    #[error("step `{step}` depends on `{missing}`, which is neither in the plan nor among the earlier steps")]
    Unknown {
        /// The step.
        step: String,
        /// What it names.
        missing: StepId,
    },
    /// A step depends on itself, directly or not.
    #[error("the plan has a cycle through step `{step}`")]
    Cycle {
        /// A step of the cycle.
        step: StepId,
    },
    /// A step depends on one that is held back.
    #[error("step `{step}` depends on `{held}`, which is held back until all else has succeeded")]
    DependsOnHeld {
        /// The step.
        step: String,
        /// The held step.
        held: StepId,
    },
    /// Two steps that may end in either order change or read one context key in a way that depends on the order.
    #[error(
        "steps `{first}` and `{second}` may end in either order, and what they do with context key `{key}` depends \
         on it: order them with `after`, use a reducer that commutes, or let a `Pure` reader be optimistic"
    )]
    OrderMatters {
        /// One of the steps.
        first: StepId,
        /// The other.
        second: StepId,
        /// The key.
        key: ContextKey,
    },
    /// A step can't be made again when the context has changed.
    #[error(
        "step `{step}` is optimistic, and only a call of a `Pure` tool or a question alone can be made again: order it \
         with `after`, or give it and the writers of what it reads a common lock"
    )]
    Optimistic {
        /// The step.
        step: StepId,
    },
    /// A step has a latency budget that it can't have.
    #[error(
        "step `{step}` can't have this latency budget: it must be at least a millisecond, and be that of a step which \
         calls a tool or asks a model"
    )]
    Latency {
        /// The step.
        step: StepId,
    },
    /// A question to a model can't be asked.
    #[error("step `{step}`: {error}")]
    Ask {
        /// The step.
        step: StepId,
        /// What is wrong.
        error: AskError,
    },
}

/// What is wrong with a question to a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// Results, a correction, a summary or later inputs without a conversation.
    #[error(
        "only a question in the session's conversation can bring results, corrections or summaries, or what came while the turn ran"
    )]
    Alone,
    /// What it says would depend on when it is asked.
    #[error(
        "what is said in the session's conversation can't be made from the turn's context: take it from an output"
    )]
    ReadsContext,
    /// Another question in the conversation may be asked at the same time.
    #[error("it and `{other}` both speak in the session's conversation: order them with `after`")]
    Unordered {
        /// The other question.
        other: StepId,
    },
}

/// A part of a plan, as an error names it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanPart {
    /// The step with this id.
    Step(StepId),
    /// The step at this place, from 1, whose id is itself not valid.
    Nth(usize),
    /// What the plan answers.
    Answer,
}

impl fmt::Display for PlanPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step(step) => write!(f, "step `{step}`"),
            Self::Nth(place) => write!(f, "step number {place} of the plan"),
            Self::Answer => f.write_str("the plan's answer"),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Draft {
    steps: Vec<Step>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    earlier: BTreeSet<StepId>,
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "template::maybe_written")]
    answer: Option<Template>,
    #[serde(default, skip_serializing_if = "is_none")]
    steers: u32,
}

fn is_none(count: &u32) -> bool {
    *count == 0
}

impl Plan {
    /// The most steps of one plan.
    pub const MAX_STEPS: usize = 4096;

    /// Checks `steps` and makes them a plan.
    ///
    /// # Errors
    /// [`PlanError`] says what is wrong and where.
    pub fn new(steps: impl IntoIterator<Item = Step>) -> Result<Self, PlanError> {
        Self::builder().steps(steps).build()
    }

    /// Starts a plan that needs more than steps.
    pub fn builder() -> PlanBuilder {
        PlanBuilder { draft: Draft::default() }
    }

    /// The steps, in the order given.
    pub fn steps(&self) -> &[Step] {
        &self.draft.steps
    }

    /// Steps of earlier rounds that this plan may refer to.
    pub fn earlier(&self) -> &BTreeSet<StepId> {
        &self.draft.earlier
    }

    /// How many of the inputs that came while the turn ran this plan, and those before it, have taken up.
    pub fn steers(&self) -> u32 {
        let asks = self.draft.steps.iter().filter_map(|step| match &step.action {
            Action::Model(ask) => Some(ask.steers),
            _ => None,
        });
        asks.fold(self.draft.steers, u32::max)
    }

    /// Puts the digest in the place of every prompt, and returns the prompts.
    pub(crate) fn take_prompts(&mut self) -> Result<BTreeMap<Digest, Arc<Prompt>>, NotCanonical> {
        let mut prompts = BTreeMap::new();
        for step in &mut self.draft.steps {
            if let Action::Model(ask) = &mut step.action
                && let PromptRef::Whole(prompt) = &ask.prompt
            {
                let digest = prompt.digest()?;
                prompts.entry(digest).or_insert_with(|| prompt.clone());
                ask.prompt = PromptRef::Recorded(digest);
            }
        }
        Ok(prompts)
    }

    /// What the turn answers when the plan is done. Without it: the output of the one step on which no other depends,
    /// as it is; where there are several such steps, an object with the output of each under the step's id.
    pub fn answer(&self) -> Option<&Template> {
        self.draft.answer.as_ref()
    }
}

/// As its parts: `#[serde(into)]` would copy them all first.
impl Serialize for Plan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.draft.serialize(serializer)
    }
}

/// Collects the parts of a plan.
#[derive(Debug, Clone)]
pub struct PlanBuilder {
    draft: Draft,
}

impl PlanBuilder {
    /// Adds a step.
    #[must_use]
    pub fn step(mut self, step: Step) -> Self {
        self.draft.steps.push(step);
        self
    }

    /// Adds steps.
    #[must_use]
    pub fn steps(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.draft.steps.extend(steps);
        self
    }

    /// Lets the plan refer to steps of earlier rounds of its turn.
    #[must_use]
    pub fn earlier(mut self, steps: impl IntoIterator<Item = StepId>) -> Self {
        self.draft.earlier.extend(steps);
        self
    }

    /// Takes up what came while the turn ran: so many of its inputs, counted from the first. What no plan takes up becomes a turn
    /// of its own. A question that [says them](super::Ask::steers) takes them up without this.
    #[must_use]
    pub fn takes_up(mut self, steers: u32) -> Self {
        self.draft.steers = steers;
        self
    }

    /// What the turn answers when the plan is done.
    #[must_use]
    pub fn answer(mut self, answer: impl Into<Template>) -> Self {
        self.draft.answer = Some(answer.into());
        self
    }

    /// Checks the plan.
    ///
    /// # Errors
    /// [`PlanError`] says what is wrong and where.
    pub fn build(self) -> Result<Plan, PlanError> {
        self.draft.try_into()
    }
}

impl TryFrom<Draft> for Plan {
    type Error = PlanError;

    fn try_from(draft: Draft) -> Result<Self, PlanError> {
        check_names(&draft)?;
        let index = check_references(&draft)?;
        let order = topological(&draft, &index)?;
        check_questions(&draft, &index, &order)?;
        check_optimistic(&draft)?;
        check_context(&draft, &index, &order)?;
        Ok(Self { draft })
    }
}

fn check_names(draft: &Draft) -> Result<(), PlanError> {
    if draft.steps.is_empty() {
        return Err(PlanError::Empty);
    }
    if draft.steps.len() > Plan::MAX_STEPS {
        return Err(PlanError::TooManySteps { found: draft.steps.len(), allowed: Plan::MAX_STEPS });
    }
    for (place, step) in draft.steps.iter().enumerate() {
        let part = match &step.fault {
            Some(Fault::Id(error)) => {
                return Err(PlanError::Name { part: PlanPart::Nth(place + 1), error: error.clone() });
            }
            _ => PlanPart::Step(step.id.clone()),
        };
        if is_undo(&step.id) {
            return Err(PlanError::Reserved { step: step.id.clone() });
        }
        if let Some(Fault::Name(error)) = &step.fault {
            return Err(PlanError::Name { part, error: error.clone() });
        }
        let is_timed = matches!(step.action, Action::Tool { .. } | Action::Model(_));
        if step.fault == Some(Fault::Latency) || (step.latency_ms.is_some() && !is_timed) {
            return Err(PlanError::Latency { step: step.id.clone() });
        }
        if let Some(write) = step.writes.iter().find(|write| !template::is_pointer(&write.pointer)) {
            return Err(PlanError::Pointer { part, pointer: write.pointer.clone() });
        }
        check_places(part, step.template())?;
    }
    check_places(PlanPart::Answer, draft.answer.as_ref())
}

/// Checks the names and the pointers in a template.
fn check_places(part: PlanPart, template: Option<&Template>) -> Result<(), PlanError> {
    let Some(template) = template else { return Ok(()) };
    if let Some(error) = template.invalid() {
        return Err(PlanError::Name { part, error: error.clone() });
    }
    match template.no_pointer() {
        Some(pointer) => Err(PlanError::Pointer { part, pointer: pointer.into() }),
        None => Ok(()),
    }
}

fn check_references(draft: &Draft) -> Result<BTreeMap<&StepId, usize>, PlanError> {
    let mut index = BTreeMap::new();
    for (place, step) in draft.steps.iter().enumerate() {
        if index.insert(&step.id, place).is_some() || draft.earlier.contains(&step.id) {
            return Err(PlanError::Duplicate { step: step.id.clone() });
        }
    }
    let known = |who: &str, needed: &StepId, needs_output: bool| match index.get(needed) {
        Some(&place) if needs_output && draft.steps[place].held => {
            Err(PlanError::DependsOnHeld { step: who.into(), held: needed.clone() })
        }
        None if !draft.earlier.contains(needed) => {
            Err(PlanError::Unknown { step: who.into(), missing: needed.clone() })
        }
        _ => Ok(()),
    };
    for step in &draft.steps {
        for needed in step.needs() {
            known(step.id.as_str(), needed, true)?;
        }
        for awaited in step.awaits() {
            known(step.id.as_str(), awaited, false)?;
        }
    }
    // An answer is made after everything, so it may also use a held step.
    if let Some(answer) = &draft.answer {
        for needed in answer.steps() {
            if !index.contains_key(needed) && !draft.earlier.contains(needed) {
                return Err(PlanError::Unknown { step: "answer".into(), missing: needed.clone() });
            }
        }
    }
    Ok(index)
}

/// Kahn's algorithm: the places of the steps in an order in which each comes after those it depends on.
fn topological(draft: &Draft, index: &BTreeMap<&StepId, usize>) -> Result<Vec<usize>, PlanError> {
    let count = draft.steps.len();
    let mut missing = vec![0_usize; count];
    let mut dependents = vec![Vec::new(); count];
    for (place, step) in draft.steps.iter().enumerate() {
        for needed in step.dependencies().into_iter().filter_map(|needed| index.get(needed)) {
            missing[place] += 1;
            dependents[*needed].push(place);
        }
    }
    let mut order: Vec<usize> = (0..count).filter(|&place| missing[place] == 0).collect();
    let mut next = 0;
    while let Some(&place) = order.get(next) {
        next += 1;
        for &dependent in &dependents[place] {
            missing[dependent] -= 1;
            if missing[dependent] == 0 {
                order.push(dependent);
            }
        }
    }
    match (0..count).find(|&place| missing[place] > 0) {
        Some(place) => Err(PlanError::Cycle { step: draft.steps[place].id.clone() }),
        None => Ok(order),
    }
}

/// What is said in the session's conversation must be the same whenever it is made, and comes one after another.
fn check_questions(
    draft: &Draft,
    index: &BTreeMap<&StepId, usize>,
    order: &[usize],
) -> Result<(), PlanError> {
    let wrong = |step: &Step, error| Err(PlanError::Ask { step: step.id.clone(), error });
    for step in &draft.steps {
        let Action::Model(ask) = &step.action else { continue };
        if ask.first_shown.is_none() && (!matches!(ask.say, Say::User(_)) || ask.steers > 0) {
            return wrong(step, AskError::Alone);
        }
        if ask.first_shown.is_some() && ask.template().is_some_and(|said| !said.reads().is_empty()) {
            return wrong(step, AskError::ReadsContext);
        }
    }
    let mut questions = order.iter().filter(|&&place| draft.steps[place].converses().is_some());
    let Some(mut before) = questions.next().copied() else { return Ok(()) };
    let mut ancestors_of = None;
    for &place in questions {
        let ancestors = ancestors_of.get_or_insert_with(|| ancestors(draft, index, order));
        if !ancestors[place].contains(before) {
            return wrong(&draft.steps[place], AskError::Unordered { other: draft.steps[before].id.clone() });
        }
        before = place;
    }
    Ok(())
}

/// What is made again must touch nothing. Of a tool the class is known only when the plan is adopted.
fn check_optimistic(draft: &Draft) -> Result<(), PlanError> {
    let can_be = |step: &Step| match &step.action {
        Action::Tool { .. } => true,
        Action::Model(ask) => ask.first_shown.is_none(),
        _ => false,
    };
    match draft.steps.iter().find(|step| step.optimistic && !can_be(step)) {
        Some(step) => Err(PlanError::Optimistic { step: step.id.clone() }),
        None => Ok(()),
    }
}

/// Two uses of a key are in conflict when their order matters; conflicting steps must be ordered by the graph. A
/// reader that shares a lock with the writer has asked for whatever order there is, and so has an optimistic one.
fn check_context(draft: &Draft, index: &BTreeMap<&StepId, usize>, order: &[usize]) -> Result<(), PlanError> {
    let mut uses: BTreeMap<&ContextKey, Vec<(usize, Option<Reducer>)>> = BTreeMap::new();
    for (place, step) in draft.steps.iter().enumerate() {
        for write in &step.writes {
            uses.entry(&write.key).or_default().push((place, Some(write.reducer)));
        }
        for key in step.template().map(Template::reads).unwrap_or_default() {
            uses.entry(key).or_default().push((place, None));
        }
    }
    uses.retain(|_, uses| uses.len() > 1 && uses.iter().any(|(_, reducer)| reducer.is_some()));
    if uses.is_empty() {
        return Ok(());
    }
    let before = ancestors(draft, index, order);
    for (key, uses) in uses {
        for (nth, (first, how_first)) in uses.iter().enumerate() {
            for (second, how_second) in &uses[nth + 1..] {
                let ordered =
                    first == second || before[*first].contains(*second) || before[*second].contains(*first);
                if !ordered && conflict(*how_first, *how_second, &draft.steps[*first], &draft.steps[*second])
                {
                    let [first, second] = [first, second].map(|&place| draft.steps[place].id.clone());
                    return Err(PlanError::OrderMatters { first, second, key: key.clone() });
                }
            }
        }
    }
    Ok(())
}

fn conflict(first: Option<Reducer>, second: Option<Reducer>, a: &Step, b: &Step) -> bool {
    match (first, second) {
        (None, None) => false,
        (Some(first), Some(second)) => first != second || !first.commutes(),
        (None, Some(_)) if a.optimistic => false,
        (Some(_), None) if b.optimistic => false,
        _ => !a.locks.iter().any(|lock| b.locks.contains(lock)),
    }
}

/// For each step the set of steps that come before it, as bits.
fn ancestors(draft: &Draft, index: &BTreeMap<&StepId, usize>, order: &[usize]) -> Vec<Bits> {
    let mut before = vec![Bits(vec![0; draft.steps.len().div_ceil(64)]); draft.steps.len()];
    for &place in order {
        let mut bits = before[place].clone();
        for needed in draft.steps[place].dependencies().into_iter().filter_map(|needed| index.get(needed)) {
            bits.include(*needed, &before[*needed]);
        }
        before[place] = bits;
    }
    before
}

#[derive(Clone)]
struct Bits(Vec<u64>);

impl Bits {
    fn contains(&self, place: usize) -> bool {
        self.0[place / 64] >> (place % 64) & 1 == 1
    }

    fn include(&mut self, place: usize, others: &Self) {
        self.0[place / 64] |= 1 << (place % 64);
        self.0.iter_mut().zip(&others.0).for_each(|(mine, other)| *mine |= other);
    }
}
