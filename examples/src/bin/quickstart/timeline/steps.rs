//! From the records of a step to its state and its spans.

use std::collections::BTreeMap;

use agent_shell_core::Resolution;
use agent_shell_core::data::{self, Action, Body, EffectClass, ToolTerms, WaitEnd, WaitFor};
use agent_shell_core::runtime::HistoryEntry;
use agent_shell_core::words::{LockName, StepId, Timestamp, ToolName};

use super::bounds::SPANS_PER_STEP;
use super::line::{self, one_line};
use super::model::{Span, SpanEnd, SpanKind, Step, StepState};

impl Step {
    /// A step as its plan says.
    pub(super) fn planned(
        step: &data::Step,
        terms: &BTreeMap<ToolName, ToolTerms>,
        round: u32,
        after: Vec<usize>,
        adopted: Timestamp,
    ) -> Self {
        let (action, name, terms) = match &step.action {
            Action::Tool { name, .. } => ("tool", Some(name.to_string()), terms.get(name)),
            Action::Approval { .. } => ("approval", None, None),
            Action::Child(_) => ("child", None, None),
            Action::Signal { name, .. } => ("signal", Some(name.to_string()), None),
            Action::Timer { .. } | Action::TimerAt { .. } => ("timer", None, None),
            _ => ("other", None, None),
        };
        Self {
            is_held: step.held || terms.is_some_and(|terms| terms.held),
            locks: step.locks.iter().map(LockName::to_string).collect(),
            after,
            ..Self::new(step.id.clone(), (action, name), terms, round, adopted)
        }
    }

    /// A step that undoes the one at `of`: it calls what the terms of that one's tool name.
    pub(super) fn undoing(
        id: &StepId,
        (of, undone): (usize, &Self),
        terms: &BTreeMap<ToolName, ToolTerms>,
        planned: Timestamp,
    ) -> Self {
        let tool = undone.name.as_deref().filter(|_| undone.action == "tool");
        let tool = tool.and_then(|tool| terms.get(tool)?.compensation.as_ref());
        let name = tool.map(ToolName::to_string);
        Self {
            locks: undone.locks.clone(),
            after: vec![of],
            undoes: Some(of),
            ..Self::new(
                id.clone(),
                (undone.action, name),
                tool.and_then(|tool| terms.get(tool)),
                undone.round,
                planned,
            )
        }
    }

    fn new(
        id: StepId,
        (action, name): (&'static str, Option<String>),
        terms: Option<&ToolTerms>,
        round: u32,
        ready: Timestamp,
    ) -> Self {
        Self {
            id,
            action,
            name,
            class: terms.map(|terms| terms.class),
            asks_first: terms.is_some_and(|terms| terms.ask_first),
            is_held: false,
            locks: Vec::new(),
            round,
            depth: 0,
            after: Vec::new(),
            undoes: None,
            state: StepState::Pending,
            code: None,
            reason: None,
            key: None,
            attempts: 0,
            interruptions: 0,
            until: None,
            spans: Vec::new(),
            spans_left_out: 0,
            ready,
            ended: None,
        }
    }
}

/// Takes a record of the step.
pub(super) fn take(step: &mut Step, entry: &HistoryEntry) {
    match &entry.body {
        Body::WaitOpened { wait, .. } => {
            let (kind, state) = match wait {
                WaitFor::Approval { .. } => (SpanKind::Approval, StepState::Asking),
                WaitFor::Signal { .. } => (SpanKind::Signal, StepState::Waiting),
                _ => (SpanKind::Timer, StepState::Waiting),
            };
            step.enter(entry, state, wait.ends_at());
            step.open(entry, kind, None);
        }
        Body::WaitEnded { end, .. } => {
            step.close(entry, SpanEnd::Done);
            if matches!(end, WaitEnd::Approved) && step.action == "tool" {
                step.enter(entry, StepState::Approved, None);
            } else {
                step.enter(entry, StepState::Succeeded, None);
            }
        }
        Body::StepStarted { attempt, key, deadline, .. } => {
            step.close(entry, SpanEnd::Done);
            (step.attempts, step.key) = (*attempt, Some(key.clone()));
            step.enter(entry, StepState::Running, Some(*deadline));
            step.open(entry, SpanKind::Attempt, Some(*attempt));
        }
        Body::AttemptFailed { attempt, not_applied, counts, reason, retry_at, .. } => {
            let end = match (not_applied, counts) {
                (true, _) => SpanEnd::Failed,
                (false, true) => SpanEnd::Unknown,
                (false, false) => SpanEnd::Interrupted,
            };
            step.attempts = *attempt;
            step.attempt_ended(entry, end);
            step.reason = Some(one_line(reason));
            let asks = step.class == Some(EffectClass::Probed) && !not_applied;
            let (kind, state) = if asks {
                (SpanKind::Probe, StepState::Probing)
            } else {
                (SpanKind::Pause, StepState::Paused)
            };
            step.enter(entry, state, Some(*retry_at));
            step.open(entry, kind, None);
        }
        Body::StepOutdated { attempt, .. } => {
            step.attempts = *attempt;
            step.attempt_ended(entry, SpanEnd::Failed);
            step.reason = Some(line::about(&entry.body));
            step.enter(entry, StepState::Pending, None);
        }
        Body::ProbeFailed { reason, retry_at, .. } => {
            step.reason = Some(one_line(reason));
            step.until = Some(*retry_at);
        }
        Body::StepInDoubt { attempt, reason, not_applied_from, .. } => {
            step.attempts = *attempt;
            step.attempt_ended(entry, SpanEnd::Unknown);
            step.reason = Some(one_line(reason));
            step.enter(entry, StepState::InDoubt, Some(*not_applied_from));
            step.open(entry, SpanKind::InDoubt, None);
        }
        Body::StepResolved { resolution, .. } => {
            step.close(entry, SpanEnd::Done);
            let state = match resolution {
                Resolution::Applied(_) => StepState::Succeeded,
                _ => StepState::Paused,
            };
            step.enter(entry, state, None);
        }
        Body::StepSucceeded { attempt, .. } => {
            step.attempts = *attempt;
            step.attempt_ended(entry, SpanEnd::Done);
            step.enter(entry, StepState::Succeeded, None);
        }
        Body::UndoParked { failure, .. } => {
            step.attempt_ended(entry, SpanEnd::Failed);
            (step.code, step.reason) = (Some(failure.code), Some(one_line(&failure.message)));
            step.enter(entry, StepState::Stuck, None);
            step.open(entry, SpanKind::Stuck, None);
        }
        Body::StepFailed { failure, .. } => {
            step.attempt_ended(entry, SpanEnd::Failed);
            (step.code, step.reason) = (Some(failure.code), Some(one_line(&failure.message)));
            step.enter(entry, StepState::Failed, None);
        }
        _ => {}
    }
}

impl Step {
    fn enter(&mut self, entry: &HistoryEntry, state: StepState, until: Option<Timestamp>) {
        (self.state, self.until, self.ready) = (state, until, entry.time);
        if matches!(state, StepState::Succeeded | StepState::Failed) {
            self.ended = Some(entry.time);
        }
    }

