//! `TurnManager`: takes sessions over, starts an executor for each, and lets them go.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::mpsc;

use super::budget::SessionBudget;
use super::core::{Core, Stopping};
use super::events::Emitter;
use super::executor::PlanExecutor;
use super::inbox::Inbox;
use super::lease;
use super::purge::{close_archived, close_unreadable};
use super::reader::{corrupt, load};
use super::registry::SessionHandle;
use super::writer::SessionWriter;
use crate::failpoint::reach;
use crate::ports::{Claim, ClaimFilter, Fence, OwnershipError, SessionEntry, SessionFilter, SessionStatus};
use crate::words::{Epoch, Error, ErrorKind, Result, SessionId};

/// So often a process claims that finds each time that its lease has run out.
const CLAIM_TRIES: u32 = 8;

/// Sessions claimed at once.
const BATCH: usize = 256;
/// How long a session that failed is left alone before it is tried again.
const TROUBLE: Duration = Duration::from_secs(5);

/// Finds work and starts it.
#[derive(Clone)]
pub(crate) struct TurnManager {
    core: Arc<Core>,
    wanted: mpsc::Sender<(SessionId, Arc<SessionHandle>)>,
}

impl TurnManager {
    /// A manager, and the receiving end that [`TurnManager::keep`] serves.
    pub(crate) fn new(core: Arc<Core>) -> (Self, mpsc::Receiver<(SessionId, Arc<SessionHandle>)>) {
        let (wanted, receiver) = mpsc::channel(4 * BATCH);
        (Self { core, wanted }, receiver)
    }

    /// Sees to it that mail just posted to a session is read soon, by this process if no other holds the session.
    /// When the queue is full, or as many sessions are held as may be, a later poll finds it.
    pub(crate) fn attend(&self, session: SessionId) {
        if let Some(handle) = self.core.registry.find(session) {
            return handle.mail_arrived();
        }
        if self.core.registry.len() >= self.core.limits.held_sessions {
            return self.core.registry.turned_away();
        }
        let Some(handle) = self.core.registry.reserve(session) else { return };
        if let Err(full) = self.wanted.try_send((session, handle)) {
            self.core.registry.remove(session, &full.into_inner().1, true);
        }
    }

