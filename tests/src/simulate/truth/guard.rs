//! What guards ruled holds: recorded is what they said, of exactly this; nobody is asked again; no call and no question
//! begins before it, none that was denied, none but what they left; and nothing that a step brought is read before it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use agent_shell_core::data::canonical::canonical;
use agent_shell_core::data::{
    Action, Body, EffectClass, FailureCode, GuardPlace, GuardRuling, Payload, Verdict, WaitEnd, WaitFor,
};
use agent_shell_core::machine::{Entry, StepState};
use agent_shell_core::ports::ModelRequest;
use agent_shell_core::words::{Digest, Epoch, SessionId, StepId, TurnId};
use agent_shell_core::{Call, GuardError, GuardRequest, Ruling};
use serde_json::{Value, json};

use super::events::LifeId;
use super::mirror::Mirror;
use super::{Facts, Truth};
use crate::simulate::coverage::Coverage;
use crate::simulate::guarding::NAMES;
use crate::simulate::rule::Rule;
use crate::simulate::settings::Settings;
use crate::simulate::sights::Sight;
use crate::simulate::undoing::undone_work;

type Found = Vec<(Rule, String)>;

/// What guards were asked, and what they said.
#[derive(Default)]
pub(super) struct GuardBook {
    said: BTreeMap<(LifeId, TurnId, StepId, GuardPlace), Vec<Said>>,
    /// Turns of which a guard did not let everything pass.
    touched: BTreeSet<TurnId>,
    /// The steps that people approve.
    approved: BTreeSet<(TurnId, StepId)>,
}

/// A guard is asked.
struct Said {
    guard: &'static str,
    /// The digest of what it was shown.
    shown: Digest,
    /// What it said, if it came to that.
    ruling: Option<Result<Ruling, String>>,
}

impl Said {
    /// Whether a recorded ruling is what it said.
    fn is(&self, ruling: &GuardRuling, place: GuardPlace) -> bool {
        let is_form = |value: &Value| !matches!(value, Value::Array(said) if said == &[json!("no message")]);
        match (&self.ruling, ruling.verdict) {
            (Some(Ok(Ruling::Allow)), Verdict::Allowed) => true,
            (Some(Ok(Ruling::Deny { reason })), Verdict::Denied) => *reason == ruling.reason,
            (Some(Ok(Ruling::Ask { reason })), Verdict::Asked) => place.can_ask() && *reason == ruling.reason,
            (Some(Ok(Ruling::Ask { .. })), Verdict::Failed) => !place.can_ask(),
            (Some(Ok(Ruling::Rewrite { value })), Verdict::Rewritten) => is_form(value),
            (Some(Ok(Ruling::Rewrite { value })), Verdict::Failed) => !is_form(value),
            (Some(Err(reason)), Verdict::Failed) => *reason == ruling.reason,
            // It panicked, or took too long.
            (None, Verdict::Failed) => true,
            _ => false,
        }
    }
}

/// What was ruled on a step in a place.
struct Ruled<'a> {
    epoch: Epoch,
    digest: Digest,
    rulings: &'a [GuardRuling],
    value: Option<&'a Payload>,
}

impl Ruled<'_> {
    fn denies(&self) -> bool {
        self.rulings.iter().any(|ruling| matches!(ruling.verdict, Verdict::Denied | Verdict::Failed))
    }

    fn asks(&self) -> bool {
        self.rulings.iter().any(|ruling| ruling.verdict == Verdict::Asked)
    }

    /// The digest of what it left.
    fn left(&self) -> Digest {
        self.value.map_or(self.digest, |value| digest_of(&value.value()))
    }
}

/// What a ruling binds to.
fn digest_of(value: &Value) -> Digest {
    Digest::of(canonical(value).unwrap_or_else(|_| value.to_string()))
}

