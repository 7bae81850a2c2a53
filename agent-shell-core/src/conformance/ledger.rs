//! Reservations: what fits is taken, from all accounts or from none; a repeat is a repeat; and who may reserve.

use std::collections::BTreeSet;

use futures::future::join_all;

use super::StoreFixture;
use super::concurrency::spawn;
use super::ledger_scene::{account, at_most, money, stands, step, strangers};
use super::scene::{Scene, unique};
use crate::data::{Account, AccountKind, Amounts, AttemptId, Ceiling, Dimension};
use crate::ports::{Fence, Reserve, ReserveError, SettleError, StoreError};
use crate::words::{Epoch, SessionId};

const KINDS: [AccountKind; 3] = [AccountKind::Tenant, AccountKind::User, AccountKind::Session];

fn exceeded(account: Account, asked: u64, left: u64) -> ReserveError {
    ReserveError::Exceeded { account, dimension: Dimension::NanoUsd, asked, left }
}

/// A reservation is taken from each of its accounts, in every dimension; one that is named twice counts once, and what
/// nobody has reserved from has no balance.
pub async fn a_reservation_is_taken_from_each_account(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let spender = scene.spender().await;
    let turn = Account::turn(spender.turn);
    let accounts = [account(AccountKind::Tenant), account(AccountKind::User), turn];
    let named: Vec<_> =
        [turn, accounts[0], accounts[1], turn].map(|account| (account, Ceiling::NONE)).to_vec();
    let amounts = Amounts { nano_usd: 7, tokens: 600, tool_calls: 5, steps: 4, time_ms: u64::MAX >> 1 };
    for (name, times) in [("one", 1), ("two", 2)] {
        scene.reserve(spender.ask(name, amounts, &named)).await;
        for account in accounts {
            let balance = scene.balance(account).await.expect("what was reserved from has a balance");
            let reserved = if times == 1 { amounts } else { amounts.plus(amounts) };
            assert_eq!(balance.reserved, reserved, "a reservation must be taken from each account once");
            assert_eq!((balance.settled, balance.closed), (Amounts::ZERO, false), "and nothing else happen");
        }
    }
    let same_id = Account { kind: AccountKind::User, id: accounts[0].id };
    for untouched in [account(AccountKind::Tenant), same_id] {
        assert_eq!(scene.balance(untouched).await, None, "accounts must be apart by kind and id");
    }
}

/// A reservation that one account refuses is taken from none, whichever it is; the first that refuses is named.
pub async fn a_reservation_takes_all_accounts_or_none(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let spender = scene.spender().await;
    for tight in 0..KINDS.len() {
        let accounts = KINDS.map(account);
        let bound = |place: usize| (accounts[place], at_most(if place < tight { 100 } else { 50 }));
        // Named the other way round.
        let bounds: Vec<_> = (0..KINDS.len()).rev().map(bound).collect();
        scene.reserve(spender.ask(&format!("fits {tight}"), money(30), &bounds)).await;
        let refused = scene.try_reserve(spender.ask(&format!("does not {tight}"), money(25), &bounds)).await;
        assert_eq!(refused, Err(exceeded(accounts[tight], 25, 20)), "the first that refuses must be named");
        for account in accounts {
            assert_eq!(scene.balance(account).await, stands(0, 30), "nothing must be taken from any account");
        }
        let fresh = account(AccountKind::Tenant);
        let beside = [(fresh, at_most(100)), (accounts[2], at_most(50))];
        let refused = scene.try_reserve(spender.ask(&format!("nor this {tight}"), money(25), &beside)).await;
        assert_eq!(refused, Err(exceeded(accounts[2], 25, 20)), "the one that refuses must be named");
        assert_eq!(scene.balance(fresh).await, None, "a refusal must make no account");
    }
}

