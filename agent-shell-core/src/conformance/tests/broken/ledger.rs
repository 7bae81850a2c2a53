//! Faults of the ledger.

use std::collections::HashMap;

use async_trait::async_trait;

use super::{Broken, Fault};
use crate::conformance::unique;
use crate::data::{Account, Amounts, AttemptId, Balance, Ceiling, Dimension};
use crate::ports::{
    Append, Fence, Journal, Ledger, Operation, OperationKind, ReconcileError, ReopenError, Reserve,
    ReserveError, Reserved, SettleError, Settlement, StoreError, TurnMark,
};
use crate::words::{Digest, SessionId, StepId};

/// What faults of the ledger remember.
#[derive(Default)]
pub(super) struct Spent {
    reserved: Vec<Reserve>,
    settled: Vec<Settlement>,
    ceilings: Vec<(Account, Ceiling)>,
    bills: Vec<(Digest, Amounts)>,
    ended: Vec<AttemptId>,
    looks: HashMap<Account, (Balance, u32)>,
}

impl Spent {
    fn first(&self, attempt: &AttemptId) -> Option<Reserve> {
        self.reserved.iter().find(|known| known.attempt == *attempt).cloned()
    }
}

const ONE: Amounts = Amounts { nano_usd: 1, ..Amounts::ZERO };

impl Broken {
    /// The fence of whoever owns the session.
    async fn owners(&self, session: SessionId) -> Option<Fence> {
        let entry = self.inner.session(session).await.unwrap()?;
        Some(Fence { owner: entry.owner?, epoch: entry.epoch })
    }

    async fn fence(&self, session: SessionId, fence: Fence) -> Fence {
        match self.fault {
            Some(Fault::LedgersAreNotFenced) => self.owners(session).await.unwrap_or(fence),
            _ => fence,
        }
    }

    fn spoil_attempt(&self, mut attempt: AttemptId) -> AttemptId {
        match self.fault {
            Some(Fault::StepsShareAttempts) => attempt.step = StepId::new("any").unwrap(),
            Some(Fault::AttemptsHaveNoNumber) => attempt.attempt = 0,
            Some(Fault::AttemptsHaveNoEpoch) => attempt.epoch = crate::words::Epoch::ZERO,
            _ => {}
        }
        attempt
    }

    fn spoil_ceilings(&self, accounts: &mut Vec<(Account, Ceiling)>) {
        let mut seen = self.seen();
        for (account, ceiling) in accounts.iter_mut() {
            match self.fault {
                Some(Fault::CeilingsAreIgnored) => *ceiling = Ceiling::NONE,
                Some(Fault::OnlyMoneyIsBounded) => {
                    *ceiling = Ceiling { nano_usd: ceiling.nano_usd, ..Ceiling::NONE };
                }
                Some(Fault::WhatIsNotBoundedIsRefused) => {
                    ceiling.tokens = ceiling.tokens.or(Some(1_000));
                }
                Some(Fault::CeilingsAreKept) => {
                    let known = seen.spent.ceilings.iter().find(|(known, _)| known == account);
                    *ceiling = known.map_or(*ceiling, |(_, first)| *first);
                    seen.spent.ceilings.push((*account, *ceiling));
                }
                _ => {}
            }
        }
        match self.fault {
            Some(Fault::OnlyTheFirstAccountCounts) => accounts.truncate(1),
            Some(Fault::TwiceNamedCountsTheFirst) => {
                let mut firsts: Vec<(Account, Ceiling)> = Vec::new();
                for (account, ceiling) in accounts.iter() {
                    if !firsts.iter().any(|(known, _)| known == account) {
                        firsts.push((*account, *ceiling));
                    }
                }
                *accounts = firsts;
            }
            _ => {}
        }
    }

    /// Judges by a balance that was looked at a few reservations ago.
    async fn reserve_after_a_look(&self, mut reserve: Reserve) -> Result<Reserved, ReserveError> {
        for (account, ceiling) in reserve.in_order() {
            let now = self.inner.balance(account).await.unwrap().unwrap_or_default();
            let balance = {
                let mut seen = self.seen();
                let (balance, times) = seen.spent.looks.entry(account).or_insert((now, 0));
                if *times == 8 {
                    (*balance, *times) = (now, 0);
                }
                *times += 1;
                *balance
            };
            if let Some((dimension, left)) = balance.exceeded(&ceiling, &reserve.amounts) {
                let asked = reserve.amounts.of(dimension);
                return Err(ReserveError::Exceeded { account, dimension, asked, left });
            }
        }
        reserve.accounts.iter_mut().for_each(|(_, ceiling)| *ceiling = Ceiling::NONE);
        self.inner.reserve(reserve).await
    }

