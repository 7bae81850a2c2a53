//! What the harness knows, from what workers said. A turn counts as accepted when the harness has read so.

use std::collections::{BTreeMap, BTreeSet};

use agent_shell_core::Outcome;
use agent_shell_core::words::{Head, SessionId, TurnId};

use super::scenario::{Scenario, TurnKey};
use super::violation::{Rule, Violation};
use super::words::{Deed, Event, SessionWork};
use crate::random::Random;

/// What is known of a turn.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// Submits that were begun and not answered before the kill.
    pub(super) unanswered: u64,
    /// The id that the first answer named, and when the worker that got it was started, in wall time.
    pub(super) accepted: Option<(TurnId, u64)>,
    /// How it ended, as a worker first saw it.
    pub(super) outcome: Option<Outcome>,
    /// The lives that have begun to submit it and have no answer yet.
    asking: BTreeSet<u64>,
}

/// Everything that is known.
#[derive(Clone, Debug)]
pub(super) struct Book {
    seed: u64,
    sessions: Vec<u64>,
    owners: u64,
    pub(super) turns: BTreeMap<TurnKey, Known>,
    /// The latest durable heads that were seen.
    pub(super) heads: BTreeMap<SessionId, Head>,
    /// What people have done, and were told is done.
    pub(super) deeds: Vec<Deed>,
    /// What must not be.
    pub(super) troubles: Vec<Violation>,
}

impl Book {
    pub(super) fn new(seed: u64, sessions: Vec<u64>, owners: u64) -> Self {
        let (turns, heads) = (BTreeMap::new(), BTreeMap::new());
        Self { seed, sessions, owners, turns, heads, deeds: Vec::new(), troubles: Vec::new() }
    }

    /// Takes in what a worker, started at `started_ms`, said.
    pub(super) fn take(&mut self, life: u64, started_ms: u64, event: Event) {
        match event {
            Event::Opened { .. } | Event::Marks { .. } | Event::Finished => {}
            Event::Submitting { key } => drop(self.turns.entry(key).or_default().asking.insert(life)),
            Event::Accepted { key, turn } => {
                let known = self.turns.entry(key).or_default();
                known.asking.remove(&life);
                let (first, _) = *known.accepted.get_or_insert((turn, started_ms));
                if first != turn {
                    let what = format!("{key}: accepted as turn {first}, and in life {life} as turn {turn}");
                    self.say(Rule::Dedupe, what);
                }
            }
            Event::Ended { key, outcome } => {
                let known = self.turns.entry(key).or_default();
                let first = known.outcome.get_or_insert_with(|| outcome.clone());
                if *first != outcome {
                    let what = format!("{key}: ended as {first:?}, and in life {life} as {outcome:?}");
                    self.say(Rule::Outcome, what);
                }
            }
            Event::Head { session, head } => {
                let known = self.heads.entry(session).or_insert(head);
                if head.seq > known.seq {
                    *known = head;
                } else if head.seq == known.seq && head.hash != known.hash {
                    self.say(Rule::Chain, format!("session {session}: two heads at record {}", head.seq));
                }
            }
            Event::Done { deed } => self.deeds.push(deed),
            Event::Trouble { what } => self.say(Rule::Trouble, format!("life {life}: {what}")),
        }
    }

    /// Notes what must not be.
    pub(super) fn say(&mut self, rule: Rule, what: String) {
        self.troubles.push(Violation::new(rule, what));
    }

    /// The worker is dead: what it did not say it will not say any more.
    pub(super) fn worker_died(&mut self, life: u64) {
        for known in self.turns.values_mut() {
            known.unanswered += u64::from(known.asking.remove(&life));
        }
    }

    /// What the next worker of a slot is told of the sessions: the turns of earlier workers of that slot, and some of
    /// those that others have open, which it follows or submits again beside them.
    pub(super) fn work(&self, slot: u64, life: u64) -> Vec<SessionWork> {
        let mut random = Random::of(&[self.seed, life, 0x776f_726b]);
        let of_slot = |key: TurnKey| key.number % self.owners == slot;
        let mut wanted = |key: TurnKey, is_open: bool| of_slot(key) || (is_open && random.percent(10));
        self.sessions.iter().map(|&session| self.work_of(session, slot, &mut wanted)).collect()
    }

    /// Everything that is known, for the last worker.
    pub(super) fn all_work(&self) -> Vec<SessionWork> {
        self.sessions.iter().map(|&session| self.work_of(session, 0, &mut |_, _| true)).collect()
    }

    fn work_of(&self, session: u64, slot: u64, wanted: &mut dyn FnMut(TurnKey, bool) -> bool) -> SessionWork {
        let (open, unanswered, orphans) = (Vec::new(), Vec::new(), Vec::new());
        let mut work = SessionWork { session, open, unanswered, orphans, next: slot };
        let first = TurnKey { session, number: 0 };
        for (&key, known) in self.turns.range(first..).take_while(|(key, _)| key.session == session) {
            let is_open = known.accepted.is_some() && known.outcome.is_none();
            if !wanted(key, is_open) {
                continue;
            }
            if key.number != TurnKey::CLOSING && key.number % self.owners == slot {
                work.next = key.number + self.owners;
            }
            match &known.accepted {
                Some((turn, _)) if known.outcome.is_none() => work.open.push((key, *turn)),
                // Somebody else may still wait for the answer.
                None if !known.asking.is_empty() => {}
                None if Scenario::draw(self.seed, key).once => work.orphans.push(key),
                None => work.unanswered.push(key),
                _ => {}
            }
        }
        work
    }
}
