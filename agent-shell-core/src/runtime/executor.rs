//! `PlanExecutor`: the one loop that drives a session, and the only writing caller of the fold.
//!
//! Mail, completions and instants become events; the machine turns them into records; the records are folded,
//! appended, and only then acted on. While an append is under way, further completions wait in a bounded channel and
//! go into the next one together. Nothing is done here that the folded state does not ask for, so a session that was
//! taken over goes on as if nothing had been.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::AbortHandle;
use tokio::sync::mpsc;

use super::admission::Place;
use super::core::{Core, Stopping};
use super::inbox::Inbox;
use super::processor::{Attempt, Completion, StepProcessor};
use super::registry::SessionHandle;
use super::rest::Rest;
use super::watchers::TurnView;
use super::writer::{Beside, SessionWriter};
use crate::data::{Body, EffectClass, Outcome, PlannerRef, RequirementId};
use crate::machine::{Command, Entry, Env, Event, Folded, Live, fold, next_wake, owed, react, status};
use crate::ports::{Mark, SessionEntry, SessionStatus};
use crate::words::{Error, ErrorKind, MailId, Monotonic, Pseudonym, Result, TurnId};

/// How long a session without work is held before it is let go.
const IDLE: Duration = Duration::from_secs(30);
/// The longest sleep of a session that waits for nothing in particular.
const LONG: Duration = Duration::from_secs(3600);

/// Drives one session.
pub(crate) struct PlanExecutor {
    pub(super) core: Arc<Core>,
    pub(super) handle: Arc<SessionHandle>,
    pub(super) entry: SessionEntry,
    pub(super) state: Folded,
    live: Live,
    writer: SessionWriter,
    inbox: Inbox,
    /// Folded, and not yet durable.
    pending: Vec<Entry>,
    consumed: Vec<MailId>,
    /// Whether `pending` holds more than outcomes of `Pure` steps, which may wait for company.
    urgent: bool,
    riding_since: Option<Monotonic>,
    mark: Mark,
    requires: Vec<RequirementId>,
    handles: BTreeMap<Work, AbortHandle>,
    done: (mpsc::Sender<Completion>, mpsc::Receiver<Completion>),
    place: Option<Place>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    Plan,
    Act(usize),
    Probe(usize),
}

impl PlanExecutor {
    pub(crate) fn new(
        core: Arc<Core>,
        handle: Arc<SessionHandle>,
        entry: SessionEntry,
        state: Folded,
        writer: SessionWriter,
        inbox: Inbox,
    ) -> Self {
        let live = Live { durable: state.seq, ..Live::default() };
        // Room for every act and probe that runs; one more waits with its completion, and holds up nobody.
        let done = mpsc::channel(2 * core.limits.parallel_steps + 2);
        Self {
            mark: entry.mark,
            requires: entry.requires.clone(),
            core,
            handle,
            entry,
            state,
            live,
            writer,
            inbox,
            pending: Vec::new(),
            consumed: Vec::new(),
            urgent: false,
            riding_since: None,
            handles: BTreeMap::new(),
            done,
            place: None,
        }
    }

    /// Drives the session until it is let go.
    ///
    /// # Errors
    /// What ended it otherwise: `Fenced`, `Poisoned`, `Corrupt`, or the shell's own stop.
    pub(crate) async fn run(mut self) -> Result<()> {
        self.handle.set_driven(true);
        let driven = self.drive().await;
        self.handles.values().for_each(AbortHandle::abort);
        driven
    }

    async fn drive(&mut self) -> Result<()> {
        let mut stop = self.core.stop.watch();
        loop {
            let stopping = *stop.borrow_and_update();
            match stopping {
                Stopping::No => {
                    self.take_mail().await?;
                    self.settle().await?;
                }
                Stopping::Draining if self.handles.is_empty() => return self.flush().await,
                Stopping::Draining => {}
                _ => return Err(Error::new(ErrorKind::ShuttingDown, "the shell has stopped")),
            }
            if self.state.turn.is_none() && self.inbox.may_have_input() && stopping == Stopping::No {
                continue;
            }
            let sleep = self.sleep_for();
            tokio::select! {
                biased;
                completion = self.done.1.recv() => self.complete(completion)?,
                () = self.handle.woken() => {}
                _ = stop.changed() => {}
                () = self.core.clock.sleep(sleep) => {
                    if self.rides_too_long() {
                        self.urgent = true;
                    } else if self.is_idle() && sleep >= self.idle_after() && self.core.registry.remove(self.entry.id, false) {
                        return self.flush().await;
                    }
                }
            }
        }
    }

