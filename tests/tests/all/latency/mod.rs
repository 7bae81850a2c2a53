//! Latency budgets: what takes longer is told, once, and nothing else comes of it. Time is simulated, so that what takes
//! exactly as long as it may can be told from what takes a millisecond more.

mod settings;
mod stages;
mod told;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use agent_shell_core::data::Body;
use agent_shell_core::testing::{BoxError, Host, Life, Records, Target, TestKit};
use agent_shell_core::{
    Call, LatencyBudgets, LatencyStage, Plan, Planned, Planner, PlannerError, Retry, ShellBuilder, Step,
    Tool, ToolError,
};
use async_trait::async_trait;
use serde_json::{Value, json};

/// A breach, as a record says it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Breach {
    stage: LatencyStage,
    step: Option<String>,
    budget_ms: u64,
    took_ms: u64,
}

impl Breach {
    fn of(body: &Body) -> Option<Self> {
        let Body::LatencyBreached { step, stage, budget_ms, took_ms, .. } = body else { return None };
        assert!(took_ms > budget_ms, "{body:?}");
        let step = step.as_ref().map(ToString::to_string);
        Some(Self { stage: *stage, step, budget_ms: *budget_ms, took_ms: *took_ms })
    }
}

fn breach(stage: LatencyStage, step: Option<&str>, budget_ms: u64, took_ms: u64) -> Breach {
    Breach { stage, step: step.map(str::to_owned), budget_ms, took_ms }
}

/// The breaches of a run, in the order in which they were written.
fn breaches(records: &Records) -> Vec<Breach> {
    records.all().iter().filter_map(|record| Breach::of(&record.entry.body)).collect()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn only(stage: LatencyStage, budget_ms: u64) -> LatencyBudgets {
    LatencyBudgets::NONE.with(stage, ms(budget_ms))
}

/// Tools that take as many milliseconds as their input says, and a planner whose rounds take as long as the input of the turn
/// says, with a plan of one step that takes no time.
fn shell(life: &Life<Target>) -> ShellBuilder {
    let clock = life.clock();
    let slow = move |input: Value, _: Call| {
        let clock = clock.clone();
        async move {
            clock.sleep(ms(input.as_u64().unwrap_or(0))).await;
            Ok::<_, ToolError>(())
        }
    };
    let clock = life.clock();
    let failing = move |input: Value, call: Call| {
        let clock = clock.clone();
        async move {
            clock.sleep(ms(input.as_u64().unwrap_or(0))).await;
            if call.attempt < 3 { Err(ToolError::retry("busy")) } else { Ok(()) }
        }
    };
    let retry = Retry { attempts: 3, base_ms: 2_000, max_ms: 2_000 };
    let clock = life.clock();
    let undone = move |_: Value, _: Call| {
        let clock = clock.clone();
        async move {
            clock.sleep(ms(70)).await;
            Ok::<_, ToolError>(())
        }
    };
    life.shell()
        .tool(Tool::pure("look", "Takes its time", slow.clone()))
        .tool(Tool::idempotent("act", "Takes its time", slow.clone()))
        .tool(Tool::idempotent("ask", "Takes its time, when it may", slow.clone()).ask_first())
        .tool(Tool::idempotent("book", "Takes its time", slow).compensated_by("cancel"))
        .tool(Tool::idempotent("cancel", "Takes 70 ms", undone))
        .tool(Tool::pure("refuse", "Fails for good", |_: Value, _: Call| async {
            Err::<(), _>(ToolError::refused("no"))
        }))
        .tool(Tool::idempotent("fail", "Fails twice", failing).retry(retry))
        .named_planner("slow", Slow(life.clone()))
}

struct Slow(Life<Target>);

#[async_trait]
impl Planner for Slow {
    async fn plan(&self, view: agent_shell_core::PlanView) -> Result<Planned, PlannerError> {
        self.0.clock().sleep(ms(view.input.as_u64().unwrap_or(0))).await;
        match view.round {
            1 => Ok(Planned::Next(Plan::new([Step::tool("one", "act", json!(0))])?)),
            _ => Ok(Planned::Answer(Value::Null)),
        }
    }
}

/// A kit whose shells have these budgets.
fn kit(budgets: LatencyBudgets) -> TestKit {
    TestKit::new(move |life| shell(life).latency(budgets))
}

/// Runs a plan to its end.
async fn run_plan(host: Host<Target>, plan: Plan) -> Result<(), BoxError> {
    let turn = host.session("ada")?.submit(plan).dedupe("request-1").await?;
    turn.outcome().await?;
    Ok(())
}

/// What a run with these budgets tells.
fn told<F>(budgets: LatencyBudgets, host: impl Fn(Host<Target>) -> F + Send + Sync + 'static) -> Vec<Breach>
where
    F: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    breaches(&kit(budgets).run(host).unwrap().journal)
}

fn told_of_plan(budgets: LatencyBudgets, plan: Plan) -> Vec<Breach> {
    told(budgets, move |host| run_plan(host, plan.clone()))
}

/// Finds out how long a stage takes: with a budget of exactly so much nothing is told of it, with a millisecond less it is.
/// Returns how long.
fn has_an_edge<F>(
    (stage, step): (LatencyStage, Option<&str>),
    host: impl Fn(Host<Target>) -> F + Send + Sync + 'static,
) -> u64
where
    F: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    let host = Arc::new(host);
    let of = |budget_ms| {
        let host = host.clone();
        let told = told(only(stage, budget_ms), move |given| host(given));
        told.into_iter().find(|breach| breach.stage == stage && breach.step.as_deref() == step)
    };
    let found = of(1).unwrap_or_else(|| panic!("{stage} takes no time")).took_ms;
    assert!(found > 2, "{stage} takes {found} ms");
    let exact = of(found);
    assert!(exact.as_ref().is_none_or(|later| later.took_ms > found), "{stage}: {exact:?}, within {found}");
    assert_eq!(of(found - 1), Some(breach(stage, step, found - 1, found)));
    found
}
