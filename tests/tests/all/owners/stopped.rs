//! An owner that is stopped for longer than its lease, at the last check before an act and at its opening.
//!
//! The owner is a process that stops itself with SIGSTOP at a failpoint. The other owner is this process.

use std::time::Duration;

use agent_shell_core::failpoint::Failpoint;
use agent_shell_core::words::TurnId;
use agent_shell_core::{Actor, ErrorKind, Limits, Needs, Outcome, Resolution, Rest, Shell, Turn};
use agent_shell_tests::owner::{OwnerProcess, plan_of, tool_name};
use agent_shell_tests::recorder::{Class, Violation};
use serde_json::json;

use super::{SOON, World, opened, short, submitted, warned};

/// How many worlds are begun until one has an owner that was not stopped while it wrote, in another thread.
const WORLDS: u32 = 5;
const TAKEN: &str = "another process has taken the session over";

/// A world with an owner that stands still at `at`, in its first act, and the turn of that act.
fn stopped(class: Class, at: Failpoint) -> (World, OwnerProcess, TurnId) {
    stopped_with(class, at, short())
}

fn stopped_with(class: Class, at: Failpoint, limits: Limits) -> (World, OwnerProcess, TurnId) {
    for _ in 0..WORLDS {
        let world = World::new();
        let mut first = world.owner(limits.clone(), Some(at));
        opened(&mut first);
        let turn = submitted(&mut first, "s", class);
        assert!(first.stands_still(SOON), "{class:?}");
        assert_eq!(world.seen(turn).calls, 0, "{class:?}: it has not acted yet");
        if !world.is_locked() {
            return (world, first, turn);
        }
    }
    panic!("{class:?}: each of {WORLDS} owners was stopped inside a transaction");
}

async fn answered(turn: &Turn) {
    let outcome = tokio::time::timeout(SOON, turn.outcome()).await.expect("the other owner goes on");
    assert_eq!(outcome.unwrap(), Outcome::Answered(json!("done")));
}

/// Waits until the turn rests in doubt and may be resolved as not applied.
async fn in_doubt(turn: &Turn) -> Rest {
    let outcome = tokio::time::timeout(SOON, turn.outcome()).await.expect("the other owner takes over");
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::AtRest);
    let rest = turn.rests().await.unwrap().remove(0);
    assert!(matches!(rest.needs, Needs::Resolution { attempt: 1, .. }), "{rest:?}");
    tokio::time::sleep(Duration::from_millis(500)).await;
    rest
}

async fn retried(turn: &Turn) {
    let rest = in_doubt(turn).await;
    turn.resolve_rest(&rest, Resolution::Retry, &Actor::named("olga").unwrap()).await.unwrap();
    answered(turn).await;
}

