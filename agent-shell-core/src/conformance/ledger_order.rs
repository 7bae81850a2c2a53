//! The order of operations: contiguous, and what makes the balances.

use futures::future::join_all;

use super::StoreFixture;
use super::concurrency::spawn;
use super::ledger_scene::{account, at_most, closed, id_of, money, replayed, stands};
use super::scene::{ALL, Scene};
use crate::data::{Account, AccountKind, Balance, Ceiling};
use crate::ports::{Append, Operation, OperationKind, ReconcileError};

fn numbers(operations: &[Operation]) -> Vec<u64> {
    operations.iter().map(|operation| operation.number).collect()
}

/// Every change is an operation, in the order in which they were made, with what it moved; what changed nothing is none.
pub async fn every_change_is_an_operation(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut spender = scene.spender().await;
    let (tenant, user) = (account(AccountKind::Tenant), account(AccountKind::User));
    let bounds = [(tenant, at_most(200)), (user, Ceiling::NONE)];
    let mut expected = Vec::new();
    for name in ["settled", "appended", "left", "orphan"] {
        let reserved = scene.reserve(spender.ask(name, money(50), &bounds)).await;
        expected.push((OperationKind::Reserved, Some(spender.attempt(name))));
        assert_eq!(reserved.operation, expected.len() as u64, "a reservation must tell its operation");
    }
    assert!(scene.try_reserve(spender.ask("refused", money(1), &bounds)).await.is_err(), "it is full");
    scene.reserve(spender.ask("left", money(50), &bounds)).await;
    scene.settle(&spender, vec![spender.cost("settled", 30), spender.cost("settled", 31)]).await;
    expected.push((OperationKind::Settled, Some(spender.attempt("settled"))));
    let settling = spender.settling(vec![spender.cost("appended", 60)]);
    spender.writer.write(&scene.store, settling).await;
    expected.push((OperationKind::Settled, Some(spender.attempt("appended"))));
    for account in [tenant, user] {
        assert_eq!(scene.store.ledger.reopen(account, money(10)).await, Ok(()), "it may be opened");
        expected.push((OperationKind::Reopened, None));
    }
    assert_eq!(scene.store.ledger.reopen(tenant, money(10)).await, Ok(()), "it is open");
    let orphan = spender.attempt("orphan");
    let left = spender.attempt("left");
    let mut later = scene.taken_over(&spender).await;
    scene.bill(left.clone(), 20).await;
    scene.bill(left.clone(), 20).await;
    expected.push((OperationKind::Reconciled, Some(left)));
    assert_eq!(scene.sweep(&later).await, Ok(1), "an orphan is swept");
    expected.push((OperationKind::Swept, Some(orphan)));
    scene.reserve(later.ask("last", money(5), &bounds)).await;
    expected.push((OperationKind::Reserved, Some(later.attempt("last"))));
    let ending = later.ending();
    later.writer.write(&scene.store, ending).await;
    expected.push((OperationKind::Ended, Some(later.attempt("last"))));
    let operations = scene.operations().await;
    let made: Vec<_> = operations.iter().map(|operation| (operation.kind, operation.attempt)).collect();
    let wanted: Vec<_> =
        expected.iter().map(|(kind, attempt)| (*kind, attempt.as_ref().and_then(id_of))).collect();
    assert_eq!(made, wanted, "each change must be an operation, and nothing else");
    assert_eq!(numbers(&operations), (1..=made.len() as u64).collect::<Vec<_>>(), "without a gap, from 1");
    assert_eq!(operations[0].accounts, bounds, "a reservation must hold the ceilings it was judged by");
    let overruns: Vec<_> = operations.iter().filter(|operation| operation.is_overrun()).collect();
    assert_eq!(overruns.len(), 1, "an overrun must be seen");
    assert_eq!((overruns[0].number, overruns[0].movement.overrun), (6, money(10)), "where it was");
    for operation in &operations {
        let of = operation.attempt.map(|_| spender.writer.session);
        assert_eq!(operation.session, of, "an attempt's session must be told");
    }
}

