//! Who sees to the money while a run goes on: opens accounts that an overrun has closed, and hands in later bills.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use agent_shell_core::Shell;
use agent_shell_core::data::{Account, AccountKind, Amounts, AttemptId, Balance};
use agent_shell_core::ports::{OperationKind, ReconcileError, ReopenError};
use agent_shell_core::words::Digest;

use tokio::task::JoinHandle;

use super::SpendError;
use super::words::{Line, Log};
use crate::random::Random;

/// Operations that are read at once.
const PAGE: usize = 2_000;
/// How long it waits before it looks again.
const PAUSE: Duration = Duration::from_millis(3);
/// How often bills come.
const BILLS: Duration = Duration::from_secs(1);
/// Bills that come at once, at most.
const AT_ONCE: usize = 6;

/// What is known of the ledger so far.
pub(super) struct Finance {
    folder: PathBuf,
    log: Log,
    random: Random,
    last: u64,
    balances: BTreeMap<Account, Balance>,
    /// What attempts were settled at, of those without a later bill.
    settled: HashMap<Digest, Amounts>,
    billed: HashSet<Digest>,
    next_bills: Instant,
}

/// At work, until it is told that the run is over.
pub(super) struct Working {
    is_over: Arc<AtomicBool>,
    task: JoinHandle<Result<(u64, u64), SpendError>>,
}

impl Working {
    /// Opens what is closed at the end, and says how often it has, and how many bills were taken.
    pub(super) async fn end(self) -> Result<(u64, u64), SpendError> {
        self.is_over.store(true, Ordering::SeqCst);
        self.task.await.map_err(|error| SpendError::Stuck(error.to_string()))?
    }
}

impl Finance {
    pub(super) fn new(folder: &Path, seed: u64) -> Result<Self, SpendError> {
        Ok(Self {
            folder: folder.to_owned(),
            log: Log::open(folder)?,
            random: Random::of(&[seed, 0x6d6f_6e65]),
            last: 0,
            balances: BTreeMap::new(),
            settled: HashMap::new(),
            billed: HashSet::new(),
            next_bills: Instant::now() + BILLS,
        })
    }

    /// Sees to the money until it is told that the run is over.
    pub(super) fn works(mut self, shell: Shell) -> Working {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let task = tokio::spawn(async move {
            let (mut reopened, mut bills) = (0, 0);
            loop {
                let is_last = over.load(Ordering::SeqCst);
                let opened = self.look(&shell).await?;
                reopened += opened;
                if is_last && opened == 0 {
                    return Ok((reopened, bills));
                }
                if !is_last {
                    bills += self.bill(&shell).await?;
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        Working { is_over, task }
    }

    /// Looks at what the ledger did, and opens what was closed. Returns how many accounts.
    async fn look(&mut self, shell: &Shell) -> Result<u64, SpendError> {
        loop {
            let page = shell.ledger().operations(self.last, PAGE).await?;
            let Some(last) = page.last() else { break };
            self.last = last.number;
            for operation in &page {
                for (account, _) in &operation.accounts {
                    let before = self.balances.get(account).copied().unwrap_or_default();
                    self.balances.insert(*account, operation.apply(*account, before));
                }
                if operation.kind != OperationKind::Reserved
                    && let Some(attempt) = operation.attempt
                {
                    self.settled.insert(attempt, operation.movement.settled);
                }
            }
        }
        let closed = self.balances.iter().filter(|(_, balance)| balance.closed);
        let closed: Vec<(Account, Amounts)> =
            closed.map(|(account, balance)| (*account, balance.overrun)).collect();
        let mut opened = 0;
        for (account, overrun) in closed {
            match shell.ledger().reopen(account, overrun).await {
                Ok(()) => opened += 1,
                // There was more since: it is looked at again.
                Err(ReopenError::Overrun { .. }) => {}
                // It has gone with its turn.
                Err(ReopenError::NotFound) if account.kind == AccountKind::Turn => {
                    self.balances.remove(&account);
                }
                Err(error) => return Err(SpendError::Stuck(format!("{account:?}: {error}"))),
            }
        }
        Ok(opened)
    }

    /// Hands in later bills of some attempts that were settled: what their vendors billed, where the ledger took the whole
    /// reservation for spent, say.
    async fn bill(&mut self, shell: &Shell) -> Result<u64, SpendError> {
        if Instant::now() < self.next_bills {
            return Ok(0);
        }
        self.next_bills = Instant::now() + BILLS;
        let mut ids: HashMap<Digest, AttemptId> = HashMap::new();
        let mut bills: BTreeMap<Digest, Amounts> = BTreeMap::new();
        for line in Log::read(&self.folder)? {
            match line {
                Line::Asked { id, .. } => drop(ids.insert(id.digest(), id)),
                Line::Billed { attempt, amounts } => {
                    let bill = bills.entry(attempt).or_default();
                    *bill = bill.plus(amounts);
                }
                _ => {}
            }
        }
        bills.retain(|attempt, _| self.settled.contains_key(attempt) && !self.billed.contains(attempt));
        let mut taken = 0;
        for _ in 0..AT_ONCE.min(bills.len()) {
            let place = self.random.below(bills.len() as u64) as usize;
            let Some((&attempt, &bill)) = bills.iter().nth(place) else { break };
            let (Some(settled), Some(id)) = (self.settled.get(&attempt), ids.get(&attempt)) else { continue };
            let (nano_usd, tokens) = (bill.nano_usd, bill.tokens);
            let amounts = Amounts { nano_usd, tokens, ..*settled };
            self.billed.insert(attempt);
            self.log.say(&Line::Invoiced { id: id.clone(), amounts });
            match shell.ledger().reconcile(id.clone(), amounts).await {
                Ok(()) => taken += 1,
                Err(ReconcileError::Store(error)) => return Err(error.into()),
                Err(error) => return Err(SpendError::Stuck(format!("{id:?}: a bill: {error}"))),
            }
        }
        Ok(taken)
    }
}
