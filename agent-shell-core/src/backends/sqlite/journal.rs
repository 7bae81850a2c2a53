//! The journal port.

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{OptionalExtension, ToSql};

use super::columns::{self, limit};
use super::{SqliteStore, append, records, sessions, turns};
use crate::data::{KeyId, Record};
use crate::ports::{
    Append, AppendError, Appended, Journal, NamedActor, NewSession, SessionEntry, SessionFilter, Snapshot,
    StoreError, TurnEntry,
};
use crate::words::{Digest, OwnerId, Pseudonym, Seq, SessionId, Tenant, TurnId};

/// What one read returns at most, in bytes of bodies; a single larger record is still returned.
const READ_BYTES: usize = 16 << 20;

#[async_trait]
impl Journal for SqliteStore {
    async fn open_session(&self, new: NewSession) -> Result<SessionEntry, StoreError> {
        // Most calls are for a session that is there, and need not wait for a commit.
        let (tenant, name) = (new.tenant.clone(), new.name);
        let there =
            self.on_reader(move |reader| sessions::by_name(&reader.connection, &tenant, name)).await?;
        match there {
            Some(entry) => Ok(entry),
            None => self.on_writer(new.sealed.len(), move |tx| sessions::open(tx, &new)).await,
        }
    }

    async fn append(&self, append: Arc<Append>) -> Result<Appended, AppendError> {
        let bytes = append::bytes_of(&append);
        if bytes > append::MAX_APPEND_BYTES {
            return Err(AppendError::TooLarge { bytes, allowed: append::MAX_APPEND_BYTES });
        }
        self.on_writer(bytes, move |tx| append::append(tx, &append)).await
    }

    async fn read(&self, session: SessionId, after: Seq, rows: usize) -> Result<Vec<Record>, StoreError> {
        self.on_reader(move |reader| {
            let Some((nr, tenant)) = reader.session(session)? else { return Ok(Vec::new()) };
            let mut records = Vec::new();
            let mut bytes = 0;
            records::each_after(&reader.connection, nr, after, rows.max(1), |row| {
                let record = records::record(row, session, &tenant)?;
                bytes += record.body.len();
                records.push(record);
                Ok(bytes < READ_BYTES)
            })?;
            Ok(records)
        })
        .await
    }

    async fn blob(&self, session: SessionId, address: Digest) -> Result<Vec<u8>, StoreError> {
        let blob: Option<Vec<u8>> = self
            .on_reader(move |reader| {
                reader
                    .connection
                    .prepare_cached(
                        "SELECT sealed FROM blobs \
                         WHERE session = (SELECT nr FROM sessions WHERE id = ?1) AND address = ?2",
                    )?
                    .query_row((session.to_bytes(), address.as_bytes()), |row| row.get(0))
                    .optional()
            })
            .await?;
        blob.ok_or_else(|| StoreError::NotFound { what: format!("blob {address} of session {session}") })
    }

    async fn snapshot(&self, session: SessionId) -> Result<Option<Snapshot>, StoreError> {
        self.on_reader(move |reader| {
            reader
                .connection
                .prepare_cached(
                    "SELECT seq, hash, fold_version, sealed FROM snapshots \
                     WHERE session = (SELECT nr FROM sessions WHERE id = ?1)",
                )?
                .query_row((session.to_bytes(),), |row| {
                    Ok(Snapshot {
                        head: columns::head(row, 0, 1)?,
                        fold_version: row.get(2)?,
                        sealed: row.get(3)?,
                    })
                })
                .optional()
        })
        .await
    }

    async fn session(&self, session: SessionId) -> Result<Option<SessionEntry>, StoreError> {
        self.on_reader(move |reader| {
            reader
                .connection
                .prepare_cached(&format!("{} WHERE s.id = ?1", columns::ENTRY))?
                .query_row((session.to_bytes(),), columns::entry)
                .optional()
        })
        .await
    }

    async fn sessions(
        &self,
        filter: SessionFilter,
        after: Option<SessionId>,
        rows: usize,
    ) -> Result<Vec<SessionEntry>, StoreError> {
        self.on_reader(move |reader| {
            let after = after.map_or(Vec::new(), |id| id.to_bytes().to_vec());
            let rows = limit(rows);
            let status = filter.status.map(|status| status.number());
            let mut sql = format!("{} WHERE s.id > :after", columns::ENTRY);
            let mut values: Vec<(&str, &dyn ToSql)> = vec![(":after", &after), (":rows", &rows)];
            let tenant = filter.tenant.as_ref().map(Tenant::as_str);
            if let Some(tenant) = &tenant {
                sql.push_str(" AND s.tenant = :tenant");
                values.push((":tenant", tenant));
            }
            if let Some(name) = &filter.name {
                sql.push_str(" AND s.name = :name");
                values.push((":name", name.as_bytes()));
            }
            if let Some(status) = &status {
                sql.push_str(" AND s.status = :status");
                values.push((":status", status));
            }
            let owner = filter.owner.map(OwnerId::to_bytes);
            if let Some(owner) = &owner {
                sql.push_str(" AND s.owner = :owner");
                values.push((":owner", owner));
            }
            if let Some(key) = &filter.key {
                sql.push_str(" AND s.key = :key");
                values.push((":key", key.0.as_bytes()));
            }
            sql.push_str(" ORDER BY s.id LIMIT :rows");
            reader.connection.prepare_cached(&sql)?.query_map(&*values, columns::entry)?.collect()
        })
        .await
    }

    async fn turn(&self, turn: TurnId) -> Result<Option<TurnEntry>, StoreError> {
        self.on_reader(move |reader| turns::entry(&reader.connection, turn)).await
    }

    async fn actor(&self, tenant: &Tenant, actor: Pseudonym) -> Result<Option<NamedActor>, StoreError> {
        let tenant = tenant.clone();
        self.on_reader(move |reader| {
            reader
                .connection
                .prepare_cached("SELECT key, sealed FROM actors WHERE tenant = ?1 AND actor = ?2")?
                .query_row((tenant.as_str(), actor.as_bytes()), |row| {
                    Ok(NamedActor { actor, key: KeyId(columns::digest(row, 0)?), sealed: row.get(1)? })
                })
                .optional()
        })
        .await
    }
}
