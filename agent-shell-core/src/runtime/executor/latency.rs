//! What is measured of a turn's stages, where a latency budget asks for it, by the process that drives it. What another
//! process had begun counts anew.

use std::collections::BTreeMap;
use std::time::Duration;

use super::PlanExecutor;
use crate::data::{Body, LatencyStage};
use crate::machine::{Entry, Event, Phase, TurnState};
use crate::words::{Monotonic, Result, TurnId};

/// What is being measured of one turn, besides what measures itself: attempts and planners.
pub(super) struct Stopwatch {
    turn: TurnId,
    /// From when on nothing but the runtime keeps an attempt at a step from its begin.
    ready: BTreeMap<usize, Monotonic>,
    /// When the append was asked for that is under way.
    append: Option<Monotonic>,
    /// What took too long, and no record says so yet.
    late: Vec<Late>,
}

struct Late {
    stage: LatencyStage,
    step: Option<usize>,
    took: Duration,
}

impl PlanExecutor {
    /// Whether it is to be measured how long a stage takes.
    pub(super) fn times(&self, stage: LatencyStage, step: Option<usize>) -> bool {
        let limits = &self.core.limits;
        self.turn().is_some_and(|turn| turn.latency_budget(stage, step, limits).is_some())
    }

    /// Whether it is to be measured how long an attempt at a step takes.
    pub(super) fn times_attempt(&self, step: usize) -> bool {
        let stage = self.turn().and_then(|turn| turn.attempt_stage(step));
        stage.is_some_and(|stage| self.times(stage, Some(step)))
    }

    /// Begins to measure the turn that runs, if its budgets ask for it: what is ready is so from now on.
    pub(super) fn watch(&mut self) {
        let timed = self.state.turn.as_ref().filter(|turn| turn.latency.is_some());
        let Some((turn, steps)) = timed.map(|turn| (turn.id, turn.steps.len())) else {
            self.stopwatch = None;
            return;
        };
        if self.stopwatch.as_ref().is_none_or(|watch| watch.turn != turn) {
            let (ready, late) = (BTreeMap::new(), Vec::new());
            self.stopwatch = Some(Box::new(Stopwatch { turn, ready, append: None, late }));
            self.note_ready((0..steps).collect());
        }
    }

    /// Notes which steps a record has made ready, or has begun.
    pub(super) fn note(&mut self, entry: &Entry) {
        if self.stopwatch.is_none() {
            return;
        }
        self.watch();
        if !self.times_any(LatencyStage::Schedule) {
            return;
        }
        let Some(turn) = self.state.turn.as_ref() else { return };
        let Some(&place) = entry.body.step().and_then(|step| turn.index.get(step)) else {
            if matches!(entry.body, Body::PlanAdopted { .. } | Body::UndoPlanned { .. }) {
                self.note_ready((0..turn.steps.len()).collect());
            }
            return;
        };
        let dependents = [place].into_iter().chain(turn.dependents[place].iter().copied()).collect();
        let is_ready = is_ready(turn, place);
        match &entry.body {
            Body::StepStarted { .. } => self.begins(place),
            // The pause after it counts anew.
            Body::AttemptFailed { .. } => self.forget(place),
            _ if !is_ready => self.forget(place),
            _ => {}
        }
        self.note_ready(dependents);
    }

    fn forget(&mut self, step: usize) {
        if let Some(watch) = self.stopwatch.as_deref_mut() {
            watch.ready.remove(&step);
        }
    }

    fn note_ready(&mut self, steps: Vec<usize>) {
        if !self.times_any(LatencyStage::Schedule) {
            return;
        }
        let (now, wall) = (self.core.clock.monotonic(), self.core.clock.now());
        let (Some(turn), Some(watch)) = (self.state.turn.as_ref(), self.stopwatch.as_deref_mut()) else {
            return;
        };
        let held = turn.held.first().copied().filter(|_| turn.all_else_done());
        for place in steps.into_iter().chain(held) {
            // Nothing says that a `Pure` step runs but this.
            if is_ready(turn, place) && !self.live.running.contains_key(&place) {
                let pause = match &turn.steps[place].phase {
                    Phase::Paused { until } => until.since(wall),
                    _ => Duration::ZERO,
                };
                watch.ready.entry(place).or_insert(now.plus(pause));
            }
        }
    }

    fn times_any(&self, stage: LatencyStage) -> bool {
        self.turn().is_some_and(|turn| turn.latency.as_ref().is_some_and(|latency| latency.bounds(stage)))
    }

    /// An attempt at a step begins.
    pub(super) fn begins(&mut self, step: usize) {
        let Some(ready) = self.stopwatch.as_deref_mut().and_then(|watch| watch.ready.remove(&step)) else {
            return;
        };
        let took = self.core.clock.monotonic().since(ready);
        self.ended(LatencyStage::Schedule, Some(step), took);
    }

    /// An append is asked for.
    pub(super) fn append_begins(&mut self) {
        if self.times(LatencyStage::Append, None) {
            self.watch();
            let now = self.core.clock.monotonic();
            self.stopwatch.iter_mut().for_each(|watch| watch.append = Some(now));
        }
    }

    /// The append is durable.
    pub(super) fn append_ends(&mut self) {
        if let Some(asked) = self.stopwatch.as_deref_mut().and_then(|watch| watch.append.take()) {
            let took = self.core.clock.monotonic().since(asked);
            self.ended(LatencyStage::Append, None, took);
        }
    }

    /// A stage has ended that no event ends. What took too long is told with the next records of the turn.
    fn ended(&mut self, stage: LatencyStage, step: Option<usize>, took: Duration) {
        let is_late = |turn: &TurnState| turn.is_breach(stage, step, took, &self.core.limits);
        if self.turn().is_some_and(is_late)
            && let Some(watch) = self.stopwatch.as_deref_mut()
        {
            watch.late.push(Late { stage, step, took });
        }
    }

    /// Takes the records of what took too long.
    pub(super) fn tell_late(&mut self) -> Result<()> {
        loop {
            let running = self.turn().map(|turn| turn.id);
            let watch = self.stopwatch.as_deref_mut().filter(|watch| Some(watch.turn) == running);
            let Some(Late { stage, step, took }) = watch.and_then(|watch| watch.late.pop()) else {
                return Ok(());
            };
            for body in crate::machine::react(&self.state, Event::Took { stage, step, took }, &self.env()) {
                self.take_one(body, crate::words::Pseudonym::RUNTIME)?;
            }
        }
    }

    /// Says what a record tells of a budget, to whoever reads the process's log.
    pub(super) fn warn(&self, body: &Body) {
        if let Body::LatencyBreached { turn, stage, budget_ms, took_ms, .. } = body {
            let (session, stage) = (self.entry.id, stage.name());
            tracing::warn!(%session, %turn, stage, budget_ms, took_ms, "a latency budget is breached");
        }
    }
}

/// Whether nothing but the runtime keeps an attempt at a step from its begin, once its pause is over.
fn is_ready(turn: &TurnState, place: usize) -> bool {
    match turn.steps[place].phase {
        Phase::Approved | Phase::Paused { .. } => true,
        Phase::Pending => {
            turn.ready.contains(&place) || (turn.held.first() == Some(&place) && turn.all_else_done())
        }
        _ => false,
    }
}
