//! What a turn does. Most turns are scenarios of the crash harness, whose outcome is known beforehand; the others are
//! wild: anything may come of them that the promises allow.

use std::time::Duration;

use agent_shell_core::data::{Ceiling, PlanBuilder, PlanError, Prompt, Retry};
use agent_shell_core::{Plan, Step, Template, from};
use serde_json::{Value, json};

use super::heeding;
use super::nested::{self, Nested};
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
    /// Whether its number is added up in the context.
    adds: bool,
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
    /// A call that heeds what is added up, beside those who add.
    Heed {
        name: &'static str,
        own: u64,
        attempts: u32,
    },
    /// A child.
    Child(Box<Nested>),
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
            let mut wild = Wild::draw(&mut random, key);
            if nested::is_in(seed) && random.percent(75) {
                wild.add_children(&mut random, 0);
            }
            Self::Wild(wild)
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

    /// What a child of it does: the one that these steps lead to.
    pub(super) fn at(&self, path: &[String]) -> Option<Self> {
        match self {
            Self::Wild(wild) => Some(Self::Wild(wild.at(path)?.clone())),
            _ => path.is_empty().then(|| self.clone()),
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
    /// A turn that does nothing but what can be undone, and mostly succeeds.
    pub(super) fn tame(random: &mut Random, key: TurnKey) -> Self {
        let step = |nth: u64, random: &mut Random| WildStep {
            id: format!("w0-{nth}"),
            act: WildAct::Tool {
                name: undoing::TOOLS[random.below(undoing::TOOLS.len() as u64) as usize],
                attempts: 4,
                attempt_ms: None,
                refuse: false,
                own: random.below(1000),
            },
            after: Vec::new(),
            of: Vec::new(),
            lock: random.percent(15),
            may_fail: false,
            adds: false,
        };
        let steps = (0..1 + random.below(3)).map(|nth| step(nth, random)).collect();
        let ends = if random.percent(50) { WildEnd::Fixed } else { WildEnd::Whole };
        Self { key, rounds: vec![steps], ends, deadline: None, abandoned: false }
    }

    /// Lets some steps be children, with others behind them: what these fail for is undone with the child.
    pub(super) fn add_children(&mut self, random: &mut Random, depth: usize) {
        for nth in 0..1 + random.below(2) {
            let round = random.below(self.rounds.len() as u64) as usize;
            let needed: Vec<&WildStep> =
                self.rounds[round].iter().filter(|step| step.may_be_needed()).collect();
            let needed = random.pick(&needed).filter(|_| random.percent(25)).map(|step| step.id.clone());
            let id = format!("c{round}-{nth}");
            let act = WildAct::Child(Box::new(Nested::draw(random, self.key, depth)));
            let child = WildStep {
                id: id.clone(),
                act,
                after: needed.into_iter().collect(),
                of: Vec::new(),
                lock: random.percent(10),
                may_fail: random.percent(40),
                adds: false,
            };
            self.rounds[round].push(child);
            if random.percent(50) {
                let mut behind = WildStep::draw(random, format!("b{round}-{nth}"), &[], &[]);
                behind.after = vec![id];
                self.rounds[round].push(behind);
            }
        }
    }

    /// The child that these steps lead to.
    fn at(&self, path: &[String]) -> Option<&Self> {
        let Some((first, rest)) = path.split_first() else { return Some(self) };
        self.child(first)?.work.at(rest)
    }

    /// The child of a step.
    fn child(&self, step: &str) -> Option<&Nested> {
        self.rounds.iter().flatten().find_map(|known| match &known.act {
            WildAct::Child(child) if known.id == step => Some(&**child),
            _ => None,
        })
    }

    /// What a child may spend: the one that these steps lead to.
    pub(super) fn budget_at(&self, path: &[String]) -> Option<Ceiling> {
        let (last, above) = path.split_last()?;
        self.at(above)?.child(last)?.budget
    }

    /// The tools that its steps call, and those that it lets children call.
    pub(super) fn tools(&self) -> Vec<String> {
        let mut tools = Vec::new();
        for step in self.rounds.iter().flatten() {
            match &step.act {
                WildAct::Tool { name, .. } => tools.push((*name).to_owned()),
                WildAct::Unresolved | WildAct::Invalid => tools.push("put".to_owned()),
                WildAct::Child(child) => tools.extend(child.needs()),
                _ => {}
            }
        }
        tools
    }

    pub(super) fn draw(random: &mut Random, key: TurnKey) -> Self {
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
        let abandoned = random.percent(20);
        for (round, steps) in rounds.iter_mut().enumerate() {
            if random.percent(40) {
                WildStep::heeding(random, round, steps);
            }
        }
        Self { key, rounds, ends, deadline, abandoned }
    }

    pub(super) fn rounds(&self) -> usize {
        self.rounds.len()
    }

    fn signal_name(&self, step: &str) -> String {
        format!("{}-{step}", self.key)
    }

    fn plan(&self, round: usize) -> Result<Plan, PlanError> {
        self.plan_at(round, &[])
    }

    /// The plan of a round, where these steps lead to the turn.
    pub(super) fn plan_at(&self, round: usize, path: &[String]) -> Result<Plan, PlanError> {
        self.draft(round, path).build()
    }

    /// The same, to be added to.
    pub(super) fn draft(&self, round: usize, path: &[String]) -> PlanBuilder {
        let earlier = self.rounds[..round].iter().flatten();
        let earlier = earlier.filter_map(|step| agent_shell_core::words::StepId::new(&step.id).ok());
        let mut plan = Plan::builder().earlier(earlier);
        for step in &self.rounds[round] {
            plan = plan.step(self.step(step, path));
        }
        plan
    }

    fn step(&self, step: &WildStep, path: &[String]) -> Step {
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
            WildAct::Heed { name, own, attempts } => {
                let retry = Retry { attempts: *attempts, base_ms: 20, max_ms: 100 };
                heeding::step(&step.id, name, *own).retry(retry)
            }
            WildAct::Question => Step::ask(
                &step.id,
                "default",
                Prompt::new("You are asked alone."),
                agent_shell_core::input(""),
            ),
            WildAct::Child(child) => child.step(self.key, &[path, std::slice::from_ref(&step.id)].concat()),
        };
        let made = if step.adds { heeding::adds(made) } else { made };
        let made = made.after(&step.after);
        let made = if step.may_fail { made.may_fail() } else { made };
        if step.lock { made.lock("left") } else { made }
    }
}

