//! One place among the owners: a worker lives in it, and when it has died another one does.

use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::CrashError;
use super::child::{Heard, Worker};
use super::harness::{Harness, Kills, Lives};
use super::jobs::{Job, is_at_the_end, most};
use super::violation::Rule;
use super::words::{Armed, ArmedAction, Event, Mode};
use crate::random::Random;

/// Workers that may end by themselves before the harness gives up.
const UNEXPECTED_ENDS: u64 = 5;
/// How long a worker is waited for that does not do what it is to be killed at.
const LONGEST: Duration = Duration::from_secs(2);
/// How long a worker is waited for that is to reach a failpoint.
const UNTIL_REACHED: Duration = Duration::from_secs(4);
/// How often it is looked whether a worker stands still.
const LOOK: Duration = Duration::from_millis(5);
/// SIGKILL, as an exit status tells of it.
const KILLED: i32 = 9;

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

pub(super) struct Slot<'a> {
    harness: &'a Harness,
    slot: u64,
    random: Random,
    lives: u64,
}

impl<'a> Slot<'a> {
    pub(super) fn new(harness: &'a Harness, slot: u64) -> Self {
        let random = Random::of(&[harness.run.seed, 0x6b69_6c6c, slot]);
        Self { harness, slot, random, lives: 0 }
    }

    /// Lets workers live and die until nothing is left to be done.
    pub(super) fn live(mut self, progress: &(impl Fn(&Lives) + Sync)) -> Result<(), CrashError> {
        while self.harness.unexpected.load(Ordering::Relaxed) < UNEXPECTED_ENDS {
            let Some(job) = self.jobs(|jobs| jobs.next()) else { return Ok(()) };
            self.lives += 1;
            let beside = if self.lives % 6 == 3 { Some(self.attend()?) } else { None };
            let done = match job {
                Job::Random => self.live_and_die()?,
                Job::Armed { at, action, misses } => {
                    let nth = if misses > 0 { 1 } else { 1 + self.random.below(most(at)) };
                    self.live_armed(Armed { at: at.name().into(), nth, action }, is_at_the_end(at))?
                }
            };
            if !done && let Some(violation) = self.jobs(|jobs| jobs.missed(job)) {
                self.harness.lives().book.troubles.push(violation);
            }
            if let Some((life, worker)) = beside {
                self.harness.let_end(life, worker, Duration::from_secs(20))?;
                self.harness.lives().attended += 1;
            }
            progress(&self.harness.lives());
        }
        Ok(())
    }

