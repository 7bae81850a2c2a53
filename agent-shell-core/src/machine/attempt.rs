//! What follows from the end of an attempt, and from the answer to a probe.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use self::Known::{NotApplied, NotCounted, Unknown};
use super::event::{AttemptEnd, Env};
use super::guarded::{brought, is_looked_at, returned};
use super::resolve::{json_bytes, too_large};
use super::state::{Folded, Phase, StepState, TurnState};
use super::talk::output_of;
use crate::data::{Action, Answer, Body, EffectClass, Failure, FailureCode, Retry, Say};
use crate::ports::ProbeAnswer;
use crate::words::{ContextKey, Digest, Timestamp};

/// Attempts that may not have begun before they count as failed: what keeps them from it is this process's trouble, and
/// it may pass.
const MOST_NOT_BEGUN: u32 = 64;

/// What is known of an attempt that is tried again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    /// Nothing.
    Unknown,
    /// It did not take effect.
    NotApplied,
    /// The tool was not called, so it does not count against the retries.
    NotCounted,
}

/// The record of an attempt's end. An attempt that is not the step's latest, or whose step has ended, is ignored:
/// a durable outcome is final.
pub(super) fn finished(
    state: &Folded,
    turn: &TurnState,
    place: usize,
    attempt: u32,
    end: AttemptEnd,
    env: &Env<'_>,
) -> Vec<Body> {
    let Some(step) = turn.steps.get(place) else { return Vec::new() };
    let class = turn.class_of(place);
    let current = match step.phase {
        Phase::Started { .. } => step.attempt == attempt,
        Phase::Pending | Phase::Approved | Phase::Paused { .. } => class == EffectClass::Pure,
        _ => false,
    };
    if !current {
        return Vec::new();
    }
    let (code, reason) = match end {
        AttemptEnd::Succeeded(output) => return vec![brought(turn, place, attempt, output, env)],
        AttemptEnd::Answered { answer, view } => {
            return vec![answered(state, turn, place, attempt, (*answer, view), env)];
        }
        AttemptEnd::Unanswered { retry, reason, pause_ms } => {
            return vec![unanswered(turn, place, attempt, (retry, reason, pause_ms), env)];
        }
        AttemptEnd::Refused { reason } if step.unknown => {
            return vec![not_applied(turn, place, attempt, false, reason, env)];
        }
        AttemptEnd::Refused { reason } => return vec![failed(turn, place, FailureCode::Budget, reason)],
        AttemptEnd::NotBegun { reason } if attempt < step.failures + MOST_NOT_BEGUN => {
            return vec![again(turn, place, attempt, NotCounted, reason, env)];
        }
        AttemptEnd::NotBegun { reason } => return vec![not_applied(turn, place, attempt, true, reason, env)],
        AttemptEnd::Unleased => return vec![unleased(turn, place, attempt, env)],
        AttemptEnd::NotApplied { retry, reason } => {
            return vec![not_applied(turn, place, attempt, retry, reason, env)];
        }
        // It would be refused again. The runtime looks so late at inputs of `Pure` tools alone, of which nothing is unknown.
        AttemptEnd::InvalidArguments { reason } if step.unknown => {
            return vec![not_applied(turn, place, attempt, false, reason, env)];
        }
        AttemptEnd::InvalidArguments { reason } => {
            return vec![failed(turn, place, FailureCode::InvalidArguments, reason)];
        }
        AttemptEnd::Ambiguous { reason } => (FailureCode::NotApplied, reason),
        AttemptEnd::DeadlineExceeded => {
            (FailureCode::DeadlineExceeded, "it took longer than its deadline allows".to_owned())
        }
        AttemptEnd::Panicked { message } => (FailureCode::Panicked, format!("the tool panicked: {message}")),
    };
    vec![match class {
        EffectClass::Pure if retries_left(turn, place) => again(turn, place, attempt, Unknown, reason, env),
        EffectClass::Pure => failed(turn, place, code, reason),
        EffectClass::Idempotent if retries_left(turn, place) => {
            again(turn, place, attempt, Unknown, reason, env)
        }
        EffectClass::Probed => Body::AttemptFailed {
            turn: turn.id,
            step: step.step.id.clone(),
            attempt,
            not_applied: false,
            counts: true,
            reason,
            retry_at: settled_from(turn, place, env),
        },
        EffectClass::Idempotent | EffectClass::Irreversible => in_doubt(turn, place, reason, env),
    }]
}

