//! Children: each starts once, after its parent has said so, as its parent said; its end comes to its parent once and as it
//! was; and what its parent has no use for is cancelled or undone. All of it from the records of both sessions, which
//! different processes may have written.

use std::sync::Arc;

use agent_shell_core::Outcome;
use agent_shell_core::data::{Action, Body, FailureCode, Payload};
use agent_shell_core::machine::{Entry, TurnState};
use agent_shell_core::ports::Append;
use agent_shell_core::words::{Pseudonym, SessionId, StepId, TurnId};
use serde_json::Value;

use super::mirror::Mirror;
use super::{Facts, Truth};
use crate::crash::scenario::TurnKey;
use crate::simulate::nested::Place;
use crate::simulate::rule::Rule;
use crate::simulate::sights::Sight;

type Found = Vec<(Rule, String)>;

/// A child that its parent's records say has started.
pub(super) struct Child {
    /// The turn of its parent, and the step of it.
    pub(super) parent: TurnId,
    pub(super) step: StepId,
    /// The session of its parent, and its own.
    pub(super) above: SessionId,
    pub(super) session: SessionId,
    /// Which of the run it is.
    pub(super) place: Place,
    input: Arc<Value>,
    actor: Option<Pseudonym>,
    has_started: bool,
    /// What it answered, when it waits, or waited, for what becomes of its parent.
    answer: Option<Value>,
    pub(super) end: Option<Outcome>,
    /// Whether anything of it stays applied, as its last word says.
    applied: bool,
    /// Whether its parent was told how it ended, and whether it was told that it was undone.
    is_told: bool,
    is_told_undone: bool,
    /// Whether it was told that it waits.
    is_told_waits: bool,
    cancelled: bool,
}

impl Child {
    /// How its parent is to see it.
    fn result(&self) -> Option<Outcome> {
        self.end.clone().or_else(|| self.answer.clone().map(Outcome::Answered))
    }

    /// Whether it has answered and can be undone, as its parent knows.
    pub(super) fn waits(&self) -> bool {
        self.is_told_waits && !self.is_told_undone
    }
}

/// A session and a turn that mail is to be posted to with an append.
pub(super) type Owed = (SessionId, Option<TurnId>);

impl Facts {
    /// The child that a step is, or undoes.
    fn child_of(&self, turn: &TurnState, step: &StepId) -> Option<(TurnId, bool)> {
        let place = *turn.index.get(step)?;
        let undoes = turn.steps[place].undoes;
        let of = &turn.steps[undoes.unwrap_or(place)].step.id;
        let mut all = self.children.iter();
        let (id, _) = all.find(|(_, child)| child.parent == turn.id && child.step == *of)?;
        Some((*id, undoes.is_some()))
    }

    /// Whether the child of a step has answered, and can be undone.
    pub(super) fn has_child_answered(&self, turn: TurnId, step: &StepId) -> bool {
        let mut all = self.children.values();
        all.any(|child| child.parent == turn && child.step == *step && child.answer.is_some())
    }

    /// A record is about to be folded.
    pub(super) fn check_child(&mut self, session: SessionId, entry: &Entry, found: &mut Found) {
        let mut problems = Vec::new();
        match &entry.body {
            Body::ChildStarted { .. } => self.child_starts(session, entry, &mut problems),
            Body::ChildCancelled { turn, step } => {
                self.child_cancelled(session, (*turn, step), &mut problems)
            }
            Body::ChildEnded { turn, step, waits, applied, .. } => {
                self.child_ended(session, (*turn, step), (*waits, *applied), &mut problems);
            }
            Body::StepSucceeded { turn, step, output, .. } => {
                self.step_ended(session, (*turn, step), Some(output), &mut problems);
            }
            Body::StepFailed { turn, step, failure, .. } if failure.code == FailureCode::Child => {
                self.step_ended(session, (*turn, step), None, &mut problems);
            }
            Body::TurnStarted { turn, input, .. } => {
                self.turn_starts(session, *turn, &input.value(), entry, &mut problems);
            }
            Body::TurnAnswered { .. }
            | Body::TurnEnded { .. }
            | Body::TurnWithdrawn { .. }
            | Body::MailRefused { turn: Some(_), .. } => self.turn_ends(session, entry, &mut problems),
            _ => {}
        }
        found.extend(problems.into_iter().map(|what| (Rule::Child, format!("record {}: {what}", entry.seq))));
    }

