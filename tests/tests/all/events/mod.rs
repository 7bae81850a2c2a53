//! Events: what is told, and that it reaches every consumer at least once and in order, whatever breaks on the way.

mod brittle;
mod content;
mod faults;
mod handlers;
mod owed;
mod owners;
mod program;
mod shared;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_shell_core::backends::SystemClock;
use agent_shell_core::backends::volatile::{VolatileKeys, VolatileStore};
use agent_shell_core::ports::{OutboxItem, OutboxPosition, Store};
use agent_shell_core::words::SessionId;
use agent_shell_core::{Consumer, Envelope, HandlerError, Limits, Plan, Shell, ShellBuilder, Step};

/// What is well within anybody's time.
const SOON: Duration = Duration::from_secs(30);

fn limits() -> Limits {
    let mut limits = crate::support::limits();
    limits.handler_pause_ms = 200;
    limits
}

fn volatile() -> (Store, Arc<VolatileKeys>) {
    (VolatileStore::store(Arc::new(SystemClock::new())), Arc::new(VolatileKeys::new()))
}

fn on(store: &Store, keys: &Arc<VolatileKeys>) -> ShellBuilder {
    Shell::on(store.clone(), keys.clone()).limits(limits())
}

/// What a handler was given.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<Envelope>>>);

impl Seen {
    /// A consumer that keeps what it is given.
    fn consumer(&self, group: &str) -> Consumer {
        let seen = self.clone();
        Consumer::new(group, move |event: Envelope| {
            seen.0.lock().unwrap().push(event);
            async { Ok::<_, HandlerError>(()) }
        })
    }

    fn all(&self) -> Vec<Envelope> {
        self.0.lock().unwrap().clone()
    }

    fn by_session(&self) -> BTreeMap<SessionId, Vec<u64>> {
        let mut sequences: BTreeMap<SessionId, Vec<u64>> = BTreeMap::new();
        for event in self.all() {
            sequences.entry(event.session).or_default().push(event.sequence);
        }
        sequences
    }

    /// Waits until so many events of different ids were given.
    async fn wait_for(&self, count: usize) {
        wait_until(&format!("{count} events"), || {
            let ids: std::collections::BTreeSet<_> = self.all().iter().map(|event| event.id).collect();
            ids.len() >= count
        })
        .await;
    }

    /// Every session's events were given in order, each once, from the first to the last.
    fn must_be_exact(&self, sessions: usize, each: u64) {
        let by_session = self.by_session();
        assert_eq!(by_session.len(), sessions);
        for (session, sequences) in by_session {
            assert_eq!(sequences, (1..=each).collect::<Vec<_>>(), "of session {session}");
        }
    }
}

async fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, wait).await.unwrap_or_else(|_| panic!("{what} did not come"));
}

/// Runs one turn, which tells of its start and its end.
async fn run_turn(shell: &Shell, session: &str) {
    let plan = Plan::new([Step::timer("t", Duration::ZERO)]).unwrap();
    let turn = shell.session(session).unwrap().submit(plan).await.unwrap();
    tokio::time::timeout(SOON, turn.outcome()).await.expect("the turn ends").unwrap();
}

async fn run_turns(shell: &Shell, sessions: usize, turns: usize) {
    for _ in 0..turns {
        for session in 0..sessions {
            run_turn(shell, &format!("s{session}")).await;
        }
    }
}

async fn kept(store: &Store) -> Vec<OutboxItem> {
    store.outbox.kept(OutboxPosition::default(), 10_000).await.unwrap()
}

async fn pending(store: &Store) -> usize {
    store.outbox.pending(OutboxPosition::default(), 10_000).await.unwrap().len()
}
