//! What runs for a session: acts, probes and the planner, begun by commands and ended by completions.

use std::sync::Arc;

use futures::future::AbortHandle;
use serde_json::Value;

use super::PlanExecutor;
use crate::data::{Action, ChildOf, EffectClass, GuardPlace, Labels, LatencyStage, PlannerRef, is_undo};
use crate::failpoint::reach;
use crate::machine::{AttemptEnd, Command, Event, TurnState, react};
use crate::ports::{Fence, GuardRequest, GuardedTool, ModelRequest};
use crate::runtime::budget::Purse;
use crate::runtime::children::Birth;
use crate::runtime::processor::{Attempt, Completion, Question, StepProcessor};
use crate::words::{Pseudonym, Result, Timestamp, ToolName, TurnId};

/// What stands in the place of an attempt's number while guards rule.
const RULING: u32 = 0;

/// Something that runs in a task of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Work {
    Plan,
    Act(usize),
    Probe(usize),
}

impl PlanExecutor {
    /// Carries out a command. True when it led to records at once.
    pub(super) fn obey(&mut self, command: Command) -> Result<bool> {
        match command {
            Command::Check { step, tool, input } => {
                let problem = match self.core.tools.get(&tool) {
                    Some(tool) => tool.problem_with(&input),
                    None => Some(format!("the shell has no tool `{tool}`")),
                };
                self.happened(Event::Checked { step, input, problem })?;
                return Ok(true);
            }
            Command::Plan => return self.plan(),
            Command::Act { step, tool, input, key, attempt, deadline, read } => {
                self.reads(step, read);
                let class = self.turn().map_or(EffectClass::Pure, |turn| turn.class_of(step));
                self.begins(step);
                self.live.running.insert(step, attempt);
                self.begin(Work::Act(step), tool, (input, key, attempt), deadline, class);
            }
            Command::Ask { step, model, request, view, key, attempt, deadline, read } => {
                self.reads(step, read);
                self.begins(step);
                let is_timed = self.times_attempt(step);
                let Some(turn) = self.turn() else { return Ok(false) };
                let id = turn.steps[step].step.id.clone();
                let alone =
                    matches!(&turn.steps[step].step.action, Action::Model(ask) if ask.first_shown.is_none());
                let processor = self.processor(turn.id);
                let question = Question {
                    place: step,
                    step: id,
                    model,
                    request,
                    view,
                    alone,
                    key,
                    attempt,
                    deadline,
                    is_timed,
                };
                self.live.running.insert(step, attempt);
                self.handles.insert(Work::Act(step), processor.question(question));
            }
            Command::Delegate { step, input } => return self.delegate(step, input),
            Command::Rule { step, place, value, request, labels } => {
                let Some(asked) = self.guard_request(step, place, value, request, labels) else {
                    return Ok(false);
                };
                let processor = self.processor(asked.turn);
                self.live.running.insert(step, RULING);
                self.handles.insert(Work::Act(step), processor.rule(step, asked));
            }
            Command::Probe { step, tool, input, key, attempt } => {
                self.live.probing.insert(step);
                let deadline = self.core.clock.now().plus(self.core.limits.attempt());
                self.begin(Work::Probe(step), tool, (input, key, attempt), deadline, EffectClass::Pure);
            }
            Command::DropPlan => {
                self.live.planning = None;
                if let Some(handle) = self.handles.remove(&Work::Plan) {
                    handle.abort();
                }
            }
            Command::Drop { step } => {
                self.live.running.remove(&step);
                if let Some(handle) = self.handles.remove(&Work::Act(step)) {
                    handle.abort();
                }
            }
        }
        Ok(false)
    }

    /// Remembers what an optimistic step reads.
    fn reads(&mut self, step: usize, version: u64) {
        if self.turn().is_some_and(|turn| turn.steps[step].step.optimistic) {
            self.live.read.insert(step, version);
        }
    }

    pub(super) fn turn(&self) -> Option<&TurnState> {
        self.state.turn.as_ref()
    }