    fn jobs<T>(&self, of: impl FnOnce(&mut super::jobs::Jobs) -> T) -> T {
        of(&mut self.harness.jobs.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// A second process on the same journal, which only approves and resolves.
    fn attend(&mut self) -> Result<(u64, Worker), CrashError> {
        let ms = 100 + self.random.below(400);
        self.harness.start(self.slot, Mode::Attend { ms }, None)
    }

    /// A life that ends at an instant that is drawn. Some shut down instead, which is no kill, and some stand still for
    /// a while before. False when there was no kill.
    fn live_and_die(&mut self) -> Result<bool, CrashError> {
        let several = self.harness.run.owners > 1;
        if several && self.random.percent(8) {
            let ms = 50 + self.random.below(500);
            let (life, worker) = self.harness.start(self.slot, Mode::Leave { ms }, None)?;
            self.harness.let_end(life, worker, Duration::from_secs(60))?;
            self.harness.lives().left += 1;
        }
        let fate = self.draw_fate();
        let (life, worker) = self.harness.start(self.slot, Mode::UntilKilled, None)?;
        let mut stop_at = None;
        if self.harness.run.stops && self.random.percent(15) {
            stop_at = Some(worker.started + Duration::from_millis(20 + self.random.below(400)));
        }
        let mut seen = Seen::default();
        let mut end = worker.started
            + match fate {
                Fate::At(after) | Fate::Effect { after } => after,
                Fate::Submit { .. } => LONGEST,
            };
        if let Some(at) = stop_at {
            // Killed while it stands still would be killed at rest; it is to go on.
            end = end.max(at + Duration::from_millis(1));
        }
        let ended = loop {
            let (until, stops) = match stop_at {
                Some(at) if at < end => (at, true),
                _ => (end, false),
            };
            match worker.hear(until) {
                Heard::Nothing if stops => {
                    stop_at = None;
                    let length = self.harness.stop_ms(self.random.next());
                    worker.stop()?;
                    std::thread::sleep(length);
                    worker.go_on()?;
                    end += length + Duration::from_millis(self.random.below(300));
                    self.harness.lives().stops += 1;
                }
                Heard::Nothing => break false,
                Heard::End => break true,
                Heard::Event(event) => {
                    self.see(&mut seen, life, &worker, &event);
                    if let Fate::Submit { nth, then } = fate
                        && matches!(event, Event::Submitting { .. })
                        && seen.submits == nth
                    {
                        end = Instant::now() + then;
                    }
                }
            }
        };
        if let Fate::Effect { .. } = fate {
            self.await_effect()?;
        }
        let started_ms = worker.started_ms;
        let (status, rest) = worker.kill()?;
        let mut lives = self.harness.lives();
        for event in rest {
            seen.see(&event);
            lives.book.take(life, started_ms, event);
        }
        lives.book.worker_died(life);
        if ended {
            self.harness.unexpected.fetch_add(1, Ordering::Relaxed);
            lives.book.say(Rule::Trouble, format!("life {life}: the worker ended by itself: {status}"));
            return Ok(false);
        }
        lives.note_opening(seen.opened);
        *seen.phase(&mut lives.kills) += 1;
        lives.kills.beside_rests += u64::from(seen.marks.1 > 0);
        Ok(true)
    }

    /// A life that kills or stops itself at a failpoint. False when it did not get there in time.
    fn live_armed(&mut self, armed: Armed, at_the_end: bool) -> Result<bool, CrashError> {
        let name = armed.failpoint()?.name();
        let action = armed.action;
        let mode = match at_the_end {
            true => Mode::Leave { ms: 20 + self.random.below(200) },
            false => Mode::UntilKilled,
        };
        let (life, worker) = self.harness.start(self.slot, mode, Some(armed))?;
        let mut end = worker.started + UNTIL_REACHED;
        let (mut stopped, mut finished) = (false, false);
        let ended = loop {
            match worker.hear(end.min(Instant::now() + LOOK)) {
                Heard::End => break true,
                Heard::Event(event) => {
                    finished |= event == Event::Finished;
                    self.harness.lives().book.take(life, worker.started_ms, event);
                }
                Heard::Nothing if Instant::now() >= end => break false,
                Heard::Nothing if action == ArmedAction::Stop && !stopped && worker.stands_still() => {
                    stopped = true;
                    std::thread::sleep(self.harness.stop_ms(self.random.next()));
                    worker.go_on()?;
                    end = Instant::now() + Duration::from_millis(100 + self.random.below(400));
                }
                Heard::Nothing => {}
            }
        };
        let started_ms = worker.started_ms;
        let (status, rest) = if ended { worker.wait()? } else { worker.kill()? };
        let mut lives = self.harness.lives();
        for event in rest {
            finished |= event == Event::Finished;
            lives.book.take(life, started_ms, event);
        }
        lives.book.worker_died(life);
        let killed_itself = ended && action == ArmedAction::Kill && status.signal() == Some(KILLED);
        if ended && !killed_itself && !(finished && status.success()) {
            self.harness.unexpected.fetch_add(1, Ordering::Relaxed);
            lives.book.say(Rule::Trouble, format!("life {life}: the worker ended by itself: {status}"));
        }
        let at = lives.failpoints.entry(name).or_default();
        at.kills += u64::from(killed_itself);
        at.stops += u64::from(stopped);
        Ok(killed_itself || stopped)
    }

    fn see(&self, seen: &mut Seen, life: u64, worker: &Worker, event: &Event) {
        if seen.opened.is_none() && matches!(event, Event::Opened { .. }) {
            seen.opened = Some(worker.age());
        }
        seen.see(event);
        self.harness.lives().book.take(life, worker.started_ms, event.clone());
    }

    /// Returns as soon as the recorder's log has grown, or after a while.
    fn await_effect(&self) -> Result<(), CrashError> {
        let length = || std::fs::metadata(&self.harness.run.log).map(|log| log.len());
        let failed = || CrashError::system("the recorder's log");
        let before = length().map_err(failed())?;
        let end = Instant::now() + LONGEST;
        while length().map_err(failed())? == before && Instant::now() < end {
            std::hint::spin_loop();
        }
        Ok(())
    }

    /// Some die while they open, some at a submit or at an effect, the others at any time.
    fn draw_fate(&mut self) -> Fate {
        let opening = self.harness.lives().opening;
        let opening_us = u64::try_from(opening.as_micros()).unwrap_or(u64::MAX).clamp(10_000, 1_000_000);
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
