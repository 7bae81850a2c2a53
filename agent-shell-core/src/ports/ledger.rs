//! The ledger: budgets as hard ceilings, in the transactions of the store.

use async_trait::async_trait;

use super::journal::Fence;
use super::store::StoreError;
use crate::data::{
    Account, Amounts, AttemptId, Balance, BillError, BillTooLarge, Ceiling, Dimension, Movement,
    TooManyBills, in_order,
};
use crate::words::{Digest, Epoch, SessionId, Timestamp};

/// What attempts may spend, what they have set aside, and what they spent.
///
/// # What an implementation must do
/// - **A ceiling is hard**: a reservation is taken only if, in each of its accounts and in each dimension that the account's
///   ceiling bounds, settled plus reserved plus what is asked for is at most the ceiling; whatever runs at the same time.
///   Reservations are judged one after another, and one that fits is not refused.
/// - **All or none**: a reservation is taken from all of its accounts, or from none.
/// - **Ceilings come with each reservation**: none is kept, and a lower one applies at once.
/// - **Idempotent**: every write may be repeated when its answer was lost, and then changes nothing more.
/// - **Settled with the outcome**: an [`Append`](super::Append) settles, in its own transaction, what its
///   [`settle`](super::Append::settle) names. An append that is refused settles nothing, and a repeat settles nothing more.
///   Then, where it ends a turn, it settles whatever of the turn is still reserved, at its reservation, and removes
///   the turn's own account, [`Account::turn`]; where it purges the session, whatever of the session is, and the accounts of
///   its turns.
/// - **An overrun closes**: when more is settled than was reserved, in any dimension, the accounts of the attempt hold that
///   ([`Balance::overrun`]) and close. A closed account takes no reservation until it is reopened.
/// - **Exact**: what an account holds is the sum of what its attempts have, and no sum saturates. A reservation that would
///   pass the largest number does not fit, and a bill is refused. Of a settlement so much is settled as there is room for
///   ([`Spending::room`](crate::data::Spending::room)), so that it holds up no outcome; its overrun is the whole.
/// - **One order**: every change is an [`Operation`] with the next number, from 1 without a gap, also across processes. The
///   operations from the first one on make the balances.
/// - **Durable on return**, as the journal.
/// - It keeps nothing personal: digests of accounts and of attempts, ids, and amounts. These outlive a purge, until they are
///   trimmed; an account stays, but a session's own, [`Account::session`], which goes with the session's entry
///   ([`Archive::expire`](super::Archive::expire)).
#[async_trait]
pub trait Ledger: Send + Sync + 'static {
    /// Sets amounts aside for an attempt.
    ///
    /// It is judged in this order, and the first that does not hold is the answer:
    /// 1. the session is registered, and the fence holds: else [`StoreError::NotFound`], or [`ReserveError::Fenced`];
    /// 2. nothing is reserved or settled under this attempt: else what the first one answered, whatever the ceilings are
    ///    now, and whether or not the turn has ended; or [`ReserveError::Mismatch`] if its amounts or accounts were others;
    /// 3. the turn is registered in this session, and has not ended: else [`StoreError::NotFound`], or
    ///    [`ReserveError::Ended`];
    /// 4. each account, in the order of [`Account`], is open and has enough left: else [`ReserveError::Closed`] or
    ///    [`ReserveError::Exceeded`] with the first that is not or has not.
    ///
    /// # Errors
    /// [`ReserveError`]; nothing was reserved, unless it says that this is not known.
    ///
    /// # Cancel safety
    /// Dropping the future may leave the reservation: repeat it to learn, or settle it.
    async fn reserve(&self, reserve: Reserve) -> Result<Reserved, ReserveError>;

    /// Settles attempts of a session outside of an append: what leaves no record. What is not reserved there, or is settled
    /// already, is passed over.
    ///
    /// # Errors
    /// [`SettleError`].
    ///
    /// # Cancel safety
    /// Dropping the future does not withdraw the settlements.
    async fn settle(
        &self,
        session: SessionId,
        fence: Fence,
        settlements: Vec<Settlement>,
    ) -> Result<(), SettleError>;

    /// Settles, at its reservation, what is reserved in a session under epochs before the fence's: what owners that are gone
    /// have left. Returns how many attempts that were. Whoever knows outcomes settles those first.
    ///
    /// # Errors
    /// [`SettleError`].
    ///
    /// # Cancel safety
    /// Dropping the future does not withdraw the settlements.
    async fn sweep(&self, session: SessionId, fence: Fence) -> Result<u64, SettleError>;

    /// Takes a bill: what the attempt has cost is from now on what the bill says. Each bill counts once; the same amounts again
    /// change nothing, also when another bill has come since. What was still reserved is settled by it. It may come when the
    /// turn has ended: then the turn's account is gone, and the others take it. A bill above the reservation is an overrun, and
    /// is said in the log as an error.
    ///
    /// # Errors
    /// [`ReconcileError`].
    ///
    /// # Cancel safety
    /// Dropping the future does not withdraw the bill.
    async fn reconcile(&self, attempt: AttemptId, billed: Amounts) -> Result<(), ReconcileError>;

    /// How an account stands; none for one from which nothing was ever reserved, or whose turn has ended.
    ///
    /// # Errors
    /// [`StoreError`].
    ///
    /// # Cancel safety
    /// Reading has no effect.
    async fn balance(&self, account: Account) -> Result<Option<Balance>, StoreError>;

    /// Opens an account that an overrun closed. Whoever does so names the overrun that was seen, all of it; one that is open
    /// and has had this overrun is left as it is.
    ///
    /// # Errors
    /// [`ReopenError`].
    ///
    /// # Cancel safety
    /// Dropping the future may leave the account open.
    async fn reopen(&self, account: Account, overrun_seen: Amounts) -> Result<(), ReopenError>;

    /// The operations after the one with this number, in their order, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    ///
    /// # Cancel safety
    /// Reading has no effect.
    async fn operations(&self, after: u64, limit: usize) -> Result<Vec<Operation>, StoreError>;

    /// Removes operations up to the one with this number, and with them the attempts that were settled by then and
    /// not touched since: from then on [`Ledger::reconcile`] does not find such an attempt, and a repeat of its reservation
    /// would be a new one. What is reserved stays, and so do all balances. Returns how many operations were removed; a
    /// call may do a part of it, at least one, and whoever wants all calls until nothing is removed.
    ///
    /// # Errors
    /// [`StoreError`].
    ///
    /// # Cancel safety
    /// Dropping the future does not withdraw the removal.
    async fn trim(&self, through: u64) -> Result<u64, StoreError>;
}

