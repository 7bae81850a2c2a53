//! Checking the journal.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use agent_shell_core::Limits;
use agent_shell_core::backends::SystemClock;
use agent_shell_core::backends::sqlite::{SqliteOptions, SqliteStore};
use agent_shell_core::ports::Store;
use agent_shell_core::runtime::{VerifyError, VerifyReport, verify_store};
use agent_shell_core::{Result, Shell};

use crate::args::Options;
use crate::state::journal_in;
use crate::{Trouble, say};

/// Checks the chains of all sessions, then that every body, and what is stored beside it, opens with its key. The
/// first needs no key, and anybody can do it.
pub(crate) async fn verify(options: &Options) -> std::result::Result<ExitCode, Trouble> {
    let journal = journal_in(&options.state)?;
    let report = match chain(&store(&journal).await?).await {
        Ok(report) => report,
        Err(error) => {
            eprintln!("quickstart: the chain is broken: {error}");
            return Ok(ExitCode::FAILURE);
        }
    };
    let shell = reading(&journal).await?;
    shell.export(&mut std::io::sink(), true).await?;
    shell.shutdown().await?;
    let (records, sessions) = (report.records, report.heads.len());
    let sessions = if sessions == 1 { "one session".into() } else { format!("{sessions} sessions") };
    say(&format!("The chain holds: {records} records of {sessions}, and each opens."))?;
    Ok(ExitCode::SUCCESS)
}

/// The journal's store, without a shell: nothing is resumed.
pub(crate) async fn store(journal: &Path) -> Result<Store> {
    Ok(SqliteStore::store(journal, SqliteOptions::default(), Arc::new(SystemClock::new())).await?)
}

/// Checks the chains.
pub(crate) async fn chain(store: &Store) -> std::result::Result<VerifyReport, VerifyError> {
    verify_store(store, &BTreeMap::new()).await
}

/// A shell that may hold no session: it reads, and resumes nothing.
pub(crate) async fn reading(journal: &Path) -> Result<Shell> {
    let mut limits = Limits::default();
    limits.held_sessions = 0;
    Shell::at(journal).limits(limits).open().await
}
