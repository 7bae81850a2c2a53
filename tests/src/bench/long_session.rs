//! Whether a long conversation costs more than a short one: one session in which a model calls two tools in every turn and
//! answers, with a window of a fixed size, beside new sessions that have had ten turns.
//!
//! The window is full before the tenth turn, so every measured turn asks about as much. The model is a script: what is measured is
//! what Agent Shell spends.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agent_shell_core::backends::SystemClock;
use agent_shell_core::backends::sqlite::{SqliteKeys, SqliteOptions, SqliteStore};
use agent_shell_core::data::Message;
use agent_shell_core::ports::ModelRequest;
use agent_shell_core::{Call, Outcome, Reply, Scripted, Session, Shell, Tool, ToolError, ToolLoop, Window};
use serde::Serialize;
use serde_json::{Value, json};

use super::counted::Counted;
use super::report::{align, rounded};
use super::rounds::median;
use super::{BenchError, Stopwatch, folder};

/// What of a conversation is shown at most, in bytes of JSON.
const WINDOW_BYTES: u64 = 6_000;
/// The youngest age, which new sessions have.
const YOUNG: u64 = 10;
/// What a user, a tool and the model say at once, in bytes.
const SAID_BYTES: usize = 150;

/// The settings of a run.
pub(super) struct Settings<'a> {
    /// The ages at which is measured, the youngest first; each but the first in the one long session.
    pub(super) marks: Vec<u64>,
    /// How many new sessions are measured beside each age, in turn with the turns around it.
    pub(super) young: usize,
    pub(super) folder: &'a Path,
}

/// The turns at which is measured, up to so many.
pub(super) fn marks(turns: u64) -> Vec<u64> {
    let ages = std::iter::successors(Some(YOUNG), |age| age.checked_mul(10));
    ages.take_while(|age| *age <= turns).collect()
}

/// How many turns are measured on each side of a mark.
fn side(mark: u64) -> u64 {
    (mark / 2).min(100)
}

/// What was seen around one age.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Cost {
    pub(super) turns_us: Vec<f64>,
    pub(super) bytes: u64,
    pub(super) cpu: Duration,
    pub(super) longest_bytes: u64,
}

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Row {
    pub(super) bench: &'static str,
    pub(super) system: &'static str,
    pub(super) journal: &'static str,
    /// The turns that the session has had in the middle of the measured ones.
    pub(super) turn: u64,
    pub(super) measured_turns: usize,
    /// Bodies, blobs and snapshots, on average.
    pub(super) bytes_per_turn: f64,
    /// The median.
    pub(super) us_per_turn: f64,
    pub(super) cpu_us_per_turn: f64,
    /// The same two of the new sessions that took turns with these: a slow minute of the machine falls on both.
    pub(super) beside_us_per_turn: f64,
    pub(super) beside_cpu_us_per_turn: f64,
    /// Of the messages of a question, in JSON.
    pub(super) longest_prompt_bytes: u64,
    pub(super) bound_bytes: u64,
}

impl Cost {
    fn us_per_turn(&self) -> f64 {
        rounded(median(self.turns_us.iter().copied()).unwrap_or(0.0), 1)
    }

    fn cpu_us_per_turn(&self) -> f64 {
        rounded(self.cpu.as_secs_f64() * 1e6 / self.turns_us.len().max(1) as f64, 1)
    }

    fn add(&mut self, other: Self) {
        self.turns_us.extend(other.turns_us);
        self.bytes += other.bytes;
        self.cpu += other.cpu;
        self.longest_bytes = self.longest_bytes.max(other.longest_bytes);
    }

    pub(super) fn row(&self, turn: u64, beside: &Self) -> Row {
        let turns = self.turns_us.len().max(1) as f64;
        Row {
            bench: "long-session",
            system: "agent-shell",
            journal: "sqlite",
            turn,
            measured_turns: self.turns_us.len(),
            bytes_per_turn: rounded(self.bytes as f64 / turns, 1),
            us_per_turn: self.us_per_turn(),
            cpu_us_per_turn: self.cpu_us_per_turn(),
            beside_us_per_turn: beside.us_per_turn(),
            beside_cpu_us_per_turn: beside.cpu_us_per_turn(),
            longest_prompt_bytes: self.longest_bytes,
            bound_bytes: WINDOW_BYTES,
        }
    }
}

/// Runs everything.
pub(super) fn run(settings: &Settings<'_>, mut say: impl FnMut(&str)) -> Result<Vec<Row>, BenchError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let folder = folder::empty(settings.folder)?;
    runtime.block_on(async {
        let bench = Bench::open(folder.path()).await?;
        let session = |name: String| bench.shell.session(name).map_err(BenchError::system);
        let (long, mut young, mut old) = (session("long".into())?, Cost::default(), Vec::new());
        let Some((&first, later)) = settings.marks.split_first() else { return Ok(Vec::new()) };
        let mut turns = 0;
        for (nth, &mark) in later.iter().chain(later.is_empty().then_some(&first)).enumerate() {
            say(&format!("turn {turns}: on to {mark}"));
            turns = if later.is_empty() { turns } else { go_on(&long, turns, mark - side(mark)).await? };
            let (mut cost, mut beside) = (Cost::default(), Cost::default());
            for fresh in 0..settings.young {
                let of_age = 2 * side(mark) * (fresh as u64 + 1) / settings.young as u64;
                let through = mark - side(mark) + of_age;
                // Now one is first, now the other.
                for is_old in [fresh % 2 == 0, fresh % 2 == 1] {
                    if !is_old {
                        let new = session(format!("young-{nth}-{fresh}"))?;
                        let had = go_on(&new, 0, first - side(first)).await?;
                        bench.measure(&new, had, first + side(first), &mut beside).await?;
                    } else if !later.is_empty() {
                        turns = bench.measure(&long, turns, through, &mut cost).await?;
                    }
                }
            }
            if !later.is_empty() {
                old.push(cost.row(mark, &beside));
            }
            young.add(beside);
        }
        bench.shell.shutdown().await.map_err(BenchError::system)?;
        Ok(std::iter::once(young.row(first, &young)).chain(old).collect())
    })
}

