//! What the page's data says of records. Here stand the records of which the tests make journals.

mod bounds;
mod turns;

use std::sync::Arc;

use agent_shell_core::data::{Body, EffectClass, Payload, PlannerRef, ToolContract, ToolTerms};
use agent_shell_core::runtime::HistoryEntry;
use agent_shell_core::words::{Epoch, Pseudonym, Seq, StepId, Timestamp, ToolName, TurnId};
use agent_shell_core::{Plan, Step};
use serde_json::{Value, json};

use super::model;
use super::turns::Turns;

const TURN: TurnId = TurnId::from_bytes([1; 16]);

/// Writes records, each a few milliseconds after the one before.
struct Journal {
    turns: Turns,
    seq: u64,
    time: u64,
    epoch: u64,
}

impl Journal {
    fn new() -> Self {
        Self { turns: Turns::default(), seq: 0, time: 1000, epoch: 1 }
    }

    /// A journal with a turn that has adopted these steps. Each calls a tool named after its class.
    fn planned(steps: impl IntoIterator<Item = Step>) -> Self {
        let mut journal = Self::new();
        journal.add(started(TURN));
        journal.add(adopted(1, steps));
        journal
    }

    fn entry(&mut self, body: Body) -> HistoryEntry {
        self.seq += 1;
        self.time += 10;
        let (seq, epoch, time) =
            (Seq::new(self.seq), Epoch::new(self.epoch), Timestamp::from_millis(self.time));
        HistoryEntry { seq, epoch, time, actor: Pseudonym::RUNTIME, body }
    }

    fn add(&mut self, body: Body) -> &mut Self {
        let entry = self.entry(body);
        self.turns.take(&entry);
        self
    }

    /// The process dies, and another takes over.
    fn dies(&mut self) -> &mut Self {
        self.epoch += 1;
        self.time += 100;
        self
    }

    fn turn(&mut self) -> model::Turn {
        std::mem::take(&mut self.turns).finish().0.pop().unwrap()
    }

    fn step(&mut self) -> model::Step {
        self.turn().steps.remove(0)
    }
}

fn started(turn: TurnId) -> Body {
    let planner = PlannerRef::Fixed(Plan::new([Step::approval("x", json!(0))]).unwrap());
    let posted = Timestamp::from_millis(1000);
    Body::TurnStarted {
        turn,
        input: payload(json!({ "n": 1 })),
        planner: Box::new(planner),
        posted,
        deadline: None,
        wants: None,
        budget: None,
        untrusted: false,
        latency: None,
    }
}

fn adopted(round: u32, steps: impl IntoIterator<Item = Step>) -> Body {
    let classes = [
        ("pure", EffectClass::Pure),
        ("idempotent", EffectClass::Idempotent),
        ("probed", EffectClass::Probed),
        ("irreversible", EffectClass::Irreversible),
    ];
    let earlier = ["files", "notes"].map(|step| StepId::new(step).unwrap());
    let plan = Plan::builder().steps(steps);
    let plan = if round > 1 { plan.earlier(earlier) } else { plan };
    let terms = classes.map(|(name, class)| {
        let contract: ToolContract = serde_json::from_value(json!({
            "name": name, "version": 1, "description": "", "class": class, "input_schema": true, "ask_first": false,
            "approval_ms": null, "held": false, "attempt_ms": null, "remembers_keys_ms": 1000,
            "retry": { "attempts": 4, "base_ms": 1, "max_ms": 1 }, "compensation": (name == "idempotent").then_some("pure"),
        }))
        .unwrap();
        (ToolName::new(name).unwrap(), ToolTerms::of(&contract, 1000))
    });
    Body::PlanAdopted { turn: TURN, round, plan: plan.build().unwrap(), more: false, terms: terms.into() }
}

fn call(class: &str) -> Step {
    Step::tool("act", class, json!({}))
}

fn payload(value: Value) -> Payload {
    Payload::Inline(Arc::new(value))
}

fn act() -> StepId {
    StepId::new("act").unwrap()
}

fn starts(attempt: u32) -> Body {
    Body::StepStarted {
        turn: TURN,
        step: act(),
        attempt,
        input: None,
        context_version: 0,
        key: "key".into(),
        deadline: Timestamp::from_millis(5000),
    }
}

fn fails(attempt: u32, not_applied: bool, counts: bool) -> Body {
    let (reason, retry_at) = ("it did not work".into(), Timestamp::from_millis(1042));
    Body::AttemptFailed { turn: TURN, step: act(), attempt, not_applied, counts, reason, retry_at }
}
