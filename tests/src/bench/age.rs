//! Whether an old session costs more than a young one: bytes that are given to the journal, CPU, and time for each
//! turn, of sessions that have had a thousand turns beside such that have had ten.
//!
//! Old sessions are made first. Then young and old ones run turns in turn, so that a slow minute of the machine falls
//! on both. Every turn is the same; no model is asked, and the tools end at once.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agent_shell_core::backends::SystemClock;
use agent_shell_core::backends::sqlite::{SqliteKeys, SqliteOptions, SqliteStore};
use agent_shell_core::{Call, Outcome, Plan, Request, Session, Shell, Step, Tool, ToolError, input, output};
use serde::Serialize;
use serde_json::{Value, json};

use super::counted::Counted;
use super::report::{align, rounded};
use super::rounds::median;
use super::{BenchError, Stopwatch, folder};

/// Turns of each session that are measured, one after another.
const WINDOW: usize = 10;
/// Steps of a turn.
const STEPS: usize = 8;

/// The settings of a run.
pub(super) struct Settings<'a> {
    /// Sessions of each age, all at once.
    pub(super) sessions: usize,
    /// How often young sessions are made and held against the old ones.
    pub(super) rounds: usize,
    /// The turns that a young and an old session have had in the middle of the window, the old ones of the first round.
    pub(super) ages: [usize; 2],
    pub(super) folder: &'a Path,
}

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Row {
    pub(super) bench: &'static str,
    pub(super) system: &'static str,
    pub(super) journal: &'static str,
    pub(super) sessions: usize,
    /// The turns that a session has had in the middle of the window.
    pub(super) turn: usize,
    /// Bodies, blobs and snapshots; in the window's turns, on average.
    pub(super) journal_bytes_per_turn: f64,
    pub(super) cpu_us_per_turn: f64,
    /// The median of the window's rounds.
    pub(super) ms_per_turn: f64,
}

/// What the turns of one age have cost so far.
#[derive(Default)]
struct Cost {
    turns: usize,
    bytes: u64,
    cpu: Duration,
    rounds_ms: Vec<f64>,
}

/// Runs everything.
pub(super) fn run(settings: &Settings<'_>, mut say: impl FnMut(&str)) -> Result<Vec<Row>, BenchError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let folder = folder::empty(settings.folder)?;
    runtime.block_on(async {
        let written = Arc::new(AtomicU64::new(0));
        let shell = open(folder.path(), written.clone()).await?;
        let group = |name: String| -> Result<Vec<Session>, BenchError> {
            let sessions = (0..settings.sessions).map(|nth| shell.session(format!("{name}-{nth}")));
            sessions.collect::<Result<_, _>>().map_err(BenchError::system)
        };
        let [young, old] = settings.ages.map(|age| age.saturating_sub(WINDOW / 2));
        let aged = group("old".into())?;
        for turn in 0..old {
            say(&format!("turn {turn} of {old}, before the measured ones"));
            one_turn_each(&aged).await?;
        }
        let mut costs = [Cost::default(), Cost::default()];
        for round in 0..settings.rounds {
            let fresh = group(format!("young-{round}"))?;
            for _ in 0..young {
                one_turn_each(&fresh).await?;
            }
            for turn in 0..WINDOW {
                say(&format!("round {round} of {}, turn {turn} of {WINDOW}", settings.rounds));
                let mut pair = [(&fresh, 0), (&aged, 1)];
                // Neither is always the first.
                pair.rotate_left(turn % 2);
                for (sessions, which) in pair {
                    costs[which].measure(sessions, &written).await?;
                }
            }
        }
        shell.shutdown().await.map_err(BenchError::system)?;
        Ok(settings.ages.iter().zip(&costs).map(|(&turn, cost)| cost.row(settings.sessions, turn)).collect())
    })
}

