//! Folding: from records to state. This is the only place where a state changes.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::context::Context;
use super::latency::Latency;
use super::state::{Ending, Folded, Phase, Steer, StepState, TurnState};
use super::talk::{self, Talk};
use super::transition::{Stage, Transition, find, may_come};
use super::{forked, withheld};
use crate::data::{
    Action, Answer, Body, EffectClass, Plan, Prompt, PromptRef, Resolution, Say, WaitEnd, WaitFor,
};
use crate::words::{Epoch, Pseudonym, Seq, SignalName, StepId, Timestamp, TurnId};

/// The version of this fold. A snapshot of another version is not used; the records are folded again.
pub const FOLD_VERSION: u32 = 7;

/// A record as the fold sees it: opened, with its blobs in place.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its place.
    pub seq: Seq,
    /// The epoch of its owner.
    pub epoch: Epoch,
    /// When it was made.
    pub time: Timestamp,
    /// Who acted.
    pub actor: Pseudonym,
    /// What it says.
    pub body: Body,
}

/// A record that does not follow from those before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("record {seq} (`{kind}`) does not follow from the records before it: {problem}")]
pub struct FoldError {
    /// Its place.
    pub seq: Seq,
    /// Its kind.
    pub kind: &'static str,
    /// What is wrong.
    pub problem: &'static str,
}

/// Takes one more record into the state. Returns which row of [`TRANSITIONS`](super::TRANSITIONS) it was.
///
/// # Errors
/// [`FoldError`] when the record can't follow; the state is then of no use.
pub fn fold(state: &mut Folded, entry: &Entry) -> Result<&'static Transition, FoldError> {
    let wrong = |problem| FoldError { seq: entry.seq, kind: entry.body.kind(), problem };
    if state.purged {
        return Err(wrong("the session was purged"));
    }
    if entry.seq != state.seq.next() {
        return Err(wrong("its place is not the next"));
    }
    state.seq = entry.seq;
    apply(state, entry).map_err(wrong)
}

/// Whether an owner came between these epochs and left no record.
pub(super) fn skipped(before: Epoch, epoch: Epoch) -> bool {
    epoch > before.next()
}

type Applied = Result<(), &'static str>;
type Made = Result<&'static Transition, &'static str>;

