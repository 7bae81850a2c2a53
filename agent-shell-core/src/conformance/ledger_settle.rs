//! Settlements: with an append or alone, at the end of a turn, of dead owners; each once.

use super::StoreFixture;
use super::ledger_scene::{account, at_most, money, stands};
use super::scene::{Scene, unique};
use super::writer::elsewhere;
use crate::data::{Account, AccountKind, Ceiling};
use crate::ports::{Append, AppendError};

/// A settlement frees the reservation, and what was not spent is there again.
pub async fn a_settlement_frees_what_was_not_spent(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let spender = scene.spender().await;
    let bounds = [AccountKind::Tenant, AccountKind::User].map(|kind| (account(kind), at_most(100)));
    scene.reserve(spender.ask("one", money(80), &bounds)).await;
    scene.reserve(spender.ask("two", money(20), &bounds)).await;
    assert!(scene.try_reserve(spender.ask("three", money(50), &bounds)).await.is_err(), "all is reserved");
    scene.settle(&spender, vec![spender.cost("one", 30), spender.cost("two", 0)]).await;
    for (account, _) in bounds {
        assert_eq!(scene.balance(account).await, stands(30, 0), "what was spent must be settled");
    }
    scene.reserve(spender.ask("three", money(50), &bounds)).await;
}

/// A settlement is made once: a repeat changes nothing, nor does another one.
pub async fn a_settlement_is_made_once(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let spender = scene.spender().await;
    let account = account(AccountKind::Tenant);
    scene.reserve(spender.ask("one", money(80), &[(account, Ceiling::NONE)])).await;
    for spent in [30, 30, 50, 200] {
        scene.settle(&spender, vec![spender.cost("one", spent), spender.cost("one", spent + 1)]).await;
        assert_eq!(scene.balance(account).await, stands(30, 0), "an attempt must be settled once");
    }
}

/// What is not reserved is passed over, also when it is another session's.
pub async fn what_is_not_reserved_is_passed_over(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let (spender, beside) = (scene.spender().await, scene.spender().await);
    let (one, other) = (account(AccountKind::Tenant), account(AccountKind::User));
    scene.reserve(spender.ask("one", money(80), &[(one, Ceiling::NONE)])).await;
    scene.reserve(beside.ask("one", money(20), &[(other, Ceiling::NONE)])).await;
    let settlements = vec![spender.cost("unknown", 5), beside.cost("one", 10), spender.cost("one", 40)];
    scene.settle(&spender, settlements).await;
    assert_eq!(scene.balance(one).await, stands(40, 0), "what is reserved must be settled all the same");
    assert_eq!(scene.balance(other).await, stands(0, 20), "another session's must be left");
    let refused = scene.store.ledger.reconcile(spender.attempt("unknown"), money(1)).await;
    assert!(refused.is_err(), "nothing must be known of what was not reserved");
}

/// An append settles with its records.
pub async fn an_append_settles_with_its_records(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut spender = scene.spender().await;
    let account = account(AccountKind::Tenant);
    scene.reserve(spender.ask("one", money(80), &[(account, at_most(100))])).await;
    let settling = spender.settling(vec![spender.cost("one", 60), spender.cost("unknown", 7)]);
    spender.writer.write(&scene.store, settling).await;
    assert_eq!(scene.balance(account).await, stands(60, 0), "an append must settle what it names");
    scene.reserve(spender.ask("two", money(40), &[(account, at_most(100))])).await;
}

/// An append that is refused settles nothing, whatever it is refused for.
pub async fn a_refused_append_settles_nothing(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let spender = scene.spender().await;
    let account = account(AccountKind::Tenant);
    scene.reserve(spender.ask("one", money(80), &[(account, Ceiling::NONE)])).await;
    let settling = || spender.settling(vec![spender.cost("one", 60)]);
    let damaged = Append { records: Vec::new(), ..settling() };
    let behind = Append { expected: elsewhere(spender.writer.head.seq), ..settling() };
    let twice = Append { turns: [spender.ending().turns, spender.ending().turns].concat(), ..settling() };
    for append in [damaged, behind, twice] {
        let refused = scene.append(append).await;
        assert!(refused.is_err(), "the append must be refused");
        assert_eq!(scene.balance(account).await, stands(0, 80), "and settle nothing");
    }
    let later = scene.taken_over(&spender).await;
    let fenced = AppendError::Fenced { actual: later.writer.fence.epoch };
    assert_eq!(scene.append(settling()).await, Err(fenced), "a late append must be fenced");
    assert_eq!(scene.balance(account).await, stands(0, 80), "and settle nothing");
}

/// An append that is repeated settles once, also when a bill has come since.
pub async fn a_repeated_append_settles_once(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut spender = scene.spender().await;
    let account = account(AccountKind::Tenant);
    scene.reserve(spender.ask("one", money(80), &[(account, Ceiling::NONE)])).await;
    let settling = spender.settling(vec![spender.cost("one", 60)]);
    spender.writer.write(&scene.store, settling.clone()).await;
    scene.append(settling.clone()).await.expect("a repeat is answered");
    assert_eq!(scene.balance(account).await, stands(60, 0), "a repeat must settle nothing more");
    scene.bill(spender.attempt("one"), 70).await;
    scene.append(settling).await.expect("a repeat is answered");
    assert_eq!(scene.balance(account).await, stands(70, 0), "nor undo what came since");
}

