//! The judge: replays the ledger's operations in their own order, and holds every rule against each of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use agent_shell_core::Shell;
use agent_shell_core::data::{
    Account, AccountKind, Amounts, AttemptId, Balance, Ceiling, Dimension, Movement,
};
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
    /// Settlements of more than was reserved.
    pub(super) overruns: u64,
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
    why: Why,
    before: u64,
    after: u64,
    sound: bool,
}

/// Why an account refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// An overrun closed it.
    Closed,
    /// It has not enough left.
    Exceeded { dimension: Dimension, asked: u64, left: u64 },
}

/// What became of a reservation.
pub(super) struct Settled {
    pub(super) kind: OperationKind,
    pub(super) reserved: Amounts,
    pub(super) amounts: Amounts,
    /// What a later bill says.
    now: Amounts,
    /// The most that it was known to have cost above its reservation.
    over: Amounts,
}

/// What the workers wrote down.
#[derive(Default)]
pub(super) struct Told {
    pub(super) asked: HashMap<Digest, Asked>,
    refusals: Vec<Refusal>,
    pub(super) billed: HashMap<Digest, Amounts>,
    /// Attempts that their vendors billed more than was said to be the most.
    overran: BTreeSet<Digest>,
    /// Later bills.
    invoiced: HashMap<Digest, Amounts>,
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
                    let why = Why::Exceeded { dimension, asked, left };
                    told.refusals.push(Refusal { attempt, account, why, before, after, sound: false });
                }
                Line::Closed { attempt, account, before, after } => {
                    let why = Why::Closed;
                    told.refusals.push(Refusal { attempt, account, why, before, after, sound: false });
                }
                Line::Overran { attempt } => drop(told.overran.insert(attempt)),
                Line::Invoiced { id, amounts } => drop(told.invoiced.insert(id.digest(), amounts)),
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

