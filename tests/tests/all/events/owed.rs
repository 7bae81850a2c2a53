//! Sessions whose events wait: who is behind, who is tried when, and what a long gap holds up.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_shell_core::backends::volatile::VolatileKeys;
use agent_shell_core::ports::{HighWater, OutboxPosition, Store};
use agent_shell_core::words::{GroupName, SessionId, Timestamp};
use agent_shell_core::{Consumer, Envelope, EventHandler, HandlerError, Limits};
use async_trait::async_trait;

use super::brittle::Brittle;
use super::{Seen, kept, limits, on, run_turn, run_turns, volatile, wait_until};

fn group() -> GroupName {
    GroupName::new("group").unwrap()
}

/// A store in which so many sessions have told of so many turns, with their ids in the order of their names. Nothing
/// is published.
async fn told(sessions: usize, turns: usize) -> (Store, Arc<VolatileKeys>, Vec<SessionId>) {
    let (store, keys) = volatile();
    let shell = on(&store, &keys).events("/test").open().await.unwrap();
    run_turns(&shell, sessions, turns).await;
    let mut ids = Vec::new();
    for session in 0..sessions {
        ids.push(shell.session(format!("s{session}")).unwrap().id().await.unwrap());
    }
    shell.shutdown().await.unwrap();
    (store, keys, ids)
}

/// The group has seen the events of these sessions up to here, and handled none.
async fn owes(store: &Store, sessions: &[SessionId], seen: u64) {
    let marks: Vec<_> = sessions.iter().map(|session| (*session, HighWater { done: 0, seen })).collect();
    store.marks.save(&group(), &marks).await.unwrap();
}

/// How a session's handler fails.
#[derive(Clone, Copy)]
enum Fails {
    WithAnError,
    ByHanging,
}

/// A consumer that fails on every event of some sessions.
fn failing_on(seen: &Seen, sessions: &[SessionId], fails: Fails) -> Consumer {
    let (seen, sessions): (Seen, BTreeSet<SessionId>) = (seen.clone(), sessions.iter().copied().collect());
    Consumer::new("group", move |event: Envelope| {
        let (seen, fails) = (seen.clone(), sessions.contains(&event.session).then_some(fails));
        async move {
            match fails {
                Some(Fails::WithAnError) => return Err(HandlerError::new("not now")),
                Some(Fails::ByHanging) => std::future::pending::<()>().await,
                None => seen.0.lock().unwrap().push(event),
            }
            Ok(())
        }
    })
}

