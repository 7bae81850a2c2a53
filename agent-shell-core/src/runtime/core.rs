//! What all parts of a running shell share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

use super::admission::Admission;
use super::budget::Budgets;
use super::events::Events;
use super::follow::Live;
use super::guarded::guarded;
use super::guards::Guards;
use super::keyring::Keyring;
use super::lease::LeaseGuard;
use super::registry::Registry;
use super::watchers::Watchers;
use crate::data::{
    Action, Extent, Failure, FailureCode, LatencyBudgets, Plan, PlannerRef, RequirementId, ToolContract,
    ToolTerms, extent,
};
use crate::machine::{Folded, PlanAnswer, TurnState};
use crate::ports::{
    Authorizer, Checks, Conversation, DynTool, Headroom, Model, ModelView, PlanView, Planner, ShownMessage,
    Spawn, Steered, StepReport, Store,
};
use crate::words::{
    Clock, Digest, Entropy, Error, ErrorKind, Ids, Limits, ModelName, OwnerId, PlannerName, Result, StepId,
    ToolName,
};

/// The shared parts of a shell. One task owns each session; this holds only what they all read, and the handles by
/// which they are reached.
pub(crate) struct Core {
    pub(crate) store: Store,
    pub(crate) keyring: Keyring,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) spawn: Arc<dyn Spawn>,
    pub(crate) ids: Ids,
    pub(crate) limits: Limits,
    pub(crate) tools: Arc<BTreeMap<ToolName, Arc<dyn DynTool>>>,
    pub(crate) models: BTreeMap<ModelName, Arc<dyn Model>>,
    pub(crate) contracts: Arc<Vec<ToolContract>>,
    /// Who may do what; everybody everything without.
    pub(crate) authorizer: Option<Arc<dyn Authorizer>>,
    /// The host's own rules.
    pub(crate) guards: Guards,
    /// What says the ceilings; none when the host bounds nothing.
    pub(crate) budgets: Option<Budgets>,
    /// How long the stages of turns may take that start here; none when the host bounds none.
    pub(crate) latency: Option<Box<LatencyBudgets>>,
    pub(crate) planners: BTreeMap<PlannerName, Arc<dyn Planner>>,
    pub(crate) offers: BTreeSet<RequirementId>,
    pub(crate) owner: OwnerId,
    pub(crate) lease: LeaseGuard,
    pub(crate) registry: Registry,
    pub(crate) admission: Arc<Admission>,
    /// The one place for a session whose work is suspected of ending the process.
    pub(crate) apart: Arc<Semaphore>,
    pub(crate) watchers: Watchers,
    /// The turns that are followed here.
    pub(crate) live: Arc<Live>,
    pub(crate) stop: Stop,
    /// What is told to others; none when the host did not ask for it.
    pub(crate) events: Option<Arc<Events>>,
    #[cfg(feature = "simulation")]
    pub(crate) observer: Option<Arc<dyn super::observer::Observer>>,
}

/// What a session requires while a turn of it is planned by a planner of this name.
pub(crate) fn planner_requirement(planner: &PlannerName) -> RequirementId {
    named_requirement(&serde_json::json!({ "planner": planner }))
}

/// What a session requires before a plan that calls a tool of this name is adopted.
pub(crate) fn tool_requirement(tool: &ToolName) -> RequirementId {
    named_requirement(&serde_json::json!({ "tool": tool }))
}

/// What a session requires while a model of this name is to be asked.
pub(crate) fn model_requirement(model: &ModelName) -> RequirementId {
    named_requirement(&serde_json::json!({ "model": model }))
}

fn named_requirement(named: &serde_json::Value) -> RequirementId {
    RequirementId(crate::data::canonical::canonical_digest(named).unwrap_or(Digest::ZERO))
}

fn tools_of(plan: &Plan) -> impl Iterator<Item = &ToolName> {
    plan.steps().iter().filter_map(|step| match &step.action {
        Action::Tool { name, .. } => Some(name),
        _ => None,
    })
}

fn models_of(plan: &Plan) -> impl Iterator<Item = &ModelName> {
    plan.steps().iter().filter_map(|step| model_of(&step.action))
}

fn model_of(action: &Action) -> Option<&ModelName> {
    match action {
        Action::Model(ask) => Some(&ask.model),
        _ => None,
    }
}

