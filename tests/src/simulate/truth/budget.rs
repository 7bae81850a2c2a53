//! What the ledger did, replayed here one operation after another, in the moment of each, and held against the ceilings of
//! the run.

use std::collections::{BTreeMap, BTreeSet};

use agent_shell_core::data::{
    Account, AccountKind, Amounts, AttemptId, Balance, Body, Ceiling, Dimension, FailureCode, Movement, Usage,
};
use agent_shell_core::machine::Entry;
use agent_shell_core::ports::{
    Append, Operation, OperationKind, ReconcileError, ReopenError, Reserve, ReserveError, Reserved, TurnMark,
};
use agent_shell_core::words::{Digest, SessionId, StepId, TurnId};
use agent_shell_core::{Call, Outcome};

use super::{Facts, Truth};
use crate::simulate::budgets;
use crate::simulate::coverage::{Coverage, WorldFault};
use crate::simulate::rule::Rule;
use crate::simulate::settings::Settings;
use crate::simulate::sights::Sight;

mod observed;

type Found = Vec<String>;

/// The ledger as its operations say.
#[derive(Default)]
pub(super) struct BudgetBook {
    /// The number of the latest operation.
    last: u64,
    balances: BTreeMap<Account, Balance>,
    /// What is reserved and not settled.
    live: BTreeMap<Digest, Held>,
    settled: BTreeMap<Digest, OperationKind>,
    /// The attempts that were asked for, by their digests.
    names: BTreeMap<Digest, (SessionId, TurnId, StepId)>,
    /// The steps and turns that the ledger refused something.
    refused: BTreeSet<(TurnId, StepId)>,
    limited: BTreeSet<TurnId>,
    /// The attempts that began: the answer of their reservation was not lost.
    begun: BTreeSet<Digest>,
    ended: BTreeSet<TurnId>,
    /// Every attempt that was reserved for.
    spent: BTreeMap<Digest, Spent>,
    /// What a model has used, as it said with its answer.
    used: BTreeMap<Digest, Usage>,
}

/// What is known of an attempt that was reserved for.
struct Spent {
    id: AttemptId,
    reserved: Amounts,
    /// What it cost, as far as is known.
    settled: Option<Amounts>,
    /// The most that it was known to have cost above its reservation.
    overrun: Amounts,
    /// The bills that came.
    bills: Vec<Amounts>,
}

/// What was asked of the ledger.
#[derive(Clone, Copy)]
pub(in crate::simulate) enum Asked<'a> {
    Nothing,
    Reserve(&'a Reserve),
    /// To take a bill.
    Bill(Digest, Amounts),
    /// To open an account of which this overrun was seen.
    Reopen(Account, Amounts),
}

/// What is reserved for an attempt.
struct Held {
    session: Option<SessionId>,
    amounts: Amounts,
    accounts: Vec<Account>,
}

fn digest_of(
    of: (SessionId, TurnId, &StepId),
    epoch: agent_shell_core::words::Epoch,
    attempt: u32,
) -> Digest {
    AttemptId { session: of.0, turn: of.1, step: of.2.clone(), epoch, attempt }.digest()
}

impl BudgetBook {
    fn answered(
        &mut self,
        reserve: &Reserve,
        answer: &Result<Reserved, ReserveError>,
        coverage: &mut Coverage,
        found: &mut Found,
    ) {
        let AttemptId { session, turn, step, .. } = &reserve.attempt;
        self.names.insert(reserve.attempt.digest(), (*session, *turn, step.clone()));
        // The first account, in their order, that is closed or has not enough left.
        let first = reserve.in_order().into_iter().find_map(|(account, ceiling)| {
            let balance = self.balances.get(&account).copied().unwrap_or_default();
            if balance.closed {
                return Some(ReserveError::Closed { account });
            }
            let (dimension, left) = balance.exceeded(&ceiling, &reserve.amounts)?;
            let asked = reserve.amounts.of(dimension);
            Some(ReserveError::Exceeded { account, dimension, asked, left })
        });
        match answer {
            Err(refusal @ ReserveError::Exceeded { .. }) => {
                if first.as_ref() != Some(refusal) {
                    found.push(format!("{:?} is refused: {refusal:?}, and not {first:?}", reserve.attempt));
                }
                coverage.count(WorldFault::BudgetExceeded);
            }
            Err(refusal @ ReserveError::Closed { .. }) => {
                if first.as_ref() != Some(refusal) {
                    found.push(format!("{:?} is refused: {refusal:?}, and not {first:?}", reserve.attempt));
                }
                coverage.count(WorldFault::BudgetClosed);
            }
            _ => return,
        }
        self.refused.insert((*turn, step.clone()));
        self.limited.insert(*turn);
    }

