//! What guards have to say of a step: what is due before a question or a call, and after a result or an answer.
//!
//! A ruling binds to the digest of what was ruled on, as an approval does: when a later change of the context makes
//! another call of a step, guards are asked again. What is recorded stands, whatever guards the next owner has.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::attempt::{accept, answered_with, failed, succeeded};
use super::event::{Command, Env};
use super::owed::Due;
use super::state::{Folded, Phase, RuledOn, TurnState};
use crate::data::canonical::canonical;
use crate::data::{
    Action, Answer, Body, EffectClass, FailureCode, GuardPlace, GuardRuling, Message, Payload,
};
use crate::ports::ModelRequest;
use crate::words::Digest;

/// The member of an output that stands for one that a guard withheld.
const WITHHELD: &str = "withheld";

/// What guards are asked about.
pub(super) struct Asked<'a> {
    pub(super) at: GuardPlace,
    pub(super) value: &'a Arc<Value>,
    pub(super) request: Option<&'a Arc<ModelRequest>>,
}

/// What is due before a step does what it is about to do: guards are asked, or the step fails because they denied it.
/// None when it may go on.
pub(super) fn before(
    state: &Folded,
    turn: &TurnState,
    place: usize,
    asked: &Asked<'_>,
    env: &Env<'_>,
) -> Option<Due> {
    // What undoes a step is no act of a model's.
    if turn.steps[place].undoes.is_some() {
        return None;
    }
    if let Some(ruled) = turn.steps[place].before.as_deref()
        && ruled.digest == ruled_digest(asked.value)
    {
        let denied = ruled.denied.as_ref()?;
        return Some(Due::Record(failed(turn, place, FailureCode::Guard, denied)));
    }
    env.guards.has(asked.at).then(|| rule(state, turn, place, asked))
}

/// What is due before a call. Nothing is looked at where no guard ever was.
pub(super) fn before_call(
    state: &Folded,
    turn: &TurnState,
    place: usize,
    input: &Arc<Value>,
    env: &Env<'_>,
) -> Option<Due> {
    let asked = Asked { at: GuardPlace::BeforeTool, value: input, request: None };
    before(state, turn, place, &asked, env)
}

/// What is due before a question.
pub(super) fn before_question(
    state: &Folded,
    turn: &TurnState,
    place: usize,
    (request, says): (&Arc<ModelRequest>, usize),
    env: &Env<'_>,
) -> Option<Due> {
    if turn.steps[place].before.is_none() && !env.guards.has(GuardPlace::BeforeModel) {
        return None;
    }
    let said = &request.messages[request.messages.len().saturating_sub(says)..];
    // One message as itself; several as they stand.
    let value = Arc::new(if let [said] = said { json!(said) } else { json!(said) });
    let asked = Asked { at: GuardPlace::BeforeModel, value: &value, request: Some(request) };
    before(state, turn, place, &asked, env)
}

fn rule(state: &Folded, turn: &TurnState, place: usize, asked: &Asked<'_>) -> Due {
    Due::Command(Command::Rule {
        step: place,
        place: asked.at,
        value: asked.value.clone(),
        request: asked.request.cloned(),
        labels: state.labels(turn, place, asked.at),
    })
}

/// Where guards look at what a step brings.
fn looked_at_after(turn: &TurnState, place: usize) -> GuardPlace {
    match &turn.steps[place].step.action {
        Action::Model(_) => GuardPlace::AfterModel,
        _ => GuardPlace::AfterTool,
    }
}

/// The record of what an attempt brought, where guards rule on it before anything reads it.
/// Of a question also the digest of what was asked.
pub(super) fn returned(
    turn: &TurnState,
    place: usize,
    attempt: u32,
    (output, view): (Value, Option<Digest>),
) -> Body {
    let step = turn.steps[place].step.id.clone();
    Body::StepReturned { turn: turn.id, step, attempt, output: output.into(), view }
}

/// What is due once a step has brought something: guards are asked, or what they left becomes the step's outcome. An
/// effect has happened whatever they say, so a tool that acts has succeeded: what it brought is withheld.
pub(super) fn after(
    state: &Folded,
    turn: &TurnState,
    place: usize,
    brought: &Arc<Value>,
    env: &Env<'_>,
) -> Due {
    let (step, is_pure) = (&turn.steps[place], turn.class_of(place) == EffectClass::Pure);
    let at = looked_at_after(turn, place);
    let denied = match &step.after {
        Some(ruled) => ruled.denied.as_ref(),
        None if env.guards.has(at) => {
            let asked = Asked { at, value: brought, request: None };
            return rule(state, turn, place, &asked);
        }
        None => None,
    };
    Due::Record(match denied {
        Some(reason) if is_pure => failed(turn, place, FailureCode::Guard, reason),
        Some(reason) => succeeded(turn, place, step.attempt, json!({ WITHHELD: reason }), env),
        None if at == GuardPlace::AfterModel => match Answer::deserialize(&**brought) {
            Ok(answer) => {
                answered_with(state, turn, place, step.attempt, (&answer, step.view.as_deref().copied()), env)
            }
            Err(_) => failed(turn, place, FailureCode::Guard, "what guards left of the answer is no answer"),
        },
        None => succeeded(turn, place, step.attempt, (**brought).clone(), env),
    })
}

