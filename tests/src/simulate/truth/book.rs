//! What hosts ask for and were told: it outlives every process of the run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agent_shell_core::data::WaitFor;
use agent_shell_core::machine::Phase;
use agent_shell_core::words::TurnId;
use agent_shell_core::{Needs, Outcome, Rest};

use super::{Facts, Truth};
use crate::crash::scenario::TurnKey;
use crate::random::Random;
use crate::simulate::rule::Rule;
use crate::simulate::settings::Settings;
use crate::simulate::work::Work;

/// A turn that hosts are to ask for.
pub(super) struct Known {
    pub(super) work: Work,
    /// From when on.
    due: Duration,
    pub(super) accepted: Option<TurnId>,
    sent: BTreeSet<String>,
}

/// The turns of a run.
pub(super) fn draw(settings: &Settings) -> BTreeMap<TurnKey, Known> {
    let mut book = BTreeMap::new();
    let mut random = Random::of(&[settings.seed, 0xb00c]);
    for session in 0..settings.sessions {
        for number in 0..settings.turns_per_session {
            let key = TurnKey { session, number };
            let due = Duration::from_millis(random.below(settings.storm.as_millis() as u64 * 3 / 4));
            let work = Work::draw(settings.seed, key);
            book.insert(key, Known { work, due, accepted: None, sent: BTreeSet::new() });
        }
    }
    book
}

impl Truth {
    /// The turns that are due, those accepted already among them: asking again must make no difference.
    pub(in crate::simulate) fn due(&self) -> Vec<(TurnKey, Work, bool)> {
        let now = self.now();
        let facts = self.facts();
        let due = facts.book.iter().filter(|(_, known)| known.due <= now);
        due.map(|(key, known)| {
            let is_gone = facts.is_gone(self.settings(), *key, known.accepted);
            (*key, known.work.clone(), known.accepted.is_some() || is_gone)
        })
        .collect()
    }

    /// The turns that were accepted.
    pub(in crate::simulate) fn accepted_turns(&self) -> Vec<(TurnKey, TurnId)> {
        let facts = self.facts();
        facts.book.iter().filter_map(|(key, known)| Some((*key, known.accepted?))).collect()
    }

    /// A turn that a model plans and that has not ended, if there is one.
    pub(in crate::simulate) fn a_turn_of_a_model(&self, number: u64) -> Option<TurnId> {
        let facts = self.facts();
        let talks = facts.book.values().filter(|known| matches!(known.work, Work::Talk(_)));
        let open = |turn: &TurnId| facts.turns.get(turn).is_none_or(|turn| turn.outcome.is_none());
        let open: Vec<TurnId> = talks.filter_map(|known| known.accepted).filter(open).collect();
        open.get(usize::try_from(number % open.len().max(1) as u64).ok()?).copied()
    }

    /// A submit was answered.
    pub(in crate::simulate) fn accepted(&self, key: TurnKey, turn: TurnId) {
        let mut facts = self.facts();
        let Some(known) = facts.book.get_mut(&key) else { return };
        let before = known.accepted.replace(turn).filter(|before| *before != turn);
        let started = facts.started.get(&key).copied().filter(|started| *started != turn);
        let is_being_forgotten = facts.is_being_forgotten(self.settings(), key);
        drop(facts);
        for other in before.into_iter().chain(started).filter(|_| !is_being_forgotten) {
            self.say(Rule::Twice, format!("{key}: one dedupe key, and the turns {other} and {turn}"));
        }
    }

    /// The signals of accepted turns that nobody has sent yet: session, name, payload.
    pub(in crate::simulate) fn unsent_signals(&self) -> Vec<(TurnKey, String, serde_json::Value)> {
        let facts = self.facts();
        let accepted = facts.book.iter().filter(|(_, known)| known.accepted.is_some());
        let signals = accepted.flat_map(|(key, known)| {
            let unsent = known.work.signals().into_iter().filter(|(name, _)| !known.sent.contains(name));
            unsent.map(|(name, payload)| (*key, name, payload))
        });
        signals.collect()
    }