    fn take(&mut self, operation: &Operation, asked: Asked<'_>, coverage: &mut Coverage, found: &mut Found) {
        if operation.number != self.last + 1 {
            found.push(format!("operation {} follows operation {}", operation.number, self.last));
        }
        self.last = operation.number;
        let number = operation.number;
        match (operation.kind, operation.attempt) {
            (OperationKind::Reserved, Some(digest)) => self.reserved(operation, digest, asked, found),
            (kind @ (OperationKind::Settled | OperationKind::Ended | OperationKind::Swept), Some(digest)) => {
                match self.live.remove(&digest) {
                    None => found
                        .push(format!("operation {number} settles what is not reserved: {:?}", operation)),
                    Some(held) => {
                        let moved: Vec<Account> =
                            operation.accounts.iter().map(|(account, _)| *account).collect();
                        if operation.movement.released != held.amounts || moved != held.accounts {
                            found.push(format!("operation {number} does not release what was reserved"));
                        }
                    }
                }
                self.settles(operation, digest, found);
                self.settled.insert(digest, kind);
            }
            (OperationKind::Reconciled, Some(digest)) => {
                self.billed(operation, digest, asked, coverage, found);
            }
            (OperationKind::Reopened, None) => self.reopened(operation, asked, coverage, found),
            (kind, _) => {
                found.push(format!("operation {number} is of the kind {kind:?}: nobody asked for it"))
            }
        }
        if operation.is_overrun() {
            coverage.count(WorldFault::BudgetOverrun);
        }
        for (account, _) in &operation.accounts {
            // The account of a turn goes with it.
            if operation.kind == OperationKind::Reconciled && !self.balances.contains_key(account) {
                continue;
            }
            let balance = self.balances.entry(*account).or_default();
            *balance = operation.apply(*account, *balance);
        }
    }

    /// A reservation fits under the ceilings that were asked for, whatever the ledger says.
    fn reserved(&mut self, operation: &Operation, digest: Digest, asked: Asked<'_>, found: &mut Found) {
        let Asked::Reserve(asked) = asked else {
            return found.push(format!("operation {} reserves, and nobody asked for it", operation.number));
        };
        let Some(asked) = Some(asked).filter(|asked| asked.attempt.digest() == digest) else {
            return found.push(format!("operation {} reserves what nobody asked for", operation.number));
        };
        if self.settled.contains_key(&digest) || self.live.contains_key(&digest) {
            found.push(format!("{:?} is reserved a second time", asked.attempt));
        }
        if self.ended.contains(&asked.attempt.turn) {
            found.push(format!("{:?} is reserved, and its turn has ended", asked.attempt));
        }
        if operation.movement.reserved != asked.amounts {
            found.push(format!(
                "{:?} are reserved, and {:?} were asked for",
                operation.movement, asked.amounts
            ));
        }
        let accounts = asked.in_order();
        for (account, ceiling) in &accounts {
            let balance = self.balances.get(account).copied().unwrap_or_default();
            if let Some((dimension, left)) = balance.exceeded(ceiling, &asked.amounts) {
                let amount = asked.amounts.of(dimension);
                found.push(format!(
                    "{amount} of {dimension} are reserved for {:?}, and {left} were left of {account:?} under \
                     {ceiling:?}",
                    asked.attempt
                ));
            }
            if balance.closed {
                found.push(format!("{:?} is reserved from {account:?}, which is closed", asked.attempt));
            }
        }
        let held = Held {
            session: operation.session,
            amounts: operation.movement.reserved,
            accounts: accounts.iter().map(|(account, _)| *account).collect(),
        };
        self.live.insert(digest, held);
        let spent = Spent {
            id: asked.attempt.clone(),
            reserved: asked.amounts,
            settled: None,
            overrun: Amounts::ZERO,
            bills: Vec::new(),
        };
        self.spent.insert(digest, spent);
    }

