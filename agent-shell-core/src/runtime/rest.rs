//! Rests: what waits for a person.

use std::sync::Arc;

use serde_json::Value;

use crate::data::{Failure, WaitFor};
use crate::machine::{Folded, Origin, Phase};
use crate::words::{Digest, Seq, SessionId, StepId, Timestamp, ToolName, TurnId};

/// A step that waits for a person. It holds its session's queue until it is decided or resolved, or its turn is
/// abandoned.
///
/// Whoever finds it in [`Shell::rests`] or [`Turn::rests`] answers it, from any process, in any order:
///
/// | it needs | the answer |
/// |---|---|
/// | [`Needs::Approval`] | [`Shell::approve`] or [`Shell::deny`]; with the turn at hand, an [`Approval`] of [`Turn::approvals`] |
/// | [`Needs::Resolution`], [`Needs::Undo`] | [`Shell::resolve`], or [`Turn::resolve`] with the step's name |
/// | any | [`Turn::abandon`], of [`Shell::turn`], gives the whole turn up |
///
/// An answer is on disk when the call returns. An approval binds to the exact call that the rest shows. An answer that
/// comes too late, because another person was faster, say, changes nothing: the session's history then holds a
/// `mail.refused` record.
///
/// [`Approval`]: super::Approval
/// [`Shell::approve`]: super::Shell::approve
/// [`Shell::deny`]: super::Shell::deny
/// [`Shell::resolve`]: super::Shell::resolve
/// [`Shell::rests`]: super::Shell::rests
/// [`Shell::turn`]: super::Shell::turn
/// [`Turn::abandon`]: super::Turn::abandon
/// [`Turn::approvals`]: super::Turn::approvals
/// [`Turn::resolve`]: super::Turn::resolve
/// [`Turn::rests`]: super::Turn::rests
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Rest {
    /// The session.
    pub session: SessionId,
    /// The turn.
    pub turn: TurnId,
    /// The step.
    pub step: StepId,
    /// The place of the session's record by which it rests. A step may rest more than once, each time by another record.
    pub since: Seq,
    /// For what it waits.
    pub needs: Needs,
}

/// What a person must say.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Needs {
    /// Yes or no: `Shell::approve` or `Shell::deny`.
    Approval {
        /// The digest of the exact call, to which the decision binds.
        digest: Digest,
        /// The tool that is to be called; none when the step only asks.
        tool: Option<ToolName>,
        /// Its exact arguments, or what the step shows.
        shown: Arc<Value>,
        /// When it is too late.
        expires: Option<Timestamp>,
        /// What a guard said that asks for it; none when the tool or the plan asks.
        reason: Option<String>,
        /// Where each text and each number in the arguments came from.
        origins: Vec<Origin>,
    },
    /// What became of an attempt: `Shell::resolve`.
    Resolution {
        /// The tool that was called.
        tool: Option<ToolName>,
        /// The arguments of the call.
        input: Arc<Value>,
        /// The idempotency key of the call.
        key: String,
        /// The attempt, from 1.
        attempt: u32,
        /// What is known.
        reason: String,
        /// From when on it may be resolved as not applied: before, it may still take effect.
        not_applied_from: Timestamp,
    },
    /// How the undoing of a step goes on that keeps failing: `Shell::resolve`. `Resolution::Retry` tries it again,
    /// `Resolution::Applied` says that a person has undone it, and `Resolution::GiveUp` leaves it applied.
    Undo {
        /// The step that stays applied as long as this rests.
        undoes: StepId,
        /// The compensation.
        tool: Option<ToolName>,
        /// What it is called with: what the step was called with, its key, and its output.
        input: Arc<Value>,
        /// The latest attempt, from 1; 0 when there was none.
        attempt: u32,
        /// Why it failed.
        failure: Failure,
        /// Every step of the turn that is left to be undone, in plan order; this one is among them.
        left: Vec<StepId>,
    },
}

impl Rest {
    /// Everything in a session that waits for a person, in plan order.
    pub(crate) fn all(state: &Folded) -> Vec<Self> {
        let Some(turn) = &state.turn else { return Vec::new() };
        let mut rests = Vec::new();
        for &place in &turn.active {
            let step = &turn.steps[place];
            // What a turn that can only end has asked for, nobody can give any more.
            if turn.stops(place) && matches!(step.phase, Phase::Waiting(_)) {
                continue;
            }
            let tool = match &step.step.action {
                crate::data::Action::Tool { name, .. } => Some(name.clone()),
                _ => None,
            };
            let needs = match &step.phase {
                Phase::Waiting(WaitFor::Approval { digest, tool, shown, expires }) => Needs::Approval {
                    digest: *digest,
                    tool: tool.clone(),
                    shown: shown.value(),
                    expires: *expires,
                    reason: step.before.as_ref().and_then(|ruled| ruled.asked.clone()),
                    origins: state.origins(place, &shown.value()),
                },
                Phase::InDoubt { reason, not_applied_from } => Needs::Resolution {
                    tool,
                    input: step.input.clone().unwrap_or_default(),
                    key: step.key.as_deref().unwrap_or_default().to_owned(),
                    attempt: step.attempt,
                    reason: reason.clone(),
                    not_applied_from: *not_applied_from,
                },
                Phase::Parked { failure } => Needs::Undo {
                    undoes: turn.steps[step.undoes.unwrap_or(place)].step.id.clone(),
                    tool,
                    input: step.undoes.map(|of| turn.input_of_undoing(of)).unwrap_or_default(),
                    attempt: step.attempt,
                    failure: failure.clone(),
                    left: turn.left_to_undo(),
                },
                _ => continue,
            };
            let (session, turn, since) = (state.session, turn.id, step.rested);
            rests.push(Self { session, turn, step: step.step.id.clone(), since, needs });
        }
        rests
    }
}
