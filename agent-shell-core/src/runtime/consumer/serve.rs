//! Serving: batches from the bus and sessions that are parked, side by side.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};

use super::{FIRST_PAUSE, Subscription};
use crate::data::Envelope;
use crate::ports::{BusError, BusMember, Delivery, HighWater, StoreError, route};
use crate::runtime::core::Stopping;
use crate::words::{Monotonic, SessionId};

/// The pause before an event that a handler failed on is tried again; it doubles with each failure that follows.
const FIRST_RETRY: Duration = Duration::from_millis(100);

/// What is said of events of a session that the store does not know.
const OF_ANOTHER: &str = "an event of another store, or of a session that expired, is not handled: give each store a bus of its own";

/// Sessions that are behind, looked up at once.
const PAGE: usize = 256;

/// Why serving ended well.
pub(super) enum End {
    /// The shell stops.
    Stopped,
    /// Events come to another process now.
    NotHere,
}

/// Why a consumer can't go on at the moment.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A session whose events wait, because its handler failed, or because a long gap is filled in pieces.
struct Parked {
    /// How far the group is in the session; maybe further than what is saved.
    mark: HighWater,
    retry_at: Monotonic,
    /// Failures that followed one another.
    failures: u32,
    /// Whether it is being tried.
    runs: bool,
}

/// How far it was looked up who is behind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Behind {
    /// There was no room for the sessions after this one.
    After(Option<SessionId>),
    /// All were looked up.
    AllKnown,
}

/// What was read from the bus together, and is committed together.
#[derive(Default)]
struct Batch {
    offsets: Vec<(u32, u64)>,
    marks: Vec<(SessionId, HighWater)>,
    /// The sessions that it began, also those that are through.
    sessions: BTreeSet<SessionId>,
    /// How many of them are not through yet.
    left: usize,
}

/// How the work on one session ended.
struct Worked {
    session: SessionId,
    is_retry: bool,
    from: u64,
    mark: HighWater,
    failed: Option<String>,
}

pub(super) struct Serving {
    of: Arc<Subscription>,
    partitions: u32,
    /// The partitions for which what is parked was looked up.
    assigned: Vec<u32>,
    parked: BTreeMap<SessionId, Parked>,
    behind: Behind,
    waiting: VecDeque<BoxFuture<'static, Worked>>,
    working: FuturesUnordered<BoxFuture<'static, Worked>>,
    batch: Option<Batch>,
    /// Whether sessions of the batch were behind when it was looked up who is.
    passed_over: bool,
}

impl Serving {
    pub(super) fn new(of: Arc<Subscription>, partitions: u32) -> Self {
        Self {
            of,
            partitions,
            assigned: Vec::new(),
            parked: BTreeMap::new(),
            behind: Behind::AllKnown,
            waiting: VecDeque::new(),
            working: FuturesUnordered::new(),
            batch: None,
            passed_over: false,
        }
    }

    /// Serves until it should not.
    ///
    /// # Errors
    /// What the bus or the store says; what was not committed comes again.
    pub(super) async fn serve(
        mut self,
        member: &mut dyn BusMember,
        pause: &mut Duration,
    ) -> Result<End, Trouble> {
        let of = self.of.clone();
        let limits = &of.core.limits;
        loop {
            self.look_behind(member.assigned()).await?;
            self.retry();
            while self.working.len() < limits.sessions_at_once.max(1)
                && let Some(work) = self.waiting.pop_front()
            {
                self.working.push(work);
            }
            let has_room = self.batch.is_none() && self.parked.len() < limits.parked_sessions.max(1);
            let until_retry = self.until_retry();
            tokio::select! {
                biased;
                () = of.core.stop.reached(Stopping::Abrupt) => return Ok(End::Stopped),
                () = of.may_not_serve() => return Ok(End::NotHere),
                Some(worked) = self.working.next(), if !self.working.is_empty() => self.take(worked).await?,
                read = member.poll(limits.events_at_once.max(1)), if has_room => self.begin(read?).await?,
                () = of.core.clock.sleep(until_retry) => {}
            }
            if let Some(batch) = self.batch.take_if(|batch| batch.left == 0) {
                of.marks.save(&of.group, &batch.marks).await?;
                match member.commit(&batch.offsets).await {
                    // It comes again, at another member.
                    Err(BusError::NotAssigned { .. }) => {}
                    committed => committed?,
                }
                if std::mem::take(&mut self.passed_over) {
                    self.behind = Behind::After(None);
                }
                *pause = FIRST_PAUSE;
            }
        }
    }