    /// An attempt is settled, no bill: at its reservation, or as its model said. More than the reservation is settled only when
    /// that is what the model said, and it is an overrun.
    fn settles(&mut self, operation: &Operation, digest: Digest, found: &mut Found) {
        let Some(spent) = self.spent.get_mut(&digest) else { return };
        let (number, movement) = (operation.number, &operation.movement);
        let amounts = movement.settled;
        let overrun = amounts.less(spent.reserved);
        if operation.kind != OperationKind::Settled && amounts != spent.reserved {
            found.push(format!("operation {number} settles {:?} not at its reservation", spent.id));
        }
        if movement.overrun != overrun {
            found.push(format!("operation {number} has an overrun of {overrun:?}: {movement:?}"));
        }
        let used = self.used.get(&digest);
        // What the model did not say, or nobody heard, counts at its bound; what has no bound does not count.
        let said = used.map(|used| {
            let tokens = used.input_tokens.zip(used.output_tokens).map(|(input, output)| input + output);
            (tokens.unwrap_or(spent.reserved.tokens), used.cost_nano_usd.unwrap_or(spent.reserved.nano_usd))
        });
        let most = (spent.reserved.tokens, spent.reserved.nano_usd);
        let is_said = |settled: u64, said: u64, most: u64| settled == most || settled == said && most > 0;
        let is_right = match said {
            Some(said) => {
                is_said(amounts.tokens, said.0, most.0) && is_said(amounts.nano_usd, said.1, most.1)
            }
            None => overrun.is_zero(),
        };
        let is_more = amounts.tool_calls > spent.reserved.tool_calls
            || amounts.steps > spent.reserved.steps
            || amounts.time_ms > spent.reserved.time_ms;
        if !is_right || is_more {
            found.push(format!(
                "operation {number} settles {amounts:?} of {:?}, reserved were {:?}, and the model said {said:?}",
                spent.id, spent.reserved
            ));
        }
        (spent.settled, spent.overrun) = (Some(amounts), overrun);
    }

    /// A bill takes the place of what was known; only what is above everything known before is an overrun.
    fn billed(
        &mut self,
        operation: &Operation,
        digest: Digest,
        asked: Asked<'_>,
        coverage: &mut Coverage,
        found: &mut Found,
    ) {
        let number = operation.number;
        let (Asked::Bill(of, billed), Some(spent)) = (asked, self.spent.get_mut(&digest)) else {
            return found.push(format!("operation {number} takes a bill that nobody has"));
        };
        let live = self.live.remove(&digest);
        let expected = Movement {
            reserved: Amounts::ZERO,
            released: if live.is_some() { spent.reserved } else { Amounts::ZERO },
            settled: billed,
            unsettled: spent.settled.unwrap_or_default(),
            overrun: billed.less(spent.reserved).less(spent.overrun),
        };
        if of != digest || operation.movement != expected {
            found.push(format!(
                "operation {number} takes a bill of {billed:?}: {operation:?}, not {expected:?}"
            ));
        }
        if spent.bills.contains(&billed) {
            found.push(format!("operation {number} takes the same bill of {:?} again", spent.id));
        }
        spent.bills.push(billed);
        spent.settled = Some(billed);
        spent.overrun = spent.overrun.plus(expected.overrun);
        coverage.see(if live.is_some() { Sight::BillOfLive } else { Sight::Bill });
        if self.ended.contains(&spent.id.turn) {
            coverage.see(Sight::BillOfEnded);
        }
        if live.is_some() {
            self.settled.insert(digest, OperationKind::Reconciled);
        }
    }

    /// An account is opened again by somebody who has seen all of its overrun.
    fn reopened(
        &mut self,
        operation: &Operation,
        asked: Asked<'_>,
        coverage: &mut Coverage,
        found: &mut Found,
    ) {
        let number = operation.number;
        let Asked::Reopen(account, seen) = asked else {
            return found.push(format!("operation {number} opens an account, and nobody asked for it"));
        };
        let balance = self.balances.get(&account).copied().unwrap_or_default();
        let is_right = operation.accounts.iter().map(|(of, _)| *of).eq([account])
            && operation.movement == Movement::default();
        if !is_right || !balance.closed || balance.overrun != seen {
            found
                .push(format!("operation {number} opens {account:?} for {seen:?}: it stands at {balance:?}"));
        }
        coverage.see(Sight::Reopened);
    }

    /// A request to take a bill was answered.
    fn bill_answered(
        &self,
        digest: Digest,
        billed: Amounts,
        answer: &Result<(), ReconcileError>,
        before: u64,
        coverage: &mut Coverage,
    ) -> Option<String> {
        let spent = self.spent.get(&digest);
        let is_new = self.last > before;
        match answer {
            Ok(()) if !is_new => {
                coverage.see(Sight::BillAgain);
                let is_known = spent.is_some_and(|spent| spent.bills.contains(&billed));
                (!is_known).then(|| format!("a bill of {billed:?} is said to be taken, and is not"))
            }
            Err(ReconcileError::NotFound) if spent.is_some() => {
                Some(format!("a bill of {billed:?} is of an attempt that the ledger has, and it says not"))
            }
            _ => None,
        }
    }

