//! A turn as the runtime is given it.

use std::time::Duration;

use agent_shell_core::data::{PlanBuilder, PlanError};
use agent_shell_core::{Plan, Step, Template, context, from};

use super::{Act, Fate, Scenario, Source, StepSpec};
use agent_shell_core::words::StepId;

impl Scenario {
    /// The steps of a round, from 0. The last one gives the answer.
    pub(crate) fn plan(&self, round: usize) -> Result<Plan, PlanError> {
        self.draft(round).build()
    }

    /// The same plan as it is being built.
    pub(crate) fn draft(&self, round: usize) -> PlanBuilder {
        let earlier = self.steps.iter().filter(|step| step.round < round);
        let mut plan = Plan::builder().earlier(earlier.filter_map(|step| StepId::new(&step.id).ok()));
        for place in (0..self.steps.len()).filter(|&place| self.steps[place].round == round) {
            plan = plan.step(self.step(place));
        }
        if round + 1 == self.rounds { self.answered(plan) } else { plan }
    }

    fn step(&self, place: usize) -> Step {
        let spec = &self.steps[place];
        let mut step = match spec.act {
            Act::Tool(kind) => Step::tool(&spec.id, kind.name(), self.work(spec)),
            Act::Timer { ms } => Step::timer(&spec.id, Duration::from_millis(ms)),
            Act::Approval => Step::approval(&spec.id, serde_json::json!({ "own": spec.own })),
            Act::Signal => Step::signal(&spec.id, self.signal_name(place)),
        };
        step = step.after(spec.after.iter().map(|&place| self.steps[place].id.as_str()));
        if let Some(lock) = spec.lock {
            step = step.lock(lock);
        }
        spec.writes.iter().fold(step, |step, (key, reducer, part)| step.writes(key, *reducer, *part))
    }

    fn work(&self, spec: &StepSpec) -> Template {
        let of = spec.of.iter().map(|source| match *source {
            Source::Step(place) => from(&self.steps[place].id, "/n"),
            Source::Sum => context("sum"),
        });
        Template::object([
            ("own", Template::from(spec.own)),
            ("of", Template::list(of)),
            ("refuse", Template::from(spec.fate == Fate::Refused)),
        ])
    }

    fn answered(&self, plan: PlanBuilder) -> PlanBuilder {
        let numbers = self.steps.iter().filter(|step| matches!(step.act, Act::Tool(_) | Act::Signal));
        let numbers = Template::object(numbers.map(|step| (step.id.clone(), from(&step.id, "/n"))));
        let keys = ["sum", "max", "min", "set", "trail"].map(|key| (key, context(key)));
        plan.answer(Template::object([("numbers", numbers)].into_iter().chain(keys)))
    }
}