/// The end of a turn settles what it has still reserved, at its reservation, after what its append settles; and its
/// account goes. Other turns' reservations stay.
pub async fn a_turns_end_settles_what_is_left(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut spender = scene.spender().await;
    let beside = scene.spender().await;
    let (tenant, turn) = (account(AccountKind::Tenant), Account::turn(spender.turn));
    let bounds = [(tenant, Ceiling::NONE), (turn, Ceiling::NONE)];
    for (name, amount) in [("settled", 10), ("left", 20), ("named", 40)] {
        scene.reserve(spender.ask(name, money(amount), &bounds)).await;
    }
    let others = [(tenant, Ceiling::NONE), (Account::turn(beside.turn), Ceiling::NONE)];
    scene.reserve(beside.ask("left", money(100), &others)).await;
    scene.settle(&spender, vec![spender.cost("settled", 1)]).await;
    assert_eq!(scene.balance(turn).await, stands(1, 60), "a turn's account counts as long as the turn runs");
    let ending = Append { settle: vec![spender.cost("named", 2)], ..spender.ending() };
    spender.writer.write(&scene.store, ending).await;
    assert_eq!(scene.balance(tenant).await, stands(23, 100), "what is left must be settled as reserved");
    assert_eq!(scene.balance(turn).await, None, "a turn's account must go with it");
    let stays = scene.balance(Account::turn(beside.turn)).await;
    assert_eq!(stays, stands(0, 100), "another turn's must stay");
    scene.settle(&spender, vec![spender.cost("left", 0)]).await;
    assert_eq!(scene.balance(tenant).await, stands(23, 100), "it must be settled once");
}

/// A purge settles what its session has still reserved, at its reservation, and the accounts of its turns go; other
/// accounts stay as they are.
pub async fn a_purge_settles_what_is_left(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut spender = scene.spender().await;
    let beside = scene.spender().await;
    let (user, turn) = (account(AccountKind::User), Account::turn(spender.turn));
    let bounds = [(user, Ceiling::NONE), (turn, Ceiling::NONE)];
    scene.reserve(spender.ask("named", money(10), &bounds)).await;
    scene.reserve(spender.ask("left", money(20), &bounds)).await;
    scene.reserve(beside.ask("left", money(40), &[(user, Ceiling::NONE)])).await;
    let purging = Append { settle: vec![spender.cost("named", 1)], ..spender.purging() };
    spender.writer.write(&scene.store, purging).await;
    assert_eq!(scene.balance(user).await, stands(21, 40), "what is left must be settled as reserved");
    assert_eq!(scene.balance(turn).await, None, "the account of its turn must go");
    scene.bill(spender.attempt("left"), 5).await;
    assert_eq!(scene.balance(user).await, stands(6, 40), "a bill may come after it");
}

/// A sweep settles, at their reservations, what earlier epochs have left in this session, and nothing else.
pub async fn a_sweep_takes_earlier_epochs_alone(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let first = scene.spender().await;
    let beside = scene.spender().await;
    let account = account(AccountKind::Tenant);
    let free = [(account, Ceiling::NONE)];
    scene.reserve(first.ask("settled", money(1), &free)).await;
    scene.settle(&first, vec![first.cost("settled", 0)]).await;
    scene.reserve(first.ask("one", money(10), &free)).await;
    scene.reserve(first.ask("two", money(20), &free)).await;
    scene.reserve(beside.ask("one", money(100), &free)).await;
    assert_eq!(scene.sweep(&first).await, Ok(0), "an owner's own must be left");
    let second = scene.taken_over(&first).await;
    scene.reserve(second.ask("one", money(1_000), &free)).await;
    scene.settle(&second, vec![first.cost("two", 5)]).await;
    assert_eq!(scene.balance(account).await, stands(5, 1_110), "a new owner may settle what it knows");
    assert_eq!(scene.sweep(&second).await, Ok(1), "what earlier epochs left must be swept");
    assert_eq!(scene.balance(account).await, stands(15, 1_100), "at its reservation");
    assert_eq!(scene.sweep(&second).await, Ok(0), "a repeat must find nothing");
    let third = scene.taken_over(&second).await;
    assert_eq!(scene.sweep(&third).await, Ok(1), "an epoch later it is an earlier one");
    assert_eq!(scene.balance(account).await, stands(1_015, 100), "and other sessions' must stay");
}

/// What a turn has reserved is the turn's until it ends, whatever other turns of its session do.
pub async fn turns_end_one_by_one(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut spender = scene.spender().await;
    let account = account(AccountKind::Tenant);
    let free = [(account, Ceiling::NONE)];
    scene.reserve(spender.ask("one", money(10), &free)).await;
    let first = spender.clone();
    scene.start_turn(&mut spender).await;
    scene.reserve(spender.ask("one", money(20), &free)).await;
    let ending = spender.ending();
    spender.writer.write(&scene.store, ending).await;
    assert_eq!(scene.balance(account).await, stands(20, 10), "one turn's end must leave the other's");
    let ending = super::ledger_scene::Spender { turn: first.turn, ..spender.clone() }.ending();
    spender.writer.write(&scene.store, ending).await;
    assert_eq!(scene.balance(account).await, stands(30, 0), "until it ends, too");
    let unused: crate::words::TurnId = unique();
    assert_eq!(scene.balance(Account::turn(unused)).await, None, "a turn that spent nothing has no account");
}
