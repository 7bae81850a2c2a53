//! A ledger with a deliberate fault.

#![deny(clippy::missing_trait_methods)]

use agent_shell_core::data::{Account, Amounts, AttemptId, Balance, Ceiling};
use agent_shell_core::ports::{
    Fence, Ledger, Operation, ReconcileError, ReopenError, Reserve, ReserveError, Reserved, SettleError,
    Settlement, StoreError,
};
use agent_shell_core::words::SessionId;
use async_trait::async_trait;

use super::bugs::{Bug, Faulty};

#[async_trait]
impl Ledger for Faulty {
    async fn reserve(&self, mut reserve: Reserve) -> Result<Reserved, ReserveError> {
        if self.bug == Bug::CeilingIgnored {
            reserve.accounts.iter_mut().for_each(|(_, ceiling)| *ceiling = Ceiling::NONE);
        }
        if self.bug == Bug::OverrunIgnored {
            for (account, _) in &reserve.accounts {
                if let Some(balance) = self.inner.ledger.balance(*account).await?
                    && balance.closed
                {
                    // Whether it is open, the reservation says.
                    drop(self.inner.ledger.reopen(*account, balance.overrun).await);
                }
            }
        }
        self.inner.ledger.reserve(reserve).await
    }

    async fn settle(
        &self,
        session: SessionId,
        fence: Fence,
        settlements: Vec<Settlement>,
    ) -> Result<(), SettleError> {
        self.inner.ledger.settle(session, fence, settlements).await
    }

    async fn sweep(&self, session: SessionId, fence: Fence) -> Result<u64, SettleError> {
        self.inner.ledger.sweep(session, fence).await
    }

    async fn reconcile(&self, attempt: AttemptId, billed: Amounts) -> Result<(), ReconcileError> {
        self.inner.ledger.reconcile(attempt, billed).await
    }

    async fn balance(&self, account: Account) -> Result<Option<Balance>, StoreError> {
        self.inner.ledger.balance(account).await
    }

    async fn reopen(&self, account: Account, overrun_seen: Amounts) -> Result<(), ReopenError> {
        self.inner.ledger.reopen(account, overrun_seen).await
    }

    async fn operations(&self, after: u64, limit: usize) -> Result<Vec<Operation>, StoreError> {
        self.inner.ledger.operations(after, limit).await
    }

    async fn trim(&self, through: u64) -> Result<u64, StoreError> {
        self.inner.ledger.trim(through).await
    }
}
