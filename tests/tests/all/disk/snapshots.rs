//! Snapshots that are damaged, beside records that are whole: the records are read instead, with a warning.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use agent_shell_tests::disk::{answer, request};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::edited::Image;
use super::{SOON, opened};

/// Keeps every warning.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<String>>);

struct Text<'a>(&'a mut String);

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Text(&mut self.0.lock().unwrap()));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Runs a turn in a session after its snapshot was changed so; the warnings.
fn warned(image: &Image, statement: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let journal = image.write(folder.path());
    let connection = rusqlite::Connection::open(&journal).unwrap();
    let changed = connection.execute(statement, ()).unwrap();
    assert!(changed >= 3, "`{statement}` changes every snapshot, and there is one of each session");
    drop(connection);
    let warnings = Warnings::default();
    // All of the shell but the threads of SQLite runs on this thread.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _guard = tracing::subscriber::set_default(warnings.clone());
    runtime.block_on(async {
        let (shell, store) = opened(&journal).await.unwrap();
        let turn = shell.session("a").unwrap().submit(request(21).unwrap()).await.unwrap();
        let outcome = tokio::time::timeout(SOON, turn.outcome()).await.expect("the session goes on");
        assert_eq!(outcome.unwrap().text(), answer(21), "{statement}");
        let verified = agent_shell_core::runtime::verify_store(&store, &image.heads).await;
        verified.expect("the records are whole");
        shell.shutdown().await.unwrap();
    });
    warnings.0.lock().unwrap().clone()
}

#[test]
fn a_damaged_snapshot_is_passed_over_with_a_warning() {
    let image = Image::new();
    let untouched = warned(&image, "UPDATE snapshots SET sealed = sealed");
    assert!(!untouched.contains("snapshot"), "a good one is used in silence: {untouched}");
    for statement in [
        "UPDATE snapshots SET sealed = CAST(substr(sealed, 1, 40) || x'00' || substr(sealed, 42) AS BLOB)",
        "UPDATE snapshots SET sealed = substr(sealed, 1, length(sealed) / 2)",
        "UPDATE snapshots SET sealed = x''",
        "UPDATE snapshots SET hash = zeroblob(32)",
        "UPDATE snapshots SET hash = x'00'",
        "UPDATE snapshots SET seq = seq - 1",
        "UPDATE snapshots SET seq = seq + 100000",
        "UPDATE snapshots SET seq = 0",
        "UPDATE snapshots SET fold_version = fold_version + 1",
        "UPDATE snapshots SET fold_version = -1",
        "UPDATE snapshots SET sealed = (SELECT s.sealed FROM snapshots s WHERE s.session <> snapshots.session LIMIT 1)",
    ] {
        let said = warned(&image, statement);
        assert!(said.contains("all records are read instead"), "`{statement}`: {said}");
    }
}