/// Whether guards rule on what a step brings. What undoes another is no act of a model's.
pub(super) fn is_looked_at(turn: &TurnState, place: usize, env: &Env<'_>) -> bool {
    turn.steps[place].undoes.is_none() && env.guards.has(looked_at_after(turn, place))
}

/// The success of a step, or first what it brought where guards rule on that.
pub(super) fn brought(turn: &TurnState, place: usize, attempt: u32, output: Value, env: &Env<'_>) -> Body {
    if is_looked_at(turn, place, env) && accept(turn, place, &output, env).is_ok() {
        return returned(turn, place, attempt, (output, None));
    }
    succeeded(turn, place, attempt, output, env)
}

/// The record of what guards ruled, unless the step has gone on meanwhile.
pub(super) fn ruled(turn: &TurnState, place: usize, event: RulingsOf) -> Vec<Body> {
    let RulingsOf { at, value, rulings, rewritten } = event;
    let Some(step) = turn.steps.get(place) else { return Vec::new() };
    let is_due = match (&step.phase, at) {
        (Phase::Returned(brought), GuardPlace::AfterTool | GuardPlace::AfterModel) => {
            step.after.is_none() && *brought == value
        }
        (
            Phase::Pending | Phase::Approved | Phase::Paused { .. },
            GuardPlace::BeforeTool | GuardPlace::BeforeModel,
        ) => turn.ending.is_none(),
        _ => false,
    };
    // What they would put in place of an input that is not made any more would never be looked at again.
    if !is_due || (rewritten.is_some() && !turn.still_says(place, at, &value)) {
        return Vec::new();
    }
    let step = step.step.id.clone();
    let (digest, value) = (ruled_digest(&value), rewritten.map(Payload::from));
    vec![Body::GuardRuled { turn: turn.id, step, place: at, digest, rulings, value }]
}

/// What guards ruled on something.
pub(super) struct RulingsOf {
    pub(super) at: GuardPlace,
    pub(super) value: Arc<Value>,
    pub(super) rulings: Vec<GuardRuling>,
    pub(super) rewritten: Option<Value>,
}

/// What a ruling binds to. What has no canonical form is taken as it is written.
fn ruled_digest(value: &Value) -> Digest {
    Digest::of(canonical(value).unwrap_or_else(|_| value.to_string()))
}

impl TurnState {
    /// Takes what guards ruled on a step.
    pub(super) fn take_rulings(
        &mut self,
        place: usize,
        (at, digest): (GuardPlace, Digest),
        rulings: &[GuardRuling],
        rewritten: Option<&Payload>,
    ) -> Result<(), &'static str> {
        let rewritten = rewritten.map(Payload::value);
        let told = |found: Option<&GuardRuling>| found.map(GuardRuling::told);
        let ruled = Arc::new(RuledOn {
            digest: rewritten.as_deref().map_or(digest, ruled_digest),
            denied: told(rulings.iter().find(|ruling| ruling.denies())),
            asked: told(rulings.iter().find(|ruling| ruling.asks())),
        });
        let step = &mut self.steps[place];
        match (at, &step.phase) {
            (GuardPlace::AfterTool | GuardPlace::AfterModel, Phase::Returned(_)) => {
                step.after = Some(ruled);
                if let Some(value) = rewritten {
                    step.phase = Phase::Returned(value);
                }
            }
            (GuardPlace::BeforeTool, Phase::Pending | Phase::Approved | Phase::Paused { .. }) => {
                step.before = Some(ruled);
                if let Some(value) = rewritten {
                    step.input = Some(value);
                    step.read = self.context.version;
                }
                // Before a further attempt they see another call only where that heeds the context: it begins as the first did,
                // with an approval where one is asked for.
                if step.step.optimistic && matches!(step.phase, Phase::Paused { .. }) {
                    self.pauses_anew(place);
                }
            }
            (GuardPlace::BeforeModel, Phase::Pending | Phase::Paused { .. }) => {
                step.before = Some(ruled);
                if let Some(value) = rewritten {
                    let said = match &*value {
                        Value::Array(_) => Vec::<Message>::deserialize(&*value).ok(),
                        _ => Message::deserialize(&*value).ok().map(|said| vec![said]),
                    };
                    let said = said.filter(|said| !said.is_empty());
                    step.said = Some(Arc::new(said.ok_or("what it puts in place is no message")?));
                    step.read = self.context.version;
                }
            }
            _ => return Err("the step is not where guards could rule so"),
        }
        Ok(())
    }

    /// Whether a call waits for an approval: because its tool says so, or because a guard asks.
    pub(super) fn asks_first(&self, place: usize) -> bool {
        let asked = || self.steps[place].before.as_ref().is_some_and(|ruled| ruled.asked.is_some());
        self.terms_of(place).is_some_and(|terms| terms.ask_first) || asked()
    }
}
