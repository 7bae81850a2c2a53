//! Where a process dies.

use std::fmt;

use super::records::Records;

/// Where the process dies, once in a run.
///
/// ```
/// use agent_shell_core::testing::Crash;
///
/// // The effect has happened, and nothing says so yet.
/// let crash = Crash::before("step.succeeded").step("refund");
/// assert_eq!(crash.to_string(), "a crash before `step.succeeded` of step `refund`");
/// assert_eq!(Crash::after("turn.started").nth(2).to_string(), "a crash after `turn.started`, the 2nd of it");
/// assert_eq!(Crash::after_record(7).to_string(), "a crash after record 7");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crash {
    moment: Moment,
    which: Which,
}

/// Before or after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Before,
    After,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Which {
    Record { number: usize, about: Option<String> },
    Kind { kind: String, step: Option<String>, nth: usize },
    Poll(u64),
}

/// The same, as whoever drives a run knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The append that holds the record with this number is not done.
    Before(usize),
    /// It is done, and its answer not heard.
    After(usize),
    /// So many polls of the first life are done.
    Poll(u64),
}

impl Crash {
    fn of(moment: Moment, which: Which) -> Self {
        Self { moment, which }
    }

    /// Before a record of this kind is written ([`Body::KINDS`](crate::data::Body::KINDS)): what it tells of has happened, and
    /// nothing says so. The first one, unless [`nth`](Self::nth) says another.
    pub fn before(kind: impl Into<String>) -> Self {
        Self::of(Moment::Before, Which::Kind { kind: kind.into(), step: None, nth: 1 })
    }

    /// After a record of this kind was written, and before anything follows from it.
    pub fn after(kind: impl Into<String>) -> Self {
        Self::of(Moment::After, Which::Kind { kind: kind.into(), step: None, nth: 1 })
    }

    /// Before the record with this number, counted from 1 over all sessions in the order in which they are written.
    pub fn before_record(number: usize) -> Self {
        Self::of(Moment::Before, Which::Record { number, about: None })
    }

    /// After the record with this number.
    pub fn after_record(number: usize) -> Self {
        Self::of(Moment::After, Which::Record { number, about: None })
    }

    /// After so many polls of the process's tasks, whatever it was doing.
    pub fn after_poll(number: u64) -> Self {
        Self::of(Moment::After, Which::Poll(number))
    }

    /// Of a kind of record, those of this step alone. Of other crashes, nothing changes.
    #[must_use]
    pub fn step(mut self, of: impl Into<String>) -> Self {
        if let Which::Kind { step, .. } = &mut self.which {
            *step = Some(of.into());
        }
        self
    }

    /// Of a kind of record, the one with this number, counted from 1. Of other crashes, nothing changes.
    #[must_use]
    pub fn nth(mut self, number: usize) -> Self {
        if let Which::Kind { nth, .. } = &mut self.which {
            *nth = number;
        }
        self
    }

    /// Says of a crash at a record which one that is, for people.
    pub(super) fn about(mut self, records: &Records) -> Self {
        if let Which::Record { number, about } = &mut self.which {
            *about = records.all().iter().find(|record| record.number == *number).map(|record| {
                let step = record.entry.body.step().map(|step| format!(" of step `{step}`"));
                format!("`{}`{}", record.entry.body.kind(), step.unwrap_or_default())
            });
        }
        self
    }

    /// Where that is in a run that writes these records; none when it has no such place.
    pub(super) fn place(&self, records: &Records) -> Option<Place> {
        let number = match &self.which {
            Which::Poll(polls) => return Some(Place::Poll(*polls)),
            Which::Record { number, .. } => *number,
            Which::Kind { kind, step, nth } => {
                let is_it = |body: &crate::data::Body| {
                    let of_step = || body.step().map(|step| step.as_str());
                    body.kind() == kind && step.as_deref().is_none_or(|step| of_step() == Some(step))
                };
                let mut found = records.all().iter().filter(|record| is_it(&record.entry.body));
                found.nth(nth.checked_sub(1)?)?.number
            }
        };
        (1..=records.written()).contains(&number).then_some(match self.moment {
            Moment::Before => Place::Before(number),
            Moment::After => Place::After(number),
        })
    }
}

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = match self.moment {
            Moment::Before => "before",
            Moment::After => "after",
        };
        write!(f, "a crash {moment} ")?;
        match &self.which {
            Which::Poll(polls) => write!(f, "poll {polls}"),
            Which::Record { number, about: None } => write!(f, "record {number}"),
            Which::Record { number, about: Some(about) } => write!(f, "record {number}, {about}"),
            Which::Kind { kind, step, nth } => {
                write!(f, "`{kind}`")?;
                if let Some(step) = step {
                    write!(f, " of step `{step}`")?;
                }
                match nth {
                    1 => Ok(()),
                    2 => f.write_str(", the 2nd of it"),
                    3 => f.write_str(", the 3rd of it"),
                    _ => write!(f, ", the {nth}th of it"),
                }
            }
        }
    }
}