impl WildStep {
    /// Lets steps of a round add up their numbers, and others heed the sum beside them.
    fn heeding(random: &mut Random, round: usize, steps: &mut Vec<Self>) {
        for step in steps.iter_mut().filter(|step| matches!(step.act, WildAct::Tool { .. })) {
            step.adds = random.percent(70);
        }
        for nth in 0..1 + random.below(3) {
            let act = WildAct::Heed {
                name: heeding::TOOLS[usize::from(random.percent(30))],
                own: random.below(1000),
                attempts: 1 + random.below(4) as u32,
            };
            let (may_fail, adds, id) = (random.percent(50), random.percent(70), format!("h{round}-{nth}"));
            steps.push(Self { id, act, after: Vec::new(), of: Vec::new(), lock: false, may_fail, adds });
        }
    }

    /// Whether others may depend on it: nothing may depend on a held step.
    fn may_be_needed(&self) -> bool {
        !matches!(self.act, WildAct::Tool { name, .. } if name == ToolKind::Publish.name())
    }

    fn gives_number(&self) -> bool {
        let is_call = matches!(self.act, WildAct::Tool { .. } | WildAct::Heed { .. });
        self.may_be_needed() && (is_call || matches!(self.act, WildAct::Signal { .. }))
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
        Self { id, act, after, of, lock: random.percent(15), may_fail: random.percent(25), adds: false }
    }
}
