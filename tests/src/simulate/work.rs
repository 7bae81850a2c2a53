//! What a turn does. Most turns are scenarios of the crash harness, whose outcome is known beforehand; the others are
//! wild: anything may come of them that the promises allow.

use std::time::Duration;

use agent_shell_core::data::{PlanBuilder, PlanError, Prompt, Retry};
use agent_shell_core::{Plan, Step, Template, from};
use serde_json::{Value, json};

use super::talking::Talk;
use super::undoing;
use crate::crash::scenario::{Act, Scenario, ToolKind, TurnKey};
use crate::random::Random;

/// A turn of a run.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// With a known outcome.
    Drawn(Scenario),
    /// With any outcome.
    Wild(Wild),
    /// Planned by a model.
    Talk(Talk),
}

/// A turn of which only the promises are known.
#[derive(Clone, Debug)]
pub(super) struct Wild {
    pub(super) key: TurnKey,
    rounds: Vec<Vec<WildStep>>,
    pub(super) ends: WildEnd,
    /// When it must have ended.
    pub(super) deadline: Option<Duration>,
    /// Whether an operator gives it up when it rests, if it does.
    pub(super) abandoned: bool,
}

/// How its planner ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WildEnd {
    /// There is no planner: the plan comes with the turn.
    Fixed,
    /// With the last round.
    Whole,
    /// With an answer.
    Answer,
    /// By an error, in the last round.
    Error,
    /// By a panic.
    Panic,
    /// By not coming back.
    Hang,
}

#[derive(Clone, Debug)]
struct WildStep {
    id: String,
    act: WildAct,
    after: Vec<String>,
    of: Vec<String>,
    lock: bool,
    may_fail: bool,
}

#[derive(Clone, Debug)]
enum WildAct {
    Tool {
        name: &'static str,
        attempts: u32,
        attempt_ms: Option<u64>,
        refuse: bool,
        own: u64,
    },
    /// An input that can't be made.
    Unresolved,
    /// An input that the tool does not take.
    Invalid,
    Timer {
        ms: u64,
    },
    Signal {
        expires_ms: u64,
    },
    Approval {
        expires_ms: Option<u64>,
    },
    /// A question alone.
    Question,
}

/// Tools that only wild turns call, beside those of the scenarios: a `Pure` one that asks first, and an idempotent one
/// whose target soon forgets.
pub(super) const PEEK: &str = "peek";
pub(super) const STAMP: &str = "stamp";

/// From this number of their own on, calls of wild turns are refused each time, as if it were worth trying again.
pub(super) const FLAKY: u64 = 5_000;

const TOOLS: [&str; 14] = [
    "look", "look", "put", "book", "book", "book", "send", "pay", "wire", "publish", PEEK, PEEK, STAMP, STAMP,
];

impl Work {
    pub(super) fn draw(seed: u64, key: TurnKey) -> Self {
        let mut random = Random::of(&[seed, key.session, key.number, 0x301d]);
        if Talk::is_in(seed, key.session) && random.percent(75) {
            Self::Talk(Talk::draw(&mut random, key))
        } else if random.percent(60) {
            Self::Drawn(Scenario::draw(seed, key))
        } else {
            Self::Wild(Wild::draw(&mut random, key))
        }
    }

    /// The plan that comes with the turn; none when the planner makes it.
    pub(super) fn fixed(&self) -> Option<Result<Plan, PlanError>> {
        match self {
            Self::Drawn(scenario) => (!scenario.planned).then(|| scenario.plan(0)),
            Self::Wild(wild) => (wild.ends == WildEnd::Fixed).then(|| wild.plan(0)),
            Self::Talk(_) => None,
        }
    }

    /// When it must have ended.
    pub(super) fn deadline(&self) -> Option<Duration> {
        match self {
            Self::Drawn(_) => None,
            Self::Wild(wild) => wild.deadline,
            Self::Talk(talk) => talk.deadline,
        }
    }

    /// Whether an operator gives it up when it rests, if it does.
    pub(super) fn is_abandoned(&self) -> bool {
        match self {
            Self::Drawn(_) => false,
            Self::Wild(wild) => wild.abandoned,
            Self::Talk(talk) => talk.abandoned,
        }
    }

    /// The signals that its steps wait for: name, dedupe key, payload.
    pub(super) fn signals(&self) -> Vec<(String, Value)> {
        match self {
            Self::Drawn(scenario) => {
                let signals =
                    (0..scenario.steps.len()).filter(|&place| scenario.steps[place].act == Act::Signal);
                signals
                    .map(|place| (scenario.signal_name(place), json!({ "n": scenario.signal_number(place) })))
                    .collect()
            }
            Self::Wild(wild) => {
                let steps = wild.rounds.iter().flatten();
                let signals = steps.filter(|step| matches!(step.act, WildAct::Signal { .. }));
                signals.map(|step| (wild.signal_name(&step.id), json!({ "n": 1 }))).collect()
            }
            Self::Talk(_) => Vec::new(),
        }
    }
}

