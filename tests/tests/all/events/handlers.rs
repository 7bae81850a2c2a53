//! Handlers that fail, panic, hang and come late.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_shell_core::backends::local_bus::LocalBus;
use agent_shell_core::ports::HighWater;
use agent_shell_core::words::{GroupName, SessionId};
use agent_shell_core::{Consumer, Envelope, EventHandler, HandlerError, Shell};
use async_trait::async_trait;

use super::brittle::Brittle;
use super::{SOON, Seen, limits, on, run_turn, run_turns, volatile, wait_until};

/// How a handler fails.
#[derive(Clone, Copy)]
enum Fails {
    WithAnError,
    ByPanic,
    ByHanging,
}

/// A consumer that fails on the second event of a session as long as it is told to.
fn failing(seen: &Seen, session: SessionId, broken: &Arc<AtomicBool>, fails: Fails) -> Consumer {
    let (seen, broken) = (seen.clone(), broken.clone());
    Consumer::new("group", move |event: Envelope| {
        let (seen, broken) = (seen.clone(), broken.clone());
        async move {
            if event.session == session && event.sequence == 2 && broken.load(Ordering::SeqCst) {
                match fails {
                    Fails::WithAnError => return Err(HandlerError::new("not now")),
                    Fails::ByPanic => panic!("the handler panics, as the test wants"),
                    Fails::ByHanging => std::future::pending::<()>().await,
                }
            }
            seen.0.lock().unwrap().push(event);
            Ok(())
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_fails_holds_up_its_session_and_no_other() {
    for fails in [Fails::WithAnError, Fails::ByPanic, Fails::ByHanging] {
        let (store, keys) = volatile();
        let mut hasty = limits();
        hasty.handler_ms = 100;
        let open = || on(&store, &keys).limits(hasty.clone()).bus(Arc::new(LocalBus::default()));
        let shell = open().open().await.unwrap();
        let session = shell.session("s0").unwrap().id().await.unwrap();
        shell.shutdown().await.unwrap();
        let (seen, broken) = (Seen::default(), Arc::new(AtomicBool::new(true)));
        let shell = open().consumer(failing(&seen, session, &broken, fails)).open().await.unwrap();
        run_turns(&shell, 3, 4).await;
        // All of the others', and the first of the one that fails.
        seen.wait_for(17).await;
        assert_eq!(seen.by_session()[&session], [1]);
        let lag = shell.lag(&GroupName::new("group").unwrap()).await.unwrap();
        assert_eq!(lag.messages, 0, "what waits for a handler does not stand in the way of others");
        run_turn(&shell, "s0").await;
        broken.store(false, Ordering::SeqCst);
        seen.wait_for(26).await;
        assert_eq!(
            seen.by_session()[&session],
            (1..=10).collect::<Vec<_>>(),
            "in order, when it is tried again"
        );
        run_turn(&shell, "s0").await;
        seen.wait_for(28).await;
        shell.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_parked_comes_after_a_restart_also_from_a_bus_that_was_committed() {
    // The event that fails is the last of its session, or others follow.
    for turns in [1, 2] {
        let (store, keys) = volatile();
        let bus = Brittle::default();
        let open = || on(&store, &keys).bus(Arc::new(bus.clone()));
        let shell = open().open().await.unwrap();
        let session = shell.session("s0").unwrap().id().await.unwrap();
        shell.shutdown().await.unwrap();
        let (seen, broken) = (Seen::default(), Arc::new(AtomicBool::new(true)));
        let consumer = || failing(&seen, session, &broken, Fails::WithAnError);
        let shell = open().consumer(consumer()).open().await.unwrap();
        run_turns(&shell, 2, turns).await;
        seen.wait_for(2 * turns + 1).await;
        // So long that what was read is committed, and not so long that it is tried again.
        tokio::time::sleep(Duration::from_millis(40)).await;
        shell.shutdown().await.unwrap();
        broken.store(false, Ordering::SeqCst);
        let shell = open().consumer(consumer()).open().await.unwrap();
        seen.wait_for(4 * turns).await;
        seen.must_be_exact(2, 2 * turns as u64);
        shell.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_handled_comes_again_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shell.db");
    let open = || Shell::at(&path).limits(limits()).bus(Arc::new(LocalBus::default()));
    let calls = Arc::new(AtomicU32::new(0));
    let count = calls.clone();
    let hanging = Consumer::new("group", move |_: Envelope| {
        count.fetch_add(1, Ordering::SeqCst);
        std::future::pending()
    });
    let shell = open().consumer(hanging).open().await.unwrap();
    run_turns(&shell, 3, 2).await;
    wait_until("a handler that hangs", || calls.load(Ordering::SeqCst) >= 3).await;
    shell.shutdown().await.unwrap();
    drop(shell);
    let seen = Seen::default();
    let shell = open().consumer(seen.consumer("group")).open().await.unwrap();
    seen.wait_for(12).await;
    shell.shutdown().await.unwrap();
    drop(shell);
    seen.must_be_exact(3, 4);
    // What was handled does not come again, and another group begins with all that is kept.
    let (same, other) = (Seen::default(), Seen::default());
    let shell = open().consumer(same.consumer("group")).consumer(other.consumer("other"));
    let shell = shell.open().await.unwrap();
    other.wait_for(12).await;
    run_turn(&shell, "s0").await;
    same.wait_for(2).await;
    shell.shutdown().await.unwrap();
    assert_eq!(same.all().iter().map(|event| event.sequence).collect::<Vec<_>>(), [5, 6]);
}

/// What the events of a session missed.
type Missed = Arc<Mutex<Vec<(SessionId, RangeInclusive<u64>)>>>;

/// Keeps what it is given, and what it misses.
struct Keeper(Seen, Missed);

#[async_trait]
impl EventHandler for Keeper {
    async fn handle(&self, event: Envelope) -> Result<(), HandlerError> {
        self.0.0.lock().unwrap().push(event);
        Ok(())
    }

    async fn missed(&self, session: SessionId, sequences: RangeInclusive<u64>) {
        self.1.lock().unwrap().push((session, sequences));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_is_told_of_what_the_outbox_has_let_go_of() {
    let (store, keys) = volatile();
    let mut none_kept = limits();
    none_kept.outbox_keep_ms = 0;
    let seen = Seen::default();
    let open = || on(&store, &keys).limits(none_kept.clone()).bus(Arc::new(LocalBus::default()));
    let shell = open().consumer(seen.consumer("first")).open().await.unwrap();
    run_turns(&shell, 1, 2).await;
    seen.wait_for(4).await;
    let session = shell.session("s0").unwrap().id().await.unwrap();
    let gone = async {
        while !super::kept(&store).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, gone).await.expect("old rows go");
    shell.shutdown().await.unwrap();
    let (late, missed) = (Seen::default(), Missed::default());
    let shell = open().consumer(Consumer::new("late", Keeper(late.clone(), missed.clone())));
    let shell = shell.open().await.unwrap();
    run_turn(&shell, "s0").await;
    late.wait_for(2).await;
    assert_eq!(late.by_session()[&session], [5, 6]);
    assert_eq!(*missed.lock().unwrap(), [(session, 1..=4)]);
    shell.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_batch_works_on_is_not_begun_beside_it_when_partitions_are_assigned_anew() {
    let (store, keys) = volatile();
    let shell = on(&store, &keys).events("/test").open().await.unwrap();
    run_turns(&shell, 1, 2).await;
    let session = shell.session("s0").unwrap().id().await.unwrap();
    shell.shutdown().await.unwrap();
    // Another member had seen the first event, and did not come to an end with it.
    let mark = HighWater { seen: 1, done: 0 };
    store.marks.save(&GroupName::new("group").unwrap(), &[(session, mark)]).await.unwrap();
    let (bus, seen, running) = (Brittle::default(), Seen::default(), Arc::new(AtomicU32::new(0)));
    bus.assign(false);
    let most = Arc::new(AtomicU32::new(0));
    let (given, begun, at_once) = (seen.clone(), running.clone(), most.clone());
    let slow = Consumer::new("group", move |event: Envelope| {
        let (given, begun, at_once) = (given.clone(), begun.clone(), at_once.clone());
        async move {
            at_once.fetch_max(begun.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(150)).await;
            begun.fetch_sub(1, Ordering::SeqCst);
            given.0.lock().unwrap().push(event);
            Ok::<_, HandlerError>(())
        }
    });
    let shell = on(&store, &keys).bus(Arc::new(bus.clone())).consumer(slow).open().await.unwrap();
    wait_until("the first event", || running.load(Ordering::SeqCst) == 1).await;
    bus.assign(true);
    seen.wait_for(4).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    shell.shutdown().await.unwrap();
    assert_eq!(most.load(Ordering::SeqCst), 1, "one event of a session at a time");
    seen.must_be_exact(1, 4);
}
