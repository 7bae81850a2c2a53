//! What an owner makes of work that ended with the process of another: by class it is begun again, asked about, or in
//! doubt, and not for ever.

use super::attempt::{in_doubt, settled_from};
use super::event::{Command, Env, Live};
use super::fold::skipped;
use super::owed::{Due, Owed, repeat};
use super::state::{Folded, Phase, StepState, TurnState};
use crate::data::{Body, EffectClass, Failure, FailureCode};
use crate::words::SessionId;

/// So often is work interrupted before it is suspected of ending its process. From then on it begins only while nothing
/// else that is suspected runs in the same process, so that what is innocent comes to its end, and the count is soon that
/// of the guilty alone.
const SUSPECTED_FROM: u32 = 3;

/// What ends with its process may leave no record: a `Pure` step, a round of planning, a check, a probe. So an owner that
/// finds that the one before it left none says so first, and begins once that is durable: then it counts, and does not
/// go on for ever. One owner that went away is not worth a record yet.
pub(super) fn after_interruptions(
    state: &Folded,
    turn: &TurnState,
    live: &Live,
    env: &Env<'_>,
    owed: &mut Owed,
) {
    let is_barred = turn.is_suspect() && !live.apart;
    if turn.begins_after > live.durable || is_barred {
        owed.commands.retain(|command| matches!(command, Command::Drop { .. }));
    }
    if owed.commands.is_empty() || !owed.records.is_empty() || !skipped(state.epoch, env.epoch) {
        return;
    }
    let times = turn.interruptions.saturating_add(1);
    let is_over = turn.ending.is_none() && hopeless(times, env);
    let failure = is_over.then(|| {
        let problem = "each owner went away before what it had begun left a record";
        Failure::of_turn(FailureCode::Interrupted, format!("{problem}, {} times in a row", 2 * times))
    });
    owed.commands.clear();
    owed.records.push(Body::TurnInterrupted { turn: turn.id, times, failure });
}

/// Whether owners went away without progress, two for each record of it, as often as they may.
pub(super) fn hopeless(times: u32, env: &Env<'_>) -> bool {
    times.saturating_mul(2) >= env.limits.interruptions
}

/// Whether an interrupted attempt must wait until it may be made apart from others that are suspected.
pub(super) fn is_barred(step: &StepState, live: &Live, env: &Env<'_>) -> bool {
    step.is_suspect() && !live.apart && step.interruptions < env.limits.interruptions
}

/// Whether something that the turn owes is suspected of ending its process.
pub fn is_suspect(state: &Folded) -> bool {
    let steps = |turn: &TurnState| {
        turn.active.iter().any(|place| {
            let step = &turn.steps[*place];
            step.is_suspect() && matches!(step.phase, Phase::Started { .. } | Phase::Paused { .. })
        })
    };
    state.turn.as_ref().is_some_and(|turn| turn.is_suspect() || steps(turn))
}

impl TurnState {
    /// Each record that owners went away without progress stands for two.
    fn is_suspect(&self) -> bool {
        self.interruptions.saturating_mul(2) >= SUSPECTED_FROM
    }
}

impl StepState {
    fn is_suspect(&self) -> bool {
        self.interruptions >= SUSPECTED_FROM
    }
}

/// An attempt whose owner is gone: by class it is repeated, asked about, or in doubt.
pub(super) fn interrupted(session: SessionId, turn: &TurnState, place: usize, env: &Env<'_>) -> Due {
    let step = &turn.steps[place];
    match turn.class_of(place) {
        EffectClass::Pure | EffectClass::Idempotent if step.interruptions >= env.limits.interruptions => {
            let reason = format!("{} attempts ended with their process", step.interruptions);
            Due::Record(in_doubt(turn, place, reason, env))
        }
        EffectClass::Pure | EffectClass::Idempotent => repeat(session, turn, place, env),
        EffectClass::Probed => Due::Record(Body::AttemptFailed {
            turn: turn.id,
            step: step.step.id.clone(),
            attempt: step.attempt,
            not_applied: false,
            counts: false,
            reason: "the process that made the attempt is gone".into(),
            retry_at: settled_from(turn, place, env),
        }),
        EffectClass::Irreversible => {
            let reason = "the process that made the attempt is gone, and nobody can be asked".into();
            Due::Record(in_doubt(turn, place, reason, env))
        }
    }
}

/// An intent of this owner whose act was not begun when the turn failed or expired.
pub(super) fn never_begun(turn: &TurnState, place: usize, env: &Env<'_>) -> Body {
    let step = &turn.steps[place];
    Body::AttemptFailed {
        turn: turn.id,
        step: step.step.id.clone(),
        attempt: step.attempt,
        not_applied: true,
        counts: false,
        reason: "the turn could only end before the act began".into(),
        retry_at: env.now,
    }
}