impl Core {
    /// Does what waits for the disk where no task waits for it.
    ///
    /// # Errors
    /// What `work` says, or [`ErrorKind::Unavailable`] when the runtime ends.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the work running; what it returns is dropped there.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.spawn.spawn_blocking(Box::new(move || drop(answer.send(work()))));
        answered.await.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::Unavailable,
                "the work on a file ended with its runtime, or by a panic",
            ))
        })
    }

    /// Tells a simulation what an owner holds.
    #[cfg(feature = "simulation")]
    pub(crate) fn observe(&self, epoch: crate::words::Epoch, state: &Folded) {
        if let Some(observer) = &self.observer {
            observer.holds(self.owner, epoch, state);
        }
    }

    /// A plan with the terms of its tools, as far as the shell has them.
    ///
    /// # Errors
    /// The failure of a turn whose plan is larger than a record may be.
    pub(crate) fn plan_answer(&self, mut plan: Plan, more: bool) -> std::result::Result<PlanAnswer, Failure> {
        let failed = |message: String| Err(Failure::of_turn(FailureCode::Planner, message));
        if let Some(missing) = models_of(&plan).find(|model| !self.models.contains_key(*model)) {
            return failed(format!("the plan asks `{missing}`, and the shell has no such model"));
        }
        if let Some(lacking) = self.lacks_for_children(&plan) {
            return failed(lacking);
        }
        let prompts = match plan.take_prompts() {
            Ok(prompts) => prompts,
            Err(error) => return failed(format!("a prompt of the plan: {error}")),
        };
        for prompt in prompts.values() {
            if let Some(problem) =
                crate::machine::too_large(&serde_json::json!(prompt), self.limits.payload_bytes)
            {
                return Err(Failure::of_turn(
                    FailureCode::TooLarge,
                    format!("a prompt of the plan {problem}"),
                ));
            }
        }
        let readable = extent(&plan).filter(|extent| extent.levels <= crate::machine::MOST_LEVELS_OF_A_PLAN);
        let Some(Extent { bytes, .. }) = readable else {
            let message = "the plan is nested too deep to be read back";
            return Err(Failure::of_turn(FailureCode::TooLarge, message));
        };
        if bytes > self.limits.payload_bytes {
            let allowed = self.limits.payload_bytes;
            let message = format!("the plan has {bytes} bytes of JSON: at most {allowed} are allowed");
            return Err(Failure::of_turn(FailureCode::TooLarge, message));
        }
        let mut terms = BTreeMap::new();
        for step in plan.steps() {
            if let Action::Tool { name, .. } = &step.action
                && let Some(tool) = self.tools.get(name)
            {
                let of = || ToolTerms::of(tool.contract(), self.limits.attempt_ms);
                terms.entry(name.clone()).or_insert_with(of);
                // What undoes a call is required with it, and has terms of its own.
                if let Some(undoing) =
                    tool.contract().compensation.as_ref().and_then(|name| self.tools.get(name))
                {
                    let of = || ToolTerms::of(undoing.contract(), self.limits.attempt_ms);
                    terms.entry(undoing.contract().name.clone()).or_insert_with(of);
                }
            }
        }
        Ok(PlanAnswer::Plan { plan, more, terms, prompts })
    }

    /// What a planner is shown of a turn, of whose steps there is this to tell.
    ///
    /// # Errors
    /// The failure of a turn to whose planner a model can't be shown, because it panics.
    pub(crate) fn plan_view(
        &self,
        state: &Folded,
        turn: &TurnState,
        steps: Arc<BTreeMap<StepId, StepReport>>,
    ) -> std::result::Result<PlanView, Failure> {
        let (tools, checks) = self.shown_tools(state.child_of.as_deref());
        Ok(PlanView {
            session: state.session,
            turn: turn.id,
            input: turn.input.clone(),
            round: turn.round + 1,
            steps,
            context: turn.context.values.clone(),
            tools,
            deadline: turn.deadline,
            wants: turn.wants.clone(),
            conversation: conversation(state),
            steers: turn.steers.iter().map(steered).collect(),
            steers_told: turn.told,
            corrections: turn.corrections,
            repeats: turn.failing.values().copied().max().unwrap_or(0),
            headroom: self.headroom(turn)?,
            checks: Checks(checks),
        })
    }

    fn headroom(&self, turn: &TurnState) -> std::result::Result<Headroom, Failure> {
        let until = |deadline: crate::words::Timestamp| {
            u64::try_from(deadline.since(self.clock.now()).as_millis()).unwrap_or(u64::MAX)
        };
        let view = |(name, model): (&ModelName, &Arc<dyn Model>)| {
            guarded(|| ModelView::of(name, &**model)).map_err(|panic| {
                Failure::of_turn(FailureCode::Planner, format!("the model `{name}` panicked: {panic}"))
            })
        };
        Ok(Headroom {
            models: self.models.iter().map(view).collect::<std::result::Result<_, _>>()?,
            time_ms: turn.deadline.map(until),
            rounds: self.limits.rounds_per_turn.saturating_sub(turn.round),
            steps: self.limits.steps_per_turn.saturating_sub(turn.steps.len()),
            budget: None,
            is_budget_unknown: false,
        })
    }

    /// What a turn needs before it can be planned and this shell does not have, if anything. The turn is then not
    /// failed: another process may have it.
    pub(crate) fn lacks(&self, planner: &PlannerRef) -> Option<String> {
        match planner {
            PlannerRef::Named(name) if !self.planners.contains_key(name) => {
                Some(format!("the shell has no planner `{name}`: give it one with `ShellBuilder::planner`"))
            }
            PlannerRef::Named(_) => None,
            PlannerRef::Fixed(plan) => {
                if let Some(missing) = models_of(plan).find(|model| !self.models.contains_key(*model)) {
                    return Some(format!(
                        "the shell has no model `{missing}`: give it one with `ShellBuilder::named_model`"
                    ));
                }
                let missing = tools_of(plan).find(|tool| !self.tools.contains_key(*tool))?;
                Some(format!("the shell has no tool `{missing}`: give it one with `ShellBuilder::tool`"))
            }
        }
    }

    /// What a session requires of its owner as it stands.
    pub(crate) fn required_by(&self, state: &Folded) -> Vec<RequirementId> {
        let Some(turn) = &state.turn else { return Vec::new() };
        let mut required: BTreeSet<_> = turn.terms.values().map(|terms| terms.requirement).collect();
        let asked = turn.steps.iter().filter(|step| !step.phase.is_final());
        required.extend(asked.filter_map(|step| model_of(&step.step.action)).map(model_requirement));
        match &turn.planner {
            PlannerRef::Named(planner) => drop(required.insert(planner_requirement(planner))),
            // Until the plan is adopted, only the names of its tools are known.
            PlannerRef::Fixed(plan) if turn.round == 0 => {
                required.extend(tools_of(plan).map(tool_requirement));
                required.extend(models_of(plan).map(model_requirement));
            }
            PlannerRef::Fixed(_) => {}
        }
        required.into_iter().collect()
    }
}

