//! What is said to a turn while it runs: it waits for the planner, or interrupts.
//!
//! A plan takes up what it has considered; what no plan has taken up when the turn ends is the next turn. What interrupts
//! gives up all that has not begun. What has begun goes on to its end, for nobody could say otherwise what became of it; then
//! the planner is asked again.

use super::event::Env;
use super::state::{Folded, Phase, Steer, TurnState};
use crate::data::{Body, FailureCode, PlannerRef, TurnRequest};
use crate::words::{Pseudonym, Timestamp, TurnId};

/// The records of something that is said while a turn may run.
pub(super) fn steered(
    state: &Folded,
    request: Box<TurnRequest>,
    posted: Timestamp,
    at_once: bool,
    env: &Env<'_>,
) -> Vec<Body> {
    vec![match &state.turn {
        Some(turn) => Body::TurnSteered { turn: turn.id, request, posted, at_once },
        None => started(state, &request, posted, env),
    }]
}

/// The next turn, if what is to be one came while the last one ran.
pub(super) fn next(state: &Folded, env: &Env<'_>) -> Option<Body> {
    let next = state.next.front().filter(|_| state.turn.is_none() && !state.purged)?;
    Some(started(state, &next.request, next.posted, env))
}

fn started(state: &Folded, request: &TurnRequest, posted: Timestamp, env: &Env<'_>) -> Body {
    let TurnRequest { turn, input, planner, by_default, deadline, wants, budget, untrusted } =
        request.clone();
    let planner = state.planner_for(planner, by_default);
    let latency = env.latency.copied().map(Box::new);
    Body::TurnStarted { turn, input, planner, posted, deadline, wants, budget, untrusted, latency }
}

/// The records of the steps that were given up.
pub(super) fn dropped(turn: &TurnState) -> Vec<Body> {
    let reason = "an input came that interrupted the turn before this began";
    let of = |&place: &usize| super::attempt::failed(turn, place, FailureCode::Superseded, reason);
    turn.dropped.iter().map(of).collect()
}

impl Folded {
    /// Who plans a turn that starts now: who it was handed over to, where nobody else was named.
    pub(super) fn planner_for(&self, planner: PlannerRef, by_default: bool) -> Box<PlannerRef> {
        let handed_to = self.handed_to.clone().filter(|_| by_default);
        Box::new(handed_to.map_or(planner, PlannerRef::Named))
    }

    /// Who asked for a turn that is the next; none for one that comes from the mailbox.
    pub fn asker_of(&self, body: &Body) -> Option<Pseudonym> {
        match body {
            Body::TurnStarted { turn, .. } => {
                self.next.front().filter(|next| next.request.turn == *turn).map(|next| next.actor)
            }
            _ => None,
        }
    }

    /// How many inputs came while a turn ran and are in no plan: for so many there must be room.
    pub fn waiting_steers(&self) -> usize {
        self.next.len() + self.turn.as_ref().map_or(0, |turn| turn.steers.len() - turn.taken_up)
    }

    /// Whether a turn waits here for its start, or for the planner of the turn that runs.
    pub(super) fn may_withdraw(&self, turn: TurnId) -> bool {
        let is_it = |steer: &Steer| steer.request.turn == turn;
        let of_turn = self.turn.iter().flat_map(|running| &running.steers[running.taken_up..]);
        self.next.iter().chain(of_turn).any(is_it)
    }

    /// A turn is withdrawn that may wait here.
    pub(super) fn withdraw(&mut self, turn: TurnId) {
        self.next.retain(|steer| steer.request.turn != turn);
        if let Some(running) = &mut self.turn {
            let mut waits = running.steers.split_off(running.taken_up);
            let before = waits.len();
            waits.retain(|steer| steer.request.turn != turn);
            running.plans_dropped += u32::from(waits.len() < before);
            running.steers.extend(waits);
        }
    }
}

impl TurnState {
    /// Whether what comes now can reach a planner of this turn.
    pub(super) fn is_steerable(&self) -> bool {
        self.ending.is_none() && self.answered.is_none() && matches!(self.planner, PlannerRef::Named(_))
    }

    /// Whether somebody submitted it, or said something to it.
    pub(crate) fn was_asked_by(&self, actor: Pseudonym) -> bool {
        self.actor == actor || self.steers.iter().any(|steer| steer.actor == actor)
    }

    /// Something came while the turn ran. From then on a plan may be made of it.
    pub(super) fn steered(&mut self, steer: Steer) {
        self.untrusted_input |= steer.request.untrusted;
        let interrupts = steer.at_once && self.is_steerable();
        self.steers.push(steer);
        if interrupts {
            self.interrupt();
        }
    }

    /// Gives up what has not begun, and lets the planner plan again.
    fn interrupt(&mut self) {
        self.interrupted += 1;
        self.plans_dropped += 1;
        self.given_up = self.round;
        self.more = true;
        (self.answer, self.answer_template) = (None, None);
        let has_not_begun = |place: &usize| match &self.steps[*place].phase {
            Phase::Pending | Phase::Waiting(_) | Phase::Approved => true,
            Phase::Paused { .. } => !self.steps[*place].unknown,
            _ => false,
        };
        self.dropped = (0..self.steps.len()).filter(has_not_begun).collect();
    }

    /// The turns of what plans have taken up: they end with this one.
    pub(super) fn joined(&self) -> Vec<TurnId> {
        self.steers[..self.taken_up].iter().map(|steer| steer.request.turn).collect()
    }
}
