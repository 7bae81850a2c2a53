//! Counts what really happened, from the file alone: it shares nothing with the logic that decides
//! what a repeated key means, so it would see that logic fail.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::BookError;
use super::book::{Line, read_lines};
use super::protocol::TicketNumber;

/// What happened in all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// Tickets that were ever opened.
    pub(crate) tickets: u64,
    /// Calls to open a ticket.
    pub(crate) calls: u64,
    /// Different keys of those calls.
    pub(crate) keys: u64,
    /// Those of the calls whose key had been used before: harmless, each got the same ticket.
    pub(crate) repeated: u64,
    /// Effects that really happened twice: findings that had two tickets open at once, keys under
    /// which a document was published more than once, and tickets that were withdrawn, or opened
    /// again, when they were so already. It must be 0.
    pub(crate) doubled: u64,
    /// Tickets that were closed because their finding is gone.
    pub(crate) closed: u64,
    /// Tickets that were withdrawn, because what they were opened for failed.
    pub(crate) withdrawn: u64,
    /// How often a ticket was opened again, because what it was closed for failed.
    pub(crate) reopened: u64,
    /// Documents that were published.
    pub(crate) published: u64,
}

/// Reads the file and counts.
pub(super) fn summary(path: &Path) -> Result<Summary, BookError> {
    let mut count = Count::default();
    read_lines(path, |line| count.add(line))?;
    Ok(count.into_summary())
}

#[derive(Default)]
struct Count {
    calls: u64,
    opening_keys: BTreeSet<String>,
    opened: BTreeSet<TicketNumber>,
    closed: BTreeSet<TicketNumber>,
    withdrawn: BTreeSet<TicketNumber>,
    reopened: u64,
    /// What closed and what undid something: the keys, and the tickets that they were about. A call
    /// that is repeated for the same ticket is a repeat; for another one it is an act of its own.
    acts: BTreeSet<(String, TicketNumber)>,
    doubled_undos: u64,
    open_by_finding: BTreeMap<String, BTreeSet<TicketNumber>>,
    doubled_findings: BTreeSet<String>,
    publications_by_key: BTreeMap<String, u64>,
}

impl Count {
    fn add(&mut self, line: Line) {
        match line {
            Line::Opened { key, ticket, finding, .. } => {
                self.calls += 1;
                self.opening_keys.insert(key);
                // A late repeat of a call does not open a closed ticket again.
                if self.opened.insert(ticket) {
                    let open = self.open_by_finding.entry(finding.clone()).or_default();
                    open.insert(ticket);
                    if open.len() > 1 {
                        self.doubled_findings.insert(finding);
                    }
                }
            }
            Line::Closed { key, ticket, finding } if self.acts.insert((key.clone(), ticket)) => {
                self.closed.insert(ticket);
                self.open_by_finding.entry(finding).or_default().remove(&ticket);
            }
            Line::Withdrawn { key, ticket, finding, .. } if self.acts.insert((key.clone(), ticket)) => {
                self.withdrawn.insert(ticket);
                let was_open = self.open_by_finding.entry(finding).or_default().remove(&ticket);
                self.doubled_undos += u64::from(!was_open);
            }
            Line::Reopened { key, ticket, finding, .. } if self.acts.insert((key.clone(), ticket)) => {
                self.reopened += 1;
                let open = self.open_by_finding.entry(finding.clone()).or_default();
                self.doubled_undos += u64::from(!open.insert(ticket));
                if open.len() > 1 {
                    self.doubled_findings.insert(finding);
                }
            }
            Line::Closed { .. } | Line::Withdrawn { .. } | Line::Reopened { .. } => {}
            Line::Published { key, .. } => *self.publications_by_key.entry(key).or_default() += 1,
        }
    }

    fn into_summary(self) -> Summary {
        let keys = self.opening_keys.len() as u64;
        let published_twice = self.publications_by_key.values().filter(|times| **times > 1).count();
        Summary {
            tickets: self.opened.len() as u64,
            calls: self.calls,
            keys,
            repeated: self.calls - keys,
            doubled: (self.doubled_findings.len() + published_twice) as u64 + self.doubled_undos,
            closed: self.closed.len() as u64,
            withdrawn: self.withdrawn.len() as u64,
            reopened: self.reopened,
            published: self.publications_by_key.values().sum(),
        }
    }
}