impl Truth {
    /// A guard is asked: about what nothing durable was ruled on. The number is given back with what it says.
    pub(in crate::simulate) fn asks_guard(
        &self,
        life: LifeId,
        guard: &str,
        request: &GuardRequest,
    ) -> Option<usize> {
        let GuardRequest { session, turn, step, place, .. } = request;
        let guard = NAMES.into_iter().find(|name| *name == guard)?;
        let shown = digest_of(&request.value);
        self.tell(|| format!("{guard} is asked about turn {turn} step {step}, {place:?}"));
        let mut facts = self.facts();
        let mut is_again = false;
        if let Some(mirror) = facts.sessions.get(session)
            && facts.life_of(mirror, mirror.epoch) == Some(life)
            && guard == NAMES[0]
            && let Some(ruled) = latest(mirror, *turn, step, *place)
        {
            let is_after = matches!(place, GuardPlace::AfterTool | GuardPlace::AfterModel);
            is_again = is_after || ruled.left() == shown;
        }
        let elsewhere = |(of, known, name, at): &(LifeId, TurnId, StepId, GuardPlace)| {
            *of != life && known == turn && name == step && at == place
        };
        if facts.guards.said.keys().any(elsewhere) {
            facts.coverage.see(Sight::RuledAnew);
        }
        let said = facts.guards.said.entry((life, *turn, step.clone(), *place)).or_default();
        said.push(Said { guard, shown, ruling: None });
        let number = said.len() - 1;
        drop(facts);
        if is_again {
            let what = format!("turn {turn} step {step}: {guard} is asked again ({place:?})");
            self.say(Rule::Guard, what);
        }
        Some(number)
    }

    /// What a guard says.
    pub(in crate::simulate) fn guard_says(
        &self,
        life: LifeId,
        request: &GuardRequest,
        asked: Option<usize>,
        ruling: &Result<Ruling, GuardError>,
    ) {
        let of = (life, request.turn, request.step.clone(), request.place);
        if let Some(said) = self.facts().guards.said.get_mut(&of)
            && let Some(said) = asked.and_then(|asked| said.get_mut(asked))
        {
            said.ruling = Some(ruling.clone().map_err(|error| error.to_string()));
        }
    }

    /// A person approves.
    pub(in crate::simulate) fn approves(&self, turn: TurnId, step: &StepId) {
        self.facts().guards.approved.insert((turn, step.clone()));
    }

    /// Whether guards did not let everything pass in a turn.
    pub(in crate::simulate) fn is_guarded(&self, turn: TurnId) -> bool {
        self.facts().is_guarded(turn)
    }

    /// A question is put: guards have not denied it, and it says what they left.
    pub(super) fn check_question_allowed(&self, request: &ModelRequest, call: &Call, found: &mut Found) {
        let said = json!(request.messages.last());
        self.facts().check_allowed((GuardPlace::BeforeModel, true), &said, call, self.settings(), found);
    }
}

impl Facts {
    /// Whether guards did not let everything pass in a turn: it may end otherwise than was drawn.
    pub(super) fn is_guarded(&self, turn: TurnId) -> bool {
        self.guards.touched.contains(&turn)
    }

    /// Whether the owner of an epoch has guards.
    pub(super) fn is_guarding(&self, session: SessionId, epoch: Epoch, settings: &Settings) -> bool {
        let life = self.sessions.get(&session).and_then(|mirror| self.life_of(mirror, epoch));
        life.is_some_and(|life| settings.has_guards(life))
    }

    /// The life of the owner of an epoch.
    fn life_of(&self, mirror: &Mirror, epoch: Epoch) -> Option<LifeId> {
        self.owners.get(mirror.owners.get(&epoch)?).copied()
    }

    /// A record is about to be folded; its step is as it was before.
    pub(super) fn check_ruled(
        &mut self,
        session: SessionId,
        (before, entry): (Option<&(StepState, EffectClass)>, &Entry),
        settings: &Settings,
        found: &mut Found,
    ) {
        let Some((before, class)) = before else { return };
        // It is taken out so that the book and the coverage can be written beside it.
        let Some(mirror) = self.sessions.remove(&session) else { return };
        self.check_guarded((&mirror, before, entry), *class, settings, found);
        self.sessions.insert(session, mirror);
    }