/// The record of a probe's answer.
pub(super) fn probed(
    turn: &TurnState,
    place: usize,
    answer: Result<ProbeAnswer, String>,
    env: &Env<'_>,
) -> Vec<Body> {
    let Some(step) = turn.steps.get(place) else { return Vec::new() };
    let Phase::Probing { tries, .. } = step.phase else { return Vec::new() };
    vec![match answer {
        Ok(ProbeAnswer::Applied(output)) => brought(turn, place, step.attempt, output, env),
        Ok(ProbeAnswer::NotApplied) => {
            let reason = "the target says that it was not applied".to_owned();
            // The attempt was counted when it failed; an interrupted one does not count.
            if step.failures < retry_of(turn, place).attempts {
                Body::AttemptFailed {
                    turn: turn.id,
                    step: step.step.id.clone(),
                    attempt: step.attempt,
                    not_applied: true,
                    counts: false,
                    reason,
                    retry_at: env.now,
                }
            } else {
                failed(turn, place, FailureCode::NotApplied, reason)
            }
        }
        Err(reason) if tries + 1 >= env.limits.probe_attempts => {
            in_doubt(turn, place, format!("the target could not be asked: {reason}"), env)
        }
        Err(reason) => Body::ProbeFailed {
            turn: turn.id,
            step: step.step.id.clone(),
            reason,
            retry_at: env.now.plus(pause(retry_of(turn, place).pause_ms(tries + 1), env.random)),
        },
    }]
}

/// The success of a step, or its failure when its output can't be kept. The effect has happened either way.
pub(super) fn succeeded(turn: &TurnState, place: usize, attempt: u32, output: Value, env: &Env<'_>) -> Body {
    let (output, context) = match accept(turn, place, &output, env) {
        Ok(context) => (output, context),
        // What has undone another step has done so, whatever it says.
        Err(_) if turn.steps[place].undoes.is_some() => (Value::Null, BTreeMap::new()),
        Err(problem) => return failed_although_applied(turn, place, problem),
    };
    let (step, output) = (turn.steps[place].step.id.clone(), Arc::new(output).into());
    Body::StepSucceeded { turn: turn.id, step, attempt, output, context }
}

/// The success of a step that asked, or its failure when the answer can't be kept.
fn answered(
    state: &Folded,
    turn: &TurnState,
    place: usize,
    attempt: u32,
    (answer, view): (Answer, Option<Digest>),
    env: &Env<'_>,
) -> Body {
    let summarises = matches!(&turn.steps[place].step.action, Action::Model(ask) if matches!(ask.say, Say::Summary { .. }));
    if summarises && answer.text().trim().is_empty() {
        return unanswered(turn, place, attempt, (true, "the summary is empty".into(), 0), env);
    }
    match answered_with(state, turn, place, attempt, (&answer, view), env) {
        Body::ModelAnswered { answer, .. } if is_looked_at(turn, place, env) => {
            returned(turn, place, attempt, ((*answer.value()).clone(), view))
        }
        record => record,
    }
}

/// The success of a step that asked, once nothing more is to be said of the answer.
pub(super) fn answered_with(
    state: &Folded,
    turn: &TurnState,
    place: usize,
    attempt: u32,
    (answer, view): (&Answer, Option<Digest>),
    env: &Env<'_>,
) -> Body {
    let value = json!(answer);
    let accepted = match too_large(&value, env.limits.payload_bytes) {
        Some(problem) => Err((FailureCode::TooLarge, format!("the answer {problem}"))),
        None => accept(turn, place, &output_of(state.prompt_of(&turn.steps[place].step), answer), env),
    };
    match accepted {
        Ok(context) => Body::ModelAnswered {
            turn: turn.id,
            step: turn.steps[place].step.id.clone(),
            attempt,
            answer: value.into(),
            view,
            context,
        },
        Err((code, problem)) => failed(turn, place, code, problem),
    }
}

/// A question is asked again as often as it may, and not before the model wants.
fn unanswered(
    turn: &TurnState,
    place: usize,
    attempt: u32,
    (retry, reason, pause_ms): (bool, String, u64),
    env: &Env<'_>,
) -> Body {
    if !retry || !retries_left(turn, place) {
        return failed(turn, place, FailureCode::Model, reason);
    }
    let mut record = again(turn, place, attempt, NotApplied, reason, env);
    if let Body::AttemptFailed { retry_at, .. } = &mut record {
        *retry_at = (*retry_at).max(env.now.plus(Duration::from_millis(pause_ms)));
    }
    record
}

/// What an output changes in the context, if it is within the bounds.
pub(super) fn accept(
    turn: &TurnState,
    place: usize,
    output: &Value,
    env: &Env<'_>,
) -> Result<BTreeMap<ContextKey, Value>, (FailureCode, String)> {
    if let Some(problem) = too_large(output, env.limits.payload_bytes) {
        return Err((FailureCode::TooLarge, format!("the output {problem}")));
    }
    let bytes = json_bytes(output);
    if turn.bytes + bytes > env.limits.turn_bytes {
        let problem = format!(
            "with this output of about {bytes} bytes the turn has more than the {} that all its outputs may have",
            env.limits.turn_bytes
        );
        return Err((FailureCode::TooLarge, problem));
    }
    changes(turn, place, output, env)
}

