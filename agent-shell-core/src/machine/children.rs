//! Children: what starts one, what becomes of a step whose child has ended, and what parent and child are told.
//!
//! A child's turn that has answered, and of which something can be undone, does not end yet: it waits until its parent's turn
//! ends, or undoes the step. So a child is undone by its own saga, in its step's place among the other steps of its parent.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::attempt::{accept, failed, given_up};
use super::event::{Command, Env};
use super::owed::Due;
use super::start::made_input;
use super::state::{Folded, Phase, TurnState};
use crate::data::{
    Action, Body, ChildEnd, ChildMail, Delegate, Failure, FailureCode, Mail, Outcome, Payload, Plan,
};
use crate::words::{Pseudonym, SessionId, ToolName, TurnId};

/// The child that does a step, or that a step undoes.
#[derive(Debug, Clone, PartialEq)]
pub struct Child {
    /// Its session.
    pub session: SessionId,
    /// Its turn.
    pub turn: TurnId,
    /// Whether it was told to give up, or to undo what it did.
    pub cancelled: bool,
    /// Whether it has answered, can be undone, and waits for what becomes of this turn.
    pub waits: bool,
    /// Whether anything of what it did stays applied.
    pub applied: bool,
}

/// Mail that goes out with a record.
#[derive(Debug, Clone, PartialEq)]
pub struct Parcel {
    /// To which session.
    pub to: SessionId,
    /// The turn that it asks for.
    pub turn: Option<TurnId>,
    /// Who asks.
    pub actor: Pseudonym,
    /// What it says.
    pub mail: Mail,
}

/// The mail that goes out with a record, which is about to be folded into `state`: in the same append, so both are durable
/// or neither.
pub fn parcels(state: &Folded, record: &Body) -> Vec<Parcel> {
    let mut parcels = Vec::new();
    match record {
        Body::ChildStarted { .. } => parcels.extend(request(state, record)),
        Body::ChildCancelled { turn, step } => {
            let running = state.turn.as_ref().filter(|running| running.id == *turn);
            let child = running.and_then(|turn| turn.child_of(*turn.index.get(step)?));
            parcels.extend(child.map(|child| {
                let reason = format!("its parent's turn {turn} has no use for it any more");
                to_child(child, ChildMail::Cancel { turn: child.turn, reason })
            }));
        }
        Body::TurnEnded { .. } => {
            let waiting = state.turn.iter().flat_map(|turn| &turn.steps).filter(|step| step.undoes.is_none());
            let waiting = waiting.filter_map(|step| step.child.as_deref()).filter(|child| child.waits);
            parcels.extend(waiting.map(|child| to_child(child, ChildMail::Release { turn: child.turn })));
            parcels.extend(end_of(state, record));
        }
        Body::TurnAnswered { .. } | Body::TurnWithdrawn { .. } | Body::MailRefused { .. } => {
            parcels.extend(end_of(state, record));
        }
        _ => {}
    }
    parcels
}

fn to_child(child: &Child, mail: ChildMail) -> Parcel {
    Parcel { to: child.session, turn: None, actor: Pseudonym::RUNTIME, mail: Mail::Child(mail) }
}

/// The request for a child's turn.
fn request(state: &Folded, record: &Body) -> Option<Parcel> {
    let Body::ChildStarted { turn, step, session, child, input, deadline } = record else { return None };
    let running = state.turn.as_ref().filter(|running| running.id == *turn)?;
    let place = *running.index.get(step)?;
    let delegate = running.delegate(place)?;
    let mail = Mail::Submit {
        turn: *child,
        input: input.clone(),
        planner: delegate.planner.clone(),
        by_default: false,
        deadline: *deadline,
        wants: delegate.wants.clone().map(Box::new),
        budget: delegate.budget.map(Box::new),
        untrusted: running.takes_untrusted(place) || state.is_planned_by_who_read_untrusted(running),
    };
    Some(Parcel { to: *session, turn: Some(*child), actor: running.actor, mail })
}

/// What the parent is told with the record by which a child's turn answers or ends. Nothing when it had answered before and
/// ends as it was told to: the parent's turn has ended by then.
fn end_of(state: &Folded, record: &Body) -> Option<Parcel> {
    let of = state.child_of.as_deref().filter(|of| record.turn() == Some(of.child))?;
    let mut end = match record {
        Body::TurnAnswered { answer, .. } => {
            ChildEnd { waits: true, ..ChildEnd::new(of, Outcome::Answered((*answer.value()).clone())) }
        }
        _ => ChildEnd::new(of, Outcome::recorded(record)?),
    };
    if let Some(turn) = state.turn.as_ref().filter(|turn| turn.id == of.child) {
        if turn.waits_for_parent() && !end.waits {
            return None;
        }
        end.applied = turn.steps.iter().any(|step| step.applied && step.undoes.is_none());
        end.untrusted = state.has_read_untrusted(turn);
    }
    let mail = Mail::Child(ChildMail::Ended(Box::new(end)));
    Some(Parcel { to: of.session, turn: None, actor: Pseudonym::RUNTIME, mail })
}