fn apply(state: &mut Folded, entry: &Entry) -> Made {
    if let Some(step) = entry.body.step() {
        return apply_to_step(state, entry, step);
    }
    let (record, from) = (entry.body.about(), state.stage());
    if !may_come(record, from) {
        return Err("the session is not in a stage in which it can come");
    }
    match &entry.body {
        Body::SessionOpened { name, subject, child_of } => {
            state.opened = Some((name.clone(), subject.clone()));
            state.child_of = child_of.clone();
        }
        Body::SessionForked { .. } => forked::begin(state, entry)?,
        Body::SignalReceived { name, payload } => state.signals.push_back((name.clone(), payload.value())),
        Body::SessionHandedOff { planner, .. } => state.handed_to = Some(planner.clone()),
        Body::MailRefused { .. } => {}
        Body::TurnWithdrawn { turn, .. } => state.withdraw(*turn),
        Body::TurnSteered { turn, request, posted, at_once } => {
            let turn = running(state, *turn)?;
            turn.steered(Steer {
                request: Arc::new((**request).clone()),
                actor: entry.actor,
                posted: *posted,
                at_once: *at_once,
                round: turn.round,
            });
            state.epoch = entry.epoch;
        }
        Body::TurnStarted { turn, input, planner, deadline, wants, budget, untrusted, latency, posted } => {
            if state.next.front().is_some_and(|next| next.request.turn != *turn) {
                return Err("another turn is the next");
            }
            state.next.pop_front();
            state.turns += 1;
            let waits = skipped(state.epoch, entry.epoch);
            state.epoch = entry.epoch;
            state.turn = Some(TurnState {
                begins_after: if waits { entry.seq } else { Seq::ZERO },
                wants: wants.as_deref().cloned(),
                budget: budget.as_deref().copied(),
                latency: latency.as_deref().map(|budgets| Box::new(Latency::new(*budgets, *posted))),
                untrusted_input: *untrusted,
                talk_from: state.talk.end(),
                effects_off: state.forked.as_ref().is_some_and(|forked| !forked.effects),
                handles_from: state.forked.as_ref().map_or(0, |forked| forked.handles_from),
                ..started(*turn, input.value(), (**planner).clone(), *deadline, entry.actor)
            });
        }
        Body::LatencyBreached { turn, step, stage, .. } => {
            running(state, *turn)?.breached(*stage, step.as_ref())?;
        }
        Body::SessionPurged { .. } => {
            let erased =
                Folded { seq: state.seq, turns: state.turns, purged: true, ..Folded::new(state.session) };
            *state = erased;
        }
        Body::TurnEnded { turn, .. } => {
            let (turn, talk) = conversing(state, *turn)?;
            talk.turn_ended(turn);
            let left = turn.steers.split_off(turn.taken_up.min(turn.steers.len()));
            state.next.extend(left);
            state.epoch = entry.epoch;
            state.turn = None;
        }
        Body::PromptSet { turn, digest, prompt } => {
            let prompt = Prompt::deserialize(&*prompt.value()).map_err(|_| "its prompt can't be read")?;
            conversing(state, *turn)?.1.set_prompt(*digest, prompt);
            state.epoch = entry.epoch;
        }
        body => {
            apply_to_turn(running(state, body.turn().ok_or("it names no turn")?)?, entry)?;
            state.epoch = entry.epoch;
        }
    }
    find(record, from, state.stage()).ok_or("the table of transitions does not lead there")
}

/// One record of a step, if the table has it.
fn apply_to_step(state: &mut Folded, entry: &Entry, step: &StepId) -> Made {
    let is_copy = state.forked.as_ref().is_some_and(|forked| forked.copied(entry.seq));
    let taken = withheld::taken(state, entry, step);
    let (turn, talk) = conversing(state, entry.body.turn().ok_or("it names no turn")?)?;
    let place = turn.place(step)?;
    let (record, from) = (entry.body.about(), turn.steps[place].phase.stage());
    if !may_come(record, from) {
        return Err("the step is not in a phase that it can follow");
    }
    let signal = awaited(&turn.steps[place].phase);
    let begins = matches!(entry.body, Body::StepStarted { .. } | Body::ChildStarted { .. });
    let of_parent = turn.steps[place].of_parent && !begins;
    turn.steps[place].of_parent = is_copy || of_parent;
    match &entry.body {
        Body::ModelAnswered { .. } => answered(turn, talk, place, &entry.body)?,
        _ => change_step(turn, place, entry)?,
    }
    if turn.steps[place].phase.is_final() {
        turn.steps[place].ended = Seq::new(turn.handles_from + entry.seq.number());
        turn.label(place);
    }
    if matches!(entry.body, Body::WaitOpened { .. } | Body::StepInDoubt { .. } | Body::UndoParked { .. }) {
        turn.steps[place].rested = entry.seq;
    }
    // An attempt that is only made again, because its owner is gone, is no progress.
    let again = match entry.body {
        Body::StepStarted { .. } => from == Stage::Started,
        Body::AttemptFailed { counts, .. } => !counts,
        _ => false,
    };
    if !again {
        turn.interruptions = 0;
    }
    let to = turn.steps[place].phase.stage();
    state.epoch = entry.epoch;
    if let (Some(call), Some(forked)) = (taken, &mut state.forked) {
        forked.take(call);
    }
    // A signal that came early is taken from the front of its own queue.
    if let (Body::WaitEnded { end: WaitEnd::Signalled(_), .. }, Some(name)) = (&entry.body, signal)
        && let Some(buffered) = state.signals.iter().position(|(signal, _)| *signal == name)
    {
        state.signals.remove(buffered);
    }
    find(record, from, to).ok_or("the table of transitions does not lead there")
}

