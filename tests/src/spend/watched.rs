//! The ledger as a worker uses it: each request is written down before it is made, and each refusal with the part of the
//! order of operations in which it was judged.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use agent_shell_core::data::{Account, Amounts, AttemptId, Balance};
use agent_shell_core::ports::{
    Fence, Ledger, Operation, ReconcileError, ReopenError, Reserve, ReserveError, Reserved, SettleError,
    Settlement, StoreError,
};
use agent_shell_core::words::SessionId;
use async_trait::async_trait;

use super::words::{Line, Log};

pub(super) struct Watched {
    inner: Arc<dyn Ledger>,
    log: Arc<Log>,
    /// The last operation that this process knows to be made.
    seen: AtomicU64,
}

impl Watched {
    pub(super) fn new(inner: Arc<dyn Ledger>, log: Arc<Log>) -> Self {
        Self { inner, log, seen: AtomicU64::new(0) }
    }

    /// The number of the last operation.
    async fn last(&self) -> Result<u64, StoreError> {
        loop {
            let seen = self.seen.load(Ordering::SeqCst);
            match self.inner.operations(seen, 1_000).await?.last() {
                Some(last) => drop(self.seen.fetch_max(last.number, Ordering::SeqCst)),
                None => return Ok(seen),
            }
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Ledger for Watched {
    async fn reserve(&self, reserve: Reserve) -> Result<Reserved, ReserveError> {
        let (id, amounts, accounts) = (reserve.attempt.clone(), reserve.amounts, reserve.in_order());
        let attempt = id.digest();
        self.log.say(&Line::Asked { id, amounts, accounts });
        // Nothing that was done before is a reason for the answer.
        let before = self.last().await?;
        let answer = self.inner.reserve(reserve).await;
        match &answer {
            Ok(reserved) => drop(self.seen.fetch_max(reserved.operation, Ordering::SeqCst)),
            Err(ReserveError::Exceeded { account, dimension, asked, left }) => {
                let after = self.last().await?;
                let (account, dimension, asked, left) = (*account, *dimension, *asked, *left);
                self.log.say(&Line::Refused { attempt, account, dimension, asked, left, before, after });
            }
            Err(ReserveError::Closed { account }) => {
                let (account, after) = (*account, self.last().await?);
                self.log.say(&Line::Closed { attempt, account, before, after });
            }
            Err(_) => {}
        }
        answer
    }

    async fn settle(
        &self,
        session: SessionId,
        fence: Fence,
        settlements: Vec<Settlement>,
    ) -> Result<(), SettleError> {
        self.inner.settle(session, fence, settlements).await
    }

    async fn sweep(&self, session: SessionId, fence: Fence) -> Result<u64, SettleError> {
        self.inner.sweep(session, fence).await
    }

    async fn reconcile(&self, attempt: AttemptId, billed: Amounts) -> Result<(), ReconcileError> {
        self.inner.reconcile(attempt, billed).await
    }

    async fn balance(&self, account: Account) -> Result<Option<Balance>, StoreError> {
        self.inner.balance(account).await
    }

    async fn reopen(&self, account: Account, overrun_seen: Amounts) -> Result<(), ReopenError> {
        self.inner.reopen(account, overrun_seen).await
    }

    async fn operations(&self, after: u64, limit: usize) -> Result<Vec<Operation>, StoreError> {
        self.inner.operations(after, limit).await
    }

    async fn trim(&self, through: u64) -> Result<u64, StoreError> {
        self.inner.trim(through).await
    }
}