fn steered(steer: &crate::machine::Steer) -> Steered {
    let input = steer.request.input.value();
    Steered { input, interrupts: steer.at_once, round: steer.round }
}

/// The conversation as a planner is shown it, before its turn.
pub(super) fn conversation(state: &Folded) -> Conversation {
    let shown =
        |kept: &crate::machine::Kept| ShownMessage { message: kept.message.clone(), bytes: kept.bytes };
    Conversation {
        first: state.talk.first,
        messages: state.talk.messages.iter().map(shown).collect(),
        turn_first: state.turn.as_ref().map_or(state.talk.end(), |turn| turn.talk_from),
        next_bytes: 0,
        summary_failed: false,
    }
}

/// Whether the shell is stopping, and how.
pub(crate) struct Stop {
    state: watch::Sender<Stopping>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stopping {
    /// It runs.
    No,
    /// Nothing new starts; what runs may end.
    Draining,
    /// Everything ends now.
    Abrupt,
    /// The store failed for good: everything ends now, and callers are told.
    Poisoned,
}

impl Stop {
    pub(crate) fn new() -> Self {
        Self { state: watch::Sender::new(Stopping::No) }
    }

    pub(crate) fn now(&self) -> Stopping {
        *self.state.borrow()
    }

    pub(crate) fn is_abrupt(&self) -> bool {
        self.now() >= Stopping::Abrupt
    }

    /// Goes on to a later state; an earlier one is never returned to.
    pub(crate) fn advance(&self, to: Stopping) {
        self.state.send_if_modified(|state| {
            let later = to > *state;
            if later {
                *state = to;
            }
            later
        });
    }

    /// A view that can be awaited.
    pub(crate) fn watch(&self) -> watch::Receiver<Stopping> {
        self.state.subscribe()
    }

    /// Returns when `state`, or a later one, is reached.
    pub(crate) async fn reached(&self, state: Stopping) {
        let mut watch = self.state.subscribe();
        // The sender lives in `self`, so the wait can't fail.
        let _ = watch.wait_for(|now| *now >= state).await;
    }

    /// An error for callers when the shell does not run any more.
    pub(crate) fn check(&self) -> Result<()> {
        match self.now() {
            Stopping::No => Ok(()),
            Stopping::Poisoned => Err(Error::new(
                ErrorKind::Poisoned,
                "the disk failed under the journal, and the shell has stopped: restart the process",
            )),
            _ => Err(Error::new(
                ErrorKind::ShuttingDown,
                "the shell is shutting down: nothing new is accepted",
            )),
        }
    }
}
