//! One run: the process lives, dies where it is to die, and lives again, until its host returns.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;

use super::crash::Place;
use super::host::{Host, Life};
use super::kit::{BoxError, TestKit};
use super::records::{Records, read};
use super::trouble::Problem;
use super::watch::{Watch, Watched};
use super::world::World;
use crate::backends::volatile::{VolatileKeys, VolatileStore};
use crate::ports::Store;
use crate::runtime::Ports;
use crate::simulation::{
    Crashes, Executor, Faults, Group, Progress, Rates, SeededEntropy, SimClock, SimTime, UnreliableStore,
};

/// Polls of one run; more are a loop in which no time passes.
const MOST_POLLS: u64 = 5_000_000;

/// What came of a run.
pub(super) struct Driven<T, W> {
    pub(super) outcome: T,
    pub(super) journal: Records,
    pub(super) world: Arc<W>,
    pub(super) lasted: Duration,
    pub(super) lives: u64,
    /// How often the first life was polled until the host returned.
    pub(super) polls: u64,
}

/// What a life brings.
struct Ended<T> {
    outcome: T,
    journal: Records,
    lasted: Duration,
}

type Slot<T> = Arc<Mutex<Option<Result<Ended<T>, String>>>>;

/// Runs a host until it returns.
pub(super) fn drive<T, W, F, S>(
    kit: &TestKit<W>,
    host: &Arc<S>,
    place: Option<Place>,
) -> Result<Driven<T, W>, Problem>
where
    T: Send + 'static,
    W: World,
    F: Future<Output = Result<T, BoxError>> + Send + 'static,
    S: Fn(Host<W>) -> F + Send + Sync + 'static,
{
    // A task of Tokio may be the caller: its budget must not end what is polled here.
    let driving = tokio::task::unconstrained(async { Drive::new(kit, host, place).go() });
    driving.now_or_never().expect("it never waits")
}

struct Drive<'a, T, W: World, S> {
    kit: &'a TestKit<W>,
    host: &'a Arc<S>,
    world: Arc<W>,
    time: SimTime,
    executor: Executor,
    /// The group of the store, which never dies.
    server: Group,
    store: Store,
    keys: Arc<VolatileKeys>,
    crashes: Crashes,
    watch: Arc<Watch>,
    slot: Slot<T>,
    lives: u64,
    process: Option<Group>,
    /// When the next life begins.
    rises: Duration,
    lease: Duration,
    polls: u64,
    polls_of_first: u64,
}

impl<'a, T, W, F, S> Drive<'a, T, W, S>
where
    T: Send + 'static,
    W: World,
    F: Future<Output = Result<T, BoxError>> + Send + 'static,
    S: Fn(Host<W>) -> F + Send + Sync + 'static,
{
    fn new(kit: &'a TestKit<W>, host: &'a Arc<S>, place: Option<Place>) -> Self {
        let time = SimTime::default();
        let mut executor = Executor::new(time.clone(), SeededEntropy::of(&[kit.seed, 0xe8ec]));
        let server = executor.group();
        let crashes = Crashes::default();
        let watch = Arc::new(Watch::new(place, crashes.clone()));
        let mut store = VolatileStore::store(Arc::new(SimClock::new(time.clone(), 0)));
        store.journal = Arc::new(Watched { inner: store.journal.clone(), watch: watch.clone() });
        Self {
            kit,
            host,
            world: Arc::new((kit.world)()),
            time,
            executor,
            server,
            store,
            keys: Arc::new(VolatileKeys::new()),
            crashes,
            watch,
            slot: Slot::default(),
            lives: 0,
            process: None,
            rises: Duration::ZERO,
            lease: Duration::ZERO,
            polls: 0,
            polls_of_first: 0,
        }
    }

    fn go(mut self) -> Result<Driven<T, W>, Problem> {
        let ended = loop {
            if self.process.is_none() && self.time.now() >= self.rises {
                self.live();
            }
            let progress = self.executor.step();
            if let Progress::Polled(group) = progress
                && self.process == Some(group)
            {
                self.polls += 1;
                if self.lives == 1 && !self.watch.is_over() {
                    self.polls_of_first += 1;
                    self.watch.polled(self.polls_of_first);
                }
            }
            for group in self.crashes.take() {
                self.die(group);
            }
            let ended = self.slot.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(ended) = ended {
                break ended.map_err(Problem::Failed);
            }
            if progress == Progress::Still {
                break Err(Problem::Stuck);
            } else if self.time.now() > self.kit.longest {
                break Err(Problem::TooLong(self.kit.longest));
            } else if self.polls > MOST_POLLS {
                break Err(Problem::TooManyPolls(MOST_POLLS));
            }
        };
        self.process.into_iter().chain([self.server]).for_each(|group| self.executor.kill(group));
        let Ended { outcome, journal, lasted } = ended?;
        let (lives, polls) = (self.lives, self.polls_of_first);
        Ok(Driven { outcome, journal, world: self.world, lasted, lives, polls })
    }

    /// The process begins to live.
    fn live(&mut self) {
        self.lives += 1;
        let parts = [self.kit.seed, 0x11fe, self.lives];
        let entropy = |of: u64| SeededEntropy::of(&[parts[0], parts[1], parts[2], of]);
        let group = self.executor.group();
        self.process = Some(group);
        self.watch.lives(group);
        let store = UnreliableStore::new(
            (self.store.clone(), self.keys.clone()),
            (group, self.executor.spawner(self.server)),
            self.time.clone(),
            Arc::new(Faults::new(entropy(1), Rates::default(), Arc::default())),
            self.crashes.clone(),
        );
        let ports = Ports {
            store: store.store(),
            keys: store.keys(),
            clock: Arc::new(SimClock::new(self.time.clone(), 0)),
            entropy: Arc::new(entropy(2)),
            spawn: self.executor.spawner(group),
        };
        let life = Life { number: self.lives, world: self.world.clone(), ports };
        let builder = (self.kit.build)(&life);
        self.lease = Duration::from_millis(builder.bounds().lease_ms);
        let (host, slot, watch, time) =
            (self.host.clone(), self.slot.clone(), self.watch.clone(), self.time.clone());
        self.executor.spawn(group, async move {
            let lived = async {
                let shell = builder.open().await?;
                let outcome = host(Host { shell: shell.clone(), life }).await?;
                let (lasted, written) = (time.now(), watch.finish());
                let journal = read(&shell, &written).await?;
                shell.shutdown().await?;
                Ok::<_, BoxError>(Ended { outcome, journal, lasted })
            };
            let ended = lived.await.map_err(|error| error.to_string());
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(ended);
        });
    }

    /// The process dies; the next life begins when its lease has expired.
    fn die(&mut self, group: Group) {
        if self.process != Some(group) {
            return;
        }
        self.process = None;
        self.executor.kill(group);
        let after = self.lease + Duration::from_millis(1);
        self.rises = self.time.now() + after;
        // So that time passes up to then.
        let waking = self.time.sleep(after);
        self.executor.spawn(self.server, waking);
    }
}
