//! The judge: was every promise kept? It reads the journal through the runtime and the recorder's log, and knows from
//! the seed what had to come of every turn.

mod budgets;
mod control;
mod effects;
mod followed;
pub(crate) mod journal;
mod late;
mod questions;
pub(crate) mod steps;
pub(crate) mod turns;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use agent_shell_core::backends::SystemClock;
use agent_shell_core::backends::sqlite::{SqliteOptions, SqliteStore};
use agent_shell_core::ports::{SessionFilter, SessionStatus};
use agent_shell_core::runtime::verify_store;
use agent_shell_core::words::Pseudonym;
use agent_shell_core::{Limits, Shell};
use serde::Serialize;

use self::journal::SessionLog;
use super::CrashError;
use super::book::Book;
use super::harness::Run;
use super::violation::{Rule, Violation};
use crate::recorder::{Totals, audit_log};

/// Sessions that are read at once.
const PAGE: usize = 1_024;

/// What came of a run.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Every broken promise; empty if all is well.
    pub(crate) violations: Vec<Violation>,
    pub(crate) counts: Counts,
    /// In the order of the classes.
    pub(crate) classes: [OfClass; 4],
    pub(crate) calls: Totals,
}

/// What was seen on the way.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Counts {
    pub(crate) accepted: u64,
    pub(crate) ended: u64,
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    /// Submits whose answer nobody read.
    pub(crate) unanswered: u64,
    /// Of those, how many were there all the same.
    pub(crate) unanswered_there: u64,
    pub(crate) in_doubt: u64,
    pub(crate) resolved_applied: u64,
    pub(crate) resolved_retry: u64,
    pub(crate) given_up: u64,
    pub(crate) approved: u64,
    pub(crate) denied: u64,
    pub(crate) signals: u64,
    pub(crate) timers: u64,
    pub(crate) timer_late_max_ms: u64,
    pub(crate) mail_refused: u64,
    pub(crate) records: u64,
    /// Acts of irreversible tools that came after everybody had been told that they would not.
    pub(crate) late: u64,
    pub(crate) epochs: u64,
    /// Questions to models, and answers that are durable.
    pub(crate) questions: u64,
    pub(crate) answers: u64,
    /// Of the answered ones, those that continue the one before byte for byte, those in which a new summary stands for some of
    /// it, and those from which its oldest turns are let go.
    pub(crate) continued: u64,
    pub(crate) summarised: u64,
    pub(crate) cut: u64,
    /// Calls and questions that were refused for want of a budget.
    pub(crate) refused: u64,
    /// Records that followers were told of.
    pub(crate) followed: u64,
    /// Remarks that were made to a running turn, and those that ended with it.
    pub(crate) steered: u64,
    pub(crate) taken_up: u64,
    /// Remarks that interrupted, and steps that were given up for them.
    pub(crate) interrupted: u64,
    pub(crate) superseded: u64,
    /// Turns that ended as cancelled, that were withdrawn before they started, and that expired.
    pub(crate) cancelled: u64,
    pub(crate) withdrawn: u64,
    pub(crate) expired: u64,
    /// Steps that were undone, that stay applied although their turns did not succeed, and compensations that a person had
    /// to look after.
    pub(crate) undone: u64,
    pub(crate) left: u64,
    pub(crate) parked: u64,
    /// Rulings of guards, and those among them that denied, asked for an approval, and rewrote.
    pub(crate) rulings: u64,
    pub(crate) ruled_denied: u64,
    pub(crate) ruled_asked: u64,
    pub(crate) ruled_rewritten: u64,
    /// Sessions that were handed to another planner.
    pub(crate) handed_off: u64,
    /// Children that were started, and forks that were made with so many outcomes of the turn that ran.
    pub(crate) children: u64,
    pub(crate) forks: u64,
    pub(crate) copied: u64,
    /// Attempts for which the ledger has set something aside.
    pub(crate) reserved: u64,
    /// Of those, what the ledger took for spent because their owners were gone.
    pub(crate) swept: u64,
}

/// What was seen of one class.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct OfClass {
    /// Steps that succeeded.
    pub(crate) steps: u64,
    /// Attempts that the journal knows.
    pub(crate) attempts: u64,
    /// Calls at the recorder.
    pub(crate) calls: u64,
    /// Calls beyond the first of a step, under the same key.
    pub(crate) repeats: u64,
}