    /// What guards are asked about a step.
    fn guard_request(
        &self,
        step: usize,
        place: GuardPlace,
        value: Arc<Value>,
        question: Option<Arc<ModelRequest>>,
        labels: Labels,
    ) -> Option<GuardRequest> {
        let (turn, (_, subject)) = (self.turn()?, self.state.opened.as_ref()?);
        let of = &turn.steps[step].step;
        let (tool, model) = match &of.action {
            Action::Tool { name, .. } => {
                (turn.terms_of(step).map(|terms| GuardedTool::of(name, terms)), None)
            }
            Action::Model(ask) => (None, Some(ask.model.clone())),
            _ => (None, None),
        };
        Some(GuardRequest {
            place,
            tenant: self.entry.tenant.clone(),
            subject: subject.clone(),
            session: self.entry.id,
            turn: turn.id,
            step: of.id.clone(),
            actor: turn.actor,
            tool,
            model,
            question,
            value,
            labels,
        })
    }

    fn plan(&mut self) -> Result<bool> {
        let Some(turn) = self.state.turn.as_ref() else { return Ok(false) };
        if turn.round == 0
            && let Some(lacking) = self.core.lacks(&turn.planner)
        {
            self.lacks = Some(lacking);
            return Ok(false);
        }
        let dropped = turn.plans_dropped;
        let named = match &turn.planner {
            PlannerRef::Fixed(plan) => {
                let answer = self.core.plan_answer(plan.clone(), false);
                self.happened(Event::Planned { dropped, answer, took: None })?;
                return Ok(true);
            }
            PlannerRef::Named(name) => name,
        };
        let Some(planner) = self.core.planners.get(named).cloned() else { return Ok(false) };
        let view = match self.core.plan_view(&self.state, turn, self.reports.of(turn)) {
            Ok(view) => view,
            Err(failure) => {
                self.happened(Event::Planned { dropped, answer: Err(failure), took: None })?;
                return Ok(true);
            }
        };
        let turn = turn.id;
        let is_timed = self.times(LatencyStage::Plan, None);
        let processor = self.processor(turn);
        self.live.planning = Some(dropped);
        self.handles.insert(Work::Plan, processor.plan(planner, view, (dropped, is_timed)));
        Ok(false)
    }

    /// Has a session registered for a child.
    fn delegate(&mut self, step: usize, input: Arc<Value>) -> Result<bool> {
        let (Some(turn), Some((_, subject))) = (self.state.turn.as_ref(), self.state.opened.as_ref()) else {
            return Ok(false);
        };
        let Some(delegate) = turn.delegate(step) else { return Ok(false) };
        let (id, attempt) = (turn.id, turn.steps[step].attempt + 1);
        let parent = self.state.child_of.as_deref();
        let depth = parent.map_or(0, |of| of.depth).saturating_add(1);
        let named = turn.steps[step].step.id.clone();
        let mut of = ChildOf::new(self.entry.id, id, named, self.core.ids.make(), depth);
        of.tools = self.core.tools_for_child(parent, delegate);
        let under = parent.filter(|of| of.child == id).map_or(&[][..], |of| &of.under);
        match self.budget.under(&self.core, (&self.entry, id), turn.budget, under) {
            Ok(under) => of.under = under,
            Err(reason) => {
                let end = AttemptEnd::NotBegun { reason };
                self.happened(Event::Finished { step, attempt, read: 0, end, took: None })?;
                return Ok(true);
            }
        }
        let birth = Birth {
            place: step,
            attempt,
            of,
            tenant: self.entry.tenant.clone(),
            subject: subject.clone(),
            key: self.entry.key,
            keys: self.writer.keys().clone(),
            input,
        };
        let processor = self.processor(id);
        self.begins(step);
        self.live.running.insert(step, attempt);
        self.handles.insert(Work::Act(step), processor.open_child(birth));
        Ok(false)
    }

    fn begin(
        &mut self,
        work: Work,
        tool: ToolName,
        (input, key, attempt): (Arc<Value>, Arc<str>, u32),
        deadline: Timestamp,
        class: EffectClass,
    ) {
        let (Work::Act(place) | Work::Probe(place)) = work else { return };
        let Some(turn) = self.state.turn.as_ref() else { return };
        let (turn, step) = (turn.id, turn.steps[place].step.id.clone());
        let mut processor = self.processor(turn);
        if is_undo(&step) {
            // A budget that is used up must not keep what it paid for applied.
            processor.purse = None;
        }
        let is_timed = matches!(work, Work::Act(_)) && self.times_attempt(place);
        let attempt = Attempt { place, step, tool, input, key, attempt, deadline, class, is_timed };
        let handle =
            if matches!(work, Work::Act(_)) { processor.act(attempt) } else { processor.probe(attempt) };
        self.handles.insert(work, handle);
    }

