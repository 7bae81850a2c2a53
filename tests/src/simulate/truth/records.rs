//! What each record must say, given those before it and what is true.

use std::time::Duration;

use agent_shell_core::FailureCode;
use agent_shell_core::data::{Body, EffectClass, Outcome, Payload, Resolution, WaitEnd, WaitFor};
use agent_shell_core::machine::{Entry, Phase, StepState, fold};
use agent_shell_core::ports::{Append, Appended};
use agent_shell_core::words::{Timestamp, TurnId};

use super::mirror::Mirror;
use super::purge::check_purge;
use super::{Facts, Truth, TurnFacts};
use crate::simulate::coverage::{Coverage, WorldFault};
use crate::simulate::events::BusKind;
use crate::simulate::rule::Rule;
use crate::simulate::settings::Settings;

type Found = Vec<(Rule, String)>;

impl Facts {
    /// Takes an append that was answered as durable.
    pub(super) fn take_append(&mut self, append: &Append, answer: &Appended, truth: &Truth) -> Found {
        let mut found = Found::new();
        let Some(mirror) = self.sessions.get_mut(&append.session) else {
            return vec![(Rule::Trouble, "records of a session that was not opened".into())];
        };
        if let Some(head) = mirror.appends.get(&append.id) {
            if answer.head != *head {
                found.push((
                    Rule::Chain,
                    format!("a repeat was answered with {:?}, not {head:?}", answer.head),
                ));
            }
            return found;
        }
        let fence = append.fence;
        if mirror.owner != Some(fence.owner) || mirror.epoch != fence.epoch {
            let (owner, epoch) = (mirror.owner, mirror.epoch);
            let problem =
                format!("took an append of {fence:?}: it is owned by {owner:?} under epoch {epoch}");
            return vec![(Rule::Fence, problem)];
        }
        for blob in &append.blobs {
            found.extend(mirror.take_blob(blob).err().map(|problem| (Rule::Chain, problem)));
        }
        let known = mirror.entries.len();
        self.owed.clear();
        for record in &append.records {
            match self.take_record(append, record, truth) {
                Ok(more) => found.extend(more),
                Err(broken) => {
                    found.push(broken);
                    return found;
                }
            }
        }
        self.check_parcels(append, &mut found);
        let Some(mirror) = self.sessions.get_mut(&append.session) else { return found };
        mirror.appends.insert(append.id, mirror.head);
        if answer.head != mirror.head {
            found.push((
                Rule::Chain,
                format!("the head is {:?}, and {:?} was answered", mirror.head, answer.head),
            ));
        }
        self.budgets.take_append(append, &mirror.entries[known..], &mut self.coverage, &mut found);
        let tells = truth.settings().bus != BusKind::None;
        found.extend(self.events.take_rows(append.session, &append.outbox, &mirror.entries[known..], tells));
        if let Some(snapshot) = &append.snapshot
            && let Err(problem) = mirror.check_snapshot(snapshot)
        {
            found.push((Rule::Snapshot, format!("a snapshot {problem}")));
        }
        found
    }

    fn take_record(
        &mut self,
        append: &Append,
        record: &agent_shell_core::data::Record,
        truth: &Truth,
    ) -> Result<Found, (Rule, String)> {
        let Some(mirror) = self.sessions.get_mut(&append.session) else { return Ok(Found::new()) };
        let entry = mirror.next(record).map_err(|problem| (Rule::Chain, problem))?;
        let purged = check_purge(
            mirror,
            &entry,
            self.forgotten.get(&mirror.subject.unwrap_or(u64::MAX)),
            &mut self.coverage,
        );
        let purged = purged.map(|problem| (Rule::Purge, problem));
        let before = step_of(mirror, &entry);
        let class = before.as_ref().map_or(EffectClass::Pure, |(_, class)| *class);
        let mut found = Found::new();
        if let Some((before, _)) = &before {
            let lateness = truth.settings().limits.lateness();
            check_step(before, class, &entry, lateness, &mut found);
            check_skipped(mirror, before, &entry, &mut self.coverage, &mut found);
        }
        found.extend(purged);
        self.check_ruled(append.session, (before.as_ref(), &entry), truth.settings(), &mut found);
        self.check_undoing(append.session, &entry, &mut found);
        self.check_heeding(append.session, &entry, &mut found);
        self.check_child(append.session, &entry, &mut found);
        let Some(mirror) = self.sessions.get_mut(&append.session) else { return Ok(found) };
        let row = fold(&mut mirror.state, &entry).map_err(|error| (Rule::Fold, error.to_string()))?;
        *self.coverage.transitions.entry(*row).or_default() += 1;
        if entry.epoch != append.fence.epoch {
            found.push((Rule::Epoch, format!("record {} bears epoch {}", entry.seq, entry.epoch)));
        }
        mirror.entries.push(entry.clone());
        self.follow.take(&entry);
        self.take_steer(append.session, &entry, &mut found);
        self.take_talk(append.session, &entry, truth.settings(), &mut found);
        self.take_turn(&entry, truth.settings(), &mut found);
        self.take_key(&entry, &mut found);
        Ok(found)
    }

