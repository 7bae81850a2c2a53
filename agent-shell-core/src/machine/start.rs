//! How a step begins: its input is made, checked, and fixed by a record before the act.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::attempt::failed;
use super::children;
use super::event::{Command, Env};
use super::guarded::{before_call, before_question};
use super::identity::{call_digest, idempotency_key};
use super::owed::Due;
use super::resolve::{resolve, too_large};
use super::state::{Folded, Phase, StepState, TurnState};
use super::talk::{Put, request};
use super::{undo, withheld};
use crate::data::{Action, Body, EffectClass, FailureCode, WaitFor};
use crate::words::{SessionId, Timestamp};

/// What a step that is ready needs next: a wait to open, its input checked, or its act begun.
pub(super) fn begin(state: &Folded, turn: &TurnState, place: usize, env: &Env<'_>) -> Due {
    let session = state.session;
    let step = &turn.steps[place].step;
    let expires = |after: Option<u64>| after.map(|after| env.now.plus(Duration::from_millis(after)));
    match &step.action {
        Action::Timer { delay_ms } => {
            opened(turn, place, WaitFor::Timer { due: env.now.plus(Duration::from_millis(*delay_ms)) })
        }
        Action::TimerAt { at } => opened(turn, place, WaitFor::Timer { due: *at }),
        Action::Signal { name, expires_ms } => {
            opened(turn, place, WaitFor::Signal { name: name.clone(), expires: expires(*expires_ms) })
        }
        Action::Approval { expires_ms, .. } => match made_input(turn, place, env) {
            Ok(shown) => ask(turn, place, None, shown, expires(*expires_ms)),
            Err(record) => Due::Record(*record),
        },
        Action::Model(_) => question(state, turn, place, env),
        Action::Child(_) => children::begin(turn, place, env),
        Action::Tool { name, .. } => match call_input(state, turn, place, env) {
            Err(due) => *due,
            // Nothing is recorded before a `Pure` tool runs, so its input is looked at when it does.
            Ok(input)
                if turn.class_of(place) == EffectClass::Pure
                    && !turn.asks_first(place)
                    && !turn.withholds(place) =>
            {
                act(session, turn, place, input, env)
            }
            Ok(input) => Due::Command(Command::Check { step: place, tool: name.clone(), input }),
        },
    }
}

/// What follows when the tool has looked at the input: an approval is asked for, or the intent is recorded.
pub(super) fn checked(
    state: &Folded,
    turn: &TurnState,
    place: usize,
    input: &Arc<Value>,
    problem: Option<String>,
    env: &Env<'_>,
) -> Vec<Body> {
    let is_next = |step: &&StepState| step.phase == Phase::Pending && !turn.stops(place);
    let Some(step) = turn.steps.get(place).filter(is_next) else {
        return Vec::new();
    };
    if let Some(problem) = problem {
        return vec![failed(turn, place, FailureCode::InvalidArguments, problem)];
    }
    if turn.withholds(place) {
        return vec![withheld::ended(state, turn, place, input, env)];
    }
    let Due::Record(record) = (if turn.asks_first(place) {
        let expires = turn.terms_of(place).and_then(|terms| terms.approval_ms);
        let expires = expires.map(|after| env.now.plus(Duration::from_millis(after)));
        let tool = match &step.step.action {
            Action::Tool { name, .. } => turn.terms_of(place).map(|terms| (name, terms.version)),
            _ => None,
        };
        ask(turn, place, tool, input.clone(), expires)
    } else {
        intent(state.session, turn, place, Some(input.clone()), env)
    }) else {
        return Vec::new();
    };
    vec![record]
}

/// The intent of the next attempt. `input` is given when it is fixed only now.
pub(super) fn intent(
    session: SessionId,
    turn: &TurnState,
    place: usize,
    input: Option<Arc<Value>>,
    env: &Env<'_>,
) -> Due {
    let state = &turn.steps[place];
    let fixed = input.as_ref().or(state.input.as_ref());
    let key = match (&state.key, fixed) {
        // What a fork does, it does under a key of its own.
        (Some(key), _) if !state.of_parent => Ok(key.clone()),
        (_, Some(input)) => idempotency_key(session, turn.id, &state.step.id, input),
        (_, None) => idempotency_key(session, turn.id, &state.step.id, &Value::Null),
    };
    Due::Record(match key {
        Ok(key) => Body::StepStarted {
            turn: turn.id,
            step: state.step.id.clone(),
            attempt: state.attempt + 1,
            input: input.map(Into::into),
            context_version: turn.context.version,
            key: key.to_string(),
            deadline: env.now.plus(Duration::from_millis(attempt_ms(turn, state, place, env))),
        },
        Err(error) => failed(turn, place, FailureCode::InvalidArguments, error.to_string()),
    })
}

