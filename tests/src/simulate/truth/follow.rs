//! What followers are told, held against the records that are durable and the text that models have said.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agent_shell_core::data::{Body, Resolution};
use agent_shell_core::machine::Entry;
use agent_shell_core::words::{Seq, SessionId, StepId, TurnId};
use agent_shell_core::{Call, Followed};

use super::events::LifeId;
use super::mirror::Mirror;
use super::{Facts, Truth};
use crate::simulate::bugs::Bug;
use crate::simulate::coverage::Coverage;
use crate::simulate::rule::Rule;
use crate::simulate::sights::Sight;
use crate::simulate::work::Work;

/// Followers of a run, at most.
const MOST: usize = 14;

/// Text below this is not lost, however slow a follower is: no turn of a run says so much at once.
const LOSSLESS_BYTES: usize = 100 << 10;

/// An attempt of a process that speaks: the place of its voice among all.
type Speaker = (LifeId, TurnId, StepId, u32);

/// Who follows, and what was said.
#[derive(Default)]
pub(super) struct FollowBook {
    followers: Vec<Follower>,
    voices: BTreeMap<Speaker, Vec<Voice>>,
    /// Numbers connections and voices, in their order.
    order: u64,
    /// The first and the last record of each turn that has one.
    spans: BTreeMap<TurnId, (Seq, Option<Seq>)>,
    /// When a turn was first followed in a life of a process.
    firsts: BTreeMap<(LifeId, TurnId), Duration>,
}

/// What an attempt at a question says.
struct Voice {
    order: u64,
    /// All that it will have said.
    text: String,
    /// How much of it was said, in bytes.
    said: usize,
    /// When a follower was first told that it counts for nothing.
    retracted: Option<Duration>,
}

/// One who follows a turn, through all its connections.
struct Follower {
    turn: TurnId,
    /// The last record that it was told.
    last: Seq,
    /// Whether it was told all, or that there is nothing to be told.
    is_over: bool,
    /// Whether somebody goes on with it: a task of a process that lives.
    is_alive: bool,
    connection: Option<Connection>,
}

/// What a follower knows by one connection.
struct Connection {
    life: LifeId,
    order: u64,
    /// Text that has not found its end.
    told: BTreeMap<StepId, Told>,
    /// Steps whose outcome was told.
    settled: BTreeSet<StepId>,
    retracted: BTreeSet<StepId>,
}

struct Told {
    attempt: u32,
    /// The voice's place.
    voice: usize,
    /// Where the next text stands.
    offset: u64,
}

/// One who follows, as long as its process lives.
pub(in crate::simulate) struct Watching {
    truth: Truth,
    place: usize,
    pub(in crate::simulate) turn: TurnId,
}

/// An attempt at a question that speaks.
#[derive(Clone)]
pub(in crate::simulate) struct Speaking {
    truth: Truth,
    speaker: Speaker,
    place: usize,
}

impl Truth {
    pub(in crate::simulate) fn see(&self, sight: Sight) {
        self.facts().coverage.see(sight);
    }

    /// A follower of a turn begins; none when there are enough.
    pub(in crate::simulate) fn watches(&self, turn: TurnId) -> Option<Watching> {
        let mut facts = self.facts();
        let place = facts.follow.followers.len();
        // Where text is at fault, only those count that have some.
        let has_text = facts
            .book
            .values()
            .any(|known| known.accepted == Some(turn) && matches!(known.work, Work::Talk(_)));
        let is_of_text = self.settings().bug == Some(Bug::RetractionForgotten);
        if place >= MOST || (is_of_text && !has_text) {
            return None;
        }
        facts.coverage.see(Sight::Follower);
        facts.follow.followers.push(Follower {
            turn,
            last: Seq::ZERO,
            is_over: false,
            is_alive: true,
            connection: None,
        });
        Some(Watching { truth: self.clone(), place, turn })
    }

