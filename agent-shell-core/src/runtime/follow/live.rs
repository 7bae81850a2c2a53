//! Which turns are followed in this process, and what their followers share.
//!
//! Where nobody follows, the hub costs one look at a counter. It never waits: its locks are held for a few moves in
//! memory. What it keeps is bounded for each followed turn, however many follow it and however slow they are.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::{Notify, watch};

use super::known::Known;
use super::tail::Tail;
use super::voice::Speech;
use crate::data::Body;
use crate::machine::Entry;
use crate::words::{Seq, SessionId, StepId, TurnId};

/// The turns that are followed in this process.
pub(crate) struct Live {
    turns: RwLock<BTreeMap<TurnId, Place>>,
    followed: AtomicUsize,
    /// Numbers the voices, so that a late one is known.
    voices: AtomicU64,
    /// How much text is kept of a turn, in bytes.
    pub(super) live_bytes: usize,
}

struct Place {
    channel: Arc<Channel>,
    followers: usize,
}

/// What the followers of one turn share.
pub(crate) struct Channel {
    turn: TurnId,
    state: Mutex<State>,
    changes: watch::Sender<()>,
    /// Tells the task that looks at the store that nobody follows any more.
    pub(super) closed: Notify,
    /// Held by the one who reads the store for all.
    pub(super) reading: tokio::sync::Mutex<()>,
    pub(super) tail: Mutex<Tail>,
}

/// Behind one lock, so that text and records have one order.
#[derive(Default)]
pub(super) struct State {
    pub(super) known: Known,
    pub(super) speeches: BTreeMap<StepId, Speech>,
    /// How many bytes of text all speeches hold.
    pub(super) bytes: usize,
    /// Which voices of a step are not heard any more.
    floors: HashMap<StepId, Vec<Floor>>,
}

/// Silences voices of one step.
#[derive(Clone, Copy)]
pub(super) struct Floor {
    /// The first voice that may still speak.
    voice: u64,
    /// It silences attempts up to this one alone: the next may have been asked before the end of this one is durable.
    attempt: u32,
}

impl Floor {
    /// No voice speaks any more.
    const END: Self = Self::before(u64::MAX);

    /// For every attempt.
    pub(super) const fn before(voice: u64) -> Self {
        Self { voice, attempt: u32::MAX }
    }

    fn silences(self, voice: u64, attempt: u32) -> bool {
        voice < self.voice && attempt <= self.attempt
    }
}

impl State {
    /// What was said of the step is gone, and earlier voices of it are not heard any more, as far as the floor goes.
    pub(super) fn silence(&mut self, step: &StepId, floor: Floor) {
        let is_silenced = |speech: &Speech| floor.silences(speech.voice, speech.attempt);
        if self.speeches.get(step).is_some_and(is_silenced)
            && let Some(speech) = self.speeches.remove(step)
        {
            self.bytes -= speech.text.len();
        }
        let floors = self.floors.entry(step.clone()).or_default();
        floors.retain(|known| known.voice > floor.voice || known.attempt > floor.attempt);
        floors.push(floor);
    }

    /// Whether a voice of the step is not heard any more.
    pub(super) fn is_silenced(&self, step: &StepId, voice: u64, attempt: u32) -> bool {
        self.floors.get(step).is_some_and(|floors| floors.iter().any(|floor| floor.silences(voice, attempt)))
    }

    pub(super) fn silence_all(&mut self, floor: Floor) {
        while let Some(step) = self.speeches.keys().next().cloned() {
            self.silence(&step, floor);
        }
    }
}

/// What an append says to followers.
pub(crate) struct News {
    session: SessionId,
    /// Mostly there is one turn to tell of, and nothing is allocated for it.
    first: Option<(TurnId, TurnNews)>,
    others: Vec<(TurnId, TurnNews)>,
    is_purged: bool,
}

/// What it says of one turn.
#[derive(Default)]
struct TurnNews {
    started: Option<Seq>,
    ended: Option<Seq>,
    /// Steps of which attempts came to an end, up to this one; none when that is the step's own.
    steps: Vec<(StepId, Option<u32>)>,
    interrupted: bool,
}

