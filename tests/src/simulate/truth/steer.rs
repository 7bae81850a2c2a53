//! What is said to turns while they run, as the records say: kept here by itself, without the machine's fold. It is taken up by one
//! turn or becomes the next one, and an interruption gives up what had not begun, and nothing else.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use agent_shell_core::data::{
    Action, Body, EffectClass, MailKind, Outcome, Plan, PlannerRef, Resolution, Step, ToolTerms, WaitEnd,
};
use agent_shell_core::machine::Entry;
use agent_shell_core::words::{Seq, SessionId, StepId, ToolName, TurnId};
use agent_shell_core::{FailureCode, PlanView};
use serde_json::Value;

use super::{Facts, Truth};
use crate::simulate::coverage::Coverage;
use crate::simulate::rule::Rule;
use crate::simulate::sights::Sight;

/// What is wrong.
type Problems = Vec<String>;

/// What a planner was shown: each input that came, and whether it interrupted.
type Shown = Vec<(Arc<Value>, bool)>;

/// What was said in a session while turns ran.
#[derive(Default)]
pub(super) struct SteerBook {
    turn: Option<Running>,
    /// What becomes the next turns.
    next: VecDeque<Said>,
    /// All that was ever said so: no turn begins by it, but for those that are the next.
    said: BTreeSet<TurnId>,
    /// Turns that were interrupted.
    pub(super) interrupted: BTreeSet<TurnId>,
    /// What planners were shown for a round of a turn, at each call.
    shown: BTreeMap<(TurnId, u32), Vec<Shown>>,
}

/// Something that was said.
struct Said {
    turn: TurnId,
    input: Arc<Value>,
    /// Whether it interrupted the turn.
    interrupts: bool,
    seq: Seq,
}

/// The turn that runs.
struct Running {
    id: TurnId,
    /// Whether somebody plans it.
    is_planned: bool,
    said: Vec<Said>,
    /// How many of these plans have taken up.
    taken: usize,
    rounds: u32,
    /// Rounds up to this one are not pursued any more.
    given_up: u32,
    /// Whether it can only end.
    is_ending: bool,
    /// The last record that says how far it has come.
    moved: Seq,
    terms: BTreeMap<ToolName, ToolTerms>,
    steps: BTreeMap<StepId, Known>,
    /// Steps that an interruption gives up, and of which no record says so yet.
    dropped: BTreeSet<StepId>,
}

/// A step of a plan.
struct Known {
    step: Step,
    class: EffectClass,
    round: u32,
    stage: Stage,
    /// Whether an attempt may have taken effect.
    is_open: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It has not begun, or waits for somebody.
    Waits,
    Runs,
    /// It waits for its next try.
    Paused,
    /// Its target is asked.
    Probing,
    Doubt,
    Ended,
}

impl Truth {
    /// A planner is shown what was said while its turn ran.
    pub(in crate::simulate) fn shown_steers(&self, view: &PlanView) {
        let shown = view.steers.iter().map(|steered| (steered.input.clone(), steered.interrupts)).collect();
        let mut facts = self.facts();
        if !view.steers.is_empty() {
            facts.coverage.see(Sight::SteerShown);
        }
        let Some(mirror) = facts.sessions.get_mut(&view.session) else { return };
        mirror.steer.shown.entry((view.turn, view.round)).or_default().push(shown);
    }
}

impl Facts {
    /// Takes a record into what was said while turns ran.
    pub(super) fn take_steer(&mut self, session: SessionId, entry: &Entry, found: &mut Vec<(Rule, String)>) {
        let Some(mirror) = self.sessions.get_mut(&session) else { return };
        let mut problems = Problems::new();
        mirror.steer.take(entry, &mut self.coverage, &mut problems);
        let at = |problem| (Rule::Steer, format!("record {}: {problem}", entry.seq));
        found.extend(problems.into_iter().map(at));
    }
}

impl SteerBook {
    fn take(&mut self, entry: &Entry, coverage: &mut Coverage, found: &mut Problems) {
        match &entry.body {
            Body::TurnStarted { turn, input, planner, .. } => {
                self.started(*turn, &input.value(), planner, entry.seq, coverage, found);
            }
            Body::TurnSteered { turn, request, at_once, .. } => {
                let said = Said {
                    turn: request.turn,
                    input: request.input.value(),
                    interrupts: *at_once,
                    seq: entry.seq,
                };
                self.steered(*turn, said, coverage, found);
            }
            Body::MailRefused { mail_kind: MailKind::Steer, reason, .. } => {
                found.push(format!("what was said is refused: {reason}"));
            }
            Body::TurnWithdrawn { turn, .. } => self.withdrawn(*turn, coverage, found),
            Body::PlanAdopted { round, plan, terms, .. } => {
                self.adopted(*round, plan, terms, entry.seq, found)
            }
            Body::PlanAnswered { turn, .. } => {
                if let Some(running) = &self.turn {
                    let (round, taken) = (running.rounds + 1, running.taken);
                    self.check_shown(*turn, round, taken, entry.seq, found);
                    self.check_given_up(found);
                }
            }
            Body::TurnEnded { outcome, joined, .. } => self.ended(outcome, joined, coverage, found),
            Body::SessionPurged { .. } => {
                let interrupted = std::mem::take(&mut self.interrupted);
                *self = Self { interrupted, ..Self::default() };
            }
            Body::TurnExpired { .. } | Body::TurnCancelled { .. } | Body::PlanFailed { .. } => {
                self.can_only_end()
            }
            Body::TurnInterrupted { failure: Some(_), .. } => self.can_only_end(),
            body => {
                if let (Some(running), Some(step)) = (&mut self.turn, body.step()) {
                    running.moved = entry.seq;
                    running.step(step, body, coverage, found);
                }
            }
        }
    }