    /// A follower whose process has died goes on; none when there is none.
    pub(in crate::simulate) fn watches_on(&self) -> Option<Watching> {
        let mut facts = self.facts();
        let left = |follower: &Follower| !follower.is_over && !follower.is_alive;
        let place = facts.follow.followers.iter().position(left)?;
        let follower = &mut facts.follow.followers[place];
        follower.is_alive = true;
        let turn = follower.turn;
        facts.coverage.see(Sight::ReconnectElsewhere);
        Some(Watching { truth: self.clone(), place, turn })
    }

    /// An attempt at a question will say this.
    pub(in crate::simulate) fn speaks(&self, life: LifeId, call: &Call, text: String) -> Speaking {
        let speaker = (life, call.turn, call.step.clone(), call.attempt);
        let mut facts = self.facts();
        let order = facts.follow.next();
        let voices = facts.follow.voices.entry(speaker.clone()).or_default();
        voices.push(Voice { order, text, said: 0, retracted: None });
        Speaking { truth: self.clone(), place: voices.len() - 1, speaker }
    }
}

impl Speaking {
    /// It says so much more, or, with nothing, that its answer is whole.
    pub(in crate::simulate) fn says(&self, bytes: usize) {
        let now = self.truth.now();
        let mut facts = self.truth.facts();
        let voices = facts.follow.voices.get_mut(&self.speaker);
        let Some(voice) = voices.and_then(|voices| voices.get_mut(self.place)) else { return };
        voice.said += bytes;
        // In the same instant whoever waits for it may not know yet.
        let is_alive = voice.retracted.is_some_and(|at| at < now);
        drop(facts);
        if is_alive {
            let (_, turn, step, attempt) = &self.speaker;
            self.truth.say(
                Rule::Follow,
                format!("turn {turn} step {step}, attempt {attempt}: was retracted, and goes on"),
            );
        }
    }
}

impl Watching {
    pub(in crate::simulate) fn last(&self) -> Seq {
        self.truth.facts().follow.followers[self.place].last
    }

    pub(in crate::simulate) fn connected(&self, life: LifeId) {
        let since = self.truth.now();
        let mut facts = self.truth.facts();
        let order = facts.follow.next();
        facts.follow.firsts.entry((life, self.turn)).or_insert(since);
        let follower = &mut facts.follow.followers[self.place];
        follower.connection = Some(Connection {
            life,
            order,
            told: BTreeMap::new(),
            settled: BTreeSet::new(),
            retracted: BTreeSet::new(),
        });
    }

    pub(in crate::simulate) fn disconnected(&self) {
        self.truth.facts().follow.followers[self.place].connection = None;
    }

    /// Something was told.
    pub(in crate::simulate) fn told(&self, followed: &Followed) {
        let (now, turn) = (self.truth.now(), self.turn);
        let facts = self.truth.facts();
        let life = facts.follow.followers[self.place].connection.as_ref().map(|connection| connection.life);
        let since = life.and_then(|life| facts.follow.firsts.get(&(life, turn)).copied());
        drop(facts);
        // A process learns of a purge in another one when it looks at the store: up to then its followers are told what it
        // has opened, also those who connect anew. Who comes to a process that has opened nothing is told nothing.
        let subject = self.truth.subject_of_turn(turn);
        self.truth.check_not_forgotten(subject, since.unwrap_or_default(), || {
            format!("a follower is told {followed:?}")
        });
        let is_lossless = self.truth.settings().limits.live_bytes >= LOSSLESS_BYTES;
        let mut problems = Vec::new();
        let mut facts = self.truth.facts();
        let Facts { follow, sessions, posted, coverage, owners, .. } = &mut *facts;
        let mirror = posted.get(&turn).and_then(|session: &SessionId| sessions.get(session));
        let FollowBook { followers, voices, spans, .. } = follow;
        let follower = &mut followers[self.place];
        match (followed, mirror) {
            (Followed::Durable { seq, entry }, Some(mirror)) => {
                problems.extend(follower.record(*seq, entry, mirror, spans, coverage));
                let writer = mirror.owners.get(&entry.epoch).and_then(|owner| owners.get(owner));
                let is_here = writer == follower.connection.as_ref().map(|connection| &connection.life);
                coverage.see(if is_here { Sight::RecordHere } else { Sight::RecordElsewhere });
            }
            (Followed::Token { step, attempt, offset, text }, _) => {
                let token = (step, *attempt, *offset, &**text);
                problems.extend(follower.text(token, voices, is_lossless, coverage));
            }
            (Followed::Retracted { step, attempt }, _) => {
                problems.extend(follower.retracted(step, *attempt, voices, now, coverage));
            }
            _ => problems.push("something unknown is told".to_owned()),
        }
        drop(facts);
        self.say(problems);
    }

