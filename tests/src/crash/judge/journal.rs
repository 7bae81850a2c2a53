//! What the journal says, sorted by turns and steps.

use std::collections::BTreeMap;

use agent_shell_core::data::Body;
use agent_shell_core::runtime::HistoryEntry;
use agent_shell_core::words::{Seq, TurnId};
use agent_shell_core::{Error, Outcome, Shell};

use super::Verdict;
use crate::crash::scenario::{TurnKey, session_name};

/// The records of a session.
pub(super) struct SessionLog {
    pub(super) turns: Vec<TurnLog>,
    session: u64,
    /// How often each signal was taken from the mailbox.
    signals: BTreeMap<String, u64>,
    refused: u64,
}

/// The records of a turn.
pub(super) struct TurnLog {
    pub(super) id: TurnId,
    /// What its input says; none when it says something else.
    pub(super) key: Option<TurnKey>,
    /// Its records about no step in particular.
    pub(super) entries: Vec<HistoryEntry>,
    /// The records of each step, in order.
    pub(super) steps: BTreeMap<String, Vec<HistoryEntry>>,
    /// How it ended; more than one would be a violation.
    pub(super) ends: Vec<(Seq, Outcome)>,
}

impl SessionLog {
    pub(super) async fn read(shell: &Shell, session: u64) -> Result<Self, Error> {
        let mut history = shell.session(session_name(session))?.history().await?;
        let mut log = Self { turns: Vec::new(), session, signals: BTreeMap::new(), refused: 0 };
        loop {
            let entries = history.next(512).await?;
            if entries.is_empty() {
                return Ok(log);
            }
            entries.into_iter().for_each(|entry| log.take(entry));
        }
    }

    fn take(&mut self, entry: HistoryEntry) {
        match &entry.body {
            Body::SignalReceived { name, .. } => *self.signals.entry(name.to_string()).or_default() += 1,
            Body::MailRefused { .. } => self.refused += 1,
            Body::TurnStarted { turn, input, .. } => self.turns.push(TurnLog {
                id: *turn,
                key: serde_json::from_value((*input.value()).clone()).ok(),
                entries: Vec::new(),
                steps: BTreeMap::new(),
                ends: Vec::new(),
            }),
            _ => {}
        }
        let Some(turn) = entry.body.turn().and_then(|id| self.turns.iter_mut().rfind(|turn| turn.id == id))
        else {
            return;
        };
        if let Body::TurnEnded { outcome, answer, .. } = &entry.body {
            let answer = answer.as_ref().map(|answer| Outcome::Answered((*answer.value()).clone()));
            turn.ends.push((entry.seq, answer.unwrap_or_else(|| outcome.clone())));
        }
        match entry.body.step().map(ToString::to_string) {
            Some(step) => turn.steps.entry(step).or_default().push(entry),
            None => turn.entries.push(entry),
        }
    }

    /// A session's turns run one after another, and a signal is delivered once.
    pub(super) fn check(&self, verdict: &mut Verdict) {
        verdict.counts.mail_refused += self.refused;
        for (name, times) in &self.signals {
            if *times > 1 {
                verdict
                    .violations
                    .push(format!("session {}: signal {name} was received {times} times", self.session));
            }
        }
        for pair in self.turns.windows(2) {
            let (first, second) = (&pair[0], &pair[1]);
            let starts = second.entries.first().map(|entry| entry.seq);
            if first.ends.first().map(|(seq, _)| *seq) > starts {
                let (first, second) = (first.id, second.id);
                verdict.violations.push(format!("turn {second} started before turn {first} had ended"));
            }
        }
    }
}
