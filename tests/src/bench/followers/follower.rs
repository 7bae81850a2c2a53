//! One follower, what it was told, and what is wrong with it.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use agent_shell_core::data::encode;
use agent_shell_core::runtime::HistoryEntry;
use agent_shell_core::words::{Seq, SessionId, TurnId};
use agent_shell_core::{Followed, Shell, Turn};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::super::BenchError;
use super::Settings;
use super::text::Heard;
use crate::random::Random;

/// All followers of a run, of which each process takes its own.
pub(super) struct Crowd {
    pub(super) turns: Vec<(TurnId, SessionId)>,
    followers: usize,
    slow_ms: u64,
    /// Within how long they come.
    join_ms: u64,
    seed: u64,
    joined: AtomicUsize,
}

/// What all followers of a process were told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    pub(super) followers: usize,
    pub(super) records: usize,
    /// Records that were passed over.
    pub(super) gaps: usize,
    /// Records that came again, or too late.
    pub(super) repeats: usize,
    /// Followers whose records are not those of the history.
    pub(super) altered: usize,
    /// Followers that were not told all.
    pub(super) unfinished: usize,
    pub(super) reconnects: usize,
    /// Calls of `next` that were dropped half-way.
    pub(super) dropped: usize,
    /// Pieces of text.
    pub(super) tokens: usize,
    /// Attempts whose text was taken back.
    pub(super) retracted: usize,
    /// What was told of text that was not right: a gap, a repeat, other text, no end, or more after it.
    pub(super) text_wrong: usize,
}

impl Told {
    pub(super) fn add(&mut self, other: &Self) {
        self.followers += other.followers;
        self.records += other.records;
        self.gaps += other.gaps;
        self.repeats += other.repeats;
        self.altered += other.altered;
        self.unfinished += other.unfinished;
        self.reconnects += other.reconnects;
        self.dropped += other.dropped;
        self.tokens += other.tokens;
        self.retracted += other.retracted;
        self.text_wrong += other.text_wrong;
    }

    /// Whether every follower was told every record once, in order, and no text but as it was said.
    pub(super) fn is_right(&self) -> bool {
        self.gaps + self.repeats + self.altered + self.unfinished + self.text_wrong == 0
    }
}

/// Records as they came: their places, and what they said.
#[derive(Default)]
pub(super) struct Seen {
    first: Option<Seq>,
    last: Option<Seq>,
    records: usize,
    hasher: DefaultHasher,
}

impl Seen {
    /// Takes the next record. What is wrong with its place goes into `told`.
    pub(super) fn record(&mut self, entry: &HistoryEntry, told: &mut Told) {
        self.first.get_or_insert(entry.seq);
        if let Some(last) = self.last {
            let (expected, came) = (last.next().number(), entry.seq.number());
            told.gaps += usize::try_from(came.saturating_sub(expected)).unwrap_or(usize::MAX);
            told.repeats += usize::from(came < expected);
        }
        self.last = Some(entry.seq);
        self.records += 1;
        (entry.seq, entry.epoch, entry.time, entry.body.kind(), encode(&entry.body)).hash(&mut self.hasher);
    }

    /// Holds what came against the history.
    pub(super) fn judge(&self, history: &Self, told: &mut Told) {
        let is_whole = (self.first, self.last) == (history.first, history.last);
        told.unfinished += usize::from(!is_whole);
        told.altered += usize::from(is_whole && self.hasher.finish() != history.hasher.finish());
        told.records += self.records;
        told.followers += 1;
    }
}

impl Crowd {
    pub(super) fn new(settings: &Settings<'_>, turns: Vec<(TurnId, SessionId)>) -> Arc<Self> {
        let join_ms = settings.pace_ms * settings.steps as u64 / 3;
        Self::of(turns, settings.followers, settings.slow_ms, join_ms, settings.seed)
    }

    pub(super) fn of(
        turns: Vec<(TurnId, SessionId)>,
        followers: usize,
        slow_ms: u64,
        join_ms: u64,
        seed: u64,
    ) -> Arc<Self> {
        Arc::new(Self { turns, followers, slow_ms, join_ms, seed, joined: AtomicUsize::new(0) })
    }