/// The ceiling is reached, not passed, in each dimension; what was asked for and what is left are told.
pub async fn a_ceiling_bounds_each_dimension(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let spender = scene.spender().await;
    let ceiling = Ceiling {
        nano_usd: Some(10),
        tokens: Some(10),
        tool_calls: Some(10),
        steps: Some(10),
        time_ms: Some(10),
    };
    let most = Amounts { nano_usd: 10, tokens: 10, tool_calls: 10, steps: 10, time_ms: 10 };
    for dimension in Dimension::ALL {
        let account = account(AccountKind::Tenant);
        let one = match dimension {
            Dimension::NanoUsd => Amounts { nano_usd: 8, ..Amounts::ZERO },
            Dimension::Tokens => Amounts { tokens: 8, ..Amounts::ZERO },
            Dimension::ToolCalls => Amounts { tool_calls: 8, ..Amounts::ZERO },
            Dimension::Steps => Amounts { steps: 8, ..Amounts::ZERO },
            Dimension::TimeMs => Amounts { time_ms: 8, ..Amounts::ZERO },
        };
        let name = |nth: u32| format!("{dimension} {nth}");
        let bounds = [(account, ceiling)];
        scene.reserve(spender.ask(&name(1), one, &bounds)).await;
        let refused = scene.try_reserve(spender.ask(&name(2), one, &bounds)).await;
        let left = ReserveError::Exceeded { account, dimension, asked: 8, left: 2 };
        assert_eq!(refused, Err(left), "a ceiling must bound {dimension}");
        scene.reserve(spender.ask(&name(3), most.less(one), &bounds)).await;
    }
    let full = account(AccountKind::User);
    scene.reserve(spender.ask("all", most, &[(full, ceiling)])).await;
    let again = scene.try_reserve(spender.ask("more", money(1), &[(full, ceiling)])).await;
    assert_eq!(again, Err(exceeded(full, 1, 0)), "a ceiling may be reached, and not passed");
}

/// What no ceiling bounds is taken, whatever else is bounded; and what is spent counts like what is reserved.
pub async fn what_is_not_bounded_is_taken(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let spender = scene.spender().await;
    let (free, bounded) = (account(AccountKind::Tenant), account(AccountKind::User));
    let accounts = [(free, Ceiling::NONE), (bounded, at_most(10))];
    let amounts = Amounts { nano_usd: 10, tokens: u64::MAX >> 2, ..Amounts::ZERO };
    scene.reserve(spender.ask("one", amounts, &accounts)).await;
    let many = Amounts { nano_usd: 0, tokens: u64::MAX >> 2, steps: 9, ..Amounts::ZERO };
    scene.reserve(spender.ask("two", many, &accounts)).await;
    scene.settle(&spender, vec![spender.cost("one", 9)]).await;
    let refused = scene.try_reserve(spender.ask("three", money(2), &accounts)).await;
    assert_eq!(refused, Err(exceeded(bounded, 2, 1)), "what was spent must count");
    let most = Amounts { tokens: u64::MAX, ..Amounts::ZERO };
    let refused = scene.try_reserve(spender.ask("four", most, &[(free, Ceiling::NONE)])).await;
    let refused = matches!(refused, Err(ReserveError::Exceeded { dimension: Dimension::Tokens, .. }));
    assert!(refused, "a sum that can't be written down must be refused");
}

/// The ceiling is the one that comes with the reservation: a lower one applies at once, and so does a higher one.
pub async fn a_lowered_ceiling_applies_at_once(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let spender = scene.spender().await;
    let account = account(AccountKind::Tenant);
    scene.reserve(spender.ask("one", money(60), &[(account, at_most(100))])).await;
    let refused = scene.try_reserve(spender.ask("two", money(10), &[(account, at_most(50))])).await;
    assert_eq!(refused, Err(exceeded(account, 10, 0)), "a lower ceiling must apply at once");
    let twice = [(account, at_most(100)), (account, at_most(65))];
    let refused = scene.try_reserve(spender.ask("two", money(10), &twice)).await;
    assert_eq!(refused, Err(exceeded(account, 10, 5)), "of two ceilings the lower one must apply");
    scene.reserve(spender.ask("two", money(10), &[(account, at_most(70))])).await;
}

/// A repeat answers as the first did and reserves nothing more: while it is reserved, when it is settled, when the turn
/// has ended, and whatever the ceilings are by then.
pub async fn a_reservation_is_idempotent_by_its_attempt(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut spender = scene.spender().await;
    let account = account(AccountKind::Tenant);
    let ask = spender.ask("one", money(40), &[(account, at_most(100))]);
    let first = scene.reserve(ask.clone()).await;
    assert_eq!(scene.reserve(ask.clone()).await, first, "a repeat must answer as the first did");
    assert_eq!(scene.balance(account).await, stands(0, 40), "and reserve nothing more");
    scene.settle(&spender, vec![spender.cost("one", 25)]).await;
    assert_eq!(scene.reserve(ask.clone()).await, first, "also when it is settled");
    let ending = spender.ending();
    spender.writer.write(&scene.store, ending).await;
    assert_eq!(scene.reserve(ask).await, first, "also when the turn has ended");
    assert_eq!(scene.balance(account).await, stands(25, 0), "nothing must be reserved anew");
}

