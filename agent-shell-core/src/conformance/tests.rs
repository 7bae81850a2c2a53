//! The suites on trial: each property fails on a backend that breaks it, and none is left out of the lists.

mod broken;
mod broken_bus;
mod broken_keys;
mod faults;

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;

use self::broken::{Broken, Fault};
use self::broken_bus::{BrokenBus, BusFault};
use self::broken_keys::{BrokenKeys, KeyFault};
use super::{
    BusFixture, KeyFixture, StoreFixture, TestClock, bus_suite, durable_key_suite, durable_store_suite,
    key_suite, run, store_suite,
};
use crate::ports::{Bus, KeyStore, Store};
use crate::words::{Clock, Timestamp};

/// Opens broken stores. The data outlives a "reopening" because the store is never really closed.
struct Trial {
    fault: Option<Fault>,
    clock: TestClock,
}

impl Trial {
    fn of(fault: Option<Fault>) -> Self {
        Self { fault, clock: TestClock::default() }
    }
}

#[async_trait]
impl StoreFixture for Trial {
    async fn store(&self) -> Store {
        Store::new(Arc::new(Broken::new(self.fault, Arc::new(self.clock.clone()))))
    }

    async fn reopen(&self, store: Store) -> Option<Store> {
        let forgets = self.fault == Some(Fault::EverythingIsForgotten);
        Some(if forgets { self.store().await } else { store })
    }

    async fn advance(&self, time: Duration) {
        self.clock.advance(time);
    }
}

struct KeyTrial {
    fault: Option<KeyFault>,
    keys: Mutex<Arc<BrokenKeys>>,
}

impl KeyTrial {
    fn of(fault: Option<KeyFault>) -> Self {
        Self { fault, keys: Mutex::new(Arc::new(BrokenKeys::new(fault))) }
    }

    fn opened(&self) -> Arc<BrokenKeys> {
        self.keys.lock().unwrap().clone()
    }
}

#[async_trait]
impl KeyFixture for KeyTrial {
    async fn keys(&self) -> Arc<dyn KeyStore> {
        *self.keys.lock().unwrap() = Arc::new(BrokenKeys::new(self.fault));
        self.opened()
    }

    async fn reopen(&self, keys: Arc<dyn KeyStore>) -> Option<Arc<dyn KeyStore>> {
        self.opened().reopen();
        Some(keys)
    }

    async fn holds(&self, bytes: &[u8; 32]) -> Option<bool> {
        Some(self.opened().holds(bytes))
    }
}

/// Whether the property fails.
async fn fails(property: BoxFuture<'_, ()>) -> bool {
    AssertUnwindSafe(property).catch_unwind().await.is_err()
}

#[test]
fn a_sound_store_keeps_every_property() {
    run(async {
        for (_, property) in store_suite().into_iter().chain(durable_store_suite()) {
            property(&Trial::of(None)).await;
        }
        super::check_store(&Trial::of(None)).await;
        for (_, property) in key_suite().into_iter().chain(durable_key_suite()) {
            property(&KeyTrial::of(None)).await;
        }
        super::check_keys(&KeyTrial::of(None)).await;
    });
}

#[test]
fn every_property_of_a_store_can_fail() {
    let suite: Vec<_> = store_suite().into_iter().chain(durable_store_suite()).collect();
    let (mut caught, mut survived) = (BTreeSet::new(), Vec::new());
    run(async {
        for &(fault, names) in faults::FAULTS {
            for name in names {
                let (_, property) = suite.iter().find(|(listed, _)| listed == name).expect(name);
                let trial = Trial::of(Some(fault));
                if !fails(property(&trial)).await {
                    survived.push((fault, *name));
                }
                caught.insert(*name);
            }
        }
    });
    assert!(survived.is_empty(), "each must fail on a store with this fault: {survived:?}");
    let all: BTreeSet<_> = suite.iter().map(|(name, _)| *name).collect();
    assert_eq!(all.difference(&caught).collect::<Vec<_>>(), [&""; 0], "properties that no fault makes fail");
}

