//! `StepProcessor`: makes one attempt, or one probe, and says how it ended. It writes nothing.

use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{AbortHandle, Abortable, Either, select};
use serde_json::Value;
use tokio::sync::mpsc;

use super::budget::{Ended, Purse, Spent, Used, most_of_call, spent_by_call, spent_by_question};
use super::core::Core;
use super::guarded::{guarded, message_of};
use super::guards::Rulings;
use super::question::{ask, unanswered};
use crate::data::{AttemptId, EffectClass, Failure, FailureCode, GuardPlace, Usage};
use crate::failpoint::reach;
use crate::machine::{AttemptEnd, Event, PlanAnswer};
use crate::ports::{
    Call, DynTool, GuardRequest, Model, ModelRequest, PlanView, Planned, Planner, ProbeAnswer, ToolError,
};
use crate::words::{Deadline, Digest, Epoch, ModelName, SessionId, StepId, Timestamp, ToolName, TurnId};

/// What ended, of which turn.
pub(crate) struct Completion {
    pub(crate) turn: TurnId,
    /// Boxed, because a channel has room for many and mostly holds few.
    pub(crate) event: Box<Event>,
    /// What it cost, when a budget counts it.
    pub(crate) spent: Option<Box<Spent>>,
}

/// Whose steps are processed: one turn, under one epoch.
#[derive(Clone)]
pub(crate) struct StepProcessor {
    pub(crate) core: Arc<Core>,
    pub(crate) session: SessionId,
    pub(crate) turn: TurnId,
    pub(crate) epoch: Epoch,
    /// Which lease the process held when it took the session.
    pub(crate) lease: u64,
    pub(crate) done: mpsc::Sender<Completion>,
    /// What the attempts are charged to, when a budget counts them.
    pub(crate) purse: Option<Arc<Purse>>,
}

/// One attempt, as the machine ordered it.
pub(crate) struct Attempt {
    pub(crate) place: usize,
    pub(crate) step: StepId,
    pub(crate) tool: ToolName,
    pub(crate) input: Arc<Value>,
    pub(crate) key: Arc<str>,
    pub(crate) attempt: u32,
    pub(crate) deadline: Timestamp,
    pub(crate) class: EffectClass,
    /// Whether it is measured how long it takes, for a latency budget.
    pub(crate) is_timed: bool,
}

/// One question, as the machine ordered it.
pub(crate) struct Question {
    pub(crate) place: usize,
    pub(crate) step: StepId,
    pub(crate) model: ModelName,
    pub(crate) request: Arc<ModelRequest>,
    /// The digest of the request.
    pub(crate) view: Option<Digest>,
    /// Whether it stands outside of the session's conversation.
    pub(crate) alone: bool,
    pub(crate) key: Arc<str>,
    pub(crate) attempt: u32,
    pub(crate) deadline: Timestamp,
    /// Whether it is measured how long it takes, for a latency budget.
    pub(crate) is_timed: bool,
}

impl StepProcessor {
    /// Starts an attempt. The handle drops it.
    pub(crate) fn act(&self, attempt: Attempt) -> AbortHandle {
        let (step, number) = (attempt.place, attempt.attempt);
        // Most calls are counted by no budget and timed for none, and take no room for what that needs.
        let attempted = match self.purse.clone() {
            None if !attempt.is_timed => {
                Either::Left(self.clone().make(attempt).map(|end| ((end, None), None)))
            }
            None => Either::Right(self.clone().make_timed(attempt).boxed()),
            Some(purse) => Either::Right(self.clone().make_within(purse, attempt).boxed()),
        };
        let ended = move |end, took| Event::Finished { step, attempt: number, read: 0, end, took };
        let work = attempted.map(move |((end, spent), took)| {
            reach!(ActEnded);
            (ended(end, took), spent)
        });
        self.start(work, move |message| ended(AttemptEnd::Panicked { message }, None))
    }

    /// Starts a probe of the latest attempt.
    pub(crate) fn probe(&self, attempt: Attempt) -> AbortHandle {
        let step = attempt.place;
        let asked = self.clone().look(attempt);
        let work = async move {
            reach!(ProbeBegins);
            let answer = asked.await;
            reach!(ProbeEnds);
            (Event::Probed { step, answer }, None)
        };
        let panicked = |message: String| Err(format!("the probe panicked: {message}"));
        self.start(work, move |message| Event::Probed { step, answer: panicked(message) })
    }