impl Wild {
    fn draw(random: &mut Random, key: TurnKey) -> Self {
        let ends = match random.below(12) {
            0..5 => WildEnd::Fixed,
            5..7 => WildEnd::Whole,
            7..9 => WildEnd::Answer,
            9 => WildEnd::Error,
            10 => WildEnd::Panic,
            _ => WildEnd::Hang,
        };
        let count = if ends == WildEnd::Fixed { 1 } else { 1 + random.below(2) };
        let mut earlier: Vec<String> = Vec::new();
        let mut rounds = Vec::new();
        for round in 0..count {
            let mut steps: Vec<WildStep> = Vec::new();
            for nth in 0..1 + random.below(5) {
                let step = WildStep::draw(random, format!("w{round}-{nth}"), &earlier, &steps);
                steps.push(step);
            }
            earlier.extend(steps.iter().filter(|step| step.may_be_needed()).map(|step| step.id.clone()));
            rounds.push(steps);
        }
        let deadline = random.percent(25).then(|| Duration::from_millis(100 + random.below(3_000)));
        Self { key, rounds, ends, deadline, abandoned: random.percent(20) }
    }

    pub(super) fn rounds(&self) -> usize {
        self.rounds.len()
    }

    fn signal_name(&self, step: &str) -> String {
        format!("{}-{step}", self.key)
    }

    fn plan(&self, round: usize) -> Result<Plan, PlanError> {
        self.draft(round).build()
    }

    pub(super) fn draft(&self, round: usize) -> PlanBuilder {
        let earlier = self.rounds[..round].iter().flatten();
        let earlier = earlier.filter_map(|step| agent_shell_core::words::StepId::new(&step.id).ok());
        let mut plan = Plan::builder().earlier(earlier);
        for step in &self.rounds[round] {
            plan = plan.step(self.step(step));
        }
        plan
    }

    fn step(&self, step: &WildStep) -> Step {
        let made = match &step.act {
            WildAct::Tool { name, attempts, attempt_ms, refuse, own } => {
                let input = Template::object([
                    ("own", Template::from(*own)),
                    ("of", Template::list(step.of.iter().map(|of| from(of, "/n")))),
                    ("refuse", Template::from(*refuse)),
                ]);
                let retry = Retry { attempts: *attempts, base_ms: 20, max_ms: 100 };
                let made = Step::tool(&step.id, name, input).retry(retry);
                match attempt_ms {
                    Some(ms) => made.attempt_deadline(Duration::from_millis(*ms)),
                    None => made,
                }
            }
            WildAct::Unresolved => {
                Step::tool(&step.id, "put", Template::object([("own", agent_shell_core::input("/nothing"))]))
            }
            WildAct::Invalid => {
                Step::tool(&step.id, "put", Template::object([("own", Template::from("text"))]))
            }
            WildAct::Timer { ms } => Step::timer(&step.id, Duration::from_millis(*ms)),
            WildAct::Signal { expires_ms } => {
                Step::signal(&step.id, self.signal_name(&step.id)).expires(Duration::from_millis(*expires_ms))
            }
            WildAct::Approval { expires_ms } => {
                let made = Step::approval(&step.id, json!({ "step": step.id }));
                match expires_ms {
                    Some(ms) => made.expires(Duration::from_millis(*ms)),
                    None => made,
                }
            }
            WildAct::Question => Step::ask(
                &step.id,
                "default",
                Prompt::new("You are asked alone."),
                agent_shell_core::input(""),
            ),
        };
        let made = made.after(&step.after);
        let made = if step.may_fail { made.may_fail() } else { made };
        if step.lock { made.lock("left") } else { made }
    }
}

impl WildStep {
    /// Whether others may depend on it: nothing may depend on a held step.
    fn may_be_needed(&self) -> bool {
        !matches!(self.act, WildAct::Tool { name, .. } if name == ToolKind::Publish.name())
    }

    fn gives_number(&self) -> bool {
        self.may_be_needed() && matches!(self.act, WildAct::Tool { .. } | WildAct::Signal { .. })
    }

    fn draw(random: &mut Random, id: String, earlier: &[String], steps: &[Self]) -> Self {
        let act = match random.below(21) {
            0..13 => WildAct::Tool {
                name: match random.percent(45) {
                    true => undoing::TOOLS[random.below(undoing::TOOLS.len() as u64) as usize],
                    false => TOOLS[random.below(TOOLS.len() as u64) as usize],
                },
                attempts: [1, 1, 2, 3][random.below(4) as usize],
                attempt_ms: random.percent(40).then(|| 30 + random.below(400)),
                refuse: random.percent(7),
                own: random.below(1000) + if random.percent(12) { FLAKY } else { 0 },
            },
            13 => WildAct::Unresolved,
            14 => WildAct::Invalid,
            15..17 => WildAct::Timer { ms: random.below(800) },
            17 => WildAct::Signal { expires_ms: 50 + random.below(4_000) },
            20 => WildAct::Question,
            _ => WildAct::Approval { expires_ms: random.percent(60).then(|| 50 + random.below(3_000)) },
        };
        let needed: Vec<&Self> = steps.iter().filter(|step| step.may_be_needed()).collect();
        let mut after = Vec::new();
        if random.percent(30) {
            after.extend(random.pick(&needed).map(|step| step.id.clone()));
        }
        if random.percent(20) {
            after.extend(random.pick(earlier).cloned());
        }
        let giving: Vec<&Self> = steps.iter().filter(|step| step.gives_number()).collect();
        let mut of = Vec::new();
        if matches!(act, WildAct::Tool { .. }) && random.percent(35) {
            of.extend(random.pick(&giving).map(|step| step.id.clone()));
        }
        Self { id, act, after, of, lock: random.percent(15), may_fail: random.percent(25) }
    }
}
