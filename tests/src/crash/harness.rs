//! One life of a worker after another, each but the last ended by SIGKILL.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use agent_shell_core::Limits;

use super::CrashError;
use super::book::Book;
use super::child::{Heard, Worker};
use super::tools::ATTEMPT;
use super::words::{Assignment, Event, Mode};
use crate::random::Random;

/// Turns of one session that a worker keeps open.
const DEPTH: usize = 3;
/// Workers that may end by themselves before the harness gives up.
const UNEXPECTED_ENDS: usize = 5;
/// How long a worker is waited for that does not do what it is to be killed at.
const LONGEST: Duration = Duration::from_secs(2);
/// How late an attempt may still take effect.
const LATENESS: Duration = Duration::from_millis(200);

/// The settings of a run.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) kills: u64,
    pub(super) seed: u64,
    pub(super) sessions: u64,
    /// How long the last worker may take.
    pub(super) finish_within: Duration,
    pub(super) journal: PathBuf,
    pub(super) recorder: PathBuf,
    /// The recorder's log.
    pub(super) log: PathBuf,
}

/// How far the workers were when they were killed, as far as is known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kills {
    pub(super) opening: u64,
    pub(super) submitting: u64,
    pub(super) running: u64,
    pub(super) resting: u64,
    pub(super) idle: u64,
}

impl Kills {
    pub(super) fn all(&self) -> u64 {
        self.opening + self.submitting + self.running + self.resting + self.idle
    }
}

/// What became of the lives.
#[derive(Debug)]
pub(super) struct Lives {
    pub(super) book: Book,
    pub(super) kills: Kills,
    /// How long workers took to open, on average.
    pub(super) opening: Duration,
    /// How long the last worker took.
    pub(super) finishing: Duration,
    pub(super) attended: u64,
}

/// When a worker is killed.
enum Fate {
    At(Duration),
    /// So long after it has begun this many submits.
    Submit {
        nth: u64,
        then: Duration,
    },
    /// At once when the recorder has written, so long after the worker was started.
    Effect {
        after: Duration,
    },
}

pub(super) struct Harness {
    run: Run,
    program: PathBuf,
    random: Random,
    lives: Lives,
    life: u64,
    opened: u32,
}

impl Harness {
    pub(super) fn new(run: Run, program: &Path) -> Self {
        let book = Book::new(run.seed, run.sessions);
        let lives = Lives {
            book,
            kills: Kills::default(),
            opening: Duration::ZERO,
            finishing: Duration::ZERO,
            attended: 0,
        };
        let random = Random::of(&[run.seed, 0x6b69_6c6c]);
        Self { run, program: program.to_owned(), random, lives, life: 0, opened: 0 }
    }

    /// Lets workers live and die until there were enough kills, then lets one finish.
    pub(super) fn drive(mut self, mut progress: impl FnMut(&Lives)) -> Result<Lives, CrashError> {
        let mut unexpected = 0;
        while self.lives.kills.all() < self.run.kills && unexpected < UNEXPECTED_ENDS {
            let beside = if self.life % 6 == 3 { Some(self.attend()?) } else { None };
            unexpected += usize::from(!self.live_and_die()?);
            if let Some((life, worker)) = beside {
                self.let_end(life, worker, Duration::from_secs(20))?;
                self.lives.attended += 1;
            }
            progress(&self.lives);
        }
        let (life, worker) = self.start(Mode::Finish)?;
        let started = worker.started;
        self.let_end(life, worker, self.run.finish_within)?;
        self.lives.finishing = started.elapsed();
        Ok(self.lives)
    }

    fn start(&mut self, mode: Mode) -> Result<(u64, Worker), CrashError> {
        self.life += 1;
        let assignment = Assignment {
            journal: self.run.journal.clone(),
            recorder: self.run.recorder.clone(),
            seed: self.run.seed,
            life: self.life,
            mode,
            limits: limits(),
            depth: DEPTH,
            sessions: self.lives.book.work(),
        };
        Ok((self.life, Worker::start(Command::new(&self.program), &assignment)?))
    }

    /// A second process on the same journal, which only approves and resolves.
    fn attend(&mut self) -> Result<(u64, Worker), CrashError> {
        let ms = 100 + self.random.below(400);
        self.start(Mode::Attend { ms })
    }

