//! A journal in which every text that a host, a user, a tool or an actor can bring in is hostile.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use agent_shell_core::backends::SystemClock;
use agent_shell_core::words::Clock;
use agent_shell_core::{
    Actor, Call, Outcome, Plan, Request, Retry, Shell, Step, Template, Tool, ToolError, input,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A text that would run in a page that takes it for markup, break out of a script, or out of JSON.
pub(super) const HOSTILE: &str =
    "</script><img src=x onerror=document.documentElement.dataset.owned=1><!--<script>'\"`&lt;{data}\\";

/// A hostile name: of a session, and of a step. It also turns the direction of what follows.
pub(super) const NAME: &str = "<svg onload=document.documentElement.dataset.owned=2>\u{202e}";

/// A journal in a folder of its own.
pub(super) struct Journal {
    folder: TempDir,
}

impl Journal {
    /// A turn that is answered, one that fails, and one that rests.
    pub(super) fn hostile() -> Self {
        let journal = Self { folder: TempDir::new().unwrap() };
        journal.with_shell(|shell| async move {
            let session = shell.session(NAME).unwrap();
            let actor = Actor::named(HOSTILE).unwrap();
            let submit = |plan: Plan| {
                session.submit(Request::plan(plan).input(json!({ HOSTILE: HOSTILE }))).actor(actor.clone())
            };
            let whole = || Template::object([("text", input(""))]);
            let answered = Plan::new([
                Step::tool(NAME, "echo", whole()),
                Step::tool("flaky", "flaky", json!({})).after([NAME]),
            ]);
            let outcome = submit(answered.unwrap()).await.unwrap().outcome().await.unwrap();
            assert!(matches!(outcome, Outcome::Answered(_)), "{outcome:?}");
            let failed = Plan::new([Step::tool("refuse", "refuse", json!({}))]);
            let outcome = submit(failed.unwrap()).await.unwrap().outcome().await.unwrap();
            assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
            let rests = Plan::new([
                Step::tool("send", "send", whole()),
                Step::approval("ask", whole()),
                Step::signal("signal", "go"),
                Step::tool("after", "echo", whole()).after(["ask"]),
            ]);
            let turn = submit(rests.unwrap()).await.unwrap();
            assert!(turn.outcome().await.is_err(), "it rests");
            // Both of what waits for a person, whichever came first.
            for _ in 0..5000 {
                if turn.rests().await.unwrap().len() == 2 {
                    return;
                }
                SystemClock::new().sleep(Duration::from_millis(2)).await;
            }
            panic!("a step never came to rest");
        });
        journal
    }

    /// Adds a session with one turn.
    pub(super) fn add_session(&self, name: &'static str) {
        self.with_shell(|shell| async move {
            let plan = Plan::new([Step::timer("nap", Duration::from_millis(1))]).unwrap();
            shell.session(name).unwrap().submit(plan).await.unwrap().outcome().await.unwrap();
        });
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn with_shell<F: Future<Output = ()>>(&self, work: impl FnOnce(Shell) -> F) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let shell = Shell::at(self.folder().join("shell.db"));
            let shell = tools().into_iter().fold(shell, |shell, tool| shell.tool(tool)).open().await.unwrap();
            work(shell.clone()).await;
            shell.shutdown().await.unwrap();
        });
    }
}

fn tools() -> Vec<Tool> {
    let tries = Arc::new(AtomicU32::new(0));
    let echo = Tool::pure("echo", HOSTILE, |given: Value, _: Call| async move { Ok::<_, ToolError>(given) });
    let flaky = Tool::idempotent("flaky", "", move |_: Value, _: Call| {
        let is_first = tries.fetch_add(1, Ordering::SeqCst) == 0;
        async move { if is_first { Err(ToolError::retry(HOSTILE)) } else { Ok(HOSTILE) } }
    });
    let flaky = flaky.retry(Retry { attempts: 3, base_ms: 1, max_ms: 1 });
    let refuse = Tool::irreversible("refuse", "", |_: Value, _: Call| async move {
        Err::<(), _>(ToolError::refused(HOSTILE))
    });
    let send = Tool::irreversible("send", "", |_: Value, _: Call| async move {
        Err::<(), _>(ToolError::ambiguous(HOSTILE))
    });
    vec![echo, flaky, refuse, send]
}