/// What a model said becomes part of the conversation, and its step's output.
fn answered(turn: &mut TurnState, talk: &mut Talk, place: usize, body: &Body) -> Applied {
    let Body::ModelAnswered { attempt, answer, context, .. } = body else { return Err("it is no answer") };
    let Action::Model(ask) = turn.steps[place].step.action.clone() else {
        return Err("its step asks no model");
    };
    let answer = Answer::deserialize(&*answer.value()).map_err(|_| "its answer can't be read")?;
    let prompt = match &ask.prompt {
        PromptRef::Recorded(digest) => talk.prompt(digest).map(|(prompt, _)| prompt.clone()),
        PromptRef::Whole(prompt) => Some(prompt.clone()),
    };
    let output = talk::output_of(prompt.as_deref(), &answer);
    turn.bytes += talk::bytes_of(&answer) as usize;
    let shows_untrusted = turn.shows_untrusted(talk, &ask);
    turn.steps[place].untrusted = shows_untrusted;
    if ask.first_shown.is_some() {
        let said = match turn.steps[place].said.take() {
            Some(said) => (*said).clone(),
            None => talk::said(turn, &ask, usize::MAX).map_err(|_| "what was said can't be made again")?,
        };
        let before = talk.messages.back().map(|kept| kept.message.clone());
        turn.count_results(&ask, &said[0], before.as_deref());
        let labels = turn.labels_of_said(&ask, said.len());
        turn.told = turn.told.max(ask.steers as usize);
        if let Say::Summary { through, .. } = &ask.say {
            turn.talk_from = talk.turn_first(turn.talk_from, *through);
        }
        talk.take(&ask, said.into_iter().zip(labels), (&answer, shows_untrusted));
    }
    let step = &mut turn.steps[place];
    step.attempt = *attempt;
    step.answer = Some(Arc::new(answer));
    turn.succeed(place, Arc::new(output), context);
    Ok(())
}

/// The signal that a step waits for.
fn awaited(phase: &Phase) -> Option<SignalName> {
    match phase {
        Phase::Waiting(WaitFor::Signal { name, .. }) => Some(name.clone()),
        _ => None,
    }
}

fn started(
    id: TurnId,
    input: Arc<Value>,
    planner: crate::data::PlannerRef,
    deadline: Option<Timestamp>,
    actor: Pseudonym,
) -> TurnState {
    TurnState {
        id,
        input,
        planner,
        actor,
        deadline,
        round: 0,
        more: false,
        answer: None,
        answer_template: None,
        latest: 0,
        steps: Vec::new(),
        index: Default::default(),
        dependents: Vec::new(),
        missing: Vec::new(),
        ready: Default::default(),
        skipped: Default::default(),
        wants: None,
        budget: None,
        latency: None,
        untrusted_input: false,
        answered: None,
        talk_from: 0,
        corrections: 0,
        failing: Default::default(),
        held: Default::default(),
        active: Default::default(),
        ended: 0,
        to_undo: Default::default(),
        undone: Vec::new(),
        terms: Default::default(),
        context: Context::default(),
        steers: Vec::new(),
        taken_up: 0,
        told: 0,
        interrupted: 0,
        plans_dropped: 0,
        given_up: 0,
        dropped: Default::default(),
        untrusted_keys: Default::default(),
        bytes: 0,
        interruptions: 0,
        begins_after: Seq::ZERO,
        effects_off: false,
        handles_from: 0,
        ending: None,
    }
}

fn running(state: &mut Folded, id: TurnId) -> Result<&mut TurnState, &'static str> {
    state.turn.as_mut().filter(|turn| turn.id == id).ok_or("that turn does not run")
}

