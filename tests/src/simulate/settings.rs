//! What a seed draws for a whole run: how many of everything, the bounds, and what goes wrong how often. A run in which
//! everything goes wrong at once hides what goes wrong when little does, so each seed leaves some faults out.

use std::time::Duration;

use agent_shell_core::Limits;
use agent_shell_core::runtime::Ceilings;
use agent_shell_core::simulation::Rates;

use super::budgets;
use super::bugs::Bug;
use super::events::BusKind;
use super::truth::{LifeId, SubjectOf};
use crate::random::Random;

/// The settings of a run.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) seed: u64,
    pub(super) bug: Option<Bug>,
    pub(super) owners: u64,
    pub(super) sessions: u64,
    pub(super) turns_per_session: u64,
    /// For how long things go wrong.
    pub(super) storm: Duration,
    pub(super) rates: Rates,
    pub(super) world: WorldRates,
    /// Whether wall clocks differ and jump. Then targets refuse late acts by themselves, as they must.
    pub(super) clocks_jump: bool,
    pub(super) limits: Limits,
    /// After how many polls of a process it dies, on average; 0 for never.
    pub(super) polls_per_crash: u64,
    /// After how many polls of a process it stands still for a while, on average; 0 for never.
    pub(super) polls_per_pause: u64,
    /// After how many polls of a process it is cut off from the store, on average; 0 for never.
    pub(super) polls_per_cut: u64,
    /// How many of a hundred lives of a process end with a shutdown.
    pub(super) shutdowns: u64,
    /// Whether the sessions of a tenant belong to its user, for each session; the others belong to nobody.
    pub(super) of_user: [bool; 4],
    /// Who has which bus.
    pub(super) bus: BusKind,
    pub(super) bus_partitions: u32,
    /// Messages that a bus holds at most.
    pub(super) bus_messages: usize,
    /// Messages that a bus takes at once.
    pub(super) bus_batch: usize,
    /// After how many polls of a process the shared bus crashes, on average; 0 for never.
    pub(super) polls_per_bus_crash: u64,
    /// What sessions and turns may spend; none where nothing is bounded.
    pub(super) budgets: Option<Ceilings>,
    /// How many of a hundred lives of processes have guards.
    pub(super) guarded: u64,
    /// Whether models use more than they said, now and then, and somebody takes bills and opens what was closed.
    pub(super) overruns: bool,
}

/// What goes wrong in the world that the tools act on, of a hundred calls.
#[derive(Clone, Debug, Default)]
pub(super) struct WorldRates {
    pub(super) refused: u64,
    pub(super) ambiguous: u64,
    pub(super) hung: u64,
    pub(super) panicked: u64,
    pub(super) late: u64,
    pub(super) probe_failed: u64,
    pub(super) probe_hung: u64,
    /// Questions to models.
    pub(super) model: u64,
    /// Handlers of events, which fail, hang or panic.
    pub(super) handler: u64,
}

impl Settings {
    /// The tenant of a session.
    pub(super) const fn tenant(session: u64) -> u64 {
        session % 2
    }

    /// Whether a life of a process has guards.
    pub(super) fn has_guards(&self, (process, life): LifeId) -> bool {
        Random::of(&[self.seed, 0x64a3, process as u64, life]).percent(self.guarded)
    }

    /// How many guards a shell has that has any.
    pub(super) fn guards(&self) -> usize {
        1 + usize::from(Random::of(&[self.seed, 0x64a5]).percent(50))
    }

    /// Whose a session is: the user of this tenant's, or nobody's.
    pub(super) fn subject(&self, session: u64) -> Option<SubjectOf> {
        let of_user = self.of_user.get(usize::try_from(session).ok()?)?;
        of_user.then_some(Self::tenant(session))
    }

    /// How long an attempt at a tool of a drawn turn may take.
    pub(super) const ATTEMPT: Duration = Duration::from_millis(800);

