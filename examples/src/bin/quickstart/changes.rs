//! What a run has to do: its review beside what earlier runs left. Pure functions; the planner and the step that
//! writes the briefing come to the same result from the same input.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::briefing::{briefing, digest};
use crate::findings::{self, Diff, Finding, FindingId, Findings, Known, Tickets};
use crate::scan::Review;

/// Tickets that may be open at once, because every run's input names them all.
const MAX_OPEN_TICKETS: usize = 600;

/// What earlier runs left, as the journal tells it. It is part of a turn's input.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    /// The findings whose tickets are open.
    pub(crate) open: Vec<Known>,
    /// The findings of the last briefing that was published.
    pub(crate) reported: Vec<Known>,
}

/// What is to be done about a review.
#[derive(Debug)]
pub(crate) struct Changes {
    findings: Findings,
    diff: Diff,
    pub(crate) to_open: Vec<Finding>,
    pub(crate) to_close: Vec<Known>,
}

/// A briefing that is ready to be published, and what the next run must know of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Draft {
    pub(crate) text: String,
    pub(crate) digest: String,
    pub(crate) told: Told,
    pub(crate) reported: Vec<Known>,
}

/// What a briefing tells, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) new: u64,
    pub(crate) gone: u64,
    pub(crate) unchanged: u64,
    /// Tickets that were opened for it.
    pub(crate) opened: u64,
    /// Tickets that were closed because their finding is gone.
    pub(crate) closed: u64,
}

impl Changes {
    /// Compares a review with what earlier runs left.
    ///
    /// New is what the last published briefing did not tell; a ticket is opened for what has none, which is not the
    /// same after a run that was given up. No ticket is closed when part of the folder was not reviewed: what
    /// is gone may only lie there.
    pub(crate) fn between(review: &Review, past: &Remembered) -> Self {
        let findings = findings::findings(review);
        let diff = findings::diff(&past.reported, &findings);
        let open: BTreeSet<&FindingId> = past.open.iter().map(|known| &known.id).collect();
        let room = MAX_OPEN_TICKETS.saturating_sub(open.len());
        let without_ticket = findings.items.iter().filter(|finding| !open.contains(&finding.id));
        let to_open = without_ticket.take(room).cloned().collect();
        let is_gone = |known: &&Known| {
            !findings.items.iter().any(|finding| finding.id == known.id)
                && !findings.beyond.contains(&known.id)
        };
        let to_close =
            if findings.cut { Vec::new() } else { past.open.iter().filter(is_gone).cloned().collect() };
        Self { findings, diff, to_open, to_close }
    }

    /// Writes the briefing. `opened` are the tickets that this run opened.
    pub(crate) fn draft(&self, review: &Review, past: &Remembered, opened: &[Known]) -> Draft {
        let tickets = past.open.iter().chain(opened);
        let tickets: Tickets = tickets.filter_map(|known| Some((known.id.clone(), known.ticket?))).collect();
        let text = briefing(review, &self.findings, &self.diff, &tickets);
        let mut reported = findings::known(&self.findings, &tickets);
        // What has moved beyond the limit was reported, and is still there.
        let beyond = |known: &&Known| self.findings.beyond.contains(&known.id);
        reported.extend(past.reported.iter().filter(beyond).take(MAX_OPEN_TICKETS - reported.len()).cloned());
        let told = Told {
            new: self.diff.new.len() as u64,
            gone: self.diff.gone.len() as u64,
            unchanged: self.diff.unchanged.len() as u64,
            opened: opened.len() as u64,
            closed: self.to_close.len() as u64,
        };
        Draft { digest: digest(&text), text, told, reported }
    }
}
