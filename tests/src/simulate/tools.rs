//! The tools of the run: clients of targets in the world. A call that reaches its target takes effect there, also when
//! nobody waits for it any more.

use std::future::pending;
use std::time::Duration;

use agent_shell_core::data::{EffectClass, Retry};
use agent_shell_core::simulation::SimClock;
use agent_shell_core::{Call, ProbeAnswer, Tool, ToolError};
use serde_json::{Value, json};

use super::settings::Settings;
use super::truth::{Probing, ToolSpec, Truth, Verdict};
use super::work::{PEEK, STAMP};
use crate::crash::scenario::{ToolKind, Work, output_of};
use crate::recorder::Class;
use crate::simulate::truth::End;

/// Drawn turns try as often as it takes.
const RETRY: Retry = Retry { attempts: 40, base_ms: 10, max_ms: 80 };

/// For how long the target of [`STAMP`] remembers a key.
const REMEMBERS: Duration = Duration::from_millis(1_500);

/// Every tool, as the process with this clock has it.
pub(super) fn tools(truth: &Truth, clock: &SimClock) -> Vec<Tool> {
    let specs =
        ToolKind::ALL.map(|kind| ToolSpec { name: kind.name(), class: class_of(kind), remembers: None });
    let own = [
        ToolSpec { name: PEEK, class: EffectClass::Pure, remembers: None },
        ToolSpec { name: STAMP, class: EffectClass::Idempotent, remembers: Some(REMEMBERS) },
    ];
    let tools = specs.into_iter().chain(own).map(|spec| tool(spec, truth, clock));
    let tools = tools.chain(super::undoing::tools(truth, clock));
    tools.chain(super::heeding::tools(truth, clock)).collect()
}

fn class_of(kind: ToolKind) -> EffectClass {
    match kind.class() {
        Class::Pure => EffectClass::Pure,
        Class::Idempotent => EffectClass::Idempotent,
        Class::Probed => EffectClass::Probed,
        Class::Irreversible => EffectClass::Irreversible,
    }
}

pub(super) fn tool(spec: ToolSpec, truth: &Truth, clock: &SimClock) -> Tool {
    let (of_run, of_probe) = ((truth.clone(), clock.clone()), truth.clone());
    let run = move |work: Work, call: Call| {
        let input = json!(work);
        act(of_run.0.clone(), of_run.1.clone(), spec, (work, input), call)
    };
    let probe = move |work: Work, call: Call| ask(of_probe.clone(), spec, work, call);
    let description = "Acts on the simulated world";
    let mut tool = match spec.class {
        EffectClass::Pure => Tool::pure(spec.name, description, run),
        EffectClass::Idempotent => Tool::idempotent(spec.name, description, run),
        EffectClass::Probed => Tool::probed(spec.name, description, run, probe),
        _ => Tool::irreversible(spec.name, description, run),
    };
    let kind = ToolKind::named(spec.name);
    if spec.name == PEEK || kind.is_some_and(ToolKind::asks_first) {
        tool = tool.ask_first();
    }
    if kind.is_some_and(ToolKind::is_held) {
        tool = tool.held();
    }
    if let Some(remembers) = spec.remembers {
        tool = tool.remembers_keys(remembers);
    }
    tool.attempt_deadline(Settings::ATTEMPT).retry(RETRY)
}

/// The output of a call, whoever learns of it.
pub(super) fn output(tool: &str, work: &Work) -> Value {
    match ToolKind::named(tool) {
        Some(kind) => output_of(kind, work),
        None => json!({ "n": work.own, "set": [work.own % 30], "pad": "" }),
    }
}

/// Does some work, as the call's input says.
pub(super) async fn act(
    truth: Truth,
    clock: SimClock,
    spec: ToolSpec,
    (work, input): (Work, Value),
    call: Call,
) -> Result<Value, ToolError> {
    let (running, _caller) = truth.called(spec, (&work, &input), &call, &clock);
    if work.refuse {
        return Err(ToolError::refused("refused on purpose"));
    }
    let (before, after, end, is_sent) = (running.before, running.after, running.end, running.sent);
    clock_sleep(&clock, before).await;
    // A client that stood still must not send what may be too late.
    if spec.class != EffectClass::Pure && call.deadline.has_passed(&clock) {
        return Err(ToolError::retry("there was no time left to send it"));
    }
    let told = is_sent.then(|| truth.send(spec, &call, running, &clock));
    let told = match (end, told) {
        (End::Refuses, _) => return Err(ToolError::retry("refused for now")),
        (End::Ambiguous, _) => return Err(ToolError::ambiguous("the connection broke")),
        (End::Hangs, _) => return pending().await,
        // No message on standard error, as a hook would write for `panic!`.
        (End::Panics, _) => std::panic::resume_unwind(Box::new("it panics on purpose")),
        (End::Answers, Some(told)) => told,
        (End::Answers, None) => return Err(ToolError::retry("it was not sent")),
    };
    let verdict = told.await?;
    clock_sleep(&clock, after).await;
    match (verdict, spec.class) {
        (Verdict::Stale, _) => Err(ToolError::retry("the target knows a later owner")),
        (Verdict::Used, EffectClass::Probed) => Err(ToolError::Applied { output: output(spec.name, &work) }),
        _ => Ok(output(spec.name, &work)),
    }
}

async fn clock_sleep(clock: &SimClock, duration: Duration) {
    agent_shell_core::words::Clock::sleep(clock, duration).await;
}

pub(super) async fn ask(
    truth: Truth,
    spec: ToolSpec,
    work: Work,
    call: Call,
) -> Result<ProbeAnswer, ToolError> {
    let probing = truth.asked(&call);
    truth.pause().await;
    match probing {
        Probing::Fails => Err(ToolError::retry("the target can't be asked")),
        Probing::Hangs => pending().await,
        Probing::Answers if truth.was_applied(&call) => Ok(ProbeAnswer::Applied(output(spec.name, &work))),
        Probing::Answers => Ok(ProbeAnswer::NotApplied),
    }
}
