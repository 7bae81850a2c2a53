//! A worker: an owner of sessions, and nothing else. It drives what it finds until it is killed.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agent_shell_core::backends::SystemClock;
use agent_shell_core::backends::sqlite::{SqliteKeys, SqliteOptions, SqliteStore};
use agent_shell_core::data::Ceiling;
use agent_shell_core::data::Settings;
use agent_shell_core::runtime::Ceilings;
use agent_shell_core::{Limits, PlanView, Planned, Planner, PlannerError, Shell, ToolLoop};
use async_trait::async_trait;

use super::vendor::{QUESTION, Vendor};
use super::watched::Watched;
use super::words::Log;
use super::{Load, SpendError, journal};
use crate::arguments::Arguments;

pub(super) fn run(mut given: Arguments) -> Result<(), SpendError> {
    let folder: PathBuf = given.required("--dir")?;
    let load = Load::take(&mut given)?;
    let held = given.required("--held")?;
    given.finish()?;
    std::thread::spawn(exit_at_end_of_stdin);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async move {
        let _shell = open(&folder, &load, held).await?;
        std::future::pending().await
    })
}

fn exit_at_end_of_stdin() {
    let mut buffer = [0; 64];
    while !matches!(std::io::stdin().lock().read(&mut buffer), Ok(0) | Err(_)) {}
    std::process::exit(0);
}

/// A shell that holds at most so many sessions; with none it only looks, and posts.
pub(super) async fn open(folder: &Path, load: &Load, held: usize) -> Result<Shell, SpendError> {
    let clock = Arc::new(SystemClock::new());
    let log = Arc::new(Log::open(folder)?);
    let (path, mut options) = (journal(folder), SqliteOptions::default());
    options.busy_timeout_ms = 20_000;
    let store = SqliteStore::store(&path, options.clone(), clock.clone()).await;
    let mut store = store.map_err(agent_shell_core::Error::from)?;
    let keys = SqliteKeys::open(SqliteKeys::path_beside(&path), options, clock).await;
    let keys = keys.map_err(agent_shell_core::Error::from)?;
    store.ledger = Arc::new(Watched::new(store.ledger.clone(), log.clone()));
    let mut limits = Limits::default();
    limits.model_ms = u64::try_from(QUESTION.as_millis()).unwrap_or(u64::MAX);
    (limits.poll_ms, limits.lateness_ms, limits.lease_ms, limits.probe_attempts) = (60, 100, LEASE_MS, 3);
    (limits.running_turns, limits.held_sessions) = (held.max(1), held);
    limits.plan_ms = 120_000;
    let mut settings = Settings::default();
    settings.output_tokens = 300;
    let vendor = Vendor { seed: load.seed, overrun_in: load.overrun_in(), log: log.clone() };
    let planner = ToolLoop::new().instructions("You spend.").settings(settings);
    let ceilings = ceilings(load);
    let shell = Shell::on(store, Arc::new(keys))
        .limits(limits)
        .model(vendor)
        .planner(Gated { planner, gate: gate(folder), is_open: AtomicBool::new(false) })
        .budgeted(move |_| ceilings);
    let tools = super::tools::tools(load.seed, &log);
    Ok(tools.into_iter().fold(shell, |shell, tool| shell.tool(tool)).open().await?)
}

/// The file that opens the gate.
pub(super) fn gate(folder: &Path) -> PathBuf {
    folder.join("all-turns-run")
}

/// A loop that begins when the gate is open: until then every turn has started, and none goes on, so that all of them run at
/// one instant, and ask for their budgets at once.
struct Gated {
    planner: ToolLoop,
    gate: PathBuf,
    is_open: AtomicBool,
}

#[async_trait]
impl Planner for Gated {
    async fn plan(&self, view: PlanView) -> Result<Planned, PlannerError> {
        while !self.is_open.load(Ordering::Relaxed) {
            if self.gate.exists() {
                self.is_open.store(true, Ordering::Relaxed);
            } else {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        self.planner.plan(view).await
    }
}

/// How long a lease lasts, in milliseconds.
pub(super) const LEASE_MS: u64 = 1_500;

/// What a turn spends on average, about; ceilings are made of it. Tenant and users bound money and more, sessions what
/// those don't see, and turns have budgets of their own.
fn ceilings(load: &Load) -> Ceilings {
    let turns = load.sessions * load.rounds;
    let of_user = turns.div_ceil(load.users());
    Ceilings {
        tenant: Ceiling {
            nano_usd: Some(turns * 27_000),
            tokens: Some(turns * 2_000),
            tool_calls: Some(turns * 3),
            steps: Some(turns * 5),
            time_ms: None,
        },
        user: Ceiling { nano_usd: Some(of_user * 30_000), steps: Some(of_user * 6), ..Ceiling::NONE },
        session: Ceiling {
            tokens: Some(load.rounds * 6_000),
            tool_calls: Some(load.rounds * 8),
            ..Ceiling::NONE
        },
        turn: Ceiling { steps: Some(16), ..Ceiling::NONE },
    }
}
