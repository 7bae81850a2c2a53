//! Property tests of the pure machine: random plans, random failures, random orders of completion and random crashes
//! lead to one result, and the state is at every moment what its records fold to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use agent_shell_core::data::{
    Body, EffectClass, GuardPlace, GuardPlaces, GuardRuling, Mail, Outcome, Payload, Plan, PlannerRef,
    Reducer, Resolution, Retry, Step, Template, ToolContract, ToolTerms, Verdict, output,
};
use agent_shell_core::machine::{
    AttemptEnd, Command, Entry, Env, Event, Folded, Live, Phase, PlanAnswer, fold, next_wake, owed, react,
    status,
};
use agent_shell_core::ports::{ProbeAnswer, SessionStatus};
use agent_shell_core::words::{
    Epoch, Limits, MailId, Pseudonym, Seq, SessionId, Timestamp, ToolName, TurnId,
};
use serde_json::{Value, json};

/// SplitMix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators").
struct Random(u64);

/// An owner in which nothing else is suspected of ending the process.
fn apart() -> Live {
    Live { apart: true, ..Live::default() }
}

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn chance(&mut self, of_a_hundred: usize) -> bool {
        self.below(100) < of_a_hundred
    }
}

/// What the tools of a run do, whatever the order: fixed by the seed of the plan.
struct World {
    /// How often each step fails before it succeeds, and how.
    failures: BTreeMap<String, (u32, bool)>,
    /// The step that never succeeds.
    hopeless: Option<String>,
}

fn classes() -> [(&'static str, EffectClass); 4] {
    [
        ("pure", EffectClass::Pure),
        ("idempotent", EffectClass::Idempotent),
        ("probed", EffectClass::Probed),
        ("irreversible", EffectClass::Irreversible),
    ]
}

fn guards(seed: u64) -> GuardPlaces {
    let all = GuardPlaces::NONE.with(GuardPlace::BeforeTool).with(GuardPlace::AfterTool);
    if seed.is_multiple_of(2) { all } else { GuardPlaces::NONE }
}

fn terms() -> BTreeMap<ToolName, ToolTerms> {
    let retry = Retry { attempts: 4, base_ms: 10, max_ms: 100 };
    let of = |(name, class): (&str, EffectClass)| {
        let mut contract = ToolContract::new(ToolName::new(name).unwrap(), "", class, json!({}));
        contract.retry = retry;
        (contract.name.clone(), ToolTerms::of(&contract, 1_000))
    };
    classes().into_iter().map(of).collect()
}

fn random_plan(random: &mut Random, may_fail: bool) -> (Plan, World) {
    let count = 1 + random.below(12);
    let mut steps = Vec::new();
    let mut world = World { failures: BTreeMap::new(), hopeless: None };
    for nth in 0..count {
        let id = format!("s{nth}");
        let needed: Vec<Template> =
            (0..nth).filter(|_| random.chance(25)).map(|earlier| output(format!("s{earlier}"))).collect();
        let (tool, _) = classes()[random.below(4)];
        let mut step = Step::tool(&id, tool, Template::object([("from", Template::list(needed))]));
        if random.chance(30) {
            step = step.writes("total", Reducer::Sum, "/number");
        }
        if random.chance(30) {
            step = step.writes("seen", Reducer::Union, "/list");
        }
        if random.chance(20) {
            step = step.lock("one");
        }
        if random.chance(10) {
            step = Step::timer(&id, Duration::from_millis(5));
        }
        if random.chance(10) {
            step = Step::signal(&id, "go");
        }
        if random.chance(40) {
            world.failures.insert(id.clone(), (1 + random.below(2) as u32, random.chance(50)));
        }
        steps.push(step);
    }
    if may_fail {
        world.hopeless = Some(format!("s{}", random.below(count)));
    }
    (Plan::new(steps).unwrap(), world)
}

/// One session driven by the bare machine, in an order that a seed gives.
struct Run<'a> {
    world: &'a World,
    random: Random,
    limits: Limits,
    /// Half of the runs have guards, which allow everything: that changes no result.
    guards: GuardPlaces,
    state: Folded,
    live: Live,
    epoch: Epoch,
    now: Timestamp,
    journal: Vec<Entry>,
    /// What was held after each record.
    held: Vec<Folded>,
    waiting: Vec<Event>,
    applied: BTreeMap<String, u32>,
    keys: BTreeMap<String, BTreeSet<String>>,
    outcome: Option<(Outcome, Option<Value>)>,
    context: BTreeMap<String, Value>,
}

