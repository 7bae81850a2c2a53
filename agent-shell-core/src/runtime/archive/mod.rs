//! Retention: finished sessions leave the journal as files that verify, can be read and restored, and are removed in
//! the end.
//!
//! A file is whole, synced and verified before the journal lets its records go, which it does in one transaction that
//! refuses when anything changed. So a session is at any moment in the journal, or in a file that was seen to be
//! good, or in both; the next call goes on where a crash left off.
//!
//! Files are read and written beside the tasks ([`Spawn::spawn_blocking`](crate::ports::Spawn::spawn_blocking)), a
//! page of records at a time.

mod aside;
mod expire;
mod file;
mod restore;

use std::fs;
use std::future::{Future, IntoFuture};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

pub use expire::{ExpireReport, Expired, Expiring};
pub use restore::Restored;

use super::core::Core;
use super::shell::Shell;
use crate::failpoint::reach;
use crate::ports::{ArchiveError, Archived, Busy, SessionEntry, SessionFilter, SessionStatus};
use crate::words::{Digest, Error, ErrorKind, Head, Result, Seq, SessionId, Tenant};

/// Sessions read at once.
const PAGE: usize = 256;
/// How long a session that this process holds, without work, has to let go.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(5);

impl Shell {
    /// Moves finished sessions out of the journal, each into a file of its own in `folder`. Await the result to do it:
    ///
    /// ```no_run
    /// # async fn nightly(shell: agent_shell_core::Shell) -> agent_shell_core::Result<()> {
    /// use std::time::Duration;
    ///
    /// let report = shell.archive("/var/archive").idle_for(Duration::from_secs(90 * 24 * 3600)).await?;
    /// for left in &report.archived {
    ///     println!("{} up to record {} in {}", left.session, left.head.seq, left.file.display());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A session is finished when it has no turn, nothing waits in it, nothing of it is still to be told on the bus,
    /// and no process holds it; or when it was purged. What this shell holds without work it lets go first; what
    /// another process holds is passed over.
    ///
    /// From then on the session is [`SessionStatus::Archived`]: it is listed, its dedupe keys and its name are kept, and
    /// whatever is asked of it is [`ErrorKind::Archived`] until [`Shell::restore`]. A purge works without the file.
    pub fn archive(&self, folder: impl Into<PathBuf>) -> Archiving {
        Archiving {
            shell: self.clone(),
            folder: folder.into(),
            idle_for: Duration::ZERO,
            tenant: None,
            at_most: self.core.limits.archived_at_once,
        }
    }
}

/// Which sessions are archived, and where. Await it to archive them.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] when the folder is none, [`ErrorKind::Unavailable`] when a file can't be written: the
/// disk is full, say. Else what the store says. Sessions that were archived before the error stay archived, and are
/// listed with their status; the others stand in the journal as before.
///
/// # Cancel safety
/// Dropping the future may leave a file, and a session that is archived: each whole.
#[must_use = "nothing is archived until this is awaited"]
#[derive(Debug)]
pub struct Archiving {
    shell: Shell,
    folder: PathBuf,
    idle_for: Duration,
    tenant: Option<Tenant>,
    at_most: usize,
}

/// What was archived.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArchiveReport {
    /// The sessions that left, each with its file.
    pub archived: Vec<ArchivedSession>,
    /// The sessions that were old enough and were left as they are.
    pub passed_over: Vec<PassedOver>,
    /// Whether there may be more: as many left as may at once.
    pub more: bool,
}

/// A session that left the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArchivedSession {
    /// The session.
    pub session: SessionId,
    /// The last record that stands in the file, and no more in the journal.
    pub head: Head,
    /// The file.
    pub file: PathBuf,
    /// The SHA-256 of the file, which the journal keeps: no other file is taken back.
    pub sha256: Digest,
}

/// A session that was left as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PassedOver {
    /// The session.
    pub session: SessionId,
    /// Why.
    pub why: WhyNot,
}

/// Why a session was left as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhyNot {
    /// It is not finished, or somebody holds it.
    Busy(Busy),
    /// It went on, or was archived by another, while it was looked at.
    Changed,
    /// Its file would be larger than [`Limits::archive_bytes`](crate::Limits::archive_bytes), or the store could not take
    /// it back at once.
    TooLarge,
    /// Its records do not verify, so that the file would not either. What is wrong stands here.
    Damaged(String),
}

impl Archiving {
    /// Only sessions whose last record is at least so old, by the wall clock.
    pub fn idle_for(self, idle_for: Duration) -> Self {
        Self { idle_for, ..self }
    }

    /// Only sessions of this tenant.
    pub fn tenant(self, tenant: Tenant) -> Self {
        Self { tenant: Some(tenant), ..self }
    }