impl Live {
    pub(crate) fn new(live_bytes: usize) -> Self {
        let (turns, followed, voices) = (RwLock::default(), AtomicUsize::new(0), AtomicU64::new(1));
        Self { turns, followed, voices, live_bytes }
    }

    /// One more follower of the turn, until the seat is dropped.
    pub(super) fn join(self: &Arc<Self>, turn: TurnId) -> Seat {
        let mut turns = self.turns.write().unwrap_or_else(PoisonError::into_inner);
        let place = turns.entry(turn).or_insert_with(|| {
            self.followed.fetch_add(1, Ordering::SeqCst);
            Place { channel: Arc::new(Channel::new(turn)), followers: 0 }
        });
        place.followers += 1;
        Seat { live: self.clone(), channel: place.channel.clone() }
    }

    fn leave(&self, turn: TurnId) {
        let mut turns = self.turns.write().unwrap_or_else(PoisonError::into_inner);
        let Some(place) = turns.get_mut(&turn) else { return };
        place.followers -= 1;
        if place.followers == 0 {
            place.channel.closed.notify_one();
            turns.remove(&turn);
            self.followed.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// The channel of a turn that somebody follows.
    pub(super) fn find(&self, turn: TurnId) -> Option<Arc<Channel>> {
        if self.followed.load(Ordering::SeqCst) == 0 {
            return None;
        }
        let turns = self.turns.read().unwrap_or_else(PoisonError::into_inner);
        turns.get(&turn).map(|place| place.channel.clone())
    }

    pub(super) fn next_voice(&self) -> u64 {
        self.voices.fetch_add(1, Ordering::SeqCst)
    }

    /// That the entries are durable, and the session ends at `head`. Whoever follows from here on finds them in the
    /// store.
    pub(crate) fn durable(&self, head: Seq, news: News) {
        if self.followed.load(Ordering::SeqCst) == 0 {
            return;
        }
        if news.is_purged {
            for channel in self.of_session(news.session) {
                channel.purge();
            }
        }
        for (turn, news) in news.first.into_iter().chain(news.others) {
            let Some(channel) = self.find(turn) else { continue };
            let floor = self.next_voice();
            channel.change(|state| {
                state.known.goes_on(head, news.started, news.ended);
                if news.interrupted {
                    state.silence_all(Floor::before(floor));
                }
                for (step, attempt) in &news.steps {
                    let of = |attempt| Floor { voice: floor, attempt };
                    state.silence(step, attempt.map_or(Floor::END, of));
                }
            });
        }
    }

    /// That this process does not drive the turn any more: what its attempts said counts for nothing.
    pub(crate) fn released(&self, turn: TurnId) {
        if let Some(channel) = self.find(turn) {
            let floor = self.next_voice();
            channel.change(|state| state.silence_all(Floor::before(floor)));
        }
    }

    fn of_session(&self, session: SessionId) -> Vec<Arc<Channel>> {
        let turns = self.turns.read().unwrap_or_else(PoisonError::into_inner);
        let channels = turns.values().map(|place| &place.channel);
        channels.filter(|channel| channel.lock().known.session == Some(session)).cloned().collect()
    }

    /// How many turns are followed, and how many bytes of text are kept for all of them.
    #[cfg(test)]
    pub(super) fn held(&self) -> (usize, usize) {
        let turns = self.turns.read().unwrap();
        (turns.len(), turns.values().map(|place| place.channel.lock().bytes).sum())
    }
}

impl News {
    /// What entries that are about to be appended will say. It is gathered also when nobody follows, for somebody may
    /// come while they are on their way. `running` is the turn that runs after them.
    pub(crate) fn of(session: SessionId, running: Option<TurnId>, entries: &[Entry]) -> Self {
        let mut news = Self { session, first: None, others: Vec::new(), is_purged: false };
        if let Some(turn) = running {
            news.about(turn);
        }
        for entry in entries {
            news.is_purged |= matches!(entry.body, Body::SessionPurged { .. });
            for turn in whole(&entry.body) {
                let about = news.about(turn);
                (about.started, about.ended) = (Some(entry.seq), Some(entry.seq));
            }
            let Some(turn) = entry.body.turn() else { continue };
            let about = news.about(turn);
            match &entry.body {
                Body::TurnStarted { .. } => about.started = Some(entry.seq),
                Body::TurnEnded { .. } => about.ended = Some(entry.seq),
                _ => {}
            }
            match Ends::of(&entry.body) {
                Ends::Nothing => {}
                // Only questions say something, and a call's record is no question's.
                _ if matches!(entry.body, Body::StepStarted { .. } | Body::StepSucceeded { .. }) => {}
                Ends::Attempt(step, attempt) => about.steps.push((step.clone(), Some(attempt))),
                Ends::Step(step) => about.steps.push((step.clone(), None)),
                Ends::All => about.interrupted = true,
            }
        }
        news
    }

    fn about(&mut self, turn: TurnId) -> &mut TurnNews {
        let (named, first) = self.first.get_or_insert_with(|| (turn, TurnNews::default()));
        if *named == turn {
            return first;
        }
        let found = self.others.iter().position(|(named, _)| *named == turn).unwrap_or(self.others.len());
        if found == self.others.len() {
            self.others.push((turn, TurnNews::default()));
        }
        &mut self.others[found].1
    }
}

/// The turns of which a record is the first and the last: they never started.
fn whole(body: &Body) -> impl Iterator<Item = TurnId> {
    let (one, joined): (_, &[TurnId]) = match body {
        Body::MailRefused { turn, .. } => (*turn, &[]),
        Body::TurnWithdrawn { turn, .. } => (Some(*turn), &[]),
        Body::TurnEnded { joined, .. } => (None, joined),
        _ => (None, &[]),
    };
    one.into_iter().chain(joined.iter().copied())
}

/// Whether a record is the last one of a turn.
pub(super) fn ends_turn(body: &Body, turn: TurnId) -> bool {
    whole(body).any(|whole| whole == turn)
        || matches!(body, Body::TurnEnded { turn: ended, .. } if *ended == turn)
}

/// Whose text a record puts an end to.
pub(super) enum Ends<'a> {
    Nothing,
    /// What the step's attempts said, up to this one, counts for nothing.
    Attempt(&'a StepId, u32),
    /// The record takes the place of what the step's attempt said.
    Step(&'a StepId),
    /// Whatever steps without an outcome said counts for nothing.
    All,
}

impl<'a> Ends<'a> {
    pub(super) fn of(body: &'a Body) -> Self {
        use crate::data::Resolution;
        match body {
            // Of this attempt more may have been said by the time when a follower is told that it began.
            Body::StepStarted { step, attempt, .. } => Self::Attempt(step, attempt.saturating_sub(1)),
            Body::AttemptFailed { step, attempt, .. }
            | Body::StepOutdated { step, attempt, .. }
            | Body::StepInDoubt { step, attempt, .. } => Self::Attempt(step, *attempt),
            Body::StepResolved { step, resolution: Resolution::Retry, .. } => Self::Attempt(step, u32::MAX),
            Body::StepSucceeded { step, .. }
            | Body::ModelAnswered { step, .. }
            | Body::StepFailed { step, .. }
            | Body::StepResolved { step, .. } => Self::Step(step),
            Body::TurnInterrupted { .. } | Body::TurnEnded { .. } | Body::SessionPurged { .. } => Self::All,
            _ => Self::Nothing,
        }
    }
}

impl Channel {
    fn new(turn: TurnId) -> Self {
        Self {
            turn,
            state: Mutex::default(),
            changes: watch::Sender::new(()),
            closed: Notify::new(),
            reading: tokio::sync::Mutex::default(),
            tail: Mutex::default(),
        }
    }

    pub(super) fn turn(&self) -> TurnId {
        self.turn
    }

    pub(super) fn watch(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what followers share, and lets them look.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.lock());
        self.nudge();
        changed
    }

    /// Lets the followers look.
    pub(super) fn nudge(&self) {
        self.changes.send_replace(());
    }

    /// Nothing of the turn is shown any more, also of what was opened before.
    pub(super) fn purge(&self) {
        self.change(|state| {
            state.known.is_purged = true;
            state.silence_all(Floor::END);
        });
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A follower's part in a channel. The last one to leave takes the channel along.
pub(super) struct Seat {
    live: Arc<Live>,
    channel: Arc<Channel>,
}

impl Seat {
    pub(super) fn channel(&self) -> &Arc<Channel> {
        &self.channel
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.live.leave(self.channel.turn);
    }
}
