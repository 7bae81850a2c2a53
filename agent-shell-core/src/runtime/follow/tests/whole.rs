//! Text and records together, in a shell that runs.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::runtime::Follow;
use crate::{Call, Followed, Limits, Outcome, Plan, Retry, Shell, Step, Tool, ToolError};

/// What an attempt does next, once it is let.
#[derive(Clone)]
struct Stage {
    shell: Arc<OnceLock<Shell>>,
    gate: Arc<Semaphore>,
}

impl Stage {
    async fn wait(&self) -> Result<(), ToolError> {
        self.gate.acquire().await.map(|permit| permit.forget()).map_err(|_| ToolError::refused("closed"))
    }

    fn go(&self) {
        self.gate.add_permits(1);
    }

    /// A step that says two words, each when it is let: what is said before anybody follows is not kept. Its first attempt
    /// fails after the first word.
    fn tool(&self) -> Tool {
        let stage = self.clone();
        let speak = Tool::idempotent("speak", "Speaks", move |_: Value, call: Call| {
            let stage = stage.clone();
            async move {
                let core = &stage.shell.get().expect("the shell is open").core;
                let mut voice = core.live.voice(call.turn, call.step.clone(), call.attempt);
                stage.wait().await?;
                voice.say("one ");
                stage.wait().await?;
                if call.attempt == 1 {
                    return Err(ToolError::retry("again"));
                }
                voice.say("two");
                stage.wait().await?;
                voice.finish();
                Ok(json!("one two"))
            }
        });
        speak.retry(Retry { attempts: 2, base_ms: 1, max_ms: 1 })
    }

    async fn open() -> (Self, Shell) {
        let stage = Self { shell: Arc::default(), gate: Arc::new(Semaphore::new(0)) };
        let limits = Limits { drain_ms: 50, ..Limits::default() };
        let shell = Shell::volatile().limits(limits).tool(stage.tool()).open().await.unwrap();
        drop(stage.shell.set(shell.clone()));
        (stage, shell)
    }
}

/// What comes next, in short.
async fn next(follow: &mut Follow) -> String {
    #[allow(clippy::disallowed_methods, reason = "a test that stands still should fail")]
    let next = tokio::time::timeout(Duration::from_secs(20), follow.next()).await;
    match next.expect("something comes").unwrap() {
        None => "over".into(),
        Some(Followed::Durable { entry, .. }) => entry.body.kind().into(),
        Some(Followed::Token { attempt, offset, text, .. }) => format!("{attempt}@{offset}: {text}"),
        Some(Followed::Retracted { attempt, .. }) => format!("{attempt} retracted"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_is_heard_while_it_speaks_and_its_outcome_takes_the_place() {
    let (stage, shell) = Stage::open().await;
    let plan = Plan::new([Step::tool("a", "speak", json!({}))]).unwrap();
    let turn = shell.session("s").unwrap().submit(plan).await.unwrap();
    let mut follow = turn.follow();
    let mut slow = turn.follow();
    stage.go();
    for expected in ["turn.started", "plan.adopted", "step.started", "1@0: one "] {
        assert_eq!(next(&mut follow).await, expected);
    }
    stage.go();
    stage.go();
    for expected in ["1 retracted", "attempt.failed", "step.started", "2@0: one "] {
        assert_eq!(next(&mut follow).await, expected);
    }
    stage.go();
    assert_eq!(next(&mut follow).await, "2@4: two");
    let mut late = turn.follow_after(crate::words::Seq::new(6));
    assert_eq!(next(&mut late).await, "2@0: one two");
    stage.go();
    assert!(matches!(turn.outcome().await.unwrap(), Outcome::Answered(_)));
    for follow in [&mut follow, &mut late] {
        for expected in ["step.succeeded", "turn.ended", "over"] {
            assert_eq!(next(follow).await, expected);
        }
    }
    let mut all = Vec::new();
    while all.last().is_none_or(|last| last != "over") {
        all.push(next(&mut slow).await);
    }
    assert!(all.iter().all(|told| !told.contains('@') && !told.contains("retracted")), "{all:?}");
    assert_eq!(all.len(), 8);
    drop((follow, late, slow));
    assert_eq!(shell.core.live.held(), (0, 0));
    shell.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_shell_leaves_behind_when_it_stops_is_not_heard_any_more() {
    let (stage, shell) = Stage::open().await;
    let plan = Plan::new([Step::tool("a", "speak", json!({}))]).unwrap();
    let turn = shell.session("s").unwrap().submit(plan).await.unwrap();
    let mut follow = turn.follow();
    stage.go();
    while next(&mut follow).await != "1@0: one " {}
    shell.shutdown().await.unwrap();
    let mut told = None;
    for _ in 0..100 {
        match follow.next().await {
            Ok(Some(Followed::Retracted { attempt, .. })) => told = Some(attempt),
            other => assert!(other.is_err(), "{other:?}"),
        }
        #[allow(clippy::disallowed_methods, reason = "the session's task ends soon after the shell")]
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(told, Some(1), "its attempt was dropped");
}

/// Opens a shell, and follows a turn of so many steps whose outputs have so many bytes. Returns the most records and bytes
/// that its followers shared.
async fn shared(steps: usize, bytes: usize) -> (usize, usize) {
    let tool =
        Tool::idempotent(
            "act",
            "",
            move |_: Value, _: Call| async move { Ok::<_, ToolError>("x".repeat(bytes)) },
        );
    let shell = Shell::volatile().tool(tool).open().await.unwrap();
    let step = |nth: usize| {
        let step = Step::tool(format!("s{nth}"), "act", json!({}));
        if nth == 0 { step } else { step.after([format!("s{}", nth - 1)]) }
    };
    let turn = shell.session("s").unwrap().submit(Plan::new((0..steps).map(step)).unwrap()).await.unwrap();
    turn.outcome().await.unwrap();
    let (mut follow, mut behind) = (turn.follow(), turn.follow());
    let (mut most, mut told) = ((0, 0), Vec::new());
    while let Some(Followed::Durable { entry, .. }) = follow.next().await.unwrap() {
        let (records, bytes) = follow.seat.channel().tail.lock().unwrap().held();
        most = (records.max(most.0), bytes.max(most.1));
        told.push(entry);
    }
    for entry in told {
        assert_eq!(behind.next().await.unwrap(), Some(Followed::Durable { seq: entry.seq, entry }));
    }
    assert_eq!(behind.next().await.unwrap(), None);
    shell.shutdown().await.unwrap();
    most
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_followers_share_is_bounded_and_who_is_behind_reads_for_itself() {
    assert_eq!(shared(100, 10).await.0, 64);
    let (records, bytes) = shared(12, 400 << 10).await;
    assert!(records < 24 && bytes <= 1 << 20, "{records} records, {bytes} bytes");
}
