//! What is owed: from the folded state, and from what runs already, the next records and commands.
//!
//! Nothing is remembered between calls: a process that takes a session over asks the same question and gets the
//! same answer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::attempt::{changes, failed, in_doubt};
use super::event::{Command, Env, Live};
use super::interrupted::{after_interruptions, hopeless, interrupted, is_barred, never_begun};
use super::state::{Ending, Folded, Phase, TurnState};
use super::{children, guarded, latency, mail, optimistic, start, steer, undo, withheld};
use crate::data::{Action, Body, EffectClass, Failure, FailureCode, Outcome, WaitEnd, WaitFor};
use crate::ports::{Mark, SessionStatus};
use crate::words::{LockName, SessionId, Timestamp};

/// What is owed. As long as there are records, they are to be folded and the question asked again; the commands
/// count only when there are no more records.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Owed {
    /// To be folded and appended.
    pub records: Vec<Body>,
    /// To be carried out.
    pub commands: Vec<Command>,
}

pub(super) enum Due {
    Record(Body),
    Command(Command),
}

impl Owed {
    fn add(&mut self, due: Due) {
        match due {
            Due::Record(record) => self.records.push(record),
            Due::Command(command) => self.commands.push(command),
        }
    }
}

/// What a session owes now.
pub fn owed(state: &Folded, live: &Live, env: &Env<'_>) -> Owed {
    let Some(turn) = &state.turn else {
        let mut records = steer::next(state, env).into_iter().collect();
        latency::add_of_turns(state, &mut records, env);
        return Owed { records, commands: Vec::new() };
    };
    let mut owed = owed_by(state, turn, live, env);
    after_interruptions(state, turn, live, env, &mut owed);
    latency::add_of_turns(state, &mut owed.records, env);
    owed
}

fn owed_by(state: &Folded, turn: &TurnState, live: &Live, env: &Env<'_>) -> Owed {
    let mut owed = Owed::default();
    if turn.waits_for_parent() {
        return owed;
    }
    if turn.ending.is_none() && turn.deadline.is_some_and(|deadline| deadline <= env.now) {
        owed.records.push(Body::TurnExpired { turn: turn.id });
        return owed;
    }
    // What was given up ends before anything else is judged.
    owed.records = steer::dropped(turn);
    if !owed.records.is_empty() {
        return owed;
    }
    let ended = live.running.keys().filter(|place| turn.steps[**place].phase.is_final());
    owed.commands.extend(ended.map(|&step| Command::Drop { step }));
    if live.planning.is_some_and(|dropped| dropped != turn.plans_dropped) {
        owed.commands.push(Command::DropPlan);
    }
    let mut acting = acting(turn, live);
    for &place in &turn.active {
        match continued(state, turn, place, live, env, &mut acting) {
            // A wait that ends may take a signal and change the context: the next one is judged after it.
            // So may a result or an answer on which guards have ruled.
            // Without effects the next call is judged after what this one took from the record.
            Some(Due::Record(record)) if turn.effects_off || changes_context(&record) => {
                owed.records.push(record);
                return owed;
            }
            Some(due) => owed.add(due),
            None => {}
        }
    }
    if turn.ending.is_some() {
        end_early(state, turn, live, env, &mut owed);
        return owed;
    }
    for &place in &turn.skipped {
        let problem = "a step whose output it needs has failed";
        owed.records.push(failed(turn, place, FailureCode::Skipped, problem));
    }
    if owed.records.is_empty() {
        begin_ready(state, turn, live, env, &mut owed);
        begin_held(state, turn, live, env, &mut owed);
    }
    if turn.plan_is_due() && live.planning.is_none_or(|dropped| dropped != turn.plans_dropped) {
        owed.commands.push(Command::Plan);
    }
    if owed.records.is_empty() && turn.held.is_empty() && turn.all_else_done() {
        owed.records.push(answered(turn, state.is_child(turn.id), env));
    }
    owed
}

/// Whether a record may hold a change of the context, which is made of the context before it.
fn changes_context(record: &Body) -> bool {
    matches!(record, Body::WaitEnded { .. } | Body::StepSucceeded { .. } | Body::ModelAnswered { .. })
}

