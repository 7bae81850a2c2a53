//! What follows from a planner's answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::children;
use super::event::{Env, PlanAnswer};
use super::resolve::too_large;
use super::state::{Folded, TurnState};
use crate::data::{
    Action, Body, EffectClass, Failure, FailureCode, Plan, Prompt, PromptRef, Say, Step, ToolTerms,
};
use crate::words::{Digest, StepId, ToolName};

/// The record of a round of planning.
pub(super) fn planned(
    state: &Folded,
    turn: &TurnState,
    answer: Result<PlanAnswer, Failure>,
    env: &Env<'_>,
) -> Vec<Body> {
    if !turn.plan_is_due() {
        return Vec::new();
    }
    let failed = |failure| vec![Body::PlanFailed { turn: turn.id, failure }];
    match answer {
        Err(failure) => failed(failure),
        Ok(PlanAnswer::Answer(answer)) => {
            if let Some(problem) = too_large(&answer, env.limits.payload_bytes) {
                return failed(Failure::of_turn(FailureCode::TooLarge, format!("the answer {problem}")));
            }
            vec![Body::PlanAnswered { turn: turn.id, answer: Arc::new(answer).into() }]
        }
        Ok(PlanAnswer::Plan { plan, more, terms, prompts }) => {
            let checked = check(state, turn, &plan, &terms, env).and_then(|()| {
                plan.steps().iter().try_for_each(|step| check_question(state, turn, step, &prompts))
            });
            if let Err(problem) = checked {
                return failed(Failure::of_turn(FailureCode::Planner, problem));
            }
            let new = prompts.into_iter().filter(|(digest, _)| state.talk.prompt(digest).is_none());
            let set = new.map(|(digest, prompt)| Body::PromptSet {
                turn: turn.id,
                digest,
                prompt: serde_json::json!(prompt).into(),
            });
            let adopted = Body::PlanAdopted { turn: turn.id, round: turn.round + 1, plan, more, terms };
            set.chain([adopted]).collect()
        }
    }
}

/// What a question can only be checked for in its session.
fn check_question(
    state: &Folded,
    turn: &TurnState,
    step: &Step,
    prompts: &BTreeMap<Digest, Arc<Prompt>>,
) -> Result<(), String> {
    let Action::Model(ask) = &step.action else { return Ok(()) };
    let id = &step.id;
    match &ask.prompt {
        PromptRef::Recorded(digest)
            if prompts.contains_key(digest) || state.talk.prompt(digest).is_some() => {}
        _ => return Err(format!("step `{id}` names a prompt that the session does not have")),
    }
    let Some(first) = ask.first_shown else { return Ok(()) };
    let (kept, end) = (state.talk.first, state.talk.end());
    if first < kept || first > end {
        return Err(format!(
            "step `{id}` shows the conversation from message {first} on: it has {kept} to {end}"
        ));
    }
    match ask.say {
        Say::Steers if ask.steers as usize <= turn.told => {
            Err(format!("step `{id}` says only what came while the turn ran, and all of that was said"))
        }
        Say::Summary { through, .. } if through <= first || through > end => {
            Err(format!("step `{id}` summarises the messages before {through}: {first} to {end} can be"))
        }
        Say::Summary { through, .. } if !state.talk.can_summarise(first, through) => Err(format!(
            "step `{id}` summarises the messages {first} to {through}: calls stay with their results, and there must be more \
             than what users said"
        )),
        _ if !state.talk.can_begin_at(first) => Err(format!(
            "step `{id}` shows the conversation from message {first} on: it can begin only with what a user says, or with a \
             summary"
        )),
        _ => Ok(()),
    }
}

/// What a plan can only be checked for in its turn.
fn check(
    state: &Folded,
    turn: &TurnState,
    plan: &Plan,
    terms: &BTreeMap<ToolName, ToolTerms>,
    env: &Env<'_>,
) -> Result<(), String> {
    if turn.round >= env.limits.rounds_per_turn {
        return Err(format!("the turn has had {} rounds of planning, and no more are allowed", turn.round));
    }
    let steps = turn.steps.len() + plan.steps().len();
    if steps > env.limits.steps_per_turn {
        let allowed = env.limits.steps_per_turn;
        return Err(format!("with this plan the turn has {steps} steps: at most {allowed} are allowed"));
    }
    if plan.steers() as usize > turn.steers.len() {
        let (taken, came) = (plan.steers(), turn.steers.len());
        return Err(format!("the plan takes up {taken} inputs, and {came} came while the turn ran"));
    }
    if let Some(unknown) = plan.earlier().iter().find(|step| !turn.knows(step)) {
        return Err(format!("the plan refers to the earlier step `{unknown}`, which the turn does not have"));
    }
    for step in plan.steps() {
        if turn.knows(&step.id) {
            return Err(format!("step `{}` is in an earlier round already: give it another id", step.id));
        }
        if let Action::Tool { name, .. } = &step.action
            && (!children::may_use(state, name)
                || (!terms.contains_key(name) && !turn.terms.contains_key(name)))
        {
            return Err(format!("step `{}` calls `{name}`, and the shell has no such tool", step.id));
        }
        if let Action::Tool { name, .. } = &step.action
            && step.optimistic
            && let Some(terms) = terms.get(name).or_else(|| turn.terms.get(name))
            && terms.class != EffectClass::Pure
        {
            return Err(format!(
                "step `{}` is optimistic, so it may be made again, and `{name}` is not `Pure`: order it with `after`, or give it \
                 and the writers of what it reads a common lock",
                step.id
            ));
        }
    }
    children::check(state, turn, plan, env)?;
    let held_in_plan: BTreeSet<&StepId> =
        plan.steps().iter().filter(|step| is_held(turn, terms, step)).map(|step| &step.id).collect();
    if held_in_plan.is_empty() && turn.held.is_empty() {
        return Ok(());
    }
    let is_held = |needed: &&StepId| {
        let earlier = || turn.index.get(*needed).is_some_and(|place| turn.held.contains(place));
        held_in_plan.contains(*needed) || earlier()
    };
    for step in plan.steps() {
        if let Some(held) = step.needs().into_iter().find(is_held) {
            return Err(format!(
                "step `{}` depends on `{held}`, which is held back until all else has succeeded",
                step.id
            ));
        }
    }
    Ok(())
}

/// Whether a step of a new plan is held until all else has succeeded.
fn is_held(turn: &TurnState, terms: &BTreeMap<ToolName, ToolTerms>, step: &Step) -> bool {
    match &step.action {
        Action::Tool { name, .. } => {
            step.held || terms.get(name).or_else(|| turn.terms.get(name)).is_some_and(|terms| terms.held)
        }
        _ => step.held,
    }
}
