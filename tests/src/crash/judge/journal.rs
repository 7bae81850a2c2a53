//! What the journal says, sorted by turns and steps.

use std::collections::BTreeMap;

use agent_shell_core::data::{Action, Body};
use agent_shell_core::runtime::HistoryEntry;
use agent_shell_core::words::{Seq, TurnId};
use agent_shell_core::{Error, Outcome, Shell};

use super::{Rule, Verdict};
use crate::crash::scenario::{ToolKind, TurnKey, session_name};

/// The records of a session.
pub(crate) struct SessionLog {
    pub(crate) turns: Vec<TurnLog>,
    session: u64,
    /// How often each signal was taken from the mailbox.
    signals: BTreeMap<String, u64>,
    refused: u64,
}

/// The records of a turn.
pub(crate) struct TurnLog {
    pub(crate) id: TurnId,
    /// What its input says; none when it says something else.
    pub(crate) key: Option<TurnKey>,
    /// Its records about no step in particular.
    pub(crate) entries: Vec<HistoryEntry>,
    /// The records of each step, in order.
    pub(crate) steps: BTreeMap<String, Vec<HistoryEntry>>,
    /// The tools of its steps, as its plans say.
    pub(crate) tools: BTreeMap<String, ToolKind>,
    /// How it ended; more than one would be a violation.
    pub(crate) ends: Vec<(Seq, Outcome)>,
}

impl SessionLog {
    pub(crate) async fn read(shell: &Shell, session: u64) -> Result<Self, Error> {
        let mut history = shell.session(session_name(session))?.history().await?;
        let mut log = Self::of(session, []);
        loop {
            let entries = history.next(512).await?;
            if entries.is_empty() {
                return Ok(log);
            }
            entries.into_iter().for_each(|entry| log.take(entry));
        }
    }

    /// The log of a session whose records these are.
    pub(crate) fn of(session: u64, entries: impl IntoIterator<Item = HistoryEntry>) -> Self {
        let mut log = Self { turns: Vec::new(), session, signals: BTreeMap::new(), refused: 0 };
        entries.into_iter().for_each(|entry| log.take(entry));
        log
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
                tools: BTreeMap::new(),
                ends: Vec::new(),
            }),
            _ => {}
        }
        let Some(turn) = entry.body.turn().and_then(|id| self.turns.iter_mut().rfind(|turn| turn.id == id))
        else {
            return;
        };
        if let Body::PlanAdopted { plan, .. } = &entry.body {
            for step in plan.steps() {
                if let Action::Tool { name, .. } = &step.action
                    && let Some(kind) = ToolKind::named(name.as_str())
                {
                    turn.tools.insert(step.id.to_string(), kind);
                }
            }
        }
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
    pub(crate) fn check(&self, verdict: &mut Verdict) {
        verdict.counts.mail_refused += self.refused;
        for (name, times) in &self.signals {
            if *times > 1 {
                let session = self.session;
                verdict.say(
                    Rule::Dedupe,
                    format!("session {session}: signal {name} was received {times} times"),
                );
            }
        }
        for pair in self.turns.windows(2) {
            let (first, second) = (&pair[0], &pair[1]);
            let starts = second.entries.first().map(|entry| entry.seq);
            if first.ends.first().map(|(seq, _)| *seq) > starts {
                let (first, second) = (first.id, second.id);
                verdict.say(Rule::Order, format!("turn {second} started before turn {first} had ended"));
            }
        }
    }
}