/// How many steps take one of the places for acts.
fn acting(turn: &TurnState, live: &Live) -> usize {
    let acts = |place: &&usize| {
        let waits = matches!(
            turn.steps[**place].phase,
            Phase::Waiting(_)
                | Phase::InDoubt { .. }
                | Phase::Parked { .. }
                | Phase::Approved
                | Phase::Delegated
        );
        (!waits && !turn.lets_go(**place)) || live.running.contains_key(place)
    };
    let pure = live.running.keys().filter(|place| !turn.active.contains(place)).count();
    turn.active.iter().filter(acts).count() + pure
}

/// What an active step needs next.
fn continued(
    state: &Folded,
    turn: &TurnState,
    place: usize,
    live: &Live,
    env: &Env<'_>,
    acting: &mut usize,
) -> Option<Due> {
    let step = &turn.steps[place];
    if live.running.contains_key(&place) {
        return None;
    }
    match &step.phase {
        Phase::Returned(brought) => {
            Some(optimistic::judged_after(turn, place, guarded::after(state, turn, place, brought, env)))
        }
        Phase::Delegated => {
            turn.must_tell_child(place).then(|| Due::Record(children::cancelled(turn, place)))
        }
        Phase::Waiting(_) if turn.stops(place) => None,
        Phase::Waiting(wait) => waited(state, turn, place, wait, env).map(Due::Record),
        Phase::Started { epoch, .. } if *epoch == env.epoch && turn.stops(place) && !step.unknown => {
            Some(Due::Record(never_begun(turn, place, env)))
        }
        Phase::Started { epoch, seq } if *epoch == env.epoch => {
            (*seq <= live.durable).then(|| act_as_recorded(turn, place))
        }
        Phase::Started { .. } | Phase::Paused { .. }
            if turn.is_left_unknown(place) && turn.may_take_effect(place) =>
        {
            let reason = "the turn was cancelled, so it is not repeated: nothing could undo it".into();
            Some(Due::Record(in_doubt(turn, place, reason, env)))
        }
        Phase::Started { .. }
            if turn.class_of(place) == EffectClass::Idempotent && is_barred(step, live, env) =>
        {
            None
        }
        Phase::Started { .. } => Some(interrupted(state.session, turn, place, env)),
        Phase::Approved if turn.stops(place) || *acting >= env.limits.parallel_steps => None,
        Phase::Paused { .. } if turn.stops(place) && !step.unknown => None,
        Phase::Paused { until } if *until > env.now => None,
        Phase::Paused { .. } if is_barred(step, live, env) => None,
        Phase::Approved | Phase::Paused { .. } => {
            *acting += usize::from(step.phase == Phase::Approved);
            Some(next_attempt(state, turn, place, env))
        }
        Phase::Probing { from, .. } if *from > env.now || live.probing.contains(&place) => None,
        Phase::Probing { .. } if hopeless(turn.interruptions, env) => {
            let reason = "the process died each time that the target was asked".into();
            Some(Due::Record(in_doubt(turn, place, reason, env)))
        }
        Phase::Probing { .. } => Some(probe(turn, place)),
        _ => None,
    }
}

fn waited(state: &Folded, turn: &TurnState, place: usize, wait: &WaitFor, env: &Env<'_>) -> Option<Body> {
    if let WaitFor::Signal { name, .. } = wait
        && let Some((_, payload)) = state.signals.iter().find(|(signal, _)| signal == name)
    {
        return Some(mail::signalled(turn, place, payload.clone().into(), env));
    }
    let ended = wait.ends_at().filter(|ends| *ends <= env.now)?;
    if !matches!(wait, WaitFor::Timer { .. }) {
        // A decision or a signal that was posted in time counts, whenever it is read.
        if ended > env.heard {
            return None;
        }
        return Some(failed(turn, place, FailureCode::Expired, "nothing came before the wait expired"));
    }
    let late_ms = u64::try_from(env.now.since(ended).as_millis()).unwrap_or(u64::MAX);
    Some(match changes(turn, place, &start::fired(late_ms), env) {
        Ok(context) => Body::WaitEnded {
            turn: turn.id,
            step: turn.steps[place].step.id.clone(),
            end: WaitEnd::Fired { late_ms },
            context,
        },
        Err((code, problem)) => failed(turn, place, code, problem),
    })
}