/// What an output changes in the context, if the context stays within its bound.
pub(super) fn changes(
    turn: &TurnState,
    place: usize,
    output: &Value,
    env: &Env<'_>,
) -> Result<BTreeMap<ContextKey, Value>, (FailureCode, String)> {
    let merged = turn.context.merged(&turn.steps[place].step.writes, output);
    let merged = merged.map_err(|problem| (FailureCode::Context, problem))?;
    if merged.is_empty() {
        return Ok(merged);
    }
    let kept = turn.context.values.iter().filter(|(key, _)| !merged.contains_key(*key));
    let bytes: usize = kept.chain(&merged).map(|(_, value)| json_bytes(value)).sum();
    let allowed = env.limits.context_bytes;
    if bytes > allowed {
        let problem = format!("the context would have {bytes} bytes of JSON: at most {allowed} are allowed");
        return Err((FailureCode::TooLarge, problem));
    }
    Ok(merged)
}

/// The end of a step that can't succeed. What undoes another step does not end so: it rests.
pub(super) fn failed(turn: &TurnState, place: usize, code: FailureCode, message: impl Into<String>) -> Body {
    match &turn.steps[place] {
        StepState { undoes: Some(_), step, .. } => {
            let failure = Failure::of_step(&step.id, code, message);
            Body::UndoParked { turn: turn.id, step: step.id.clone(), failure }
        }
        _ => given_up(turn, place, code, message),
    }
}

/// The end of a step that is not tried again.
pub(super) fn given_up(
    turn: &TurnState,
    place: usize,
    code: FailureCode,
    message: impl Into<String>,
) -> Body {
    let step = &turn.steps[place].step.id;
    let failure = Failure::of_step(step, code, message);
    Body::StepFailed { turn: turn.id, step: step.clone(), failure, applied: false }
}

/// The failure of a step whose act took effect all the same.
pub(super) fn failed_although_applied(
    turn: &TurnState,
    place: usize,
    (code, message): (FailureCode, String),
) -> Body {
    let step = &turn.steps[place].step.id;
    let applied = turn.class_of(place).has_intent();
    Body::StepFailed {
        turn: turn.id,
        step: step.clone(),
        failure: Failure::of_step(step, code, message),
        applied,
    }
}

/// An operator must say. An attempt may still take effect until its deadline and the allowed lateness have passed.
pub(super) fn in_doubt(turn: &TurnState, place: usize, reason: String, env: &Env<'_>) -> Body {
    let step = &turn.steps[place];
    Body::StepInDoubt {
        turn: turn.id,
        step: step.step.id.clone(),
        attempt: step.attempt,
        reason,
        not_applied_from: settled_from(turn, place, env),
    }
}

/// From when on the latest attempt can't take effect any more.
pub(super) fn settled_from(turn: &TurnState, place: usize, env: &Env<'_>) -> Timestamp {
    turn.steps[place].deadline.plus(env.limits.lateness()).max(env.now)
}

/// A tool speaks of its own attempt. When an earlier one is unanswered, its word does not settle the step.
fn not_applied(
    turn: &TurnState,
    place: usize,
    attempt: u32,
    retry: bool,
    reason: String,
    env: &Env<'_>,
) -> Body {
    if retry && retries_left(turn, place) {
        again(turn, place, attempt, NotApplied, reason, env)
    } else if turn.steps[place].unknown {
        in_doubt(
            turn,
            place,
            format!("an earlier attempt is unanswered, and the last one says: {reason}"),
            env,
        )
    } else {
        failed(turn, place, FailureCode::NotApplied, reason)
    }
}

/// An act for which the process had no lease. It is tried again when the lease should have been renewed, if the process
/// still owns the session by then.
fn unleased(turn: &TurnState, place: usize, attempt: u32, env: &Env<'_>) -> Body {
    Body::AttemptFailed {
        turn: turn.id,
        step: turn.steps[place].step.id.clone(),
        attempt,
        not_applied: true,
        counts: false,
        reason: "the lease of this process had ended, or was about to".into(),
        retry_at: env.now.plus(pause(env.limits.lease_ms / 3, env.random)),
    }
}

fn again(turn: &TurnState, place: usize, attempt: u32, known: Known, reason: String, env: &Env<'_>) -> Body {
    let step = &turn.steps[place];
    let pause_ms = retry_of(turn, place).pause_ms(step.failures + 1);
    Body::AttemptFailed {
        turn: turn.id,
        step: step.step.id.clone(),
        attempt,
        not_applied: known != Unknown,
        counts: known != NotCounted,
        reason,
        retry_at: env.now.plus(pause(pause_ms, env.random)),
    }
}

fn retries_left(turn: &TurnState, place: usize) -> bool {
    turn.steps[place].failures + 1 < retry_of(turn, place).attempts
}

fn retry_of(turn: &TurnState, place: usize) -> Retry {
    let step = &turn.steps[place].step;
    let given = match &step.action {
        Action::Model(_) => Retry::QUESTIONS,
        _ => turn.terms_of(place).map(|terms| terms.retry).unwrap_or_default(),
    };
    step.retry.unwrap_or(given)
}

/// Half of the pause is fixed and half random, so that those who failed together do not return together.
fn pause(longest_ms: u64, random: u64) -> Duration {
    let half = longest_ms / 2;
    Duration::from_millis(half + if half == 0 { longest_ms } else { random % (half + 1) })
}