/// What a child's step that is ready needs: a session for the child, or, when it undoes what one did, that it is told to.
pub(super) fn begin(turn: &TurnState, place: usize, env: &Env<'_>) -> Due {
    if turn.steps[place].undoes.is_some() {
        return Due::Record(cancelled(turn, place));
    }
    if turn.effects_off {
        let problem = "the child was not started: effects are off in this fork";
        return Due::Record(failed(turn, place, FailureCode::EffectsOff, problem));
    }
    match made_input(turn, place, env) {
        Ok(input) => Due::Command(Command::Delegate { step: place, input }),
        Err(record) => Due::Record(*record),
    }
}

/// The record that tells a child to give up, or to undo what it did.
pub(super) fn cancelled(turn: &TurnState, place: usize) -> Body {
    Body::ChildCancelled { turn: turn.id, step: turn.steps[place].step.id.clone() }
}

/// A session is there for the child: it starts.
pub(super) fn opened(
    turn: &TurnState,
    place: usize,
    (session, child): (SessionId, TurnId),
    input: &Arc<Value>,
    env: &Env<'_>,
) -> Vec<Body> {
    let Some(step) = turn.steps.get(place) else { return Vec::new() };
    let begins = matches!(step.phase, Phase::Pending | Phase::Paused { .. }) && !turn.stops(place);
    if !begins || turn.delegate(place).is_none() {
        return Vec::new();
    }
    if let Some(problem) = super::resolve::too_large(input, env.limits.input_bytes) {
        return vec![failed(turn, place, FailureCode::TooLarge, format!("the child's input {problem}"))];
    }
    // The deadline of this turn is not the child's: it would tell so before this turn says that it has expired.
    let deadline = step.step.attempt_ms.map(|allowed| env.now.plus(Duration::from_millis(allowed)));
    vec![Body::ChildStarted {
        turn: turn.id,
        step: step.step.id.clone(),
        session,
        child,
        input: input.clone().into(),
        deadline,
    }]
}

type Records = Result<Vec<Body>, String>;

/// What follows from what a parent or a child was told.
pub(super) fn told(state: &Folded, mail: ChildMail, env: &Env<'_>) -> Records {
    match mail {
        ChildMail::Ended(end) => ended(state, &end, env),
        ChildMail::Release { turn } => released(state, turn),
        ChildMail::Cancel { turn, reason } => super::mail::cancelled(state, turn, reason),
    }
}

/// A child has answered or ended: so does its step, or the one that undoes it.
fn ended(state: &Folded, end: &ChildEnd, env: &Env<'_>) -> Records {
    let (turn, done) = super::mail::in_turn(state, end.turn, &end.step)?;
    let undoing = || turn.steps.iter().position(|step| step.undoes == Some(done));
    let place = if turn.steps[done].phase.is_final() { undoing().unwrap_or(done) } else { done };
    let step = &turn.steps[place];
    let child = step.child.as_deref().filter(|child| child.turn == end.child);
    let (Phase::Delegated, Some(child)) = (&step.phase, child) else {
        return Err("no step waits for that child any more".into());
    };
    if end.waits && child.cancelled {
        return Err("the child was cancelled before this was known: it is undone, and says so then".into());
    }
    let (id, step) = (turn.id, step.step.id.clone());
    let told = Body::ChildEnded {
        turn: id,
        step: step.clone(),
        waits: end.waits,
        applied: end.applied,
        untrusted: end.untrusted,
    };
    let succeeded = |output: Payload, context| Body::StepSucceeded {
        turn: id,
        step: step.clone(),
        attempt: 1,
        output,
        context,
    };
    let is_undoing = turn.steps[place].undoes.is_some();
    let outcome = match &end.outcome {
        _ if is_undoing && !end.applied => succeeded(Value::Null.into(), Default::default()),
        _ if is_undoing => {
            given_up(turn, place, FailureCode::Child, "not all that the child had applied was undone")
        }
        Outcome::Answered(answer) => match accept(turn, place, answer, env) {
            Ok(context) => succeeded(answer.clone().into(), context),
            Err(problem) => fails(id, &step, end.applied, problem),
        },
        other => fails(id, &step, end.applied, (FailureCode::Child, how(other))),
    };
    Ok(vec![told, outcome])
}

fn fails(
    turn: TurnId,
    step: &crate::words::StepId,
    applied: bool,
    (code, message): (FailureCode, String),
) -> Body {
    Body::StepFailed { turn, step: step.clone(), failure: Failure::of_step(step, code, message), applied }
}

/// How a child ended that has no answer.
fn how(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Failed(failure) => {
            let code = serde_json::to_value(failure.code).unwrap_or_default();
            format!("the child failed ({}): {}", code.as_str().unwrap_or_default(), failure.message)
        }
        Outcome::Cancelled => "the child was cancelled".into(),
        Outcome::Expired => "the child did not answer before its deadline".into(),
        Outcome::Abandoned { reason } => format!("the child was abandoned: {reason}"),
        _ => "the child ended without an answer".into(),
    }
}