    /// Where a follower is: in the process that drives the turns, or in one of the others. A fifth is in those.
    fn place(nth: usize) -> usize {
        match nth % 10 {
            3 => 1,
            7 => 2,
            _ => 0,
        }
    }

    pub(super) const fn is_slow(nth: usize) -> bool {
        (nth / 10) % 2 == 1
    }

    pub(super) fn have_all_joined(&self) -> bool {
        self.joined.load(Ordering::SeqCst) == (0..self.followers).filter(|nth| Self::place(*nth) == 0).count()
    }

    /// The followers of one process: those of the one that drives the turns are in place 0.
    pub(super) async fn at(self: &Arc<Self>, shell: &Shell, place: usize) -> Result<Told, BenchError> {
        self.watch(shell, place).await
    }

    async fn watch(self: &Arc<Self>, shell: &Shell, place: usize) -> Result<Told, BenchError> {
        let mut watching = JoinSet::new();
        for nth in (0..self.followers).filter(|nth| Self::place(*nth) == place) {
            let (crowd, shell) = (self.clone(), shell.clone());
            watching.spawn(async move { crowd.follow(&shell, nth).await });
        }
        let (mut all, mut seen) = (Told::default(), Vec::new());
        while let Some(done) = watching.join_next().await {
            let (turn, one, told) = done.map_err(BenchError::system)??;
            all.add(&told);
            seen.push((turn, one));
        }
        let mut histories = HashMap::new();
        for (turn, one) in seen {
            if let std::collections::hash_map::Entry::Vacant(place) = histories.entry(turn) {
                place.insert(history(shell, turn).await?);
            }
            one.judge(&histories[&turn], &mut all);
        }
        Ok(all)
    }

    async fn follow(
        &self,
        shell: &Shell,
        nth: usize,
    ) -> Result<((TurnId, SessionId), Seen, Told), BenchError> {
        let mut random = Random::of(&[self.seed, nth as u64]);
        let (is_slow, reconnects) = (Self::is_slow(nth), nth % 10 == 4 || nth % 10 == 7);
        // The slow ones, and those that connect anew, are spread over all turns.
        let (id, session) = self.turns[nth / 20 % self.turns.len()];
        let turn: Turn = shell.turn(id);
        let (mut seen, mut told) = (Seen::default(), Told::default());
        let mut heard = Heard::default();
        pause(random.below(self.join_ms.max(1))).await;
        let mut follow = turn.follow();
        loop {
            let next = if random.percent(10) {
                let patience = Duration::from_micros(random.below(2_000));
                let next = tokio::time::timeout(patience, follow.next()).await;
                let Ok(next) = next else {
                    told.dropped += 1;
                    continue;
                };
                next
            } else {
                follow.next().await
            };
            let Some(followed) = next.map_err(BenchError::system)? else { break };
            heard.take(&followed, &mut told);
            // Text comes faster than anybody takes so long for.
            let is_slow = is_slow && matches!(followed, Followed::Durable { .. });
            if let Followed::Durable { entry, .. } = followed {
                if seen.first.is_none() {
                    self.joined.fetch_add(1, Ordering::SeqCst);
                }
                seen.record(&entry, &mut told);
            }
            if is_slow {
                pause(random.below(2 * self.slow_ms)).await;
            }
            if reconnects && random.percent(10) {
                let last = seen.last.unwrap_or_default();
                drop(follow);
                pause(random.below(50)).await;
                (follow, heard) = (turn.follow_after(last), Heard::default());
                told.reconnects += 1;
            }
        }
        Ok(((id, session), seen, told))
    }
}

async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// The turn's records as the history shows them.
async fn history(shell: &Shell, (turn, session): (TurnId, SessionId)) -> Result<Seen, BenchError> {
    let mut history = shell.history(session).await.map_err(BenchError::system)?;
    let (mut seen, mut is_in) = (Seen::default(), false);
    loop {
        let page = history.next(256).await.map_err(BenchError::system)?;
        if page.is_empty() {
            return Ok(seen);
        }
        for entry in page {
            is_in |= entry.body.turn() == Some(turn);
            if is_in {
                seen.record(&entry, &mut Told::default());
            }
        }
    }
}
