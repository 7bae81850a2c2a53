//! Budgets: the ledger's operations, in their own order, make its balances; each reservation is settled once, and after all
//! has ended nothing is reserved.

use std::collections::{BTreeMap, BTreeSet};

use agent_shell_core::data::{Account, AccountKind, Amounts, Balance, Ceiling};
use agent_shell_core::ports::OperationKind;
use agent_shell_core::words::Digest;
use agent_shell_core::{Error, Shell};

use super::{Rule, Verdict};

/// Operations that are read at once.
const PAGE: usize = 2_000;

pub(super) async fn check(shell: &Shell, verdict: &mut Verdict) -> Result<(), Error> {
    let mut balances: BTreeMap<Account, Balance> = BTreeMap::new();
    let mut ceilings: BTreeMap<Account, Ceiling> = BTreeMap::new();
    let (mut live, mut settled): (BTreeSet<Digest>, BTreeSet<Digest>) = (BTreeSet::new(), BTreeSet::new());
    let mut last = 0;
    loop {
        let page = shell.ledger().operations(last, PAGE).await?;
        if page.is_empty() {
            break;
        }
        for operation in page {
            let (number, kind) = (operation.number, operation.kind);
            let mut say =
                |problem| verdict.say(Rule::Budget, format!("operation {number} ({kind:?}): {problem}"));
            if number != last + 1 {
                say(format!("follows operation {last}"));
            }
            last = number;
            let is_first = match (kind, operation.attempt) {
                (OperationKind::Reserved, Some(attempt)) => {
                    !settled.contains(&attempt) && live.insert(attempt)
                }
                (_, Some(attempt)) => live.remove(&attempt) && settled.insert(attempt),
                (_, None) => false,
            };
            if !is_first {
                say("is not the first of its kind for its attempt".into());
            }
            for (account, ceiling) in &operation.accounts {
                if kind == OperationKind::Reserved {
                    ceilings.insert(*account, *ceiling);
                }
                let balance = balances.entry(*account).or_default();
                *balance = operation.apply(*account, *balance);
                let ceiling = ceilings.get(account).copied().unwrap_or_default();
                if let Some((dimension, _)) = balance.exceeded(&ceiling, &Amounts::ZERO) {
                    say(format!("passes the ceiling of {account:?} in {dimension}"));
                }
            }
            verdict.counts.reserved += u64::from(kind == OperationKind::Reserved);
            verdict.counts.swept += u64::from(kind == OperationKind::Swept);
        }
    }
    for (account, replayed) in balances {
        let kept = shell.ledger().balance(account).await?;
        let expected = (account.kind != AccountKind::Turn).then_some(replayed);
        if kept != expected || !replayed.reserved.is_zero() {
            let what = format!("{account:?}: is kept as {kept:?}, and the operations make {replayed:?}");
            verdict.say(Rule::Budget, what);
        }
    }
    Ok(())
}