/// The turn and the conversation that it is part of.
fn conversing(state: &mut Folded, id: TurnId) -> Result<(&mut TurnState, &mut Talk), &'static str> {
    let turn = state.turn.as_mut().filter(|turn| turn.id == id).ok_or("that turn does not run")?;
    Ok((turn, &mut state.talk))
}

fn apply_to_turn(turn: &mut TurnState, entry: &Entry) -> Applied {
    match &entry.body {
        Body::PlanAdopted { round, plan, more, terms, .. } => {
            turn.interruptions = 0;
            turn.terms.extend(terms.iter().map(|(name, terms)| (name.clone(), terms.clone())));
            turn.adopt(*round, plan, *more)
        }
        Body::PlanAnswered { answer, .. } => {
            turn.interruptions = 0;
            turn.round += 1;
            turn.more = false;
            turn.answer = Some(answer.value());
            Ok(())
        }
        Body::PlanFailed { failure, .. } => {
            turn.ending.get_or_insert_with(|| Ending::Failed(failure.clone()));
            Ok(())
        }
        Body::TurnInterrupted { times, failure, .. } => {
            turn.interruptions = *times;
            turn.begins_after = entry.seq;
            if let Some(failure) = failure {
                turn.ending.get_or_insert_with(|| Ending::Failed(failure.clone()));
            }
            Ok(())
        }
        Body::TurnExpired { .. } => {
            turn.ending.get_or_insert(Ending::Expired);
            Ok(())
        }
        Body::TurnCancelled { .. } => {
            turn.ending.get_or_insert(Ending::Cancelled);
            Ok(())
        }
        Body::TurnAnswered { answer, .. } => {
            turn.interruptions = 0;
            turn.answered = Some(answer.value());
            Ok(())
        }
        Body::UndoPlanned { steps, .. } => {
            turn.interruptions = 0;
            turn.adopt_undoing(steps)
        }
        _ => Err("it changes no turn"),
    }
}

