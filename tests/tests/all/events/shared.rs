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
