//! Tools that can be undone, and the tools that undo them: one of each class, some of which refuse every time, so that a
//! person must say how it goes on.

use std::time::Duration;

use agent_shell_core::data::{EffectClass, Retry};
use agent_shell_core::simulation::SimClock;
use agent_shell_core::{Call, Tool, ToolError, Undo};
use serde_json::{Value, json};

use super::bugs_undo::Undoing;
use super::tools::{act, ask};
use super::truth::{ToolSpec, Truth};
use crate::crash::scenario::Work;

/// A tool with its compensation, which asks first or not.
const PAIRS: [(&str, EffectClass, &str, EffectClass, bool); 6] = [
    ("hire", EffectClass::Idempotent, "fire", EffectClass::Idempotent, false),
    ("rent", EffectClass::Probed, "unrent", EffectClass::Probed, false),
    ("sign", EffectClass::Irreversible, "annul", EffectClass::Irreversible, false),
    ("ship", EffectClass::Idempotent, "recall", EffectClass::Irreversible, true),
    ("note", EffectClass::Idempotent, "strike", EffectClass::Pure, true),
    ("file", EffectClass::Probed, "shred", EffectClass::Pure, false),
];

/// The tools that wild turns call, and that can be undone.
pub(super) const TOOLS: [&str; 6] = ["hire", "rent", "sign", "ship", "note", "file"];

/// One compensation in so many refuses each time.
const UNWILLING: u64 = 3;

/// How one refuses.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unwilling {
    /// For good.
    Never,
    /// For now, each time.
    Later,
    /// Nothing is done, and nothing is said: the target has to be asked.
    Silent,
}

impl Unwilling {
    const fn of(class: EffectClass, own: u64) -> Self {
        match (class, own.is_multiple_of(2)) {
            (EffectClass::Probed, true) => Self::Silent,
            (_, true) => Self::Later,
            (_, false) => Self::Never,
        }
    }
}

/// Compensations give up soon.
const RETRY: Retry = Retry { attempts: 2, base_ms: 10, max_ms: 40 };

/// What a call of a tool is about, when it is one that undoes: the work of the call that it undoes.
pub(super) fn undone_work(input: &Value) -> Option<Work> {
    serde_json::from_value::<Undo<Work>>(input.clone()).ok().map(|undo| undo.input)
}

/// The tools.
pub(super) fn tools(truth: &Truth, clock: &SimClock) -> Vec<Tool> {
    let undoing_by = Undoing::new(truth.settings().bug);
    let pair = |(name, class, undoes, undo_class, asks_first)| {
        let spec = |name, class| ToolSpec { name, class, remembers: None };
        let acts = super::tools::tool(spec(name, class), truth, clock).compensated_by(undoes);
        [acts, undoing(spec(undoes, undo_class), (asks_first, &undoing_by), truth, clock)]
    };
    PAIRS.into_iter().flat_map(pair).collect()
}

fn undoing(spec: ToolSpec, (asks_first, by): (bool, &Undoing), truth: &Truth, clock: &SimClock) -> Tool {
    let of_run = (truth.clone(), clock.clone(), by.clone());
    let of_probe = truth.clone();
    let run = move |input: Value, call: Call| {
        let (truth, clock, by) = of_run.clone();
        let input = by.input(input);
        let work = work(&truth, spec, &input, &call);
        if by.is_twice() {
            truth.undoes(&call, spec, &input);
        }
        async move {
            let (refuses, how) = (work.refuse, Unwilling::of(spec.class, work.own));
            match act(truth, clock, spec, (work, input), call).await {
                Err(_) if refuses && how == Unwilling::Later => Err(ToolError::retry("refused for now")),
                Err(_) if refuses && how == Unwilling::Silent => Err(ToolError::ambiguous("it says nothing")),
                Err(error) => Err(error),
                Ok(_) => Ok(json!(null)),
            }
        }
    };
    let probe = move |input: Value, call: Call| {
        let work = Work { own: 0, of: Vec::new(), refuse: undone_work(&input).is_none() };
        ask(of_probe.clone(), spec, work, call)
    };
    let description = "Undoes what was done in the simulated world";
    let tool = match spec.class {
        EffectClass::Pure => Tool::pure(spec.name, description, run),
        EffectClass::Idempotent => Tool::idempotent(spec.name, description, run),
        EffectClass::Probed => Tool::probed(spec.name, description, run, probe),
        _ => Tool::irreversible(spec.name, description, run),
    };
    let tool = if asks_first { tool.ask_first() } else { tool };
    tool.attempt_deadline(Duration::from_millis(120)).retry(RETRY)
}

/// What a compensation does: as the call that it undoes, but that some never work.
fn work(truth: &Truth, spec: ToolSpec, input: &Value, call: &Call) -> Work {
    truth.undoes(call, spec, input);
    let Some(undone) = undone_work(input) else {
        return Work { own: 0, of: Vec::new(), refuse: true };
    };
    Work { own: undone.own, of: Vec::new(), refuse: undone.own % UNWILLING == 0 }
}