/// What is to be set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserve {
    /// For which attempt. Its session is the one whose fence is judged.
    pub attempt: AttemptId,
    /// Who asks.
    pub fence: Fence,
    /// How much of each.
    pub amounts: Amounts,
    /// From which accounts, and their ceilings. One that is named twice counts once, under the lower ceiling.
    pub accounts: Vec<(Account, Ceiling)>,
}

impl Reserve {
    /// The accounts in the order in which they are judged, each once.
    pub fn in_order(&self) -> Vec<(Account, Ceiling)> {
        in_order(&self.accounts)
    }
}

/// What was set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reserved {
    /// The number of the operation; a repeat answers with the first one's.
    pub operation: u64,
}

/// What an attempt cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// The attempt.
    pub attempt: AttemptId,
    /// How much of each.
    pub amounts: Amounts,
}

/// One change of the ledger. It applies to each of its accounts that is there: a turn's is removed with its end, a session's
/// with the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Its place in the order of all operations, from 1.
    pub number: u64,
    /// When it was made, by the store's wall clock.
    pub at: Timestamp,
    /// What was done.
    pub kind: OperationKind,
    /// The attempt's digest ([`AttemptId::digest`]); none when an account was reopened.
    pub attempt: Option<Digest>,
    /// The attempt's session; none when an account was reopened.
    pub session: Option<SessionId>,
    /// The accounts; in a reservation with the ceilings under which it was judged, else with none.
    pub accounts: Vec<(Account, Ceiling)>,
    /// What it moved in each of them.
    pub movement: Movement,
}

