//! Disks and files that fail, each in a way that docs/GUARANTEES.md names, under shells on real files.
#![cfg(target_os = "linux")]

mod edited;
mod full;
mod injected;
mod life;
mod mounts;
mod snapshots;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent_shell_core::backends::SystemClock;
use agent_shell_core::backends::sqlite::{SqliteKeys, SqliteOptions, SqliteStore};
use agent_shell_core::ports::Store;
use agent_shell_core::runtime::verify_store;
use agent_shell_core::{Limits, Outcome, Shell};
use agent_shell_tests::disk::{answer, tools};

use crate::support;
use life::Accepted;

/// What is done well within this, unless something stands still.
const SOON: Duration = Duration::from_secs(60);

/// A host that looks often, and does not wait long for what a bad disk keeps it from.
fn limits() -> Limits {
    let mut limits = support::limits();
    limits.drain_ms = 500;
    limits.snapshot_every = 8;
    limits
}

/// A shell in this process on a journal, and its store.
async fn opened(journal: &Path) -> agent_shell_core::Result<(Shell, Store)> {
    let (clock, options) = (Arc::new(SystemClock::new()), SqliteOptions::default());
    let store = SqliteStore::store(journal, options.clone(), clock.clone()).await?;
    let keys = SqliteKeys::open(SqliteKeys::path_beside(journal), options, clock).await?;
    let shell = Shell::on(store.clone(), Arc::new(keys)).limits(limits());
    Ok((tools(shell).open().await?, store))
}

/// The disk is good again: what was accepted comes to its end, what was refused can be submitted again, and every
/// chain holds.
fn recovers(journal: &Path, accepted: &[Accepted], refused: &[(String, String, usize)]) {
    block_on(async {
        let (shell, store) = opened(journal).await.expect("the journal opens once the disk is good");
        for Accepted { key, turn, bytes } in accepted {
            let outcome = tokio::time::timeout(SOON, shell.turn(*turn).outcome()).await;
            let outcome = outcome.unwrap_or_else(|_| panic!("{key} does not end"));
            assert_eq!(text(outcome), answer(*bytes), "{key}, which was accepted");
        }
        for (session, key, bytes) in refused {
            let again =
                shell.session(session).unwrap().submit(agent_shell_tests::disk::request(*bytes).unwrap());
            let turn = again.dedupe(key).await.expect("what was refused can be submitted again");
            let outcome = tokio::time::timeout(SOON, turn.outcome()).await.expect("it ends");
            assert_eq!(text(outcome), answer(*bytes), "{key}, which was refused");
        }
        shell.shutdown().await.unwrap();
        verify_store(&store, &BTreeMap::new()).await.expect("every chain holds");
    });
}

fn text(outcome: agent_shell_core::Result<Outcome>) -> String {
    match outcome {
        Ok(outcome @ Outcome::Answered(_)) => outcome.text(),
        other => format!("{other:?}"),
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}
