//! The lives of workers: as many beside each other as there are owners, each but the last ended by SIGKILL, from
//! outside or by a failpoint of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use agent_shell_core::Limits;

use super::CrashError;
use super::book::Book;
use super::child::{Heard, Worker};
use super::jobs::Jobs;
use super::life::Slot;
use super::scenario::TurnKey;
use super::tools::ATTEMPT;
use super::violation::Rule;
use super::words::{Armed, Assignment, Event, Mode};
use crate::random::Random;

/// Turns of one session that a worker keeps open.
const DEPTH: usize = 3;
/// How late an attempt may still take effect.
pub(super) const LATENESS: Duration = Duration::from_millis(200);
/// How long a lease lasts where workers stand still for longer.
const SHORT_LEASE: Duration = Duration::from_millis(900);

/// The settings of a run.
#[derive(Clone, Debug)]
pub(super) struct Run {
    /// Kills at random instants.
    pub(super) kills: u64,
    /// Kills at each failpoint.
    pub(super) at_failpoints: u64,
    /// Whether workers are also stopped for longer than their lease.
    pub(super) stops: bool,
    /// Workers that live beside each other.
    pub(super) owners: u64,
    pub(super) seed: u64,
    pub(super) sessions: u64,
    /// Sessions beside these whose turns a model plans.
    pub(super) talks: u64,
    /// Sessions beside these with whose turns people meddle.
    pub(super) controls: u64,
    /// How long the last worker may take.
    pub(super) finish_within: Duration,
    pub(super) journal: PathBuf,
    pub(super) recorder: PathBuf,
    /// The recorder's log.
    pub(super) log: PathBuf,
    /// Where each worker notes the failpoints that it reaches.
    pub(super) hits: PathBuf,
}

impl Run {
    /// The numbers of all sessions.
    pub(super) fn all_sessions(&self) -> impl Iterator<Item = u64> + use<> {
        self.plain_sessions().chain(TurnKey::CONTROLS..TurnKey::CONTROLS + self.controls)
    }

    /// The numbers of the sessions with whose turns nobody meddles.
    pub(super) fn plain_sessions(&self) -> impl Iterator<Item = u64> + use<> {
        (0..self.sessions).chain(TurnKey::TALKS..TurnKey::TALKS + self.talks)
    }
}

/// How far the workers were when they were killed, as far as is known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kills {
    pub(super) opening: u64,
    pub(super) submitting: u64,
    pub(super) running: u64,
    pub(super) resting: u64,
    pub(super) idle: u64,
    /// Of all, those while a person was waited for in some session.
    pub(super) beside_rests: u64,
}

impl Kills {
    pub(super) fn all(&self) -> u64 {
        self.opening + self.submitting + self.running + self.resting + self.idle
    }
}

/// What was done at one failpoint.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AtFailpoint {
    pub(super) kills: u64,
    pub(super) stops: u64,
}

/// What became of the lives.
#[derive(Debug)]
pub(super) struct Lives {
    pub(super) book: Book,
    pub(super) kills: Kills,
    pub(super) failpoints: BTreeMap<&'static str, AtFailpoint>,
    /// Stops at random instants.
    pub(super) stops: u64,
    /// Workers that shut down by themselves, and left their sessions to the others.
    pub(super) left: u64,
    /// How long workers took to open, on average.
    pub(super) opening: Duration,
    /// How long the last worker took.
    pub(super) finishing: Duration,
    pub(super) attended: u64,
    pub(super) followers_killed: u64,
    opened: u32,
}

impl Lives {
    pub(super) fn note_opening(&mut self, took: Option<Duration>) {
        if let Some(took) = took {
            self.opened += 1;
            self.opening = (self.opening * (self.opened - 1) + took) / self.opened;
        }
    }
}

/// What all slots share.
pub(super) struct Harness {
    pub(super) run: Run,
    program: PathBuf,
    lives: Mutex<Lives>,
    pub(super) jobs: Mutex<Jobs>,
    life: AtomicU64,
    /// Workers that ended by themselves without a reason.
    pub(super) unexpected: AtomicU64,
}

impl Harness {
    pub(super) fn new(run: Run, program: &Path) -> Self {
        let lives = Lives {
            book: Book::new(run.seed, run.all_sessions().collect(), run.owners),
            kills: Kills::default(),
            failpoints: BTreeMap::new(),
            stops: 0,
            left: 0,
            opening: Duration::ZERO,
            finishing: Duration::ZERO,
            attended: 0,
            followers_killed: 0,
            opened: 0,
        };
        let jobs = Mutex::new(Jobs::new(&run));
        let (life, unexpected) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { run, program: program.to_owned(), lives: Mutex::new(lives), jobs, life, unexpected }
    }

