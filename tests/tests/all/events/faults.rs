//! Events on a bus that loses, overwrites, repeats, refuses and passes over.

use std::collections::BTreeSet;
use std::sync::Arc;

use agent_shell_core::Shell;
use agent_shell_core::backends::local_bus::{LocalBus, LocalBusOptions};
use agent_shell_core::ports::Store;
use agent_shell_core::words::OutgoingId;

use super::brittle::Brittle;
use super::{Seen, kept, limits, on, pending, run_turns, volatile, wait_until};

/// A shell on the bus, with a consumer.
async fn shell_on(bus: &Brittle, seen: &Seen, keep_ms: u64) -> (Store, Shell) {
    let (store, keys) = volatile();
    let mut limits = limits();
    limits.outbox_keep_ms = keep_ms;
    let shell = on(&store, &keys).limits(limits).bus(Arc::new(bus.clone()));
    (store, shell.consumer(seen.consumer("group")).open().await.unwrap())
}

async fn ids(store: &Store) -> BTreeSet<OutgoingId> {
    kept(store).await.iter().map(|row| row.outgoing.id).collect()
}

fn has_all(bus: &Brittle, ids: &BTreeSet<OutgoingId>) -> bool {
    ids.is_subset(&bus.ids().into_iter().collect())
}

const DAY: u64 = 24 * 3_600_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_that_was_lost_is_published_again() {
    let (bus, seen) = (Brittle::default(), Seen::default());
    let (store, shell) = shell_on(&bus, &seen, DAY).await;
    run_turns(&shell, 4, 4).await;
    seen.wait_for(32).await;
    let told = ids(&store).await;
    for kept in [3, 1, 0] {
        bus.lose_after(kept);
        assert!(!has_all(&bus, &told));
        wait_until("what was lost", || has_all(&bus, &told)).await;
    }
    run_turns(&shell, 4, 1).await;
    seen.wait_for(40).await;
    seen.must_be_exact(4, 10);
    shell.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_that_was_overwritten_is_published_again() {
    let (bus, seen) = (Brittle::default(), Seen::default());
    let (store, shell) = shell_on(&bus, &seen, DAY).await;
    run_turns(&shell, 4, 3).await;
    seen.wait_for(24).await;
    let told = ids(&store).await;
    bus.overwrite_last();
    assert!(!has_all(&bus, &told));
    wait_until("what was overwritten", || has_all(&bus, &told)).await;
    run_turns(&shell, 4, 1).await;
    seen.wait_for(32).await;
    seen.must_be_exact(4, 8);
    shell.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_that_was_lost_while_nobody_ran_is_published_again() {
    let (bus, seen) = (Brittle::default(), Seen::default());
    let (store, keys) = volatile();
    let open = || on(&store, &keys).bus(Arc::new(bus.clone())).consumer(seen.consumer("group")).open();
    let shell = open().await.unwrap();
    run_turns(&shell, 4, 3).await;
    shell.shutdown().await.unwrap();
    let told = ids(&store).await;
    assert!(has_all(&bus, &told), "a shutdown publishes what is left");
    bus.lose_after(2);
    assert!(!has_all(&bus, &told));
    let shell = open().await.unwrap();
    wait_until("what was lost", || has_all(&bus, &told)).await;
    seen.wait_for(24).await;
    shell.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_that_was_overwritten_by_later_events_while_nobody_ran_is_published_again() {
    for keeps in [0, 1, 3] {
        let (bus, seen) = (Brittle::default(), Seen::default());
        let (store, keys) = volatile();
        let open = || on(&store, &keys).bus(Arc::new(bus.clone()));
        let shell = open().open().await.unwrap();
        run_turns(&shell, 4, 4).await;
        shell.shutdown().await.unwrap();
        let told = ids(&store).await;
        assert!(has_all(&bus, &told), "a shutdown publishes what is left");
        bus.overwrite_after(keeps);
        assert!(!has_all(&bus, &told));
        // Nothing more is told, by which a consumer would see that there is a gap.
        let shell = open().consumer(seen.consumer("group")).open().await.unwrap();
        wait_until("what was lost", || has_all(&bus, &told)).await;
        seen.wait_for(32).await;
        shell.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeats_reach_a_handler_once() {
    let (bus, seen) = (Brittle::default(), Seen::default());
    bus.do_not_answer(6);
    let (store, shell) = shell_on(&bus, &seen, DAY).await;
    run_turns(&shell, 3, 4).await;
    seen.wait_for(24).await;
    wait_until("the end of publishing", || bus.ids().len() > 24).await;
    assert!(bus.ids().len() > ids(&store).await.len(), "some are there twice");
    seen.must_be_exact(3, 8);
    shell.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_is_acknowledged_only_when_the_bus_has_it() {
    let (bus, seen) = (Brittle::default(), Seen::default());
    bus.refuse(true);
    // Nothing is kept that is acknowledged: what was acknowledged too early is gone.
    let (store, shell) = shell_on(&bus, &seen, 0).await;
    run_turns(&shell, 3, 2).await;
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert_eq!((pending(&store).await, kept(&store).await.len()), (12, 12));
    bus.refuse(false);
    seen.wait_for(12).await;
    seen.must_be_exact(3, 4);
    shell.shutdown().await.unwrap();
    assert_eq!(pending(&store).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_is_filled_from_the_outbox_in_order() {
    let (bus, seen) = (Brittle::default(), Seen::default());
    let (store, keys) = volatile();
    let shell = on(&store, &keys).events("/x").open().await.unwrap();
    run_turns(&shell, 2, 4).await;
    shell.shutdown().await.unwrap();
    for row in kept(&store).await.iter().filter(|row| [1, 4, 5].contains(&row.outgoing.sequence)) {
        bus.hide(row.outgoing.id);
    }
    let shell = on(&store, &keys).bus(Arc::new(bus.clone())).consumer(seen.consumer("group"));
    let shell = shell.open().await.unwrap();
    seen.wait_for(16).await;
    seen.must_be_exact(2, 8);
    shell.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_consumer_holds_up_the_publisher_and_loses_nothing() {
    let (store, keys) = volatile();
    let mut options = LocalBusOptions::default();
    options.messages = 4;
    let seen = Seen::default();
    let slow = seen.clone();
    let handler = move |event: agent_shell_core::Envelope| {
        let slow = slow.clone();
        async move {
            tokio::time::sleep(std::time::Duration::from_millis(3)).await;
            slow.0.lock().unwrap().push(event);
            Ok::<_, agent_shell_core::HandlerError>(())
        }
    };
    let shell = on(&store, &keys).bus(Arc::new(LocalBus::new(options)));
    let shell = shell.consumer(agent_shell_core::Consumer::new("slow", handler)).open().await.unwrap();
    run_turns(&shell, 5, 6).await;
    seen.wait_for(60).await;
    seen.must_be_exact(5, 12);
    shell.shutdown().await.unwrap();
}
