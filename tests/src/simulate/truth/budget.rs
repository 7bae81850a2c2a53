//! What the ledger did, replayed here one operation after another, in the moment of each, and held against the ceilings of
//! the run.

use std::collections::{BTreeMap, BTreeSet};

use agent_shell_core::data::{
    Account, AccountKind, Amounts, AttemptId, Balance, Body, Ceiling, Dimension, FailureCode,
};
use agent_shell_core::machine::Entry;
use agent_shell_core::ports::{Append, Operation, OperationKind, Reserve, ReserveError, Reserved, TurnMark};
use agent_shell_core::words::{Digest, SessionId, StepId, TurnId};
use agent_shell_core::{Call, Outcome};

use super::{Facts, Truth};
use crate::simulate::budgets;
use crate::simulate::coverage::{Coverage, WorldFault};
use crate::simulate::rule::Rule;
use crate::simulate::settings::Settings;

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
}

/// What is reserved for an attempt.
struct Held {
    session: Option<SessionId>,
    amounts: Amounts,
    accounts: Vec<Account>,
}

impl Truth {
    /// The number of the latest operation that is known.
    pub(in crate::simulate) fn ledger_known(&self) -> u64 {
        self.facts().budgets.last
    }

    /// The ledger has done this. `asked` is the reservation that was asked for.
    pub(in crate::simulate) fn ledger_did(&self, operations: &[Operation], asked: Option<&Reserve>) {
        let mut found = Found::new();
        let mut facts = self.facts();
        for operation in operations {
            facts.budgets.take(operation, asked, &mut found);
        }
        drop(facts);
        self.say_of_budgets(found);
    }

    /// A reservation was answered; what it did is not taken yet.
    pub(in crate::simulate) fn reserving(&self, reserve: &Reserve, answer: &Result<Reserved, ReserveError>) {
        self.tell(|| format!("reservation for {:?}: {answer:?}", reserve.attempt));
        let mut found = Found::new();
        let mut facts = self.facts();
        facts.check_asked(reserve, self.settings(), &mut found);
        let Facts { budgets, coverage, .. } = &mut *facts;
        budgets.answered(reserve, answer, coverage, &mut found);
        drop(facts);
        self.say_of_budgets(found);
    }

    /// An account stands as its operations say.
    pub(in crate::simulate) fn check_balance(&self, account: Account, balance: Option<Balance>) {
        let facts = self.facts();
        let replayed = facts.budgets.balances.get(&account).copied();
        drop(facts);
        let is_ended = balance.is_none() && account.kind == AccountKind::Turn;
        if !is_ended && balance != replayed {
            let problem = format!("{account:?} stands at {balance:?}, and its operations make {replayed:?}");
            self.say_of_budgets(vec![problem]);
        }
    }

    fn say_of_budgets(&self, found: Found) {
        found.into_iter().for_each(|problem| self.say(Rule::Budget, problem));
    }
}

impl Facts {
    /// The ceilings under which a turn's attempts are made.
    fn ceilings_of(&self, turn: TurnId, settings: &Settings) -> Vec<(AccountKind, Ceiling)> {
        let Some(key) = self.turns.get(&turn).map(|known| known.key) else { return Vec::new() };
        let Some(ceilings) = &settings.budgets else { return Vec::new() };
        let is_of_user = settings.subject(key.session).is_some();
        budgets::expected(ceilings, is_of_user, budgets::of_turn(settings.seed, key))
    }

    /// What is asked for names every account and its ceiling.
    fn check_asked(&self, reserve: &Reserve, settings: &Settings, found: &mut Found) {
        // What a `Pure` call is made for may begin before its turn's first record is durable.
        if !self.turns.contains_key(&reserve.attempt.turn) {
            return;
        }
        let expected = self.ceilings_of(reserve.attempt.turn, settings);
        let asked = reserve.in_order();
        let asked = asked.iter().map(|(account, ceiling)| (account.kind, *ceiling));
        if !asked.clone().eq(expected.iter().copied()) {
            let asked: Vec<_> = asked.collect();
            found.push(format!("{:?} asks under {asked:?}, and not {expected:?}", reserve.attempt));
        }
    }

