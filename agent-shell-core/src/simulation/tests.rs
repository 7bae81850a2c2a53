//! One seed, one order; and what a death leaves behind.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::backends::volatile::{VolatileKeys, VolatileStore};
use crate::data::{DataKey, KeyId};
use crate::words::{Clock, Digest};

fn order_of(seed: u64) -> Vec<(u32, Duration)> {
    let time = SimTime::default();
    let mut executor = Executor::new(time.clone(), SeededEntropy::new(seed));
    let group = executor.group();
    let order: Arc<Mutex<Vec<(u32, Duration)>>> = Arc::default();
    for task in 0..8 {
        let (time, order) = (time.clone(), order.clone());
        executor.spawn(group, async move {
            for _ in 0..3 {
                time.sleep(Duration::from_millis(u64::from(task % 3))).await;
                order.lock().unwrap().push((task, time.now()));
            }
        });
    }
    while executor.step() != Progress::Still {}
    drop(executor);
    Arc::into_inner(order).unwrap().into_inner().unwrap()
}

#[test]
fn a_seed_gives_one_order_and_another_seed_another() {
    assert_eq!(order_of(3), order_of(3));
    assert_ne!(order_of(3), order_of(4));
    assert_eq!(order_of(3).len(), 24);
}

#[test]
fn time_passes_only_when_nothing_is_ready() {
    let time = SimTime::default();
    let mut executor = Executor::new(time.clone(), SeededEntropy::new(1));
    let group = executor.group();
    let seen = Arc::new(AtomicU32::new(0));
    for _ in 0..2 {
        let (time, seen) = (time.clone(), seen.clone());
        executor.spawn(group, async move {
            time.sleep(Duration::from_secs(5)).await;
            seen.fetch_add(1, Ordering::SeqCst);
        });
    }
    while time.now() == Duration::ZERO {
        executor.step();
    }
    assert_eq!((seen.load(Ordering::SeqCst), time.now()), (0, Duration::from_secs(5)));
    assert_eq!(executor.step(), Progress::Polled(group));
    assert_eq!(executor.step(), Progress::Polled(group));
    assert_eq!((seen.load(Ordering::SeqCst), executor.step()), (2, Progress::Still));
}

#[test]
fn a_killed_group_runs_no_more_and_a_paused_one_later() {
    let time = SimTime::default();
    let mut executor = Executor::new(time.clone(), SeededEntropy::new(1));
    let (killed, paused) = (executor.group(), executor.group());
    let seen: Arc<Mutex<Vec<Duration>>> = Arc::default();
    for group in [killed, paused] {
        let (at, seen) = (time.clone(), seen.clone());
        executor.spawn(group, async move {
            at.sleep(Duration::from_secs(1)).await;
            seen.lock().unwrap().push(at.now());
        });
    }
    executor.step();
    executor.kill(killed);
    executor.pause(paused, Duration::from_secs(9));
    assert!(executor.is_paused(paused));
    executor.spawner(killed).spawn(Box::pin(async { unreachable!("it is dead") }));
    while executor.step() != Progress::Still {}
    assert_eq!(*seen.lock().unwrap(), [Duration::from_secs(9)]);
}

#[test]
fn a_wall_clock_that_jumps_moves_no_monotonic_time() {
    let time = SimTime::default();
    time.advance_to(Duration::from_secs(10));
    let clock = SimClock::new(time.clone(), 500);
    let before = (clock.now(), clock.monotonic());
    clock.jump_ms(-2_000);
    assert_eq!(clock.now().as_millis(), before.0.as_millis() - 2_000);
    assert_eq!(clock.monotonic(), before.1);
    assert_eq!(before.0, SimClock::START.plus(Duration::from_millis(10_500)));
}

/// Creates a key through a store at these rates; returns whether the key is there, whether the process asked to die,
/// what it was told if anything, and how often the fault was counted.
fn create_key(rates: Rates, fault: Fault, kill: bool) -> (bool, bool, Option<bool>, u64) {
    let time = SimTime::default();
    let mut executor = Executor::new(time.clone(), SeededEntropy::new(5));
    let (process, server) = (executor.group(), executor.group());
    let inner = VolatileStore::store(Arc::new(SimClock::new(time.clone(), 0)));
    let keys: Arc<dyn crate::ports::KeyStore> = Arc::new(VolatileKeys::new());
    let counts: Arc<Mutex<FaultCounts>> = Arc::default();
    let faults = Arc::new(Faults::new(SeededEntropy::new(6), rates, counts.clone()));
    let crashes = Crashes::default();
    let ports = UnreliableStore::new(
        (inner, keys.clone()),
        (process, executor.spawner(server)),
        time,
        faults.clone(),
        crashes.clone(),
    );
    let told = Arc::new(Mutex::new(None));
    let (ports, tell) = (ports.keys(), told.clone());
    let id = KeyId(Digest::from_bytes([1; 32]));
    executor.spawn(process, async move {
        let answer = ports.create(id, DataKey::from_bytes([2; 32])).await;
        *tell.lock().unwrap() = Some(answer.is_ok());
    });
    let mut asked_to_die = false;
    if kill {
        executor.step();
        executor.kill(process);
        faults.died();
    }
    while executor.step() != Progress::Still {
        for group in crashes.take() {
            asked_to_die |= group == process;
            executor.kill(group);
        }
    }
    asked_to_die |= !crashes.take().is_empty();
    let is_there = futures::FutureExt::now_or_never(keys.fetch(id)).unwrap().is_ok();
    let counted = counts.lock().unwrap().get(&(fault, Operation::CreateKey)).copied().unwrap_or_default();
    let told = *told.lock().unwrap();
    (is_there, asked_to_die, told, counted)
}

#[test]
fn every_fault_does_what_it_says() {
    let rates = |change: fn(&mut Rates)| {
        let mut rates = Rates { at_once: 0, ..Rates::default() };
        change(&mut rates);
        rates
    };
    let cases = [
        (Fault::CrashBefore, rates(|rates| rates.crash_before = 1000), (false, true, None)),
        (Fault::CrashAfter, rates(|rates| rates.crash_after = 1000), (true, true, None)),
        (Fault::AnswerLost, rates(|rates| rates.answer_lost = 1000), (true, false, Some(false))),
        (Fault::TimedOut, rates(|rates| rates.timed_out = 1000), (false, false, Some(false))),
        (Fault::Refused, rates(|rates| rates.refused = 1000), (false, false, Some(false))),
        (Fault::Slow, rates(|rates| rates.slow = 1000), (true, false, Some(true))),
    ];
    for (fault, rates, (is_there, asked_to_die, told)) in cases {
        assert_eq!(create_key(rates, fault, false), (is_there, asked_to_die, told, 1), "{fault:?}");
    }
    let quiet = Rates { at_once: 0, ..Rates::default() };
    let after_death = create_key(quiet, Fault::Posthumous, true);
    assert_eq!(after_death, (true, false, None, 1), "what was sent is done, and nobody hears of it");
}
