//! Tools and planners that end the process which runs them: they are called again, and not for ever.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

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
const NEIGHBOURS: [&str; 3] = ["long-pure", "long-idempotent", "long-probed"];
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

/// Kills its process, though not before others have begun.
async fn kills_later(_: Value, _: Call) -> Result<Value, ToolError> {
    tokio::time::sleep(Duration::from_millis(50)).await;
    die()
}

/// Ends well, unless its process is killed before.
async fn takes_long(_: Value, _: Call) -> Result<Value, ToolError> {
    tokio::time::sleep(Duration::from_millis(200)).await;
    Ok(json!("still here"))
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

fn few(interruptions: u32) -> Limits {
    let mut limits = limits();
    limits.interruptions = interruptions;
    limits.attempt_ms = 50;
    limits
}

fn shell(journal: &Path, interruptions: u32) -> ShellBuilder {
    let tools = [
        Tool::pure("pure", "", kills),
        Tool::idempotent("check", "", |_: Deadly, _: Call| async { Ok::<_, ToolError>(0) }),
        Tool::idempotent("idempotent", "", kills),
        Tool::probed("probed", "", kills, not_applied),
        Tool::probed("probe", "", unsure, killing_probe),
        Tool::pure("late-pure", "", kills_later),
        Tool::idempotent("late-idempotent", "", kills_later),
        Tool::pure("long-pure", "", takes_long),
        Tool::idempotent("long-idempotent", "", takes_long),
        Tool::probed("long-probed", "", takes_long, not_applied),
        Tool::pure("harmless", "", |_: Value, _: Call| async { Ok::<_, ToolError>("still here") }),
    ];
    let shell = Shell::at(journal).limits(few(interruptions)).planner(KillingPlanner);
    tools.into_iter().fold(shell, |shell, tool| shell.tool(tool))
}

/// The child: it submits a turn, or goes on with the one that is there, until the turn kills it or comes to rest.
#[tokio::test]
async fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let killer = std::env::var(KILLER).unwrap();
    // Who is innocent may be hit a few times, until it is known who is suspected.
    let interruptions = if killer.starts_with("late") { 4 * INTERRUPTIONS } else { INTERRUPTIONS };
    let shell = shell(&Path::new(&folder).join("shell.db"), interruptions).open().await.unwrap();
    let session = shell.session("s").unwrap();
    let mut neighbours = Vec::new();
    for name in NEIGHBOURS.into_iter().filter(|_| killer.starts_with("late")) {
        let step = Step::tool("act", name, json!({})).attempt_deadline(Duration::from_secs(1));
        let plan = Plan::new([step]).unwrap();
        neighbours.push(shell.session(name).unwrap().submit(plan).dedupe("once").await.unwrap());
    }
    let turn = if killer == "planner" {
        session.submit(json!("go")).dedupe("once").await.unwrap()
    } else {
        let plan = Plan::new([Step::tool("act", &killer, json!({}))]).unwrap();
        session.submit(plan).dedupe("once").await.unwrap()
    };
    for turn in neighbours.into_iter().chain([turn]) {
        let _ = turn.outcome().await;
    }
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
    let shell = shell(&folder.path().join("shell.db"), INTERRUPTIONS).open().await.unwrap();
    let session = shell.session("s").unwrap();
    let records = session.history().await.unwrap().next(1_000).await.unwrap();
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
        // The last of the records ends it, so its owner calls nothing any more. The count begins anew once the plan is on
        // record, which it may not be before as many processes have died, but one.
        assert!((3..=5).contains(&interrupted), "{killer}: {interrupted}");
        assert!((INTERRUPTIONS..=2 * INTERRUPTIONS + 2).contains(&killed), "{killer} killed {killed}");
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_that_kills_its_process_does_not_take_its_neighbours_with_it() {
    for killer in ["late-pure", "late-idempotent"] {
        let folder = tempfile::tempdir().unwrap();
        run(folder.path(), killer);
        let shell = shell(&folder.path().join("shell.db"), INTERRUPTIONS).open().await.unwrap();
        for neighbour in NEIGHBOURS {
            let session = shell.session(neighbour).unwrap();
            let records = session.history().await.unwrap().next(1_000).await.unwrap();
            let turn = records.iter().find_map(|record| record.body.turn()).unwrap();
            let outcome = shell.turn(turn).outcome().await;
            let answer = outcome.as_ref().ok().and_then(Outcome::answer);
            assert_eq!(answer, Some(&json!("still here")), "{neighbour} beside {killer}: {outcome:?}");
        }
        shell.shutdown().await.unwrap();
    }
}