    /// An attempt begins: what it may spend is set aside.
    pub(super) fn check_set_aside(
        &mut self,
        call: &Call,
        settings: &Settings,
        found: &mut Vec<(Rule, String)>,
    ) {
        let Some(mirror) = self.sessions.get(&call.session) else { return };
        // A process that has lost its session may still do what it was about to do.
        let is_running = mirror.state.turn.as_ref().is_some_and(|turn| turn.id == call.turn);
        if mirror.epoch != call.epoch || !is_running || self.ceilings_of(call.turn, settings).is_empty() {
            return;
        }
        let digest = digest_of((call.session, call.turn, &call.step), call.epoch, call.attempt);
        if !self.budgets.live.contains_key(&digest) {
            let what = format!("turn {} step {}, attempt {}", call.turn, call.step, call.attempt);
            found.push((Rule::Budget, format!("{what} begins, and nothing is set aside for it")));
        }
        self.budgets.begun.insert(digest);
        self.coverage.count(WorldFault::BudgetTaken);
    }

    /// Whether a turn may have come to another end than it had without budgets.
    pub(super) fn is_limited(&self, turn: TurnId) -> bool {
        self.budgets.limited.contains(&turn)
    }
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
        let balance = |account: &Account| self.balances.get(account).copied().unwrap_or_default();
        match answer {
            Err(ReserveError::Exceeded { account, dimension, asked, left }) => {
                let accounts = reserve.in_order();
                let ceiling = accounts.iter().find(|(of, _)| of == account).map(|(_, ceiling)| *ceiling);
                let fits = balance(account).exceeded(&ceiling.unwrap_or_default(), &reserve.amounts);
                if fits != Some((*dimension, *left)) || reserve.amounts.of(*dimension) != *asked {
                    found.push(format!("{:?} is refused by {account:?}, and {fits:?}", reserve.attempt));
                }
                coverage.count(WorldFault::BudgetExceeded);
            }
            Err(ReserveError::Closed { account }) => {
                if !balance(account).closed {
                    found.push(format!("{:?} is refused by {account:?}, which is open", reserve.attempt));
                }
            }
            _ => return,
        }
        self.refused.insert((*turn, step.clone()));
        self.limited.insert(*turn);
    }

    fn take(&mut self, operation: &Operation, asked: Option<&Reserve>, found: &mut Found) {
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
                if operation.is_overrun() {
                    found.push(format!("operation {number} settles more than was set aside: {operation:?}"));
                }
                self.settled.insert(digest, kind);
            }
            (kind, _) => {
                found.push(format!("operation {number} is of the kind {kind:?}: nobody asked for it"))
            }
        }
        for (account, _) in &operation.accounts {
            let balance = self.balances.entry(*account).or_default();
            *balance = operation.apply(*account, *balance);
        }
    }

    /// A reservation fits under the ceilings that were asked for, whatever the ledger says.
    fn reserved(
        &mut self,
        operation: &Operation,
        digest: Digest,
        asked: Option<&Reserve>,
        found: &mut Found,
    ) {
        let Some(asked) = asked.filter(|asked| asked.attempt.digest() == digest) else {
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
                | Body::AttemptFailed { turn, step, attempt, .. } => {
                    let digest = digest_of((append.session, *turn, step), entry.epoch, *attempt);
                    let kind = self.settled.get(&digest);
                    if self.begun.contains(&digest) && kind != Some(&OperationKind::Settled) {
                        say(format!(
                            "record {}: its attempt was settled as {kind:?}, not with it",
                            entry.seq
                        ));
                    }
                }
                Body::StepFailed { turn, step, failure } if failure.code == FailureCode::Budget => {
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
