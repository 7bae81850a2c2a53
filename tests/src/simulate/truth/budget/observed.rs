//! What the run tells the book of budgets: what was asked of the ledger, what it did, and what models and outcomes say was used.

use super::*;
use crate::crash::scenario::TurnKey;
use crate::simulate::work::Work;

impl Truth {
    /// The number of the latest operation that is known.
    pub(in crate::simulate) fn ledger_known(&self) -> u64 {
        self.facts().budgets.last
    }

    /// The ledger has done this, when it was asked for that.
    pub(in crate::simulate) fn ledger_did(&self, operations: &[Operation], asked: Asked<'_>) {
        let mut found = Found::new();
        let mut facts = self.facts();
        let Facts { budgets, coverage, .. } = &mut *facts;
        for operation in operations {
            budgets.take(operation, asked, coverage, &mut found);
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

    /// A bill was asked to be taken; `before` was the latest operation until then.
    pub(in crate::simulate) fn billing(
        &self,
        (digest, billed): (Digest, Amounts),
        answer: &Result<(), ReconcileError>,
        before: u64,
    ) {
        let mut facts = self.facts();
        let Facts { budgets, coverage, .. } = &mut *facts;
        let problem = budgets.bill_answered(digest, billed, answer, before, coverage);
        drop(facts);
        self.say_of_budgets(problem.into_iter().collect());
    }

    /// An account was asked to be opened.
    pub(in crate::simulate) fn reopening(&self, asked: (Account, Amounts), answer: &Result<(), ReopenError>) {
        let mut facts = self.facts();
        let Facts { budgets, coverage, .. } = &mut *facts;
        let problem = budgets.reopening_answered(asked, answer, coverage);
        drop(facts);
        self.say_of_budgets(problem.into_iter().collect());
    }

    /// An attempt that was reserved for, what was set aside for it, and the bills that came; none when there is none.
    pub(in crate::simulate) fn any_attempt(&self, number: u64) -> Option<(AttemptId, Amounts, Vec<Amounts>)> {
        let facts = self.facts();
        let all = &facts.budgets.spent;
        // Half of them are live, if there are any.
        let live: Vec<&Digest> = facts.budgets.live.keys().collect();
        let spent = if number.is_multiple_of(2) && !live.is_empty() {
            all.get(live[(number / 2) as usize % live.len()])?
        } else {
            all.values().nth((number / 2) as usize % all.len().max(1))?
        };
        Some((spent.id.clone(), spent.reserved, spent.bills.clone()))
    }

    /// The accounts that are closed, with what was spent above reservations.
    pub(in crate::simulate) fn closed_accounts(&self) -> Vec<(Account, Amounts)> {
        let facts = self.facts();
        let closed = facts.budgets.balances.iter().filter(|(_, balance)| balance.closed);
        closed.map(|(account, balance)| (*account, balance.overrun)).collect()
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
        // A child has a budget of its own where nothing else is bounded.
        let ceilings = settings.budgets.unwrap_or_default();
        let is_of_user = settings.subject(key.session).is_some();
        budgets::expected(&ceilings, is_of_user, self.own_budget(turn, key, settings))
    }

    /// What a turn was asked for with.
    fn own_budget(&self, turn: TurnId, key: TurnKey, settings: &Settings) -> Option<Ceiling> {
        let Some(child) = self.children.get(&turn) else { return budgets::of_turn(settings.seed, key) };
        match &self.book.get(&key)?.work {
            Work::Wild(wild) => wild.budget_at(child.place.path()),
            _ => None,
        }
    }

    /// The ceilings of the sessions and turns above a turn.
    fn ceilings_above(&self, turn: TurnId, settings: &Settings) -> Vec<(Account, Ceiling)> {
        let ceilings = settings.budgets.unwrap_or_default();
        let (mut above, mut of) = (Vec::new(), turn);
        while let Some(child) = self.children.get(&of) {
            of = child.parent;
            let budget = self.own_budget(of, child.place.key(), settings).unwrap_or_default();
            above.push((Account::session(child.above), ceilings.session));
            above.push((Account::turn(of), budget.lower(ceilings.turn)));
        }
        above.retain(|(_, ceiling)| *ceiling != Ceiling::NONE);
        above
    }

    /// What is asked for names every account and its ceiling.
    fn check_asked(&self, reserve: &Reserve, settings: &Settings, found: &mut Found) {
        // What a `Pure` call is made for may begin before its turn's first record is durable.
        if !self.turns.contains_key(&reserve.attempt.turn) {
            return;
        }
        let expected = self.ceilings_of(reserve.attempt.turn, settings);
        let mut asked = reserve.in_order();
        for of_above in self.ceilings_above(reserve.attempt.turn, settings) {
            let before = asked.len();
            asked.retain(|share| *share != of_above);
            if asked.len() == before {
                found.push(format!(
                    "{:?} does not ask under {of_above:?}, which is above it",
                    reserve.attempt
                ));
            }
        }
        let asked = asked.iter().map(|(account, ceiling)| (account.kind, *ceiling));
        if !asked.clone().eq(expected.iter().copied()) {
            let asked: Vec<_> = asked.collect();
            found.push(format!("{:?} asks under {asked:?}, and not {expected:?}", reserve.attempt));
        }
    }

    /// An attempt begins: what it may spend is set aside.
    pub(in crate::simulate::truth) fn check_set_aside(
        &mut self,
        call: &Call,
        settings: &Settings,
        found: &mut Vec<(Rule, String)>,
    ) {
        // What undoes a step is charged to nobody.
        if call.step.as_str().starts_with("undo:") {
            return;
        }
        let Some(mirror) = self.sessions.get(&call.session) else { return };
        // A process that has lost its session may still do what it was about to do.
        let is_running = mirror.state.turn.as_ref().is_some_and(|turn| turn.id == call.turn);
        let is_bounded = !self.ceilings_of(call.turn, settings).is_empty()
            || !self.ceilings_above(call.turn, settings).is_empty();
        if mirror.epoch != call.epoch || !is_running || !is_bounded {
            return;
        }
        let digest = digest_of((call.session, call.turn, &call.step), call.epoch, call.attempt);
        // A bill may come before the attempt has begun: it settles.
        let is_billed = self.budgets.settled.get(&digest) == Some(&OperationKind::Reconciled);
        if !self.budgets.live.contains_key(&digest) && !is_billed {
            let what = format!("turn {} step {}, attempt {}", call.turn, call.step, call.attempt);
            found.push((Rule::Budget, format!("{what} begins, and nothing is set aside for it")));
        }
        self.budgets.begun.insert(digest);
        self.coverage.count(WorldFault::BudgetTaken);
    }

    /// Whether a turn may have come to another end than it had without budgets.
    pub(in crate::simulate::truth) fn is_limited(&self, turn: TurnId) -> bool {
        self.budgets.limited.contains(&turn)
    }
}

impl Facts {
    /// A model says what an answer has used.
    pub(in crate::simulate::truth) fn take_usage(&mut self, call: &Call, usage: Usage) {
        let digest = digest_of((call.session, call.turn, &call.step), call.epoch, call.attempt);
        self.budgets.used.insert(digest, usage);
    }
}