    fn check_guarded(
        &mut self,
        (mirror, before, entry): (&Mirror, &StepState, &Entry),
        class: EffectClass,
        settings: &Settings,
        found: &mut Found,
    ) {
        let Some(turn) = entry.body.turn() else { return };
        let step = &before.step.id;
        if before.undoes.is_some() {
            if matches!(entry.body, Body::GuardRuled { .. } | Body::StepReturned { .. }) {
                found.push((Rule::Guard, format!("turn {turn} step {step}: guards rule on what undoes")));
            }
            return;
        }
        let has_guards = self.life_of(mirror, entry.epoch).is_some_and(|life| settings.has_guards(life));
        let problem = match &entry.body {
            Body::GuardRuled { place, digest, rulings, value, .. } => {
                let value = value.as_ref();
                let ruled = Ruled { epoch: entry.epoch, digest: *digest, rulings, value };
                self.ruled(mirror, (turn, step, *place), &ruled, settings)
            }
            // The first attempt: what is repeated was ruled on before, if anybody did.
            Body::StepStarted { input, .. } if before.key.is_none() => {
                let input = input.as_ref().map(Payload::value).or_else(|| before.input.clone());
                let digest = digest_of(&input.unwrap_or_default());
                begun(mirror, (turn, step), digest, has_guards, entry.epoch, &mut self.coverage)
            }
            Body::StepSucceeded { output, .. } if matches!(before.step.action, Action::Tool { .. }) => {
                let of = (turn, step, GuardPlace::AfterTool);
                let is_pure = class == EffectClass::Pure;
                read(mirror, of, &output.value(), (is_pure, has_guards), &mut self.coverage)
            }
            Body::ModelAnswered { answer, .. } => {
                let of = (turn, step, GuardPlace::AfterModel);
                read(mirror, of, &answer.value(), (true, has_guards), &mut self.coverage)
            }
            Body::StepFailed { failure, .. } if failure.code == FailureCode::Guard => {
                let denials = GuardPlace::ALL.into_iter().filter_map(|at| latest(mirror, turn, step, at));
                let told = |ruled: Ruled<'_>| {
                    ruled.rulings.iter().any(|ruling| ruling.denies() && ruling.told() == failure.message)
                };
                let is_denied = denials.into_iter().any(told);
                (!is_denied).then_some("it fails, and no guard denied it for this reason")
            }
            _ => None,
        };
        if let Some(what) = problem {
            found.push((Rule::Guard, format!("record {}: turn {turn} step {step}: {what}", entry.seq)));
        }
    }

    /// What is wrong with what is recorded as ruled.
    fn ruled(
        &mut self,
        mirror: &Mirror,
        (turn, step, place): (TurnId, &StepId, GuardPlace),
        ruled: &Ruled<'_>,
        settings: &Settings,
    ) -> Option<&'static str> {
        let life = self.life_of(mirror, ruled.epoch)?;
        let names = NAMES.iter().take(settings.guards());
        let recorded = ruled.rulings.iter().map(|ruling| ruling.guard.as_str());
        if !settings.has_guards(life)
            || !recorded.clone().eq(names.clone().copied().take(ruled.rulings.len()))
            || (ruled.rulings.len() < names.len() && !ruled.denies())
        {
            return Some("not all guards were asked in their order");
        }
        let said = self.guards.said.get(&(life, turn, step.clone(), place));
        let said = said.map(Vec::as_slice).unwrap_or_default();
        let value = ruled.value.map(Payload::value);
        if !agrees(said, place, ruled.rulings, ruled.digest, (None, value.as_deref())) {
            return Some("recorded is what no guard said of it");
        }
        let before = latest(mirror, turn, step, place);
        let is_after = matches!(place, GuardPlace::AfterTool | GuardPlace::AfterModel);
        if before.is_some_and(|before| is_after || before.left() == ruled.digest) {
            return Some("it is ruled on a second time");
        }
        if is_after && brought(mirror, turn, step).is_none_or(|of| digest_of(&of) != ruled.digest) {
            return Some("ruled on is something else than was brought");
        }
        if ruled.rulings.iter().any(|ruling| ruling.verdict != Verdict::Allowed) {
            self.guards.touched.insert(turn);
            self.coverage.see(match place {
                GuardPlace::BeforeModel => Sight::RuledBeforeModel,
                GuardPlace::BeforeTool => Sight::RuledBeforeTool,
                GuardPlace::AfterTool => Sight::RuledAfterTool,
                _ => Sight::RuledAfterModel,
            });
        }
        None
    }

    /// A call or a question begins: guards have not denied it, whoever makes it, and those of its process left it so.
    pub(super) fn check_allowed(
        &self,
        (place, is_pure): (GuardPlace, bool),
        value: &Value,
        call: &Call,
        settings: &Settings,
        found: &mut Found,
    ) {
        let Some(mirror) = self.sessions.get(&call.session) else { return };
        // Who has lost its session may still be about to.
        if mirror.epoch != call.epoch || (place == GuardPlace::BeforeTool && undone_work(value).is_some()) {
            return;
        }
        let (digest, turn, step) = (digest_of(value), call.turn, &call.step);
        let ruled = latest(mirror, turn, step, place).filter(|ruled| ruled.left() == digest);
        let problem = match ruled {
            Some(ruled) if ruled.denies() => Some("it begins, and a guard denied it"),
            Some(ruled) if ruled.asks() => {
                // Before a `Pure` call nothing need be durable but that somebody was asked.
                let is_answered = is_pure && self.guards.approved.contains(&(turn, step.clone()));
                let least = if is_answered { Approval::Asked } else { Approval::Given };
                (approval(mirror, turn, step, digest) < least)
                    .then_some("it begins, and nobody approved what a guard asked about")
            }
            Some(_) => None,
            // What is recorded before it begins is judged there; what is not may be ahead of the record of the ruling.
            None if !is_pure => None,
            None => self
                .life_of(mirror, call.epoch)
                .filter(|life| settings.has_guards(*life))
                .filter(|life| !self.was_let((mirror, *life), (turn, step, place), digest, settings))
                .map(|_| "it begins, and no guard let it pass"),
        };
        if let Some(problem) = problem {
            found.push((Rule::Guard, problem.to_owned()));
        }
    }

    /// Whether the last guard of a life said that this may go on.
    fn was_let(
        &self,
        (mirror, life): (&Mirror, LifeId),
        (turn, step, place): (TurnId, &StepId, GuardPlace),
        digest: Digest,
        settings: &Settings,
    ) -> bool {
        let said = self.guards.said.get(&(life, turn, step.clone(), place));
        let last = NAMES.get(settings.guards() - 1);
        said.into_iter().flatten().filter(|said| Some(&said.guard) == last).any(|said| match &said.ruling {
            Some(Ok(Ruling::Allow)) => said.shown == digest,
            Some(Ok(Ruling::Rewrite { value })) => digest_of(value) == digest,
            // What was approved before there were guards goes on although one asks.
            Some(Ok(Ruling::Ask { .. })) => {
                said.shown == digest
                    && approval(mirror, turn, step, digest) >= Approval::Asked
                    && self.guards.approved.contains(&(turn, step.clone()))
            }
            _ => false,
        })
    }
}