    /// The end was told.
    pub(in crate::simulate) fn is_over(&self) {
        let mut facts = self.truth.facts();
        let follow = &mut facts.follow;
        let follower = &mut follow.followers[self.place];
        follower.is_over = true;
        let ended = follow.spans.get(&self.turn).and_then(|(_, ended)| *ended);
        let last = follower.last;
        facts.coverage.see(Sight::FollowedToEnd);
        drop(facts);
        if ended != Some(last) {
            self.say(vec![format!("the end is told after record {last}, and the turn's last is {ended:?}")]);
        }
    }

    /// It was said that nothing is to be told any more, for the turn's subject was purged.
    pub(in crate::simulate) fn was_purged(&self) {
        let mut facts = self.truth.facts();
        facts.coverage.see(Sight::FollowedPurge);
        facts.follow.followers[self.place].is_over = true;
    }

    fn say(&self, problems: Vec<String>) {
        for problem in problems {
            let (place, turn) = (self.place, self.turn);
            self.truth.say(Rule::Follow, format!("follower {place} of turn {turn}: {problem}"));
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut facts = self.truth.facts();
        let follower = &mut facts.follow.followers[self.place];
        (follower.is_alive, follower.connection) = (false, None);
    }
}

impl FollowBook {
    fn next(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    /// A record is durable.
    pub(super) fn take(&mut self, entry: &Entry) {
        match &entry.body {
            Body::TurnStarted { turn, .. } => drop(self.spans.insert(*turn, (entry.seq, None))),
            Body::TurnEnded { turn, joined, .. } => {
                // What it has taken up has this record alone.
                let whole = joined.iter().map(|joined| (*joined, (entry.seq, Some(entry.seq))));
                self.spans.extend(whole);
                self.spans.entry(*turn).or_insert((entry.seq, None)).1 = Some(entry.seq);
            }
            Body::MailRefused { turn: Some(turn), .. } | Body::TurnWithdrawn { turn, .. } => {
                self.spans.insert(*turn, (entry.seq, Some(entry.seq)));
            }
            _ => {}
        }
    }

    /// Whether everybody who follows was told all.
    pub(super) fn is_told(&self) -> bool {
        self.followers.iter().all(|follower| follower.is_over || !follower.is_alive)
    }

    pub(super) fn check_end(&self, found: &mut Vec<(Rule, String)>) {
        for (place, follower) in self.followers.iter().enumerate() {
            if follower.is_alive && !follower.is_over {
                let (turn, last) = (follower.turn, follower.last);
                found.push((
                    Rule::Follow,
                    format!("follower {place} of turn {turn} is told nothing more after record {last}"),
                ));
            }
        }
    }
}

impl Follower {
    fn record(
        &mut self,
        seq: Seq,
        entry: &Entry,
        mirror: &Mirror,
        spans: &BTreeMap<TurnId, (Seq, Option<Seq>)>,
        coverage: &mut Coverage,
    ) -> Option<String> {
        let Some(&(started, ended)) = spans.get(&self.turn) else {
            return Some(format!("is told record {seq}, and the turn has none"));
        };
        let expected = if self.last == Seq::ZERO { started } else { self.last.next() };
        if seq != expected || entry.seq != seq {
            return Some(format!("is told record {seq}, and record {expected} is next"));
        }
        if ended.is_some_and(|ended| seq > ended) {
            return Some(format!("is told record {seq}, and the turn's last is {ended:?}"));
        }
        self.last = seq;
        let place = usize::try_from(seq.number() - 1).unwrap_or(usize::MAX);
        match mirror.entries.get(place) {
            None => return Some(format!("is told record {seq}, which is not durable")),
            Some(durable) if durable != entry => {
                return Some(format!("is told {entry:?}, and durable is {durable:?}"));
            }
            Some(_) => {}
        }
        let connection = self.connection.as_mut()?;
        match &entry.body {
            Body::StepResolved { resolution: Resolution::Retry, .. } => None,
            Body::StepSucceeded { step, .. }
            | Body::ModelAnswered { step, .. }
            | Body::StepFailed { step, .. }
            | Body::StepResolved { step, .. } => {
                if connection.told.remove(step).is_some() {
                    coverage.see(Sight::TextAnswered);
                }
                connection.settled.insert(step.clone());
                None
            }
            Body::TurnEnded { .. } => {
                let open: Vec<&str> = connection.told.keys().map(StepId::as_str).collect();
                (!open.is_empty())
                    .then(|| format!("is told the turn's end, and not what becomes of {open:?}"))
            }
            Body::AttemptFailed { step, attempt, .. } | Body::StepOutdated { step, attempt, .. } => {
                let told = connection.told.get(step).filter(|told| told.attempt == *attempt);
                told.map(|_| {
                    format!(
                        "is told that attempt {attempt} of {step} counts for nothing, and its text stands"
                    )
                })
            }
            _ => None,
        }
    }

