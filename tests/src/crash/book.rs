//! What the harness knows, from what workers said. A turn counts as accepted when the harness has read so.

use std::collections::BTreeMap;

use agent_shell_core::Outcome;
use agent_shell_core::words::{Head, SessionId, TurnId};

use super::scenario::{Scenario, TurnKey};
use super::words::{Event, SessionWork};

/// What is known of a turn.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// Submits that were begun and not answered before the kill.
    pub(super) unanswered: u64,
    /// The id that the first answer named, and when the worker that got it was started, in wall time.
    pub(super) accepted: Option<(TurnId, u64)>,
    /// How it ended, as a worker first saw it.
    pub(super) outcome: Option<Outcome>,
    asking: bool,
}

/// Everything that is known.
#[derive(Clone, Debug)]
pub(super) struct Book {
    seed: u64,
    sessions: u64,
    pub(super) turns: BTreeMap<TurnKey, Known>,
    /// The latest durable heads that were seen.
    pub(super) heads: BTreeMap<SessionId, Head>,
    /// What must not be.
    pub(super) troubles: Vec<String>,
}

impl Book {
    pub(super) fn new(seed: u64, sessions: u64) -> Self {
        Self { seed, sessions, turns: BTreeMap::new(), heads: BTreeMap::new(), troubles: Vec::new() }
    }

    /// Takes in what a worker, started at `started_ms`, said.
    pub(super) fn take(&mut self, life: u64, started_ms: u64, event: Event) {
        match event {
            Event::Opened { .. } | Event::Marks { .. } | Event::Finished => {}
            Event::Submitting { key } => self.turns.entry(key).or_default().asking = true,
            Event::Accepted { key, turn } => {
                let known = self.turns.entry(key).or_default();
                known.asking = false;
                let (first, _) = *known.accepted.get_or_insert((turn, started_ms));
                if first != turn {
                    self.troubles
                        .push(format!("{key}: accepted as turn {first}, and in life {life} as turn {turn}"));
                }
            }
            Event::Ended { key, outcome } => {
                let known = self.turns.entry(key).or_default();
                let first = known.outcome.get_or_insert_with(|| outcome.clone());
                if *first != outcome {
                    self.troubles
                        .push(format!("{key}: ended as {first:?}, and in life {life} as {outcome:?}"));
                }
            }
            Event::Head { session, head } => {
                let known = self.heads.entry(session).or_insert(head);
                if head.seq > known.seq {
                    *known = head;
                } else if head.seq == known.seq && head.hash != known.hash {
                    self.troubles.push(format!("session {session}: two heads at record {}", head.seq));
                }
            }
            Event::Trouble { what } => self.troubles.push(format!("life {life}: {what}")),
        }
    }

    /// The worker is dead: what it did not say it will not say any more.
    pub(super) fn worker_died(&mut self) {
        for known in self.turns.values_mut().filter(|known| known.asking) {
            known.asking = false;
            known.unanswered += 1;
        }
    }

    /// What the next worker is told of the sessions.
    pub(super) fn work(&self) -> Vec<SessionWork> {
        (0..self.sessions).map(|session| self.work_of(session)).collect()
    }

    fn work_of(&self, session: u64) -> SessionWork {
        let (open, unanswered, orphans) = (Vec::new(), Vec::new(), Vec::new());
        let mut work = SessionWork { session, open, unanswered, orphans, next: 0 };
        let first = TurnKey { session, number: 0 };
        for (&key, known) in self.turns.range(first..).take_while(|(key, _)| key.session == session) {
            if key.number != TurnKey::CLOSING {
                work.next = key.number + 1;
            }
            match &known.accepted {
                Some((turn, _)) if known.outcome.is_none() => work.open.push((key, *turn)),
                None if Scenario::draw(self.seed, key).once => work.orphans.push(key),
                None => work.unanswered.push(key),
                _ => {}
            }
        }
        work
    }
}