#[test]
fn every_property_of_a_key_store_can_fail() {
    let suite: Vec<_> = key_suite().into_iter().chain(durable_key_suite()).collect();
    let mut caught = BTreeSet::new();
    run(async {
        for &(fault, names) in broken_keys::FAULTS {
            for name in names {
                let (_, property) = suite.iter().find(|(listed, _)| listed == name).expect(name);
                let trial = KeyTrial::of(Some(fault));
                assert!(fails(property(&trial)).await, "`{name}` must fail on a key store where {fault:?}");
                caught.insert(*name);
            }
        }
    });
    let all: BTreeSet<_> = suite.iter().map(|(name, _)| *name).collect();
    assert_eq!(all.difference(&caught).collect::<Vec<_>>(), [&""; 0], "properties that no fault makes fail");
}

struct BusTrial {
    fault: Option<BusFault>,
    clock: TestClock,
}

impl BusTrial {
    fn of(fault: Option<BusFault>) -> Self {
        Self { fault, clock: TestClock::default() }
    }
}

#[async_trait]
impl BusFixture for BusTrial {
    async fn bus(&self) -> Arc<dyn Bus> {
        Arc::new(BrokenBus::new(self.fault, self.clock.clone()))
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn capacity(&self) -> Option<usize> {
        Some(broken_bus::CAPACITY)
    }
}

#[test]
fn a_sound_bus_keeps_every_property() {
    run(async {
        for (_, property) in bus_suite() {
            property(&BusTrial::of(None)).await;
        }
        super::check_bus(&BusTrial::of(None)).await;
    });
}

/// Longer than any property takes on a bus on which it does not fail by waiting for ever.
const PATIENCE: Duration = Duration::from_millis(700);

#[test]
#[allow(clippy::disallowed_methods)] // A test lives in real time.
fn every_property_of_a_bus_can_fail() {
    let suite = bus_suite();
    let mut caught = BTreeSet::new();
    run(async {
        for &(fault, names) in broken_bus::FAULTS {
            for name in names {
                let (_, property) = suite.iter().find(|(listed, _)| listed == name).expect(name);
                let trial = BusTrial::of(Some(fault));
                // A message that never comes is a failure, too.
                let failed = tokio::time::timeout(PATIENCE, fails(property(&trial))).await.unwrap_or(true);
                assert!(failed, "`{name}` must fail on a bus where {fault:?}");
                caught.insert(*name);
            }
        }
    });
    let all: BTreeSet<_> = suite.iter().map(|(name, _)| *name).collect();
    assert_eq!(all.difference(&caught).collect::<Vec<_>>(), [&""; 0], "properties that no fault makes fail");
}

#[test]
fn no_property_is_left_out_of_the_lists() {
    let sources = [
        include_str!("append.rs"),
        include_str!("archive.rs"),
        include_str!("bus.rs"),
        include_str!("claims.rs"),
        include_str!("concurrency.rs"),
        include_str!("dedupe.rs"),
        include_str!("durability.rs"),
        include_str!("duties.rs"),
        include_str!("fairness.rs"),
        include_str!("fencing.rs"),
        include_str!("idempotence.rs"),
        include_str!("keys.rs"),
        include_str!("leases.rs"),
        include_str!("ledger.rs"),
        include_str!("ledger_settle.rs"),
        include_str!("ledger_close.rs"),
        include_str!("ledger_order.rs"),
        include_str!("listing.rs"),
        include_str!("mail.rs"),
        include_str!("marks.rs"),
        include_str!("outbox.rs"),
        include_str!("purge.rs"),
        include_str!("reading.rs"),
    ];
    let written = sources.iter().flat_map(|source| source.lines()).filter_map(|line| {
        let (name, rest) = line.strip_prefix("pub async fn ")?.split_once('(')?;
        rest.starts_with("fixture: ").then_some(name)
    });
    let stores = store_suite().into_iter().chain(durable_store_suite()).map(|(name, _)| name);
    let keys = key_suite().into_iter().chain(durable_key_suite()).map(|(name, _)| name);
    let buses = bus_suite().into_iter().map(|(name, _)| name);
    let mut listed: Vec<_> = stores.chain(keys).chain(buses).collect();
    let mut written: Vec<_> = written.collect();
    listed.sort();
    written.sort();
    assert_eq!(listed, written, "each property must stand in one list, once");
}