impl<'a> Run<'a> {
    fn new(world: &'a World, seed: u64) -> Self {
        Self {
            world,
            random: Random(seed),
            limits: Limits::default(),
            guards: guards(seed),
            state: Folded::new(SessionId::from_bytes([7; 16])),
            live: apart(),
            epoch: Epoch::new(1),
            now: Timestamp::from_millis(1_000_000),
            journal: Vec::new(),
            held: Vec::new(),
            waiting: Vec::new(),
            applied: BTreeMap::new(),
            keys: BTreeMap::new(),
            outcome: None,
            context: BTreeMap::new(),
        }
    }

    fn take(&mut self, records: Vec<Body>) {
        for body in records {
            if let Some(turn) = &self.state.turn {
                self.context =
                    turn.context.values.iter().map(|(key, value)| (key.to_string(), value.clone())).collect();
            }
            if let Body::TurnEnded { outcome, answer, .. } = &body {
                self.outcome =
                    Some((outcome.clone(), answer.as_ref().map(|answer| (*answer.value()).clone())));
            }
            let (seq, epoch, time) = (self.state.seq.next(), self.epoch, self.now);
            let entry = Entry { seq, epoch, time, actor: Pseudonym::RUNTIME, body };
            fold(&mut self.state, &entry).expect("the machine's own records fold");
            self.journal.push(entry);
            self.held.push(self.state.clone());
            self.a_mark_tells_whether_it_goes_on();
        }
    }

    /// A process may end after any record, and another takes up only what its mark says: a session in which anything
    /// is owed must not look as if it waited.
    fn a_mark_tells_whether_it_goes_on(&self) {
        let live = Live { durable: self.state.seq, ..apart() };
        let mark = status(&self.state, &live);
        let is_due = mark.wake_at.is_some_and(|wake| wake <= self.now);
        if mark.status != SessionStatus::Running && !is_due {
            let env = Env {
                epoch: self.epoch.next(),
                now: self.now,
                heard: self.now,
                limits: &self.limits,
                random: 0,
                guards: self.guards,
                latency: None,
            };
            let owed = owed(&self.state, &live, &env);
            assert!(owed.records.is_empty() && owed.commands.is_empty(), "{mark:?}, and still {owed:?}");
        }
    }

    fn react(&mut self, event: Event) {
        let env = Env {
            epoch: self.epoch,
            now: self.now,
            heard: self.now,
            limits: &self.limits,
            random: self.random.next(),
            guards: self.guards,
            latency: None,
        };
        let records = react(&self.state, event, &env);
        self.take(records);
    }

    /// Folds and commands until nothing more is owed; everything is durable at once.
    fn settle(&mut self, plan: &Plan) {
        loop {
            self.live.durable = self.state.seq;
            let env = Env {
                epoch: self.epoch,
                now: self.now,
                heard: self.now,
                limits: &self.limits,
                random: self.random.next(),
                guards: self.guards,
                latency: None,
            };
            let owed = owed(&self.state, &self.live, &env);
            if !owed.records.is_empty() {
                self.take(owed.records);
                continue;
            }
            let mut again = false;
            for command in owed.commands {
                again |= self.obey(command, plan);
            }
            if !again {
                return;
            }
        }
    }