    /// Takes up what the group owes in the partitions that are this member's, as far as there is room. Who had none is
    /// looked up when there is: that some always fail must not keep others waiting.
    async fn look_behind(&mut self, assigned: Vec<u32>) -> Result<(), Trouble> {
        let mine = |session: &SessionId| assigned.contains(&route(&session.to_string(), self.partitions));
        if assigned != self.assigned {
            self.parked.retain(|session, parked| parked.runs || mine(session));
            self.behind = Behind::After(None);
        }
        let most = self.of.core.limits.parked_sessions.max(1);
        // What the batch works on is not begun beside it, and what it has done not again: its marks are not saved yet. It
        // is looked at again when they are.
        let in_batch =
            |session: &SessionId| self.batch.as_ref().is_some_and(|batch| batch.sessions.contains(session));
        while let Behind::After(after) = self.behind
            && self.parked.len() < most
        {
            let page = self.of.marks.behind(&self.of.group, after, PAGE).await?;
            self.behind = match page.last() {
                Some((last, _)) if page.len() >= PAGE => Behind::After(Some(*last)),
                _ => Behind::AllKnown,
            };
            let mut before = after;
            for (session, mark) in page.iter().filter(|(session, _)| mine(session)) {
                if self.parked.len() >= most {
                    self.behind = Behind::After(before);
                    break;
                }
                before = Some(*session);
                if in_batch(session) {
                    self.passed_over = true;
                    continue;
                }
                let retry_at = self.of.core.clock.monotonic();
                let parked = Parked { mark: *mark, retry_at, failures: 0, runs: false };
                let parked = self.parked.entry(*session).or_insert(parked);
                parked.mark = parked.mark.max(*mark);
            }
        }
        self.assigned = assigned;
        Ok(())
    }

    /// How many more parked sessions may be tried now: they get half of the places, so that handlers which hang leave
    /// some to others.
    fn places_for_retries(&self) -> usize {
        let places = (self.of.core.limits.sessions_at_once / 2).max(1);
        places.saturating_sub(self.parked.values().filter(|parked| parked.runs).count())
    }

    /// Tries parked sessions whose time has come, those first whose time came first.
    fn retry(&mut self) {
        let (now, places) = (self.of.core.clock.monotonic(), self.places_for_retries());
        if places == 0 {
            return;
        }
        let due = self.parked.iter_mut().filter(|(_, parked)| !parked.runs && parked.retry_at <= now);
        let mut due: Vec<_> = due.collect();
        due.sort_by_key(|(_, parked)| parked.retry_at);
        for (&session, parked) in due.into_iter().take(places) {
            parked.runs = true;
            let (of, mark) = (self.of.clone(), parked.mark);
            let retry = async move { work(&of, (session, true), mark, Vec::new()).await };
            self.waiting.push_back(Box::pin(retry));
        }
    }

    /// How long until a parked session may be tried, at most as long as a poll.
    fn until_retry(&self) -> Duration {
        let now = self.of.core.clock.monotonic();
        let may_retry = self.places_for_retries() > 0;
        let waiting = self.parked.values().filter(|parked| !parked.runs && may_retry);
        // Also looks from time to time whether partitions were assigned anew.
        let poll = Duration::from_millis(self.of.core.limits.poll_ms.max(1));
        waiting.map(|parked| parked.retry_at.since(now)).min().map_or(poll, |next| next.min(poll))
    }