    /// Reads what waits in the mailbox, if anything may.
    async fn take_mail(&mut self) -> Result<()> {
        if self.state.opened.is_none() {
            let opened = self.inbox.opening(&self.entry)?;
            self.take(vec![opened], Pseudonym::RUNTIME)?;
        }
        if self.handle.take_mail() {
            self.inbox.mail_arrived();
        }
        if self.state.turn.is_some() && self.place.is_none() {
            self.enter().await?;
        }
        for letter in self.inbox.control(&self.state).await? {
            self.consumed.push(letter.id);
            self.urgent = true;
            let records = match letter.event {
                Ok(event) => react(&self.state, event, &self.env()),
                Err(refusal) => vec![refusal],
            };
            self.take(records, letter.actor)?;
        }
        if self.state.turn.is_none()
            && let Some(letter) = self.inbox.input().await?
        {
            self.enter().await?;
            self.consumed.push(letter.id);
            self.urgent = true;
            let records = match letter.event {
                Ok(event) => react(&self.state, event, &self.env()),
                Err(refusal) => vec![refusal],
            };
            self.take(records, letter.actor)?;
        }
        Ok(())
    }

    /// Waits for a place among the running turns.
    async fn enter(&mut self) -> Result<()> {
        if self.place.is_none() {
            self.place = tokio::select! {
                place = self.core.admission.enter(&self.entry.tenant) => Some(place),
                () = self.core.stop.reached(Stopping::Draining) => {
                    return Err(Error::new(ErrorKind::ShuttingDown, "the shell is shutting down"));
                }
            };
        }
        Ok(())
    }

    /// Folds, records and commands until nothing more is owed, and all that is urgent is durable.
    async fn settle(&mut self) -> Result<()> {
        loop {
            let owed = owed(&self.state, &self.live, &self.env());
            if !owed.records.is_empty() {
                self.urgent = true;
                self.take(owed.records, Pseudonym::RUNTIME)?;
                continue;
            }
            let mut again = false;
            for command in owed.commands {
                again |= self.obey(command)?;
            }
            if again {
                continue;
            }
            if !self.urgent {
                break;
            }
            self.flush().await?;
        }
        if self.mark.status != SessionStatus::Running {
            self.place = None;
        }
        Ok(())
    }

    /// Takes records into the state. From here on they are on their way to the journal.
    fn take(&mut self, records: Vec<Body>, actor: Pseudonym) -> Result<()> {
        for body in records {
            let (seq, time) = (self.state.seq.next(), self.core.clock.now());
            let entry = Entry { seq, epoch: self.entry.epoch, time, actor, body };
            fold(&mut self.state, &entry).map_err(|error| super::reader::corrupt(error.to_string()))?;
            if matches!(entry.body, Body::TurnEnded { .. }) {
                self.handles.values().for_each(AbortHandle::abort);
                self.handles.clear();
                self.live = Live { durable: self.live.durable, ..Live::default() };
            }
            self.pending.push(entry);
        }
        Ok(())
    }