/// Nothing of the parent's turn is undone any more: a child that waited for that ends.
fn released(state: &Folded, id: TurnId) -> Records {
    let turn = state.turn.as_ref().filter(|turn| turn.id == id).ok_or("the turn has ended")?;
    match &turn.answered {
        Some(answer) if turn.waits_for_parent() => Ok(vec![Body::TurnEnded {
            turn: id,
            outcome: Outcome::Answered(Value::Null),
            answer: Some(answer.clone().into()),
            undone: None,
            joined: turn.joined(),
        }]),
        _ => Err("the turn does not wait for what becomes of its parent's".into()),
    }
}

/// What a plan's children can only be checked for in their turn.
pub(super) fn check(state: &Folded, turn: &TurnState, plan: &Plan, env: &Env<'_>) -> Result<(), String> {
    let delegates = plan.steps().iter().filter_map(|step| match &step.action {
        Action::Child(delegate) => Some((&step.id, &**delegate)),
        _ => None,
    });
    let mut children = turn.steps.iter().filter(|step| is_child(&step.step.action)).count();
    for (step, delegate) in delegates {
        children += 1;
        let depth = state.child_of.as_ref().map_or(0, |of| of.depth);
        if depth >= env.limits.child_depth {
            let allowed = env.limits.child_depth;
            return Err(format!(
                "step `{step}` is a child, and {depth} sessions stand above this one: at most {allowed} may stand above a child"
            ));
        }
        if children > env.limits.children_per_turn {
            let allowed = env.limits.children_per_turn;
            return Err(format!(
                "with step `{step}` the turn has {children} children: at most {allowed} are allowed"
            ));
        }
        let forbidden = delegate.tools.iter().flatten().find(|tool| !may_use(state, tool));
        if let Some(tool) = forbidden {
            return Err(format!(
                "step `{step}` lets its child use `{tool}`, which this session may not use itself"
            ));
        }
    }
    Ok(())
}

/// Whether a session may use a tool.
pub(super) fn may_use(state: &Folded, tool: &ToolName) -> bool {
    state.child_of.as_ref().is_none_or(|of| of.allows(tool))
}

fn is_child(action: &Action) -> bool {
    matches!(action, Action::Child(_))
}

impl Folded {
    /// Whether a turn is the one that a step of another session waits for.
    pub fn is_child(&self, turn: TurnId) -> bool {
        self.child_of.as_ref().is_some_and(|of| of.child == turn)
    }
}

impl TurnState {
    /// Whether the turn has answered and waits for what becomes of its parent's turn.
    pub fn waits_for_parent(&self) -> bool {
        self.answered.is_some() && self.ending.is_none()
    }

    /// What a step lets a child do, when it does.
    pub(crate) fn delegate(&self, place: usize) -> Option<&Delegate> {
        match &self.steps[place].step.action {
            Action::Child(delegate) if self.steps[place].undoes.is_none() => Some(delegate),
            _ => None,
        }
    }

    /// The child of a step, or of the step that it undoes.
    fn child_of(&self, place: usize) -> Option<&Child> {
        self.steps[self.steps[place].undoes.unwrap_or(place)].child.as_deref()
    }

    /// Whether a child's step may still be given up by its turn.
    pub(super) fn must_tell_child(&self, place: usize) -> bool {
        let is_told = self.steps[place].child.as_ref().is_none_or(|child| child.cancelled);
        self.steps[place].phase == Phase::Delegated && self.stops(place) && !is_told
    }

    /// Takes a record of a child into its step.
    pub(super) fn take_child(&mut self, place: usize, record: &Body) -> Result<(), &'static str> {
        // A fork has no part in a child of its parent: it only knows what it brought.
        let of_parent = self.steps[place].of_parent;
        match record {
            Body::ChildStarted { input, .. } if of_parent => self.steps[place].input = Some(input.value()),
            Body::ChildCancelled { .. } if of_parent => {}
            Body::ChildEnded { untrusted, .. } if of_parent => self.steps[place].untrusted |= untrusted,
            Body::ChildStarted { session, child, input, .. } => {
                self.delegate(place).ok_or("its step is no child's")?;
                let (session, turn) = (*session, *child);
                let step = &mut self.steps[place];
                step.input = Some(input.value());
                let child = Child { session, turn, cancelled: false, waits: false, applied: false };
                step.child = Some(Box::new(child));
            }
            Body::ChildCancelled { .. } => {
                let child = self.child_of(place).cloned().ok_or("its step has no child")?;
                self.steps[place].child = Some(Box::new(Child { cancelled: true, ..child }));
            }
            Body::ChildEnded { waits, applied, untrusted, .. } => {
                let step = &mut self.steps[place];
                let child = step.child.as_deref_mut().ok_or("its step has no child")?;
                (child.waits, child.applied) = (*waits, *applied);
                step.untrusted |= untrusted;
                if let Some(of) = step.undoes
                    && let Some(undone) = self.steps[of].child.as_deref_mut()
                {
                    undone.waits = false;
                }
            }
            _ => return Err("it is about no child"),
        }
        Ok(())
    }
}