    /// A request to open an account was answered.
    fn reopening_answered(
        &self,
        (account, seen): (Account, Amounts),
        answer: &Result<(), ReopenError>,
        coverage: &mut Coverage,
    ) -> Option<String> {
        let balance = self.balances.get(&account);
        match (answer, balance) {
            (Ok(()), Some(balance)) if balance.overrun == seen && !balance.closed => None,
            (Err(ReopenError::Overrun { overrun }), Some(balance))
                if balance.overrun == *overrun && *overrun != seen =>
            {
                coverage.see(Sight::ReopenRefused);
                None
            }
            (Err(ReopenError::NotFound), None) => None,
            // It has gone with its turn, which may not be told yet.
            (Err(ReopenError::NotFound), Some(_)) if account.kind == AccountKind::Turn => None,
            (Err(ReopenError::Store(_)), _) => None,
            (answer, balance) => {
                Some(format!("{account:?} stands at {balance:?}, was to be opened for {seen:?}: {answer:?}"))
            }
        }
    }

    /// An append is durable: what its outcomes cost is settled with it, and nothing of a turn that ended is left.
    pub(super) fn take_append(
        &mut self,
        append: &Append,
        entries: &[Entry],
        coverage: &mut Coverage,
        found: &mut Vec<(Rule, String)>,
    ) {
        let mut say = |problem: String| found.push((Rule::Budget, problem));
        for entry in entries {
            match &entry.body {
                Body::StepSucceeded { turn, step, attempt, .. }
                | Body::ModelAnswered { turn, step, attempt, .. }
                | Body::AttemptFailed { turn, step, attempt, .. }
                | Body::StepOutdated { turn, step, attempt, .. }
                | Body::StepReturned { turn, step, attempt, .. } => {
                    let digest = digest_of((append.session, *turn, step), entry.epoch, *attempt);
                    let kind = self.settled.get(&digest);
                    let is_settled = matches!(kind, Some(OperationKind::Settled | OperationKind::Reconciled));
                    if self.begun.contains(&digest) && !is_settled {
                        say(format!(
                            "record {}: its attempt was settled as {kind:?}, not with it",
                            entry.seq
                        ));
                    }
                }
                Body::StepFailed { turn, step, failure, .. } if failure.code == FailureCode::Budget => {
                    self.limited.insert(*turn);
                    coverage.count(WorldFault::BudgetRefused);
                    let is_unbounded = failure.message.starts_with("the model does not say")
                        || failure.message.starts_with("the price of the model");
                    if !is_unbounded && !self.refused.contains(&(*turn, step.clone())) {
                        say(format!("record {}: it is refused by a budget, and it fitted", entry.seq));
                    }
                }
                Body::TurnEnded { outcome: Outcome::Failed(failure), turn, .. }
                    if failure.code == FailureCode::Budget && !self.limited.contains(turn) =>
                {
                    say(format!("record {}: it failed by a budget, and nothing was refused", entry.seq));
                }
                _ => {}
            }
        }
        for mark in &append.turns {
            if let TurnMark::Ended(turn, _) = mark {
                self.turn_ended(*turn, &mut say);
            }
        }
        if append.purges() {
            let left = self.live.values().filter(|held| held.session == Some(append.session)).count();
            if left > 0 {
                say(format!("{left} attempts are reserved for in a session that was purged"));
            }
        }
    }

    fn turn_ended(&mut self, turn: TurnId, say: &mut impl FnMut(String)) {
        let left = self.live.keys().filter(|digest| self.names.get(digest).is_some_and(|of| of.1 == turn));
        let left = left.count();
        if left > 0 {
            say(format!("turn {turn} has ended, and {left} of its attempts are reserved for"));
        }
        if let Some(balance) = self.balances.remove(&Account::turn(turn))
            && !balance.reserved.is_zero()
        {
            say(format!("turn {turn} has ended, and {:?} are reserved of it", balance.reserved));
        }
        self.ended.insert(turn);
    }

    /// When everything has ended nothing is reserved.
    pub(super) fn check_end(&self, found: &mut Vec<(Rule, String)>) {
        for digest in self.live.keys() {
            found.push((Rule::Budget, format!("{:?} is still reserved for", self.names.get(digest))));
        }
        for (account, balance) in &self.balances {
            let of = |dimension: &Dimension| balance.reserved.of(*dimension) > 0;
            if Dimension::ALL.iter().any(of) {
                found.push((Rule::Budget, format!("{account:?} has reserved at the end {balance:?}")));
            }
        }
    }
}
