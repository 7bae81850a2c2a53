//! What a run wrote, to be asked and asserted.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::data::{Action, Body, Failure, Resolution};
use crate::runtime::{HistoryEntry, Shell};
use crate::words::{AppendId, ErrorKind, Result, Seq, SessionId, StepId, TurnId};

/// Records read at once.
const PAGE: usize = 500;

/// Everything that a run wrote, of all its sessions, in the order in which it was written.
///
/// Where a record is named by text, it is `kind` or `kind step`: `turn.ended`, `step.started refund`.
#[derive(Debug, Clone, Default)]
pub struct Records {
    all: Vec<Written>,
    /// The append of each record, also of those that can't be read any more.
    appends: Vec<AppendId>,
}

/// A record of a run.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Written {
    /// Its place among the records of all sessions, from 1.
    pub number: usize,
    /// Its session.
    pub session: SessionId,
    /// What it says.
    pub entry: HistoryEntry,
}

/// A step that calls a tool, as the journal tells of it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct JournaledCall {
    /// The turn.
    pub turn: TurnId,
    /// The step.
    pub step: StepId,
    /// The key that every attempt bears; none before the first one, and for a `Pure` tool.
    pub key: Option<String>,
    /// How many attempts there were. Those of a `Pure` tool leave no intent, and count from the first that left a record.
    pub attempts: u32,
    /// The input of the attempts; none before the first one, and for a `Pure` tool.
    pub input: Option<Arc<Value>>,
    /// How it ended; none as long as it has not, or where a plan was not carried out so far.
    pub end: Option<CallEnd>,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum CallEnd {
    /// With this output.
    Succeeded(Arc<Value>),
    /// It failed for good.
    Failed(Failure),
    /// Nobody knows, and a person has not said.
    InDoubt(String),
}

impl Records {
    /// The records, but those of sessions that were purged.
    pub fn all(&self) -> &[Written] {
        &self.all
    }

    /// How many were written, with those that can't be read any more.
    pub fn written(&self) -> usize {
        self.appends.len()
    }

    /// Their kinds.
    pub fn kinds(&self) -> Vec<&'static str> {
        self.all.iter().map(|record| record.entry.body.kind()).collect()
    }

    /// Every step that calls this tool, in the order of the plans.
    pub fn calls(&self, tool: &str) -> Vec<JournaledCall> {
        let (mut calls, mut places) = (Vec::new(), BTreeMap::new());
        for record in &self.all {
            let body = &record.entry.body;
            if let Body::PlanAdopted { turn, plan, .. } = body {
                for step in plan.steps() {
                    if matches!(&step.action, Action::Tool { name: of, .. } if of.as_str() == tool) {
                        places.insert((*turn, step.id.clone()), calls.len());
                        calls.push(JournaledCall::new(*turn, step.id.clone()));
                    }
                }
            }
            let (Some(turn), Some(step)) = (body.turn(), body.step()) else { continue };
            if let Some(place) = places.get(&(turn, step.clone())) {
                calls[*place].hear(body);
            }
        }
        calls
    }

    /// Exactly one call of this tool has succeeded, in whatever number of attempts under its key, and of no other is it
    /// unknown whether it has.
    ///
    /// # Panics
    /// When it is not so, with what the journal says.
    #[track_caller]
    pub fn assert_once(&self, tool: &str) {
        let calls = self.calls(tool);
        let succeeded = calls.iter().filter(|call| matches!(call.end, Some(CallEnd::Succeeded(_)))).count();
        let is_open = |call: &&JournaledCall| match &call.end {
            None => call.attempts > 0,
            Some(CallEnd::InDoubt(_)) => true,
            _ => false,
        };
        let open = calls.iter().filter(is_open).count();
        assert!(
            succeeded == 1 && open == 0,
            "`{tool}` succeeded {succeeded} times, and {open} of its calls have no known end: {calls:#?}"
        );
    }

    /// These records are there in this order, whatever stands between them.
    ///
    /// # Panics
    /// At the first one that does not follow those before it, with all that is there.
    #[track_caller]
    pub fn assert_order<'a>(&self, records: impl IntoIterator<Item = &'a str>) {
        let mut rest = self.all.iter();
        for wanted in records {
            let found = rest.any(|record| is_named(&record.entry.body, wanted));
            assert!(found, "`{wanted}` does not come, or not there: {}", self.list());
        }
    }

    /// Every turn that started has ended, and every intent has an end after it: nothing was begun and forgotten.
    ///
    /// # Panics
    /// When something has no end, with what it is.
    #[track_caller]
    pub fn assert_ended(&self) {
        let open = self.open();
        assert!(open.is_empty(), "these have no end: {}; there are {}", open.join(", "), self.list());
    }

    /// The turns and the attempts without an end.
    fn open(&self) -> Vec<String> {
        let (mut turns, mut intents) = (BTreeMap::new(), BTreeMap::new());
        for record in &self.all {
            match &record.entry.body {
                Body::TurnStarted { turn, .. } => {
                    turns.insert(*turn, format!("turn {turn}"));
                }
                Body::TurnEnded { turn, .. } => {
                    turns.remove(turn);
                }
                Body::StepStarted { turn, step, attempt, .. } => {
                    intents.insert((*turn, step.clone()), format!("attempt {attempt} of step `{step}`"));
                }
                Body::AttemptFailed { turn, step, .. }
                | Body::StepSucceeded { turn, step, .. }
                | Body::StepFailed { turn, step, .. }
                | Body::StepResolved { turn, step, .. } => {
                    intents.remove(&(*turn, step.clone()));
                }
                _ => {}
            }
        }
        intents.into_values().chain(turns.into_values()).collect()
    }

    fn list(&self) -> String {
        let name = |record: &Written| match record.entry.body.step() {
            Some(step) => format!("{} {step}", record.entry.body.kind()),
            None => record.entry.body.kind().to_owned(),
        };
        self.all.iter().map(name).collect::<Vec<_>>().join(", ")
    }

    /// Whether a record was written together with the next one.
    pub(super) fn is_with_next(&self, number: usize) -> bool {
        let append = |index: usize| self.appends.get(index);
        append(number).is_some_and(|next| number > 0 && append(number - 1) == Some(next))
    }
}