/// What a record changes of its step, which is in a phase in which the record may come. Each arm is one record.
fn change_step(turn: &mut TurnState, place: usize, entry: &Entry) -> Applied {
    let class = turn.class_of(place);
    let step = &mut turn.steps[place];
    match (&entry.body, &step.phase) {
        (Body::WaitOpened { wait, .. }, _) => {
            if let WaitFor::Approval { shown, .. } = wait {
                step.input = Some(shown.value());
                step.read = turn.context.version;
            }
            turn.enter(place, Phase::Waiting(wait.clone()));
        }
        (Body::WaitEnded { end, context, .. }, Phase::Waiting(wait)) => {
            let asks_for_tool = matches!(step.step.action, Action::Tool { .. });
            match (end, wait) {
                (WaitEnd::Approved, WaitFor::Approval { .. }) if asks_for_tool => {
                    turn.enter(place, Phase::Approved);
                }
                (WaitEnd::Approved, WaitFor::Approval { .. }) => {
                    turn.succeed(place, Arc::new(Value::Null), context);
                }
                (WaitEnd::Fired { late_ms }, WaitFor::Timer { .. }) => {
                    turn.succeed(place, Arc::new(json!({ "late_ms": late_ms })), context);
                }
                (WaitEnd::Signalled(payload), WaitFor::Signal { .. }) => {
                    turn.succeed(place, payload.value(), context);
                }
                _ => return Err("the step waits for something else"),
            }
        }
        (Body::StepStarted { attempt, input, key, deadline, .. }, _) => {
            if matches!(step.phase, Phase::Started { .. }) {
                step.unknown = true;
                step.interruptions += 1;
            }
            if let Some(input) = input {
                step.input = Some(input.value());
            }
            step.attempt = *attempt;
            step.key = Some(key.as_str().into());
            step.deadline = *deadline;
            step.first.get_or_insert(entry.time);
            turn.enter(place, Phase::Started { epoch: entry.epoch, seq: entry.seq });
        }
        (Body::AttemptFailed { attempt, not_applied, counts, retry_at, .. }, _) => {
            step.attempt = *attempt;
            step.failures += u32::from(*counts);
            step.interruptions = if *counts { 0 } else { step.interruptions + u32::from(!not_applied) };
            let asked = matches!(step.phase, Phase::Probing { .. });
            let phase = match class {
                EffectClass::Probed if !not_applied => Phase::Probing { from: *retry_at, tries: 0 },
                _ => Phase::Paused { until: *retry_at },
            };
            // Only a probe's answer says anything of earlier attempts; a tool speaks of its own attempt.
            step.unknown = class.has_intent() && (!not_applied || (step.unknown && !asked));
            turn.enter(place, phase);
        }
        (Body::StepOutdated { attempt, .. }, _) => {
            step.attempt = *attempt;
            (step.input, step.said, step.view, step.after) = (None, None, None, None);
            turn.pauses_anew(place);
        }
        (Body::ProbeFailed { retry_at, .. }, Phase::Probing { tries, .. }) => {
            let tries = tries + 1;
            turn.enter(place, Phase::Probing { from: *retry_at, tries });
        }
        (Body::StepInDoubt { attempt, reason, not_applied_from, .. }, _) => {
            step.attempt = *attempt;
            step.unknown = true;
            let (reason, not_applied_from) = (reason.clone(), *not_applied_from);
            turn.enter(place, Phase::InDoubt { reason, not_applied_from });
        }
        (Body::StepResolved { resolution, context, .. }, _) => match resolution {
            Resolution::Applied(output) => turn.succeed(place, Arc::new(output.clone()), context),
            // It has not begun yet, or is begun without a record.
            Resolution::Retry if step.key.is_none() && matches!(step.phase, Phase::Parked { .. }) => {
                (step.failures, step.interruptions) = (0, 0);
                turn.pauses_anew(place);
            }
            Resolution::Retry => {
                step.unknown = false;
                step.failures = 0;
                step.interruptions = 0;
                step.first = None;
                turn.enter(place, Phase::Paused { until: entry.time });
            }
            Resolution::GiveUp => return Err("a step that is given up fails by a record of its own"),
        },
        (Body::StepReturned { attempt, output, view, .. }, _) => {
            step.attempt = *attempt;
            step.view = view.map(Box::new);
            step.unknown = false;
            step.read = turn.context.version;
            turn.enter(place, Phase::Returned(output.value()));
        }
        (Body::GuardRuled { place: at, digest, rulings, value, .. }, _) => {
            turn.take_rulings(place, (*at, *digest), rulings, value.as_ref())?;
        }
        (Body::StepSucceeded { attempt, output, context, .. }, _) => {
            step.attempt = *attempt;
            turn.succeed(place, output.value(), context);
        }
        (Body::ChildStarted { .. } | Body::ChildCancelled { .. } | Body::ChildEnded { .. }, _) => {
            turn.take_child(place, &entry.body)?;
            turn.enter(place, Phase::Delegated);
        }
        (Body::UndoParked { failure, .. }, _) => {
            if step.undoes.is_none() {
                return Err("it undoes no other step");
            }
            // As long as an attempt may have taken effect it is in doubt, or the target is asked.
            step.unknown = false;
            turn.enter(place, Phase::Parked { failure: failure.clone() });
        }
        (Body::StepFailed { failure, applied, .. }, _) => {
            if *applied {
                turn.takes_effect(place);
            }
            let step = &turn.steps[place];
            let is_pursued = step.round > turn.given_up || step.undoes.is_some();
            if !step.step.may_fail && is_pursued {
                turn.ending.get_or_insert_with(|| Ending::Failed(failure.clone()));
            }
            turn.end(place, Phase::Failed(failure.clone()));
            turn.failed(place);
        }
        _ => return Err("the step is not in a phase that it can follow"),
    }
    Ok(())
}

