//! Many followers of many turns: whether each is told every record once and in order, and what they cost together.
//!
//! The turns run twice, first alone and then followed, so that a turn which followers slow down is seen. Half of the
//! followers are slow, a fifth connects anew every now and then, a fifth is in two other processes on the same file, and
//! all of them drop a `next` half-way from time to time. A turn has more records than are kept for its followers together, so
//! that the slow ones read the journal for themselves; models speak in it, and break off.
//!
//! Before that a few turns run with fast followers, and with half of them slow, taking turns: whether slow ones hold up a turn.

mod elsewhere;
mod follower;
mod pairs;
mod report;
mod speaker;
#[cfg(test)]
mod tests;
mod text;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use agent_shell_core::backends::SystemClock;
use agent_shell_core::backends::sqlite::{SqliteKeys, SqliteOptions, SqliteStore};
use agent_shell_core::data::Prompt;
use agent_shell_core::words::{SessionId, TurnId};
use agent_shell_core::{Call, Limits, Outcome, Plan, Retry, Shell, Step, Tool, ToolError, Turn};
use serde_json::{Value, json};

pub(super) use elsewhere::run as watch_elsewhere;
pub(super) use report::{Row, table};

use self::elsewhere::Elsewhere;
use self::follower::Crowd;
use self::speaker::Speaker;
use super::counted::{Counted, Reads};
use super::{BenchError, folder};

/// What a step hands over, about.
const OUTPUT_BYTES: usize = 3 << 10;

/// A turn and its session.
type Followable = (Turn, SessionId);

/// The settings of a run.
#[derive(Clone)]
pub(super) struct Settings<'a> {
    pub(super) followers: usize,
    pub(super) turns: usize,
    /// Steps of a turn, one after another. Each leaves two records; a question leaves one, and one more where it breaks off.
    pub(super) steps: usize,
    /// How long a step takes.
    pub(super) pace_ms: u64,
    /// How long a slow follower takes for a record, on average.
    pub(super) slow_ms: u64,
    pub(super) poll_ms: u64,
    pub(super) seed: u64,
    /// This program, which hands the rest of its arguments to the command line of the benchmarks.
    pub(super) program: PathBuf,
    pub(super) folder: &'a Path,
}

/// The whole of a run. `say` is told what runs next.
pub(super) fn run(settings: &Settings<'_>, mut say: impl FnMut(&str)) -> Result<Row, BenchError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let folder = folder::empty(settings.folder)?;
    runtime.block_on(async {
        let (shell, reads) = open(folder.path(), settings.pace_ms, settings.poll_ms).await?;
        say("a few turns run with fast followers, and with half of them slow");
        let pairs = pairs::run(&shell, settings).await?;
        say("the turns run alone");
        let alone = submit(&shell, settings, "alone", settings.turns).await?;
        all_answered(&alone).await?;
        let alone_ms = mean_ms(&alone).await?;

        say("the turns run, and are followed");
        let begin = Instant::now();
        let (calls, records) = counts(&reads);
        let turns = submit(&shell, settings, "followed", settings.turns).await?;
        let crowd = Crowd::new(settings, turns.iter().map(|(turn, session)| (turn.id(), *session)).collect());
        let others = [
            Elsewhere::start(settings, folder.path(), &crowd.turns, 1)?,
            Elsewhere::start(settings, folder.path(), &crowd.turns, 2)?,
        ];
        let memory = Memory::watch(crowd.clone());
        let mut told = crowd.at(&shell, 0).await?;
        let memory = memory.end().await?;
        let here = counts(&reads);
        say("the followers in the other processes end");
        let mut elsewhere = Others { reads_here: (here.0 - calls, here.1 - records), ..Others::default() };
        for other in others {
            let said = other.end().await?;
            told.add(&said.told);
            elsewhere.peak_bytes = elsewhere.peak_bytes.max(said.peak_bytes);
            elsewhere.reads_there.0 += said.reads.0;
            elsewhere.reads_there.1 += said.reads.1;
        }
        let seconds = begin.elapsed();
        let followed_ms = mean_ms(&turns).await?;
        shell.shutdown().await.map_err(BenchError::system)?;
        Ok(Row::new(settings, told, (alone_ms, followed_ms), pairs, memory, elsewhere, seconds))
    })
}

/// What is known of all processes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Others {
    /// The most that one of the other processes held.
    pub(super) peak_bytes: u64,
    /// Calls that read records, and the records, in the process that drives the turns, and in the others.
    pub(super) reads_here: (u64, u64),
    pub(super) reads_there: (u64, u64),
}

fn counts(reads: &Reads) -> (u64, u64) {
    (reads.calls.load(Ordering::Relaxed), reads.records.load(Ordering::Relaxed))
}