    fn obey(&mut self, command: Command, plan: &Plan) -> bool {
        match command {
            Command::Plan => {
                let answer = PlanAnswer::Plan {
                    plan: plan.clone(),
                    more: false,
                    terms: terms(),
                    prompts: Default::default(),
                };
                self.react(Event::Planned { dropped: 0, answer: Ok(answer), took: None });
                return true;
            }
            Command::Check { step, input, .. } => {
                self.react(Event::Checked { step, input, problem: None });
                return true;
            }
            Command::Act { step, input, key, attempt, read, .. } => {
                self.live.running.insert(step, attempt);
                let end = self.act(step, &input, &key);
                self.waiting.push(Event::Finished { step, attempt, read, end, took: None });
            }
            Command::Rule { step, place, value, .. } => {
                self.live.running.insert(step, 0);
                let rulings = vec![GuardRuling::new("lax".try_into().unwrap(), Verdict::Allowed, "")];
                self.waiting.push(Event::Ruled { step, place, value, rulings, rewritten: None });
            }
            // No plan here asks a model or has a child, and nobody interrupts.
            Command::Ask { .. } | Command::Delegate { .. } | Command::DropPlan => {}
            Command::Probe { step, .. } => {
                self.live.probing.insert(step);
                let id = self.id(step);
                let answer = if self.random.chance(30) {
                    Err("no answer".into())
                } else if self.applied.contains_key(&id) {
                    Ok(ProbeAnswer::Applied(self.result(step)))
                } else {
                    Ok(ProbeAnswer::NotApplied)
                };
                self.waiting.push(Event::Probed { step, answer });
            }
            Command::Drop { step } => {
                self.live.running.remove(&step);
                self.waiting
                    .retain(|event| !matches!(event, Event::Finished { step: done, .. } if *done == step));
            }
        }
        false
    }

    fn id(&self, place: usize) -> String {
        self.state.turn.as_ref().unwrap().steps[place].step.id.to_string()
    }

    fn result(&self, place: usize) -> Value {
        let turn = self.state.turn.as_ref().unwrap();
        let input = turn.steps[place].input.clone();
        json!({ "number": place, "list": [place % 3], "of": input })
    }

    /// What the world does when a tool is called, and what the tool says.
    fn act(&mut self, place: usize, input: &Arc<Value>, key: &str) -> AttemptEnd {
        let id = self.id(place);
        let class = self.state.turn.as_ref().unwrap().class_of(place);
        self.keys.entry(id.clone()).or_default().insert(key.to_owned());
        if self.world.hopeless.as_ref() == Some(&id) {
            return AttemptEnd::NotApplied { retry: false, reason: "never".into() };
        }
        let tried = self.state.turn.as_ref().unwrap().steps[place].failures;
        let done = json!({ "number": place, "list": [place % 3], "of": input });
        match self.world.failures.get(&id) {
            Some((times, true)) if tried < *times => {
                AttemptEnd::NotApplied { retry: true, reason: "busy".into() }
            }
            Some((times, false)) if tried < *times && class != EffectClass::Irreversible => {
                // Ambiguous: half of the time it took effect all the same.
                if self.random.chance(50) {
                    self.apply(&id, class);
                }
                AttemptEnd::Ambiguous { reason: "cut off".into() }
            }
            _ => {
                self.apply(&id, class);
                AttemptEnd::Succeeded(done)
            }
        }
    }

    fn apply(&mut self, id: &str, class: EffectClass) {
        let times = self.applied.entry(id.to_owned()).or_default();
        // The target of an idempotent or probed tool applies a key once.
        if class == EffectClass::Irreversible || *times == 0 {
            *times += 1;
        }
    }

    /// The process dies and another takes over: only the journal is left.
    fn crash(&mut self) {
        let mut state = Folded::new(self.state.session);
        for entry in &self.journal {
            fold(&mut state, entry).unwrap();
        }
        assert_eq!(state, self.state, "the state is what the records fold to");
        self.state = state;
        self.live = apart();
        self.waiting.clear();
        self.epoch = self.epoch.next();
    }

