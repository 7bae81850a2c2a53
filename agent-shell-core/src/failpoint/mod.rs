//! Failpoints: named places at every durable boundary, at which a test lets this process die, stop or dawdle.
//!
//! The list is closed and always there. Only with the feature `failpoints`, which is off by default, does anything
//! happen at a place: it is counted once counting was begun, and what was armed there is done. Without the feature a
//! place costs nothing at all. Nothing is read from the environment: a host that wants a failpoint arms it by a call.
//!
//! Failpoints are process-wide, because what they do to a process they do to all of it.

#[cfg(feature = "failpoints")]
mod armed;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

#[cfg(feature = "failpoints")]
pub(crate) use armed::reached;
#[cfg(feature = "failpoints")]
pub use armed::{Action, Arm, arm, count, hits, observe};

/// Marks a place.
#[cfg(feature = "failpoints")]
macro_rules! reach {
    ($point:ident) => {
        $crate::failpoint::reached($crate::failpoint::Failpoint::$point)
    };
}

/// Marks a place. A constant that nobody reads: the name is checked, and nothing is compiled.
#[cfg(not(feature = "failpoints"))]
macro_rules! reach {
    ($point:ident) => {
        const _: $crate::failpoint::Failpoint = $crate::failpoint::Failpoint::$point;
    };
}

pub(crate) use reach;

macro_rules! failpoints {
    ($($(#[doc = $what:literal])+ $point:ident = $name:literal,)+) => {
        /// A place at a durable boundary.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Failpoint {
            $($(#[doc = $what])+ $point,)+
        }

        impl Failpoint {
            /// Every failpoint, in the order of the declaration.
            pub const ALL: &'static [Self] = &[$(Self::$point),+];

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)+
                }
            }
        }
    };
}

failpoints! {
    /// An owner is about to be enlisted.
    EnlistBegins = "enlist.begins",
    /// An owner is enlisted, and nobody has been told.
    EnlistEnds = "enlist.ends",
    /// A shell that is being opened has its lease, and has claimed nothing yet.
    OpenEnlisted = "open.enlisted",
    /// A batch of sessions is claimed, and none of them is driven yet.
    OpenClaimed = "open.claimed",
    /// Everything is claimed, and the shell is about to be handed out.
    OpenEnds = "open.ends",
    /// A lease is about to be renewed.
    RenewBegins = "renew.begins",
    /// A lease is renewed, and the process does not know it yet.
    RenewEnds = "renew.ends",
    /// Sessions are about to be claimed.
    ClaimBegins = "claim.begins",
    /// Sessions may be claimed, and the answer is not looked at yet.
    ClaimEnds = "claim.ends",
    /// A session is about to be released.
    ReleaseBegins = "release.begins",
    /// A session is released, and the answer is not looked at yet.
    ReleaseEnds = "release.ends",
    /// A shutdown begins: nothing new is started from here on.
    DrainBegins = "drain.begins",
    /// The owner is about to resign.
    ResignBegins = "resign.begins",
    /// The owner has resigned, and nobody has been told.
    ResignEnds = "resign.ends",
    /// A key is about to be made.
    KeyBegins = "key.begins",
    /// A key is made, and nothing is sealed with it yet.
    KeyEnds = "key.ends",
    /// A session is about to be looked up, or registered.
    RegisterBegins = "register.begins",
    /// A session is registered, and nothing is posted to it yet.
    RegisterEnds = "register.ends",
    /// Mail is about to be posted.
    PostBegins = "post.begins",
    /// Mail is posted, and the caller does not know it yet.
    PostEnds = "post.ends",
    /// Mail was read, and nothing is made of it yet.
    MailRead = "mail.read",
    /// Mail is consumed, together with the records that it led to.
    MailConsumed = "mail.consumed",
    /// A planner has answered, and the answer is not taken yet.
    PlanAnswered = "plan.answered",
    /// Records are about to be handed to the journal.
    AppendBegins = "append.begins",
    /// Records are durable, and the answer is not taken yet.
    AppendEnds = "append.ends",
    /// An append is durable that brought a snapshot.
    SnapshotWritten = "snapshot.written",
    /// An append is durable that brought blobs.
    BlobWritten = "blob.written",
    /// An intent is durable, and its act is not ordered yet.
    IntentDurable = "intent.durable",
    /// An act is ordered; its deadline and the lease are looked at next.
    ActUnchecked = "act.unchecked",
    /// The deadline and the lease were looked at for the last time; the tool's first instruction comes next, in the
    /// same poll.
    ActChecked = "act.checked",
    /// What an attempt may spend is set aside, and the attempt has not begun.
    BudgetReserved = "budget.reserved",
    /// What owners that are gone had set aside in a session is about to be settled.
    SweepBegins = "sweep.begins",
    /// What owners that are gone had set aside in a session is settled, and nobody has been told.
    SweepEnds = "sweep.ends",
    /// An act has ended, and nobody has been told.
    ActEnded = "act.ended",
    /// The end of an act has arrived, and is not folded yet.
    ActReported = "act.reported",
    /// A target is about to be asked what became of an attempt.
    ProbeBegins = "probe.begins",
    /// A target has answered, and nobody has been told.
    ProbeEnds = "probe.ends",
    /// A rest is durable, and not shown yet.
    WaitDurable = "wait.durable",
    /// A rest was shown.
    WaitShown = "wait.shown",
    /// The outcome of a turn is durable, and not shown yet.
    OutcomeDurable = "outcome.durable",
    /// The outcome of a turn was shown.
    OutcomeShown = "outcome.shown",
    /// SQLite: a group of jobs is gathered, and no transaction is open. Also for the key file.
    GroupGathered = "group.gathered",
    /// SQLite: the transaction is open, and the jobs have not run.
    GroupBegun = "group.begun",
    /// SQLite: the jobs have run, and the commit comes next.
    GroupRun = "group.run",
    /// SQLite: the transaction is committed, and nobody was answered.
    GroupCommitted = "group.committed",
    /// SQLite: everybody in the group was answered.
    GroupAnswered = "group.answered",
    /// SQLite: the records of an append are written, and what goes with them is not; within the transaction.
    RecordsWritten = "records.written",
    /// A session's file is whole, verified and in its place, and its records still stand in the journal.
    ArchiveWritten = "archive.written",
    /// SQLite: the records of a session that is archived are gone, within the transaction.
    ArchiveTaken = "archive.taken",
    /// The records of a session that is archived are gone, and nobody has been told.
    ArchiveRemoved = "archive.removed",
    /// SQLite: the write-ahead log is about to be copied into the file.
    CheckpointBegins = "checkpoint.begins",
    /// SQLite: the write-ahead log was copied into the file.
    CheckpointEnds = "checkpoint.ends",
}

impl fmt::Display for Failpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no failpoint of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the name of a failpoint")]
pub struct UnknownFailpoint(String);

impl FromStr for Failpoint {
    type Err = UnknownFailpoint;

    fn from_str(name: &str) -> Result<Self, UnknownFailpoint> {
        let found = Self::ALL.iter().copied().find(|point| point.name() == name);
        found.ok_or_else(|| UnknownFailpoint(name.into()))
    }
}