    pub(super) fn draw(seed: u64, bug: Option<Bug>) -> Self {
        let mut random = Random::of(&[seed, 0x5e77]);
        let clocks_jump = random.percent(35);
        let mut some = |percent: u64, most: u64| {
            let drawn = 1 + random.below(most);
            if random.percent(percent) { drawn } else { 0 }
        };
        let mut rates = Rates::default();
        rates.crash_before = some(45, 4) as u32;
        rates.crash_after = some(45, 4) as u32;
        rates.answer_lost = some(50, 40) as u32;
        rates.timed_out = some(50, 40) as u32;
        rates.refused = some(45, 30) as u32;
        rates.slow = some(50, 40) as u32;
        rates.at_once = some(60, 700) as u32;
        rates.slowest = Duration::from_millis(100 + some(50, 3_000));
        rates.usual = Duration::from_micros(200 + some(70, 8_000));
        let world = WorldRates {
            refused: some(50, 15),
            ambiguous: some(60, 20),
            hung: some(50, 10),
            panicked: some(40, 8),
            late: some(60, 30),
            probe_failed: some(60, 60),
            probe_hung: some(45, 30),
            model: some(70, 45),
            handler: some(70, 25),
        };
        let polls = |drawn: u64| if drawn == 0 { 0 } else { 150 + drawn };
        let (polls_per_crash, polls_per_pause) = (polls(some(65, 2_500)), polls(some(55, 3_000)));
        let polls_per_cut = polls(some(35, 3_000));
        let polls_per_bus_crash = polls(some(60, 4_000));
        let bus = match random.below(100) {
            0..12 => BusKind::None,
            12..35 => BusKind::Own,
            _ => BusKind::Shared,
        };
        Self {
            seed,
            bug,
            owners: 1 + random.below(4),
            sessions: 1 + random.below(4),
            turns_per_session: 2 + random.below(7),
            storm: Duration::from_millis(4_000 + random.below(12_000)),
            rates,
            world,
            clocks_jump,
            limits: limits(&mut random),
            polls_per_crash,
            polls_per_pause,
            polls_per_cut,
            shutdowns: random.below(3) * 20,
            of_user: [0; 4].map(|_: u8| random.percent(60)),
            bus,
            bus_partitions: 1 + random.below(4) as u32,
            bus_messages: [6, 40, 16_384][random.below(3) as usize],
            bus_batch: [2, 5, 1024][random.below(3) as usize],
            polls_per_bus_crash,
            budgets: budgets::draw(seed),
            guarded: match bug {
                Some(Bug::GuardsIgnored | Bug::GuardsAskedAgain) => 100,
                _ => [0, 0, 0, 60, 100][Random::of(&[seed, 0x64a2]).below(5) as usize],
            },
            overruns: Random::of(&[seed, 0x07e7]).percent(50),
        }
    }
}

fn limits(random: &mut Random) -> Limits {
    let mut limits = Limits::default();
    limits.lease_ms = 1_500 + random.below(2_000);
    limits.poll_ms = 150 + random.below(250);
    limits.lateness_ms = 300;
    limits.attempt_ms = 600;
    limits.plan_ms = 900;
    limits.model_ms = 700;
    limits.guard_ms = 300;
    limits.probe_attempts = 2 + random.below(4) as u32;
    limits.drain_ms = 1_500;
    limits.purge_ms = [200, 1_500, 6_000][random.below(3) as usize];
    limits.riding_ms = [0, 20, 20, 60][random.below(4) as usize];
    limits.inline_bytes = [200, 32 << 10][random.below(2) as usize];
    limits.snapshot_every = [1, 3, 8, 64][random.below(4) as usize];
    limits.parallel_steps = [1, 2, 4, 32][random.below(4) as usize];
    limits.running_turns = [1, 2, 1024][random.below(3) as usize];
    limits.outbox_keep_ms = [0, 2_000, 86_400_000, 86_400_000][random.below(4) as usize];
    limits.handler_ms = 500;
    limits.handler_pause_ms = 600;
    limits.sessions_at_once = [1, 2, 16][random.below(3) as usize];
    limits.events_at_once = [1, 4, 256][random.below(3) as usize];
    limits.parked_sessions = [1, 4096][random.below(2) as usize];
    limits.held_sessions = [1, 2, 4096, 4096][random.below(4) as usize];
    limits.live_bytes = [16, 120, 256 << 10, 256 << 10][random.below(4) as usize];
    limits
}