impl TurnState {
    pub(super) fn place(&self, step: &StepId) -> Result<usize, &'static str> {
        self.index.get(step).copied().ok_or("the turn has no such step")
    }

    fn adopt(&mut self, round: u32, plan: &Plan, more: bool) -> Applied {
        if round != self.round + 1 {
            return Err("it is not the next round");
        }
        self.round = round;
        self.more = more;
        if plan.steps().iter().any(|step| step.optimistic) {
            self.context.changed.get_or_insert_default();
        }
        self.taken_up = self.taken_up.max(plan.steers() as usize);
        self.answer_template = plan.answer().cloned();
        self.latest = self.steps.len();
        for step in plan.steps() {
            self.index.insert(step.id.clone(), self.steps.len());
            self.steps.push(StepState { round, ..StepState::new(step.clone()) });
        }
        self.dependents.resize(self.steps.len(), Vec::new());
        self.missing.resize(self.steps.len(), 0);
        for place in self.latest..self.steps.len() {
            let needed: Vec<usize> = self.steps[place]
                .step
                .dependencies()
                .into_iter()
                .map(|needed| self.place(needed))
                .collect::<Result<_, _>>()?;
            for needed in needed {
                let (of, before) = (&self.steps[place].step, &self.steps[needed]);
                let needs = of.needs().contains(&before.step.id);
                // What is held back ends after all that it could be awaited by.
                if !before.phase.is_final() && (needs || !self.is_held(needed)) {
                    self.missing[place] += 1;
                    self.dependents[needed].push(place);
                } else if needs && matches!(before.phase, Phase::Failed(_)) {
                    self.skipped.insert(place);
                }
            }
            if self.is_held(place) {
                self.held.insert(place);
            } else if self.missing[place] == 0 && !self.skipped.contains(&place) {
                self.ready.insert(place);
            }
        }
        Ok(())
    }

    /// A step of which nothing counts may begin.
    pub(super) fn pauses_anew(&mut self, place: usize) {
        self.steps[place].phase = Phase::Pending;
        self.active.remove(&place);
        self.ready.insert(place);
    }

    fn enter(&mut self, place: usize, phase: Phase) {
        self.steps[place].phase = phase;
        self.ready.remove(&place);
        self.active.insert(place);
    }

    fn end(&mut self, place: usize, phase: Phase) {
        self.steps[place].phase = phase;
        self.steps[place].unknown = false;
        self.ready.remove(&place);
        self.active.remove(&place);
        self.held.remove(&place);
        self.skipped.remove(&place);
        self.dropped.remove(&place);
        self.ended += 1;
    }

    fn succeed(
        &mut self,
        place: usize,
        output: Arc<Value>,
        context: &std::collections::BTreeMap<crate::words::ContextKey, Value>,
    ) {
        self.bytes += super::resolve::json_bytes(&output);
        self.context.take(context);
        self.takes_effect(place);
        self.end(place, Phase::Succeeded(output));
        for dependent in std::mem::take(&mut self.dependents[place]) {
            self.is_behind(dependent);
        }
    }

    /// One more step that another waited for has ended.
    fn is_behind(&mut self, dependent: usize) {
        self.missing[dependent] -= 1;
        let can_begin = !self.held.contains(&dependent) && !self.skipped.contains(&dependent);
        if self.missing[dependent] == 0 && can_begin && self.steps[dependent].phase == Phase::Pending {
            self.ready.insert(dependent);
        }
    }

    /// Who awaits the end of a step that failed goes on; who needs its output can't.
    fn failed(&mut self, place: usize) {
        for dependent in std::mem::take(&mut self.dependents[place]) {
            let needs = self.steps[dependent].step.needs().contains(&self.steps[place].step.id);
            // What an interruption gave up has ended already.
            if needs && !self.steps[dependent].phase.is_final() {
                self.ready.remove(&dependent);
                self.skipped.insert(dependent);
            }
            self.is_behind(dependent);
        }
    }
}