/// A repeat is answered where nothing more fits, and under a ceiling that is lower by now.
pub async fn a_repeat_is_answered_under_a_full_ceiling(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let spender = scene.spender().await;
    let account = account(AccountKind::Tenant);
    let first = scene.reserve(spender.ask("one", money(100), &[(account, at_most(100))])).await;
    for ceiling in [100, 1, 0] {
        let again = scene.try_reserve(spender.ask("one", money(100), &[(account, at_most(ceiling))])).await;
        assert_eq!(again, Ok(first), "a repeat must not be judged anew");
    }
}

/// Under an attempt for which something was reserved nothing else is: not more, not less, not from another account.
pub async fn another_reservation_of_an_attempt_is_a_mismatch(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let spender = scene.spender().await;
    let (one, other) = (account(AccountKind::Tenant), account(AccountKind::User));
    let free = |account| (account, Ceiling::NONE);
    scene.reserve(spender.ask("one", money(40), &[free(one)])).await;
    for ask in [
        spender.ask("one", money(41), &[free(one)]),
        spender.ask("one", money(39), &[free(one)]),
        spender.ask("one", money(40), &[free(other)]),
        spender.ask("one", money(40), &[free(one), free(other)]),
    ] {
        assert_eq!(scene.try_reserve(ask).await, Err(ReserveError::Mismatch), "it must be refused");
    }
    assert_eq!(scene.balance(one).await, stands(0, 40), "what was reserved must stay as it is");
    assert_eq!(scene.balance(other).await, None, "and nothing else be reserved");
}

/// Attempts that differ in any part are apart: session, turn, step, epoch, number.
pub async fn attempts_are_apart(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut spender = scene.spender().await;
    let beside = scene.spender().await;
    let account = account(AccountKind::Tenant);
    let mut reserved = 0;
    let mut numbers = BTreeSet::new();
    let mut ask = |attempt: AttemptId, fence: Fence| {
        reserved += 10;
        let accounts = vec![(account, at_most(reserved))];
        Reserve { attempt, fence, amounts: money(10), accounts }
    };
    let first = spender.attempt("one");
    let fence = spender.writer.fence;
    let asked = [
        (first.clone(), fence),
        (AttemptId { step: step("two"), ..first.clone() }, fence),
        (AttemptId { attempt: 2, ..first.clone() }, fence),
        (beside.attempt("one"), beside.writer.fence),
    ];
    for (attempt, fence) in asked {
        numbers.insert(scene.reserve(ask(attempt, fence)).await.operation);
    }
    scene.start_turn(&mut spender).await;
    numbers.insert(scene.reserve(ask(spender.attempt("one"), fence)).await.operation);
    let later = scene.taken_over(&spender).await;
    let again = AttemptId { epoch: later.writer.fence.epoch, ..spender.attempt("one") };
    numbers.insert(scene.reserve(ask(again, later.writer.fence)).await.operation);
    assert_eq!(numbers.len(), 6, "each attempt must have a reservation of its own");
    assert_eq!(scene.balance(account).await, stands(0, 60), "and each must count");
}

/// Only the owner reserves, settles and sweeps, under its epoch; a repeat needs the fence, too.
pub async fn the_ledger_is_fenced(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let spender = scene.spender().await;
    let account = account(AccountKind::Tenant);
    let ask = spender.ask("one", money(10), &[(account, Ceiling::NONE)]);
    scene.reserve(ask.clone()).await;
    let mut fences = strangers(&spender).to_vec();
    let later = scene.taken_over(&spender).await;
    fences.push(spender.writer.fence);
    fences.push(Fence { epoch: spender.writer.fence.epoch, ..later.writer.fence });
    let actual = later.writer.fence.epoch;
    let (session, ledger) = (spender.writer.session, &scene.store.ledger);
    for fence in fences {
        // A stranger's epoch may be the one that the session has by now; its owner is not.
        let fenced = ledger.reserve(Reserve { fence, ..ask.clone() }).await;
        assert_eq!(fenced, Err(ReserveError::Fenced { actual }), "a repeat by {fence:?} must be fenced");
        let ask = Reserve { fence, ..spender.ask("two", money(10), &[(account, Ceiling::NONE)]) };
        assert_eq!(
            ledger.reserve(ask).await,
            Err(ReserveError::Fenced { actual }),
            "{fence:?} must be fenced"
        );
        let settled = ledger.settle(session, fence, vec![spender.cost("one", 1)]).await;
        assert_eq!(settled, Err(SettleError::Fenced { actual }), "{fence:?} must be fenced");
        let swept = ledger.sweep(session, fence).await;
        assert_eq!(swept, Err(SettleError::Fenced { actual }), "{fence:?} must be fenced");
    }
    assert_eq!(scene.balance(account).await, stands(0, 10), "and nothing have happened");
    let nowhere: SessionId = unique();
    let swept = ledger.sweep(nowhere, Fence { owner: unique(), epoch: Epoch::ZERO }).await;
    assert!(matches!(swept, Err(SettleError::Store(StoreError::NotFound { .. }))), "no session: {swept:?}");
}