    fn child_starts(&mut self, session: SessionId, entry: &Entry, problems: &mut Vec<String>) {
        let Body::ChildStarted { turn, step, session: of, child, input, .. } = &entry.body else { return };
        if self.children.values().any(|other| other.parent == *turn && other.step == *step) {
            problems.push(format!("step {step} of turn {turn} starts a second child"));
        }
        if self.children.contains_key(child) {
            problems.push(format!("child {child} is started a second time"));
        }
        let Some(parent) = self.sessions.get(&session) else { return };
        match self.sessions.get(of) {
            None => problems.push(format!("child {child} starts in a session that nobody opened")),
            Some(mirror) => {
                if (&mirror.tenant, mirror.key) != (&parent.tenant, parent.key) {
                    problems.push(format!("child {child} has another tenant or subject than its parent"));
                }
                if !mirror.entries.is_empty() {
                    problems.push(format!("the session of child {child} has records already"));
                }
            }
        }
        let input = input.value();
        let Some(place) = Place::read(&input).filter(|place| place.is_of(step.as_str())) else {
            return problems.push(format!("child {child} of step {step} starts with {input}"));
        };
        let started = parent.entries.iter().rev();
        let mut started =
            started.filter(|entry| matches!(&entry.body, Body::TurnStarted { turn: of, .. } if of == turn));
        let actor = started.next().map(|entry| entry.actor);
        self.owed.push((*of, Some(*child)));
        self.posted.insert(*child, *of);
        if place.depth() > 1 {
            self.coverage.see(Sight::ChildOfChild);
        }
        self.coverage.see(Sight::ChildStarted);
        let new = Child {
            parent: *turn,
            step: step.clone(),
            above: session,
            session: *of,
            place,
            input,
            actor,
            has_started: false,
            answer: None,
            end: None,
            applied: false,
            is_told: false,
            is_told_undone: false,
            is_told_waits: false,
            cancelled: false,
        };
        self.children.insert(*child, new);
    }

    /// The running turn of a session, if it is this one.
    fn running(&self, session: SessionId, turn: TurnId) -> Option<&TurnState> {
        self.sessions.get(&session)?.state.turn.as_ref().filter(|running| running.id == turn)
    }

    fn child_cancelled(
        &mut self,
        session: SessionId,
        (turn, step): (TurnId, &StepId),
        problems: &mut Vec<String>,
    ) {
        let Some((id, undoes)) = self.running(session, turn).and_then(|turn| self.child_of(turn, step))
        else {
            return problems.push(format!("step {step} cancels a child that has not started"));
        };
        let Some(child) = self.children.get_mut(&id) else { return };
        if std::mem::replace(&mut child.cancelled, true) && !undoes {
            problems.push(format!("child {id} is cancelled a second time"));
        }
        if undoes && !child.waits() {
            problems.push(format!("child {id} is to undo what it did, and has not answered"));
        }
        self.owed.push((child.session, None));
        self.coverage.see(Sight::ChildCancelled);
    }