    /// A turn starts once, under its own key, and ends once.
    fn take_turn(&mut self, entry: &Entry, settings: &Settings, found: &mut Found) {
        match &entry.body {
            Body::TurnStarted { turn, input, .. } => {
                let Ok(key) = serde_json::from_value((*input.value()).clone()) else {
                    return found
                        .push((Rule::Trouble, format!("turn {turn}: nobody asked for such an input")));
                };
                let is_being_forgotten = self.is_being_forgotten(settings, key);
                // A session that is opened anew while its subject is being forgotten knows nothing of the one before.
                let before = match self.children.contains_key(turn) {
                    true => None,
                    false => self.started.insert(key, *turn),
                };
                let waited = self.turns.get(turn).is_some_and(|known| known.waits);
                let other = before.filter(|other| other != turn || !waited);
                if let Some(other) = other.filter(|_| !is_being_forgotten) {
                    found.push((
                        Rule::Twice,
                        format!("{key}: one dedupe key, and the turns {other} and {turn}"),
                    ));
                }
                self.turns.insert(*turn, TurnFacts { key, outcome: None, waits: false });
            }
            Body::TurnSteered { request, .. } => {
                let Ok(key) = serde_json::from_value((*request.input.value()).clone()) else {
                    return found.push((Rule::Trouble, format!("nobody said {:?}", request.input)));
                };
                let is_being_forgotten = self.is_being_forgotten(settings, key);
                let other = self.started.insert(key, request.turn);
                if let Some(other) = other.filter(|_| !is_being_forgotten) {
                    let turn = request.turn;
                    found.push((
                        Rule::Twice,
                        format!("{key}: one dedupe key, and the turns {other} and {turn}"),
                    ));
                }
                self.turns.insert(request.turn, TurnFacts { key, outcome: None, waits: true });
            }
            Body::TurnEnded { turn, outcome, answer, joined, .. } => {
                for turn in [turn].into_iter().chain(joined) {
                    self.ended(*turn, outcome, answer.as_ref(), found);
                }
            }
            Body::SessionPurged { turn: Some(turn), .. } => self.ended(*turn, &Outcome::Purged, None, found),
            Body::TurnWithdrawn { turn, .. } if self.turns.get(turn).is_some_and(|known| known.waits) => {
                self.ended(*turn, &Outcome::Cancelled, None, found);
            }
            Body::TurnWithdrawn { turn, .. } => match self.key_of(*turn) {
                Some(key) => {
                    self.turns.insert(*turn, TurnFacts { key, outcome: None, waits: false });
                    self.ended(*turn, &Outcome::Cancelled, None, found);
                }
                None => found.push((Rule::Outcome, format!("turn {turn} is withdrawn, and nobody asked"))),
            },
            _ => {}
        }
    }

    fn ended(&mut self, turn: TurnId, outcome: &Outcome, answer: Option<&Payload>, found: &mut Found) {
        let Some(facts) = self.turns.get_mut(&turn) else {
            return found.push((Rule::Outcome, format!("turn {turn} ended before it started")));
        };
        let outcome =
            answer.map_or_else(|| outcome.clone(), |answer| Outcome::Answered((*answer.value()).clone()));
        if let Some(before) = facts.outcome.replace(outcome) {
            found.push((Rule::Outcome, format!("{}: ended a second time, first as {before:?}", facts.key)));
        }
    }

