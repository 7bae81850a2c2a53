//! The judge: replays the ledger's operations in their own order, and holds every rule against each of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use agent_shell_core::Shell;
use agent_shell_core::data::{Account, AccountKind, Amounts, AttemptId, Balance, Ceiling, Dimension};
use agent_shell_core::ports::{Operation, OperationKind};
use agent_shell_core::words::{Digest, Epoch, SessionId};
use serde::Serialize;

use super::SpendError;
use super::records::{self, Counts};
use super::words::{Line, Log};

/// Operations that are read at once.
const PAGE: usize = 2_000;

/// What came of a run.
#[derive(Debug, Default, Serialize)]
pub(super) struct Verdict {
    pub(super) violations: Vec<String>,
    pub(super) counts: Counts,
    pub(super) operations: BTreeMap<String, u64>,
    /// Reservations that were asked for.
    pub(super) asked: u64,
    pub(super) refused: u64,
    /// By whose account, and in what.
    pub(super) refused_by: BTreeMap<String, u64>,
    /// Of the tenant: what was spent of the ceiling, and the most that was ever spent and set aside together.
    pub(super) tenant: BTreeMap<String, [u64; 3]>,
    /// Attempts that were live at once, at most.
    pub(super) live_at_once: usize,
    pub(super) billed: u64,
}

impl Verdict {
    pub(super) fn say(&mut self, what: impl Into<String>) {
        self.violations.push(what.into());
    }
}

/// What an owner asked for.
pub(super) struct Asked {
    pub(super) id: AttemptId,
    amounts: Amounts,
    accounts: Vec<(Account, Ceiling)>,
}

/// A refusal, and where in the order it was judged.
struct Refusal {
    attempt: Digest,
    account: Account,
    dimension: Dimension,
    asked: u64,
    left: u64,
    before: u64,
    after: u64,
    sound: bool,
}

/// What became of a reservation.
pub(super) struct Settled {
    pub(super) kind: OperationKind,
    pub(super) reserved: Amounts,
    pub(super) amounts: Amounts,
}

/// What the workers wrote down.
#[derive(Default)]
pub(super) struct Told {
    pub(super) asked: HashMap<Digest, Asked>,
    refusals: Vec<Refusal>,
    pub(super) billed: HashMap<Digest, Amounts>,
}

impl Told {
    fn of(lines: Vec<Line>, verdict: &mut Verdict) -> Self {
        let mut told = Self::default();
        for line in lines {
            match line {
                Line::Asked { id, amounts, accounts } => {
                    let digest = id.digest();
                    if let Some(first) = told.asked.insert(digest, Asked { id, amounts, accounts }) {
                        verdict.say(format!("{:?}: the same attempt was asked for twice", first.id));
                    }
                }
                Line::Refused { attempt, account, dimension, asked, left, before, after } => {
                    let sound = false;
                    told.refusals.push(Refusal {
                        attempt,
                        account,
                        dimension,
                        asked,
                        left,
                        before,
                        after,
                        sound,
                    });
                }
                Line::Billed { attempt, amounts } => {
                    let bill = told.billed.entry(attempt).or_default();
                    *bill = bill.plus(amounts);
                }
            }
        }
        told.refusals.sort_by_key(|refusal| refusal.before);
        told
    }

    /// Whether an attempt was refused, as the workers say.
    pub(super) fn was_refused(&self) -> BTreeSet<Digest> {
        self.refusals.iter().map(|refusal| refusal.attempt).collect()
    }
}

pub(super) async fn judge(shell: &Shell, folder: &Path) -> Result<Verdict, SpendError> {
    let mut verdict = Verdict::default();
    let mut told = Told::of(Log::read(folder)?, &mut verdict);
    let operations = operations(shell).await?;
    let settled = replay(shell, &operations, &mut told, &mut verdict).await?;
    bills(&told, &settled, &mut verdict);
    records::check(shell, &told, &settled, &mut verdict).await?;
    verdict.asked = told.asked.len() as u64;
    verdict.billed = told.billed.len() as u64;
    Ok(verdict)
}