    /// What an append settles and ends, before it is judged.
    pub(super) async fn spoil_settlements(&self, append: &mut Append) {
        match self.fault {
            Some(Fault::AppendsDoNotSettle) => append.settle.clear(),
            Some(Fault::AppendsSettleFirst) => {
                let settle = std::mem::take(&mut append.settle);
                if let Some(fence) = self.owners(append.session).await {
                    self.inner.settle(append.session, fence, settle).await.unwrap();
                }
            }
            Some(Fault::TurnsEndAlone) if !append.turns.is_empty() => {
                let ends = |mark: &TurnMark| matches!(mark, TurnMark::Ended(..));
                if append.turns.iter().any(ends)
                    && let Some(fence) = self.owners(append.session).await
                {
                    // Nothing is left for the end to settle as it was reserved.
                    let mut left = std::mem::take(&mut append.settle);
                    let live = self.live_of(append.session);
                    left.extend(
                        live.into_iter().map(|live| Settlement { attempt: live, amounts: Amounts::ZERO }),
                    );
                    self.inner.settle(append.session, fence, left).await.unwrap();
                }
            }
            Some(Fault::TurnsEndTogether) => {
                let ends = append.turns.iter().any(|mark| matches!(mark, TurnMark::Ended(..)));
                if ends {
                    let live = self.live_of(append.session);
                    let named: Vec<_> = append.settle.iter().map(|named| named.attempt.clone()).collect();
                    for attempt in live.into_iter().filter(|attempt| !named.contains(attempt)) {
                        let reserved = self.seen().spent.first(&attempt).unwrap().amounts;
                        append.settle.push(Settlement { attempt, amounts: reserved });
                    }
                }
            }
            Some(Fault::PurgesSettleNothing) if append.purges() => {
                let live = self.live_of(append.session);
                let forgotten =
                    live.into_iter().map(|attempt| Settlement { attempt, amounts: Amounts::ZERO });
                append.settle.splice(..0, forgotten);
            }
            _ => {}
        }
        append.settle = self.spoil_costs(std::mem::take(&mut append.settle));
    }

    /// What was reserved in a session and not said to be settled.
    fn live_of(&self, session: SessionId) -> Vec<AttemptId> {
        let seen = self.seen();
        let settled = |attempt: &AttemptId| seen.spent.settled.iter().any(|known| known.attempt == *attempt);
        let of = seen.spent.reserved.iter().map(|known| known.attempt.clone());
        of.filter(|attempt| attempt.session == session && !settled(attempt)).collect()
    }

    fn spoil_costs(&self, mut settlements: Vec<Settlement>) -> Vec<Settlement> {
        let seen = self.seen();
        for settlement in &mut settlements {
            let first = seen.spent.first(&settlement.attempt);
            if let (Some(Fault::OverrunsAreForgotten), Some(first)) = (self.fault, first) {
                settlement.amounts = settlement.amounts.less(settlement.amounts.less(first.amounts));
            }
            settlement.attempt = self.spoil_attempt(settlement.attempt.clone());
        }
        settlements
    }

    /// What an append has done to the ledger.
    pub(super) async fn spoil_settled(&self, append: &Append, is_repeat: bool) {
        if is_repeat && self.is(Fault::RepeatsSettleAgain) {
            for Settlement { attempt, amounts } in &append.settle {
                let _ = self.inner.reconcile(attempt.clone(), amounts.plus(ONE)).await;
            }
        }
        self.seen().spent.settled.extend(append.settle.iter().cloned());
        let ended = append.turns.iter().any(|mark| matches!(mark, TurnMark::Ended(..)));
        if ended || append.purges() {
            let mut seen = self.seen();
            let of: Vec<_> = seen.spent.reserved.iter().map(|known| known.attempt.clone()).collect();
            let over = of.into_iter().filter(|attempt| attempt.session == append.session);
            seen.spent.ended.extend(over);
        }
        self.spoil_closing().await;
    }