    /// Asks the guards. Whatever becomes of that, something was ruled.
    pub(crate) fn rule(&self, step: usize, request: GuardRequest) -> AbortHandle {
        let (core, place, value) = (self.core.clone(), request.place, request.value.clone());
        let shown = value.clone();
        let event = move |value, Rulings { rulings, rewritten }| Event::Ruled {
            step,
            place,
            value,
            rulings,
            rewritten,
        };
        let broken = self.core.clone();
        let work = async move { (event(shown, core.guards.rule(&core, request).await), None) };
        self.start(work, move |message| {
            event(value, broken.guards.broken(place, &format!("it panicked: {message}")))
        })
    }

    /// Asks a planner. A planner that takes too long, or panics, has failed.
    pub(crate) fn plan(
        &self,
        planner: Arc<dyn Planner>,
        mut view: PlanView,
        (dropped, is_timed): (u32, bool),
    ) -> AbortHandle {
        let this = self.clone();
        let failed = |message: String| Err(Failure::of_turn(FailureCode::Planner, message));
        let work = async move {
            if let Some(purse) = &this.purse {
                let left = purse.left().await;
                view.headroom.is_budget_unknown = left.is_err();
                view.headroom.budget = left.ok();
            }
            let allowed = Duration::from_millis(this.core.limits.plan_ms);
            let asked = pin!(AssertUnwindSafe(async move { planner.plan(view).await }).catch_unwind());
            let began = is_timed.then(|| this.core.clock.monotonic());
            let planned = this.within(allowed, asked).await;
            let took = began.map(|began| this.core.clock.monotonic().since(began));
            let answer = match planned {
                None => failed("the planner took longer than it may".into()),
                Some(Err(panic)) => failed(format!("the planner panicked: {}", message_of(&*panic))),
                Some(Ok(Err(error))) => Err(Failure::of_turn(error.code(), error.to_string())),
                Some(Ok(Ok(Planned::Answer(answer)))) => Ok(PlanAnswer::Answer(answer)),
                Some(Ok(Ok(Planned::Whole(plan)))) => this.core.plan_answer(plan, false),
                Some(Ok(Ok(Planned::Next(plan)))) => this.core.plan_answer(plan, true),
            };
            reach!(PlanAnswered);
            (Event::Planned { dropped, answer, took }, None)
        };
        self.start(work, move |message| {
            let answer = failed(format!("the planner panicked: {message}"));
            Event::Planned { dropped, answer, took: None }
        })
    }

    /// Starts work, whose end is always reported: `broken` says how it ended when it panicked where nothing else
    /// catches that, in what a host's future drops, say. The receiver has room for every completion that can be under
    /// way, so a send waits only when it is gone.
    pub(super) fn start(
        &self,
        work: impl Future<Output = (Event, Option<Box<Spent>>)> + Send + 'static,
        broken: impl FnOnce(String) -> Event + Send + 'static,
    ) -> AbortHandle {
        let (handle, registration) = AbortHandle::new_pair();
        let (turn, done) = (self.turn, self.done.clone());
        // Chained and not nested: an async block that awaits what it was given holds it twice.
        let reported = AssertUnwindSafe(work).catch_unwind().then(move |ended| {
            // What was set aside stays so, and is settled with the turn: it is not known what was used.
            let (event, spent) = ended.unwrap_or_else(|panic| (broken(message_of(&*panic)), None));
            let event = Box::new(event);
            async move { drop(done.send(Completion { turn, event, spent }).await) }
        });
        self.core.spawn.spawn(Box::pin(Abortable::new(reported, registration).map(drop)));
        handle
    }

    /// Makes an attempt, and measures how long it takes.
    async fn make_timed(self, attempt: Attempt) -> (Ended, Option<Duration>) {
        let clock = self.core.clock.clone();
        let began = clock.monotonic();
        let end = self.make(attempt).await;
        ((end, None), Some(clock.monotonic().since(began)))
    }

