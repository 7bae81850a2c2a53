//! Forgetting a subject: its sessions are closed by their owners, and its keys destroyed.
//!
//! The destruction of the keys is what forgets; closing says so in each session's chain, ends its turns, and takes
//! away what nobody can read any more. So the keys are destroyed also when an owner does not answer in time: it
//! closes its session later, and what it writes until then can't be read.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::core::Core;
use super::inbox::waiting_purge;
use super::reader::{corrupt, open};
use super::shell::Shell;
use super::writer::{Beside, SessionWriter};
use crate::data::{Body, Kind, MailKind, OpenAct};
use crate::machine::Entry;
use crate::ports::{
    Deed, Fence, Mark, NamedActor, Post, PostError, SessionEntry, SessionFilter, SessionStatus,
};
use crate::words::{
    Actor, Error, ErrorKind, Head, Pseudonym, Result, Seq, SessionId, Subject, Tenant, Timestamp, TurnId,
    UserId,
};

/// Sessions read at once.
const PAGE: usize = 256;
/// How often it is looked whether sessions are closed.
const LOOK: Duration = Duration::from_millis(10);

/// What a purge did. It holds no text, and nothing that names the subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PurgeReceipt {
    /// The tenant.
    pub tenant: Tenant,
    /// When the keys were destroyed.
    pub destroyed: Timestamp,
    /// The subject's sessions that are closed, in the order of their ids.
    pub sessions: Vec<PurgedSession>,
    /// The subject's sessions whose owners have not closed them yet. What they hold can't be read any more; a repeat
    /// of the purge waits for them again.
    pub unfinished: Vec<SessionId>,
}

/// A session that was purged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PurgedSession {
    /// The session.
    pub session: SessionId,
    /// The end of its chain: the record of the purge, which is the last one.
    pub head: Head,
    /// When it was closed.
    pub closed: Timestamp,
    /// Who purged it, as the record's header shows it.
    pub actor: Pseudonym,
    /// The turn that ran or rested, and so ended.
    pub turn: Option<TurnId>,
    /// Acts of which it was not known whether they took effect; none when that could not be read any more.
    pub open: Option<Vec<OpenAct>>,
    /// The last of its records that stand in an archive file and not in the journal, if any do. Their text can't be
    /// read any more; delete the file `<session id>-<place>-<digest>.jsonl` all the same, and its copies.
    #[serde(default)]
    pub archived: Option<Head>,
}

impl Shell {
    /// Forgets a user of a tenant: closes every session whose subject it is, whoever owns it and whatever runs in it,
    /// and destroys the key of its data and the key of its name as an actor. When this returns, nothing that was
    /// sealed for the user can be read from this store any more, nor from a copy of it without the keys.
    ///
    /// Running acts are dropped and nothing is compensated; of what may have taken effect the receipt tells, without
    /// any text. Turns that run or wait end as [`Outcome::Purged`](crate::Outcome::Purged). The user can't come back
    /// under the same id: what is asked for it later is [`ErrorKind::Purged`].
    ///
    /// Repeating it is safe, and returns the same sessions.
    ///
    /// # Errors
    /// [`ErrorKind::Forbidden`] when the actor may not: nothing was erased. Else what the store or the key store says. Then it is not known what was erased: repeat it.
    ///
    /// # Cancel safety
    /// Dropping the future may leave sessions closed and the keys in place: repeat it.
    pub async fn purge(&self, tenant: &Tenant, user: &UserId, actor: &Actor) -> Result<PurgeReceipt> {
        self.core.stop.check()?;
        self.core.authorize(actor, Deed::Purge, tenant).await?;
        let keyring = &self.core.keyring;
        let key = keyring.subject_key_id(tenant, &Subject::User(user.clone())).await?;
        let name_key = keyring.actor_key_id(tenant, user).await?;
        let by = self.purger(tenant, user, actor).await?;
        let filter =
            SessionFilter { tenant: Some(tenant.clone()), key: Some(key), ..SessionFilter::default() };
        self.close_all(&filter, &by).await?;
        keyring.destroy(key).await?;
        keyring.destroy(name_key).await?;
        let destroyed = self.core.clock.now();
        // What was opened meanwhile, or was not closed in time.
        self.close_all(&filter, &by).await?;
        let mut receipt =
            PurgeReceipt { tenant: tenant.clone(), destroyed, sessions: Vec::new(), unfinished: Vec::new() };
        for entry in self.all(&filter).await? {
            match entry.mark.status {
                SessionStatus::Purged => receipt.sessions.push(self.purged(&entry).await?),
                _ => receipt.unfinished.push(entry.id),
            }
        }
        Ok(receipt)
    }

    /// Who purges. Users who purge themselves are shown by their pseudonym, and their name goes with them.
    async fn purger(
        &self,
        tenant: &Tenant,
        user: &UserId,
        actor: &Actor,
    ) -> Result<(Pseudonym, Option<NamedActor>)> {
        match self.core.keyring.actor(tenant, actor).await {
            // They did so before, and repeat it.
            Err(error) if error.kind() == ErrorKind::Purged && *actor == Actor::Named(user.clone()) => {
                Ok((self.core.keyring.pseudonym(tenant, user).await?, None))
            }
            by => by,
        }
    }