    /// Opens what was closed, where overruns close nothing.
    async fn spoil_closing(&self) {
        if self.is(Fault::OverrunsCloseNothing) || self.is(Fault::OnlyOneAccountCloses) {
            let accounts: Vec<_> = self
                .seen()
                .spent
                .reserved
                .iter()
                .flat_map(Reserve::in_order)
                .map(|(account, _)| account)
                .collect();
            let spared = usize::from(self.is(Fault::OnlyOneAccountCloses));
            for account in accounts.into_iter().skip(spared) {
                if let Some(balance) = self.inner.balance(account).await.unwrap() {
                    self.inner.reopen(account, balance.overrun).await.unwrap();
                }
            }
        }
    }
}

#[async_trait]
impl Ledger for Broken {
    async fn reserve(&self, mut reserve: Reserve) -> Result<Reserved, ReserveError> {
        let known = self.seen().spent.first(&reserve.attempt);
        let settled =
            self.seen().spent.settled.iter().any(|settlement| settlement.attempt == reserve.attempt);
        reserve.fence = self.fence(reserve.attempt.session, reserve.fence).await;
        self.spoil_ceilings(&mut reserve.accounts);
        let asked = reserve.clone();
        reserve.attempt = self.spoil_attempt(reserve.attempt);
        match (self.fault, &known) {
            (Some(Fault::ReservationsAreForgotten), Some(_)) => reserve.attempt.attempt = unique_number(),
            (Some(Fault::SettledAttemptsAreForgotten), Some(_)) if settled => {
                reserve.attempt.attempt = unique_number();
            }
            (Some(Fault::MismatchesAreRepeated), Some(first)) => {
                (reserve.amounts, reserve.accounts) = (first.amounts, first.accounts.clone());
            }
            (Some(Fault::RepeatsAreJudgedAnew), Some(_)) => {
                for (account, ceiling) in reserve.in_order() {
                    let balance = self.inner.balance(account).await.unwrap().unwrap_or_default();
                    if let Some((dimension, left)) = balance.exceeded(&ceiling, &reserve.amounts) {
                        let asked = reserve.amounts.of(dimension);
                        return Err(ReserveError::Exceeded { account, dimension, asked, left });
                    }
                }
            }
            (Some(Fault::ReservationsFollowALook), None) => return self.reserve_after_a_look(reserve).await,
            _ => {}
        }
        let answer = self.inner.reserve(reserve.clone()).await;
        if answer.is_ok() && known.is_none() {
            self.seen().spent.reserved.push(asked);
        }
        match (self.fault, answer) {
            (
                Some(Fault::AccountsAreReservedInTurn),
                Err(ReserveError::Exceeded { account, dimension, asked, left }),
            ) => {
                reserve.accounts.retain(|(fits, _)| *fits < account);
                if !reserve.accounts.is_empty() {
                    reserve.attempt.attempt = unique_number();
                    self.inner.reserve(reserve).await.unwrap();
                }
                Err(ReserveError::Exceeded { account, dimension, asked, left })
            }
            (Some(Fault::NothingIsLeft), Err(ReserveError::Exceeded { account, dimension, asked, .. })) => {
                Err(ReserveError::Exceeded { account, dimension, asked, left: 0 })
            }
            (Some(Fault::EndedTurnsReserve), Err(ReserveError::Ended)) => Ok(Reserved { operation: 0 }),
            (Some(Fault::StrangeTurnsReserve), Err(ReserveError::Store(StoreError::NotFound { .. }))) => {
                Ok(Reserved { operation: 0 })
            }
            (_, answer) => answer,
        }
    }

    async fn settle(
        &self,
        session: SessionId,
        fence: Fence,
        settlements: Vec<Settlement>,
    ) -> Result<(), SettleError> {
        let fence = self.fence(session, fence).await;
        let settlements = self.spoil_costs(settlements);
        match self.fault {
            Some(Fault::SettlementsAreForgotten) => return Ok(()),
            Some(Fault::SettlementsAreBills) => {
                for Settlement { attempt, amounts } in settlements {
                    let _ = self.inner.reconcile(attempt, amounts).await;
                }
                return Ok(());
            }
            Some(Fault::OtherSessionsAreSettled) => {
                for settlement in settlements {
                    let of = settlement.attempt.session;
                    if let Some(fence) = self.owners(of).await {
                        self.inner.settle(of, fence, vec![settlement]).await?;
                    }
                }
                return Ok(());
            }
            _ => {}
        }
        self.inner.settle(session, fence, settlements.clone()).await?;
        self.seen().spent.settled.extend(settlements);
        self.spoil_closing().await;
        Ok(())
    }