    /// Its parent is told how it ended.
    fn child_ended(
        &mut self,
        session: SessionId,
        (turn, step): (TurnId, &StepId),
        (waits, applied): (bool, bool),
        problems: &mut Vec<String>,
    ) {
        let Some((id, undoes)) = self.running(session, turn).and_then(|turn| self.child_of(turn, step))
        else {
            return problems.push(format!("step {step} is told of a child that has not started"));
        };
        let Some(child) = self.children.get_mut(&id) else { return };
        let told = if undoes { &mut child.is_told_undone } else { &mut child.is_told };
        if std::mem::replace(told, true) {
            problems.push(format!("the end of child {id} is told a second time"));
        }
        // One that was cancelled before its answer was known says when it is undone.
        child.is_told_waits |= waits;
        let is_open = child.answer.is_some() && child.end.is_none();
        if child.result().is_none() || (undoes && child.end.is_none()) {
            problems.push(format!("the end of child {id} is told, and it has not ended"));
        } else if (waits, applied) != (is_open, child.applied) {
            let is = (is_open, child.applied);
            problems.push(format!(
                "of child {id} is told whether it waits and stays applied {:?}, and it is {is:?}",
                (waits, applied)
            ));
        }
        let sight = match child.result() {
            _ if undoes => Sight::ChildUndone,
            Some(Outcome::Answered(_)) => Sight::ChildAnswered,
            _ => Sight::ChildFailed,
        };
        self.coverage.see(sight);
    }

    /// A step that is a child's comes to an end that says how: with the child's answer as `output`, or without.
    fn step_ended(
        &self,
        session: SessionId,
        (turn, step): (TurnId, &StepId),
        output: Option<&Payload>,
        problems: &mut Vec<String>,
    ) {
        let Some(running) = self.running(session, turn) else { return };
        let Some(place) = running.index.get(step) else { return };
        if !matches!(running.steps[*place].step.action, Action::Child(_)) {
            return;
        }
        let Some((id, undoes)) = self.child_of(running, step) else {
            return problems.push(format!("step {step} ends, and its child has not started"));
        };
        let child = &self.children[&id];
        let is_told = if undoes { child.is_told_undone } else { child.is_told };
        if !is_told {
            problems.push(format!("step {step} ends, and was not told of the end of its child {id}"));
        }
        let result = child.result();
        match output.map(Payload::value) {
            _ if undoes => {}
            Some(output) if result != Some(Outcome::Answered((*output).clone())) => {
                problems.push(format!("step {step} gives {output}, and its child {id} ended as {result:?}"));
            }
            None if matches!(result, Some(Outcome::Answered(_))) => {
                problems.push(format!("step {step} fails by its child {id}, which ended as {result:?}"));
            }
            _ => {}
        }
    }

    fn turn_starts(
        &mut self,
        session: SessionId,
        turn: TurnId,
        input: &Value,
        entry: &Entry,
        problems: &mut Vec<String>,
    ) {
        let is_asked = Place::read(input).is_some_and(|place| place.depth() == 0);
        let Some(child) = self.children.get_mut(&turn) else {
            if !is_asked {
                problems.push(format!("child {turn} starts, and no durable record of a parent says so"));
            }
            return;
        };
        if std::mem::replace(&mut child.has_started, true) {
            problems.push(format!("child {turn} starts a second time"));
        }
        if child.session != session || *child.input != *input || child.actor != Some(entry.actor) {
            problems.push(format!(
                "child {turn} starts for {}, with {input}, and not as its parent said",
                entry.actor
            ));
        }
    }

    /// A turn has answered or ended: as a child, and as a parent.
    fn turn_ends(&mut self, session: SessionId, entry: &Entry, problems: &mut Vec<String>) {
        let Some(turn) = entry.body.turn() else { return };
        if let Body::TurnEnded { outcome, .. } = &entry.body {
            self.parent_ends(turn, outcome, problems);
        }
        let applied = self.running(session, turn).is_some_and(stays_applied);
        let Some(child) = self.children.get_mut(&turn) else { return };
        if child.end.is_some() || (child.answer.is_some() && matches!(entry.body, Body::TurnAnswered { .. }))
        {
            problems.push(format!("child {turn} ends a second time"));
        }
        let answered = child.answer.clone();
        let mut is_release = false;
        match &entry.body {
            Body::TurnAnswered { answer, .. } => child.answer = Some((*answer.value()).clone()),
            Body::TurnEnded { outcome, answer, .. } => {
                let end = answer.as_ref().map(|answer| Outcome::Answered((*answer.value()).clone()));
                let end = end.unwrap_or_else(|| outcome.clone());
                is_release = answered.is_some() && matches!(end, Outcome::Answered(_));
                if is_release && end != Outcome::Answered(answered.clone().unwrap_or_default()) {
                    problems.push(format!("child {turn} ends as {end:?}, and had answered {answered:?}"));
                }
                child.end = Some(end);
            }
            Body::TurnWithdrawn { .. } => child.end = Some(Outcome::Cancelled),
            // Its request could not be taken: it has no end of its own kind.
            _ => child.end = Some(Outcome::Abandoned { reason: "its request was refused".into() }),
        }
        let (above, parent, cancelled) = (child.above, child.parent, child.cancelled);
        if !is_release {
            child.applied = applied;
            return self.owed.push((above, None));
        }
        if cancelled {
            problems.push(format!("child {turn} keeps what it did, and was cancelled"));
        }
        if self.turns.get(&parent).is_none_or(|parent| parent.outcome.is_none()) {
            problems.push(format!("child {turn} ends as it answered, and its parent's turn has not ended"));
        }
    }

