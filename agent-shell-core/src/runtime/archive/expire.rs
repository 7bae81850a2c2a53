//! The end of retention: archived sessions are removed wholly.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, IntoFuture};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use super::{PAGE, PassedOver, WhyNot, aside, must_be_a_folder};
use crate::ports::{ArchiveError, Archived, Busy, SessionEntry, SessionFilter, SessionStatus};
use crate::runtime::shell::Shell;
use crate::words::{Head, Result, SessionId, Tenant};

impl Shell {
    /// Removes the sessions that were archived at least `archived_for` ago from the journal: entry, turns, dedupe keys
    /// and name, which can then be used anew. With a folder given, their files go with them. Await the result to do it:
    ///
    /// ```no_run
    /// # async fn yearly(shell: agent_shell_core::Shell) -> agent_shell_core::Result<()> {
    /// use std::time::Duration;
    ///
    /// let report = shell.expire(Duration::from_secs(365 * 24 * 3600)).folder("/var/archive").await?;
    /// for gone in &report.expired {
    ///     println!("strike {} out, whose head was record {}", gone.session, gone.head.seq);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A session is passed over while rows of it stand in the outbox ([`Limits::outbox_keep_ms`]), or a purge waits
    /// in it. What stays are the marks of consumers, and the sealed names of actors, which other sessions share.
    ///
    /// [`Limits::outbox_keep_ms`]: crate::Limits::outbox_keep_ms
    pub fn expire(&self, archived_for: Duration) -> Expiring {
        Expiring {
            shell: self.clone(),
            archived_for,
            folder: None,
            tenant: None,
            at_most: self.core.limits.archived_at_once,
        }
    }
}

/// Which sessions are removed. Await it to remove them.
///
/// # Errors
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) when the folder is none,
/// [`Unavailable`](crate::ErrorKind::Unavailable) when a file can't be removed; else what the store says. What was removed before the error is removed, and in no report.
///
/// # Cancel safety
/// Dropping the future may leave files with `.expired` added to their names. The next call removes them, or gives them
/// their names back when their session is still listed.
#[must_use = "nothing is removed until this is awaited"]
#[derive(Debug)]
pub struct Expiring {
    shell: Shell,
    archived_for: Duration,
    folder: Option<PathBuf>,
    tenant: Option<Tenant>,
    at_most: usize,
}

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExpireReport {
    /// The sessions that are gone, for whoever keeps their heads to strike out.
    pub expired: Vec<Expired>,
    /// The sessions that were old enough and were left as they are.
    pub passed_over: Vec<PassedOver>,
    /// Whether there may be more: as many went as may at once.
    pub more: bool,
}

/// A session that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Expired {
    /// The session.
    pub session: SessionId,
    /// Its head when it went.
    pub head: Head,
    /// The files that were removed with it.
    pub files: Vec<PathBuf>,
}

impl Expiring {
    /// Removes the sessions' files in this folder, too.
    pub fn folder(self, folder: impl Into<PathBuf>) -> Self {
        Self { folder: Some(folder.into()), ..self }
    }

    /// Only sessions of this tenant.
    pub fn tenant(self, tenant: Tenant) -> Self {
        Self { tenant: Some(tenant), ..self }
    }

    /// At most so many sessions, instead of [`Limits::archived_at_once`](crate::Limits::archived_at_once).
    pub fn at_most(self, at_most: usize) -> Self {
        Self { at_most, ..self }
    }

