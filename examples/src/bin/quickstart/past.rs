//! What the journal says of the runs of a folder: the quickstart keeps no other memory.

use std::collections::BTreeMap;

use agent_shell_core::data::{Action, Body};
use agent_shell_core::runtime::HistoryEntry;
use agent_shell_core::words::{Epoch, StepId, ToolName, TurnId};
use agent_shell_core::{Outcome, Resolution, Result, Session};
use serde::Deserialize;
use serde_json::Value;

use crate::changes::Remembered;
use crate::findings::{FindingId, Known};
use crate::tools::names;

/// Records read at once.
const PAGE: usize = 256;

/// The runs of a folder. Each is a turn.
#[derive(Debug, Default)]
pub(crate) struct Past {
    /// Runs that have ended.
    pub(crate) ended: u64,
    /// What the runs that have ended left.
    pub(crate) remembered: Remembered,
    /// The latest run.
    pub(crate) latest: Option<Run>,
    open: BTreeMap<FindingId, Known>,
    /// The tool of each step of the latest run.
    tools: BTreeMap<StepId, ToolName>,
    /// What its steps did with tickets.
    acts: BTreeMap<StepId, Known>,
    /// Which of its steps undo which.
    undoes: BTreeMap<StepId, StepId>,
    epoch_of_last_end: Epoch,
}

/// One run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) turn: TurnId,
    pub(crate) has_ended: bool,
    /// Steps that have succeeded.
    pub(crate) steps: u64,
    /// It has failed, and what it did is undone.
    pub(crate) is_undone: bool,
    /// How often nobody knew what had become of a step.
    pub(crate) doubts: u64,
    /// The epoch of the last owner before this run.
    pub(crate) epoch_before: Epoch,
}

/// The part of a run's answer that the next one needs.
#[derive(Deserialize)]
struct Answer {
    reported: Vec<Known>,
}

impl Past {
    /// Reads a session's records.
    pub(crate) async fn of(session: &Session) -> Result<Self> {
        let mut past = Self::default();
        let mut history = session.history().await?;
        loop {
            let entries = history.next(PAGE).await?;
            if entries.is_empty() {
                return Ok(past);
            }
            entries.iter().for_each(|entry| past.add(entry));
        }
    }

    fn add(&mut self, entry: &HistoryEntry) {
        match &entry.body {
            Body::TurnStarted { turn, .. } => {
                let (turn, epoch_before) = (*turn, self.epoch_of_last_end);
                let run = Run { turn, has_ended: false, steps: 0, is_undone: false, doubts: 0, epoch_before };
                self.latest = Some(run);
                self.tools.clear();
                self.acts.clear();
                self.undoes.clear();
            }
            Body::PlanAdopted { plan, .. } => {
                for step in plan.steps() {
                    if let Action::Tool { name, .. } = &step.action {
                        self.tools.insert(step.id.clone(), name.clone());
                    }
                }
            }
            Body::StepSucceeded { step, output, .. } => self.succeeded(step, &output.value()),
            Body::StepResolved { step, resolution: Resolution::Applied(output), .. } => {
                self.succeeded(step, output);
            }
            Body::UndoPlanned { steps, .. } => {
                self.undoes.extend(steps.clone());
                self.latest.iter_mut().for_each(|run| run.is_undone = true);
            }
            Body::StepInDoubt { .. } => self.latest.iter_mut().for_each(|run| run.doubts += 1),
            Body::TurnEnded { outcome, answer, .. } => {
                self.ended += 1;
                self.epoch_of_last_end = entry.epoch;
                self.latest.iter_mut().for_each(|run| run.has_ended = true);
                let answer = match (outcome, answer) {
                    (_, Some(answer)) => Answer::deserialize(&*answer.value()),
                    (Outcome::Answered(answer), None) => Answer::deserialize(answer),
                    // Nothing was published, so what was told before is still the last that was told.
                    _ => Ok(Answer { reported: self.remembered.reported.clone() }),
                };
                self.remembered.reported = answer.map(|answer| answer.reported).unwrap_or_default();
                self.remembered.open = self.open.values().cloned().collect();
            }
            _ => {}
        }
    }

    /// The tool that a step calls, if it calls one.
    fn tool(&self, step: &StepId) -> &str {
        self.tools.get(step).map_or("", |tool| tool.as_str())
    }

    /// What a step of the latest run did with a ticket: the tool that it called, and the ticket.
    pub(crate) fn act(&self, step: &StepId) -> Option<(&str, &Known)> {
        Some((self.tool(step), self.acts.get(step)?))
    }

    /// A ticket stands as the last step says that was about it; one that undoes another puts it back.
    fn succeeded(&mut self, step: &StepId, output: &Value) {
        if let Some(undone) = self.undoes.get(step) {
            let undone = self.act(undone).map(|(tool, known)| (tool == names::CLOSE_TICKET, known.clone()));
            return undone.into_iter().for_each(|(is_open, known)| self.stands(is_open, known));
        }
        self.latest.iter_mut().for_each(|run| run.steps += 1);
        let is_open = match self.tool(step) {
            names::OPEN_TICKET => true,
            names::CLOSE_TICKET => false,
            _ => return,
        };
        let Ok(known) = Known::deserialize(output) else { return };
        self.acts.insert(step.clone(), known.clone());
        self.stands(is_open, known);
    }

    fn stands(&mut self, is_open: bool, known: Known) {
        if is_open {
            self.open.insert(known.id.clone(), known);
        } else {
            self.open.remove(&known.id);
        }
    }
}
