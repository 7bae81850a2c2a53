//! One run: processes are started, killed, stopped and started again, one poll after another, as the seed draws it.

mod birth;
mod trouble;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agent_shell_core::backends::volatile::{VolatileKeys, VolatileStore};
use agent_shell_core::ports::{Reach, Spawn, Store};
use agent_shell_core::simulation::{
    Crashes, Executor, FaultCounts, Faults, Group, Progress, SeededEntropy, SimClock, SimTime,
};
use agent_shell_core::words::Entropy;

use super::bugs::{self, Bug};
use super::coverage::Coverage;
use super::events::{BusKind, SimBus};
use super::rule::{Breach, Rule};
use super::settings::Settings;
use super::truth::Truth;
use super::watched::watched;

/// For how long everything may take to come to its end once nothing goes wrong any more.
const CALM: Duration = Duration::from_secs(240);
/// Polls of a whole run; more are a loop that lets no time pass.
const MOST_POLLS: u64 = 6_000_000;
/// How long the world goes on when all turns have ended: late acts are still to come.
const AFTERMATH: Duration = Duration::from_secs(3);

/// What came of a run.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Every broken promise; empty if all is well. A run stops at the first.
    pub breaches: Vec<Breach>,
    /// What was reached.
    pub coverage: Coverage,
    /// The bytes of all records.
    pub journals: Vec<u8>,
    /// How many records there are.
    pub records: u64,
    /// How often a task was polled.
    pub polls: u64,
    /// How long the run lasted, in its own time.
    pub lasted: Duration,
    /// What happened, if that was asked for.
    pub trace: Vec<String>,
}

impl Outcome {
    /// Finds it a breach when another run of the same seed was another run.
    pub(super) fn compare(&mut self, again: &Self) {
        let Self { journals, polls, lasted, .. } = self;
        if (&again.journals, &again.polls, &again.lasted) != (journals, polls, lasted) {
            let what = format!("the same seed ran {polls} polls, and then {} polls", again.polls);
            self.breaches.push(Breach::new(Rule::Trouble, self.lasted, what));
        }
    }
}

/// Runs a seed, with a deliberate fault or without. With `trace` what happens is kept, to be read.
pub fn simulate(seed: u64, bug: Option<Bug>, trace: bool) -> Outcome {
    let mut run = Run::new(Settings::draw(seed, bug));
    if trace {
        run.truth.keep_trace();
        let settings = format!("{:?}", run.truth.settings());
        run.truth.tell(|| settings);
    }
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run.go())) {
        let text =
            panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        run.truth.say(Rule::Trouble, format!("a panic: {}", text.unwrap_or("without a message")));
    }
    run.outcome()
}

struct Run {
    truth: Truth,
    time: SimTime,
    entropy: SeededEntropy,
    executor: Executor,
    server: Group,
    store: Store,
    keys: Arc<VolatileKeys>,
    crashes: Crashes,
    counts: Arc<Mutex<FaultCounts>>,
    /// The bus that all processes have, where they have one.
    bus: Option<SimBus>,
    processes: Vec<Process>,
    by_group: BTreeMap<Group, usize>,
    polls: u64,
}

/// A process, which lives again and again.
#[derive(Default)]
struct Process {
    life: Option<Life>,
    lives: u64,
    /// When it begins to live again.
    rises: Duration,
}

struct Life {
    group: Group,
    clock: SimClock,
    /// How far its wall time is off.
    off_ms: i64,
    faults: Arc<Faults>,
    /// Until when it is cut off from the store.
    cut_until: Option<Duration>,
    is_over: Arc<AtomicBool>,
}

