//! Bounded queues to the threads that own a connection. No caller ever waits for SQLite on its own thread.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::fault::{Health, Work};
use crate::ports::StoreError;

/// Permits count so many bytes each.
const UNIT: usize = 1024;

/// A piece of work for the thread that owns a `C`. It can be run again after its transaction was rolled back.
pub(super) trait Job<C>: Send {
    /// Does it and keeps the result.
    fn run(&mut self, context: &mut C) -> rusqlite::Result<()>;

    /// Answers the caller: with the kept result, or with why its transaction failed.
    fn answer(self: Box<Self>, end: Result<(), StoreError>);
}

/// A job that waits, and the room that it takes until it is answered.
pub(super) struct Item<C> {
    pub(super) job: Box<dyn Job<C>>,
    pub(super) bytes: usize,
    _room: OwnedSemaphorePermit,
}

/// The callers' end of a queue. When it is full, callers wait in the order in which they came.
pub(super) struct Queue<C> {
    sender: mpsc::Sender<Item<C>>,
    room: Arc<Semaphore>,
    units: usize,
    health: Arc<Health>,
}

/// A queue of at most `items` jobs which hold at most `bytes` together.
pub(super) fn queue<C>(
    items: usize,
    bytes: usize,
    health: Arc<Health>,
) -> (Queue<C>, mpsc::Receiver<Item<C>>) {
    let (sender, receiver) = mpsc::channel(items.max(1));
    let units = (bytes / UNIT).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
    (Queue { sender, room: Arc::new(Semaphore::new(units)), units, health }, receiver)
}

impl<C> Queue<C> {
    /// How many more jobs fit the queue now.
    #[cfg(all(test, feature = "conformance"))]
    pub(super) fn room_left(&self) -> usize {
        self.sender.capacity()
    }

    /// Waits for room, hands the work over, and waits for its answer. `bytes` is what the work holds, about.
    ///
    /// A future that is dropped before the work was handed over leaves nothing; afterwards it withdraws nothing.
    pub(super) async fn ask<T, E>(
        &self,
        bytes: usize,
        work: impl FnMut(&mut C) -> Work<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        C: 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.health.check()?;
        // What is larger than all the room takes all of it.
        let units = (bytes / UNIT + 1).min(self.units) as u32;
        let room = self.room.clone().acquire_many_owned(units).await.map_err(|_| ended())?;
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Task { work, kept: None, reply });
        self.sender.send(Item { job, bytes, _room: room }).await.map_err(|_| ended())?;
        match answer.await {
            Ok(result) => result,
            Err(_) => {
                Err(StoreError::Indeterminate { detail: "the thread of the store ended".into() }.into())
            }
        }
    }
}

/// The thread at the other end ends only when this end is gone, or by a panic: the process should stop.
fn ended() -> StoreError {
    StoreError::Poisoned { detail: "the thread of the store ended".into() }
}

struct Task<F, T, E> {
    work: F,
    kept: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<C, F, T, E> Job<C> for Task<F, T, E>
where
    F: FnMut(&mut C) -> Work<T, E> + Send,
    T: Send,
    E: From<StoreError> + Send,
{
    fn run(&mut self, context: &mut C) -> rusqlite::Result<()> {
        self.kept = Some((self.work)(context)?);
        Ok(())
    }

    fn answer(self: Box<Self>, end: Result<(), StoreError>) {
        let result = match (end, self.kept) {
            (Ok(()), Some(kept)) => kept,
            (Ok(()), None) => Err(StoreError::Indeterminate { detail: "it was not run".into() }.into()),
            (Err(error), _) => Err(error.into()),
        };
        // A caller that went away wants no answer.
        let _ = self.reply.send(result);
    }
}
