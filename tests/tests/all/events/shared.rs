//! A bus that several share, one that nobody reads, and one that is full.

use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_shell_core::backends::local_bus::{LocalBus, LocalBusOptions};
use agent_shell_core::ports::Store;
use agent_shell_core::words::{ErrorKind, GroupName, SessionId};
use agent_shell_core::{Consumer, Envelope, Shell};

use super::{SOON, Seen, kept, limits, on, pending, run_turns, volatile};

fn small_bus() -> Arc<LocalBus> {
    let mut options = LocalBusOptions::default();
    options.messages = 8;
    Arc::new(LocalBus::new(options))
}

/// Waits until so many rows are pending.
async fn until_pending(store: &Store, rows: usize) {
    let wait = async {
        while pending(store).await != rows {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, wait).await.unwrap_or_else(|_| panic!("{rows} rows are not pending"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_publish_takes_no_partition_of_a_bus_that_two_share() {
    let (store, keys) = volatile();
    let (bus, seen) = (Arc::new(LocalBus::default()), Seen::default());
    let open = || on(&store, &keys).bus(bus.clone()).consumer(seen.consumer("group")).open();
    let (one, two) = (open().await.unwrap(), open().await.unwrap());
    run_turns(&one, 8, 2).await;
    seen.wait_for(32).await;
    let group = GroupName::new("group").unwrap();
    let caught_up = async {
        while one.lag(&group).await.unwrap().messages > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, caught_up).await.expect("the group catches up");
    // Whoever of them has published: the other takes over, with all partitions.
    one.shutdown().await.unwrap();
    run_turns(&two, 8, 1).await;
    seen.wait_for(48).await;
    two.shutdown().await.unwrap();
    seen.must_be_exact(8, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_local_bus_that_nobody_reads_gets_nothing_and_holds_up_no_shutdown() {
    let (store, keys) = volatile();
    let mut patient = limits();
    (patient.outbox_keep_ms, patient.drain_ms) = (0, 20_000);
    let shell = on(&store, &keys).limits(patient).bus(small_bus()).open().await.unwrap();
    run_turns(&shell, 4, 5).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((pending(&store).await, kept(&store).await.len()), (40, 40), "nothing is taken for delivered");
    let begun = Instant::now();
    shell.shutdown().await.unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "a shutdown does not wait for readers that are not there"
    );
    let seen = Seen::default();
    let shell = on(&store, &keys).bus(small_bus()).consumer(seen.consumer("group")).open().await.unwrap();
    seen.wait_for(40).await;
    shell.shutdown().await.unwrap();
    seen.must_be_exact(4, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_readers_leaves_the_publishing_to_who_has() {
    let (store, keys) = volatile();
    let without = on(&store, &keys).bus(Arc::new(LocalBus::default())).open().await.unwrap();
    run_turns(&without, 2, 1).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let seen = Seen::default();
    let with = on(&store, &keys).bus(Arc::new(LocalBus::default())).consumer(seen.consumer("group"));
    let with = with.open().await.unwrap();
    run_turns(&without, 2, 1).await;
    seen.wait_for(8).await;
    without.shutdown().await.unwrap();
    with.shutdown().await.unwrap();
    seen.must_be_exact(2, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_rows_go_also_while_the_bus_is_full() {
    let (store, keys) = volatile();
    let mut short = limits();
    (short.outbox_keep_ms, short.drain_ms) = (1000, 50);
    let hanging = Consumer::new("group", |_: Envelope| std::future::pending());
    let shell = on(&store, &keys).limits(short).bus(small_bus()).consumer(hanging).open().await.unwrap();
    run_turns(&shell, 4, 1).await;
    until_pending(&store, 0).await;
    run_turns(&shell, 4, 1).await;
    assert_eq!((pending(&store).await, kept(&store).await.len()), (8, 16));
    let trimmed = async {
        while kept(&store).await.len() > 8 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, trimmed).await.expect("what was delivered goes when it is old");
    assert_eq!(pending(&store).await, 8, "and what has no room stays");
    shell.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_reads_one_topic() {
    let consumer = |topic: &str| Seen::default().consumer("group").topic(topic);
    let shell = Shell::volatile().bus(Arc::new(LocalBus::default()));
    let refused = shell.consumer(consumer("one")).consumer(consumer("two")).open().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    assert!(refused.to_string().contains("group"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_another_store_are_not_handled() {
    let bus = Arc::new(LocalBus::default());
    let ((store_a, keys_a), (store_b, keys_b)) = (volatile(), volatile());
    let (a, b) = (Seen::default(), Seen::default());
    let shell_a = on(&store_a, &keys_a).bus(bus.clone()).consumer(a.consumer("a")).open().await.unwrap();
    let shell_b = on(&store_b, &keys_b).bus(bus.clone()).consumer(b.consumer("b")).open().await.unwrap();
    tokio::join!(run_turns(&shell_a, 3, 4), run_turns(&shell_b, 3, 4));
    a.wait_for(24).await;
    b.wait_for(24).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    for (shell, seen) in [(&shell_a, &a), (&shell_b, &b)] {
        let mut own: Vec<SessionId> = Vec::new();
        for session in 0..3 {
            own.push(shell.session(format!("s{session}")).unwrap().id().await.unwrap());
        }
        assert!(seen.all().iter().all(|event| own.contains(&event.session)), "an event of the other store");
        seen.must_be_exact(3, 8);
    }
    shell_a.shutdown().await.unwrap();
    shell_b.shutdown().await.unwrap();
}