    /// Lets workers live and die until there were enough kills, then lets one finish.
    pub(super) fn drive(self, progress: impl Fn(&Lives) + Sync) -> Result<Lives, CrashError> {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let following = scope.spawn(|| self.follow(&done));
            let slots = (0..self.run.owners).map(|slot| {
                let (this, progress) = (&self, &progress);
                scope.spawn(move || Slot::new(this, slot).live(progress))
            });
            let slots: Vec<_> = slots.collect();
            let joined: Vec<_> = slots.into_iter().map(thread::ScopedJoinHandle::join).collect();
            done.store(true, Ordering::Relaxed);
            joined.into_iter().chain([following.join()]).try_for_each(|ended| match ended {
                Ok(ended) => ended,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })?;
        let (life, worker) = self.start(0, Mode::Finish, None)?;
        let started = worker.started;
        self.let_end(life, worker, self.run.finish_within)?;
        let took = started.elapsed();
        let (life, worker) = self.start(0, Mode::Follow { to_the_end: true }, None)?;
        self.let_end(life, worker, self.run.finish_within)?;
        let mut lives = self.lives.into_inner().unwrap_or_else(PoisonError::into_inner);
        lives.finishing = took;
        Ok(lives)
    }

    /// Lets followers live and die beside the owners, one at a time.
    fn follow(&self, done: &AtomicBool) -> Result<(), CrashError> {
        let mut random = Random::of(&[self.run.seed, 0x666f_6c6c]);
        while !done.load(Ordering::Relaxed) {
            let (life, worker) = self.start(0, Mode::Follow { to_the_end: false }, None)?;
            let end = Instant::now() + Duration::from_millis(150 + random.below(1_500));
            let ended = loop {
                match worker.hear(end) {
                    Heard::Nothing => break false,
                    Heard::End => break true,
                    Heard::Event(event) => self.lives().book.take(life, worker.started_ms, event),
                }
            };
            let (status, _) = worker.kill()?;
            if ended {
                let what = format!("life {life}: the follower ended by itself: {status}");
                self.lives().book.say(Rule::Trouble, what);
                return Ok(());
            }
            self.lives().followers_killed += 1;
        }
        Ok(())
    }

    pub(super) fn lives(&self) -> MutexGuard<'_, Lives> {
        self.lives.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a worker of a slot.
    pub(super) fn start(
        &self,
        slot: u64,
        mode: Mode,
        armed: Option<Armed>,
    ) -> Result<(u64, Worker), CrashError> {
        let life = self.life.fetch_add(1, Ordering::Relaxed) + 1;
        let sessions = match mode {
            Mode::Finish => self.lives().book.all_work(),
            Mode::Follow { .. } => Vec::new(),
            _ => self.lives().book.work(slot, life),
        };
        let assignment = Assignment {
            journal: self.run.journal.clone(),
            recorder: self.run.recorder.clone(),
            hits: self.run.hits.clone(),
            seed: self.run.seed,
            life,
            owners: self.run.owners,
            controls: self.run.controls,
            mode,
            armed,
            limits: self.limits(),
            depth: DEPTH,
            sessions,
        };
        Ok((life, Worker::start(Command::new(&self.program), &assignment)?))
    }

    /// How long a worker stands still that is stopped: longer than its lease, and shorter than others wait for a file.
    pub(super) fn stop_ms(&self, draw: u64) -> Duration {
        let lease_ms = u64::try_from(SHORT_LEASE.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(lease_ms * 11 / 10 + draw % lease_ms)
    }

    /// Waits for a worker that ends by itself. One that does not in time is killed.
    pub(super) fn let_end(&self, life: u64, worker: Worker, within: Duration) -> Result<(), CrashError> {
        let end = Instant::now() + within;
        let mut finished = false;
        let in_time = loop {
            match worker.hear(end) {
                Heard::Nothing => break false,
                Heard::End => break true,
                Heard::Event(event) => {
                    finished |= event == Event::Finished;
                    self.lives().book.take(life, worker.started_ms, event);
                }
            }
        };
        let started_ms = worker.started_ms;
        let (status, rest) = if in_time { worker.wait()? } else { worker.kill()? };
        let book = &mut self.lives().book;
        for event in rest {
            finished |= event == Event::Finished;
            book.take(life, started_ms, event);
        }
        if !in_time {
            let seconds = within.as_secs();
            let what = format!("life {life}: the worker did not finish within {seconds} s");
            book.say(Rule::Stuck, what);
        } else if !finished || !status.success() {
            book.say(Rule::Trouble, format!("life {life}: the worker did not finish: {status}"));
        }
        book.worker_died(life);
        Ok(())
    }

    /// Short bounds, so that deadlines, probes, snapshots and polls come within one life.
    fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        limits.attempt_ms = u64::try_from(ATTEMPT.as_millis()).unwrap_or(u64::MAX);
        limits.lateness_ms = u64::try_from(LATENESS.as_millis()).unwrap_or(u64::MAX);
        limits.poll_ms = 25;
        limits.probe_attempts = 4;
        limits.parallel_steps = 6;
        limits.inline_bytes = 400;
        limits.snapshot_every = 24;
        if self.run.stops || self.run.at_failpoints > 0 {
            limits.lease_ms = u64::try_from(SHORT_LEASE.as_millis()).unwrap_or(u64::MAX);
        }
        limits
    }
}