struct Bench {
    shell: Shell,
    written: Arc<AtomicU64>,
    /// The longest question since it was last looked at, in bytes of its messages.
    longest: Arc<AtomicU64>,
}

impl Bench {
    async fn open(folder: &Path) -> Result<Self, BenchError> {
        let (written, longest) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let path = folder.join("shell.db");
        let clock = Arc::new(SystemClock::new());
        let keys = SqliteKeys::open(SqliteKeys::path_beside(&path), SqliteOptions::default(), clock.clone());
        let keys = keys.await.map_err(BenchError::system)?;
        let mut store =
            SqliteStore::store(&path, SqliteOptions::default(), clock).await.map_err(BenchError::system)?;
        store.journal = Arc::new(Counted::new(store.journal.clone(), written.clone()));
        let look = Tool::pure("look", "Looks something up", |_: Value, call: Call| async move {
            Ok::<_, ToolError>(said(call.key()))
        });
        let seen = longest.clone();
        let model = Scripted::with(move |request| {
            seen.fetch_max(bytes_of(request), Ordering::Relaxed);
            reply(request)
        });
        let planner =
            ToolLoop::new().instructions("You look things up.").history(Window::bytes(WINDOW_BYTES));
        let shell = Shell::on(store, Arc::new(keys)).tool(look).model(model).planner(planner);
        Ok(Self { shell: shell.open().await.map_err(BenchError::system)?, written, longest })
    }

    /// Goes on with a session that has had `turns` until it has had `through`, which it returns, and measures these.
    async fn measure(
        &self,
        session: &Session,
        mut turns: u64,
        through: u64,
        cost: &mut Cost,
    ) -> Result<u64, BenchError> {
        self.longest.store(0, Ordering::Relaxed);
        let (before, cpu) = (self.written.load(Ordering::Relaxed), Stopwatch::start());
        while turns < through {
            let watch = Stopwatch::start();
            turn(session, turns).await?;
            cost.turns_us.push(watch.stop(1).elapsed.as_secs_f64() * 1e6);
            turns += 1;
        }
        cost.cpu += cpu.stop(1).cpu;
        cost.bytes += self.written.load(Ordering::Relaxed) - before;
        cost.longest_bytes = cost.longest_bytes.max(self.longest.load(Ordering::Relaxed));
        Ok(turns)
    }
}

/// Goes on with a session that has had `turns` until it has had `through`, which it returns.
async fn go_on(session: &Session, turns: u64, through: u64) -> Result<u64, BenchError> {
    for nth in turns..through {
        turn(session, nth).await?;
    }
    Ok(through)
}

async fn turn(session: &Session, nth: u64) -> Result<(), BenchError> {
    let turn = session.submit(said(&format!("turn {nth:08}"))).await.map_err(BenchError::system)?;
    match turn.outcome().await.map_err(BenchError::system)? {
        Outcome::Answered(_) => Ok(()),
        other => Err(BenchError::system(format!("a turn ended unexpectedly: {other:?}"))),
    }
}

/// Two calls for what a user says, and an answer for what came of them.
fn reply(request: &ModelRequest) -> Reply {
    match request.messages.last().map(|message| &**message) {
        Some(Message::Results(_)) => Reply::text(said("an answer")),
        _ => Reply::calls(["left", "right"].map(|side| ("look", json!({ "for": said(side) })))),
    }
}

fn said(words: &str) -> String {
    format!("{words:.<SAID_BYTES$}")
}

fn bytes_of(request: &ModelRequest) -> u64 {
    request.messages.iter().map(|message| json!(message).to_string().len() as u64).sum()
}

/// The table, with what each row is to the first in bytes, and in time to what ran in turn with it.
pub(super) fn table(rows: &[Row]) -> String {
    let head = [
        "turn",
        "system",
        "journal",
        "measured",
        "bytes/turn",
        "us/turn",
        "CPU us/turn",
        "bytes",
        "time",
        "CPU",
        "longest prompt",
        "bound",
    ];
    let mut lines = vec![head.map(String::from).to_vec()];
    let ratio = |part: f64, whole: f64| if whole > 0.0 { format!("{:.2}", part / whole) } else { "-".into() };
    if let Some(first) = rows.first() {
        lines.extend(rows.iter().map(|row| {
            vec![
                row.turn.to_string(),
                row.system.into(),
                row.journal.into(),
                row.measured_turns.to_string(),
                format!("{:.0}", row.bytes_per_turn),
                format!("{:.0}", row.us_per_turn),
                format!("{:.0}", row.cpu_us_per_turn),
                ratio(row.bytes_per_turn, first.bytes_per_turn),
                ratio(row.us_per_turn, row.beside_us_per_turn),
                ratio(row.cpu_us_per_turn, row.beside_cpu_us_per_turn),
                row.longest_prompt_bytes.to_string(),
                row.bound_bytes.to_string(),
            ]
        }));
    }
    align(&lines, 1..=2)
}
