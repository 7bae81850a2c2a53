//! A follower that looks while another process appends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use agent_shell_core::Shell;
use agent_shell_core::backends::SystemClock;
use agent_shell_core::backends::volatile::{VolatileKeys, VolatileStore};
use agent_shell_core::data::{Body, Record};
use agent_shell_core::ports::{
    Append, AppendError, Appended, Journal, NamedActor, NewSession, SessionEntry, SessionFilter, Snapshot,
    Store, StoreError, TurnEntry,
};
use agent_shell_core::words::{Digest, Pseudonym, Seq, SessionId, Tenant, TurnId};
use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::{chain, gated, history, next, onlooker, rest};
use crate::support::limits;

/// The journal as one process reads it. Once, when it is armed, the turn that runs ends and the next one starts right after
/// a read of the turn's row or of the session's.
struct Between {
    inner: Arc<dyn Journal>,
    is_armed: AtomicBool,
    gate: Arc<Semaphore>,
    next: TurnId,
    /// How often a turn's row was read.
    reads: AtomicU32,
}

impl Between {
    async fn happens(&self) {
        if self.is_armed.swap(false, Ordering::SeqCst) {
            self.gate.add_permits(1);
            while self.inner.turn(self.next).await.unwrap().is_none_or(|next| next.started.is_none()) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
}

#[async_trait]
impl Journal for Between {
    async fn open_session(&self, new: NewSession) -> Result<SessionEntry, StoreError> {
        self.inner.open_session(new).await
    }

    async fn append(&self, append: Arc<Append>) -> Result<Appended, AppendError> {
        self.inner.append(append).await
    }

    async fn read(&self, session: SessionId, after: Seq, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.inner.read(session, after, limit).await
    }

    async fn blob(&self, session: SessionId, address: Digest) -> Result<Vec<u8>, StoreError> {
        self.inner.blob(session, address).await
    }

    async fn snapshot(&self, session: SessionId) -> Result<Option<Snapshot>, StoreError> {
        self.inner.snapshot(session).await
    }

    async fn session(&self, session: SessionId) -> Result<Option<SessionEntry>, StoreError> {
        let entry = self.inner.session(session).await;
        self.happens().await;
        entry
    }

    async fn sessions(
        &self,
        filter: SessionFilter,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<SessionEntry>, StoreError> {
        self.inner.sessions(filter, after, limit).await
    }

    async fn turn(&self, turn: TurnId) -> Result<Option<TurnEntry>, StoreError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let entry = self.inner.turn(turn).await;
        self.happens().await;
        entry
    }

    async fn actor(&self, tenant: &Tenant, actor: Pseudonym) -> Result<Option<NamedActor>, StoreError> {
        self.inner.actor(tenant, actor).await
    }
}

/// Whether the follower looks for the first time when it happens, or has looked before.
async fn the_next_turn_is_not_told(is_first: bool) {
    let gate = Arc::new(Semaphore::new(0));
    let (store, keys) = (VolatileStore::store(Arc::new(SystemClock::new())), Arc::new(VolatileKeys::new()));
    let on = |store: &Store| Shell::on(store.clone(), keys.clone());
    let shell = on(&store).limits(limits()).tool(gated(&gate)).open().await.unwrap();
    let session = shell.session("s").unwrap();
    let turns = [session.submit(chain(1)).await.unwrap(), session.submit(chain(1)).await.unwrap()];
    let between = Arc::new(Between {
        inner: store.journal.clone(),
        is_armed: AtomicBool::new(is_first),
        gate: gate.clone(),
        next: turns[1].id(),
        reads: AtomicU32::new(0),
    });
    let mut theirs = store.clone();
    theirs.journal = between.clone();
    let other = onlooker(on(&theirs)).open().await.unwrap();
    let mut here = turns[0].follow();
    while !matches!(next(&mut here).await.unwrap().body, Body::StepStarted { .. }) {}
    let mut there = other.turn(turns[0].id()).follow();
    let mut told = Vec::new();
    if !is_first {
        while !matches!(told.last(), Some(Body::StepStarted { .. })) {
            told.push(next(&mut there).await.unwrap().body.clone());
        }
        between.is_armed.store(true, Ordering::SeqCst);
    }
    told.extend(rest(&mut there).await.into_iter().map(|entry| entry.body));
    let expected: Vec<_> = history(&session, &turns[0]).await.into_iter().map(|entry| entry.body).collect();
    assert_eq!(told, expected);
    assert!(!between.is_armed.load(Ordering::SeqCst), "it happened");
    gate.add_permits(1);
    assert_eq!(rest(&mut other.turn(turns[1].id()).follow()).await, history(&session, &turns[1]).await);
    shell.shutdown().await.unwrap();
    other.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_elsewhere_is_told_nothing_of_the_next_turn() {
    the_next_turn_is_not_told(true).await;
    the_next_turn_is_not_told(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_that_has_ended_is_seldom_looked_at_for_who_is_slow() {
    let (store, keys) = (VolatileStore::store(Arc::new(SystemClock::new())), Arc::new(VolatileKeys::new()));
    let gate = Arc::new(Semaphore::new(1));
    let shell =
        Shell::on(store.clone(), keys.clone()).limits(limits()).tool(gated(&gate)).open().await.unwrap();
    let turn = shell.session("s").unwrap().submit(chain(1)).await.unwrap();
    turn.outcome().await.unwrap();
    let between = Arc::new(Between {
        inner: store.journal.clone(),
        is_armed: AtomicBool::new(false),
        gate,
        next: turn.id(),
        reads: AtomicU32::new(0),
    });
    let mut theirs = store.clone();
    theirs.journal = between.clone();
    let other = onlooker(Shell::on(theirs, keys)).open().await.unwrap();
    let mut slow = other.turn(turn.id()).follow();
    assert!(next(&mut slow).await.is_some());
    let before = between.reads.load(Ordering::SeqCst);
    // Fifty polls.
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    let looks = between.reads.load(Ordering::SeqCst) - before;
    assert!((1..10).contains(&looks), "{looks} looks: a purge is noticed, and not more is asked");
    assert_eq!(rest(&mut slow).await.len(), 4);
    shell.shutdown().await.unwrap();
    other.shutdown().await.unwrap();
}
