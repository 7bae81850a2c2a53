//! Several shells on one store: one of them publishes, and another takes over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use agent_shell_core::backends::local_bus::LocalBus;
use agent_shell_core::ports::{Duty, Outbox, OutboxItem, OutboxPosition, Store, StoreError};
use agent_shell_core::words::{SessionId, Timestamp};
use async_trait::async_trait;

use super::brittle::Brittle;
use super::{Seen, kept, limits, on, pending, run_turn, run_turns, volatile};

/// An outbox that does not carry out some acknowledgements: their publisher waits for the answer, or hears that it is
/// unknown.
struct Unacknowledged {
    inner: Arc<dyn Outbox>,
    waits: bool,
    /// How many more are not done.
    times: AtomicU32,
}

impl Unacknowledged {
    fn store(store: &Store, waits: bool, times: u32) -> Store {
        let mut faulty = store.clone();
        let inner = store.outbox.clone();
        faulty.outbox = Arc::new(Self { inner, waits, times: AtomicU32::new(times) });
        faulty
    }
}

#[async_trait]
impl Outbox for Unacknowledged {
    async fn pending(&self, after: OutboxPosition, limit: usize) -> Result<Vec<OutboxItem>, StoreError> {
        self.inner.pending(after, limit).await
    }

    async fn kept(&self, after: OutboxPosition, limit: usize) -> Result<Vec<OutboxItem>, StoreError> {
        self.inner.kept(after, limit).await
    }

    async fn acknowledge(&self, through: OutboxPosition) -> Result<(), StoreError> {
        let one_less = |left: u32| left.checked_sub(1);
        match self.times.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less) {
            Ok(_) if self.waits => std::future::pending().await,
            Ok(_) => Err(StoreError::Indeterminate { detail: "the answer was lost".into() }),
            Err(_) => self.inner.acknowledge(through).await,
        }
    }

    async fn replay(
        &self,
        of: SessionId,
        sequence: u64,
        limit: usize,
    ) -> Result<Vec<OutboxItem>, StoreError> {
        self.inner.replay(of, sequence, limit).await
    }

    async fn trim(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.inner.trim(before).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_dies_before_it_acknowledges_loses_nothing() {
    let (store, keys) = volatile();
    let dying = Unacknowledged::store(&store, true, u32::MAX);
    let (bus, seen) = (Brittle::default(), Seen::default());
    let mut hasty = limits();
    hasty.drain_ms = 50;
    let shell = on(&dying, &keys).limits(hasty).bus(Arc::new(bus.clone()));
    let shell = shell.consumer(seen.consumer("group")).open().await.unwrap();
    run_turns(&shell, 2, 1).await;
    shell.shutdown().await.unwrap();
    assert_eq!(pending(&store).await, 4, "none was acknowledged");
    let shell = on(&store, &keys).bus(Arc::new(bus.clone())).consumer(seen.consumer("group"));
    let shell = shell.open().await.unwrap();
    run_turns(&shell, 2, 1).await;
    seen.wait_for(8).await;
    shell.shutdown().await.unwrap();
    seen.must_be_exact(2, 4);
    assert_eq!(bus.ids().len(), 8, "what the bus shows to have is not published again");
    assert_eq!(pending(&store).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledgement_that_was_lost_is_repeated_also_when_nothing_more_is_told() {
    let (store, keys) = volatile();
    let faulty = Unacknowledged::store(&store, false, 3);
    let (bus, seen) = (Brittle::default(), Seen::default());
    let shell = on(&faulty, &keys).bus(Arc::new(bus.clone())).consumer(seen.consumer("group"));
    let shell = shell.open().await.unwrap();
    run_turn(&shell, "s0").await;
    seen.wait_for(2).await;
    let acknowledged = async {
        while pending(&store).await > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), acknowledged).await.expect("it is acknowledged at last");
    assert_eq!(bus.ids().len(), 2, "and nothing is published again for that");
    shell.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_publishes_and_another_takes_over() {
    let (store, keys) = volatile();
    let (seen_by_one, seen_by_two) = (Seen::default(), Seen::default());
    let open = async |seen: &Seen| {
        let shell = on(&store, &keys).bus(Arc::new(LocalBus::default()));
        shell.consumer(seen.consumer("group")).open().await.unwrap()
    };
    let one = open(&seen_by_one).await;
    run_turn(&one, "s0").await;
    seen_by_one.wait_for(2).await;
    let two = open(&seen_by_two).await;
    // What the other tells is published by the one that has the duty.
    run_turns(&two, 4, 2).await;
    seen_by_one.wait_for(18).await;
    assert!(seen_by_two.all().is_empty(), "its bus is another process's");
    one.shutdown().await.unwrap();
    run_turns(&two, 4, 1).await;
    seen_by_two.wait_for(8).await;
    two.shutdown().await.unwrap();
    let mut all = seen_by_one.by_session();
    for (session, sequences) in seen_by_two.by_session() {
        all.entry(session).or_default().extend(sequences);
    }
    for sequences in all.values() {
        assert!(
            sequences.iter().copied().eq(1..=sequences.len() as u64),
            "each once, in order: {sequences:?}"
        );
    }
    assert_eq!(all.values().map(Vec::len).sum::<usize>(), kept(&store).await.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_publisher_had_on_its_own_bus_is_told_by_the_next() {
    let (store, keys) = volatile();
    // It acknowledges what its bus has, and dies before its consumers have handled any.
    let hanging =
        agent_shell_core::Consumer::new("group", |_: agent_shell_core::Envelope| std::future::pending());
    let one = on(&store, &keys).bus(Arc::new(LocalBus::default())).consumer(hanging).open().await.unwrap();
    run_turns(&one, 3, 2).await;
    while pending(&store).await > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    one.shutdown().await.unwrap();
    let seen = Seen::default();
    let two = on(&store, &keys).bus(Arc::new(LocalBus::default())).consumer(seen.consumer("group"));
    let two = two.open().await.unwrap();
    seen.wait_for(12).await;
    seen.must_be_exact(3, 4);
    two.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lacks_the_duty_publishes_nothing() {
    let (store, keys) = volatile();
    let other = agent_shell_core::words::OwnerId::from_bytes([9; 16]);
    store.ownership.enlist(other, Duration::from_secs(3600)).await.unwrap();
    assert!(store.ownership.hold(other, Duty::Publish).await.unwrap());
    let (bus, seen) = (Brittle::default(), Seen::default());
    let shell = on(&store, &keys).bus(Arc::new(bus.clone())).consumer(seen.consumer("group"));
    let shell = shell.open().await.unwrap();
    run_turns(&shell, 2, 1).await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!((pending(&store).await, bus.ids().len()), (4, 0));
    store.ownership.resign(other).await.unwrap();
    seen.wait_for(4).await;
    shell.shutdown().await.unwrap();
}