fn is_named(body: &Body, name: &str) -> bool {
    match name.split_once(' ') {
        Some((kind, step)) => body.kind() == kind && body.step().is_some_and(|of| of.as_str() == step),
        None => body.kind() == name,
    }
}

impl JournaledCall {
    fn new(turn: TurnId, step: StepId) -> Self {
        Self { turn, step, key: None, attempts: 0, input: None, end: None }
    }

    fn hear(&mut self, body: &Body) {
        match body {
            Body::StepStarted { attempt, key, input, .. } => {
                (self.attempts, self.key) = (*attempt, Some(key.clone()));
                if let Some(input) = input {
                    self.input = Some(input.value());
                }
            }
            Body::AttemptFailed { attempt, .. } | Body::StepOutdated { attempt, .. } => {
                self.attempts = self.attempts.max(*attempt)
            }
            Body::StepSucceeded { attempt, output, .. } => {
                self.attempts = self.attempts.max(*attempt);
                self.end = Some(CallEnd::Succeeded(output.value()));
            }
            Body::StepFailed { failure, .. } => self.end = Some(CallEnd::Failed(failure.clone())),
            Body::StepInDoubt { reason, .. } => self.end = Some(CallEnd::InDoubt(reason.clone())),
            Body::StepResolved { resolution, .. } => {
                self.end = match resolution {
                    Resolution::Applied(output) => Some(CallEnd::Succeeded(Arc::new(output.clone()))),
                    _ => None,
                };
            }
            _ => {}
        }
    }
}

/// Reads what was written, in this order.
pub(super) async fn read(shell: &Shell, written: &[(SessionId, Seq, AppendId)]) -> Result<Records> {
    let mut found: BTreeMap<(SessionId, Seq), HistoryEntry> = BTreeMap::new();
    let mut sessions: Vec<SessionId> = written.iter().map(|(session, ..)| *session).collect();
    sessions.sort();
    sessions.dedup();
    for session in sessions {
        match read_session(shell, session).await {
            Ok(entries) => found.extend(entries.into_iter().map(|entry| ((session, entry.seq), entry))),
            Err(error) if error.kind() == ErrorKind::Purged => {}
            Err(error) => return Err(error),
        }
    }
    let records = written.iter().enumerate().filter_map(|(index, (session, seq, _))| {
        let entry = found.remove(&(*session, *seq))?;
        Some(Written { number: index + 1, session: *session, entry })
    });
    Ok(Records { all: records.collect(), appends: written.iter().map(|(.., append)| *append).collect() })
}

async fn read_session(shell: &Shell, session: SessionId) -> Result<Vec<HistoryEntry>> {
    let (mut history, mut all) = (shell.history(session).await?, Vec::new());
    loop {
        let entries = history.next(PAGE).await?;
        if entries.is_empty() {
            return Ok(all);
        }
        all.extend(entries);
    }
}