    /// A key belongs to one step.
    fn take_key(&mut self, entry: &Entry, found: &mut Found) {
        if let Body::StepStarted { turn, step, key, .. } = &entry.body {
            let owner = (*turn, step.clone());
            let of = self.keys.entry(key.clone()).or_insert_with(|| owner.clone());
            if *of != owner {
                found.push((Rule::Key, format!("{owner:?} bears the key of {of:?}")));
            }
        }
    }
}

/// The step that a record is about, as it is before.
fn step_of(mirror: &Mirror, entry: &Entry) -> Option<(StepState, EffectClass)> {
    let turn = mirror.state.turn.as_ref()?;
    let place = *turn.index.get(entry.body.step()?)?;
    Some((turn.steps[place].clone(), turn.class_of(place)))
}

fn check_step(before: &StepState, class: EffectClass, entry: &Entry, lateness: Duration, found: &mut Found) {
    let step = &before.step.id;
    let settled = before.deadline.plus(lateness);
    let mut early = |what: &str, at: Timestamp, from: Timestamp| {
        if at < from {
            found.push((Rule::Early, format!("step {step}: {what} {at}, before {from}")));
        }
    };
    match &entry.body {
        Body::StepInDoubt { not_applied_from, .. } => early("is resolvable from", *not_applied_from, settled),
        Body::AttemptFailed { not_applied: false, retry_at, .. } if class == EffectClass::Probed => {
            early("is asked about from", *retry_at, settled);
        }
        Body::StepResolved { resolution: Resolution::Retry, .. } => resolved(before, entry, &mut early),
        Body::StepFailed { failure, .. } if failure.code == FailureCode::ResolvedNotApplied => {
            resolved(before, entry, &mut early);
        }
        Body::StepStarted { input, key, .. } => {
            if input.is_some() == before.input.is_some() && !is_rewritten(before, input.as_ref()) {
                let problem = match input {
                    Some(_) => "its input is fixed a second time",
                    None => "it starts without an input",
                };
                found.push((Rule::Input, format!("step {step}: {problem}")));
            }
            if before.key.as_deref().is_some_and(|first| first != key) {
                found.push((Rule::Key, format!("step {step}: an attempt bears another key than the first")));
            }
        }
        Body::WaitEnded { end: WaitEnd::Fired { .. }, .. } => {
            if let Phase::Waiting(WaitFor::Timer { due }) = &before.phase {
                early("fires at", entry.time, *due);
            }
        }
        _ => {}
    }
}

/// Whether a guard has put this in the place of what the step's template makes.
fn is_rewritten(before: &StepState, input: Option<&Payload>) -> bool {
    before.before.is_some() && before.key.is_none() && input.map(Payload::value) == before.input
}

fn resolved(before: &StepState, entry: &Entry, early: &mut impl FnMut(&str, Timestamp, Timestamp)) {
    if let Phase::InDoubt { not_applied_from, .. } = &before.phase {
        early("is resolved as not applied at", entry.time, *not_applied_from);
    }
}

/// Who needs the output of a step that failed does not begin, and nobody else is skipped.
fn check_skipped(
    mirror: &Mirror,
    before: &StepState,
    entry: &Entry,
    coverage: &mut Coverage,
    found: &mut Found,
) {
    let (Body::StepFailed { turn, .. }
    | Body::StepStarted { turn, .. }
    | Body::WaitOpened { turn, .. }
    | Body::ChildStarted { turn, .. }
    | Body::StepSucceeded { turn, .. }
    | Body::ModelAnswered { turn, .. }) = &entry.body
    else {
        return;
    };
    let is_skip =
        matches!(&entry.body, Body::StepFailed { failure, .. } if failure.code == FailureCode::Skipped);
    let needs = before.step.needs();
    let has_failed = mirror.entries.iter().any(|entry| {
        matches!(&entry.body, Body::StepFailed { turn: of, step, .. } if of == turn && needs.contains(step))
    });
    if is_skip {
        coverage.count(WorldFault::StepSkipped);
    }
    let is_end = matches!(entry.body, Body::StepFailed { .. });
    if (is_skip && !has_failed) || (has_failed && !is_end) {
        let step = &before.step.id;
        let what = if is_skip {
            "is skipped, and all that it needs is there"
        } else {
            "goes on without what it needs"
        };
        found.push((Rule::Step, format!("step {step} {what}")));
    }
}
