//! What follows from mail.

use super::attempt::{accept, changes, failed, failed_although_applied, given_up};
use super::children;
use super::event::Env;
use super::state::{Folded, Phase, TurnState};
use super::steer;
use crate::data::{
    Action, Body, Decision, FailureCode, Mail, Outcome, Payload, Resolution, WaitEnd, WaitFor,
};
use crate::words::{Digest, MailId, SignalName, StepId, Timestamp, TurnId};

/// The records that mail leads to. Mail that no longer applies is consumed by a record that says why.
pub(super) fn received(
    state: &Folded,
    id: MailId,
    mail: Mail,
    posted: Timestamp,
    env: &Env<'_>,
) -> Vec<Body> {
    let mail_kind = mail.kind();
    let turn = match &mail {
        Mail::Submit { turn, .. } => Some(*turn),
        Mail::Steer { request, .. } => Some(request.turn),
        _ => None,
    };
    let refused = |reason: String| vec![Body::MailRefused { mail: id, mail_kind, turn, reason }];
    let result = match mail {
        Mail::Submit { turn, input, planner, by_default, deadline, wants, budget, untrusted } => {
            match &state.turn {
                Some(_) => Err("a turn runs already".into()),
                None if !state.next.is_empty() => Err("another turn is the next".into()),
                None => {
                    let planner = state.planner_for(planner, by_default);
                    let latency = env.latency.copied().map(Box::new);
                    let started = Body::TurnStarted {
                        turn,
                        input,
                        planner,
                        posted,
                        deadline,
                        wants,
                        budget,
                        untrusted,
                        latency,
                    };
                    Ok(vec![started])
                }
            }
        }
        Mail::Steer { request, at_once } => Ok(steer::steered(state, request, posted, at_once, env)),
        Mail::Signal { name, payload } => Ok(signal(state, name, payload, env)),
        Mail::Decide { turn, step, digest, decision } => in_turn(state, turn, &step)
            .and_then(|(turn, place)| decide(turn, place, digest, decision, posted, env)),
        Mail::Resolve { turn, step, attempt, resolution } => in_turn(state, turn, &step)
            .and_then(|(turn, place)| resolve(turn, place, attempt, resolution, env)),
        Mail::Abandon { turn, reason } => abandon(state, turn, reason),
        Mail::Cancel { turn, reason } => cancel(state, turn, reason),
        Mail::Fork { .. } => Err("the session exists already: give the fork another name".into()),
        Mail::HandOff { planner, reason } => Ok(vec![Body::SessionHandedOff { planner, reason }]),
        Mail::Child(mail) => children::told(state, mail, env),
        Mail::Purge => Ok(vec![Body::SessionPurged {
            turn: state.turn.as_ref().map(|turn| turn.id),
            open: Some(state.turn.as_ref().map(TurnState::open_acts).unwrap_or_default()),
        }]),
    };
    result.unwrap_or_else(refused)
}

type Records = Result<Vec<Body>, String>;

/// A step of the turn that runs.
pub(super) fn in_turn<'a>(
    state: &'a Folded,
    id: TurnId,
    step: &StepId,
) -> Result<(&'a TurnState, usize), String> {
    let turn = state.turn.as_ref().filter(|turn| turn.id == id).ok_or("the turn has ended")?;
    let place = turn.index.get(step).ok_or_else(|| format!("the turn has no step `{step}`"))?;
    Ok((turn, *place))
}

/// An approval counts by the time when it was posted.
fn decide(
    turn: &TurnState,
    place: usize,
    digest: Digest,
    decision: Decision,
    posted: Timestamp,
    env: &Env<'_>,
) -> Records {
    let step = &turn.steps[place];
    let Phase::Waiting(WaitFor::Approval { digest: asked, expires, .. }) = &step.phase else {
        return Err("the step does not wait for an approval any more".into());
    };
    if turn.stops(place) {
        return Err("the turn can only end already, and the step does not go on".into());
    }
    if *asked != digest {
        return Err("the decision is about another call than the one that waits".into());
    }
    if expires.is_some_and(|expires| posted >= expires) {
        return Err("the decision came after the approval had expired".into());
    }
    match decision {
        Decision::Denied { reason } => Ok(vec![failed(turn, place, FailureCode::Denied, reason)]),
        Decision::Approved => {
            let is_tool = matches!(step.step.action, Action::Tool { .. });
            let context = if is_tool {
                Ok(Default::default())
            } else {
                changes(turn, place, &serde_json::Value::Null, env)
            };
            Ok(vec![match context {
                Ok(context) => Body::WaitEnded {
                    turn: turn.id,
                    step: step.step.id.clone(),
                    end: WaitEnd::Approved,
                    context,
                },
                Err((code, problem)) => failed(turn, place, code, problem),
            }])
        }
    }
}

