//! From records to turns. It shows what the records say, and does not judge whether they may follow each other: the
//! runtime's own fold does that. A record of a kind that this program does not know changes nothing here, and is
//! listed all the same.

use std::collections::BTreeMap;

use agent_shell_core::data::{Body, PlannerRef, ToolTerms};
use agent_shell_core::runtime::HistoryEntry;
use agent_shell_core::words::{Seq, StepId, ToolName};
use agent_shell_core::{Outcome, Plan};

use super::bounds::DEPENDENCIES_PER_TURN;
use super::line::{self, one_line};
use super::model::{Owner, Round, Step, StepState, Turn, TurnState};
use super::{graph, steps};

/// Collects the turns of a session, record by record.
#[derive(Default)]
pub(super) struct Turns {
    turns: Vec<Turn>,
    /// Turns that were forgotten, for they lie before what a page shows.
    forgotten: u64,
    /// Where the steps of the last turn stand.
    places: BTreeMap<StepId, usize>,
    terms: BTreeMap<ToolName, ToolTerms>,
}

impl Turns {
    /// Takes the next record, and says to which turn it belongs.
    pub(super) fn take(&mut self, entry: &HistoryEntry) -> Option<u64> {
        if let Body::TurnStarted { .. } = &entry.body {
            self.start(entry);
        }
        let turn = self.turns.last_mut().filter(|turn| entry.body.turn() == Some(turn.id))?;
        turn.last = entry.seq;
        turn.updated = entry.time;
        owned(&mut turn.owners, entry);
        match &entry.body {
            Body::PlanAdopted { round, plan, terms, .. } => {
                self.terms.extend(terms.iter().map(|(name, terms)| (name.clone(), terms.clone())));
                adopt(turn, &mut self.places, &self.terms, *round, plan, entry);
            }
            Body::UndoPlanned { steps, .. } => undo(turn, &mut self.places, &self.terms, steps, entry),
            Body::SessionPurged { .. } => {
                turn.ended = Some(entry.time);
                turn.state = TurnState::Purged;
            }
            Body::TurnEnded { outcome, undone, .. } => {
                turn.ended = Some(entry.time);
                turn.aftermath = undone.as_deref().cloned();
                turn.state = ended(outcome);
                turn.end = Some(line::about(&entry.body));
            }
            body => {
                if let Some(&place) = body.step().and_then(|step| self.places.get(step)) {
                    graph::ready(&mut turn.steps, place);
                    steps::take(&mut turn.steps[place], entry);
                    let step = &turn.steps[place];
                    if let Some(undone) = step.undoes.filter(|_| step.state == StepState::Succeeded) {
                        turn.steps[undone].state = StepState::Undone;
                    }
                }
            }
        }
        Some(turn.number)
    }

    /// Forgets the turns that ended before this place.
    pub(super) fn forget_before(&mut self, first: Seq) {
        let before = self.turns.len();
        let last = self.turns.last().map(|turn| turn.number);
        self.turns.retain(|turn| turn.last >= first || Some(turn.number) == last);
        self.forgotten += (before - self.turns.len()) as u64;
    }

    /// The turns, and how many were forgotten.
    pub(super) fn finish(self) -> (Vec<Turn>, u64) {
        (self.turns, self.forgotten)
    }

    fn start(&mut self, entry: &HistoryEntry) {
        let Body::TurnStarted { turn, input, planner, posted, deadline, .. } = &entry.body else { return };
        self.places.clear();
        self.terms.clear();
        self.turns.push(Turn {
            id: *turn,
            number: self.forgotten + self.turns.len() as u64 + 1,
            actor: entry.actor,
            planner: match &**planner {
                PlannerRef::Named(name) => Some(name.to_string()),
                _ => None,
            },
            input: one_line(&input.value().to_string()),
            posted: *posted,
            started: entry.time,
            deadline: *deadline,
            ended: None,
            state: TurnState::Running,
            end: None,
            aftermath: None,
            first: entry.seq,
            last: entry.seq,
            updated: entry.time,
            owners: Vec::new(),
            rounds: Vec::new(),
            steps: Vec::new(),
            dependencies_left_out: 0,
        });
    }
}

fn owned(owners: &mut Vec<Owner>, entry: &HistoryEntry) {
    match owners.last_mut() {
        Some(owner) if owner.epoch == entry.epoch => (owner.last, owner.to) = (entry.seq, entry.time),
        _ => owners.push(Owner {
            epoch: entry.epoch,
            first: entry.seq,
            last: entry.seq,
            from: entry.time,
            to: entry.time,
        }),
    }
}

fn adopt(
    turn: &mut Turn,
    places: &mut BTreeMap<StepId, usize>,
    terms: &BTreeMap<ToolName, ToolTerms>,
    round: u32,
    plan: &Plan,
    entry: &HistoryEntry,
) {
    turn.rounds.push(Round { number: round, seq: entry.seq, time: entry.time, steps: plan.steps().len() });
    let first = turn.steps.len();
    for (nth, step) in plan.steps().iter().enumerate() {
        places.insert(step.id.clone(), first + nth);
    }
    let mut room = DEPENDENCIES_PER_TURN.saturating_sub(turn.steps.iter().map(|step| step.after.len()).sum());
    for step in plan.steps() {
        let all = step.dependencies().into_iter().filter_map(|needed| places.get(needed).copied());
        let mut after: Vec<usize> = all.collect();
        turn.dependencies_left_out += after.len().saturating_sub(room);
        after.truncate(room);
        room -= after.len();
        turn.steps.push(Step::planned(step, terms, round, after, entry.time));
    }
    graph::place(&mut turn.steps, first);
}

/// Adds the steps that undo others, behind all that there are: each stands after the one that it undoes.
fn undo(
    turn: &mut Turn,
    places: &mut BTreeMap<StepId, usize>,
    terms: &BTreeMap<ToolName, ToolTerms>,
    steps: &BTreeMap<StepId, StepId>,
    entry: &HistoryEntry,
) {
    let first = turn.steps.len();
    for (id, undone) in steps {
        let Some(&of) = places.get(undone) else { continue };
        places.insert(id.clone(), turn.steps.len());
        let step = Step::undoing(id, (of, &turn.steps[of]), terms, entry.time);
        turn.steps.push(step);
    }
    graph::place(&mut turn.steps, first);
}

fn ended(outcome: &Outcome) -> TurnState {
    match outcome {
        Outcome::Answered(_) => TurnState::Answered,
        Outcome::Failed(_) => TurnState::Failed,
        Outcome::Cancelled => TurnState::Cancelled,
        Outcome::Expired => TurnState::Expired,
        Outcome::Abandoned { .. } => TurnState::Abandoned,
        Outcome::Purged => TurnState::Purged,
        _ => TurnState::Ended,
    }
}