    /// Resolves what is in doubt by what is true.
    fn resolve(&mut self) -> bool {
        let Some(turn) = self.state.turn.clone() else { return false };
        for &place in &turn.active {
            let Phase::InDoubt { not_applied_from, .. } = &turn.steps[place].phase else { continue };
            self.now = self.now.max(*not_applied_from);
            let step = turn.steps[place].step.id.clone();
            let resolution = match self.applied.contains_key(step.as_str()) {
                true => Resolution::Applied(self.result(place)),
                false => Resolution::Retry,
            };
            let mail = Mail::Resolve { turn: turn.id, step, attempt: None, resolution };
            self.react(Event::Mail { id: MailId::from_bytes([9; 16]), mail, posted: self.now });
            return true;
        }
        false
    }

    /// Sends the signal that a step waits for.
    fn signal(&mut self) -> bool {
        let Some(turn) = &self.state.turn else { return false };
        let waits = turn.active.iter().any(|&place| matches!(turn.steps[place].phase, Phase::Waiting(_)));
        if waits {
            let mail = Mail::Signal {
                name: "go".try_into().unwrap(),
                payload: json!({ "number": 1, "list": [1] }).into(),
            };
            self.react(Event::Mail { id: MailId::from_bytes([7; 16]), mail, posted: self.now });
        }
        waits
    }

    fn run(mut self, plan: &Plan, crashes: bool) -> Self {
        let mail = Mail::Submit {
            turn: TurnId::from_bytes([3; 16]),
            input: Payload::from(json!(null)),
            planner: PlannerRef::Fixed(plan.clone()),
            by_default: false,
            deadline: None,
            wants: None,
            budget: None,
            untrusted: false,
        };
        self.react(Event::Mail { id: MailId::from_bytes([8; 16]), mail, posted: self.now });
        for _ in 0..10_000 {
            self.settle(plan);
            if self.state.turn.is_none() {
                return self;
            }
            if crashes && self.random.chance(15) {
                self.crash();
                continue;
            }
            if !self.waiting.is_empty() {
                let chosen = self.random.below(self.waiting.len());
                let event = self.waiting.swap_remove(chosen);
                match &event {
                    Event::Finished { step, .. } | Event::Ruled { step, .. } => {
                        self.live.running.remove(step);
                    }
                    Event::Probed { step, .. } => drop(self.live.probing.remove(step)),
                    _ => {}
                }
                self.react(event);
            } else if let Some(wake) = next_wake(&self.state, &self.live) {
                self.now = self.now.max(wake);
            } else if !self.resolve() && !self.signal() {
                panic!("the turn neither runs nor rests: {:?}", self.state.turn);
            }
        }
        panic!("the turn does not end");
    }
}

fn seeds() -> impl Iterator<Item = u64> {
    let first = std::env::var("AGENT_SHELL_SEED").ok().and_then(|seed| seed.parse().ok());
    let count = if first.is_some() { 1 } else { 300 };
    let start = first.unwrap_or(1);
    start..start + count
}

/// Says which seed failed and how to replay it.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay with AGENT_SHELL_SEED={}", self.0);
        }
    }
}

#[test]
fn the_result_does_not_depend_on_the_order_of_completion() {
    for seed in seeds() {
        let _named = Named(seed);
        let (plan, world) = random_plan(&mut Random(seed), false);
        let first = Run::new(&world, 1).run(&plan, false);
        assert!(matches!(first.outcome, Some((Outcome::Answered(_), _))), "{:?}", first.outcome);
        for order in 2..6 {
            let other = Run::new(&world, order).run(&plan, order % 2 == 1);
            assert_eq!(first.outcome, other.outcome, "one plan, one answer");
            assert_eq!(first.context, other.context, "one plan, one context");
        }
    }
}

#[test]
fn no_effect_happens_twice_and_every_repeat_bears_its_key() {
    for seed in seeds() {
        let _named = Named(seed);
        let (plan, world) = random_plan(&mut Random(seed), seed % 2 == 0);
        let run = Run::new(&world, seed).run(&plan, true);
        for (step, times) in &run.applied {
            let place = step[1..].parse::<usize>().unwrap();
            let pure = matches!(&plan.steps()[place].action, agent_shell_core::data::Action::Tool { name, .. } if name.as_str() == "pure");
            assert!(pure || *times == 1, "{step} was applied {times} times");
        }
        for (step, keys) in &run.keys {
            assert_eq!(keys.len(), 1, "{step} was called under {keys:?}");
        }
    }
}