    /// Makes an attempt, within what is set aside for it.
    async fn make_within(self, purse: Arc<Purse>, attempt: Attempt) -> (Ended, Option<Duration>) {
        let clock = self.core.clock.clone();
        let cost = self.core.tools.get(&attempt.tool).map_or(0, |tool| tool.contract().cost_nano_usd);
        let most = most_of_call(cost, attempt.deadline.since(clock.now()));
        let id = self.attempt_id(&attempt.step, attempt.attempt);
        if let Err(ended) = purse.reserve(id.clone(), most).await {
            return (ended, None);
        }
        reach!(BudgetReserved);
        let began = clock.monotonic();
        let end = self.make(attempt).await;
        let took = clock.monotonic().since(began);
        let amounts = spent_by_call(&end, most, took);
        ((end, Some(purse.spent(id, most, amounts))), Some(took))
    }

    fn attempt_id(&self, step: &StepId, attempt: u32) -> AttemptId {
        let (session, turn, epoch) = (self.session, self.turn, self.epoch);
        AttemptId { session, turn, step: step.clone(), epoch, attempt }
    }

    async fn make(self, attempt: Attempt) -> AttemptEnd {
        let clock = &*self.core.clock;
        let Some(tool) = self.core.tools.get(&attempt.tool).cloned() else {
            return not_begun(format!("the shell has no tool `{}`", attempt.tool));
        };
        let call = self.call(&attempt);
        let deadline = call.deadline;
        // From here to the first poll of the tool there is no await: the check and the act are one poll.
        if attempt.class.has_intent() {
            reach!(ActUnchecked);
            if !self.core.lease.allows_acts(clock, self.lease) {
                return AttemptEnd::Unleased;
            }
            if deadline.has_passed(clock) {
                return not_begun("its deadline had passed before it could begin".into());
            }
            reach!(ActChecked);
        }
        let remaining = deadline.monotonic.since(clock.monotonic());
        let is_checked = attempt.class.has_intent();
        let run = pin!(
            AssertUnwindSafe(async move {
                if !is_checked && let Some(reason) = tool.problem_with(&attempt.input) {
                    return AttemptEnd::InvalidArguments { reason };
                }
                tool.run(attempt.input, call).await.map_or_else(end_of, AttemptEnd::Succeeded)
            })
            .catch_unwind()
        );
        match self.within(remaining, run).await {
            None => AttemptEnd::DeadlineExceeded,
            Some(Err(panic)) => AttemptEnd::Panicked { message: message_of(&*panic) },
            Some(Ok(end)) => end,
        }
    }

    async fn look(self, attempt: Attempt) -> Result<ProbeAnswer, String> {
        let tool = self.core.tools.get(&attempt.tool).cloned();
        let tool: Arc<dyn DynTool> =
            tool.ok_or_else(|| format!("the shell has no tool `{}`", attempt.tool))?;
        let call = self.call(&attempt);
        let allowed = self.core.limits.attempt();
        let asked =
            pin!(AssertUnwindSafe(async move { tool.probe(attempt.input, call).await }).catch_unwind());
        match self.within(allowed, asked).await {
            None => Err("the probe took longer than it may".into()),
            Some(Err(panic)) => Err(format!("the probe panicked: {}", message_of(&*panic))),
            Some(Ok(answer)) => answer.map_err(|error| error.to_string()),
        }
    }

    /// Asks a model. The handle drops the question.
    pub(crate) fn question(&self, question: Question) -> AbortHandle {
        let (step, attempt) = (question.place, question.attempt);
        let asked = self.clone().asked(question);
        let ended = move |end, took| Event::Finished { step, attempt, read: 0, end, took };
        let work = asked.map(move |((end, spent), took)| {
            reach!(ActEnded);
            (ended(end, took), spent)
        });
        self.start(work, move |message| ended(model_panicked(&message), None))
    }

