//! A store that breaks one promise: the volatile store behind a layer that spoils what goes in or what comes out.

mod archive;
mod journal;
mod ledger;
mod mailbox;
mod marks;
mod outbox;
mod ownership;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::backends::volatile::VolatileStore;
use crate::data::MailKind;
use crate::ports::{Duty, HighWater, NewSession, Ownership};
use crate::words::{AppendId, Clock, Digest, GroupName, MailId, OwnerId, SessionId};

/// What is wrong with the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Fault {
    NamesAreNotUnique,
    TenantsShareNames,
    ListsAreInAnyOrder,
    FiltersAreIgnored,
    FencesAreIgnored,
    OwnersAreIgnored,
    EpochsAreIgnored,
    LeasesFence,
    HeadsAreIgnored,
    HashesAreIgnored,
    HeadsComeFirst,
    EpochsStay,
    IdsAreForgotten,
    IdsComeAfterFences,
    OnlyTheLastIdIsKnown,
    RepeatsAnswerTheHead,
    CallersAlwaysOwn,
    RepeatsAreCompared,
    AnyIdIsARepeat,
    RefusalsAreRemembered,
    RecordsAreNotChecked,
    UnknownSessionsTakeAppends,
    RefusedMailIsPosted,
    MarksAreReset,
    RequirementsAreReset,
    BodiesAreText,
    RecordsAreInAnyOrder,
    SnapshotsAreDropped,
    TheFirstSnapshotStays,
    ActorsAreDropped,
    TenantsShareActors,
    SessionsShareBlobs,
    BlobsAreInvented,
    SessionsShareRecords,
    PagesAreUnbounded,
    TurnsAreNotRegistered,
    QueuedInputsAreWork,
    QueuedInputsWake,
    PurgesAreMarks,
    TurnsDoNotEnd,
    ARefusalSpoilsTheNext,
    MailIsText,
    MailIsInTheOrderOfIds,
    LanesAreMixed,
    MailIsFoundByAnybody,
    PagesAfterReadMailAreEmpty,
    PostsGetNewIds,
    UnknownSessionsTakeMail,
    ReadMailStays,
    QuotasAreIgnored,
    QuotasAreShared,
    AppendsHaveNoQuota,
    MailOfAppendsIsLost,
    MailOfAppendsNamesNoTurn,
    KeysAreIgnored,
    MismatchesAreRepeats,
    KindsShareKeys,
    ReadMailFreesItsKey,
    QuotasComeFirst,
    KeysCanNotBeAsked,
    AppendsIgnoreKeys,
    WorkIsNotSeen,
    NamesNeedWork,
    TheLivingAreRobbed,
    OwnSessionsAreClaimedAgain,
    RequirementsAreIgnored,
    PurgesNeedWhatIsRequired,
    ClaimsIgnoreTenants,
    TenantsAreServedInLine,
    TheFirstAreServedFirst,
    TheNewestAreServedFirst,
    StrangersAreEnlisted,
    StaleReleasesCount,
    LeasesDoNotEnd,
    LeasesEndEarly,
    RenewalsDoNothing,
    EnlistingDropsAll,
    EnlistingKeepsAll,
    ResigningDoesNothing,
    RowsAreInAnyOrder,
    AcknowledgementsAreForgotten,
    AcknowledgementsReachAhead,
    OnlyPendingRowsAreReplayed,
    OnlyPendingRowsAreKept,
    EntriesHaveNoSequence,
    DutiesAreShared,
    DutiesStayWithTheDead,
    MarksAreDropped,
    MarksGoDown,
    GroupsShareMarks,
    NobodyIsBehind,
    TrimsTakeAll,
    GapsAreClosed,
    EverythingIsForgotten,
    ArchivesDoNothing,
    ArchivesIgnoreWork,
    ArchivesIgnoreOwners,
    ArchivesIgnoreMail,
    ArchivesIgnoreRows,
    ArchivesIgnoreHeads,
    ThePurgeLeavesToo,
    ArchivedSessionsTakeMail,
    ArchivedSessionsTakeNoPurge,
    ArchivedSessionsTakeAppends,
    RestoresLoseBlobs,
    RestoresLoseRequirements,
    RestoresAreNotChecked,
    RestoresTakeAnyFile,
    ExpiryTakesAnyFile,
    ExpiryIgnoresRows,
    ExpiryIgnoresMail,
    ExpiryIsForgotten,
    LedgersAreNotFenced,
    StepsShareAttempts,
    AttemptsHaveNoNumber,
    AttemptsHaveNoEpoch,
    CeilingsAreIgnored,
    OnlyMoneyIsBounded,
    WhatIsNotBoundedIsRefused,
    CeilingsAreKept,
    OnlyTheFirstAccountCounts,
    TwiceNamedCountsTheFirst,
    ReservationsAreForgotten,
    SettledAttemptsAreForgotten,
    MismatchesAreRepeated,
    RepeatsAreJudgedAnew,
    ReservationsFollowALook,
    AccountsAreReservedInTurn,
    NothingIsLeft,
    EndedTurnsReserve,
    StrangeTurnsReserve,
    AppendsDoNotSettle,
    AppendsSettleFirst,
    RepeatsSettleAgain,
    TurnsEndAlone,
    TurnsEndTogether,
    PurgesSettleNothing,
    SettlementsAreForgotten,
    SettlementsAreBills,
    OtherSessionsAreSettled,
    SweepsTakeNothing,
    SweepsTakeAll,
    OverrunsAreForgotten,
    OverrunsCloseNothing,
    OnlyOneAccountCloses,
    AnyOverrunReopens,
    BillsAreAdded,
    BillsCountEachTime,
    BillsEndWithTheTurn,
    UnknownBillsAreTaken,
    LargeBillsAreTaken,
    AccountsAreInvented,
    OperationsAreInAnyOrder,
    SettlementsAreNoOperations,
    OperationsMoveNothing,
    ReservationsAreToldLate,
    LedgersAreNotTrimmed,
    LedgersAreTrimmedWhole,
}

/// The volatile store with a fault, or without one.
pub(in super::super) struct Broken {
    fault: Option<Fault>,
    inner: VolatileStore,
    seen: Mutex<Seen>,
}

/// What some faults need to remember.
#[derive(Default)]
struct Seen {
    sessions: Vec<SessionId>,
    opened: HashMap<SessionId, NewSession>,
    refused: HashSet<AppendId>,
    refused_last: bool,
    blobs: HashMap<Digest, Vec<u8>>,
    keys: HashMap<MailId, (SessionId, MailKind, Digest)>,
    freed: HashSet<(SessionId, MailKind, Digest)>,
    held: HashMap<OwnerId, Vec<SessionId>>,
    leases: HashMap<OwnerId, Duration>,
    acknowledged: u64,
    duties: HashMap<Duty, OwnerId>,
    lowered: HashMap<(GroupName, SessionId), HighWater>,
    spent: ledger::Spent,
}

impl Broken {
    pub(in super::super) fn new(fault: Option<Fault>, clock: Arc<dyn Clock>) -> Self {
        Self { fault, inner: VolatileStore::new(clock), seen: Mutex::default() }
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    fn limit(&self, limit: usize) -> usize {
        if self.is(Fault::PagesAreUnbounded) { usize::MAX } else { limit }
    }

    /// An owner that nobody asked for.
    async fn intruder(&self) -> OwnerId {
        let intruder = crate::conformance::unique();
        self.inner.enlist(intruder, Duration::from_secs(1 << 30)).await.unwrap();
        intruder
    }
}