async fn operations(shell: &Shell) -> Result<Vec<Operation>, SpendError> {
    let mut all: Vec<Operation> = Vec::new();
    loop {
        let after = all.last().map_or(0, |last| last.number);
        let page = shell.ledger().operations(after, PAGE).await?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

/// How everything stands after an operation.
#[derive(Default)]
struct Books {
    balances: HashMap<Account, Balance>,
    ceilings: HashMap<Account, Ceiling>,
    live: HashMap<Digest, Amounts>,
    /// Live attempts of a session, by their epochs.
    epochs: HashMap<SessionId, BTreeMap<Epoch, u64>>,
    settled: HashMap<Digest, Settled>,
}

/// Every operation in its order. Returns what became of each reservation.
async fn replay(
    shell: &Shell,
    operations: &[Operation],
    told: &mut Told,
    verdict: &mut Verdict,
) -> Result<HashMap<Digest, Settled>, SpendError> {
    let mut books = Books::default();
    let (mut next, mut open) = (0, Vec::new());
    let mut most: BTreeMap<&str, u64> = BTreeMap::new();
    refusals(told, &books, 0, &mut next, &mut open);
    for (operation, number) in operations.iter().zip(1..) {
        if operation.number != number {
            verdict.say(format!("operation {} stands in the place of {number}", operation.number));
        }
        *verdict.operations.entry(format!("{:?}", operation.kind).to_lowercase()).or_default() += 1;
        books.take(operation, told, verdict);
        for (account, _) in operation.accounts.iter().filter(|(one, _)| one.kind == AccountKind::Tenant) {
            let balance = books.balances[account];
            for dimension in Dimension::ALL {
                let used = balance.settled.of(dimension) + balance.reserved.of(dimension);
                let most = most.entry(dimension.name()).or_default();
                *most = used.max(*most);
            }
        }
        verdict.live_at_once = verdict.live_at_once.max(books.live.len());
        refusals(told, &books, number, &mut next, &mut open);
    }
    for (attempt, amounts) in &books.live {
        let of = told.asked.get(attempt).map(|asked| format!("{:?}", asked.id));
        verdict.say(format!("attempt {}: {amounts:?} are reserved for ever", of.unwrap_or_default()));
    }
    for refusal in &told.refusals {
        verdict.refused += 1;
        let by = format!("{:?} {}", refusal.account.kind, refusal.dimension).to_lowercase();
        *verdict.refused_by.entry(by).or_default() += 1;
        if !refusal.sound {
            let Refusal { account, dimension, asked, left, before, after, .. } = refusal;
            verdict.say(format!(
                "{asked} of {dimension} were refused with {left} left of {account:?}; at no operation from {before} to \
                 {after} was that so"
            ));
        }
    }
    stand(shell, &books, verdict).await?;
    for (account, ceiling) in books.ceilings.iter().filter(|(one, _)| one.kind == AccountKind::Tenant) {
        for dimension in Dimension::ALL {
            let Some(ceiling) = ceiling.of(dimension) else { continue };
            let spent = books.balances.get(account).map_or(0, |balance| balance.settled.of(dimension));
            let most = most.get(dimension.name()).copied().unwrap_or(0);
            verdict.tenant.insert(dimension.name().into(), [ceiling, spent, most]);
        }
    }
    Ok(books.settled)
}

/// Refusals that may have been judged right after this operation: they must say what was left.
fn refusals(told: &mut Told, books: &Books, number: u64, next: &mut usize, open: &mut Vec<usize>) {
    while told.refusals.get(*next).is_some_and(|refusal| refusal.before <= number) {
        open.push(*next);
        *next += 1;
    }
    open.retain(|&place| told.refusals[place].after >= number && !told.refusals[place].sound);
    for &place in open.iter() {
        let refusal = &told.refusals[place];
        let Some(asked) = told.asked.get(&refusal.attempt) else { continue };
        let of = |account: &Account| books.balances.get(account).copied().unwrap_or_default();
        // The first of its accounts, in their order, that has not enough left.
        let first = asked.accounts.iter().find_map(|(account, ceiling)| {
            let (dimension, left) = of(account).exceeded(ceiling, &asked.amounts)?;
            Some((*account, dimension, left))
        });
        let said = (refusal.account, refusal.dimension, refusal.left);
        let sound = first == Some(said) && asked.amounts.of(refusal.dimension) == refusal.asked;
        told.refusals[place].sound = sound;
    }
}

impl Books {
    fn take(&mut self, operation: &Operation, told: &Told, verdict: &mut Verdict) {
        let number = operation.number;
        let (Some(attempt), Some(session)) = (operation.attempt, operation.session) else {
            return verdict.say(format!("operation {number}: nobody reopened an account"));
        };
        let asked = told.asked.get(&attempt);
        if operation.is_overrun() {
            verdict.say(format!("operation {number}: an overrun, and nobody bills more than the bound"));
        }
        if operation.kind == OperationKind::Reserved {
            self.reserve(operation, attempt, session, asked, verdict);
        } else {
            self.settle(operation, attempt, session, asked, verdict);
        }
        for (account, _) in &operation.accounts {
            let before = self.balances.get(account).copied().unwrap_or_default();
            let balance = operation.apply(*account, before);
            self.balances.insert(*account, balance);
            let ceiling = self.ceilings.get(account).copied().unwrap_or_default();
            if let Some((dimension, _)) = balance.exceeded(&ceiling, &Amounts::ZERO) {
                verdict.say(format!(
                    "operation {number} ({:?}): {dimension} of {account:?} pass the ceiling {:?}: {balance:?}",
                    operation.kind,
                    ceiling.of(dimension)
                ));
            }
        }
    }

    fn reserve(
        &mut self,
        operation: &Operation,
        attempt: Digest,
        session: SessionId,
        asked: Option<&Asked>,
        verdict: &mut Verdict,
    ) {
        let (number, amounts) = (operation.number, operation.movement.reserved);
        for (account, ceiling) in &operation.accounts {
            if *self.ceilings.entry(*account).or_insert(*ceiling) != *ceiling {
                verdict.say(format!("operation {number}: the ceiling of {account:?} has changed"));
            }
        }
        if self.settled.contains_key(&attempt) || self.live.insert(attempt, amounts).is_some() {
            verdict.say(format!("operation {number}: reserves for an attempt a second time"));
        }
        let Some(asked) = asked else {
            return verdict.say(format!("operation {number}: reserves what nobody asked for"));
        };
        if asked.amounts != amounts || asked.accounts != operation.accounts || asked.id.session != session {
            verdict.say(format!("operation {number}: reserves something else than {:?} asked for", asked.id));
        }
        let epochs = self.epochs.entry(session).or_default();
        if let Some((other, live)) = epochs.iter().find(|(other, _)| **other != asked.id.epoch) {
            verdict.say(format!(
                "operation {number}: {:?} reserves while {live} attempts of epoch {other} are not swept",
                asked.id
            ));
        }
        *epochs.entry(asked.id.epoch).or_default() += 1;
    }

    fn settle(
        &mut self,
        operation: &Operation,
        attempt: Digest,
        session: SessionId,
        asked: Option<&Asked>,
        verdict: &mut Verdict,
    ) {
        let (number, kind, movement) = (operation.number, operation.kind, &operation.movement);
        let Some(reserved) = self.live.remove(&attempt) else {
            return verdict.say(format!("operation {number} ({kind:?}): settles what is not reserved"));
        };
        if movement.released != reserved || !movement.reserved.is_zero() || !movement.unsettled.is_zero() {
            verdict.say(format!(
                "operation {number} ({kind:?}): moves {movement:?}, with {reserved:?} reserved"
            ));
        }
        if kind != OperationKind::Settled && movement.settled != reserved {
            verdict.say(format!("operation {number} ({kind:?}): settles not at the reservation"));
        }
        if asked.is_some_and(|asked| asked.accounts.len() != operation.accounts.len()) {
            verdict.say(format!("operation {number} ({kind:?}): moves other accounts than were reserved"));
        }
        let epoch = asked.map(|asked| asked.id.epoch);
        if let Some(epochs) = self.epochs.get_mut(&session)
            && let Some(epoch) = epoch
            && let Some(live) = epochs.get_mut(&epoch)
        {
            *live -= 1;
            epochs.retain(|_, live| *live > 0);
        }
        self.settled.insert(attempt, Settled { kind, reserved, amounts: movement.settled });
    }
}

/// The balances are what the operations make, nothing is reserved, and turns that ended have none.
async fn stand(shell: &Shell, books: &Books, verdict: &mut Verdict) -> Result<(), SpendError> {
    for (account, replayed) in &books.balances {
        let kept = shell.ledger().balance(*account).await?;
        let expected = (account.kind != AccountKind::Turn).then_some(*replayed);
        if kept != expected {
            verdict.say(format!("{account:?}: is kept as {kept:?}, and the operations make {expected:?}"));
        }
        if !replayed.reserved.is_zero() || replayed.closed {
            verdict.say(format!("{account:?}: stands at {replayed:?} after all has ended"));
        }
    }
    Ok(())
}

/// Nothing was billed that was not reserved, and nothing settled for less than its bill.
fn bills(told: &Told, settled: &HashMap<Digest, Settled>, verdict: &mut Verdict) {
    for (attempt, billed) in &told.billed {
        let of = told.asked.get(attempt).map(|asked| &asked.id);
        let Some(settled) = settled.get(attempt) else {
            verdict.say(format!("{of:?}: {billed:?} was billed, and nothing was settled"));
            continue;
        };
        for (dimension, billed) in [
            (Dimension::NanoUsd, billed.nano_usd),
            (Dimension::Tokens, billed.tokens),
            (Dimension::ToolCalls, billed.tool_calls),
        ] {
            let (spent, most) = (settled.amounts.of(dimension), settled.reserved.of(dimension));
            if spent < billed {
                verdict.say(format!(
                    "{of:?}: {billed} of {dimension} were billed, and {spent} settled ({:?})",
                    settled.kind
                ));
            }
            if billed > most {
                verdict.say(format!("{of:?}: {billed} of {dimension} were billed, and {most} reserved"));
            }
        }
    }
}