/// The other owner takes the turn over and brings it to its end.
async fn taken_over(shell: &Shell, class: Class, turn: TurnId) {
    let turn = shell.turn(turn);
    match class {
        Class::Irreversible => retried(&turn).await,
        _ => answered(&turn).await,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_was_stopped_before_the_last_check_does_not_act() {
    for class in [Class::Idempotent, Class::Probed, Class::Irreversible] {
        let mut limits = short();
        if class == Class::Idempotent {
            // What is repeated under its key waits for no deadline: here the lease alone keeps the first owner from it.
            limits.attempt_ms = 60_000;
        }
        let (world, mut first, turn) = stopped_with(class, Failpoint::ActUnchecked, limits);
        let shell = world.shell(short()).open().await.unwrap();
        taken_over(&shell, class, turn).await;
        let epochs = world.seen(turn).epochs;
        assert_eq!(epochs.len(), 1, "{class:?}: one owner has acted");

        first.go_on().unwrap();
        warned(&mut first, TAKEN);
        let seen = world.seen(turn);
        assert_eq!((seen.calls, seen.applied), (1, 1), "{class:?}: the first owner must not act any more");
        assert_eq!(seen.epochs, epochs);
        assert_eq!(world.audit().violations(), [], "{class:?}");

        // It has enlisted again, and drives other sessions as before.
        let next = submitted(&mut first, "other", Class::Irreversible);
        answered(&shell.turn(next)).await;
        shell.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_was_stopped_after_the_last_check_acts_late_once_and_key_or_target_covers_it() {
    for class in [Class::Idempotent, Class::Probed] {
        let (world, mut first, turn) = stopped(class, Failpoint::ActChecked);
        let shell = world.shell(short()).open().await.unwrap();
        taken_over(&shell, class, turn).await;
        first.go_on().unwrap();
        warned(&mut first, TAKEN);
        let seen = world.seen(turn);
        assert_eq!(seen.calls, 2, "{class:?}: the late act has come");
        assert_eq!(seen.applied, 1, "{class:?}: and had no effect");
        assert_eq!((seen.epochs.len(), seen.keys.len()), (2, 1), "{class:?}");
        assert_eq!(world.audit().violations(), [], "{class:?}");
        answered(&shell.turn(turn)).await;
        shell.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_act_that_cannot_be_covered_is_the_stated_limit() {
    let class = Class::Irreversible;
    let (world, mut first, turn) = stopped(class, Failpoint::ActChecked);
    let shell = world.shell(short()).open().await.unwrap();
    // An operator looks, finds nothing, and lets it be tried again, while a process that could still act stands still.
    retried(&shell.turn(turn)).await;
    first.go_on().unwrap();
    warned(&mut first, TAKEN);
    let seen = world.seen(turn);
    assert_eq!(
        (seen.calls, seen.applied),
        (2, 2),
        "the late act is there once, beside the one of the operator"
    );
    let mut acts: Vec<_> = seen.applications.iter().map(|act| (act.epoch, act.attempt)).collect();
    let late = acts.pop().unwrap();
    assert!(late.0 < acts[0].0 && (late.1, acts[0].1) == (1, 2), "{acts:?} {late:?}");
    assert!(matches!(&world.audit().violations()[..], [Violation::AppliedAgain { times: 2, .. }]));
    answered(&shell.turn(turn)).await;
    shell.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_act_during_a_rest_is_found_by_the_operator_who_looks_after_it() {
    let (world, mut first, turn) = stopped(Class::Irreversible, Failpoint::ActChecked);
    let shell = world.shell(short()).open().await.unwrap();
    let turn = shell.turn(turn);
    let rest = in_doubt(&turn).await;
    assert_eq!(world.seen(turn.id()).calls, 0, "nobody repeats it by himself");
    first.go_on().unwrap();
    warned(&mut first, TAKEN);
    assert_eq!(world.seen(turn.id()).applied, 1);
    let olga = Actor::named("olga").unwrap();
    turn.resolve_rest(&rest, Resolution::Applied(json!("done")), &olga).await.unwrap();
    answered(&turn).await;
    assert_eq!(world.seen(turn.id()).calls, 1);
    shell.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_that_nobody_noticed_costs_no_attempt() {
    for class in [Class::Idempotent, Class::Probed, Class::Irreversible] {
        let (world, first, turn) = stopped(class, Failpoint::ActUnchecked);
        // Longer than the lease and than the attempt's deadline; and there is no other owner.
        tokio::time::sleep(Duration::from_millis(1200)).await;
        first.go_on().unwrap();
        let mut reading = short();
        reading.held_sessions = 0;
        let shell = world.shell(reading).open().await.unwrap();
        answered(&shell.turn(turn)).await;
        let seen = world.seen(turn);
        assert_eq!((seen.calls, seen.applied), (1, 1), "{class:?}: a tool with a single attempt was called");
        shell.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_opening_that_stood_still_opens_all_the_same() {
    for at in [Failpoint::OpenEnlisted, Failpoint::ClaimBegins] {
        let world = World::new();
        let shell = world.shell(short()).open().await.unwrap();
        let mut late = world.owner(short(), Some(at));
        assert!(late.stands_still(SOON), "{at}");
        // Time enough for this process to find that the other one's lease has run out.
        tokio::time::sleep(Duration::from_millis(1200)).await;
        late.go_on().unwrap();
        opened(&mut late);
        let turn = submitted(&mut late, "s", Class::Irreversible);
        answered(&shell.turn(turn)).await;
        shell.shutdown().await.unwrap();
    }
}

/// A world with a turn, a shell that drives nothing, and an owner that stands still when it has claimed the turn's session.
async fn claimed() -> (World, Shell, Turn, OwnerProcess) {
    let mut waiting = short();
    waiting.held_sessions = 0;
    for _ in 0..WORLDS {
        let world = World::new();
        let posting = world.shell(waiting.clone()).open().await.unwrap();
        let plan = plan_of(tool_name(Class::Irreversible)).unwrap();
        let turn = posting.session("s").unwrap().submit(plan).await.unwrap();
        let first = world.owner(short(), Some(Failpoint::OpenClaimed));
        assert!(first.stands_still(SOON));
        if !world.is_locked() {
            return (world, posting, turn, first);
        }
        drop(first);
        posting.shutdown().await.unwrap();
    }
    panic!("each of {WORLDS} owners was stopped inside a transaction");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_that_stood_still_until_another_took_them_drive_nothing() {
    let (world, posting, turn, mut first) = claimed().await;
    let shell = world.shell(short()).open().await.unwrap();
    answered(&shell.turn(turn.id())).await;
    first.go_on().unwrap();
    opened(&mut first);
    // It drives what it believes that it has claimed, and the first record is refused.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(world.seen(turn.id()).calls, 1);
    let next = submitted(&mut first, "s", Class::Irreversible);
    answered(&shell.turn(next)).await;
    shell.shutdown().await.unwrap();
    posting.shutdown().await.unwrap();
}
