//! Tickets, and what undoes them: should the run fail, a ticket that it opened is withdrawn, and one that it closed is
//! opened again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agent_shell_core::{Call, Tool, ToolError, Undo};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{names, what_is_known};
use crate::crash::Stage;
use crate::desk::{Desk, scope};
use crate::findings::{FindingId, Known};
use crate::ledger::Ticket;
use crate::progress::State;

/// What a ticket is about.
#[derive(Deserialize, JsonSchema)]
pub(super) struct About {
    folder: String,
    finding: String,
    title: String,
}

impl About {
    /// The finding as the ledger knows it: two folders may have the same.
    fn in_ledger(&self) -> String {
        format!("{}:{}", scope(&self.folder), self.finding)
    }

    pub(super) fn known(self, ticket: Ticket) -> Known {
        Known { id: FindingId::from(self.finding), title: self.title, ticket: Some(ticket.number) }
    }
}

/// Idempotent: the ledger gives the same ticket to the same key.
pub(super) fn open(desk: &Arc<Desk>) -> Tool {
    let desk = Arc::clone(desk);
    let opened = Arc::new(AtomicU64::new(0));
    let tool = Tool::idempotent(
        names::OPEN_TICKET,
        "Opens a ticket for a finding",
        move |about: About, call: Call| {
            let (desk, opened) = (Arc::clone(&desk), Arc::clone(&opened));
            async move {
                let ticket = desk.ledger.open_ticket(call.key(), &about.title, &about.in_ledger()).await;
                let ticket = ticket.map_err(what_is_known)?;
                let count = opened.fetch_add(1, Ordering::Relaxed) + 1;
                desk.show(&about.folder, "tickets", State::Running(format!("{count} filed")));
                desk.fuse.passes(Stage::Filing);
                Ok(about.known(ticket))
            }
        },
    );
    tool.remembers_keys(Duration::MAX).compensated_by(names::WITHDRAW_TICKET)
}

/// Idempotent, as opening is.
pub(super) fn close(desk: &Arc<Desk>) -> Tool {
    let desk = Arc::clone(desk);
    let tool = Tool::idempotent(names::CLOSE_TICKET, "Closes a ticket", move |about: About, call: Call| {
        let desk = Arc::clone(&desk);
        async move {
            let ticket = desk.ledger.close_ticket(call.key(), &about.in_ledger()).await;
            let ticket = ticket.map_err(what_is_known)?;
            desk.fuse.passes(Stage::Filing);
            Ok(about.known(ticket))
        }
    });
    tool.remembers_keys(Duration::MAX).compensated_by(names::REOPEN_TICKET)
}

/// Undoes an opening. It has a key of its own, and names the call that it undoes by that call's key.
pub(super) fn withdraw(desk: &Arc<Desk>) -> Tool {
    let desk = Arc::clone(desk);
    let tool = Tool::idempotent(
        names::WITHDRAW_TICKET,
        "Withdraws a ticket that was opened",
        move |undo: Undo<About>, call: Call| {
            let desk = Arc::clone(&desk);
            async move {
                desk.fuse.passes(Stage::Undoing);
                let ticket = desk.ledger.withdraw_ticket(call.key(), &undo.key).await;
                Ok::<_, ToolError>(desk.undone(undo.input, ticket.map_err(what_is_known)?))
            }
        },
    );
    tool.remembers_keys(Duration::MAX)
}

/// Undoes a closing, likewise.
pub(super) fn reopen(desk: &Arc<Desk>) -> Tool {
    let desk = Arc::clone(desk);
    let tool = Tool::idempotent(
        names::REOPEN_TICKET,
        "Opens a ticket again that was closed",
        move |undo: Undo<About>, call: Call| {
            let desk = Arc::clone(&desk);
            async move {
                desk.fuse.passes(Stage::Undoing);
                let ticket = desk.ledger.reopen_ticket(call.key(), &undo.key).await;
                Ok::<_, ToolError>(desk.undone(undo.input, ticket.map_err(what_is_known)?))
            }
        },
    );
    tool.remembers_keys(Duration::MAX)
}

impl Desk {
    /// Says that a call about a ticket is undone.
    fn undone(&self, about: About, ticket: Ticket) -> Known {
        self.show(&about.folder, "undo", State::Running("puts the tickets back".to_owned()));
        self.fuse.passes(Stage::Undoing);
        about.known(ticket)
    }
}
