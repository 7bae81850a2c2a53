//! What the tests of turns share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use agent_shell_core::{Call, Limits, Shell, ShellBuilder, Tool, ToolError};
use serde_json::json;

#[derive(serde::Deserialize, schemars::JsonSchema)]
pub(crate) struct Number {
    pub(crate) n: i64,
}

pub(crate) fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.poll_ms = 20;
    limits.lateness_ms = 50;
    limits
}

pub(crate) fn double() -> Tool {
    Tool::pure("double", "Doubles a number", |input: Number, _: Call| async move {
        Ok::<_, ToolError>(json!({ "n": input.n * 2 }))
    })
}

/// An idempotent tool that counts its calls.
pub(crate) fn counted(calls: &Arc<AtomicU32>) -> Tool {
    let calls = calls.clone();
    Tool::idempotent("count", "Counts its calls", move |input: Number, call: Call| {
        let calls = calls.clone();
        async move {
            assert_eq!(call.key().len(), 32);
            Ok::<_, ToolError>(json!({ "n": input.n, "calls": calls.fetch_add(1, Ordering::SeqCst) + 1 }))
        }
    })
}

/// Runs a test on both stores.
pub(crate) async fn on_each<F: Future<Output = ()>>(
    test: impl Fn(ShellBuilder, Box<dyn Fn() -> ShellBuilder>) -> F,
) {
    test(Shell::volatile().limits(limits()), Box::new(|| Shell::volatile().limits(limits()))).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shell.db");
    let again = path.clone();
    let reopen = Box::new(move || Shell::at(&again).limits(limits()));
    test(Shell::at(&path).limits(limits()), reopen).await;
}
