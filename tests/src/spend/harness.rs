//! Submits every turn, lets workers drive them, kills and stops workers, and waits until everything has ended.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use agent_shell_core::data::Ceiling;
use agent_shell_core::ports::{SessionEntry, SessionFilter, SessionStatus};
use agent_shell_core::words::{SessionId, UserId};
use agent_shell_core::{Actor, Needs, Resolution, Shell, Subject, Tenant, Turn};
use futures::{StreamExt, TryStreamExt, stream};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::finance::Finance;
use super::worker::{LEASE_MS, gate};
use super::{Load, SpendError, Trouble};
use crate::random::Random;

/// What became of the workers, and of the waiting.
#[derive(Debug, Default)]
pub(super) struct Lives {
    pub(super) workers: usize,
    pub(super) turns: usize,
    pub(super) kills: u64,
    pub(super) stops: u64,
    pub(super) abandoned: u64,
    pub(super) cancels: u64,
    pub(super) resolved: u64,
    pub(super) reopened: u64,
    pub(super) bills: u64,
    pub(super) took: Duration,
}

/// After each look at what rests fewer than so many turns are cancelled.
const MOST_CANCELS: u64 = 14;

type Turns = BTreeMap<SessionId, Vec<Turn>>;

pub(super) async fn drive(
    shell: &Shell,
    folder: &Path,
    load: Load,
    trouble: Trouble,
) -> Result<Lives, SpendError> {
    let began = Instant::now();
    let turns = submit(shell, &load).await?;
    let mut lives = Lives { workers: trouble.workers, ..Lives::default() };
    lives.turns = turns.values().map(Vec::len).sum();
    let held = (load.sessions as usize * 13 / 10).div_ceil(trouble.workers);
    let mut workers = Vec::new();
    for _ in 0..trouble.workers {
        workers.push(Worker::start(folder, &load, held)?);
    }
    let until = began + trouble.finish_within;
    open_gate(shell, folder, &load, until).await?;
    let finance = Finance::new(folder, load.seed)?.works(shell.clone());
    let is_over = AtomicBool::new(false);
    let start = || Worker::start(folder, &load, held);
    // Whoever looks after rests takes long when much is at work, and kills must not wait for that.
    let ((), (kills, stops)) = tokio::try_join!(
        async {
            let done = look_after(shell, &turns, load.seed, until, &mut lives).await;
            is_over.store(true, Ordering::SeqCst);
            done
        },
        make_trouble(workers, start, (load.seed, trouble), &is_over),
    )?;
    (lives.kills, lives.stops) = (kills, stops);
    (lives.reopened, lives.bills) = finance.end().await?;
    lives.took = began.elapsed();
    Ok(lives)
}

