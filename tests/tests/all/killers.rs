//! Tools and planners that end the process which runs them: they are called again, and not for ever.

use std::path::Path;
use std::process::{Command, Stdio};

use agent_shell_core::ports::PlanView;
use agent_shell_core::{
    Call, FailureCode, Limits, Outcome, Plan, Planned, Planner, PlannerError, ProbeAnswer, Shell,
    ShellBuilder, Step, Tool, ToolError,
};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::support::limits;

/// How often the process may die, and so about how often each is tried.
const INTERRUPTIONS: u32 = 6;
/// Set in the environment of a child, to the folder that it works in.
const FOLDER: &str = "AGENT_SHELL_TEST_KILLERS_FOLDER";
const KILLER: &str = "AGENT_SHELL_TEST_KILLERS_NAME";

fn die() -> ! {
    let me = rustix::process::getpid();
    rustix::process::kill_process(me, rustix::process::Signal::KILL).unwrap();
    unreachable!("SIGKILL ends a process at once")
}

/// Arguments that end the process that reads them.
#[derive(JsonSchema)]
struct Deadly;

impl<'de> Deserialize<'de> for Deadly {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        die()
    }
}

struct KillingPlanner;

#[async_trait]
impl Planner for KillingPlanner {
    async fn plan(&self, _: PlanView) -> Result<Planned, PlannerError> {
        die()
    }
}

async fn kills(_: Value, _: Call) -> Result<Value, ToolError> {
    die()
}

async fn unsure(_: Value, _: Call) -> Result<Value, ToolError> {
    Err(ToolError::ambiguous("no answer"))
}

async fn not_applied(_: Value, _: Call) -> Result<ProbeAnswer, ToolError> {
    Ok(ProbeAnswer::NotApplied)
}

async fn killing_probe(_: Value, _: Call) -> Result<ProbeAnswer, ToolError> {
    die()
}

fn few() -> Limits {
    let mut limits = limits();
    limits.interruptions = INTERRUPTIONS;
    limits.attempt_ms = 50;
    limits
}

fn shell(journal: &Path) -> ShellBuilder {
    let tools = [
        Tool::pure("pure", "", kills),
        Tool::idempotent("check", "", |_: Deadly, _: Call| async { Ok::<_, ToolError>(0) }),
        Tool::idempotent("idempotent", "", kills),
        Tool::probed("probed", "", kills, not_applied),
        Tool::probed("probe", "", unsure, killing_probe),
        Tool::pure("harmless", "", |_: Value, _: Call| async { Ok::<_, ToolError>("still here") }),
    ];
    let shell = Shell::at(journal).limits(few()).planner(KillingPlanner);
    tools.into_iter().fold(shell, |shell, tool| shell.tool(tool))
}

/// The child: it submits a turn, or goes on with the one that is there, until the turn kills it or comes to rest.
#[tokio::test]
async fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let killer = std::env::var(KILLER).unwrap();
    let shell = shell(&Path::new(&folder).join("shell.db")).open().await.unwrap();
    let session = shell.session("s").unwrap();
    let turn = if killer == "planner" {
        session.submit(json!("go")).dedupe("once").await.unwrap()
    } else {
        let plan = Plan::new([Step::tool("act", &killer, json!({}))]).unwrap();
        session.submit(plan).dedupe("once").await.unwrap()
    };
    let _ = turn.outcome().await;
    shell.shutdown().await.unwrap();
}

/// Starts children until one is not killed. Returns how many were.
fn run(folder: &Path, killer: &str) -> u32 {
    let name = concat!(module_path!(), "::child");
    let (_, name) = name.split_once("::").unwrap();
    for killed in 0..10 * INTERRUPTIONS {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", name]).env(FOLDER, folder).env(KILLER, killer).stdout(Stdio::null());
        let status = child.status().unwrap();
        if status.success() {
            return killed;
        }
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{killer}: {status}");
    }
    panic!("{killer} was called again and again");
}

/// How the turn of a killer ended, or why it rests; how many processes it killed; and its records of one kind.
async fn after(killer: &str, kind: &str) -> (Result<Outcome, String>, u32, usize) {
    let folder = tempfile::tempdir().unwrap();
    let killed = run(folder.path(), killer);
    let shell = shell(&folder.path().join("shell.db")).open().await.unwrap();
    let session = shell.session("s").unwrap();
    let records = session.history().await.unwrap().next(1_000).await.unwrap();
    for r in &records {
        eprintln!("DBG {killer} {} {} {}", r.seq, r.epoch, r.body.kind());
    }
    let of_kind = records.iter().filter(|record| record.body.kind() == kind).count();
    let turn = records.iter().find_map(|record| record.body.turn()).unwrap();
    let outcome = match shell.turn(turn).ended().await.unwrap() {
        Some(outcome) => Ok(outcome),
        None => Err(shell.rests().await.unwrap().first().map(|rest| format!("{rest:?}")).unwrap_or_default()),
    };
    if outcome.is_ok() {
        // The session goes on after it.
        let plan = Plan::new([Step::tool("next", "harmless", json!({}))]).unwrap();
        let next = session.submit(plan).await.unwrap().outcome().await.unwrap();
        assert_eq!(next.answer(), Some(&json!("still here")));
    }
    shell.shutdown().await.unwrap();
    (outcome, killed, of_kind)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_that_kills_its_process_and_leaves_no_record_fails_its_turn_in_the_end() {
    for killer in ["pure", "planner", "check"] {
        let (outcome, killed, interrupted) = after(killer, "turn.interrupted").await;
        let Ok(Outcome::Failed(failure)) = outcome else { panic!("{killer}: {outcome:?}") };
        assert_eq!(failure.code, FailureCode::Interrupted, "{killer}");
        // The last of the records ends it, so its owner calls nothing any more. Two processes may have died before the
        // first record, and two before the plan was on record, which is progress.
        assert!((3..=4).contains(&interrupted), "{killer}: {interrupted}");
        assert!((INTERRUPTIONS..=INTERRUPTIONS + 4).contains(&killed), "{killer} killed {killed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_kills_its_process_is_not_made_for_ever() {
    let (outcome, killed, _) = after("idempotent", "step.in_doubt").await;
    assert!(outcome.as_ref().is_err_and(|rest| rest.contains("ended with their process")), "{outcome:?}");
    assert_eq!(killed, INTERRUPTIONS + 1);
    let (outcome, killed, _) = after("probed", "attempt.failed").await;
    let Ok(Outcome::Failed(failure)) = outcome else { panic!("{outcome:?}") };
    assert_eq!((failure.code, killed), (FailureCode::Interrupted, INTERRUPTIONS));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_that_kills_its_process_leaves_its_step_in_doubt() {
    let (outcome, killed, interrupted) = after("probe", "turn.interrupted").await;
    assert!(outcome.as_ref().is_err_and(|rest| rest.contains("each time that the target")), "{outcome:?}");
    assert_eq!((killed, interrupted), (INTERRUPTIONS, 3));
}