    /// Begins with what was read.
    async fn begin(&mut self, read: Vec<Delivery>) -> Result<(), Trouble> {
        let mut batch = Batch::default();
        let mut ends: BTreeMap<u32, u64> = BTreeMap::new();
        let mut by_session: BTreeMap<SessionId, Vec<Envelope>> = BTreeMap::new();
        for Delivery { partition, offset, message } in read {
            ends.insert(partition, offset);
            match serde_json::from_slice::<Envelope>(&message.payload) {
                Ok(event) => by_session.entry(event.session).or_default().push(event),
                // Of a session of this store, the gap that it leaves is filled from the outbox.
                Err(error) => tracing::error!(id = %message.id, %error, "a message of the bus is no event"),
            }
        }
        batch.offsets = ends.into_iter().collect();
        let sessions: Vec<SessionId> = by_session.keys().copied().collect();
        let marks = self.of.marks.load(&self.of.group, &sessions).await?;
        for ((session, mut events), mark) in by_session.into_iter().zip(marks) {
            if mark == HighWater::default() && self.of.is_strange(session).await? {
                let (group, sources) = (&self.of.group, events.iter().map(|event| &event.source));
                let sources: BTreeSet<&String> = sources.collect();
                tracing::error!(%group, %session, ?sources, "{OF_ANOTHER}");
                continue;
            }
            events.retain(|event| event.sequence > mark.done);
            events.sort_by_key(|event| event.sequence);
            let Some(seen) = events.last().map(|event| event.sequence.max(mark.seen)) else { continue };
            let mark = HighWater { seen, ..mark };
            if let Some(parked) = self.parked.get_mut(&session) {
                parked.mark.seen = parked.mark.seen.max(seen);
                batch.marks.push((session, HighWater { seen, done: 0 }));
                continue;
            }
            batch.left += 1;
            batch.sessions.insert(session);
            let of = self.of.clone();
            self.waiting.push_back(Box::pin(async move { work(&of, (session, false), mark, events).await }));
        }
        self.batch = Some(batch);
        Ok(())
    }

    /// Takes what became of the work on a session.
    async fn take(&mut self, worked: Worked) -> Result<(), Trouble> {
        let Worked { session, is_retry, from, mark, failed } = worked;
        if is_retry {
            self.of.marks.save(&self.of.group, &[(session, mark)]).await?;
        } else if let Some(batch) = &mut self.batch {
            batch.marks.push((session, mark));
            batch.left -= 1;
        }
        let now = self.of.core.clock.monotonic();
        let longest = Duration::from_millis(self.of.core.limits.handler_pause_ms);
        let parked =
            self.parked.entry(session).or_insert(Parked { mark, retry_at: now, failures: 0, runs: false });
        parked.mark = parked.mark.max(mark);
        let Some(reason) = failed else {
            (parked.runs, parked.failures, parked.retry_at) = (false, 0, now);
            // What is left of a long gap waits its turn.
            if parked.mark.seen <= parked.mark.done {
                self.parked.remove(&session);
            }
            return Ok(());
        };
        parked.failures = if mark.done > from { 1 } else { parked.failures.saturating_add(1) };
        let pause = FIRST_RETRY.saturating_mul(1 << (parked.failures - 1).min(16)).min(longest);
        (parked.runs, parked.retry_at) = (false, now.plus(pause));
        let (group, sequence) = (&self.of.group, mark.done + 1);
        tracing::warn!(%group, %session, sequence, reason, "an event was not handled; its session's events wait");
        Ok(())
    }
}

async fn work(
    of: &Subscription,
    (session, is_retry): (SessionId, bool),
    mark: HighWater,
    events: Vec<Envelope>,
) -> Worked {
    let mut done = mark.done;
    let failed = of.advance(session, events, mark.seen, &mut done).await.err();
    Worked { session, is_retry, from: mark.done, mark: HighWater { done, ..mark }, failed }
}