    /// No child of a turn runs when it ends, and of one that does not succeed none keeps what it did.
    fn parent_ends(&mut self, turn: TurnId, outcome: &Outcome, problems: &mut Vec<String>) {
        let of_turn = self.children.iter().filter(|(_, child)| child.parent == turn);
        for (id, child) in of_turn {
            if !child.is_told {
                problems.push(format!("turn {turn} ends, and was not told of the end of its child {id}"));
            }
            let undoes = matches!(outcome, Outcome::Failed(_) | Outcome::Cancelled | Outcome::Expired);
            if undoes && child.waits() {
                problems.push(format!("turn {turn} ends as {outcome:?}, and its child {id} is not undone"));
            }
            if child.waits() {
                self.owed.push((child.session, None));
            }
        }
    }

    /// What parents and children are to be told goes out with the records that say so, once.
    pub(super) fn check_parcels(&mut self, append: &Append, found: &mut Found) {
        let mut owed = std::mem::take(&mut self.owed);
        let mut sent: Vec<Owed> = append.post_mail.iter().map(|post| (post.session, post.turn)).collect();
        owed.sort_unstable();
        sent.sort_unstable();
        if owed != sent {
            found.push((Rule::Child, format!("an append posts {sent:?}, and its records owe {owed:?}")));
        }
    }

    /// Whether a child has come to its end.
    fn is_child_over(&self, child: &Child) -> bool {
        let is_purged = |mirror: &Mirror| mirror.state.purged;
        child.end.is_some() || self.sessions.get(&child.session).is_some_and(is_purged)
    }

    pub(super) fn are_children_over(&self) -> bool {
        self.children.values().all(|child| self.is_child_over(child))
    }

    /// Children that have not come to an end when all else has.
    pub(super) fn left_over_children(&self, found: &mut Found) {
        for (id, child) in self.children.iter().filter(|(_, child)| !self.is_child_over(child)) {
            let Child { parent, step, has_started, answer, cancelled, .. } = child;
            let how = format!("started: {has_started}, answer: {answer:?}, cancelled: {cancelled}");
            found.push((
                Rule::Stuck,
                format!("child {id} of step {step} of turn {parent} has not ended, {how}"),
            ));
        }
    }

    /// The key of the turn that hosts asked for, above all children.
    pub(super) fn key_of(&self, turn: TurnId) -> Option<TurnKey> {
        let child = self.children.get(&turn).map(|child| child.place.key());
        child
            .or_else(|| self.book.iter().find(|(_, known)| known.accepted == Some(turn)).map(|(key, _)| *key))
    }
}

/// Whether anything that a turn did is applied.
fn stays_applied(turn: &TurnState) -> bool {
    turn.steps.iter().any(|step| step.applied && step.undoes.is_none())
}

impl Truth {
    /// The children that have started.
    pub(in crate::simulate) fn children(&self) -> Vec<TurnId> {
        let facts = self.facts();
        facts.children.iter().filter(|(_, child)| child.has_started).map(|(id, _)| *id).collect()
    }
}
