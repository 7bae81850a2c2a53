//! The thread that reads, on a connection of its own, so that no reader waits for a commit.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension};
use tokio::sync::mpsc::Receiver;

use super::columns;
use super::fault::{self, Health};
use super::queue::Item;
use crate::ports::StoreError;
use crate::words::{SessionId, Tenant};

/// Sessions whose numbers the reader remembers at most.
const REMEMBERED: usize = 1 << 16;

/// Reads that share a snapshot, at most.
const TOGETHER: usize = 64;

/// What a read works with: one snapshot, which holds all that was committed when the read was asked for.
pub(super) struct Reader {
    pub(super) connection: Connection,
    /// Number and tenant never change, and the number of a session that was removed is not used again.
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

    /// Works until every sender is gone and the queue is empty. Reads that wait together share a snapshot, which
    /// is taken when all of them are there, so that each sees what was committed before it was asked for.
    pub(super) fn run(mut self, mut receiver: Receiver<Item<Self>>, health: &Health) {
        let mut waiting = Vec::with_capacity(TOGETHER);
        while let Some(first) = receiver.blocking_recv() {
            waiting.push(first);
            while waiting.len() < TOGETHER
                && let Ok(next) = receiver.try_recv()
            {
                waiting.push(next);
            }
            let begun = health.check().and_then(|()| self.execute("BEGIN"));
            for mut item in waiting.drain(..) {
                let end = begun
                    .clone()
                    .and_then(|()| item.job.run(&mut self).map_err(|error| fault::store_error(&error)));
                item.job.answer(end);
            }
            // Nothing was written, and some errors end the transaction by themselves.
            if !self.connection.is_autocommit()
                && let Err(error) = self.execute("COMMIT")
            {
                tracing::warn!(%error, "a read transaction did not end");
            }
        }
    }

    fn execute(&self, sql: &str) -> Result<(), StoreError> {
        let done = self.connection.prepare_cached(sql).and_then(|mut statement| statement.execute(()));
        done.map(drop).map_err(|error| fault::store_error(&error))
    }
}