    /// One life. False when the worker ended by itself.
    fn live_and_die(&mut self) -> Result<bool, CrashError> {
        let fate = self.draw_fate();
        let (life, worker) = self.start(Mode::UntilKilled)?;
        let mut seen = Seen::default();
        let mut end = worker.started
            + match fate {
                Fate::At(after) | Fate::Effect { after } => after,
                Fate::Submit { .. } => LONGEST,
            };
        let ended = loop {
            match worker.hear(end) {
                Heard::Nothing => break false,
                Heard::End => break true,
                Heard::Event(event) => {
                    if seen.opened.is_none() && matches!(event, Event::Opened { .. }) {
                        seen.opened = Some(worker.age());
                    }
                    seen.see(&event);
                    if let Fate::Submit { nth, then } = fate
                        && matches!(event, Event::Submitting { .. })
                        && seen.submits == nth
                    {
                        end = Instant::now() + then;
                    }
                    self.lives.book.take(life, worker.started_ms, event);
                }
            }
        };
        if let Fate::Effect { .. } = fate {
            self.await_effect()?;
        }
        let started_ms = worker.started_ms;
        let (status, rest) = worker.kill()?;
        for event in rest {
            seen.see(&event);
            self.lives.book.take(life, started_ms, event);
        }
        self.lives.book.worker_died();
        if ended {
            self.lives.book.troubles.push(format!("life {life}: the worker ended by itself: {status}"));
            return Ok(false);
        }
        self.note_opening(seen.opened);
        *seen.phase(&mut self.lives.kills) += 1;
        Ok(true)
    }

    /// Returns as soon as the recorder's log has grown, or after a while.
    fn await_effect(&self) -> Result<(), CrashError> {
        let length = || std::fs::metadata(&self.run.log).map(|log| log.len());
        let failed = || CrashError::system("the recorder's log");
        let before = length().map_err(failed())?;
        let end = Instant::now() + LONGEST;
        while length().map_err(failed())? == before && Instant::now() < end {
            std::hint::spin_loop();
        }
        Ok(())
    }

    fn note_opening(&mut self, took: Option<Duration>) {
        if let Some(took) = took {
            self.opened += 1;
            self.lives.opening = (self.lives.opening * (self.opened - 1) + took) / self.opened;
        }
    }

    /// Some die while they open, some at a submit or at an effect, the others at any time.
    fn draw_fate(&mut self) -> Fate {
        let opening_us =
            u64::try_from(self.lives.opening.as_micros()).unwrap_or(u64::MAX).clamp(10_000, 1_000_000);
        let random = &mut self.random;
        let (least_us, span_us) = match random.below(100) {
            0..20 => (1_000.min(opening_us), opening_us * 5 / 4),
            20..30 => {
                let then = Duration::from_micros(random.below(1500));
                return Fate::Submit { nth: 1 + random.below(20), then };
            }
            30..50 => {
                let after = Duration::from_micros(opening_us + random.below(200_000));
                return Fate::Effect { after };
            }
            50..65 => (opening_us, 80_000),
            65..88 => (opening_us + 30_000, 320_000),
            _ => (opening_us + 300_000, 600_000),
        };
        Fate::At(Duration::from_micros(least_us + random.below(span_us)))
    }

    /// Waits for a worker that ends by itself. One that does not in time is killed.
    fn let_end(&mut self, life: u64, worker: Worker, within: Duration) -> Result<(), CrashError> {
        let end = Instant::now() + within;
        let mut finished = false;
        let in_time = loop {
            match worker.hear(end) {
                Heard::Nothing => break false,
                Heard::End => break true,
                Heard::Event(event) => {
                    finished |= event == Event::Finished;
                    self.lives.book.take(life, worker.started_ms, event);
                }
            }
        };
        let started_ms = worker.started_ms;
        let (status, rest) = if in_time { worker.wait()? } else { worker.kill()? };
        rest.into_iter().for_each(|event| self.lives.book.take(life, started_ms, event));
        if !in_time {
            let seconds = within.as_secs();
            self.lives
                .book
                .troubles
                .push(format!("life {life}: the worker did not finish within {seconds} s"));
        } else if !finished || !status.success() {
            self.lives.book.troubles.push(format!("life {life}: the worker did not finish: {status}"));
        }
        self.lives.book.worker_died();
        Ok(())
    }
}

/// What was seen of one life.
#[derive(Default)]
struct Seen {
    opened: Option<Duration>,
    is_open: bool,
    submits: u64,
    answers: u64,
    marks: (usize, usize),
}

impl Seen {
    fn see(&mut self, event: &Event) {
        match event {
            Event::Opened { .. } => self.is_open = true,
            Event::Submitting { .. } => self.submits += 1,
            Event::Accepted { .. } => self.answers += 1,
            Event::Marks { running, resting } => self.marks = (*running, *resting),
            _ => {}
        }
    }

    fn phase<'a>(&self, kills: &'a mut Kills) -> &'a mut u64 {
        if !self.is_open {
            &mut kills.opening
        } else if self.submits > self.answers {
            &mut kills.submitting
        } else if self.marks.0 > 0 {
            &mut kills.running
        } else if self.marks.1 > 0 {
            &mut kills.resting
        } else {
            &mut kills.idle
        }
    }
}

/// Short bounds, so that deadlines, probes, snapshots and polls come within one life.
fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.attempt_ms = u64::try_from(ATTEMPT.as_millis()).unwrap_or(u64::MAX);
    limits.lateness_ms = u64::try_from(LATENESS.as_millis()).unwrap_or(u64::MAX);
    limits.poll_ms = 25;
    limits.probe_attempts = 4;
    limits.parallel_steps = 6;
    limits.inline_bytes = 400;
    limits.snapshot_every = 24;
    limits
}