/// Judges a run in which this many turns were to run at one instant.
pub(super) async fn judge(shell: &Shell, folder: &Path, at_once: u64) -> Result<Verdict, SpendError> {
    let mut verdict = Verdict::default();
    let mut told = Told::of(Log::read(folder)?, &mut verdict);
    let operations = operations(shell).await?;
    let settled = replay(shell, &operations, &mut told, &mut verdict).await?;
    bills(&told, &settled, &mut verdict);
    records::check(shell, &told, &settled, &mut verdict).await?;
    if verdict.counts.at_once < i64::try_from(at_once).unwrap_or(i64::MAX) {
        let most = verdict.counts.at_once;
        verdict.say(format!("{most} turns ran at one instant, at most, and {at_once} were to"));
    }
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
        let what = match refusal.why {
            Why::Closed => "closed",
            Why::Exceeded { dimension, .. } => dimension.name(),
        };
        let by = format!("{:?} {what}", refusal.account.kind).to_lowercase();
        *verdict.refused_by.entry(by).or_default() += 1;
        if !refusal.sound {
            let Refusal { account, why, before, after, .. } = refusal;
            verdict.say(format!(
                "{account:?} refused ({why:?}); at no operation from {before} to {after} was that so"
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
        // The first of its accounts, in their order, that is closed or has not enough left.
        let first = asked.accounts.iter().find_map(|(account, ceiling)| {
            let balance = of(account);
            if balance.closed {
                return Some((*account, Why::Closed));
            }
            let (dimension, left) = balance.exceeded(ceiling, &asked.amounts)?;
            let asked = asked.amounts.of(dimension);
            Some((*account, Why::Exceeded { dimension, asked, left }))
        });
        let sound = first == Some((refusal.account, refusal.why));
        told.refusals[place].sound = sound;
    }
}

impl Books {
    fn take(&mut self, operation: &Operation, told: &Told, verdict: &mut Verdict) {
        let number = operation.number;
        match (operation.kind, operation.attempt, operation.session) {
            (OperationKind::Reopened, None, None) => self.reopen(operation, verdict),
            (OperationKind::Reserved, Some(attempt), Some(session)) => {
                self.reserve(operation, attempt, session, told.asked.get(&attempt), verdict);
            }
            (OperationKind::Reconciled, Some(attempt), Some(_)) => {
                self.bill(operation, attempt, told, verdict);
            }
            (_, Some(attempt), Some(session)) => {
                self.settle(operation, attempt, session, told.asked.get(&attempt), verdict);
            }
            _ => verdict.say(format!("operation {number}: is of no attempt: {operation:?}")),
        }
        if operation.is_overrun() {
            verdict.overruns += 1;
            let is_known = operation.attempt.is_some_and(|attempt| told.overran.contains(&attempt));
            if !is_known {
                verdict.say(format!("operation {number}: an overrun, and nobody billed more than the bound"));
            }
        }
        for (account, _) in &operation.accounts {
            let before = self.balances.get(account).copied().unwrap_or_default();
            let balance = operation.apply(*account, before);
            self.balances.insert(*account, balance);
            let ceiling = self.ceilings.get(account).copied().unwrap_or_default();
            // What was spent above reservations is above the ceiling, maybe; nothing else is, and nothing is set aside there.
            let within = match operation.kind {
                OperationKind::Reserved => balance,
                _ => Balance { settled: balance.settled.less(balance.overrun), ..balance },
            };
            if let Some((dimension, _)) = within.exceeded(&ceiling, &Amounts::ZERO) {
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
        for (account, _) in &operation.accounts {
            if self.balances.get(account).is_some_and(|balance| balance.closed) {
                verdict.say(format!("operation {number}: reserves from {account:?}, which is closed"));
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
        if movement.overrun != movement.settled.less(reserved) {
            verdict.say(format!("operation {number}: {movement:?} are no overrun of {reserved:?}"));
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
        let (amounts, now, over) = (movement.settled, movement.settled, movement.overrun);
        self.settled.insert(attempt, Settled { kind, reserved, amounts, now, over });
    }

    /// A later bill of an attempt that was settled: it takes the place of what was known.
    fn bill(&mut self, operation: &Operation, attempt: Digest, told: &Told, verdict: &mut Verdict) {
        let number = operation.number;
        let (Some(bill), Some(settled)) = (told.invoiced.get(&attempt), self.settled.get_mut(&attempt))
        else {
            return verdict.say(format!("operation {number}: a bill that nobody has handed in"));
        };
        let expected = Movement {
            reserved: Amounts::ZERO,
            released: Amounts::ZERO,
            settled: *bill,
            unsettled: settled.now,
            overrun: bill.less(settled.reserved).less(settled.over),
        };
        if operation.movement != expected {
            let moved = &operation.movement;
            verdict.say(format!("operation {number}: a bill of {bill:?} moves {moved:?}, not {expected:?}"));
        }
        settled.now = *bill;
        settled.over = settled.over.plus(expected.overrun);
    }

    /// Only what is closed is opened.
    fn reopen(&self, operation: &Operation, verdict: &mut Verdict) {
        let closed = |account: &Account| self.balances.get(account).is_some_and(|balance| balance.closed);
        let is_right = matches!(&operation.accounts[..], [(account, _)] if closed(account))
            && operation.movement == Movement::default();
        if !is_right {
            verdict.say(format!("operation {}: opens what is not closed: {operation:?}", operation.number));
        }
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
        if !replayed.reserved.is_zero() || (replayed.closed && account.kind != AccountKind::Turn) {
            verdict.say(format!("{account:?}: stands at {replayed:?} after all has ended"));
        }
    }
    Ok(())
}

/// Nothing was billed that was not reserved, nothing settled for less than its bill, and every later bill was taken.
fn bills(told: &Told, settled: &HashMap<Digest, Settled>, verdict: &mut Verdict) {
    for (attempt, bill) in &told.invoiced {
        if settled.get(attempt).is_none_or(|settled| settled.now != *bill) {
            verdict.say(format!(
                "{:?}: a later bill of {bill:?} was not taken",
                told.asked.get(attempt).map(|asked| &asked.id)
            ));
        }
    }
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
            // What is above the bound is known only when the answer is.
            if spent < billed.min(most) {
                verdict.say(format!(
                    "{of:?}: {billed} of {dimension} were billed, and {spent} settled ({:?})",
                    settled.kind
                ));
            }
            if billed > most && !told.overran.contains(attempt) {
                verdict.say(format!("{of:?}: {billed} of {dimension} were billed, and {most} reserved"));
            }
        }
    }
}
