//! The thread that reads, on a connection of its own, so that no reader waits for a commit.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};
use tokio::sync::mpsc::Receiver;

use super::columns;
use super::fault::{self, Health};
use super::queue::Item;
use crate::words::{SessionId, Tenant};

/// Sessions whose numbers the reader remembers at most.
const REMEMBERED: usize = 1 << 16;

/// What a read works with. Every statement sees all that was committed when it began.
pub(super) struct Reader {
    pub(super) connection: Connection,
    /// Number and tenant never change, and no session is ever removed.
    numbers: HashMap<SessionId, (i64, Tenant)>,
}

impl Reader {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection, numbers: HashMap::new() }
    }

    /// The number of a session in the file, and its tenant.
    pub(super) fn session(&mut self, id: SessionId) -> rusqlite::Result<Option<(i64, Tenant)>> {
        if let Some(found) = self.numbers.get(&id) {
            return Ok(Some(found.clone()));
        }
        let found = self
            .connection
            .prepare_cached("SELECT nr, tenant FROM sessions WHERE id = ?1")?
            .query_row((id.to_bytes(),), |row| Ok((row.get(0)?, columns::tenant(row, 1)?)))
            .optional()?;
        if let Some(found) = &found {
            if self.numbers.len() >= REMEMBERED {
                self.numbers.clear();
            }
            self.numbers.insert(id, found.clone());
        }
        Ok(found)
    }

    /// Works until every sender is gone and the queue is empty.
    pub(super) fn run(mut self, mut receiver: Receiver<Item<Self>>, health: &Arc<Health>) {
        while let Some(mut item) = receiver.blocking_recv() {
            let end = health
                .check()
                .and_then(|()| item.job.run(&mut self).map_err(|error| fault::store_error(&error)));
            item.job.answer(end);
        }
    }
}