    fn can_only_end(&mut self) {
        self.turn.iter_mut().for_each(|running| running.is_ending = true);
    }

    /// What was left is the next turn, before any other.
    fn started(
        &mut self,
        turn: TurnId,
        input: &Arc<Value>,
        planner: &PlannerRef,
        seq: Seq,
        coverage: &mut Coverage,
        found: &mut Problems,
    ) {
        match self.next.pop_front() {
            Some(next) if next.turn != turn => {
                found.push(format!("turn {turn} begins, and what was said as {} is the next", next.turn));
            }
            Some(next) if next.input != *input => {
                found.push(format!("turn {turn} begins with {input}, and {} was said", next.input));
            }
            Some(_) => coverage.see(Sight::SteerNext),
            None if self.said.contains(&turn) => {
                found.push(format!("turn {turn} begins, and what was said was taken up or withdrawn"));
            }
            None => {}
        }
        self.turn = Some(Running {
            id: turn,
            is_planned: matches!(planner, PlannerRef::Named(_)),
            said: Vec::new(),
            taken: 0,
            rounds: 0,
            given_up: 0,
            is_ending: false,
            moved: seq,
            terms: BTreeMap::new(),
            steps: BTreeMap::new(),
            dropped: BTreeSet::new(),
        });
    }

    fn steered(&mut self, turn: TurnId, mut said: Said, coverage: &mut Coverage, found: &mut Problems) {
        if !self.said.insert(said.turn) {
            found.push(format!("{} is said a second time", said.turn));
        }
        let Some(running) = self.turn.as_mut().filter(|running| running.id == turn) else {
            return found.push(format!("it is said to turn {turn}, which does not run"));
        };
        coverage.see(if said.interrupts { Sight::Interruption } else { Sight::Steer });
        said.interrupts &= running.is_planned && !running.is_ending;
        if said.interrupts {
            self.interrupted.insert(turn);
            running.given_up = running.rounds;
            let has_not_begun = |known: &&Known| match known.stage {
                Stage::Waits => true,
                Stage::Paused => !known.is_open,
                _ => false,
            };
            let dropped = running.steps.values().filter(has_not_begun);
            running.dropped = dropped.map(|known| known.step.id.clone()).collect();
            let goes_on =
                |known: &Known| known.stage != Stage::Ended && !running.dropped.contains(&known.step.id);
            if running.steps.values().any(goes_on) {
                coverage.see(Sight::GoesOn);
            }
        }
        running.said.push(said);
    }

    fn withdrawn(&mut self, turn: TurnId, coverage: &mut Coverage, found: &mut Problems) {
        let before = self.next.len();
        self.next.retain(|said| said.turn != turn);
        let mut is_found = self.next.len() < before;
        if let Some(running) = &mut self.turn {
            let place = running.said.iter().position(|said| said.turn == turn);
            if place.is_some_and(|place| place < running.taken) {
                found.push(format!("turn {turn} is withdrawn, and a plan has taken it up"));
            }
            if let Some(place) = place {
                running.said.remove(place);
                is_found = true;
            }
        }
        if is_found {
            coverage.see(Sight::SteerWithdrawn);
        } else if self.said.contains(&turn) {
            found.push(format!("turn {turn} is withdrawn, and it waits for nothing"));
        }
    }

    fn adopted(
        &mut self,
        round: u32,
        plan: &Plan,
        terms: &BTreeMap<ToolName, ToolTerms>,
        seq: Seq,
        found: &mut Problems,
    ) {
        let Some(running) = &mut self.turn else { return };
        let taken = plan.steers() as usize;
        running.taken = running.taken.max(taken);
        let (turn, shows) = (running.id, running.taken);
        if running.taken > running.said.len() {
            found.push(format!("a plan takes up {taken}, and {} were said", running.said.len()));
        }
        if running.is_planned {
            self.check_shown(turn, round, shows, seq, found);
        }
        self.check_given_up(found);
        let Some(running) = &mut self.turn else { return };
        (running.rounds, running.moved) = (round, seq);
        running.terms.extend(terms.iter().map(|(name, terms)| (name.clone(), terms.clone())));
        for step in plan.steps() {
            let class = match &step.action {
                Action::Tool { name, .. } => running.terms.get(name).map(|terms| terms.class),
                _ => None,
            };
            let known = Known {
                step: step.clone(),
                class: class.unwrap_or(EffectClass::Pure),
                round,
                stage: Stage::Waits,
                is_open: false,
            };
            running.steps.insert(step.id.clone(), known);
        }
    }

