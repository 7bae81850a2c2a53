//! How a life of a process begins: its clock, its ports, what goes wrong with them, and its host.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use agent_shell_core::ShellBuilder;
use agent_shell_core::ports::{Bus, KeyStore, Marks, Reach};
use agent_shell_core::runtime::Ports;
use agent_shell_core::simulation::{Faults, SeededEntropy, SimClock, UnreliableStore};
use agent_shell_core::words::Entropy;

use super::{Life, Run};
use crate::simulate::bugs::Bug;
use crate::simulate::bugs_events::KeptKeys;
use crate::simulate::bugs_guards;
use crate::simulate::bugs_talk;
use crate::simulate::events::{BusKind, GROUPS, SimBus, consumer};
use crate::simulate::host::{Host, PLANNER};
use crate::simulate::model::SimModel;
use crate::simulate::planner::Drawn;
use crate::simulate::settings::Settings;
use crate::simulate::steering::Seen;
use crate::simulate::talking::{LoopSpec, Talk, VARIANTS, planner_name};
use crate::simulate::tools;
use crate::simulate::truth::{LifeId, OfLife, Truth};

impl Run {
    /// Begins the next life of a process.
    pub(super) fn start(&mut self, index: usize) {
        let settings = self.truth.settings().clone();
        self.processes[index].lives += 1;
        let lives = self.processes[index].lives;
        let parts = [settings.seed, 0x11fe, index as u64, lives];
        let entropy = |of: u64| SeededEntropy::of(&[parts[0], parts[1], parts[2], parts[3], of]);
        let group = self.executor.group();
        let off_ms = if settings.clocks_jump { self.entropy.below(4_000) as i64 - 2_000 } else { 0 };
        let clock = SimClock::new(self.time.clone(), off_ms);
        let faults = Arc::new(Faults::new(entropy(1), settings.rates.clone(), self.counts.clone()));
        if self.truth.is_calm() {
            faults.stop();
        }
        let keys: Arc<dyn KeyStore> = match settings.bug {
            Some(Bug::KeysKept) => Arc::new(KeptKeys(self.keys.clone())),
            _ => self.keys.clone(),
        };
        let server = self.executor.spawner(self.server);
        let unreliable = UnreliableStore::new(
            (self.store.clone(), keys),
            (group, server),
            self.time.clone(),
            faults.clone(),
            self.crashes.clone(),
        );
        let spawn = self.executor.spawner(group);
        let ports = Ports {
            store: unreliable.store(),
            keys: unreliable.keys(),
            clock: Arc::new(clock.clone()),
            entropy: Arc::new(entropy(2)),
            spawn: spawn.clone(),
        };
        let is_over = Arc::new(AtomicBool::new(false));
        let shuts_down = (self.entropy.below(100) < settings.shutdowns)
            .then(|| Duration::from_millis(self.entropy.below(6_000)));
        let life = (index, lives);
        let host = Host {
            life,
            truth: self.truth.clone(),
            time: self.time.clone(),
            clock: clock.clone(),
            entropy: Arc::new(entropy(3)),
            spawn,
            shuts_down,
            is_over: is_over.clone(),
        };
        let events = self.events_of(life, &unreliable, &clock);
        let (truth, tools_clock) = (self.truth.clone(), clock.clone());
        let builder = move || {
            let ports = ports.clone();
            let drawn = Drawn { seed: truth.settings().seed, truth: truth.clone() };
            let drawn = Seen { truth: truth.clone(), inner: drawn };
            let builder = ShellBuilder::new(async move { Ok(ports) });
            let builder = builder.limits(truth.settings().limits.clone()).named_planner(PLANNER, drawn);
            let builder = builder.observed_by(Arc::new(OfLife { truth: truth.clone(), life }));
            let builder = events.on(builder, &truth);
            let builder = match truth.settings().budgets {
                Some(ceilings) => builder.budgeted(move |_| ceilings),
                None => builder,
            };
            let builder = bugs_guards::guarded(talks(builder, &truth, life), &truth, life);
            tools::tools(&truth, &tools_clock).into_iter().fold(builder, ShellBuilder::tool)
        };
        self.executor.spawn(group, host.live(builder));
        self.by_group.insert(group, index);
        self.processes[index].life = Some(Life { group, clock, off_ms, faults, cut_until: None, is_over });
        self.truth.tell(|| format!("process {index} begins life {lives}"));
    }

    /// What a process has that has to do with events. The first one is of both groups, so that each has a member.
    fn events_of(&mut self, life: LifeId, unreliable: &UnreliableStore, clock: &SimClock) -> EventsOf {
        let kind = self.truth.settings().bus;
        let bus: Option<Arc<dyn Bus>> = match (kind, &self.bus) {
            (BusKind::Own, _) => Some(Arc::new(SimBus::new(&self.truth, clock.clone(), Reach::Process))),
            // Some tell, and leave it to others to publish.
            (BusKind::Shared, Some(bus)) if life.0 == 0 || self.entropy.below(100) < 85 => {
                Some(unreliable.bus(Arc::new(bus.clone())))
            }
            _ => None,
        };
        let is_of_all = life.0 == 0 || kind == BusKind::Own;
        let groups = GROUPS.into_iter().filter(|_| is_of_all || self.entropy.below(100) < 70).collect();
        let entropy =
            Arc::new(SeededEntropy::of(&[self.truth.settings().seed, 0xe4e7, life.0 as u64, life.1]));
        EventsOf { tells: kind != BusKind::None, bus, groups, marks: unreliable.store().marks, life, entropy }
    }
}

/// What a process has that has to do with events.
struct EventsOf {
    tells: bool,
    bus: Option<Arc<dyn Bus>>,
    groups: Vec<&'static str>,
    marks: Arc<dyn Marks>,
    life: LifeId,
    entropy: Arc<SeededEntropy>,
}

impl EventsOf {
    fn on(&self, builder: ShellBuilder, truth: &Truth) -> ShellBuilder {
        if !self.tells {
            return builder;
        }
        let builder = builder.events("/simulated");
        let Some(bus) = &self.bus else { return builder };
        let Self { marks, life, entropy, .. } = self;
        let consumers = self.groups.iter().map(|group| consumer(truth, entropy, *life, group, marks.clone()));
        consumers.fold(builder.bus(bus.clone()), ShellBuilder::consumer)
    }
}

/// What models plan: a loop of each kind, and the model.
fn talks(builder: ShellBuilder, truth: &Truth, life: LifeId) -> ShellBuilder {
    let Settings { seed, sessions, bug, .. } = *truth.settings();
    let sessions = (0..sessions).filter(|session| Talk::is_in(seed, *session));
    let loops = sessions.flat_map(|session| (0..VARIANTS).map(move |variant| (session, variant)));
    let builder = loops.fold(builder, |builder, (session, variant)| {
        let spec = LoopSpec::draw(seed, session);
        bugs_talk::planned(builder, planner_name(session, variant), spec, variant, truth)
    });
    bugs_talk::answered(builder, SimModel { truth: truth.clone(), life }, bug)
}
