//! What the tests of turns share.

use std::fmt::{Debug, Write};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use agent_shell_core::{Call, Limits, Shell, ShellBuilder, Tool, ToolError};
use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

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

/// Keeps what this thread says in the log, at the levels of errors and warnings.
#[derive(Clone, Default)]
pub(crate) struct Heard(Arc<Mutex<Vec<(Level, String)>>>);

struct Text<'a>(&'a mut String);

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

impl Heard {
    /// All errors, in lines.
    pub(crate) fn errors(&self) -> String {
        let heard = self.0.lock().unwrap();
        let errors = heard.iter().filter(|(level, _)| *level == Level::ERROR);
        errors.map(|(_, text)| format!("{text}\n")).collect()
    }
}

impl Subscriber for Heard {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = String::new();
        event.record(&mut Text(&mut text));
        self.0.lock().unwrap().push((*event.metadata().level(), text));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