    /// Claims what has work and belongs to nobody alive: at start, what a crash left. Returns how many sessions.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) async fn recover(&self) -> Result<usize> {
        let mut recovered = 0;
        loop {
            let room = self.core.limits.held_sessions.saturating_sub(self.core.registry.len());
            let limit = room.min(BATCH);
            if limit == 0 {
                // What waits is not known. One place is enough to look.
                self.core.registry.set_demand(self.core.registry.demand().clamp(1, BATCH));
                return Ok(recovered);
            }
            let filter = ClaimFilter {
                due_by: self.core.clock.now(),
                offers: Some(self.core.offers.clone()),
                ..ClaimFilter::default()
            };
            let claims = self.claim(filter, limit).await?;
            let found = claims.len();
            if found > 0 {
                reach!(OpenClaimed);
            }
            let unwanted: Vec<_> = claims.into_iter().filter_map(|claim| self.take_up(claim.entry)).collect();
            let begun = found - unwanted.len();
            recovered += begun;
            if !unwanted.is_empty() {
                self.let_go(unwanted).await;
            }
            if found < limit {
                self.core.registry.set_demand(0);
                return Ok(recovered);
            }
            if begun == 0 {
                return Ok(recovered);
            }
            self.core.registry.set_demand(BATCH);
        }
    }

    /// Drives a session that was claimed, in the place that may be reserved for it. Returned when it is driven here
    /// under an earlier epoch: what it was claimed for is found again once that has ended.
    fn take_up(&self, entry: SessionEntry) -> Option<(SessionId, Epoch)> {
        let registry = &self.core.registry;
        match registry.reserve(entry.id).or_else(|| registry.find(entry.id)) {
            Some(handle) if handle.begin() => {
                self.start(entry, handle);
                None
            }
            _ => Some((entry.id, entry.epoch)),
        }
    }

    /// Serves wishes and polls until the shell stops. Wishes that come too late are dropped; the mail behind them is
    /// found by whoever runs next.
    pub(crate) async fn keep(self, mut wishes: mpsc::Receiver<(SessionId, Arc<SessionHandle>)>) {
        self.serve(&mut wishes).await;
        wishes.close();
        while let Some((session, handle)) = wishes.recv().await {
            self.core.registry.remove(session, &handle, true);
        }
    }

    async fn serve(&self, wishes: &mut mpsc::Receiver<(SessionId, Arc<SessionHandle>)>) {
        let poll = Duration::from_millis(self.core.limits.poll_ms.max(1));
        let mut after = None;
        let mut next_poll = self.core.clock.monotonic().plus(poll);
        loop {
            let until_poll = next_poll.since(self.core.clock.monotonic());
            let mut batch = Vec::new();
            tokio::select! {
                biased;
                () = self.core.stop.reached(Stopping::Draining) => return,
                count = wishes.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        return;
                    }
                    self.claim_wanted(batch).await;
                }
                () = self.core.registry.has_room() => {
                    if let Err(error) = self.recover().await {
                        self.not_asked(&error);
                    }
                }
                () = self.core.clock.sleep(until_poll) => {
                    next_poll = self.core.clock.monotonic().plus(poll);
                    after = self.poll(after).await;
                }
            }
        }
    }

    /// Looks for work, and for mail that other processes posted to sessions that this one holds: a page of them, and
    /// the next page at the next poll. Returns where that begins.
    async fn poll(&self, after: Option<SessionId>) -> Option<SessionId> {
        match self.look_for_work(after).await {
            Ok(sessions) => {
                sessions.iter().for_each(|session| self.attend(*session));
                sessions.last().copied().filter(|_| sessions.len() == BATCH)
            }
            Err(error) => {
                self.not_asked(&error);
                None
            }
        }
    }

    async fn look_for_work(&self, after: Option<SessionId>) -> Result<Vec<SessionId>> {
        self.find_strays().await?;
        self.recover().await?;
        Ok(self.core.store.mailbox.awaiting(self.core.owner, after, BATCH).await?)
    }

    /// Claims sessions. A claim that failed may have been committed: [`TurnManager::find_strays`] looks.
    async fn claim(&self, filter: ClaimFilter, limit: usize) -> Result<Vec<Claim>> {
        let claiming = self.core.registry.claiming();
        let mut tries = 0;
        let claims = loop {
            let generation = self.core.lease.generation();
            reach!(ClaimBegins);
            let claimed = self.core.store.ownership.claim(self.core.owner, filter.clone(), limit).await;
            reach!(ClaimEnds);
            tries += 1;
            if claimed != Err(OwnershipError::NotEnlisted) || tries >= CLAIM_TRIES {
                break claimed?;
            }
            // This process stood still for longer than its lease. Nobody knows that it lives until it says so. On a machine
            // that others keep busy it may stand still again before it claims.
            lease::begin_anew(&self.core, generation).await?;
        };
        claiming.was_answered();
        Ok(claims)
    }

    /// Takes up the sessions that stand in this process's name and that it does not hold: the answer to their claim
    /// was lost. Nobody else can take them as long as this process lives.
    async fn find_strays(&self) -> Result<()> {
        if !self.core.registry.take_strays() {
            return Ok(());
        }
        let looking = self.core.registry.claiming();
        let mut after = None;
        loop {
            let held = SessionFilter { owner: Some(self.core.owner), ..SessionFilter::default() };
            let page = self.core.store.journal.sessions(held, after, BATCH).await?;
            let unknown = page
                .iter()
                .filter_map(|entry| self.core.registry.reserve(entry.id).map(|handle| (entry.id, handle)));
            let unknown: Vec<_> = unknown.collect();
            if !unknown.is_empty() {
                tracing::warn!(
                    sessions = unknown.len(),
                    "sessions whose claim was not answered are taken up"
                );
                self.claim_named(unknown).await?;
            }
            match page.last() {
                Some(last) if page.len() == BATCH => after = Some(last.id),
                _ => break,
            }
        }
        looking.was_answered();
        Ok(())
    }

    async fn claim_wanted(&self, wanted: Vec<(SessionId, Arc<SessionHandle>)>) {
        if let Err(error) = self.claim_named(wanted).await {
            self.not_asked(&error);
        }
    }

    /// Claims the sessions for which places are reserved, and starts those that it gets.
    async fn claim_named(&self, mut wanted: Vec<(SessionId, Arc<SessionHandle>)>) -> Result<()> {
        // Some were found by a look for work meanwhile.
        wanted.retain(|(_, handle)| !handle.has_begun());
        if wanted.is_empty() {
            return Ok(());
        }
        let filter = ClaimFilter {
            sessions: Some(wanted.iter().map(|(session, _)| *session).collect()),
            due_by: self.core.clock.now(),
            offers: Some(self.core.offers.clone()),
            ..ClaimFilter::default()
        };
        let (mut claims, failed) = match self.claim(filter, wanted.len()).await {
            Ok(claims) => (claims, Ok(())),
            Err(error) => (Vec::new(), Err(error)),
        };
        for (session, handle) in wanted {
            match claims.iter().position(|claim| claim.entry.id == session) {
                Some(found) if handle.begin() => self.start(claims.swap_remove(found).entry, handle),
                Some(_) => {}
                // Another process holds it, and finds the mail by its own poll.
                None => drop(self.core.registry.remove(session, &handle, true)),
            }
        }
        failed
    }

    fn not_asked(&self, error: &Error) {
        tracing::warn!(%error, "the store was not asked for work; the next poll tries again");
        if error.kind() == ErrorKind::Poisoned {
            self.core.stop.advance(Stopping::Poisoned);
        }
    }

    fn start(&self, entry: SessionEntry, handle: Arc<SessionHandle>) {
        let this = self.clone();
        self.core.spawn.spawn(Box::pin(async move {
            // A panic here is a bug of this crate; it must not leave the session held by nobody.
            let driven = AssertUnwindSafe(this.drive(&entry, handle.clone())).catch_unwind().await;
            handle.set_driven(false);
            if let Err(error) = driven.unwrap_or_else(|_| Err(corrupt("the session's task panicked".into())))
            {
                this.ended_badly(&entry, &handle, error).await;
            }
            this.core.registry.remove(entry.id, &handle, true);
            this.let_go(vec![(entry.id, entry.epoch)]).await;
        }));
    }

    async fn drive(&self, entry: &SessionEntry, handle: Arc<SessionHandle>) -> Result<()> {
        let core = &self.core;
        if entry.mark.status == SessionStatus::Archived {
            return close_archived(core, entry).await;
        }
        let keys = match core.keyring.session(entry.key, false).await {
            Ok(keys) => keys,
            Err(error) => return close_unreadable(core, entry, error).await,
        };
        let loaded = load(&*core.store.journal, &keys, entry).await?;
        if loaded.state.epoch > entry.epoch {
            // This process stood still after its claim. It would learn so from its next append, and may have none to make.
            let (own, later) = (entry.epoch, loaded.state.epoch);
            let message =
                format!("the session was claimed under epoch {own}, and has records of epoch {later}");
            return Err(Error::new(ErrorKind::Fenced, message));
        }
        #[cfg(feature = "simulation")]
        core.observe(entry.epoch, &loaded.state);
        let fence = Fence { owner: core.owner, epoch: entry.epoch };
        let from = (loaded.head, loaded.snapshot);
        let emitter = Emitter::begin(core, entry, &keys, &loaded.state).await?;
        let of = (entry.id, entry.tenant.clone());
        let writer = SessionWriter::new(core.clone(), of, fence, keys.clone(), from, emitter);
        let budget = SessionBudget::of(core, entry, &keys).await?;
        let is_under = loaded.state.child_of.as_ref().is_some_and(|of| !of.under.is_empty());
        let counts = |budget: Option<_>| core.budgets.is_some() || budget.is_some() || is_under;
        if loaded.state.turn.as_ref().is_some_and(|turn| counts(turn.budget)) {
            // What owners that are gone had set aside, and of which no outcome came, counts as spent.
            reach!(SweepBegins);
            core.store.ledger.sweep(entry.id, fence).await?;
            reach!(SweepEnds);
        }
        let inbox = Inbox::new(core.clone(), entry.id, keys);
        let mut executor = PlanExecutor::new(
            core.clone(),
            (handle, self.clone()),
            entry.clone(),
            loaded.state,
            writer,
            inbox,
            budget,
        );
        executor.run().await
    }

    /// A session that failed is kept out for a while, and whoever waits for it is told why.
    async fn ended_badly(&self, entry: &SessionEntry, handle: &SessionHandle, error: Error) {
        match error.kind() {
            ErrorKind::ShuttingDown => {}
            ErrorKind::Fenced => {
                tracing::warn!(session = %entry.id, "another process has taken the session over")
            }
            ErrorKind::Poisoned => {
                tracing::error!(%error, "the disk failed under the journal: the shell stops");
                self.core.stop.advance(Stopping::Poisoned);
            }
            _ => {
                tracing::error!(session = %entry.id, %error, "a session can't go on");
                handle.set_trouble(error);
                tokio::select! {
                    biased;
                    () = self.core.stop.reached(Stopping::Draining) => {}
                    () = self.core.clock.sleep(TROUBLE) => {}
                }
            }
        }
    }

    /// Releases sessions, and tries until the store says so: nobody else can take them before.
    async fn let_go(&self, sessions: Vec<(SessionId, Epoch)>) {
        let mut pause = Duration::from_millis(20);
        loop {
            reach!(ReleaseBegins);
            let released = self.core.store.ownership.release(self.core.owner, sessions.clone()).await;
            reach!(ReleaseEnds);
            match released {
                Err(OwnershipError::Store(error)) if !self.core.stop.is_abrupt() => {
                    tracing::warn!(%error, "sessions were not released; it is tried again");
                    self.core.clock.sleep(pause).await;
                    pause = (pause * 2).min(TROUBLE);
                }
                _ => return,
            }
        }
    }
}