impl Run {
    fn new(settings: Settings) -> Self {
        let time = SimTime::default();
        let seed = settings.seed;
        let mut executor = Executor::new(time.clone(), SeededEntropy::of(&[seed, 0xe8ec]));
        let server = executor.group();
        let spawner: Arc<dyn Spawn> = executor.spawner(server);
        let keys = Arc::new(VolatileKeys::new());
        let bug = settings.bug;
        let mut processes = Vec::new();
        processes.resize_with(settings.owners as usize, Process::default);
        let truth = Truth::new(time.clone(), settings, keys.clone(), spawner.clone());
        let store = VolatileStore::store(Arc::new(SimClock::new(time.clone(), 0)));
        let store = match bug {
            Some(bug) if bug.is_of_store() => {
                watched(bugs::faulty(store, bug, time.clone(), spawner), truth.clone())
            }
            Some(bug) => bugs::faulty(watched(store, truth.clone()), bug, time.clone(), spawner),
            None => watched(store, truth.clone()),
        };
        let clock = SimClock::new(time.clone(), 0);
        let is_shared = truth.settings().bus == BusKind::Shared;
        let bus = is_shared.then(|| SimBus::new(&truth, clock, Reach::Everywhere));
        Self {
            truth,
            time,
            entropy: SeededEntropy::of(&[seed, 0xd1ce]),
            executor,
            server,
            store,
            keys,
            crashes: Crashes::default(),
            counts: Arc::default(),
            bus,
            processes,
            by_group: BTreeMap::new(),
            polls: 0,
        }
    }

    fn go(&mut self) {
        let storm = self.truth.settings().storm;
        let mut done_at = None;
        loop {
            self.raise();
            let progress = self.executor.step();
            for group in self.crashes.take() {
                self.dies(group, "at a call of a port");
            }
            match progress {
                Progress::Polled(group) => {
                    self.polls += 1;
                    if !self.truth.is_calm() {
                        self.trouble(group);
                    }
                }
                Progress::Passed => self.look_around(storm, &mut done_at),
                Progress::Still => break,
            }
            let is_over = done_at.is_some_and(|at| self.time.now() >= at + AFTERMATH);
            if self.truth.is_broken() || is_over || self.time.now() > storm + CALM || self.polls > MOST_POLLS
            {
                break;
            }
        }
        if !self.truth.is_broken() {
            self.truth.check_end(done_at.is_some());
        }
    }

    /// Time has passed.
    fn look_around(&mut self, storm: Duration, done_at: &mut Option<Duration>) {
        for index in 0..self.processes.len() {
            let is_over = |life: &Life| life.is_over.load(Ordering::Relaxed);
            if self.processes[index].life.as_ref().is_some_and(is_over) {
                self.end(index);
            }
        }
        let now = self.time.now();
        for life in self.processes.iter_mut().filter_map(|process| process.life.as_mut()) {
            if life.cut_until.take_if(|until| *until <= now).is_some() {
                life.faults.cut_off(false);
            }
        }
        if !self.truth.is_calm() && now >= storm {
            self.truth.tell(|| "from here on nothing goes wrong".to_owned());
            self.truth.calm_down();
            self.processes
                .iter()
                .filter_map(|process| process.life.as_ref())
                .for_each(|life| life.faults.stop());
        }
        if self.truth.is_calm() && done_at.is_none() && self.truth.is_done() {
            *done_at = Some(self.time.now());
        }
    }

    /// Processes that are to live again begin to.
    fn raise(&mut self) {
        for index in 0..self.processes.len() {
            let process = &self.processes[index];
            if process.life.is_none() && process.rises <= self.time.now() {
                self.start(index);
            }
        }
    }

    fn dies(&mut self, group: Group, how: &str) {
        if let Some(&index) = self.by_group.get(&group) {
            self.truth.tell(|| format!("process {index} dies {how}"));
            self.end(index);
        }
    }

    /// A life ends; the next begins a little later.
    fn end(&mut self, index: usize) {
        let Some(life) = self.processes[index].life.take() else { return };
        life.faults.died();
        self.executor.kill(life.group);
        self.by_group.remove(&life.group);
        let lease_ms = self.truth.settings().limits.lease_ms;
        let after = Duration::from_millis(self.entropy.below(lease_ms * 3 / 2));
        self.processes[index].rises = self.time.now() + after;
        // So that time passes up to then, whatever else is going on.
        let waking = self.time.sleep(after);
        self.executor.spawn(self.server, waking);
    }

    fn outcome(mut self) -> Outcome {
        let groups: Vec<Group> = self.by_group.keys().copied().chain([self.server]).collect();
        groups.into_iter().for_each(|group| self.executor.kill(group));
        let (breaches, mut coverage) = self.truth.take();
        coverage.faults = self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Outcome {
            seed: self.truth.settings().seed,
            breaches,
            coverage,
            journals: self.truth.journals(),
            records: self.truth.records(),
            polls: self.polls,
            lasted: self.time.now(),
            trace: self.truth.trace(),
        }
    }
}
