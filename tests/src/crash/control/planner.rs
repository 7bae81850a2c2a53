//! The planner of these turns: some rounds of steps, one more for what was said meanwhile, and then an answer.

use std::time::Duration;

use agent_shell_core::data::Template;
use agent_shell_core::ports::StepReport;
use agent_shell_core::{Delegate, PlanView, Planned, Planner, PlannerError, Step, from};
use async_trait::async_trait;
use serde_json::{Value, json};

use super::PLANNER;
use super::tools::{KINDS, Kind};
use super::turn::Input;
use crate::crash::scenario::TurnKey;
use crate::random::Random;

/// Rounds that are planned beyond those that were drawn, when more and more is said.
const MORE_ROUNDS: u32 = 6;
/// How many turns may stand above one at most.
const DEEPEST: usize = 2;
/// What the first step of each round is called. Its name ends with how much of what was said is taken up by then.
const HEARD: &str = "heard";

/// The planner.
pub(in crate::crash) struct Controlled {
    pub(in crate::crash) seed: u64,
}

#[async_trait]
impl Planner for Controlled {
    async fn plan(&self, view: PlanView) -> Result<Planned, PlannerError> {
        let input: Input = serde_json::from_value((*view.input).clone())?;
        if input.key.number == TurnKey::CLOSING {
            return Ok(Planned::Answer(json!({ "n": 0 })));
        }
        let rounds = 1 + input.random(self.seed, 0).below(3) as u32;
        let mut random = input.random(self.seed, view.round.into());
        // Some of what is said, and some kills, fall into the planning.
        let longest_ms = if random.percent(15) { 80 } else { 12 };
        tokio::time::sleep(Duration::from_micros(random.below(longest_ms * 1_000))).await;
        let said = view.steers.len();
        let is_news = said > heard(&view);
        let wanted = rounds + said.min(4) as u32;
        if view.round > wanted && (!is_news || view.round > wanted + MORE_ROUNDS) {
            return Ok(Planned::Answer(json!({ "n": random.below(1_000), "said": said })));
        }
        let mut plan = view.next_plan().takes_up(said as u32);
        let heard = format!("{HEARD}-{}-{said}", view.round);
        plan = plan.step(Step::tool(heard, KINDS[0].name, work(&mut random, &[], false)));
        let (sources, free) = (sources(&view), Vec::new());
        let mut drawn = Drawn { view: &view, input: &input, sources, free, children: 0 };
        for place in 0..1 + random.below(4) {
            plan = plan.step(drawn.step(&mut random, place));
        }
        if view.round >= wanted && random.percent(40) {
            let answer = Template::object([("n", Template::from(random.below(1_000)))]);
            return Ok(Planned::Whole(plan.answer(answer).build()?));
        }
        Ok(Planned::Next(plan.build()?))
    }
}

/// How much of what was said the plans so far have taken up.
fn heard(view: &PlanView) -> usize {
    let names = view.steps.keys().filter(|step| step.as_str().starts_with(HEARD));
    names.filter_map(|step| step.as_str().rsplit('-').next()?.parse().ok()).max().unwrap_or(0)
}

/// The steps so far that brought a number.
fn sources(view: &PlanView) -> Vec<String> {
    let brought = |report: &StepReport| matches!(report, StepReport::Succeeded(output) if output.get("n").is_some_and(Value::is_u64));
    view.steps.iter().filter(|(_, report)| brought(report)).map(|(step, _)| step.to_string()).collect()
}

/// A round that is being drawn.
struct Drawn<'a> {
    view: &'a PlanView,
    input: &'a Input,
    /// Steps whose number a later one may use.
    sources: Vec<String>,
    /// Steps of this round that a later one may wait for.
    free: Vec<String>,
    children: u64,
}

impl Drawn<'_> {
    fn step(&mut self, random: &mut Random, place: u64) -> Step {
        let (round, before) = (self.view.round, self.free.len());
        let mut step = if random.percent(8) && self.may_delegate() {
            self.child(random, place)
        } else if random.percent(10) {
            let id = format!("nap-{round}-{place}");
            self.free.push(id.clone());
            Step::timer(id, Duration::from_millis(random.below(150)))
        } else {
            self.call(random, place)
        };
        if random.percent(45)
            && let Some(earlier) = random.pick(&self.free[..before])
        {
            step = step.after([earlier.as_str()]);
        }
        if random.percent(45) { step.may_fail() } else { step }
    }

    /// Whether one more step may be left to a child.
    fn may_delegate(&self) -> bool {
        self.children == 0 && self.input.depth() < DEEPEST
    }

    /// A step that is left to a child, some with a few tools only, some with little time.
    fn child(&mut self, random: &mut Random, place: u64) -> Step {
        let id = format!("kid-{}-{place}", self.view.round);
        let mut of = Delegate::to_planner(PLANNER, json!(self.input.below(&id)));
        if random.percent(30) {
            of = of.tools(self.kinds().iter().filter(|kind| !kind.held).map(|kind| kind.name));
        }
        self.children += 1;
        self.sources.push(id.clone());
        self.free.push(id.clone());
        let step = Step::child(id, of);
        if random.percent(15) { step.attempt_deadline(Duration::from_millis(400)) } else { step }
    }

    /// What the turn may call.
    fn kinds(&self) -> Vec<Kind> {
        let shown = |kind: &&Kind| self.view.tools.iter().any(|tool| tool.name.as_str() == kind.name);
        KINDS.iter().filter(shown).copied().collect()
    }

    fn call(&mut self, random: &mut Random, place: u64) -> Step {
        let kind = random.pick(&self.kinds()).copied().unwrap_or(KINDS[0]);
        let Kind { name, held, .. } = kind;
        let id = format!("{name}-{}-{place}", self.view.round);
        let refuse = random.percent(6);
        let step = Step::tool(&id, name, work(random, &self.sources, refuse));
        // Nothing comes after what is held back.
        if !held {
            self.sources.push(id.clone());
            self.free.push(id);
        }
        step
    }
}

/// What a tool is given: a number of its own, and those of at most two steps.
fn work(random: &mut Random, sources: &[String], refuse: bool) -> Template {
    let mut of = Vec::new();
    for _ in 0..2 {
        if random.percent(40)
            && let Some(step) = random.pick(sources)
        {
            of.push(from(step, "/n"));
        }
    }
    Template::object([
        ("own", Template::from(random.below(1 << 40))),
        ("of", Template::list(of)),
        ("refuse", Template::from(refuse)),
    ])
}