/// A turn that has ended reserves nothing more, nor does one that the session does not have.
pub async fn a_turn_that_ended_reserves_nothing(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let mut spender = scene.spender().await;
    let beside = scene.spender().await;
    let account = account(AccountKind::Tenant);
    for turn in [unique(), beside.turn] {
        let mut ask = spender.ask("one", money(1), &[(account, Ceiling::NONE)]);
        ask.attempt.turn = turn;
        let refused = scene.try_reserve(ask).await;
        let unknown = matches!(refused, Err(ReserveError::Store(StoreError::NotFound { .. })));
        assert!(unknown, "a turn must be the session's own: {refused:?}");
    }
    let ending = spender.ending();
    spender.writer.write(&scene.store, ending).await;
    let late = spender.ask(
        "late",
        money(1),
        &[(account, Ceiling::NONE), (Account::turn(spender.turn), Ceiling::NONE)],
    );
    assert_eq!(scene.try_reserve(late).await, Err(ReserveError::Ended), "an ended turn must reserve nothing");
    scene.start_turn(&mut spender).await;
    scene.reserve(spender.ask("next", money(1), &[(account, Ceiling::NONE)])).await;
    let last = spender.ask("last", money(1), &[(account, Ceiling::NONE)]);
    let purging = spender.purging();
    spender.writer.write(&scene.store, purging).await;
    assert_eq!(scene.try_reserve(last).await, Err(ReserveError::Ended), "nor must one that a purge ended");
}

/// However many reserve at once from one account, together they never take more than its ceiling, and none is refused that
/// fits.
pub async fn concurrent_reservations_keep_to_the_ceiling(fixture: &dyn StoreFixture) {
    const SESSIONS: usize = 8;
    const EACH: usize = 10;
    let scene = Scene::new(fixture).await;
    let account = account(AccountKind::Tenant);
    // Three of four fit.
    let ceiling = (SESSIONS * EACH * 3 / 4) as u64 * 10;
    let mut tasks = Vec::new();
    for _ in 0..SESSIONS {
        let (ledger, spender) = (scene.store.ledger.clone(), scene.spender().await);
        tasks.extend((0..EACH).map(|nth| {
            let ask = spender.ask(&format!("step {nth}"), money(10), &[(account, at_most(ceiling))]);
            let ledger = ledger.clone();
            spawn(async move { ledger.reserve(ask).await })
        }));
    }
    let answers = join_all(tasks).await;
    let taken = answers.iter().filter(|answer| answer.is_ok()).count() as u64;
    assert_eq!(taken * 10, ceiling, "as many must be taken as fit: {answers:?}");
    let full = Err(exceeded(account, 10, 0));
    let refused = answers.iter().filter(|answer| answer.is_err());
    refused.for_each(|answer| assert_eq!(*answer, full, "and one be refused only when nothing is left"));
    assert_eq!(scene.balance(account).await, stands(0, ceiling), "what was taken must be reserved");
}

/// However often a reservation is repeated at once, it is made once.
pub async fn concurrent_repeats_reserve_once(fixture: &dyn StoreFixture) {
    let scene = Scene::new(fixture).await;
    let spender = scene.spender().await;
    let account = account(AccountKind::Tenant);
    let repeats = (0..8).map(|_| {
        let ask = spender.ask("one", money(10), &[(account, at_most(10))]);
        let ledger = scene.store.ledger.clone();
        spawn(async move { ledger.reserve(ask).await })
    });
    let numbers: BTreeSet<_> = join_all(repeats)
        .await
        .into_iter()
        .map(|answer| answer.expect("each repeat must get the reservation").operation)
        .collect();
    assert_eq!(numbers.len(), 1, "all must get the same");
    assert_eq!(scene.balance(account).await, stands(0, 10), "and it must be taken once");
}