/// The act whose intent this owner recorded.
fn act_as_recorded(turn: &TurnState, place: usize) -> Due {
    let step = &turn.steps[place];
    match (&step.step.action, &step.key) {
        (Action::Tool { name, .. }, Some(key)) => Due::Command(Command::Act {
            step: place,
            tool: name.clone(),
            input: step.input.clone().unwrap_or_default(),
            key: key.clone(),
            attempt: step.attempt,
            deadline: step.deadline,
            read: step.read,
        }),
        _ => Due::Record(failed(turn, place, FailureCode::UnresolvedInput, "a waiting step has no act")),
    }
}

/// A further attempt, or the first after an approval.
fn next_attempt(state: &Folded, turn: &TurnState, place: usize, env: &Env<'_>) -> Due {
    let session = state.session;
    if turn.withholds(place) {
        return match start::call_input(state, turn, place, env) {
            Ok(input) => Due::Record(withheld::ended(state, turn, place, &input, env)),
            Err(due) => *due,
        };
    }
    // A call may have been approved before there were guards.
    if turn.steps[place].phase == Phase::Approved
        && turn.class_of(place) != EffectClass::Pure
        && let Err(due) = start::call_input(state, turn, place, env)
    {
        return *due;
    }
    if matches!(turn.steps[place].step.action, Action::Child(_)) {
        return children::begin(turn, place, env);
    }
    match turn.class_of(place) {
        EffectClass::Pure if matches!(turn.steps[place].step.action, Action::Model(_)) => {
            start::question(state, turn, place, env)
        }
        EffectClass::Pure => match start::call_input(state, turn, place, env) {
            Ok(input) => start::act(session, turn, place, input, env),
            Err(due) => *due,
        },

        EffectClass::Idempotent => repeat(session, turn, place, env),
        // The target said that the latest was not applied, or it would not come to a further one.
        _ if turn.steps[place].interruptions >= env.limits.interruptions => {
            let problem = format!("{} attempts ended with their process", turn.steps[place].interruptions);
            Due::Record(failed(turn, place, FailureCode::Interrupted, problem))
        }
        _ => start::intent(session, turn, place, None, env),
    }
}

/// The same key again, as long as the target remembers it.
pub(super) fn repeat(session: SessionId, turn: &TurnState, place: usize, env: &Env<'_>) -> Due {
    let step = &turn.steps[place];
    let remembers = Duration::from_millis(turn.terms_of(place).map_or(0, |terms| terms.remembers_keys_ms));
    match step.first {
        // The repeat must reach the target while it still knows the key, also if it takes as long as it may.
        Some(first) if repeat_lands_by(turn, place, env) > first.plus(remembers) => {
            let reason = "the target no longer remembers the key, so it can't be repeated".into();
            Due::Record(in_doubt(turn, place, reason, env))
        }
        _ => start::intent(session, turn, place, None, env),
    }
}

/// Until when an attempt that begins now may take effect.
fn repeat_lands_by(turn: &TurnState, place: usize, env: &Env<'_>) -> Timestamp {
    let attempt = Duration::from_millis(start::attempt_ms(turn, &turn.steps[place], place, env));
    env.now.plus(attempt).plus(env.limits.lateness())
}

fn probe(turn: &TurnState, place: usize) -> Due {
    let step = &turn.steps[place];
    match (&step.step.action, &step.key) {
        (Action::Tool { name, .. }, Some(key)) => Due::Command(Command::Probe {
            step: place,
            tool: name.clone(),
            input: step.input.clone().unwrap_or_default(),
            key: key.clone(),
            attempt: step.attempt,
        }),
        _ => Due::Record(failed(
            turn,
            place,
            FailureCode::UnresolvedInput,
            "a waiting step can't be asked about",
        )),
    }
}