    async fn sweep(&self, session: SessionId, fence: Fence) -> Result<u64, SettleError> {
        let fence = self.fence(session, fence).await;
        match self.fault {
            Some(Fault::SweepsTakeNothing) => return Ok(0),
            Some(Fault::SweepsTakeAll) => {
                let live = self.live_of(session);
                let costs = live.into_iter().filter_map(|attempt| {
                    let amounts = self.seen().spent.first(&attempt)?.amounts;
                    Some(Settlement { attempt, amounts })
                });
                self.inner.settle(session, fence, costs.collect()).await?;
            }
            _ => {}
        }
        self.inner.sweep(session, fence).await
    }

    async fn reconcile(&self, attempt: AttemptId, billed: Amounts) -> Result<(), ReconcileError> {
        let spoiled = self.spoil_attempt(attempt.clone());
        let before = (spoiled.digest(), billed);
        let came = self.seen().spent.bills.contains(&before);
        self.seen().spent.bills.push(before);
        let first = self.seen().spent.first(&attempt);
        let billed = match self.fault {
            Some(Fault::BillsAreAdded) => {
                let settled =
                    self.seen().spent.settled.iter().find(|known| known.attempt == attempt).cloned();
                settled.map_or(billed, |known| known.amounts.plus(billed))
            }
            Some(Fault::BillsCountEachTime) if came => billed.plus(ONE),
            Some(Fault::BillsEndWithTheTurn) if self.seen().spent.ended.contains(&attempt) => {
                return Err(ReconcileError::NotFound);
            }
            Some(Fault::OverrunsAreForgotten) => {
                first.map_or(billed, |first| billed.less(billed.less(first.amounts)))
            }
            _ => billed,
        };
        let answer = self.inner.reconcile(spoiled, billed).await;
        self.spoil_closing().await;
        match (self.fault, answer) {
            (Some(Fault::UnknownBillsAreTaken), Err(ReconcileError::NotFound)) => Ok(()),
            (Some(Fault::LargeBillsAreTaken), Err(ReconcileError::TooLarge(_))) => Ok(()),
            (_, answer) => answer,
        }
    }

    async fn balance(&self, account: Account) -> Result<Option<Balance>, StoreError> {
        let balance = self.inner.balance(account).await?;
        Ok(match self.fault {
            Some(Fault::AccountsAreInvented) => balance.or(Some(Balance::default())),
            _ => balance,
        })
    }

    async fn reopen(&self, account: Account, overrun_seen: Amounts) -> Result<(), ReopenError> {
        let balance = self.inner.balance(account).await?;
        let seen = match (self.fault, balance) {
            (Some(Fault::AnyOverrunReopens), Some(balance)) => balance.overrun,
            _ => overrun_seen,
        };
        self.inner.reopen(account, seen).await
    }

    async fn operations(&self, after: u64, limit: usize) -> Result<Vec<Operation>, StoreError> {
        let mut operations = self.inner.operations(after, self.limit(limit)).await?;
        match self.fault {
            Some(Fault::OperationsAreInAnyOrder) => operations.reverse(),
            Some(Fault::SettlementsAreNoOperations) => {
                operations.retain(|operation| operation.kind != OperationKind::Settled);
            }
            Some(Fault::OperationsMoveNothing) => {
                operations.iter_mut().for_each(|operation| operation.movement = Default::default());
            }
            Some(Fault::ReservationsAreToldLate) => {
                // As if what was freed had been free before.
                for operation in &mut operations {
                    let reserved = operation.movement.reserved.plus(operation.movement.reserved);
                    let is_large = reserved.of(Dimension::NanoUsd) > 0;
                    if is_large && operation.number % 7 == 0 {
                        operation.movement.reserved = reserved;
                    }
                }
            }
            _ => {}
        }
        Ok(operations)
    }

    async fn trim(&self, through: u64) -> Result<u64, StoreError> {
        match self.fault {
            Some(Fault::LedgersAreNotTrimmed) => Ok(0),
            Some(Fault::LedgersAreTrimmedWhole) => self.inner.trim(u64::MAX).await,
            _ => self.inner.trim(through).await,
        }
    }
}

/// The number of an attempt that nobody has made.
fn unique_number() -> u32 {
    let id: SessionId = unique();
    let bytes = id.to_bytes();
    1_000_000 + u32::from_be_bytes([0, bytes[13], bytes[14], bytes[15]])
}