impl Cost {
    async fn measure(&mut self, sessions: &[Session], written: &AtomicU64) -> Result<(), BenchError> {
        let before = written.load(Ordering::Relaxed);
        let watch = Stopwatch::start();
        one_turn_each(sessions).await?;
        let measured = watch.stop(sessions.len() as u64);
        self.turns += sessions.len();
        self.bytes += written.load(Ordering::Relaxed) - before;
        self.cpu += measured.cpu;
        self.rounds_ms.push(measured.elapsed.as_secs_f64() * 1e3 / sessions.len() as f64);
        Ok(())
    }

    fn row(&self, sessions: usize, turn: usize) -> Row {
        let turns = self.turns.max(1) as f64;
        Row {
            bench: "age",
            system: "agent-shell",
            journal: "sqlite",
            sessions,
            turn,
            journal_bytes_per_turn: rounded(self.bytes as f64 / turns, 1),
            cpu_us_per_turn: rounded(self.cpu.as_secs_f64() * 1e6 / turns, 1),
            ms_per_turn: rounded(median(self.rounds_ms.iter().copied()).unwrap_or(0.0), 4),
        }
    }
}

/// The table, with what each row is to the first.
pub(super) fn table(rows: &[Row]) -> String {
    let head =
        ["turn", "system", "journal", "journal bytes/turn", "CPU us/turn", "ms/turn", "bytes", "CPU", "time"];
    let mut lines = vec![head.map(String::from).to_vec()];
    let ratio = |part: f64, whole: f64| if whole > 0.0 { format!("{:.2}", part / whole) } else { "-".into() };
    if let Some(first) = rows.first() {
        lines.extend(rows.iter().map(|row| {
            vec![
                row.turn.to_string(),
                row.system.into(),
                row.journal.into(),
                format!("{:.0}", row.journal_bytes_per_turn),
                format!("{:.0}", row.cpu_us_per_turn),
                format!("{:.3}", row.ms_per_turn),
                ratio(row.journal_bytes_per_turn, first.journal_bytes_per_turn),
                ratio(row.cpu_us_per_turn, first.cpu_us_per_turn),
                ratio(row.ms_per_turn, first.ms_per_turn),
            ]
        }));
    }
    align(&lines, 1..=2)
}

/// One turn in every session, all at once.
async fn one_turn_each(sessions: &[Session]) -> Result<(), BenchError> {
    let turns = sessions.iter().map(|session| async move {
        let chain = (0..STEPS).map(|nth| match nth {
            0 => Step::tool("0", "step", input("")),
            _ => Step::tool(nth.to_string(), "step", output((nth - 1).to_string())),
        });
        let request = Request::plan(Plan::new(chain).map_err(BenchError::system)?).input(json!("a question"));
        let turn = session.submit(request).await.map_err(BenchError::system)?;
        match turn.outcome().await.map_err(BenchError::system)? {
            Outcome::Answered(_) => Ok(()),
            other => Err(BenchError::system(format!("a turn ended unexpectedly: {other:?}"))),
        }
    });
    futures::future::try_join_all(turns).await.map(drop)
}

async fn open(folder: &Path, written: Arc<AtomicU64>) -> Result<Shell, BenchError> {
    let path = folder.join("shell.db");
    let clock = Arc::new(SystemClock::new());
    let keys = SqliteKeys::open(SqliteKeys::path_beside(&path), SqliteOptions::default(), clock.clone());
    let keys = keys.await.map_err(BenchError::system)?;
    let mut store =
        SqliteStore::store(&path, SqliteOptions::default(), clock).await.map_err(BenchError::system)?;
    store.journal = Arc::new(Counted::new(store.journal.clone(), written));
    let step = Tool::pure("step", "Ends at once", |_: Value, call: Call| async move {
        let mut output = call.key().repeat(8);
        output.truncate(200);
        Ok::<_, ToolError>(output)
    });
    Shell::on(store, Arc::new(keys)).tool(step).open().await.map_err(BenchError::system)
}