/// The act of a `Pure` step: nothing is recorded before it.
pub(super) fn act(
    session: SessionId,
    turn: &TurnState,
    place: usize,
    input: Arc<Value>,
    env: &Env<'_>,
) -> Due {
    let state = &turn.steps[place];
    let Action::Tool { name, .. } = &state.step.action else {
        return Due::Record(failed(turn, place, FailureCode::UnresolvedInput, "a waiting step has no act"));
    };
    match idempotency_key(session, turn.id, &state.step.id, &input) {
        Ok(key) => Due::Command(Command::Act {
            step: place,
            tool: name.clone(),
            input,
            key,
            attempt: state.attempt + 1,
            deadline: env.now.plus(Duration::from_millis(attempt_ms(turn, state, place, env))),
            read: turn.read_by(place),
        }),
        Err(error) => Due::Record(failed(turn, place, FailureCode::InvalidArguments, error.to_string())),
    }
}

/// A question to a model. It is made of what is final, so nothing need be recorded before it.
pub(super) fn question(state: &Folded, turn: &TurnState, place: usize, env: &Env<'_>) -> Due {
    let step = &turn.steps[place];
    let Action::Model(ask) = &step.step.action else {
        return Due::Record(failed(turn, place, FailureCode::UnresolvedInput, "the step asks no model"));
    };
    let Put { request, says, view } = match request(state, turn, ask, step.said.as_ref(), env.limits) {
        Ok(put) => put,
        Err(problem) => return Due::Record(failed(turn, place, FailureCode::UnresolvedInput, problem)),
    };
    if let Some(due) = before_question(state, turn, place, (&request, says), env) {
        return due;
    }
    // What is asked follows from the step, so the step names it.
    match idempotency_key(state.session, turn.id, &step.step.id, &Value::Null) {
        Ok(key) => Due::Command(Command::Ask {
            step: place,
            model: ask.model.clone(),
            request,
            view,
            key,
            attempt: step.attempt + 1,
            deadline: env.now.plus(Duration::from_millis(attempt_ms(turn, step, place, env))),
            read: turn.read_by(place),
        }),
        Err(error) => Due::Record(failed(turn, place, FailureCode::InvalidArguments, error.to_string())),
    }
}

/// The arguments of a call as guards left them, or what is due before it.
pub(super) fn call_input(
    state: &Folded,
    turn: &TurnState,
    place: usize,
    env: &Env<'_>,
) -> Result<Arc<Value>, Box<Due>> {
    let input = made_input(turn, place, env).map_err(|record| Box::new(Due::Record(*record)))?;
    match before_call(state, turn, place, &input, env) {
        Some(due) => Err(Box::new(due)),
        None => Ok(input),
    }
}

/// A step's input as it is now: the fixed one, or made from the template.
pub(super) fn made_input(turn: &TurnState, place: usize, env: &Env<'_>) -> Result<Arc<Value>, Box<Body>> {
    if let Some(input) = &turn.steps[place].input {
        return Ok(input.clone());
    }
    if let Some(undone) = turn.steps[place].undoes {
        return Ok(undo::input(turn, undone));
    }
    let value = match turn.template_of(place) {
        Some(template) => resolve(template, turn, env.limits.payload_bytes),
        None => Ok(Value::Null),
    };
    let value =
        value.map_err(|problem| Box::new(failed(turn, place, FailureCode::UnresolvedInput, problem)))?;
    if let Some(problem) = too_large(&value, env.limits.payload_bytes) {
        return Err(Box::new(failed(turn, place, FailureCode::TooLarge, format!("the input {problem}"))));
    }
    Ok(Arc::new(value))
}

fn ask(
    turn: &TurnState,
    place: usize,
    tool: Option<(&crate::words::ToolName, u32)>,
    shown: Arc<Value>,
    expires: Option<Timestamp>,
) -> Due {
    match call_digest(tool.map(|(name, version)| (name.as_str(), version)), &shown) {
        Ok(digest) => {
            let tool = tool.map(|(name, _)| name.clone());
            opened(turn, place, WaitFor::Approval { digest, tool, shown: shown.into(), expires })
        }
        Err(error) => Due::Record(failed(turn, place, FailureCode::InvalidArguments, error.to_string())),
    }
}

fn opened(turn: &TurnState, place: usize, wait: WaitFor) -> Due {
    Due::Record(Body::WaitOpened { turn: turn.id, step: turn.steps[place].step.id.clone(), wait })
}

pub(super) fn attempt_ms(turn: &TurnState, state: &StepState, place: usize, env: &Env<'_>) -> u64 {
    let default = match &state.step.action {
        Action::Model(_) => env.limits.model_ms,
        _ => env.limits.attempt_ms,
    };
    let of_tool = turn.terms_of(place).map_or(default, |terms| terms.attempt_ms);
    state.step.attempt_ms.unwrap_or(of_tool)
}

/// The output of a timer.
pub(super) fn fired(late_ms: u64) -> Value {
    json!({ "late_ms": late_ms })
}
