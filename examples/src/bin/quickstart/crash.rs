//! `--crash N`: workers that kill themselves, and the supervisor that starts one after another.
//!
//! A run takes a fraction of a second, most of it in one scan or another, so instants drawn over its time alone would
//! leave the interesting ones out. So each worker draws twice: a stage, and how much it does in it. The stages follow
//! each other as the kills do, that all N find a run that goes on. When the worker comes to that place, and a few
//! random milliseconds have passed in which everything goes on, it sends itself SIGKILL. One in five draws nothing but
//! a time, from its start on. One that reaches the end of the run with kills left dies there, before its summary.
//! Nothing is slowed down or held up for it.

use std::process::{Command, ExitCode, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use agent_shell_core::backends::{SystemClock, SystemEntropy, TokioSpawn};
use agent_shell_core::ports::Spawn;
use agent_shell_core::words::{Clock, Entropy};

use crate::Trouble;
use crate::args::Options;

/// How long after its place, or its start, a worker dies.
const MAX_DELAY: Duration = Duration::from_millis(5);
const MAX_EARLY_DELAY: Duration = Duration::from_millis(60);

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Scanning,
    Filing,
    Publishing,
    /// The run has failed, and what it did is undone.
    Undoing,
    /// The turn has ended, or waits for an approval, and nobody was told.
    Ended,
}

impl Stage {
    /// The stage for the worker at this place in the row of all workers, from 0 to 99, and how many steps' beginnings
    /// and ends it passes there at most.
    fn at(percent: u64, undoes: bool) -> (Self, u64) {
        match (percent, undoes) {
            (0..35, false) | (0..20, true) => (Self::Scanning, 10),
            (35..75, false) | (20..45, true) => (Self::Filing, 12),
            (_, false) | (45..60, true) => (Self::Publishing, 4),
            (_, true) => (Self::Undoing, 12),
        }
    }
}

/// Kills the process at an instant that was drawn when it started; or never.
#[derive(Debug)]
pub(crate) struct Fuse(Option<Draw>);

#[derive(Debug)]
struct Draw {
    stage: Stage,
    passes_left: AtomicU32,
    early: bool,
}

impl Fuse {
    /// The fuse of this process: a worker before which fewer than `options.crashes` were killed has one.
    pub(crate) fn of(options: &Options) -> Self {
        let (of, Some(kills)) = (u64::from(options.crashes), options.worker) else { return Self(None) };
        let kills = u64::from(kills);
        if kills >= of {
            return Self(None);
        }
        let random = SystemEntropy::new();
        let (stage, most) = Stage::at((kills * 100 + random.below(100)) / of, options.fail_publish);
        let passes_left = u32::try_from(random.below(most)).unwrap_or(0).into();
        // The first worker dies at its work, that there is something to resume.
        Self(Some(Draw { stage, passes_left, early: kills > 0 && random.below(5) == 0 }))
    }

    /// Starts the time of a worker that drew nothing but a time.
    pub(crate) fn light(&self) {
        if self.0.as_ref().is_some_and(|draw| draw.early) {
            burn(MAX_EARLY_DELAY);
        }
    }

    /// A step of this stage begins or ends.
    pub(crate) fn passes(&self, stage: Stage) {
        let Some(draw) = &self.0 else { return };
        if stage == Stage::Ended {
            die();
        }
        let passed = |left: u32| left.checked_sub(1);
        let is_there =
            || draw.passes_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, passed).is_err();
        if stage > draw.stage || stage == draw.stage && is_there() {
            burn(MAX_DELAY);
        }
    }
}

fn burn(longest: Duration) {
    let Some(spawn) = TokioSpawn::current() else { return };
    let longest = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
    let delay = Duration::from_micros(SystemEntropy::new().below(longest + 1));
    spawn.spawn(Box::pin(async move {
        SystemClock::new().sleep(delay).await;
        die();
    }));
}

/// Ends this process as `kill -9` does.
fn die() -> ! {
    #[cfg(unix)]
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    std::process::abort()
}

/// Lets this worker end with the process that started it, which would else find it still at work when it is started
/// again.
pub(crate) fn end_with_supervisor() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
}

/// Starts workers until one comes to the end of the run, and ends as it does. The workers tell how the work goes.
pub(crate) fn supervise(options: &Options) -> Result<ExitCode, Trouble> {
    let program = std::env::current_exe().map_err(Trouble::Program)?;
    let mut kills = 0;
    loop {
        let mut worker = Command::new(&program);
        let status = worker.args(options.worker_arguments(kills)).status().map_err(Trouble::Program)?;
        if let Some(code) = status.code() {
            return Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)));
        }
        if !was_killed(status) || kills == options.crashes {
            return Err(Trouble::Program(std::io::Error::other(format!("a worker ended with {status}"))));
        }
        kills += 1;
        let text = format!("killed    {kills} of {} times, starting again", options.crashes);
        if options.json {
            eprintln!("{text}");
        } else {
            println!("{text}");
        }
    }
}

#[cfg(unix)]
fn was_killed(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    status.signal() == Some(rustix::process::Signal::KILL.as_raw())
}

#[cfg(not(unix))]
fn was_killed(status: ExitStatus) -> bool {
    !status.success()
}
