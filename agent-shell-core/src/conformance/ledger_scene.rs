//! What the properties of the ledger share: a session with a turn that spends, and looks at accounts.

use super::scene::{ALL, Scene, digest_of, unique};
use super::writer::{Writer, rechain};
use crate::data::{Account, AccountKind, Amounts, AttemptId, Balance, Ceiling};
use crate::ports::{
    Append, Mark, Operation, Reserve, ReserveError, Reserved, SessionStatus, SettleError, Settlement,
    TurnMark,
};
use crate::words::{Digest, Epoch, SessionId, StepId, TurnId};

/// An owner of a session in which a turn runs.
#[derive(Clone)]
pub(super) struct Spender {
    pub(super) writer: Writer,
    pub(super) turn: TurnId,
}

/// An account that nobody has used.
pub(super) fn account(kind: AccountKind) -> Account {
    Account { kind, id: digest_of(unique::<SessionId>().to_bytes()) }
}

/// So much money.
pub(super) fn money(nano_usd: u64) -> Amounts {
    Amounts { nano_usd, ..Amounts::ZERO }
}

/// A ceiling on money.
pub(super) fn at_most(nano_usd: u64) -> Ceiling {
    Ceiling { nano_usd: Some(nano_usd), ..Ceiling::NONE }
}

/// A balance of money.
pub(super) fn stands(settled: u64, reserved: u64) -> Option<Balance> {
    Some(Balance { settled: money(settled), reserved: money(reserved), ..Balance::default() })
}

/// A balance of money in an account that an overrun closed.
pub(super) fn closed(settled: u64, reserved: u64, overrun: u64) -> Option<Balance> {
    let (settled, reserved, overrun) = (money(settled), money(reserved), money(overrun));
    Some(Balance { settled, reserved, overrun, closed: true })
}

pub(super) fn step(name: &str) -> StepId {
    StepId::new(name).expect("the suite's steps have valid names")
}

impl Spender {
    pub(super) fn attempt(&self, name: &str) -> AttemptId {
        let (session, turn, epoch) = (self.writer.session, self.turn, self.writer.fence.epoch);
        AttemptId { session, turn, step: step(name), epoch, attempt: 1 }
    }

    pub(super) fn ask(&self, name: &str, amounts: Amounts, accounts: &[(Account, Ceiling)]) -> Reserve {
        let accounts = accounts.to_vec();
        Reserve { attempt: self.attempt(name), fence: self.writer.fence, amounts, accounts }
    }

    pub(super) fn cost(&self, name: &str, nano_usd: u64) -> Settlement {
        Settlement { attempt: self.attempt(name), amounts: money(nano_usd) }
    }

    /// An append that settles.
    pub(super) fn settling(&self, settle: Vec<Settlement>) -> Append {
        Append { settle, ..self.writer.append(["settles"]) }
    }

    /// An append that ends the turn.
    pub(super) fn ending(&self) -> Append {
        let append = self.writer.append(["ends"]);
        let turns = vec![TurnMark::Ended(self.turn, append.records[0].header.seq)];
        Append { turns, ..append }
    }

    /// An append that purges the session.
    pub(super) fn purging(&self) -> Append {
        let mut append = self.writer.append(["purged"]);
        append.mark = Some(Mark { status: SessionStatus::Purged, wake_at: None });
        rechain(&mut append, |_| {});
        append
    }
}

impl Scene<'_> {
    /// An owner of a new session in which a turn runs.
    pub(super) async fn spender(&self) -> Spender {
        let mut spender = Spender { writer: self.owned().await, turn: unique() };
        self.start_turn(&mut spender).await;
        spender
    }

    /// Starts another turn in the session.
    pub(super) async fn start_turn(&self, spender: &mut Spender) {
        spender.turn = unique();
        let append = spender.writer.append(["starts"]);
        let turns = vec![TurnMark::Started(spender.turn, append.records[0].header.seq)];
        spender.writer.write(&self.store, Append { turns, ..append }).await;
    }

    /// Another owner takes the session over, which the first has let go.
    pub(super) async fn taken_over(&self, spender: &Spender) -> Spender {
        let (owner, session) = (spender.writer.fence.owner, spender.writer.session);
        let held = vec![(session, spender.writer.fence.epoch)];
        self.store.ownership.release(owner, held).await.expect("what is held may be let go");
        Spender { writer: self.take(self.owner().await, session).await, turn: spender.turn }
    }

    pub(super) async fn try_reserve(&self, reserve: Reserve) -> Result<Reserved, ReserveError> {
        self.store.ledger.reserve(reserve).await
    }

    /// Reserves what must fit.
    pub(super) async fn reserve(&self, reserve: Reserve) -> Reserved {
        self.try_reserve(reserve).await.expect("a ledger must reserve what fits")
    }

    pub(super) async fn balance(&self, account: Account) -> Option<Balance> {
        self.store.ledger.balance(account).await.expect("a ledger must tell a balance")
    }

    pub(super) async fn settle(&self, by: &Spender, settlements: Vec<Settlement>) {
        let settled = self.store.ledger.settle(by.writer.session, by.writer.fence, settlements).await;
        assert_eq!(settled, Ok(()), "an owner must be allowed to settle");
    }

    pub(super) async fn sweep(&self, by: &Spender) -> Result<u64, SettleError> {
        self.store.ledger.sweep(by.writer.session, by.writer.fence).await
    }

    pub(super) async fn bill(&self, attempt: AttemptId, nano_usd: u64) {
        let taken = self.store.ledger.reconcile(attempt, money(nano_usd)).await;
        assert_eq!(taken, Ok(()), "a ledger must take a bill for what it knows");
    }

    /// Trims until nothing more is removed; returns how many operations were.
    pub(super) async fn trim_ledger(&self, through: u64) -> u64 {
        let mut removed = 0;
        loop {
            match self.store.ledger.trim(through).await.expect("a ledger must be trimmed") {
                0 => return removed,
                now => removed += now,
            }
        }
    }

    pub(super) async fn operations(&self) -> Vec<Operation> {
        self.store.ledger.operations(0, ALL).await.expect("a ledger must tell its operations")
    }
}

/// The balance that operations make of an account, and whether after some of them it stood above a ceiling.
pub(super) fn replayed(operations: &[Operation], account: Account, ceiling: Ceiling) -> (Balance, bool) {
    let (mut balance, mut above) = (Balance::default(), false);
    for operation in operations {
        balance = operation.apply(account, balance);
        above |= balance.exceeded(&ceiling, &Amounts::ZERO).is_some();
    }
    (balance, above)
}

/// A fence that is not the owner's: another owner, another epoch.
pub(super) fn strangers(of: &Spender) -> [crate::ports::Fence; 2] {
    let fence = of.writer.fence;
    let later = Epoch::new(fence.epoch.number() + 1);
    [crate::ports::Fence { owner: unique(), ..fence }, crate::ports::Fence { epoch: later, ..fence }]
}

/// The digest that a ledger stores of an attempt.
pub(super) fn id_of(attempt: &AttemptId) -> Option<Digest> {
    Some(attempt.digest())
}
