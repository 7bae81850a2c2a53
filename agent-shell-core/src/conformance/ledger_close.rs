//! Overruns close accounts, and bills change what was spent.

use super::StoreFixture;
use super::ledger_scene::{Spender, account, at_most, closed, money, stands};
use super::scene::Scene;
use crate::data::{Account, AccountKind, Amounts, BillTooLarge, Ceiling, Dimension, Spending};
use crate::ports::{Append, ReconcileError, ReopenError, ReserveError};

fn free(accounts: [Account; 2]) -> Vec<(Account, Ceiling)> {
    accounts.map(|account| (account, Ceiling::NONE)).to_vec()
}

/// How an owner says what an attempt has cost.
#[derive(Clone, Copy)]
enum Way {
    Alone,
    Append,
    Bill,
}

impl Scene<'_> {
    async fn spend(&self, way: Way, spender: &mut Spender, name: &str, nano_usd: u64) {
        let cost = vec![spender.cost(name, nano_usd)];
        match way {
            Way::Alone => self.settle(spender, cost).await,
            Way::Append => {
                let settling: Append = spender.settling(cost);
                spender.writer.write(&self.store, settling).await;
            }
            Way::Bill => self.bill(spender.attempt(name), nano_usd).await,
        }
    }
}

/// What is spent above its reservation, in whichever way that is told, is recorded in each of the attempt's accounts, and these
/// close; others stay open. What is reserved there is still settled.
pub async fn an_overrun_closes_each_account(fixture: &dyn StoreFixture) {
    for way in [Way::Alone, Way::Append, Way::Bill] {
        let scene = Scene::new(fixture).await;
        let mut spender = scene.spender().await;
        let accounts = [account(AccountKind::Tenant), account(AccountKind::User)];
        let other = account(AccountKind::Session);
        scene.reserve(spender.ask("one", money(50), &free(accounts))).await;
        scene.reserve(spender.ask("two", money(20), &free([accounts[1], other]))).await;
        scene.reserve(spender.ask("exact", money(5), &free([accounts[0], other]))).await;
        scene.spend(way, &mut spender, "exact", 5).await;
        assert_eq!(scene.balance(accounts[0]).await, stands(5, 50), "all of a reservation is no overrun");
        scene.spend(way, &mut spender, "one", 57).await;
        assert_eq!(scene.balance(accounts[0]).await, closed(62, 0, 7), "each account must hold the overrun");
        assert_eq!(scene.balance(accounts[1]).await, closed(57, 20, 7), "and be closed");
        assert_eq!(scene.balance(other).await, stands(5, 20), "another account must stay open");
        for account in accounts {
            let asked = spender.ask("more", money(0), &free([account, other]));
            let refused = scene.try_reserve(asked).await;
            assert_eq!(refused, Err(ReserveError::Closed { account }), "a closed account must take nothing");
        }
        assert_eq!(scene.balance(other).await, stands(5, 20), "nor must the open ones beside it");
        scene.spend(way, &mut spender, "two", 1).await;
        assert_eq!(scene.balance(accounts[1]).await, closed(58, 0, 7), "what is reserved must be settled");
    }
}

/// More in one dimension is an overrun, however little it is in others.
pub async fn an_overrun_counts_in_each_dimension(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let spender = scene.spender().await;
    let reserved = Amounts { nano_usd: 9, tokens: 9, tool_calls: 9, steps: 9, time_ms: 9 };
    let over = [
        Amounts { nano_usd: 10, ..Amounts::ZERO },
        Amounts { tokens: 10, ..Amounts::ZERO },
        Amounts { tool_calls: 10, ..Amounts::ZERO },
        Amounts { steps: 10, ..Amounts::ZERO },
        Amounts { time_ms: 10, ..Amounts::ZERO },
    ];
    for (amounts, nth) in over.into_iter().zip(0..) {
        let account = account(AccountKind::Tenant);
        let name = format!("{nth}");
        scene.reserve(spender.ask(&name, reserved, &[(account, Ceiling::NONE)])).await;
        let settlement = crate::ports::Settlement { attempt: spender.attempt(&name), amounts };
        scene.settle(&spender, vec![settlement]).await;
        let balance = scene.balance(account).await.expect("it is there");
        assert_eq!((balance.settled, balance.reserved), (amounts, Amounts::ZERO), "it must be settled");
        assert_eq!((balance.overrun, balance.closed), (amounts.less(reserved), true), "with its overrun");
    }
}