#[test]
fn a_turn_with_a_hopeless_step_fails_and_starts_nothing_after() {
    for seed in seeds() {
        let _named = Named(seed);
        let (plan, world) = random_plan(&mut Random(seed), true);
        let run = Run::new(&world, seed).run(&plan, seed % 2 == 0);
        let hopeless = world.hopeless.as_deref().unwrap();
        let is_timer =
            plan.steps().iter().any(|step| step.id.as_str() == hopeless && step.template().is_none());
        let failed = matches!(run.outcome, Some((Outcome::Failed(_), _)));
        assert_eq!(failed, !is_timer, "{:?}", run.outcome);
        let failed_at = run.journal.iter().position(|entry| matches!(entry.body, Body::StepFailed { .. }));
        if let Some(failed_at) = failed_at {
            let first_attempts = run.journal[failed_at..]
                .iter()
                .filter(|entry| matches!(&entry.body, Body::StepStarted { attempt: 1, .. }));
            assert_eq!(first_attempts.count(), 0, "nothing new starts once a step has failed");
        }
    }
}

#[test]
fn every_prefix_of_a_journal_folds() {
    for seed in seeds() {
        let _named = Named(seed);
        let (plan, world) = random_plan(&mut Random(seed), seed % 3 == 0);
        let run = Run::new(&world, seed).run(&plan, true);
        let mut state = Folded::new(run.state.session);
        for (nth, (entry, held)) in run.journal.iter().zip(&run.held).enumerate() {
            fold(&mut state, entry).unwrap();
            assert_eq!(state.seq, Seq::new(nth as u64 + 1));
            assert_eq!(state, *held, "what was held after record {} is what the records fold to", nth + 1);
        }
        assert_eq!(run.journal.len(), run.held.len());
    }
}

#[test]
fn waits_that_end_together_share_nothing() {
    // Two steps wait for one signal and count it in one key; two came early. Two timers fall due at once.
    let wait = |id: &str| Step::signal(id, "paid").writes("sum", Reducer::Sum, "/cents");
    let nap = |id: &str| Step::timer(id, Duration::from_millis(5)).writes("late", Reducer::Sum, "/late_ms");
    let plan = Plan::new([wait("a"), wait("b"), nap("x"), nap("y")]).unwrap();
    let world = World { failures: BTreeMap::new(), hopeless: None };
    let mut run = Run::new(&world, 1);
    for cents in [1, 2] {
        let payload = Payload::from(json!({ "cents": cents }));
        let mail = Mail::Signal { name: "paid".try_into().unwrap(), payload };
        run.react(Event::Mail { id: MailId::from_bytes([1; 16]), mail, posted: run.now });
    }
    let mail = Mail::Submit {
        turn: TurnId::from_bytes([3; 16]),
        input: Payload::from(json!(null)),
        planner: PlannerRef::Fixed(plan.clone()),
        by_default: false,
        deadline: None,
        wants: None,
        budget: None,
        untrusted: false,
    };
    run.react(Event::Mail { id: MailId::from_bytes([8; 16]), mail, posted: run.now });
    run.settle(&plan);
    assert_eq!(run.state.turn.as_ref().unwrap().ended, 2, "both signals were taken");
    run.now = run.now.plus(Duration::from_millis(12));
    run.settle(&plan);
    assert!(run.state.turn.is_none() && run.state.signals.is_empty());
    assert_eq!(run.context["sum"], json!(3), "each step took a signal of its own");
    assert_eq!(run.context["late"], json!(14), "both timers count");
    assert!(matches!(run.outcome, Some((Outcome::Answered(_), Some(answer))) if answer["a"] != answer["b"]));
}