/// Whether guards said just this, each of what the one before it left.
fn agrees(
    said: &[Said],
    place: GuardPlace,
    rulings: &[GuardRuling],
    shown: Digest,
    (left, recorded): (Option<&Value>, Option<&Value>),
) -> bool {
    let [ruling, rest @ ..] = rulings else { return left == recorded };
    let of = |known: &&Said| {
        ruling.guard.as_str() == known.guard && known.shown == shown && known.is(ruling, place)
    };
    said.iter().filter(of).any(|known| match (&known.ruling, ruling.verdict) {
        (Some(Ok(Ruling::Rewrite { value })), Verdict::Rewritten) => {
            agrees(said, place, rest, digest_of(value), (Some(value), recorded))
        }
        _ => agrees(said, place, rest, shown, (left, recorded)),
    })
}

/// What is wrong with a call that begins, given what was ruled.
fn begun(
    mirror: &Mirror,
    (turn, step): (TurnId, &StepId),
    digest: Digest,
    has_guards: bool,
    epoch: Epoch,
    coverage: &mut Coverage,
) -> Option<&'static str> {
    let Some(ruled) = latest(mirror, turn, step, GuardPlace::BeforeTool) else {
        return has_guards.then_some("it begins, and no guard ruled on it");
    };
    if ruled.left() != digest {
        let is_other = has_guards || ruled.value.is_some();
        return is_other.then_some("it begins with other arguments than guards left");
    }
    if ruled.denies() {
        return Some("it begins, and a guard denied it");
    }
    if ruled.epoch < epoch {
        coverage.see(Sight::RuledByOther);
    }
    (ruled.asks() && approval(mirror, turn, step, digest) < Approval::Given)
        .then_some("it begins, and nobody approved what a guard asked about")
}