    /// Asks the owners of all sessions to close them, and waits until they have, or for as long as a purge may.
    async fn close_all(&self, filter: &SessionFilter, by: &(Pseudonym, Option<NamedActor>)) -> Result<()> {
        let is_open = |entry: &SessionEntry| entry.mark.status != SessionStatus::Purged;
        for entry in self.all(filter).await?.iter().filter(|entry| is_open(entry)) {
            self.ask_to_close(entry, by).await?;
        }
        let core = &self.core;
        let give_up = core.clock.monotonic().plus(Duration::from_millis(core.limits.purge_ms));
        while self.all(filter).await?.iter().any(is_open) && core.clock.monotonic() < give_up {
            core.stop.check()?;
            core.clock.sleep(LOOK).await;
        }
        Ok(())
    }

    async fn ask_to_close(&self, entry: &SessionEntry, by: &(Pseudonym, Option<NamedActor>)) -> Result<()> {
        let post = Post {
            id: self.core.ids.make(),
            session: entry.id,
            kind: MailKind::Purge,
            system: true,
            dedupe: None,
            turn: None,
            actor: by.0,
            named_actor: by.1.clone(),
            posted: self.core.clock.now(),
            sealed: Vec::new(),
            quota: self.core.limits.system_mail_per_session,
        };
        match self.core.store.mailbox.post(post).await {
            // Enough purges wait there already.
            Ok(_) | Err(PostError::Purged | PostError::Overloaded { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        self.manager.attend(entry.id);
        Ok(())
    }

    async fn all(&self, filter: &SessionFilter) -> Result<Vec<SessionEntry>> {
        let mut all: Vec<SessionEntry> = Vec::new();
        loop {
            let after = all.last().map(|entry| entry.id);
            let page = self.core.store.journal.sessions(filter.clone(), after, PAGE).await?;
            let is_last = page.len() < PAGE;
            all.extend(page);
            if is_last {
                return Ok(all);
            }
        }
    }

    /// What the last record of a purged session says.
    async fn purged(&self, entry: &SessionEntry) -> Result<PurgedSession> {
        let journal = &*self.core.store.journal;
        let before = Seq::new(entry.head.seq.number().saturating_sub(1));
        let records = journal.read(entry.id, before, 1).await?;
        let last = records.first().filter(|last| last.header.kind.as_str() == Kind::PURGE);
        let last =
            last.ok_or_else(|| corrupt(format!("session {} does not end with its purge", entry.id)))?;
        let keys = self.core.keyring.tenant_data(&entry.tenant).await?;
        let Body::SessionPurged { turn, open } = open(journal, &keys, last).await?.body else {
            return Err(corrupt(format!("session {} does not end with its purge", entry.id)));
        };
        let (closed, actor) = (last.header.time, last.header.actor);
        let archived = entry.archived.map(|archived| archived.head);
        Ok(PurgedSession { session: entry.id, head: last.head(), closed, actor, turn, open, archived })
    }
}

/// Closes a session that was claimed and whose key can't be had: when the key was destroyed, or when a purge waits.
/// Otherwise the session stays as it is, and the error is returned: a lost key may be restored.
pub(crate) async fn close_unreadable(
    core: &std::sync::Arc<Core>,
    entry: &SessionEntry,
    error: Error,
) -> Result<()> {
    let purge = match error.kind() {
        ErrorKind::Purged | ErrorKind::KeyLost => waiting_purge(core, entry.id).await?,
        _ => return Err(error),
    };
    let actor = match (purge, error.kind()) {
        (Some(purge), _) => purge.actor,
        (None, ErrorKind::Purged) => Pseudonym::RUNTIME,
        (None, _) => return Err(error),
    };
    close(core, entry, actor, None).await?;
    tracing::info!(session = %entry.id, "a session whose key is gone was closed as purged");
    Ok(())
}

/// Closes an archived session in which a purge waits. It had no turn, and so no act of which anything is unknown.
pub(crate) async fn close_archived(core: &std::sync::Arc<Core>, entry: &SessionEntry) -> Result<()> {
    match waiting_purge(core, entry.id).await? {
        Some(purge) => close(core, entry, purge.actor, Some(Vec::new())).await,
        // It was restored meanwhile, say: it is claimed again when it has work.
        None => Ok(()),
    }
}

/// Appends the record of a purge to a session that is not folded.
async fn close(
    core: &std::sync::Arc<Core>,
    entry: &SessionEntry,
    actor: Pseudonym,
    open: Option<Vec<OpenAct>>,
) -> Result<()> {
    let fence = Fence { owner: core.owner, epoch: entry.epoch };
    let keys = core.keyring.tenant_data(&entry.tenant).await?;
    let at = (entry.id, entry.tenant.clone());
    // Nobody can say any more what rested in it, so nothing is told to others.
    let mut writer = SessionWriter::new(core.clone(), at, fence, keys, (entry.head, Seq::ZERO), None);
    let body = Body::SessionPurged { turn: None, open };
    let (seq, epoch, time) = (entry.head.seq.next(), entry.epoch, core.clock.now());
    let purged = Entry { seq, epoch, time, actor, body };
    let mark = Some(Mark { status: SessionStatus::Purged, wake_at: None });
    writer.append(vec![purged], Beside { mark, ..Beside::default() }, None).await?;
    Ok(())
}