/// The operations from the first one on make the balances.
pub async fn operations_make_the_balances(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut spender = scene.spender().await;
    let beside = scene.spender().await;
    let accounts = [AccountKind::Tenant, AccountKind::User, AccountKind::Session].map(account);
    let turn = (Account::turn(spender.turn), Ceiling::NONE);
    for (name, accounts) in [("one", &accounts[..]), ("two", &accounts[1..]), ("three", &accounts[..1])] {
        let bounds: Vec<_> = accounts.iter().map(|account| (*account, Ceiling::NONE)).chain([turn]).collect();
        scene.reserve(spender.ask(name, money(40), &bounds)).await;
        scene.reserve(beside.ask(name, money(7), &bounds[..1])).await;
    }
    scene.settle(&spender, vec![spender.cost("one", 45)]).await;
    scene.bill(spender.attempt("one"), 30).await;
    assert_eq!(scene.store.ledger.reopen(accounts[0], money(5)).await, Ok(()), "it may be opened");
    let ending = Append { settle: vec![spender.cost("two", 3)], ..spender.ending() };
    spender.writer.write(&scene.store, ending).await;
    scene.bill(spender.attempt("three"), 50).await;
    let operations = scene.operations().await;
    for account in accounts {
        let (balance, _) = replayed(&operations, account, Ceiling::NONE);
        assert_eq!(Some(balance), scene.balance(account).await, "operations must make the balance");
    }
    assert_eq!(scene.balance(accounts[0]).await, closed(80, 14, 15), "as it was told");
    let last = scene.balance(accounts[2]).await;
    let opened = Balance { overrun: money(5), closed: true, ..stands(33, 0).unwrap_or_default() };
    assert_eq!(last, Some(opened), "in each of them");
}

/// Operations are read in pages, in their order.
pub async fn operations_are_read_in_pages(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let spender = scene.spender().await;
    let account = account(AccountKind::Tenant);
    for nth in 0..7 {
        scene.reserve(spender.ask(&format!("step {nth}"), money(1), &[(account, Ceiling::NONE)])).await;
    }
    let ledger = &scene.store.ledger;
    let (mut after, mut pages) = (0, Vec::new());
    loop {
        let page = ledger.operations(after, 3).await.expect("a ledger must tell its operations");
        assert!(page.len() <= 3, "a page must hold no more than asked");
        let Some(last) = page.last() else { break };
        after = last.number;
        pages.extend(numbers(&page));
    }
    assert_eq!(pages, (1..=7).collect::<Vec<_>>(), "pages must follow one another");
    assert_eq!(ledger.operations(u64::MAX, ALL).await, Ok(vec![]), "nothing comes after the last");
}

/// A trim removes old operations and what was settled by then; what is reserved stays, and so do balances and numbers.
pub async fn a_trim_removes_what_is_old_and_settled(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut spender = scene.spender().await;
    let ledger = scene.store.ledger.clone();
    let account = account(AccountKind::Tenant);
    let free = [(account, Ceiling::NONE)];
    for name in ["old", "live", "young", "billed"] {
        scene.reserve(spender.ask(name, money(10), &free)).await;
    }
    scene.settle(&spender, vec![spender.cost("old", 1), spender.cost("billed", 2)]).await;
    let horizon = 6;
    scene.settle(&spender, vec![spender.cost("young", 4)]).await;
    scene.bill(spender.attempt("billed"), 8).await;
    let kept = scene.operations().await.split_off(horizon);
    assert_eq!(scene.trim_ledger(horizon as u64).await, horizon as u64, "old operations must be removed");
    assert_eq!(scene.operations().await, kept, "and younger ones stay");
    assert_eq!(scene.balance(account).await, stands(13, 10), "balances must stay");
    let old = ledger.reconcile(spender.attempt("old"), money(9)).await;
    assert_eq!(old, Err(ReconcileError::NotFound), "what was settled by then must be gone");
    scene.bill(spender.attempt("young"), 5).await;
    scene.bill(spender.attempt("billed"), 9).await;
    let live = spender.ask("live", money(10), &free);
    assert_eq!(scene.reserve(live).await.operation, 2, "what is reserved must be known");
    let ending = spender.ending();
    spender.writer.write(&scene.store, ending).await;
    assert_eq!(scene.balance(account).await, stands(25, 0), "and be settled");
    assert_eq!(scene.trim_ledger(u64::MAX).await, 5, "all is old by now");
    scene.start_turn(&mut spender).await;
    let next = scene.reserve(spender.ask("next", money(1), &free)).await;
    assert_eq!(next.operation, 12, "numbers must go on");
    assert_eq!(ledger.trim(11).await, Ok(0), "a repeat must find nothing");
}

