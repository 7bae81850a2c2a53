//! Reads a session out of a journal: first as it is stored, which needs no key and shows what a broken or erased
//! session still has; then opened. Nothing is resumed, and no session is written to.

use std::collections::{BTreeMap, BTreeSet};

use agent_shell_core::backends::SystemClock;
use agent_shell_core::data::{Body, ChainVerifier};
use agent_shell_core::ports::{SessionEntry, SessionFilter, SessionStatus, Store, StoreError};
use agent_shell_core::words::{Clock, Head, Pseudonym, Seq, SessionId, SessionName};
use agent_shell_core::{Actor, Error, ErrorKind, Result, Shell, Subject};

use super::model::{About, Chain, Fault, LeftOut, Timeline, Who};
use super::purged;
use super::records::{Opened, Outside, Stored};
use super::turns::Turns;

/// Records, or sessions, read at once.
const PAGE: usize = 256;

/// A session, and what its first record says of it: none when that does not open.
pub(super) struct Found {
    pub(super) entry: SessionEntry,
    pub(super) named: Option<(SessionName, Subject)>,
}

impl Found {
    /// What people call the session.
    pub(super) fn title(&self) -> String {
        self.named.as_ref().map_or_else(|| self.entry.id.to_string(), |(name, _)| name.to_string())
    }
}

/// All sessions of a journal.
pub(super) async fn sessions(shell: &Shell) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = shell.sessions(SessionFilter::default(), after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(found) };
        after = Some(last.id);
        for entry in page {
            let named = named(shell, entry.id).await.ok().flatten();
            found.push(Found { entry, named });
        }
    }
}

async fn named(shell: &Shell, session: SessionId) -> Result<Option<(SessionName, Subject)>> {
    let first = shell.history(session).await?.next(1).await?;
    Ok(first.into_iter().next().and_then(|entry| match entry.body {
        Body::SessionOpened { name, subject, .. } => Some((name, subject)),
        _ => None,
    }))
}

/// Reads a session.
pub(super) async fn read(store: &Store, shell: &Shell, found: &Found) -> Result<Timeline> {
    let session = found.entry.id;
    let (stored, mut chain) = stored(store, session).await?;
    let first = stored.first();
    let mut reader = Reader { opened: Opened::default(), turns: Turns::default(), at: Seq::ZERO };
    if let Err(error) = reader.read(shell, session, first, chain.head.0).await {
        chain.unopened = Some(Fault { from: reader.at.next(), problem: error.to_string() });
    }
    if let Some(header) = stored.purged() {
        chain.purged = Some(header.seq);
        if let Some(entry) = purged::last_record(shell, header).await.filter(|_| reader.at < header.seq) {
            reader.opened.take(&entry, None);
        }
    }
    let mut left_out = LeftOut::default();
    let records = reader.opened.join(stored, &mut left_out);
    left_out.records = chain.records - records.len() as u64;
    let (turns, forgotten) = reader.turns.finish();
    left_out.turns = forgotten;
    let pseudonyms: BTreeSet<_> =
        records.iter().map(|record| record.actor).chain(turns.iter().map(|turn| turn.actor)).collect();
    let mut actors = BTreeMap::new();
    for actor in pseudonyms {
        actors.insert(actor.to_string(), name_of(shell, &found.entry, actor).await);
    }
    let made = SystemClock::new().now();
    Ok(Timeline { made, session: about(found), others: Vec::new(), chain, left_out, actors, turns, records })
}

/// Reads the stored side, and checks the chain as far as it holds.
async fn stored(store: &Store, session: SessionId) -> Result<(Stored, Chain)> {
    let mut stored = Stored::default();
    let mut chain =
        Chain { records: 0, head: (Seq::ZERO, Head::EMPTY.hash), broken: None, unopened: None, purged: None };
    let mut verifier = ChainVerifier::new(None);
    loop {
        let page = store.journal.read(session, chain.head.0, PAGE).await.map_err(Error::from)?;
        if page.is_empty() {
            return Ok((stored, chain));
        }
        for record in page {
            let seq = record.header.seq;
            if seq <= chain.head.0 {
                let detail = format!("records of {session} are out of order");
                return Err(StoreError::Corrupt { detail }.into());
            }
            if chain.broken.is_none()
                && let Err(broken) = verifier.next(&record)
            {
                chain.broken = Some(Fault { from: seq, problem: broken.to_string() });
            }
            chain.records += 1;
            chain.head = (seq, record.hash);
            stored.take(Outside { header: record.header, hash: record.hash });
        }
    }
}

/// Reads the opened side.
struct Reader {
    opened: Opened,
    turns: Turns,
    /// The place of the last record that was read.
    at: Seq,
}

impl Reader {
    /// Reads to `last`. A session that is written meanwhile has more, which the stored side does not.
    async fn read(&mut self, shell: &Shell, session: SessionId, first: Seq, last: Seq) -> Result<()> {
        let mut history = shell.history(session).await?;
        let mut page = PAGE;
        while self.at < last {
            let entries = match history.next(page).await {
                Ok(entries) if entries.is_empty() => return Ok(()),
                Ok(entries) => entries,
                // Those before the one that does not open are still to be had.
                Err(_) if page > 1 => {
                    page = 1;
                    continue;
                }
                Err(error) => return Err(error),
            };
            for entry in entries.iter().filter(|entry| entry.seq <= last) {
                let turn = self.turns.take(entry);
                self.opened.take(entry, turn);
            }
            self.at = entries.last().map_or(last, |entry| entry.seq);
            self.turns.forget_before(first);
        }
        Ok(())
    }
}

async fn name_of(shell: &Shell, entry: &SessionEntry, actor: Pseudonym) -> Who {
    let short: String = actor.to_string().chars().take(8).collect();
    let (kind, name) = match shell.actor(&entry.tenant, actor).await {
        Ok(Some(Actor::Host)) => ("host", "host".to_owned()),
        Ok(Some(Actor::Runtime)) => ("runtime", "runtime".to_owned()),
        Ok(Some(Actor::Named(name))) => ("named", name.to_string()),
        Err(error) if error.kind() == ErrorKind::Purged => ("unknown", format!("erased ({short})")),
        // The name is sealed under a key of its own; this is what stands in the chain.
        _ => ("unknown", format!("unknown ({short})")),
    };
    Who { kind, name }
}

fn about(Found { entry, named }: &Found) -> About {
    About {
        id: entry.id,
        tenant: entry.tenant.clone(),
        name: named.as_ref().map(|(name, _)| name.to_string()),
        subject: named.as_ref().map(|(_, subject)| match subject {
            Subject::User(user) => user.to_string(),
            Subject::None => "nobody".to_owned(),
        }),
        created: entry.created,
        status: match entry.mark.status {
            SessionStatus::Idle => "idle",
            SessionStatus::Running => "running",
            SessionStatus::Waiting => "waiting",
            SessionStatus::Resting => "resting",
            SessionStatus::Purged => "purged",
            SessionStatus::Archived => "archived",
        },
        wake_at: entry.mark.wake_at,
        epoch: entry.epoch,
        is_owned: entry.owner.is_some(),
        waiting_mail: entry.waiting_mail,
    }
}