    fn text(
        &mut self,
        (step, attempt, offset, text): (&StepId, u32, u64, &str),
        voices: &BTreeMap<Speaker, Vec<Voice>>,
        is_lossless: bool,
        coverage: &mut Coverage,
    ) -> Option<String> {
        let connection = self.connection.as_mut()?;
        coverage.see(Sight::Text);
        let what = format!("is told text of {step}, attempt {attempt}, at {offset}");
        if connection.settled.contains(step) {
            return Some(format!("{what}, and its outcome was told before"));
        }
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let is_said = |voice: &Voice| {
            let said = voice.text.get(..voice.said).unwrap_or_default();
            !text.is_empty() && said.get(from..).is_some_and(|said| said.starts_with(text))
        };
        let all = voices.get(&(connection.life, self.turn, step.clone(), attempt));
        let all = all.map_or(&[][..], |all| &all[..]);
        let before = connection.told.get(step);
        if before.is_some_and(|before| before.attempt != attempt) {
            return Some(format!("{what}, and what an earlier attempt said still stands"));
        }
        let place = match before {
            Some(before) if is_said(&all[before.voice]) => before.voice,
            Some(_) => return Some(format!("{what}, that the attempt has not said: {text:?}")),
            None => match all.iter().rposition(is_said) {
                Some(place) => place,
                None => return Some(format!("{what}, that nobody has said here: {text:?}")),
            },
        };
        let is_whole = connection.order < all[place].order;
        let expected = before.map_or(0, |before| before.offset);
        if connection.retracted.contains(step) {
            coverage.see(Sight::TextAnew);
        }
        let told = Told { attempt, voice: place, offset: offset + text.len() as u64 };
        let is_first = connection.told.insert(step.clone(), told).is_none();
        if offset < expected {
            return Some(format!("{what}, and {expected} bytes were told"));
        }
        if offset > expected && (is_whole || !is_first) {
            if is_lossless {
                return Some(format!("{what}, and {expected} bytes were told: nothing may be lost"));
            }
            coverage.see(Sight::TextLost);
        }
        None
    }

    fn retracted(
        &mut self,
        step: &StepId,
        attempt: u32,
        voices: &mut BTreeMap<Speaker, Vec<Voice>>,
        now: Duration,
        coverage: &mut Coverage,
    ) -> Option<String> {
        let connection = self.connection.as_mut()?;
        coverage.see(Sight::TextRetracted);
        let told = connection.told.remove(step).filter(|told| told.attempt == attempt);
        let Some(told) = told else {
            return Some(format!(
                "is told that attempt {attempt} of {step} is retracted, and it has no text"
            ));
        };
        connection.retracted.insert(step.clone());
        let voices = voices.get_mut(&(connection.life, self.turn, step.clone(), attempt));
        if let Some(voice) = voices.and_then(|voices| voices.get_mut(told.voice)) {
            voice.retracted.get_or_insert(now);
        }
        None
    }
}
