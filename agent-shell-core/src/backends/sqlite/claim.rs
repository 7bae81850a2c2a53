//! Claims: which sessions have work and no owner, spread over tenants.

use std::collections::{BTreeMap, HashSet, VecDeque};

use rusqlite::{Connection, OptionalExtension, Row};

use super::columns::{self, kept, ordered};
use super::fault::Work;
use super::mail::lane;
use super::owners;
use super::rounds::{Round, Rounds};
use super::writer::Tx;
use crate::data::MailKind;
use crate::ports::{Claim, ClaimFilter, OwnershipError, SessionStatus};
use crate::words::{OwnerId, Tenant};

/// Sessions that fall due which one claim looks at, at most; the earliest come first.
const DUE_AT_ONCE: i64 = 100_000;

/// Sessions with work, by their numbers, in the order in which their tenant's are served.
type Queues = BTreeMap<Tenant, Vec<i64>>;

pub(super) fn claim(
    tx: &mut Tx,
    owner: OwnerId,
    filter: &ClaimFilter,
    limit: usize,
) -> Work<Vec<Claim>, OwnershipError> {
    if !owners::is_enlisted(&tx.connection, owner)? {
        return Ok(Err(OwnershipError::NotEnlisted));
    }
    owners::bury_the_dead(tx, owner)?;
    let mut claims = Vec::new();
    if let Some(named) = &filter.sessions {
        let mut seen = HashSet::new();
        for session in named.iter().filter(|session| seen.insert(**session)) {
            if claims.len() >= limit {
                break;
            }
            if let Some(known) = tx.sessions.find(&tx.connection, *session)? {
                claims.extend(take(tx, owner, known.nr, filter)?);
            }
        }
        return Ok(Ok(claims));
    }
    // One session of each tenant in turn, beginning with the tenant after the one that was served last.
    let queues = with_work(&tx.connection, &tx.rounds, filter, limit)?;
    let newest = newest(&tx.connection)?;
    let first = tx.rounds.first(queues.keys());
    let mut queues: VecDeque<_> =
        queues.into_iter().map(|(tenant, queue)| (tenant, queue.into_iter())).collect();
    queues.rotate_left(first);
    while claims.len() < limit
        && let Some((tenant, mut queue)) = queues.pop_front()
    {
        if let Some(nr) = queue.next() {
            claims.extend(take(tx, owner, nr, filter)?);
            tx.rounds.served(&tenant, nr, newest);
            queues.push_back((tenant, queue));
        }
    }
    Ok(Ok(claims))
}

/// Takes a session under its next epoch, if the filter lets it through and no other owner has it.
fn take(tx: &mut Tx, me: OwnerId, nr: i64, filter: &ClaimFilter) -> rusqlite::Result<Option<Claim>> {
    let mut entry = tx
        .connection
        .prepare_cached(&format!("{} WHERE s.nr = ?1", columns::ENTRY))?
        .query_row((nr,), columns::entry)?;
    let named = filter.sessions.is_some();
    let free = entry.owner.is_none() || named && entry.owner == Some(me);
    let tenant = filter.tenant.as_ref().is_none_or(|tenant| *tenant == entry.tenant);
    let offered =
        filter.offers.as_ref().is_none_or(|offers| entry.requires.iter().all(|id| offers.contains(id)))
            || purge_waits(&tx.connection, nr)?;
    let purged = entry.mark.status == SessionStatus::Purged;
    if purged || !(free && tenant && offered) {
        return Ok(None);
    }
    entry.epoch = entry.epoch.next();
    entry.owner = Some(me);
    tx.connection
        .prepare_cached("UPDATE sessions SET owner = ?1, epoch = ?2, mail = 0 WHERE nr = ?3")?
        .execute((me.to_bytes(), kept(entry.epoch.number()), nr))?;
    tx.sessions.remember(nr, &entry);
    Ok(Some(Claim { entry }))
}

