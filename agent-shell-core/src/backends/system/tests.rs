//! Tests of the system's clock, randomness and spawning.

use std::collections::HashSet;

use super::*;

#[test]
fn entropy_hands_out_nothing_twice_and_wipes_what_it_handed_out() {
    let entropy = SystemEntropy::new();
    let mut seen = HashSet::new();
    for length in (8..=Buffer::LARGE + 2).cycle().take(5000) {
        let mut bytes = vec![0; length];
        entropy.fill(&mut bytes);
        assert!(seen.insert(bytes[..8].to_vec()), "the first eight bytes came twice");
        let buffer = entropy.buffer.lock().unwrap();
        assert!(buffer.bytes[..buffer.next.min(Buffer::BYTES)].iter().all(|&byte| byte == 0), "bytes stay");
    }
    entropy.fill(&mut []);
}

#[test]
fn entropy_fills_every_byte() {
    let entropy = SystemEntropy::new();
    for length in [1, 12, 255, 256, 257, 5000] {
        let mut ever_set = vec![0; length];
        for _ in 0..64 {
            let mut bytes = vec![0; length];
            entropy.fill(&mut bytes);
            ever_set.iter_mut().zip(bytes).for_each(|(set, byte)| *set |= byte);
        }
        assert!(ever_set.iter().all(|&set| set != 0), "a byte of {length} stayed zero in 64 draws");
    }
}

#[test]
fn all_system_clocks_share_a_zero_and_never_go_back() {
    let (one, two) = (SystemClock::new(), SystemClock::new());
    let mut last = one.monotonic();
    for clock in [one, two].into_iter().cycle().take(1000) {
        let now = clock.monotonic();
        assert!(now >= last);
        last = now;
    }
    assert!(one.now() > Timestamp::from_millis(1_700_000_000_000), "the wall clock counts from 1970");
}

#[tokio::test]
async fn sleep_takes_its_time() {
    let clock = SystemClock::new();
    let before = clock.monotonic();
    clock.sleep(Duration::from_millis(20)).await;
    assert!(clock.monotonic().since(before) >= Duration::from_millis(20));
}

#[tokio::test]
async fn spawned_tasks_run() {
    let spawn = TokioSpawn::current().expect("the test runs on a runtime");
    let (sender, receiver) = tokio::sync::oneshot::channel();
    spawn.spawn(Box::pin(async move { sender.send(7).unwrap() }));
    assert_eq!(receiver.await, Ok(7));
}

#[tokio::test]
async fn blocking_work_runs_beside_the_tasks() {
    let spawn = TokioSpawn::current().expect("the test runs on a runtime");
    let (go, gone) = std::sync::mpsc::channel();
    let (sender, receiver) = tokio::sync::oneshot::channel();
    spawn.spawn_blocking(Box::new(move || sender.send(gone.recv()).unwrap()));
    // The only thread of this runtime gets here, though the work waits.
    go.send(7).unwrap();
    assert_eq!(receiver.await, Ok(Ok(7)));
}

#[test]
fn there_is_nothing_to_spawn_onto_outside_a_runtime() {
    assert!(TokioSpawn::current().is_none());
}
