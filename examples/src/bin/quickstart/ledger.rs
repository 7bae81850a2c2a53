//! A small ledger of tickets: a program of its own, so that what it wrote outlives the quickstart.
//!
//! It stands for the outside world that an agent acts on. It knows idempotency keys, as a payment
//! service does: the same key is the same ticket, however often it is called. And it counts what
//! happened, so that the quickstart can show that nothing happened twice.
//!
//! It is this same executable, run as `quickstart ledger --file PATH`, and speaks JSON Lines over
//! its standard input and output:
//!
//! ```text
//! > {"id":1,"open_ticket":{"key":"k1","title":"Fix the roof","finding":"f1"}}
//! < {"id":1,"answer":{"ticket":{"number":1,"repeated":false}}}
//! ```

mod audit;
mod book;
mod client;
mod protocol;
mod serve;

#[cfg(test)]
mod tests;

pub(crate) use audit::Summary;
pub(crate) use book::BookError;
pub(crate) use client::{LedgerClient, LedgerError, LedgerProgram};
pub(crate) use protocol::{Found, Published, Ticket, TicketNumber};
pub(crate) use serve::serve;
