//! An executor whose every choice follows from a seed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures::future::BoxFuture;

use super::entropy::SeededEntropy;
use super::time::SimTime;
use crate::ports::Spawn;
use crate::words::Entropy;

/// Tasks that live and die together: those of one simulated process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group(u64);

/// What a step of the executor did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It polled a task of this group.
    Polled(Group),
    /// Nothing was ready, so time passed.
    Passed,
    /// Nothing is ready, and nothing sleeps: nothing will ever happen again.
    Still,
}

/// Runs tasks one poll at a time on the thread of its caller. Which of the ready tasks comes next is drawn from the seed;
/// time passes only when none is ready.
pub struct Executor {
    time: SimTime,
    entropy: SeededEntropy,
    shared: Arc<Shared>,
    tasks: BTreeMap<u64, Task>,
    paused: BTreeMap<Group, Duration>,
    /// Numbers groups and tasks.
    last: u64,
}

struct Task {
    group: Group,
    future: BoxFuture<'static, ()>,
    waker: Waker,
}

#[derive(Default)]
struct Shared {
    /// The tasks that were woken. Who is woken first does not count, for the next one is drawn.
    ready: Mutex<BTreeSet<u64>>,
    spawned: Mutex<Spawned>,
}

#[derive(Default)]
struct Spawned {
    waiting: Vec<(Group, BoxFuture<'static, ()>)>,
    dead: BTreeSet<Group>,
}

impl Shared {
    fn ready(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawned(&self) -> MutexGuard<'_, Spawned> {
        self.spawned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(&self, group: Group, task: BoxFuture<'static, ()>) {
        let mut spawned = self.spawned();
        if spawned.dead.contains(&group) {
            drop(spawned);
            // A task may spawn another one when it is dropped, so no lock is held here.
            drop(task);
        } else {
            spawned.waiting.push((group, task));
        }
    }
}

struct TaskWaker {
    task: u64,
    shared: Arc<Shared>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.shared.ready().insert(self.task);
    }
}

/// Spawns into one group. What is spawned into a group that was killed is dropped.
struct GroupSpawn {
    group: Group,
    shared: Arc<Shared>,
}

impl Spawn for GroupSpawn {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.shared.spawn(self.group, task);
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        self.spawn(Box::pin(async move { work() }));
    }
}

impl Executor {
    /// An executor without tasks.
    pub fn new(time: SimTime, entropy: SeededEntropy) -> Self {
        Self {
            time,
            entropy,
            shared: Arc::default(),
            tasks: BTreeMap::new(),
            paused: BTreeMap::new(),
            last: 0,
        }
    }

    /// A new group, which nothing was spawned into yet.
    pub fn group(&mut self) -> Group {
        Group(self.next_id())
    }

    /// The spawner of a group.
    pub fn spawner(&self, group: Group) -> Arc<dyn Spawn> {
        Arc::new(GroupSpawn { group, shared: self.shared.clone() })
    }

    /// Spawns a task into a group.
    pub fn spawn(&self, group: Group, task: impl Future<Output = ()> + Send + 'static) {
        self.shared.spawn(group, Box::pin(task));
    }

    /// Drops every task of a group, in the order in which they were spawned, and whatever is spawned into it later.
    pub fn kill(&mut self, group: Group) {
        self.shared.spawned().dead.insert(group);
        let waiting = {
            let mut spawned = self.shared.spawned();
            let (dead, others) =
                std::mem::take(&mut spawned.waiting).into_iter().partition(|(of, _)| *of == group);
            spawned.waiting = others;
            let dead: Vec<_> = dead;
            dead
        };
        let of_group = self.tasks.iter().filter(|(_, task)| task.group == group);
        let of_group: Vec<u64> = of_group.map(|(id, _)| *id).collect();
        for id in of_group {
            self.shared.ready().remove(&id);
            drop(self.tasks.remove(&id));
        }
        drop(waiting);
        self.paused.remove(&group);
    }

    /// Polls no task of a group until so long after the beginning of the world: a process that is stopped.
    pub fn pause(&mut self, group: Group, until: Duration) {
        self.paused.insert(group, until);
    }

    /// Whether a group is paused.
    pub fn is_paused(&self, group: Group) -> bool {
        self.paused.contains_key(&group)
    }

    /// Polls one ready task; when there is none, lets time pass to the next instant at which one may be.
    pub fn step(&mut self) -> Progress {
        self.take_spawned();
        let now = self.time.now();
        self.paused.retain(|_, until| *until > now);
        match self.draw() {
            Some(id) => Progress::Polled(self.poll(id)),
            None => self.pass(),
        }
    }

    fn take_spawned(&mut self) {
        let spawned = std::mem::take(&mut self.shared.spawned().waiting);
        for (group, future) in spawned {
            let id = self.next_id();
            let waker = Waker::from(Arc::new(TaskWaker { task: id, shared: self.shared.clone() }));
            self.tasks.insert(id, Task { group, future, waker });
            self.shared.ready().insert(id);
        }
    }

    fn next_id(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// One of the ready tasks whose group is not paused.
    fn draw(&mut self) -> Option<u64> {
        let mut ready = self.shared.ready();
        ready.retain(|id| self.tasks.contains_key(id));
        let paused = &self.paused;
        let may_run = |id: &&u64| paused.is_empty() || !paused.contains_key(&self.tasks[*id].group);
        let count = if paused.is_empty() { ready.len() } else { ready.iter().filter(may_run).count() };
        if count == 0 {
            return None;
        }
        let drawn = self.entropy.below(count as u64) as usize;
        let id = ready.iter().filter(may_run).nth(drawn).copied()?;
        ready.remove(&id);
        Some(id)
    }

    fn poll(&mut self, id: u64) -> Group {
        let task = self.tasks.get_mut(&id).expect("only tasks that are there are drawn");
        let group = task.group;
        let waker = task.waker.clone();
        if task.future.as_mut().poll(&mut Context::from_waker(&waker)) == Poll::Ready(()) {
            drop(self.tasks.remove(&id));
        }
        group
    }

    fn pass(&mut self) -> Progress {
        let next = self.time.next_due().into_iter().chain(self.paused.values().copied()).min();
        match next {
            Some(next) => {
                self.time.advance_to(next);
                Progress::Passed
            }
            None => Progress::Still,
        }
    }
}
