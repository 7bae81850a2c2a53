//! The runtime under load: one turn per session, each a long chain of steps planned in rounds, every step's outcome a
//! waited append.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use agent_shell_core::ports::PlanView;
use agent_shell_core::{
    Call, Limits, Outcome, Plan, Planned, Planner, PlannerError, ProbeAnswer, Retry, Shell, Step, Tool,
    ToolError,
};
use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{BODY_BYTES, BenchError, Load, Measured, Quota, Stopwatch, System};

/// Steps planned at once.
const ROUND: usize = 256;

/// Where the runtime writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Journal {
    Volatile,
    Sqlite,
}

/// What kind of steps it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// One record per step: its outcome, which is waited for.
    Pure,
    /// As `Pure`, but outcomes may wait a little for company.
    PureRiding,
    /// Two records per step, in one append with the neighbour's: the fixed input, and the outcome.
    Idempotent,
    Probed,
    Irreversible,
}

/// Agent Shell itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct AgentShell {
    pub(super) journal: Journal,
    pub(super) class: Class,
}

impl System for AgentShell {
    fn name(&self) -> &'static str {
        "agent-shell"
    }

    fn journal(&self) -> &'static str {
        match self.journal {
            Journal::Volatile => "volatile",
            Journal::Sqlite => "sqlite",
        }
    }

    fn class(&self) -> &'static str {
        match self.class {
            Class::Pure => "pure",
            Class::PureRiding => "pure-riding",
            Class::Idempotent => "idempotent",
            Class::Probed => "probed",
            Class::Irreversible => "irreversible",
        }
    }

    fn run(&self, load: &Load) -> Result<Measured, BenchError> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(self.drive(load))
    }
}

/// What the tool of a run shares with the one who measures.
#[derive(Clone, Default)]
struct Counter {
    /// Set when the setup is over.
    quota: Arc<OnceLock<Quota>>,
    steps: Arc<AtomicU64>,
}

impl AgentShell {
    async fn drive(&self, load: &Load) -> Result<Measured, BenchError> {
        let counter = Counter::default();
        let shell = self.open(&load.folder, counter.clone()).await?;
        let mut sessions = Vec::with_capacity(load.sessions);
        for session in 0..load.sessions {
            let session = shell.session(format!("bench-{session}")).map_err(BenchError::system)?;
            session.id().await.map_err(BenchError::system)?;
            sessions.push(session);
        }
        counter.quota.get_or_init(|| Quota::start(load.until));
        let watch = Stopwatch::start();
        let mut turns = JoinSet::new();
        for session in sessions {
            turns.spawn(async move { session.submit(json!({})).await?.outcome().await });
        }
        while let Some(ended) = turns.join_next().await {
            match ended.map_err(BenchError::system)?.map_err(BenchError::system)? {
                // The step that finds the quota used up fails, and ends its turn.
                Outcome::Failed(failure) if failure.message == OVER => {}
                other => return Err(BenchError::system(format!("a turn ended unexpectedly: {other:?}"))),
            }
        }
        let measured = watch.stop(counter.steps.load(Ordering::Relaxed));
        shell.shutdown().await.map_err(BenchError::system)?;
        Ok(measured)
    }

    async fn open(&self, folder: &Path, counter: Counter) -> Result<Shell, BenchError> {
        let mut limits = Limits::default();
        limits.steps_per_turn = usize::MAX;
        limits.rounds_per_turn = u32::MAX;
        limits.turn_bytes = usize::MAX;
        limits.riding_ms = if self.class == Class::PureRiding { limits.riding_ms } else { 0 };
        let builder = match self.journal {
            Journal::Volatile => Shell::volatile(),
            Journal::Sqlite => Shell::at(folder.join("shell.db")),
        };
        let shell =
            builder.limits(limits).planner(Chain).tool(self.tool(counter).retry(Retry::ONCE)).open().await;
        shell.map_err(BenchError::system)
    }

    fn tool(&self, counter: Counter) -> Tool {
        let run = move |_: Value, call: Call| {
            let counter = counter.clone();
            async move { step(&counter, &call) }
        };
        match self.class {
            Class::Pure | Class::PureRiding => Tool::pure("step", "", run),
            Class::Idempotent => Tool::idempotent("step", "", run),
            Class::Irreversible => Tool::irreversible("step", "", run),
            Class::Probed => {
                Tool::probed("step", "", run, |_: Value, _: Call| async { Ok(ProbeAnswer::NotApplied) })
            }
        }
    }
}

const OVER: &str = "the quota is used up";

fn step(counter: &Counter, call: &Call) -> Result<String, ToolError> {
    if !counter.quota.get().is_some_and(Quota::take) {
        return Err(ToolError::refused(OVER));
    }
    counter.steps.fetch_add(1, Ordering::Relaxed);
    // With the members around it, the body of the outcome's record has about 300 bytes.
    let mut output = call.key().repeat(8);
    output.truncate(BODY_BYTES - 120);
    Ok(output)
}

/// Plans one chain after another, for ever.
struct Chain;

#[async_trait]
impl Planner for Chain {
    async fn plan(&self, view: PlanView) -> Result<Planned, PlannerError> {
        let step = |nth: usize| {
            let step = Step::tool(format!("{}-{nth}", view.round), "step", json!({}));
            if nth == 0 { step } else { step.after([format!("{}-{}", view.round, nth - 1)]) }
        };
        Ok(Planned::Next(Plan::new((0..ROUND).map(step))?))
    }
}