    /// Ends the attempt, or the question about it. The attempts of a `Pure` step have no start on record: they lie
    /// behind the pause, or the instant from which on the step could begin.
    fn attempt_ended(&mut self, entry: &HistoryEntry, end: SpanEnd) {
        let lasts = self.spans.last().filter(|span| span.end == SpanEnd::Open).map(|span| span.kind);
        if lasts == Some(SpanKind::Probe) && end == SpanEnd::Failed {
            return self.close(entry, SpanEnd::Done);
        }
        let is_unrecorded = self.class == Some(EffectClass::Pure) && lasts != Some(SpanKind::Attempt);
        if is_unrecorded {
            let from =
                self.until.filter(|_| lasts == Some(SpanKind::Pause)).unwrap_or(self.ready).min(entry.time);
            self.close(entry, SpanEnd::Done);
            if let Some(pause) = self.spans.last_mut().filter(|_| lasts.is_some()) {
                (pause.to, pause.last) = (Some(from), None);
            }
            self.open(entry, SpanKind::Unrecorded, Some(self.attempts));
            if let Some(span) = self.spans.last_mut() {
                (span.from, span.first) = (from, None);
            }
        }
        self.close(entry, end);
    }

    fn open(&mut self, entry: &HistoryEntry, kind: SpanKind, attempt: Option<u32>) {
        if self.spans.len() == SPANS_PER_STEP {
            self.spans.remove(0);
            self.spans_left_out += 1;
        }
        self.spans.push(Span {
            kind,
            end: SpanEnd::Open,
            from: entry.time,
            to: None,
            first: Some(entry.seq),
            last: None,
            attempt,
            epoch: entry.epoch,
            note: None,
        });
    }

    /// Ends what lasts. An attempt that is still open when another process writes of its step, ended with its own
    /// process; only a probe's answer or an operator can tell what it did.
    fn close(&mut self, entry: &HistoryEntry, end: SpanEnd) {
        let Some(span) = self.spans.last_mut().filter(|span| span.end == SpanEnd::Open) else { return };
        let is_cut = span.kind == SpanKind::Attempt && span.epoch != entry.epoch;
        self.interruptions += u32::from(is_cut);
        span.end = if is_cut { SpanEnd::Interrupted } else { end };
        (span.to, span.last) = (Some(entry.time), Some(entry.seq));
        span.note = match &entry.body {
            Body::AttemptFailed { reason, .. } | Body::StepInDoubt { reason, .. } => Some(one_line(reason)),
            Body::StepFailed { failure, .. } | Body::UndoParked { failure, .. } => {
                Some(one_line(&failure.message))
            }
            Body::WaitEnded { .. } | Body::StepResolved { .. } | Body::StepOutdated { .. } => {
                Some(line::about(&entry.body))
            }
            _ => None,
        };
    }
}
