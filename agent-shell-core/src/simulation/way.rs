//! The way between a process and what it asks: a store, a key store, a bus.

use std::future::pending;
use std::sync::Arc;

use futures::channel::oneshot;

use super::executor::Group;
use super::faults::{Crashes, Fate, Fault, Faults, Operation};
use super::time::SimTime;
use crate::ports::Spawn;

/// Between a process and what it asks.
pub(super) struct Way {
    time: SimTime,
    faults: Arc<Faults>,
    crashes: Crashes,
    process: Group,
    /// Runs what has reached the other side, whoever asked for it.
    server: Arc<dyn Spawn>,
}

/// Why there is no answer.
pub(super) enum Lost {
    /// It may have been done.
    Unknown,
    /// It was not done.
    Refused,
}

impl Way {
    pub(super) fn new(
        (process, server): (Group, Arc<dyn Spawn>),
        time: SimTime,
        faults: Arc<Faults>,
        crashes: Crashes,
    ) -> Self {
        Self { time, faults, crashes, process, server }
    }

    /// Asks for work that is done on the other side, also when nobody waits for it any more.
    pub(super) async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        operation: Operation,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Lost> {
        let Self { time, faults, server, .. } = &**self;
        let Fate { at_once, there, back, fault } = faults.fate(operation);
        let ticket = faults.ticket();
        if at_once {
            faults.doing(ticket, operation);
            return Ok(work.await);
        }
        match fault {
            Some(Fault::CrashBefore) => return self.die().await,
            Some(Fault::Refused) => {
                time.sleep(there).await;
                return Err(Lost::Refused);
            }
            Some(Fault::TimedOut) => {
                time.sleep(back).await;
                return Err(Lost::Unknown);
            }
            _ => {}
        }
        let (answer, answered) = oneshot::channel();
        let way = self.clone();
        server.spawn(Box::pin(async move {
            way.time.sleep(there).await;
            way.faults.doing(ticket, operation);
            let done = work.await;
            if fault == Some(Fault::CrashAfter) {
                way.crashes.ask(way.process);
                return;
            }
            way.time.sleep(back).await;
            let lost = fault == Some(Fault::AnswerLost);
            // Nobody may be there any more to hear it.
            drop(answer.send(if lost { Err(Lost::Unknown) } else { Ok(done) }));
        }));
        match answered.await {
            Ok(answer) => answer,
            Err(oneshot::Canceled) => pending().await,
        }
    }

    /// Asks for work that ends with its caller: what a member of a group does over its own connection.
    pub(super) async fn ask_while_there<T>(
        &self,
        operation: Operation,
        work: impl Future<Output = T> + Send,
    ) -> Result<T, Lost> {
        let Self { time, faults, .. } = self;
        let Fate { at_once, there, back, fault } = faults.fate(operation);
        if at_once {
            return Ok(work.await);
        }
        match fault {
            Some(Fault::CrashBefore) => return self.die().await,
            Some(Fault::TimedOut) => {
                time.sleep(back).await;
                return Err(Lost::Unknown);
            }
            _ => time.sleep(there).await,
        }
        if fault == Some(Fault::Refused) {
            return Err(Lost::Refused);
        }
        let done = work.await;
        if fault == Some(Fault::CrashAfter) {
            return self.die().await;
        }
        time.sleep(back).await;
        if fault == Some(Fault::AnswerLost) { Err(Lost::Unknown) } else { Ok(done) }
    }

    /// Dies: whoever waits for this hears nothing any more.
    async fn die<T>(&self) -> T {
        self.crashes.ask(self.process);
        pending().await
    }
}