impl Operation {
    /// How an account stands after this, if it is one of its accounts.
    pub fn apply(&self, account: Account, balance: Balance) -> Balance {
        if !self.accounts.iter().any(|(touched, _)| *touched == account) {
            return balance;
        }
        let closed = balance.closed && self.kind != OperationKind::Reopened;
        Balance { closed, ..balance }.after(&self.movement)
    }

    /// Whether more was spent than was reserved.
    pub fn is_overrun(&self) -> bool {
        !self.movement.overrun.is_zero()
    }
}

/// What an operation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum OperationKind {
    /// Set aside for an attempt.
    Reserved,
    /// Settled as its owner said.
    Settled,
    /// Settled at its reservation, because the turn ended or its session was purged.
    Ended,
    /// Settled at its reservation, because its owner is gone.
    Swept,
    /// Settled as a bill says.
    Reconciled,
    /// A closed account was opened.
    Reopened,
}

impl OperationKind {
    /// The kind as stored.
    pub const fn number(self) -> u8 {
        match self {
            Self::Reserved => 0,
            Self::Settled => 1,
            Self::Ended => 2,
            Self::Swept => 3,
            Self::Reconciled => 4,
            Self::Reopened => 5,
        }
    }

    /// The kind that is stored as `number`.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Reserved),
            1 => Some(Self::Settled),
            2 => Some(Self::Ended),
            3 => Some(Self::Swept),
            4 => Some(Self::Reconciled),
            5 => Some(Self::Reopened),
            _ => None,
        }
    }
}

/// Why nothing was reserved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReserveError {
    /// An account has not enough left.
    #[error("{asked} of {dimension} were asked for, and {left} are left of a {:?}'s budget", account.kind)]
    Exceeded {
        /// The account.
        account: Account,
        /// The dimension in which it does not fit.
        dimension: Dimension,
        /// What was asked for.
        asked: u64,
        /// What is left under the ceiling.
        left: u64,
    },
    /// An overrun closed an account.
    #[error("an overrun closed a {:?}'s budget: it must be looked at, and reopened", account.kind)]
    Closed {
        /// The account.
        account: Account,
    },
    /// The session has another owner or epoch. Drop the session.
    #[error("the session is owned under epoch {actual}: this owner must let it go")]
    Fenced {
        /// The session's epoch.
        actual: Epoch,
    },
    /// The turn has ended.
    #[error("the turn has ended: nothing is reserved for it any more")]
    Ended,
    /// Something else was reserved under the same attempt.
    #[error("other amounts or accounts were reserved under the same attempt")]
    Mismatch,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why nothing was settled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettleError {
    /// The session has another owner or epoch. Drop the session.
    #[error("the session is owned under epoch {actual}: this owner must let it go")]
    Fenced {
        /// The session's epoch.
        actual: Epoch,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a bill was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReconcileError {
    /// Nothing was ever reserved for the attempt, or it was trimmed.
    #[error("the ledger knows no such attempt")]
    NotFound,
    /// The attempt has had too many bills.
    #[error(transparent)]
    TooMany(#[from] TooManyBills),
    /// An account can't hold it beside what others have spent.
    #[error(transparent)]
    TooLarge(#[from] BillTooLarge),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<BillError> for ReconcileError {
    fn from(error: BillError) -> Self {
        match error {
            BillError::TooMany(error) => Self::TooMany(error),
            BillError::TooLarge(error) => Self::TooLarge(error),
        }
    }
}

/// Says in the log that a bill, which a ledger has taken, was an overrun.
pub(crate) fn alarm_of_bill(attempt: &AttemptId, billed: &Amounts, overrun: &Amounts) {
    if !overrun.is_zero() {
        let AttemptId { session, turn, step, attempt, .. } = attempt;
        tracing::error!(
            %session, %turn, %step, attempt, ?billed, ?overrun,
            "a bill is above what was set aside: the attempt's accounts are closed until they are reopened"
        );
    }
}

/// Why an account was not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReopenError {
    /// There is no such account.
    #[error("the ledger has no such account")]
    NotFound,
    /// The overrun is another one than was seen.
    #[error("the account's overrun is another one than was seen: look at it again")]
    Overrun {
        /// What it is.
        overrun: Amounts,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