    async fn run(self) -> Result<ExpireReport> {
        let core = &*self.shell.core;
        core.stop.check()?;
        if let Some(folder) = &self.folder {
            self.tidy(folder).await?;
        }
        let mut report = ExpireReport::default();
        for status in [SessionStatus::Archived, SessionStatus::Purged] {
            let filter = SessionFilter {
                tenant: self.tenant.clone(),
                status: Some(status),
                ..SessionFilter::default()
            };
            let mut after = None;
            loop {
                let page = core.store.journal.sessions(filter.clone(), after, PAGE).await?;
                let old = |entry: &SessionEntry| {
                    let archived = entry.archived.filter(|archived| self.is_old_enough(archived))?;
                    Some((entry.id, archived))
                };
                let old: Vec<_> = page.iter().filter_map(old).collect();
                let mut files = self.files_of(&old).await?;
                for (session, archived) in old {
                    if report.expired.len() >= self.at_most {
                        report.more = true;
                        return Ok(report);
                    }
                    let files = files.remove(&session).unwrap_or_default();
                    match self.one(session, archived, files).await? {
                        Ok(expired) => report.expired.push(expired),
                        Err(why) => report.passed_over.push(PassedOver { session, why }),
                    }
                }
                match page.last() {
                    Some(last) if page.len() == PAGE => after = Some(last.id),
                    _ => break,
                }
            }
        }
        Ok(report)
    }

    fn is_old_enough(&self, archived: &Archived) -> bool {
        self.shell.core.clock.now().since(archived.at) >= self.archived_for
    }

    /// Ends what a call before this one left undone.
    async fn tidy(&self, folder: &Path) -> Result<()> {
        let core = &*self.shell.core;
        let there = folder.to_path_buf();
        let left = core.blocking(move || must_be_a_folder(&there).and_then(|()| aside::left(&there))).await?;
        for (session, files) in left {
            let is_listed = core.store.journal.session(session).await?.is_some();
            self.each(files, if is_listed { aside::put_back } else { aside::remove }).await?;
        }
        Ok(())
    }

    async fn files_of(&self, old: &[(SessionId, Archived)]) -> Result<BTreeMap<SessionId, Vec<PathBuf>>> {
        match self.folder.clone() {
            Some(folder) if !old.is_empty() => {
                let sessions: BTreeSet<_> = old.iter().map(|(session, _)| *session).collect();
                self.shell.core.blocking(move || aside::of(&folder, &sessions)).await
            }
            _ => Ok(BTreeMap::new()),
        }
    }

    async fn each(&self, files: Vec<PathBuf>, act: fn(&Path, &[PathBuf]) -> Result<()>) -> Result<()> {
        match self.folder.clone() {
            Some(folder) => self.shell.core.blocking(move || act(&folder, &files)).await,
            None => Ok(()),
        }
    }

    async fn one(
        &self,
        session: SessionId,
        archived: Archived,
        files: Vec<PathBuf>,
    ) -> Result<std::result::Result<Expired, WhyNot>> {
        let store = &self.shell.core.store;
        // What would be refused is seen before a file is touched. What was listed may have come back since, and have
        // left again.
        let outbox = !store.outbox.replay(session, 1, 1).await?.is_empty();
        let Some(now) = store.journal.session(session).await? else { return Ok(Err(WhyNot::Changed)) };
        if now.archived != Some(archived) {
            return Ok(Err(WhyNot::Changed));
        }
        let busy = if now.waiting_mail > 0 {
            Some(Busy::Mail)
        } else if now.owner.is_some() {
            Some(Busy::Held)
        } else if outbox {
            Some(Busy::Outbox)
        } else {
            None
        };
        if let Some(busy) = busy {
            return Ok(Err(WhyNot::Busy(busy)));
        }
        self.each(files.clone(), aside::set_aside).await?;
        let why = match store.archive.expire(session, archived).await {
            // Another call was as fast.
            Ok(()) | Err(ArchiveError::NoSession) => {
                self.each(files.clone(), aside::remove).await?;
                return Ok(Ok(Expired { session, head: now.head, files }));
            }
            Err(ArchiveError::Busy(busy)) => WhyNot::Busy(busy),
            Err(ArchiveError::NotArchived) => WhyNot::Changed,
            // Whether it is gone the next call will see.
            Err(error) => return Err(error.into()),
        };
        self.each(files, aside::put_back).await?;
        Ok(Err(why))
    }
}

impl IntoFuture for Expiring {
    type Output = Result<ExpireReport>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