/// Steps that are ready begin in plan order, as far as locks and the bound on parallel steps allow. A wait takes no
/// place.
fn begin_ready(state: &Folded, turn: &TurnState, live: &Live, env: &Env<'_>, owed: &mut Owed) {
    let mut locks: BTreeSet<&LockName> = BTreeSet::new();
    let mut busy = acting(turn, live);
    let running_pure = live.running.keys().filter(|place| !turn.active.contains(place));
    let holds = |place: &&usize| !turn.lets_go(**place);
    for &place in turn.active.iter().filter(holds).chain(running_pure) {
        locks.extend(&turn.steps[place].step.locks);
    }
    for &place in &turn.ready {
        if live.running.contains_key(&place) || turn.stops(place) {
            continue;
        }
        let step = &turn.steps[place].step;
        let acts = matches!(step.action, Action::Tool { .. } | Action::Model(_));
        if acts && busy >= env.limits.parallel_steps {
            continue;
        }
        if step.locks.iter().any(|lock| locks.contains(lock)) {
            continue;
        }
        locks.extend(&step.locks);
        busy += usize::from(acts);
        owed.add(start::begin(state, turn, place, env));
    }
}

/// Held steps begin one after another, in plan order, once all else has succeeded.
fn begin_held(state: &Folded, turn: &TurnState, live: &Live, env: &Env<'_>, owed: &mut Owed) {
    if !turn.all_else_done() {
        return;
    }
    if let Some(&place) = turn.held.first()
        && turn.steps[place].phase == Phase::Pending
        && !live.running.contains_key(&place)
    {
        owed.add(start::begin(state, turn, place, env));
    }
}

/// A turn that can only end drops what is `Pure`, waits for what is unknown, and undoes what was applied.
fn end_early(state: &Folded, turn: &TurnState, live: &Live, env: &Env<'_>, owed: &mut Owed) {
    // What guards rule on has been done.
    let pure = |(place, attempt): &(&usize, &u32)| {
        **attempt > 0 && turn.stops(**place) && turn.class_of(**place) == EffectClass::Pure
    };
    owed.commands.extend(live.running.iter().filter(pure).map(|(&step, _)| Command::Drop { step }));
    owed.records.extend(undo::due(turn));
    if !owed.records.is_empty() {
        return;
    }
    begin_ready(state, turn, live, env, owed);
    let is_open = turn.active.iter().any(|place| turn.may_take_effect(*place));
    if owed.records.is_empty() && !is_open && turn.is_undone() {
        let outcome = match &turn.ending {
            Some(Ending::Failed(failure)) => Outcome::Failed(failure.clone()),
            Some(Ending::Cancelled) => Outcome::Cancelled,
            _ => Outcome::Expired,
        };
        owed.records.push(Body::TurnEnded {
            turn: turn.id,
            outcome,
            answer: None,
            undone: turn.aftermath(),
            joined: turn.joined(),
        });
    }
}

fn answered(turn: &TurnState, is_child: bool, env: &Env<'_>) -> Body {
    match turn.final_answer(env.limits.payload_bytes) {
        // Its parent's turn may still undo it.
        Ok(answer) if is_child && !turn.to_undo.is_empty() => {
            Body::TurnAnswered { turn: turn.id, answer: answer.into() }
        }
        Ok(answer) => Body::TurnEnded {
            turn: turn.id,
            outcome: Outcome::Answered(serde_json::Value::Null),
            answer: Some(Arc::clone(&answer).into()),
            undone: None,
            joined: turn.joined(),
        },
        // What was applied for an answer that can't be given is undone first.
        Err(problem) if !turn.to_undo.is_empty() => Body::PlanFailed {
            turn: turn.id,
            failure: Failure::of_turn(FailureCode::UnresolvedInput, problem),
        },
        Err(problem) => Body::TurnEnded {
            turn: turn.id,
            outcome: Outcome::Failed(Failure::of_turn(FailureCode::UnresolvedInput, problem)),
            answer: None,
            undone: turn.aftermath(),
            joined: turn.joined(),
        },
    }
}