/// What is wrong with what is read of a step that brought something.
fn read(
    mirror: &Mirror,
    (turn, step, place): (TurnId, &StepId, GuardPlace),
    output: &Value,
    (is_pure, has_guards): (bool, bool),
    coverage: &mut Coverage,
) -> Option<&'static str> {
    let Some(brought) = brought(mirror, turn, step) else {
        return has_guards.then_some("what it brought is read before guards ruled on it");
    };
    let Some(ruled) = latest(mirror, turn, step, place) else {
        if has_guards {
            return Some("what it brought is read, and no guard ruled on it");
        }
        return (*brought != *output).then_some("something else is read than was brought");
    };
    if ruled.denies() {
        let told = ruled.rulings.iter().find(|ruling| ruling.denies()).map(GuardRuling::told);
        let is_withheld = !is_pure && *output == json!({ "withheld": told });
        coverage.see(Sight::Withheld);
        return (!is_withheld).then_some("what it brought is read, and a guard denied it");
    }
    let left = ruled.value.map(Payload::value);
    (left.as_deref().unwrap_or(&brought) != output).then_some("something else is read than guards left")
}

/// How far the approval of exactly this call is. One from before there were guards counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Approval {
    None,
    Asked,
    Given,
}

fn approval(mirror: &Mirror, turn: TurnId, step: &StepId, call: Digest) -> Approval {
    let mut is_given = false;
    let asked = of_turn(mirror, turn).find_map(|entry| match &entry.body {
        Body::WaitEnded { step: name, end: WaitEnd::Approved, .. } if name == step => {
            is_given = true;
            None
        }
        Body::WaitOpened { step: name, wait: WaitFor::Approval { shown, .. }, .. } if name == step => {
            Some(digest_of(&shown.value()) == call)
        }
        _ => None,
    });
    match asked {
        Some(true) if is_given => Approval::Given,
        Some(true) => Approval::Asked,
        _ => Approval::None,
    }
}

/// What a step brought, in the attempt that counts.
fn brought(mirror: &Mirror, turn: TurnId, step: &StepId) -> Option<Arc<Value>> {
    let mut of_attempt = of_turn(mirror, turn).take_while(|entry| !is_outdated(entry, step));
    of_attempt.find_map(|entry| match &entry.body {
        Body::StepReturned { step: name, output, .. } if name == step => Some(output.value()),
        _ => None,
    })
}

/// The latest ruling on a step in a place. One on what an attempt brought holds for that attempt.
fn latest<'a>(mirror: &'a Mirror, turn: TurnId, step: &StepId, place: GuardPlace) -> Option<Ruled<'a>> {
    let is_after = matches!(place, GuardPlace::AfterTool | GuardPlace::AfterModel);
    let mut entries = of_turn(mirror, turn).take_while(|entry| !is_after || !is_outdated(entry, step));
    entries.find_map(|entry| match &entry.body {
        Body::GuardRuled { step: name, place: asked, digest, rulings, value, .. }
            if name == step && *asked == place =>
        {
            Some(Ruled { epoch: entry.epoch, digest: *digest, rulings, value: value.as_ref() })
        }
        _ => None,
    })
}

/// Whether an optimistic step is made again by a record: what it brought before counts for nothing.
fn is_outdated(entry: &Entry, step: &StepId) -> bool {
    matches!(&entry.body, Body::StepOutdated { step: name, .. } if name == step)
}

/// The records of a turn, from the latest to its first.
fn of_turn(mirror: &Mirror, turn: TurnId) -> impl Iterator<Item = &Entry> {
    let is_start =
        move |entry: &&Entry| matches!(&entry.body, Body::TurnStarted { turn: of, .. } if *of == turn);
    let entries = mirror.entries.iter().rev().take_while(move |entry| !is_start(entry));
    entries.filter(move |entry| entry.body.turn() == Some(turn))
}