/// In the ledger's own order no account ever stands above its ceiling, while many reserve and settle at once.
pub async fn no_operation_passes_a_ceiling(fixture: &dyn StoreFixture) {
    const SESSIONS: usize = 6;
    const ROUNDS: usize = 10;
    let scene = Scene::new(fixture).await;
    let (tenant, users) = (account(AccountKind::Tenant), [(); 2].map(|()| account(AccountKind::User)));
    let mut tasks = Vec::new();
    for nth in 0..SESSIONS {
        let (store, mut spender) = (scene.store.clone(), scene.spender().await);
        let bounds = [(tenant, at_most(700)), (users[nth % 2], at_most(400))];
        tasks.push(spawn(async move {
            for round in 0..ROUNDS {
                let names = [0, 1, 2].map(|nth| format!("{round} {nth}"));
                let asked =
                    names.each_ref().map(|name| store.ledger.reserve(spender.ask(name, money(40), &bounds)));
                join_all(asked).await;
                let costs = names.iter().zip([0, 40, 11]).map(|(name, cost)| spender.cost(name, cost));
                let settling = spender.settling(costs.collect());
                spender.writer.write(&store, settling).await;
            }
        }));
    }
    join_all(tasks).await;
    let operations = scene.operations().await;
    let expected: Vec<u64> = (1..=operations.len() as u64).collect();
    assert_eq!(numbers(&operations), expected, "numbers must be contiguous");
    for (account, ceiling) in [(tenant, 700), (users[0], 400), (users[1], 400)] {
        let (balance, above) = replayed(&operations, account, at_most(ceiling));
        assert!(!above, "no operation may leave an account above its ceiling");
        assert_eq!(Some(balance), scene.balance(account).await, "operations must make the balance");
        assert_eq!(balance.reserved, money(0), "everything was settled");
    }
}

/// Balances, reservations, attempts and operations outlive a reopening, and numbers go on.
pub async fn the_ledger_outlives_a_reopening(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let spender = scene.spender().await;
    let accounts = [account(AccountKind::Tenant), account(AccountKind::User), Account::turn(spender.turn)];
    let bounds = accounts.map(|account| (account, at_most(200)));
    for name in ["one", "two", "three"] {
        scene.reserve(spender.ask(name, money(50), &bounds)).await;
    }
    scene.settle(&spender, vec![spender.cost("one", 51)]).await;
    let before = scene.operations().await;
    let balances = [scene.balance(accounts[0]).await, scene.balance(accounts[2]).await];
    let scene = scene.reopened().await;
    assert_eq!(scene.operations().await, before, "operations must outlive a reopening");
    let after = [scene.balance(accounts[0]).await, scene.balance(accounts[2]).await];
    assert_eq!(after, balances, "and so must balances");
    let mut later = scene.take(scene.owner().await, spender.writer.session).await;
    let fence = later.fence;
    let again = crate::ports::Reserve { fence, ..spender.ask("two", money(50), &bounds) };
    assert_eq!(scene.reserve(again).await.operation, 2, "a reservation must be recognised");
    let settling = Append { settle: vec![spender.cost("two", 10)], ..later.append(["outcome"]) };
    later.write(&scene.store, settling).await;
    assert_eq!(scene.store.ledger.sweep(later.session, fence).await, Ok(1), "the rest is an orphan's");
    scene.bill(spender.attempt("one"), 20).await;
    assert_eq!(scene.balance(accounts[1]).await, closed(80, 0, 1), "and all of it counts");
    assert_eq!(scene.operations().await.len(), before.len() + 3, "numbers must go on");
    assert_eq!(scene.trim_ledger(u64::MAX).await, 7, "all may be trimmed");
    assert_eq!(scene.store.ledger.reopen(accounts[1], money(1)).await, Ok(()), "it may be opened");
    let scene = scene.reopened().await;
    assert_eq!(numbers(&scene.operations().await), [8], "also after a trim");
}