/// When the session wants to be asked again although nothing happens. What runs already says so itself when it ends.
pub fn next_wake(state: &Folded, live: &Live) -> Option<Timestamp> {
    let turn = state.turn.as_ref()?;
    let of_step = |place: &usize| match &turn.steps[*place].phase {
        _ if live.running.contains_key(place) || live.probing.contains(place) => None,
        Phase::Waiting(wait) if !turn.stops(*place) => wait.ends_at(),
        Phase::Paused { until } if !turn.stops(*place) || turn.steps[*place].unknown => Some(*until),
        Phase::Probing { from, .. } => Some(*from),
        _ => None,
    };
    let deadline = turn.deadline.filter(|_| turn.ending.is_none() && turn.answered.is_none());
    turn.active.iter().filter_map(of_step).chain(deadline).min()
}

/// What the session does, once nothing more is owed: whether a dead owner's successor must take it at once.
pub fn status(state: &Folded, live: &Live) -> Mark {
    if state.purged {
        return Mark { status: SessionStatus::Purged, wake_at: None };
    }
    let wake_at = next_wake(state, &Live::default());
    let Some(turn) = &state.turn else {
        let status = if state.next.is_empty() { SessionStatus::Idle } else { SessionStatus::Running };
        return Mark { status, wake_at };
    };
    let at_work = !live.running.is_empty() || goes_on(state, turn);
    Mark { status: if at_work { SessionStatus::Running } else { at_rest(turn) }, wake_at }
}

fn at_rest(turn: &TurnState) -> SessionStatus {
    let needs_a_person = |place: &usize| match &turn.steps[*place].phase {
        Phase::InDoubt { .. } | Phase::Parked { .. } => true,
        Phase::Waiting(WaitFor::Approval { .. }) => !turn.stops(*place),
        _ => false,
    };
    match turn.active.iter().any(needs_a_person) {
        true => SessionStatus::Resting,
        false => SessionStatus::Waiting,
    }
}

/// Whether something is owed although no mail comes and no instant passes. It may be owed after an append, too: a
/// process that drains appends what ended, and leaves what follows to the next one.
fn goes_on(state: &Folded, turn: &TurnState) -> bool {
    let phase = |place: &usize| &turn.steps[*place].phase;
    if turn.ending.is_some() {
        return ends(turn);
    }
    if turn.waits_for_parent() {
        return false;
    }
    let moves = |place: &usize| match phase(place) {
        Phase::InDoubt { .. } | Phase::Delegated => false,
        Phase::Waiting(WaitFor::Signal { name, .. }) => {
            state.signals.iter().any(|(signal, _)| signal == name)
        }
        Phase::Waiting(_) => false,
        _ => true,
    };
    turn.active.iter().any(moves)
        || !turn.dropped.is_empty()
        || turn.plan_is_due()
        || can_begin(turn)
        || !turn.skipped.is_empty()
        || (turn.all_else_done() && turn.held.first().is_none_or(|held| *phase(held) == Phase::Pending))
}

/// Whether a turn that can only end comes nearer to it although nobody says anything: acts and compensations are at work, or
/// the end itself is owed, because nothing waits for a person.
fn ends(turn: &TurnState) -> bool {
    let phase = |place: &usize| &turn.steps[*place].phase;
    let rests = |place: &usize| match phase(place) {
        Phase::InDoubt { .. } | Phase::Parked { .. } => true,
        Phase::Waiting(_) => !turn.stops(*place),
        Phase::Delegated => !turn.must_tell_child(*place),
        _ => false,
    };
    let works = |place: &usize| !rests(place) && (!turn.stops(*place) || turn.may_take_effect(*place));
    turn.active.iter().any(works)
        || !turn.active.iter().any(rests)
        || undo::due(turn).is_some()
        || turn.ready.iter().any(|place| !turn.stops(*place) && locks_are_free(turn, *place))
}

/// Whether a step that is ready finds its locks free.
fn can_begin(turn: &TurnState) -> bool {
    turn.ready.iter().any(|place| locks_are_free(turn, *place))
}

fn locks_are_free(turn: &TurnState, place: usize) -> bool {
    let holds = |place: &usize, lock: &LockName| {
        !turn.lets_go(*place) && turn.steps[*place].step.locks.contains(lock)
    };
    let taken = |lock: &LockName| turn.active.iter().any(|place| holds(place, lock));
    !turn.steps[place].step.locks.iter().any(taken)
}
