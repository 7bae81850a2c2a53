//! What guards ruled holds: no call begins before it, none that was denied, none but what they left; and nothing that a step
//! brought is read before it.

use agent_shell_core::Call;
use agent_shell_core::data::canonical::canonical_digest;
use agent_shell_core::data::{Action, Body, GuardPlace, GuardRuling, Payload, Verdict, WaitEnd};
use agent_shell_core::machine::{Entry, Phase, StepState};
use agent_shell_core::words::{Digest, Epoch, StepId, TurnId};
use serde_json::Value;

use super::Facts;
use super::mirror::Mirror;
use crate::simulate::rule::Rule;
use crate::simulate::settings::Settings;

type Found = Vec<(Rule, String)>;

/// What was ruled on a step in a place, latest.
struct Ruled<'a> {
    /// Where it stands among the entries.
    at: usize,
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

    /// Whether this is what it left.
    fn left(&self, value: &Value) -> bool {
        match self.value {
            Some(rewritten) => *rewritten.value() == *value,
            None => canonical_digest(value).is_ok_and(|digest| digest == self.digest),
        }
    }
}

impl Facts {
    /// Whether the owner of an epoch has guards.
    fn has_guards(&self, mirror: &Mirror, epoch: Epoch, settings: &Settings) -> Option<bool> {
        let life = self.owners.get(mirror.owners.get(&epoch)?)?;
        Some(settings.has_guards(*life))
    }

    /// A record is about to be folded; its step is as it was before.
    pub(super) fn check_guarded(
        &self,
        mirror: &Mirror,
        (before, entry): (&StepState, &Entry),
        settings: &Settings,
        found: &mut Found,
    ) {
        let Some(turn) = entry.body.turn() else { return };
        let step = &before.step.id;
        if before.undoes.is_some() || self.has_guards(mirror, entry.epoch, settings) != Some(true) {
            return;
        }
        let mut say = |what: &str| found.push((Rule::Guard, format!("turn {turn} step {step}: {what}")));
        match &entry.body {
            // The first attempt: what is repeated was ruled on before, if anybody did.
            Body::StepStarted { input, .. } if before.key.is_none() => {
                let input = input.as_ref().map(Payload::value).or_else(|| before.input.clone());
                let problem = begun(mirror, turn, step, &input.unwrap_or_default());
                problem.into_iter().for_each(say);
            }
            Body::StepSucceeded { output, .. } => match &before.phase {
                Phase::Returned(brought) => {
                    let class = mirror.state.turn.as_ref().map(|turn| turn.class_of(turn.index[step]));
                    let has_acted = class.is_some_and(|class| class.has_intent());
                    let problem = read(
                        mirror,
                        (turn, step),
                        GuardPlace::AfterTool,
                        brought,
                        &output.value(),
                        has_acted,
                    );
                    problem.into_iter().for_each(say);
                }
                _ if matches!(before.step.action, Action::Tool { .. }) => {
                    say("its result was read before guards ruled on it");
                }
                _ => {}
            },
            Body::ModelAnswered { answer, .. } => match &before.phase {
                Phase::Returned(brought) => {
                    let problem =
                        read(mirror, (turn, step), GuardPlace::AfterModel, brought, &answer.value(), false);
                    problem.into_iter().for_each(say);
                }
                _ => say("its answer was read before guards ruled on it"),
            },
            _ => {}
        }
    }

    /// A call begins: guards have not denied it, whoever makes it.
    pub(super) fn check_allowed(&self, input: &Value, call: &Call, found: &mut Found) {
        let Some(mirror) = self.sessions.get(&call.session) else { return };
        let ruled = latest(mirror, call.turn, &call.step, GuardPlace::BeforeTool);
        if let Some(ruled) = ruled.filter(|ruled| ruled.denies() && ruled.left(input)) {
            found.push((Rule::Guard, format!("is called, and denied was {:?}", ruled.rulings)));
        }
    }
}

/// What is wrong with a call that begins, given what was ruled.
fn begun(mirror: &Mirror, turn: TurnId, step: &StepId, input: &Value) -> Option<&'static str> {
    let Some(ruled) = latest(mirror, turn, step, GuardPlace::BeforeTool) else {
        return Some("it begins, and no guard ruled on it");
    };
    if ruled.denies() {
        return Some("it begins, and a guard denied it");
    }
    if !ruled.left(input) {
        return Some("it begins with other arguments than guards left");
    }
    let is_approved = mirror.entries[ruled.at..].iter().any(|entry| {
        matches!(&entry.body, Body::WaitEnded { turn: of, step: ended, end: WaitEnd::Approved, .. } if *of == turn && ended == step)
    });
    (ruled.asks() && !is_approved).then_some("it begins, and nobody approved what a guard asked about")
}

/// What is wrong with what is read of a step that brought something.
fn read(
    mirror: &Mirror,
    (turn, step): (TurnId, &StepId),
    place: GuardPlace,
    brought: &Value,
    output: &Value,
    has_acted: bool,
) -> Option<&'static str> {
    let returned = mirror.entries.iter().rposition(|entry| {
        matches!(&entry.body, Body::StepReturned { turn: of, step: brought, .. } if *of == turn && brought == step)
    });
    let ruled = latest(mirror, turn, step, place).filter(|ruled| Some(ruled.at) > returned);
    let Some(ruled) = ruled else { return Some("what it brought is read, and no guard ruled on it") };
    if ruled.denies() {
        let is_withheld = has_acted && output.get("withheld").is_some();
        return (!is_withheld).then_some("what it brought is read, and a guard denied it");
    }
    let left = ruled.value.map(Payload::value);
    (left.as_deref().unwrap_or(brought) != output).then_some("something else is read than guards left")
}

fn latest<'a>(mirror: &'a Mirror, turn: TurnId, step: &StepId, place: GuardPlace) -> Option<Ruled<'a>> {
    mirror.entries.iter().enumerate().rev().find_map(|(at, entry)| match &entry.body {
        Body::GuardRuled { turn: of, step: ruled, place: asked, digest, rulings, value }
            if *of == turn && ruled == step && *asked == place =>
        {
            Some(Ruled { at, digest: *digest, rulings, value: value.as_ref() })
        }
        _ => None,
    })
}