    /// A signal was accepted.
    pub(in crate::simulate) fn sent(&self, key: TurnKey, name: String) {
        if let Some(known) = self.facts().book.get_mut(&key) {
            known.sent.insert(name);
        }
    }

    /// The name of a turn that has started, and what it does.
    pub(in crate::simulate) fn work_of(&self, turn: TurnId) -> Option<(TurnKey, Work)> {
        let facts = self.facts();
        let key = facts.turns.get(&turn)?.key;
        let work = &facts.book.get(&key)?.work;
        let path = facts.children.get(&turn).map_or(&[][..], |child| child.place.path());
        Some((key, work.at(path)?))
    }

    /// A host is shown how a turn ended.
    pub(in crate::simulate) fn shown_outcome(&self, turn: TurnId, asked: Duration, shown: &Outcome) {
        if *shown != Outcome::Purged {
            let subject = self.subject_of_turn(turn);
            self.check_not_forgotten(subject, asked, || format!("turn {turn}: {shown:?} is shown"));
        }
        let facts = self.facts();
        let durable = facts.turns.get(&turn).and_then(|turn| turn.outcome.clone());
        let is_purge = *shown == Outcome::Purged && facts.is_purge_shown_rightly(turn);
        drop(facts);
        if durable.as_ref() != Some(shown) && !is_purge {
            self.say(Rule::Outcome, format!("turn {turn}: {shown:?} is shown, and durable is {durable:?}"));
        }
    }

    /// A host is shown what waits for a person. It may have been settled meanwhile; it must have been there.
    pub(in crate::simulate) fn shown_rest(&self, asked: Duration, rest: &Rest) {
        let subject = self.subject_of_session(rest.session);
        self.check_not_forgotten(subject, asked, || format!("{rest:?} is shown"));
        let facts = self.facts();
        let was_there = facts.was_there(rest);
        drop(facts);
        if !was_there {
            self.say(Rule::Shown, format!("{rest:?} is shown, and no durable record says so"));
        }
    }

    /// Whether every turn was accepted and has ended, every session is without a turn, and every group was given every
    /// event.
    pub(in crate::simulate) fn is_done(&self) -> bool {
        let facts = self.facts();
        let ended = |turn: &TurnId| facts.turns.get(turn).is_some_and(|turn| turn.outcome.is_some());
        let is_over = |(key, known): (&TurnKey, &Known)| {
            known.accepted.as_ref().is_some_and(ended) || facts.is_gone(self.settings(), *key, known.accepted)
        };
        facts.book.iter().all(is_over)
            && facts.are_children_over()
            && facts.are_purges_done()
            && facts.sessions.values().all(|mirror| mirror.state.turn.is_none())
            && facts.events.is_delivered()
            && facts.follow.is_told()
    }
}

impl Facts {
    fn was_there(&self, rest: &Rest) -> bool {
        use agent_shell_core::data::Body;

        let Some(mirror) = self.sessions.get(&rest.session) else { return false };
        if let Some(turn) = mirror.state.turn.as_ref().filter(|turn| turn.id == rest.turn)
            && let Some(place) = turn.index.get(&rest.step)
            && matches!(
                turn.steps[*place].phase,
                Phase::Waiting(_) | Phase::InDoubt { .. } | Phase::Parked { .. }
            )
        {
            return true;
        }
        mirror.entries.iter().rev().any(|entry| match (&entry.body, &rest.needs) {
            (
                Body::WaitOpened { turn, step, wait: WaitFor::Approval { digest, .. } },
                Needs::Approval { digest: shown, .. },
            ) => *turn == rest.turn && *step == rest.step && digest == shown,
            (Body::StepInDoubt { turn, step, .. }, Needs::Resolution { .. })
            | (Body::UndoParked { turn, step, .. }, Needs::Undo { .. }) => {
                *turn == rest.turn && *step == rest.step
            }
            _ => false,
        })
    }
}