    /// Carries out a command. True when it led to records at once.
    fn obey(&mut self, command: Command) -> Result<bool> {
        match command {
            Command::Check { step, tool, input } => {
                let problem = match self.core.tools.get(&tool) {
                    Some(tool) => tool.check(&input).err().map(|error| error.reason),
                    None => Some(format!("the shell has no tool `{tool}`")),
                };
                self.happened(Event::Checked { step, input, problem })?;
                return Ok(true);
            }
            Command::Plan => return self.plan(),
            Command::Act { step, tool, input, key, attempt, deadline } => {
                let class = self.turn().map_or(EffectClass::Pure, |turn| turn.class_of(step));
                self.live.running.insert(step, attempt);
                self.begin(Work::Act(step), tool, (input, key, attempt), deadline, class);
            }
            Command::Probe { step, tool, input, key, attempt } => {
                self.live.probing.insert(step);
                let deadline = self.core.clock.now().plus(self.core.limits.attempt());
                self.begin(Work::Probe(step), tool, (input, key, attempt), deadline, EffectClass::Pure);
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

    fn turn(&self) -> Option<&crate::machine::TurnState> {
        self.state.turn.as_ref()
    }

    fn plan(&mut self) -> Result<bool> {
        let Some(turn) = self.state.turn.as_ref() else { return Ok(false) };
        let named = match &turn.planner {
            PlannerRef::Fixed(plan) => {
                let answer = self.core.plan_answer(plan.clone(), false);
                self.happened(Event::Planned(Ok(answer)))?;
                return Ok(true);
            }
            PlannerRef::Named(name) => name,
        };
        let Some(planner) = self.core.planners.get(named).cloned() else {
            let failure = self.core.no_such_planner(named);
            self.happened(Event::Planned(Err(failure)))?;
            return Ok(true);
        };
        let view = self.core.plan_view(self.state.session, turn);
        let processor = self.processor(turn.id);
        self.live.planning = true;
        self.handles.insert(Work::Plan, processor.plan(planner, view));
        Ok(false)
    }

    fn begin(
        &mut self,
        work: Work,
        tool: crate::words::ToolName,
        (input, key, attempt): (Arc<serde_json::Value>, Arc<str>, u32),
        deadline: crate::words::Timestamp,
        class: EffectClass,
    ) {
        let (Work::Act(place) | Work::Probe(place)) = work else { return };
        let Some(turn) = self.state.turn.as_ref() else { return };
        let processor = self.processor(turn.id);
        let step = turn.steps[place].step.id.clone();
        let attempt = Attempt { place, step, tool, input, key, attempt, deadline, class };
        let handle =
            if matches!(work, Work::Act(_)) { processor.act(attempt) } else { processor.probe(attempt) };
        self.handles.insert(work, handle);
    }

    fn processor(&self, turn: TurnId) -> StepProcessor {
        StepProcessor {
            core: self.core.clone(),
            session: self.entry.id,
            turn,
            epoch: self.entry.epoch,
            done: self.done.0.clone(),
        }
    }

    /// Takes a completion and all others that have arrived.
    fn complete(&mut self, first: Option<Completion>) -> Result<()> {
        let mut next = first;
        while let Some(Completion { turn, event }) = next {
            next = self.done.1.try_recv().ok();
            if self.turn().is_none_or(|running| running.id != turn) {
                continue;
            }
            let mut rides = false;
            match &event {
                Event::Planned(_) => {
                    self.live.planning = false;
                    self.handles.remove(&Work::Plan);
                    rides = self.may_ride();
                }
                Event::Finished { step, attempt, .. } => {
                    // A dropped act that had already reported is no longer expected.
                    if self.live.running.get(step) != Some(attempt) {
                        continue;
                    }
                    self.live.running.remove(step);
                    self.handles.remove(&Work::Act(*step));
                    rides = self.may_ride()
                        && self.turn().is_some_and(|turn| turn.class_of(*step) == EffectClass::Pure);
                }
                Event::Probed { step, .. } => {
                    self.live.probing.remove(step);
                    self.handles.remove(&Work::Probe(*step));
                }
                _ => {}
            }
            self.happened(event)?;
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

    /// Appends what is pending. What is shown to others is shown after.
    async fn flush(&mut self) -> Result<()> {
        self.urgent = false;
        self.riding_since = None;
        if self.pending.is_empty() {
            return Ok(());
        }
        let entries = std::mem::take(&mut self.pending);
        let ended: Vec<(TurnId, Outcome)> = entries.iter().filter_map(ended).collect();
        let mark = status(&self.state, &self.live);
        let requires = self.core.required_by(&self.state);
        let beside = Beside {
            consume_mail: std::mem::take(&mut self.consumed),
            requires: (requires != self.requires).then(|| requires.clone()),
            mark: (mark != self.mark).then_some(mark),
        };
        self.writer.append(entries, beside, Some(&self.state)).await.map_err(Error::from)?;
        self.live.durable = self.writer.head().seq;
        self.mark = mark;
        self.requires = requires;
        for (turn, outcome) in ended {
            self.core.watchers.show(turn, TurnView { outcome: Some(outcome), ..TurnView::default() });
        }
        if let Some(turn) = &self.state.turn
            && self.core.watchers.is_watched(turn.id)
        {
            let rests = mark.status == SessionStatus::Resting;
            self.core.watchers.show(turn.id, TurnView { open: Rest::all(&self.state), rests, outcome: None });
        }
        Ok(())
    }

    fn env(&self) -> Env<'_> {
        Env {
            epoch: self.entry.epoch,
            now: self.core.clock.now(),
            limits: &self.core.limits,
            random: self.core.entropy.below(u64::MAX),
        }
    }

    /// Whether nothing but mail or an instant can move the session.
    fn is_idle(&self) -> bool {
        self.handles.is_empty() && self.pending.is_empty() && self.mark.status != SessionStatus::Running
    }

    fn idle_after(&self) -> Duration {
        let crowded = self.core.registry.len() > self.core.limits.held_sessions;
        if crowded { Duration::ZERO } else { IDLE }
    }

    fn rides_too_long(&self) -> bool {
        let riding = Duration::from_millis(self.core.limits.riding_ms);
        self.riding_since.is_some_and(|since| self.core.clock.monotonic().since(since) >= riding)
    }

    fn sleep_for(&self) -> Duration {
        let until_wake = next_wake(&self.state).map(|wake| wake.since(self.core.clock.now()));
        let until_ride = self.riding_since.map(|since| {
            let riding = Duration::from_millis(self.core.limits.riding_ms);
            riding.saturating_sub(self.core.clock.monotonic().since(since))
        });
        let until_idle = self.is_idle().then(|| self.idle_after());
        [until_wake, until_ride, until_idle].into_iter().flatten().min().unwrap_or(LONG)
    }
}

fn ended(entry: &Entry) -> Option<(TurnId, Outcome)> {
    match &entry.body {
        Body::TurnEnded { turn, outcome, answer } => {
            let answer = answer.as_ref().map(|answer| Outcome::Answered((*answer.value()).clone()));
            Some((*turn, answer.unwrap_or_else(|| outcome.clone())))
        }
        _ => None,
    }
}