/// Resolves, abandons and cancels until everything has ended.
async fn look_after(
    shell: &Shell,
    turns: &Turns,
    seed: u64,
    until: Instant,
    lives: &mut Lives,
) -> Result<(), SpendError> {
    let mut person = Random::of(&[seed, 0x7065_7273]);
    loop {
        let at_work = at_work(shell).await?;
        if at_work.is_empty() {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(SpendError::Stuck("not everything ended in time".into()));
        }
        attend(shell, turns, &mut person, lives).await?;
        for _ in 0..person.below(MOST_CANCELS) {
            cancel(turns, &at_work, &mut person, lives).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Kills and stops workers until everything has ended, and says how many.
async fn make_trouble(
    mut workers: Vec<Worker>,
    start: impl Fn() -> Result<Worker, SpendError>,
    (seed, trouble): (u64, Trouble),
    is_over: &AtomicBool,
) -> Result<(u64, u64), SpendError> {
    let mut random = Random::of(&[seed, 0x6b69_6c6c]);
    let (mut kills, mut stops) = (trouble.kills, trouble.stops);
    let mut next = Instant::now() + Duration::from_millis(300);
    while !is_over.load(Ordering::SeqCst) {
        for worker in &mut workers {
            worker.look()?;
        }
        if kills + stops > 0 && Instant::now() >= next {
            next = Instant::now() + Duration::from_millis(80 + random.below(500));
            let place = random.below(workers.len() as u64) as usize;
            if random.below(kills + stops) < kills {
                kills -= 1;
                workers.swap_remove(place).kill()?;
                workers.push(start()?);
            } else if workers[place].stopped.is_none() {
                stops -= 1;
                let length = LEASE_MS * 11 / 10 + random.below(LEASE_MS);
                workers[place].stop(Duration::from_millis(length))?;
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for worker in workers {
        worker.kill()?;
    }
    Ok((trouble.kills - kills, trouble.stops - stops))
}

/// Waits until the first turn of every session has started, and lets all of them go on at once.
async fn open_gate(shell: &Shell, folder: &Path, load: &Load, until: Instant) -> Result<(), SpendError> {
    let filter = SessionFilter { status: Some(SessionStatus::Running), ..SessionFilter::default() };
    loop {
        let running = shell.sessions(filter.clone(), None, usize::MAX >> 1).await?.len() as u64;
        if running >= load.sessions {
            return Ok(std::fs::write(gate(folder), [])?);
        }
        if Instant::now() > until {
            return Err(SpendError::Stuck(format!("only {running} turns have started")));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Submits every turn. Some must have ended soon, and some have a budget of their own.
async fn submit(shell: &Shell, load: &Load) -> Result<Turns, SpendError> {
    let sessions = stream::iter(0..load.sessions).map(|number| submit_to(shell, load, number));
    sessions.buffer_unordered(64).try_collect().await
}

async fn submit_to(shell: &Shell, load: &Load, number: u64) -> Result<(SessionId, Vec<Turn>), SpendError> {
    let user =
        UserId::new(format!("user-{}", number % load.users())).map_err(agent_shell_core::Error::from)?;
    let session = shell.session_of(Tenant::default(), format!("session-{number}"), Subject::User(user))?;
    let mut turns = Vec::new();
    for round in 0..load.rounds {
        let mut random = Random::of(&[load.seed, number, round]);
        let mut submit = session.submit(format!("Do {number}, part {round} of run {}", load.seed));
        // None of the first, for these wait until all have started.
        if round > 0 && random.percent(40) {
            // Most of these end while something of them still runs.
            let longest_ms = if random.percent(50) { 4_000 } else { 20_000 };
            submit = submit.deadline(Duration::from_millis(300 + random.below(longest_ms)));
        }
        submit = match random.below(4) {
            0 => submit.budget(Ceiling { tool_calls: Some(1 + random.below(6)), ..Ceiling::NONE }),
            1 => submit.budget(Ceiling { nano_usd: Some(10_000 + random.below(90_000)), ..Ceiling::NONE }),
            2 => submit.budget(Ceiling { tokens: Some(2_000 + random.below(12_000)), ..Ceiling::NONE }),
            _ => submit,
        };
        turns.push(submit.dedupe(format!("round-{round}")).await?);
    }
    Ok((session.id().await?, turns))
}

/// The sessions in which something has not ended.
async fn at_work(shell: &Shell) -> Result<Vec<SessionId>, SpendError> {
    let entries = shell.sessions(SessionFilter::default(), None, usize::MAX >> 1).await?;
    let works = |entry: &SessionEntry| entry.mark.status != SessionStatus::Idle || entry.waiting_mail > 0;
    Ok(entries.iter().filter(|entry| works(entry)).map(|entry| entry.id).collect())
}

/// Cancels a turn, wherever it is: before its start, among its steps, while it rests.
async fn cancel(turns: &Turns, at_work: &[SessionId], random: &mut Random, lives: &mut Lives) {
    let session = random.pick(at_work).and_then(|session| turns.get(session));
    let Some(turn) = session.and_then(|turns| random.pick(turns)) else { return };
    // One that has ended is refused.
    lives.cancels += u64::from(turn.cancel("it is not needed any more", &Actor::Host).await.is_ok());
}

/// Resolves or abandons what rests.
async fn attend(
    shell: &Shell,
    turns: &Turns,
    random: &mut Random,
    lives: &mut Lives,
) -> Result<(), SpendError> {
    let filter = SessionFilter { status: Some(SessionStatus::Resting), ..SessionFilter::default() };
    for entry in shell.sessions(filter, None, 64).await? {
        for turn in turns.get(&entry.id).into_iter().flatten() {
            let Some(rest) = turn.rests().await?.into_iter().next() else { continue };
            let Needs::Resolution { not_applied_from, .. } = rest.needs else { continue };
            let actor = Actor::Host;
            // What moved in the meantime is refused, and looked at again.
            let done = match random.below(3) {
                0 => turn.abandon("it costs too much", &actor).await.map(|()| lives.abandoned += 1),
                1 if now_ms() > not_applied_from.as_millis() => {
                    turn.resolve_rest(&rest, Resolution::Retry, &actor).await.map(|()| lives.resolved += 1)
                }
                _ => {
                    let applied = Resolution::Applied(json!({ "n": 0 }));
                    turn.resolve_rest(&rest, applied, &actor).await.map(|()| lives.resolved += 1)
                }
            };
            drop(done);
            break;
        }
    }
    Ok(())
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A worker's process. It is killed when this is dropped, and goes when this process dies.
struct Worker {
    child: Child,
    /// Lets it go on in time, as long as it stands still. It is a thread of its own, for what stands still may hold a lock that
    /// everybody else waits for.
    stopped: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts one. It is not waited for: a kill may fall into its opening, too.
    fn start(folder: &Path, load: &Load, held: usize) -> Result<Self, SpendError> {
        let mut program = Command::new(std::env::current_exe()?);
        program.arg("worker").args(load.arguments()).args(["--held", &held.to_string(), "--dir"]).arg(folder);
        let child = program.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        Ok(Self { child, stopped: None })
    }

    fn signal(&self, signal: Signal) -> Result<(), SpendError> {
        kill_process(Pid::from_child(&self.child), signal).map_err(|error| SpendError::System(error.into()))
    }

    fn stop(&mut self, how_long: Duration) -> Result<(), SpendError> {
        self.signal(Signal::STOP)?;
        let id = Pid::from_child(&self.child);
        self.stopped = Some(std::thread::spawn(move || {
            std::thread::sleep(how_long);
            // It is not waited for before this thread has ended, so the id is still its own.
            if let Err(error) = kill_process(id, Signal::CONT) {
                eprintln!("spend: a worker does not go on: {error}");
            }
        }));
        Ok(())
    }

    /// Looks whether it lives and goes on.
    fn look(&mut self) -> Result<(), SpendError> {
        if self.stopped.as_ref().is_some_and(|stopped| !stopped.is_finished()) {
            return Ok(());
        }
        self.stopped = None;
        if let Some(status) = self.child.try_wait()? {
            return Err(SpendError::Stuck(format!("a worker ended by itself: {status}")));
        }
        Ok(())
    }

    /// Waits for its end, and before for the thread that knows its id.
    fn gone(&mut self) -> Result<(), SpendError> {
        if let Some(stopped) = self.stopped.take() {
            drop(stopped.join());
        }
        self.child.wait()?;
        Ok(())
    }

    fn kill(mut self) -> Result<(), SpendError> {
        self.child.kill()?;
        self.gone()?;
        Ok(())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may be dead already; in either case it is gone afterwards.
        drop(self.child.kill());
        drop(self.gone());
    }
}
