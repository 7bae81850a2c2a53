//! The ledger as the truth sees it: what it did is read from its own order of operations, after every call that may change
//! it.

#![deny(clippy::missing_trait_methods)]

use std::collections::BTreeSet;

use agent_shell_core::data::{Account, Amounts, AttemptId, Balance};
use agent_shell_core::ports::{
    Fence, Ledger, Operation, ReconcileError, ReopenError, Reserve, ReserveError, Reserved, SettleError,
    Settlement, StoreError,
};
use agent_shell_core::words::SessionId;
use async_trait::async_trait;

use super::truth::Asked;
use super::watched::Watched;

/// Operations read at once.
const PAGE: usize = 1_000;

impl Watched {
    /// Tells the truth what the ledger has done since it was last looked at. The store of the run answers at once, so that
    /// nothing happens between a call and this.
    pub(super) async fn ledger_moved(&self, asked: Asked<'_>) {
        let ledger = &*self.inner.ledger;
        let mut touched: BTreeSet<Account> = BTreeSet::new();
        loop {
            let Ok(operations) = ledger.operations(self.truth.ledger_known(), PAGE).await else { return };
            if operations.is_empty() {
                break;
            }
            touched.extend(operations.iter().flat_map(|operation| &operation.accounts).map(|(of, _)| *of));
            self.truth.ledger_did(&operations, asked);
        }
        for account in touched {
            if let Ok(balance) = ledger.balance(account).await {
                self.truth.check_balance(account, balance);
            }
        }
    }
}

#[async_trait]
impl Ledger for Watched {
    async fn reserve(&self, reserve: Reserve) -> Result<Reserved, ReserveError> {
        let answer = self.inner.ledger.reserve(reserve.clone()).await;
        self.truth.reserving(&reserve, &answer);
        self.ledger_moved(Asked::Reserve(&reserve)).await;
        answer
    }

    async fn settle(
        &self,
        session: SessionId,
        fence: Fence,
        settlements: Vec<Settlement>,
    ) -> Result<(), SettleError> {
        let answer = self.inner.ledger.settle(session, fence, settlements).await;
        self.ledger_moved(Asked::Nothing).await;
        answer
    }

    async fn sweep(&self, session: SessionId, fence: Fence) -> Result<u64, SettleError> {
        let answer = self.inner.ledger.sweep(session, fence).await;
        self.ledger_moved(Asked::Nothing).await;
        answer
    }

    async fn reconcile(&self, attempt: AttemptId, billed: Amounts) -> Result<(), ReconcileError> {
        let (digest, before) = (attempt.digest(), self.truth.ledger_known());
        let answer = self.inner.ledger.reconcile(attempt, billed).await;
        self.ledger_moved(Asked::Bill(digest, billed)).await;
        self.truth.billing((digest, billed), &answer, before);
        answer
    }

    async fn balance(&self, account: Account) -> Result<Option<Balance>, StoreError> {
        self.inner.ledger.balance(account).await
    }

    async fn reopen(&self, account: Account, overrun_seen: Amounts) -> Result<(), ReopenError> {
        let answer = self.inner.ledger.reopen(account, overrun_seen).await;
        self.ledger_moved(Asked::Reopen(account, overrun_seen)).await;
        self.truth.reopening((account, overrun_seen), &answer);
        answer
    }

    async fn operations(&self, after: u64, limit: usize) -> Result<Vec<Operation>, StoreError> {
        self.inner.ledger.operations(after, limit).await
    }

    async fn trim(&self, through: u64) -> Result<u64, StoreError> {
        self.inner.ledger.trim(through).await
    }
}