/// A closed account is opened by whoever names its overrun; another overrun meanwhile refuses that.
pub async fn reopening_needs_the_overrun_seen(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let spender = scene.spender().await;
    let ledger = &scene.store.ledger;
    let account = account(AccountKind::Tenant);
    let bounds = [(account, at_most(200))];
    assert_eq!(ledger.reopen(account, Amounts::ZERO).await, Err(ReopenError::NotFound), "there is none");
    scene.reserve(spender.ask("one", money(50), &bounds)).await;
    scene.reserve(spender.ask("two", money(50), &bounds)).await;
    assert_eq!(ledger.reopen(account, Amounts::ZERO).await, Ok(()), "an open account may be left open");
    scene.settle(&spender, vec![spender.cost("one", 60)]).await;
    scene.settle(&spender, vec![spender.cost("two", 55)]).await;
    let changed = Err(ReopenError::Overrun { overrun: money(15) });
    for seen in [0, 10, 16] {
        assert_eq!(ledger.reopen(account, money(seen)).await, changed, "the overrun must be the one seen");
        assert_eq!(scene.balance(account).await, closed(115, 0, 15), "a refusal must leave it closed");
    }
    assert_eq!(ledger.reopen(account, money(15)).await, Ok(()), "it must be opened");
    let open = scene.balance(account).await.expect("it is there");
    assert_eq!(
        (open.closed, open.overrun, open.settled),
        (false, money(15), money(115)),
        "and forget nothing"
    );
    assert_eq!(ledger.reopen(account, money(15)).await, Ok(()), "a repeat must find it open");
    scene.reserve(spender.ask("three", money(50), &bounds)).await;
    scene.settle(&spender, vec![spender.cost("three", 51)]).await;
    let changed = Err(ReopenError::Overrun { overrun: money(16) });
    assert_eq!(ledger.reopen(account, money(15)).await, changed, "a late repeat must not open it again");
    assert_eq!(scene.balance(account).await, closed(166, 0, 16), "and leave it closed");
}

/// A bill replaces what was settled, up or down, and settles what is still reserved.
pub async fn a_bill_replaces_what_was_settled(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let spender = scene.spender().await;
    let accounts = [account(AccountKind::Tenant), account(AccountKind::User)];
    scene.reserve(spender.ask("one", money(50), &free(accounts))).await;
    scene.reserve(spender.ask("runs", money(8), &free(accounts))).await;
    scene.settle(&spender, vec![spender.cost("one", 30)]).await;
    for billed in [40, 20, 0, 50] {
        scene.bill(spender.attempt("one"), billed).await;
        for account in accounts {
            assert_eq!(
                scene.balance(account).await,
                stands(billed, 8),
                "a bill must replace what was settled"
            );
        }
    }
    scene.bill(spender.attempt("runs"), 6).await;
    scene.settle(&spender, vec![spender.cost("runs", 7)]).await;
    assert_eq!(scene.balance(accounts[0]).await, stands(56, 0), "a bill must settle what is reserved");
}

/// Each bill counts once, also when another one has come since; and there is a bound on how many come.
pub async fn a_bill_counts_once(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let spender = scene.spender().await;
    let account = account(AccountKind::Tenant);
    scene.reserve(spender.ask("one", money(90), &[(account, Ceiling::NONE)])).await;
    scene.settle(&spender, vec![spender.cost("one", 30)]).await;
    for (billed, stood) in [(40, 40), (40, 40), (50, 50), (40, 50), (50, 50), (30, 30), (40, 30)] {
        scene.bill(spender.attempt("one"), billed).await;
        assert_eq!(scene.balance(account).await, stands(stood, 0), "a bill of {billed} must count once");
    }
    for billed in 0..Spending::MOST_BILLS as u64 - 3 {
        scene.bill(spender.attempt("one"), billed).await;
    }
    let before = scene.balance(account).await;
    let refused = scene.store.ledger.reconcile(spender.attempt("one"), money(89)).await;
    assert!(matches!(refused, Err(ReconcileError::TooMany(_))), "bills must be bounded: {refused:?}");
    assert_eq!(scene.balance(account).await, before, "and one that is refused change nothing");
}

