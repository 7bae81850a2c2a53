//! What is said to the ledger and what it answers: one JSON object a line.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Summary;

/// The longest line of the protocol and of the ledger's file, in bytes, its end included.
pub(super) const MAX_LINE_BYTES: usize = 64 * 1024;

/// The number of a ticket. The first is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct TicketNumber(pub(crate) u64);

impl fmt::Display for TicketNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "#{}", self.0)
    }
}

/// A line to the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) id: u64,
    // What is flattened holds strings alone: serde_json's `arbitrary_precision`, which any crate in
    // the tree may switch on, breaks flattened numbers.
    #[serde(flatten)]
    pub(super) call: Call,
}

/// What the ledger is asked to do. The first five are acts, recorded before they are answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Call {
    /// Opens a ticket for a finding; the same key is the same ticket.
    OpenTicket { key: String, title: String, finding: String },
    /// Closes the open ticket of a finding that is gone.
    CloseTicket { key: String, finding: String },
    /// Publishes a document. A publisher knows no keys: every call publishes once more, and the
    /// key only tells whose call it was.
    Publish { key: String, path: String, digest: String },
    /// Withdraws the ticket that the call under the key `of` opened: it should never have been.
    WithdrawTicket { key: String, of: String },
    /// Opens the ticket again that the call under the key `of` closed.
    ReopenTicket { key: String, of: String },
    /// What happened under a key.
    Lookup { key: String },
    /// What happened in all.
    Summary {},
}

/// A line from the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reply {
    /// The request's id. `None` answers a line that was no request.
    pub(super) id: Option<u64>,
    pub(super) answer: Answer,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Ticket(Ticket),
    Published(Published),
    Found(Found),
    Summary(Summary),
    /// Nothing was done, and asking again will not help.
    Refused {
        reason: String,
    },
}

/// The ticket that a call was about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ticket {
    pub(crate) number: TicketNumber,
    /// An earlier call with this key had done it.
    pub(crate) repeated: bool,
}

/// A document that is out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Published {
    /// How often this key has published. More than 1 is once too often.
    pub(crate) times: u64,
}

/// What happened under a key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Found {
    pub(crate) calls: u64,
    /// The ticket that the key opened, closed, withdrew or opened again.
    pub(crate) ticket: Option<TicketNumber>,
    /// The digest that the key published first.
    pub(crate) published: Option<String>,
}