    fn processor(&mut self, turn: TurnId) -> StepProcessor {
        let purse = self.purse(turn);
        StepProcessor {
            purse,
            core: self.core.clone(),
            session: self.entry.id,
            turn,
            epoch: self.entry.epoch,
            lease: self.lease,
            done: self.done.0.clone(),
        }
    }

    /// What the attempts of a turn are charged to.
    fn purse(&mut self, turn: TurnId) -> Option<Arc<Purse>> {
        if let Some((of, purse)) = &self.purse
            && *of == turn
        {
            return purse.clone();
        }
        let fence = Fence { owner: self.core.owner, epoch: self.entry.epoch };
        let budget = self.turn().and_then(|running| running.budget);
        // A fork spends of what its first ancestor may.
        let of = self.state.forked.as_ref().map_or(self.entry.id, |forked| forked.root);
        let child_of = self.state.child_of.as_deref().filter(|of| of.child == turn);
        let under = child_of.map_or(&[][..], |of| &of.under);
        let purse = self.budget.purse(&self.core, (&self.entry, fence, of), turn, budget, under);
        self.purse = Some((turn, purse.clone()));
        purse
    }

    /// Takes a completion and all others that have arrived.
    pub(super) fn complete(&mut self, first: Option<Completion>) -> Result<()> {
        let mut next = first;
        while let Some(Completion { turn, mut event, spent }) = next {
            next = if self.is_heavy() { None } else { self.done.1.try_recv().ok() };
            if self.turn().is_none_or(|running| running.id != turn) {
                continue;
            }
            self.spent.extend(spent.map(|spent| *spent));
            let mut rides = false;
            match &mut *event {
                Event::Planned { dropped, .. } => {
                    // One that was dropped may have answered already.
                    if self.live.planning != Some(*dropped) {
                        continue;
                    }
                    self.live.planning = None;
                    self.handles.remove(&Work::Plan);
                    rides = self.may_ride();
                }
                Event::Finished { step, attempt, read, .. } => {
                    reach!(ActReported);
                    // A dropped act that had already reported is no longer expected.
                    if self.live.running.get(step) != Some(attempt) {
                        continue;
                    }
                    self.live.running.remove(step);
                    *read = self.live.read.remove(step).unwrap_or(0);
                    self.handles.remove(&Work::Act(*step));
                    rides = self.may_ride()
                        && self.turn().is_some_and(|turn| turn.class_of(*step) == EffectClass::Pure);
                }
                Event::ChildOpened { step, .. } => {
                    if self.live.running.remove(step).is_none() {
                        continue;
                    }
                    self.handles.remove(&Work::Act(*step));
                }
                Event::Ruled { step, .. } => {
                    if self.live.running.get(step) != Some(&RULING) {
                        continue;
                    }
                    self.live.running.remove(step);
                    self.handles.remove(&Work::Act(*step));
                }
                Event::Probed { step, .. } => {
                    self.live.probing.remove(step);
                    self.handles.remove(&Work::Probe(*step));
                }
                _ => {}
            }
            self.happened(*event)?;
            self.urgent |= !rides;
            if rides && self.riding_since.is_none() {
                self.riding_since = Some(self.core.clock.monotonic());
            }
        }
        Ok(())
    }

    fn may_ride(&self) -> bool {
        self.core.limits.riding_ms > 0
    }

    fn happened(&mut self, event: Event) -> Result<()> {
        let records = react(&self.state, event, &self.env());
        self.take(records, Pseudonym::RUNTIME)
    }
}

/// However the loop ends, no act of it goes on, and what its acts said counts for nothing.
impl Drop for PlanExecutor {
    fn drop(&mut self) {
        self.handles.values().for_each(AbortHandle::abort);
        if let Some(turn) = self.turn() {
            self.core.live.released(turn.id);
        }
    }
}