    /// Asks a model, within what is set aside for it.
    async fn asked(self, question: Question) -> (Ended, Option<Duration>) {
        let Some(model) = self.core.models.get(&question.model).cloned() else {
            return ((not_begun(format!("the shell has no model `{}`", question.model)), None), None);
        };
        let Some(purse) = self.purse.clone() else {
            let timed = question.is_timed.then(|| (self.core.clock.clone(), self.core.clock.monotonic()));
            let (end, _) = self.answer(&*model, question).await;
            return ((end, None), timed.map(|(clock, began)| clock.monotonic().since(began)));
        };
        let clock = self.core.clock.clone();
        let bound = match guarded(|| model.bound(&question.request)) {
            Ok(bound) => bound,
            Err(message) => return ((model_panicked(&message), None), None),
        };
        let id = self.attempt_id(&question.step, question.attempt);
        let most = match purse.most_of_question(bound, question.deadline.since(clock.now())) {
            Ok(most) => most,
            Err(end) => return ((end, None), None),
        };
        if let Err(ended) = purse.reserve(id.clone(), most).await {
            return (ended, None);
        }
        reach!(BudgetReserved);
        let began = clock.monotonic();
        let (end, used) = self.answer(&*model, question).await;
        let took = clock.monotonic().since(began);
        let amounts = spent_by_question(used, bound, most, took);
        ((end, Some(purse.spent(id, most, amounts))), Some(took))
    }

    async fn answer(self, model: &dyn Model, question: Question) -> (AttemptEnd, Used) {
        let call = self.call_of(&question.step, question.key, question.attempt, question.deadline);
        let remaining = call.deadline.monotonic.since(self.core.clock.monotonic());
        let mut voice = self.core.live.voice(self.turn, question.step, question.attempt);
        let most_bytes = self.core.limits.payload_bytes;
        let most_pause_ms = self.core.limits.model_pause_ms;
        // What guards have not ruled on is shown to nobody.
        let may_show = !self.core.guards.places().has(GuardPlace::AfterModel);
        let asked = pin!(
            AssertUnwindSafe(async move {
                let asked = (question.request, question.alone, question.view);
                let (mut end, used) = ask(model, asked, call, most_bytes, |text| {
                    if may_show {
                        voice.say(text);
                    }
                })
                .await;
                if let AttemptEnd::Unanswered { pause_ms, .. } = &mut end {
                    *pause_ms = most_pause_ms.min(*pause_ms);
                }
                // Dropped before that, it takes back what it said.
                if matches!(end, AttemptEnd::Answered { .. }) {
                    voice.finish();
                }
                (end, used)
            })
            .catch_unwind()
        );
        // What it used is not known, and counts at its bound.
        let unknown = |end| (end, Used::Known(Usage::default()));
        match self.within(remaining, asked).await {
            None => unknown(unanswered(true, "the model took longer than it may".into())),
            Some(Err(panic)) => unknown(model_panicked(&message_of(&*panic))),
            Some(Ok(end)) => end,
        }
    }

    fn call_of(&self, step: &StepId, key: Arc<str>, attempt: u32, wall: Timestamp) -> Call {
        let clock = &*self.core.clock;
        let mut deadline = Deadline::after(clock, wall.since(clock.now()));
        deadline.wall = wall;
        Call::new(key, (self.session, self.turn, step.clone()), self.epoch, attempt, deadline)
    }

    fn call(&self, attempt: &Attempt) -> Call {
        self.call_of(&attempt.step, attempt.key.clone(), attempt.attempt, attempt.deadline)
    }

    /// The output of `work`, or none when it takes longer. The first poll of `work` is the first poll of this.
    async fn within<W: Future + Send>(&self, allowed: Duration, mut work: Pin<&mut W>) -> Option<W::Output>
    where
        W::Output: Send,
    {
        // Much ends at once, and needs no timer.
        if let Poll::Ready(output) = futures::poll!(work.as_mut()) {
            return Some(output);
        }
        match select(work, self.core.clock.sleep(allowed)).await {
            Either::Left((output, _)) => Some(output),
            Either::Right(_) => None,
        }
    }
}

fn model_panicked(message: &str) -> AttemptEnd {
    unanswered(true, format!("the model panicked: {message}"))
}

fn not_begun(reason: String) -> AttemptEnd {
    AttemptEnd::NotBegun { reason }
}

fn end_of(error: ToolError) -> AttemptEnd {
    match error {
        ToolError::Applied { output } => AttemptEnd::Succeeded(output),
        ToolError::NotApplied { retry, reason } => {
            AttemptEnd::NotApplied { retry, reason: reason.into_owned() }
        }
        ToolError::Ambiguous { reason } => AttemptEnd::Ambiguous { reason: reason.into_owned() },
    }
}