/// A shell whose tools and models take so long. With no pace it drives nothing, and only looks.
async fn open(folder: &Path, pace_ms: u64, poll_ms: u64) -> Result<(Shell, Reads), BenchError> {
    let mut limits = Limits::default();
    limits.poll_ms = poll_ms;
    if pace_ms == 0 {
        limits.held_sessions = 0;
    }
    let step = Tool::idempotent("step", "Takes a while", move |_: Value, call: Call| async move {
        tokio::time::sleep(Duration::from_millis(pace_ms)).await;
        Ok::<_, ToolError>(call.key().repeat(OUTPUT_BYTES / call.key().len().max(1)))
    });
    let (path, clock, reads) = (folder.join("shell.db"), Arc::new(SystemClock::new()), Reads::default());
    let keys = SqliteKeys::open(SqliteKeys::path_beside(&path), SqliteOptions::default(), clock.clone());
    let keys = keys.await.map_err(BenchError::system)?;
    let store = SqliteStore::store(&path, SqliteOptions::default(), clock).await;
    let mut store = store.map_err(BenchError::system)?;
    store.journal = Arc::new(Counted::read(store.journal.clone(), reads.clone()));
    let shell = Shell::on(store, Arc::new(keys)).limits(limits).tool(step).model(Speaker { pace_ms });
    Ok((shell.open().await.map_err(BenchError::system)?, reads))
}

/// One turn in each of so many sessions. Every tenth step asks a model.
async fn submit(
    shell: &Shell,
    settings: &Settings<'_>,
    name: &str,
    turns: usize,
) -> Result<Vec<Followable>, BenchError> {
    let count = turns;
    let mut turns = Vec::with_capacity(count);
    for nth in 0..count {
        let chain = (0..settings.steps).map(|nth| {
            let name = format!("step-{nth}");
            let step = if nth % 10 == 5 {
                let question = Step::ask(&name, "default", Prompt::new("Go on."), json!(nth));
                question.retry(Retry { attempts: 3, base_ms: 10, max_ms: 40 })
            } else {
                Step::tool(&name, "step", json!({ "nth": nth }))
            };
            if nth == 0 { step } else { step.after([format!("step-{}", nth - 1)]) }
        });
        let plan = Plan::new(chain).map_err(BenchError::system)?;
        let session = shell.session(format!("{name}-{nth}")).map_err(BenchError::system)?;
        let turn = session.submit(plan).await.map_err(BenchError::system)?;
        turns.push((turn, session.id().await.map_err(BenchError::system)?));
    }
    Ok(turns)
}

async fn all_answered(turns: &[Followable]) -> Result<(), BenchError> {
    for (turn, _) in turns {
        match turn.outcome().await.map_err(BenchError::system)? {
            Outcome::Answered(_) => {}
            other => return Err(BenchError::system(format!("a turn ended unexpectedly: {other:?}"))),
        }
    }
    Ok(())
}

/// From the first record of a turn to its last, on average, by the times of the records.
async fn mean_ms(turns: &[Followable]) -> Result<f64, BenchError> {
    let mut all = 0.0;
    for (turn, _) in turns {
        let mut follow = turn.follow();
        let (mut first, mut last) = (None, None);
        while let Some(followed) = follow.next().await.map_err(BenchError::system)? {
            if let agent_shell_core::Followed::Durable { entry, .. } = followed {
                first = first.or(Some(entry.time));
                last = Some(entry.time);
            }
        }
        let (Some(first), Some(last)) = (first, last) else {
            return Err(BenchError::system("a turn without records"));
        };
        all += last.since(first).as_secs_f64() * 1e3;
    }
    Ok(all / turns.len().max(1) as f64)
}

/// What this process held, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Held {
    /// Before anybody followed.
    pub(super) before: u64,
    /// When every follower had been told its first record.
    pub(super) joined: u64,
    /// The most from then on.
    pub(super) peak: u64,
}

/// Looks at the memory of this process while a crowd follows.
struct Memory {
    is_over: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Held>,
}

impl Memory {
    fn watch(crowd: Arc<Crowd>) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let stop = is_over.clone();
        let before = resident();
        let task = tokio::spawn(async move {
            let mut held = Held { before, ..Held::default() };
            while !stop.load(Ordering::SeqCst) {
                if crowd.have_all_joined() {
                    let now = resident();
                    held.joined = if held.joined == 0 { now } else { held.joined };
                    held.peak = held.peak.max(now);
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            held
        });
        Self { is_over, task }
    }

    async fn end(self) -> Result<Held, BenchError> {
        self.is_over.store(true, Ordering::SeqCst);
        self.task.await.map_err(BenchError::system)
    }
}

/// What this process holds now, in bytes; 0 where /proc does not say (proc(5)).
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// Reads the ids of turns and their sessions, a turn a line.
fn ids(text: &str) -> Result<Vec<(TurnId, SessionId)>, BenchError> {
    let parse = |line: &str| {
        let (turn, session) = line.split_once(' ').ok_or_else(|| BenchError::system("a turn alone"))?;
        let turn = turn.parse().map_err(BenchError::system)?;
        Ok((turn, session.parse().map_err(BenchError::system)?))
    };
    text.lines().map(parse).collect()
}