/// Opens a shell on a bus that takes nothing, so that all that is handled was owed, and waits for so many events.
async fn handle_what_is_owed(
    (store, keys): (&Store, &Arc<VolatileKeys>),
    limits: Limits,
    consumer: Consumer,
    (seen, events): (&Seen, usize),
) {
    let bus = Brittle::default();
    bus.refuse(true);
    let shell = on(store, keys).limits(limits).bus(Arc::new(bus)).consumer(consumer).open().await.unwrap();
    seen.wait_for(events).await;
    shell.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_always_fails_keeps_none_from_being_looked_up() {
    let (store, keys, mut sessions) = told(6, 1).await;
    sessions.sort();
    owes(&store, &sessions, 2).await;
    let mut few = limits();
    (few.parked_sessions, few.drain_ms) = (2, 50);
    let seen = Seen::default();
    let consumer = failing_on(&seen, &sessions[..1], Fails::WithAnError);
    handle_what_is_owed((&store, &keys), few, consumer, (&seen, 10)).await;
    seen.must_be_exact(5, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_hang_leave_a_place_to_one_that_waits_longer() {
    let (store, keys, mut sessions) = told(3, 1).await;
    sessions.sort();
    owes(&store, &sessions, 2).await;
    let mut hasty = limits();
    (hasty.sessions_at_once, hasty.handler_ms, hasty.handler_pause_ms, hasty.drain_ms) = (2, 50, 50, 50);
    let seen = Seen::default();
    let consumer = failing_on(&seen, &sessions[..2], Fails::ByHanging);
    handle_what_is_owed((&store, &keys), hasty, consumer, (&seen, 2)).await;
    seen.must_be_exact(1, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_batch_has_done_is_not_begun_again_before_its_mark_is_saved() {
    let (store, keys, sessions) = told(2, 1).await;
    let (quick, slow) = (sessions[0], sessions[1]);
    owes(&store, &[quick], 2).await;
    let (bus, seen, goes_on) = (Brittle::default(), Seen::default(), Arc::new(AtomicBool::new(false)));
    bus.assign(false);
    let (given, may_go_on) = (seen.clone(), goes_on.clone());
    let consumer = Consumer::new("group", move |event: Envelope| {
        let (given, may_go_on) = (given.clone(), may_go_on.clone());
        async move {
            while event.session == slow && !may_go_on.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            given.0.lock().unwrap().push(event);
            Ok::<_, HandlerError>(())
        }
    });
    let shell = on(&store, &keys).bus(Arc::new(bus.clone())).consumer(consumer).open().await.unwrap();
    wait_until("the quick one", || seen.by_session().get(&quick).is_some_and(|all| all.len() == 2)).await;
    bus.assign(true);
    tokio::time::sleep(Duration::from_millis(300)).await;
    goes_on.store(true, Ordering::SeqCst);
    seen.wait_for(4).await;
    shell.shutdown().await.unwrap();
    seen.must_be_exact(2, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_gap_holds_up_no_other_session_and_is_saved_on_the_way() {
    let (store, keys, sessions) = told(1, 100).await;
    let long = sessions[0];
    let bus = Brittle::default();
    for row in kept(&store).await.iter().filter(|row| row.outgoing.sequence < 200) {
        bus.hide(row.outgoing.id);
    }
    let seen = Seen::default();
    let given = seen.clone();
    let slow = Consumer::new("group", move |event: Envelope| {
        let given = given.clone();
        async move {
            if event.session == long {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            given.0.lock().unwrap().push(event);
            Ok::<_, HandlerError>(())
        }
    });
    let shell = on(&store, &keys).bus(Arc::new(bus)).consumer(slow).open().await.unwrap();
    let handled = |session: SessionId| seen.by_session().get(&session).map_or(0, Vec::len);
    wait_until("the first page", || handled(long) >= 70).await;
    let mark = store.marks.load(&group(), &[long]).await.unwrap()[0];
    assert!((64..200).contains(&mark.done), "what was handled is saved on the way: {mark:?}");
    run_turn(&shell, "other").await;
    let other = shell.session("other").unwrap().id().await.unwrap();
    wait_until("the other session", || handled(other) == 2).await;
    assert!(handled(long) < 200, "it was held up until the gap was filled");
    seen.wait_for(202).await;
    shell.shutdown().await.unwrap();
    assert_eq!(seen.by_session()[&long], (1..=200).collect::<Vec<_>>(), "in order, each once");
}

/// What the events of a session missed.
type Missed = Arc<Mutex<Vec<(SessionId, RangeInclusive<u64>)>>>;

/// Keeps what it is given and what it misses, and hangs when one session misses something.
struct Hanging {
    seen: Seen,
    missed: Missed,
    hangs: Arc<AtomicBool>,
    calls: Arc<AtomicU32>,
    on: SessionId,
}

#[async_trait]
impl EventHandler for Hanging {
    async fn handle(&self, event: Envelope) -> Result<(), HandlerError> {
        self.seen.0.lock().unwrap().push(event);
        Ok(())
    }

    async fn missed(&self, session: SessionId, sequences: RangeInclusive<u64>) {
        if session == self.on && self.hangs.load(Ordering::SeqCst) {
            self.calls.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<()>().await;
        }
        self.missed.lock().unwrap().push((session, sequences));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_hangs_when_it_misses_events_holds_up_its_session_and_no_other() {
    let (store, keys, sessions) = told(2, 2).await;
    store.outbox.acknowledge(OutboxPosition(8)).await.unwrap();
    assert_eq!(store.outbox.trim(Timestamp::from_millis(u64::MAX >> 12)).await, Ok(8));
    let (seen, missed) = (Seen::default(), Missed::default());
    let (hangs, calls) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU32::new(0)));
    let handler = Hanging {
        seen: seen.clone(),
        missed: missed.clone(),
        hangs: hangs.clone(),
        calls: calls.clone(),
        on: sessions[0],
    };
    let mut hasty = limits();
    hasty.handler_ms = 100;
    let shell = on(&store, &keys).limits(hasty).bus(Arc::new(Brittle::default()));
    let shell = shell.consumer(Consumer::new("group", handler)).open().await.unwrap();
    run_turn(&shell, "s0").await;
    wait_until("the handler that hangs", || calls.load(Ordering::SeqCst) > 0).await;
    run_turn(&shell, "s1").await;
    seen.wait_for(2).await;
    assert_eq!(*missed.lock().unwrap(), [(sessions[1], 1..=4)]);
    hangs.store(false, Ordering::SeqCst);
    seen.wait_for(4).await;
    shell.shutdown().await.unwrap();
    assert_eq!(
        missed.lock().unwrap()[1..],
        [(sessions[0], 1..=4)],
        "it is told again, and before what follows"
    );
    for session in sessions {
        assert_eq!(seen.by_session()[&session], [5, 6]);
    }
}