    /// Who plans was shown, in order, what is taken up, all that had come when there was to be planned, and each interruption: what
    /// was planned before one counts for nothing.
    fn check_shown(&self, turn: TurnId, round: u32, taken: usize, seq: Seq, found: &mut Problems) {
        let Some(running) = self.turn.as_ref().filter(|running| running.id == turn && running.is_planned)
        else {
            return;
        };
        let least = running.said.iter().rposition(|said| said.interrupts || said.seq < running.moved);
        let least = least.map_or(0, |place| place + 1).max(taken);
        let expected: Shown = running.said.iter().map(|said| (said.input.clone(), said.interrupts)).collect();
        let is_right = |shown: &&Shown| {
            shown.len() >= least.min(expected.len())
                && shown.iter().zip(&expected).take(least).all(|(shown, said)| shown.0 == said.0)
        };
        let calls = self.shown.get(&(turn, round)).map_or(&[][..], |calls| &calls[..]);
        if !calls.iter().any(|shown| is_right(&shown)) {
            found.push(format!(
                "round {round} of turn {turn} is planned in record {seq}, and its planner was shown {calls:?} of {expected:?}, \
                 of which the first {least} had to be"
            ));
        }
    }

    /// What was given up is recorded before it goes on.
    fn check_given_up(&self, found: &mut Problems) {
        if let Some(running) = self.turn.as_ref().filter(|running| !running.dropped.is_empty()) {
            found.push(format!(
                "{:?} had not begun at an interruption, and are not given up",
                running.dropped
            ));
        }
    }

    /// What plans have taken up ends with the turn, and what is left is next.
    fn ended(&mut self, outcome: &Outcome, joined: &[TurnId], coverage: &mut Coverage, found: &mut Problems) {
        if matches!(outcome, Outcome::Answered(_)) {
            self.check_given_up(found);
        }
        let Some(mut running) = self.turn.take() else { return };
        self.shown.retain(|(turn, _), _| *turn != running.id);
        let left = running.said.split_off(running.taken.min(running.said.len()));
        let expected: Vec<TurnId> = running.said.iter().map(|said| said.turn).collect();
        if joined != expected {
            found.push(format!("{joined:?} end with the turn, and it has taken up {expected:?}"));
        }
        if !joined.is_empty() {
            coverage.see(Sight::SteerJoined);
        }
        self.next.extend(left);
        if let Outcome::Failed(failure) = outcome
            && let Some(known) = failure.step.as_ref().and_then(|step| running.steps.get(step))
            && known.round <= running.given_up
        {
            let step = &known.step.id;
            found.push(format!("it fails for {step}, which was planned before the turn was interrupted"));
        }
    }
}

impl Running {
    fn step(&mut self, step: &StepId, body: &Body, coverage: &mut Coverage, found: &mut Problems) {
        let Some(known) = self.steps.get_mut(step) else { return };
        let was_given_up = self.dropped.remove(step);
        let is_superseded =
            matches!(body, Body::StepFailed { failure, .. } if failure.code == FailureCode::Superseded);
        if is_superseded && was_given_up {
            coverage.see(Sight::GivenUp);
        } else if is_superseded {
            found.push(format!("{step} is given up, and nothing came before it had begun"));
        } else if was_given_up && !self.is_ending {
            found.push(format!("{step} had not begun when the turn was interrupted, and goes on"));
        }
        match body {
            Body::StepStarted { .. } => {
                known.is_open |= known.stage == Stage::Runs;
                known.stage = Stage::Runs;
            }
            // A child has begun, and goes on to its end.
            Body::ChildStarted { .. } => known.stage = Stage::Runs,
            Body::AttemptFailed { not_applied, .. } => {
                let was_asked = known.stage == Stage::Probing;
                let is_asked = known.class == EffectClass::Probed && !not_applied;
                known.stage = if is_asked { Stage::Probing } else { Stage::Paused };
                // A tool speaks of its own attempt only, and what is `Pure` takes no effect.
                let is_open = !not_applied || (known.is_open && !was_asked);
                known.is_open = is_open && known.class != EffectClass::Pure;
            }
            Body::StepInDoubt { .. } => known.stage = Stage::Doubt,
            Body::StepResolved { resolution: Resolution::Retry, .. } => {
                (known.stage, known.is_open) = (Stage::Paused, false);
            }
            Body::WaitEnded { end: WaitEnd::Approved, .. }
                if matches!(known.step.action, Action::Tool { .. }) => {}
            Body::WaitEnded { .. }
            | Body::StepSucceeded { .. }
            | Body::ModelAnswered { .. }
            | Body::StepResolved { .. } => known.stage = Stage::Ended,
            Body::StepFailed { .. } => {
                known.stage = Stage::Ended;
                self.is_ending |= !known.step.may_fail && known.round > self.given_up;
            }
            _ => {}
        }
    }
}