impl Verdict {
    fn say(&mut self, rule: Rule, what: String) {
        self.violations.push(Violation::new(rule, what));
    }
}

/// Judges what a run left, once nobody acts any more.
pub(super) async fn judge(run: &Run, book: &Book) -> Result<Verdict, CrashError> {
    let mut verdict = Verdict { violations: book.troubles.clone(), ..Verdict::default() };
    let audit = audit_log(&run.log)?;
    verdict.calls = audit.totals();
    late::check(run, &audit, &mut verdict);

    let shell = Shell::at(&run.journal).limits(reading()).open().await?;
    all_is_done(&shell, &mut verdict).await?;
    let mut sessions = Vec::new();
    for session in run.plain_sessions() {
        match SessionLog::read(&shell, session).await {
            Ok(log) => sessions.push(log),
            Err(error) => verdict.say(Rule::Chain, format!("session {session} can't be read: {error:?}")),
        }
    }
    let people = named_actors(&run.journal)?;
    for session in &sessions {
        session.check(&mut verdict);
        for turn in &session.turns {
            steps::check(run.seed, turn, &people, &mut verdict);
        }
    }
    turns::check(&shell, run.seed, book, &sessions, &mut verdict).await?;
    let meddled = control::read(&shell, run, &mut verdict).await?;
    effects::check(run, &sessions, &control::turns(&meddled), &audit, &mut verdict);
    questions::check(run, &sessions, &mut verdict)?;
    let acts = control::Acts { audit: &audit, people: &people, stops: run.stops };
    control::check((&shell, run, book), &meddled, &acts, &mut verdict).await?;
    for log in &meddled {
        let session = log.session_log();
        session.check(&mut verdict);
        if !log.is_fork() {
            sessions.push(session);
        }
    }
    followed::check(run, &sessions, &mut verdict)?;
    budgets::check(&shell, &mut verdict).await?;
    shell.shutdown().await?;
    chain(run, book, &mut verdict).await?;
    Ok(verdict)
}

/// A shell that holds no session, so that reading changes nothing.
fn reading() -> Limits {
    let mut limits = Limits::default();
    limits.held_sessions = 0;
    limits
}

/// Nothing may be left over: no mail, no turn.
async fn all_is_done(shell: &Shell, verdict: &mut Verdict) -> Result<(), CrashError> {
    let mut all = shell.sessions(SessionFilter::default(), None, PAGE).await?;
    let mut read = all.len();
    while read == PAGE {
        let page = shell.sessions(SessionFilter::default(), all.last().map(|entry| entry.id), PAGE).await?;
        read = page.len();
        all.extend(page);
    }
    for entry in all {
        verdict.counts.epochs = verdict.counts.epochs.max(entry.epoch.number());
        if entry.mark.status != SessionStatus::Idle || entry.waiting_mail > 0 {
            let (status, mail) = (entry.mark.status, entry.waiting_mail);
            verdict.say(Rule::Stuck, format!("session {}: {status:?} with {mail} pieces of mail", entry.id));
        }
    }
    Ok(())
}

/// Every chain holds, and goes through every head that was durable once.
async fn chain(run: &Run, book: &Book, verdict: &mut Verdict) -> Result<(), CrashError> {
    let store =
        SqliteStore::store(&run.journal, SqliteOptions::default(), Arc::new(SystemClock::new())).await;
    let store = store.map_err(agent_shell_core::Error::from)?;
    match verify_store(&store, &book.heads).await {
        Ok(report) => verdict.counts.records = report.records,
        Err(error) => verdict.say(Rule::Chain, error.to_string()),
    }
    Ok(())
}

/// The actors whose names the journal keeps.
fn named_actors(journal: &Path) -> Result<BTreeSet<Pseudonym>, CrashError> {
    let file = rusqlite::Connection::open(journal)?;
    let mut actors = file.prepare("SELECT actor FROM actors")?;
    let actors = actors.query_map((), |row| row.get::<_, [u8; 16]>(0).map(Pseudonym::from_bytes))?;
    Ok(actors.collect::<Result<_, _>>()?)
}