/// The sessions that nobody owns and that have work, at most `limit` for each tenant.
fn with_work(
    connection: &Connection,
    rounds: &Rounds,
    filter: &ClaimFilter,
    limit: usize,
) -> rusqlite::Result<Queues> {
    let mut queues = Queues::new();
    if limit == 0 {
        return Ok(queues);
    }
    let tenants = match &filter.tenant {
        Some(tenant) => vec![tenant.clone()],
        None => tenants(connection)?,
    };
    for tenant in tenants {
        let queue = ready(connection, &tenant, rounds.of(&tenant), filter, limit)?;
        if !queue.is_empty() {
            queues.insert(tenant, queue);
        }
    }
    let mut due = connection.prepare_cached(
        "SELECT nr, requires, tenant FROM sessions \
         WHERE owner IS NULL AND wake_at IS NOT NULL AND wake_at <= ?1 AND NOT (mail = 1 OR status = 1) \
         ORDER BY wake_at LIMIT ?2",
    )?;
    let mut rows = due.query((ordered(filter.due_by.as_millis()), DUE_AT_ONCE))?;
    while let Some(row) = rows.next()? {
        let tenant = columns::tenant(row, 2)?;
        if filter.tenant.as_ref().is_some_and(|only| *only != tenant) || !is_offered(connection, row, filter)?
        {
            continue;
        }
        queues.entry(tenant).or_default().push(row.get(0)?);
    }
    for (tenant, queue) in &mut queues {
        let round = rounds.of(tenant);
        queue.sort_unstable_by_key(|nr| round.place(*nr));
        queue.truncate(limit);
    }
    Ok(queues)
}

/// The sessions of a tenant that have mail or a turn that runs: those that the round serves first.
fn ready(
    connection: &Connection,
    tenant: &Tenant,
    round: Round,
    filter: &ClaimFilter,
    limit: usize,
) -> rusqlite::Result<Vec<i64>> {
    let mut ready = connection.prepare_cached(
        "SELECT nr, requires FROM sessions INDEXED BY sessions_ready \
         WHERE owner IS NULL AND (mail = 1 OR status = 1) AND tenant = ?1 AND nr BETWEEN ?2 AND ?3 ORDER BY nr",
    )?;
    let mut queue = Vec::new();
    for span in round.spans().into_iter().filter(|span| !span.is_empty()) {
        let mut rows = ready.query((tenant.as_str(), span.start(), span.end()))?;
        while queue.len() < limit
            && let Some(row) = rows.next()?
        {
            if is_offered(connection, row, filter)? {
                queue.push(row.get(0)?);
            }
        }
    }
    Ok(queue)
}

/// The number of the session that was registered last.
fn newest(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("SELECT coalesce(max(nr), 0) FROM sessions")?.query_row((), |row| row.get(0))
}

/// Whether the owner offers what a session needs, whose number and requirements the row begins with.
fn is_offered(connection: &Connection, row: &Row<'_>, filter: &ClaimFilter) -> rusqlite::Result<bool> {
    let Some(offers) = &filter.offers else { return Ok(true) };
    let offered = columns::requirements(row, 1)?.iter().all(|id| offers.contains(id));
    Ok(offered || purge_waits(connection, row.get(0)?)?)
}

/// Whether a purge waits in a session: it needs no tool, and must not wait for one.
fn purge_waits(connection: &Connection, nr: i64) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM mail WHERE session = ?1 AND lane = ?2 AND kind = ?3)")?
        .query_row((nr, lane(MailKind::Purge.lane()), MailKind::Purge.as_str()), |row| row.get(0))
}

/// The tenants that have sessions which are ready: one search of the index for each.
fn tenants(connection: &Connection) -> rusqlite::Result<Vec<Tenant>> {
    let mut next = connection.prepare_cached(
        "SELECT tenant FROM sessions WHERE owner IS NULL AND (mail = 1 OR status = 1) AND tenant > ?1 \
         ORDER BY tenant LIMIT 1",
    )?;
    let mut tenants: Vec<Tenant> = Vec::new();
    loop {
        let after = tenants.last().map_or("", Tenant::as_str);
        match next.query_row((after,), |row| columns::tenant(row, 0)).optional()? {
            Some(tenant) => tenants.push(tenant),
            None => return Ok(tenants),
        }
    }
}