    /// At most so many sessions, instead of [`Limits::archived_at_once`](crate::Limits::archived_at_once).
    pub fn at_most(self, at_most: usize) -> Self {
        Self { at_most, ..self }
    }

    async fn run(self) -> Result<ArchiveReport> {
        let core = &*self.shell.core;
        core.stop.check()?;
        let folder = self.folder.clone();
        core.blocking(move || {
            must_be_a_folder(&folder)?;
            file::sync_name_of(&folder).map_err(|error| file::not_written(&folder, &error))
        })
        .await?;
        let mut report = ArchiveReport::default();
        for status in [SessionStatus::Idle, SessionStatus::Purged] {
            let filter = SessionFilter {
                tenant: self.tenant.clone(),
                status: Some(status),
                ..SessionFilter::default()
            };
            let mut after = None;
            loop {
                let page = core.store.journal.sessions(filter.clone(), after, PAGE).await?;
                for entry in &page {
                    if !self.is_old_enough(entry).await? {
                        continue;
                    }
                    if report.archived.len() >= self.at_most {
                        report.more = true;
                        return Ok(report);
                    }
                    core.stop.check()?;
                    match self.one(entry).await? {
                        Ok(left) => report.archived.push(left),
                        Err(why) => report.passed_over.push(PassedOver { session: entry.id, why }),
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

    /// Whether there is something to archive, and its last record is old enough.
    async fn is_old_enough(&self, entry: &SessionEntry) -> Result<bool> {
        if entry.archived.is_some() || leaves_up_to(entry) == Seq::ZERO {
            return Ok(false);
        }
        let before = Seq::new(entry.head.seq.number().saturating_sub(1));
        let last = self.shell.core.store.journal.read(entry.id, before, 1).await?;
        let now = self.shell.core.clock.now();
        Ok(last.first().is_some_and(|last| now.since(last.header.time) >= self.idle_for))
    }

    /// Archives one session, or says why not.
    async fn one(&self, entry: &SessionEntry) -> Result<std::result::Result<ArchivedSession, WhyNot>> {
        let core = &*self.shell.core;
        let Some(entry) = let_go(core, entry).await? else { return Ok(Err(WhyNot::Busy(Busy::Held))) };
        if entry.waiting_mail > 0 {
            return Ok(Err(WhyNot::Busy(Busy::Mail)));
        }
        let written = match file::write(core, &entry, leaves_up_to(&entry), &self.folder).await? {
            Ok(written) => written,
            Err(why) => return Ok(Err(why)),
        };
        reach!(ArchiveWritten);
        let archived = Archived { head: written.head, at: core.clock.now(), file: written.sha256 };
        let asked = core.store.archive.archive(entry.id, entry.head, archived).await;
        reach!(ArchiveRemoved);
        match asked {
            Ok(()) => Ok(Ok(ArchivedSession {
                session: entry.id,
                head: written.head,
                file: written.path,
                sha256: written.sha256,
            })),
            Err(ArchiveError::Busy(busy)) => Ok(Err(WhyNot::Busy(busy))),
            Err(ArchiveError::Changed { .. } | ArchiveError::NotArchived | ArchiveError::NoSession) => {
                Ok(Err(WhyNot::Changed))
            }
            Err(ArchiveError::TooLarge { .. }) => Ok(Err(WhyNot::TooLarge)),
            Err(error) => Err(error.into()),
        }
    }
}

impl IntoFuture for Archiving {
    type Output = Result<ArchiveReport>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// The last record that leaves: that of a purge stays.
fn leaves_up_to(entry: &SessionEntry) -> Seq {
    match entry.mark.status {
        SessionStatus::Purged => Seq::new(entry.head.seq.number().saturating_sub(1)),
        _ => entry.head.seq,
    }
}

/// The session as it is once this process has let it go; none when another holds it, or it has work.
async fn let_go(core: &Core, entry: &SessionEntry) -> Result<Option<SessionEntry>> {
    let give_up = core.clock.monotonic().plus(PATIENCE);
    loop {
        let Some(now) = core.store.journal.session(entry.id).await? else { return Ok(None) };
        match now.owner {
            None => return Ok(Some(now)),
            Some(owner) if owner != core.owner => return Ok(None),
            Some(_) => {}
        }
        if let Some(handle) = core.registry.find(entry.id) {
            handle.ask_to_leave();
        }
        if core.clock.monotonic() >= give_up {
            return Ok(None);
        }
        core.stop.check()?;
        core.clock.sleep(LOOK).await;
    }
}

fn must_be_a_folder(folder: &Path) -> Result<()> {
    match fs::metadata(folder) {
        Ok(there) if there.is_dir() => Ok(()),
        _ => {
            let message = format!("`{}` is no folder: make it first", folder.display());
            Err(Error::new(ErrorKind::InvalidInput, message))
        }
    }
}