/// What was found out about one attempt says nothing about the next one, which another operator may have let begin.
fn resolve(
    turn: &TurnState,
    place: usize,
    attempt: Option<u32>,
    resolution: Resolution,
    env: &Env<'_>,
) -> Records {
    let step = &turn.steps[place];
    let not_applied_from = match &step.phase {
        Phase::InDoubt { not_applied_from, .. } => *not_applied_from,
        Phase::Parked { .. } => Timestamp::default(),
        _ => return Err("the step is neither in doubt nor parked any more".into()),
    };
    if let Some(asked) = attempt.filter(|asked| *asked != step.attempt) {
        let now = step.attempt;
        return Err(format!("the resolution is about attempt {asked}, and attempt {now} is in doubt"));
    }
    let id = step.step.id.clone();
    match resolution {
        Resolution::Retry | Resolution::GiveUp if env.now < not_applied_from => Err(format!(
            "the attempt may still take effect until {not_applied_from}: it can't be resolved as not applied before"
        )),
        Resolution::GiveUp => Ok(vec![given_up(
            turn,
            place,
            FailureCode::ResolvedNotApplied,
            "an operator found that it was not applied, and gave it up",
        )]),
        Resolution::Retry => {
            Ok(vec![Body::StepResolved { turn: turn.id, step: id, resolution, context: Default::default() }])
        }
        Resolution::Applied(output) => Ok(vec![match accept(turn, place, &output, env) {
            Ok(context) => {
                let resolution = Resolution::Applied(output);
                Body::StepResolved { turn: turn.id, step: id, resolution, context }
            }
            Err(problem) => failed_although_applied(turn, place, problem),
        }]),
    }
}

/// What a child did may have been used by its parent's turn: who has answered is undone with that, or not at all.
fn cancel(state: &Folded, id: TurnId, reason: String) -> Records {
    if state.may_withdraw(id) {
        return Ok(vec![Body::TurnWithdrawn { turn: id, reason }]);
    }
    if let Some(turn) = state.turn.as_ref().filter(|turn| turn.joined().contains(&id)) {
        return Err(format!("it has joined the turn {}: cancel that one", turn.id));
    }
    match state.turn.as_ref().filter(|turn| turn.id == id && turn.waits_for_parent()) {
        Some(_) => Err("the turn has answered its parent's: cancel that one".into()),
        None => cancelled(state, id, reason),
    }
}

/// The turn is cancelled, by a person or by its parent's.
pub(super) fn cancelled(state: &Folded, id: TurnId, reason: String) -> Records {
    let turn = state.turn.as_ref().filter(|turn| turn.id == id).ok_or("the turn has ended")?;
    match turn.ending {
        None => Ok(vec![Body::TurnCancelled { turn: id, reason }]),
        Some(_) => Err("the turn can only end already".into()),
    }
}

fn abandon(state: &Folded, id: TurnId, reason: String) -> Records {
    let turn = state.turn.as_ref().filter(|turn| turn.id == id).ok_or("the turn has ended")?;
    let rests = |place: &usize| match &turn.steps[*place].phase {
        Phase::InDoubt { .. } | Phase::Waiting(_) | Phase::Parked { .. } => true,
        Phase::Started { .. } | Phase::Probing { .. } | Phase::Returned(_) | Phase::Delegated => false,
        _ => !turn.steps[*place].unknown,
    };
    if turn.active.is_empty() || !turn.active.iter().all(rests) {
        return Err("the turn does not rest: only a turn that waits for a person can be abandoned".into());
    }
    let (outcome, undone) = (Outcome::Abandoned { reason }, turn.aftermath());
    Ok(vec![Body::TurnEnded { turn: id, outcome, answer: None, undone, joined: turn.joined() }])
}

/// A signal goes to the first step that waits for it, else it is kept for one that will.
fn signal(state: &Folded, name: SignalName, payload: Payload, env: &Env<'_>) -> Vec<Body> {
    if let Some((turn, place)) = waiting_for(state, &name) {
        return vec![signalled(turn, place, payload, env)];
    }
    vec![Body::SignalReceived { name, payload }]
}

fn waiting_for<'a>(state: &'a Folded, name: &SignalName) -> Option<(&'a TurnState, usize)> {
    let turn = state.turn.as_ref().filter(|turn| turn.ending.is_none())?;
    let waits = |place: &&usize| matches!(&turn.steps[**place].phase, Phase::Waiting(WaitFor::Signal { name: waited, .. }) if waited == name);
    turn.active.iter().find(waits).map(|place| (turn, *place))
}

/// The end of a wait for a signal.
pub(super) fn signalled(turn: &TurnState, place: usize, payload: Payload, env: &Env<'_>) -> Body {
    match accept(turn, place, &payload.value(), env) {
        Ok(context) => Body::WaitEnded {
            turn: turn.id,
            step: turn.steps[place].step.id.clone(),
            end: WaitEnd::Signalled(payload),
            context,
        },
        Err((code, problem)) => failed(turn, place, code, problem),
    }
}