/// A bill above the reservation is an overrun, by as much as was not known of; what was known closes nothing again.
pub async fn a_bill_above_the_reservation_closes(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let spender = scene.spender().await;
    let account = account(AccountKind::Tenant);
    scene.reserve(spender.ask("one", money(50), &[(account, Ceiling::NONE)])).await;
    scene.settle(&spender, vec![spender.cost("one", 52)]).await;
    for (billed, overrun) in [(60, 10), (55, 10), (58, 10), (70, 20)] {
        scene.bill(spender.attempt("one"), billed).await;
        assert_eq!(scene.balance(account).await, closed(billed, 0, overrun), "of a bill of {billed}");
    }
    assert_eq!(scene.store.ledger.reopen(account, money(20)).await, Ok(()), "it may be opened");
    scene.bill(spender.attempt("one"), 69).await;
    let open = scene.balance(account).await.expect("it is there");
    assert_eq!((open.closed, open.overrun), (false, money(20)), "what was known must close nothing again");
}

/// A bill may come when its turn has ended: the accounts that are there take it. One for what nobody reserved is refused.
pub async fn a_bill_may_come_late(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut spender = scene.spender().await;
    let (tenant, turn) = (account(AccountKind::Tenant), Account::turn(spender.turn));
    scene.reserve(spender.ask("one", money(50), &free([tenant, turn]))).await;
    let ending = spender.ending();
    spender.writer.write(&scene.store, ending).await;
    scene.bill(spender.attempt("one"), 20).await;
    assert_eq!(scene.balance(tenant).await, stands(20, 0), "a late bill must count");
    assert_eq!(scene.balance(turn).await, None, "and make no account");
    let unknown = scene.store.ledger.reconcile(spender.attempt("unknown"), money(1)).await;
    assert_eq!(unknown, Err(ReconcileError::NotFound), "a bill needs an attempt");
    assert_eq!(scene.balance(tenant).await, stands(20, 0), "and one without changes nothing");
}

/// What an account holds is always the exact sum: a bill for which it has no room beside what others have spent is refused, and
/// more is not settled than there is room for, in whichever way that is told. What others have spent is there when the bill
/// is corrected.
pub async fn no_sum_saturates(fixture: &dyn StoreFixture) {
    for way in [Way::Alone, Way::Append, Way::Bill] {
        let scene = Scene::new(fixture).await;
        let mut spender = scene.spender().await;
        let accounts = [account(AccountKind::Tenant), account(AccountKind::User)];
        scene.reserve(spender.ask("settled", money(60), &free(accounts))).await;
        scene.reserve(spender.ask("runs", money(40), &free([accounts[1], accounts[0]]))).await;
        scene.reserve(spender.ask("beside", money(7), &[(accounts[1], Ceiling::NONE)])).await;
        scene.reserve(spender.ask("one", money(10), &free(accounts))).await;
        scene.settle(&spender, vec![spender.cost("settled", 60)]).await;
        // The second account has least room, and the first takes no more than that either.
        let most = u64::MAX - 107;
        let bill = |nano_usd| scene.store.ledger.reconcile(spender.attempt("one"), money(nano_usd));
        let too_large = |billed| {
            let dimension = Dimension::NanoUsd;
            Err(ReconcileError::TooLarge(BillTooLarge { dimension, billed, room: most }))
        };
        for billed in [u64::MAX, most + 1] {
            assert_eq!(bill(billed).await, too_large(billed), "a bill must be refused that does not fit");
        }
        assert_eq!(scene.balance(accounts[0]).await, stands(60, 50), "and change nothing");
        let told = if matches!(way, Way::Bill) { most } else { u64::MAX };
        scene.spend(way, &mut spender, "one", told).await;
        for (account, reserved) in [(accounts[0], 40), (accounts[1], 47)] {
            assert_eq!(
                scene.balance(account).await,
                closed(most + 60, reserved, told - 10),
                "so much must be settled as there is room for"
            );
        }
        let again = scene.store.ledger.reconcile(spender.attempt("one"), money(most + 1)).await;
        assert_eq!(again, too_large(most + 1), "also when it is settled");
        scene.bill(spender.attempt("one"), 12).await;
        for (account, reserved) in [(accounts[0], 40), (accounts[1], 47)] {
            let balance = scene.balance(account).await.expect("it is there");
            assert_eq!(
                (balance.settled, balance.reserved),
                (money(72), money(reserved)),
                "what others have spent must be there when a bill is corrected"
            );
        }
    }
}
