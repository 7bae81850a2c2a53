//! A worker: a host with two handlers, one that may repeat itself and one that may not.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agent_shell_core::backends::SystemClock;
use agent_shell_core::backends::local_bus::LocalBus;
use agent_shell_core::backends::sqlite::{SqliteKeys, SqliteOptions, SqliteStore};
use agent_shell_core::ports::{SessionFilter, SessionStatus, Store};
use agent_shell_core::runtime::Needs;
use agent_shell_core::words::GroupName;
use agent_shell_core::{
    Actor, Call, Consumer, Envelope, EventHandler, HandlerError, Limits, Plan, Resolution, Shell, Step, Tool,
    ToolError,
};
use async_trait::async_trait;
use rusqlite::Connection;
use serde_json::{Value, json};

use super::{EventsError, journal, log};
use crate::arguments::Arguments;
use crate::random::Random;

const SESSIONS: u64 = 4;

/// The groups of the two handlers.
pub(super) const GROUPS: [&str; 2] = ["log", "ledger"];

pub(super) fn run(mut given: Arguments) -> Result<(), EventsError> {
    let folder: PathBuf = given.required("--dir")?;
    let seed = given.required("--seed")?;
    let finish = given.flag("--finish");
    given.finish()?;
    std::thread::spawn(exit_at_end_of_stdin);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(work(&folder, seed, finish))
}

fn exit_at_end_of_stdin() {
    let mut buffer = [0; 64];
    while !matches!(std::io::stdin().lock().read(&mut buffer), Ok(0) | Err(_)) {}
    std::process::exit(0);
}

async fn work(folder: &Path, seed: u64, finish: bool) -> Result<(), EventsError> {
    let clock = Arc::new(SystemClock::new());
    let (path, options) = (journal(folder), SqliteOptions::default());
    let opened = |error: agent_shell_core::backends::sqlite::OpenError| EventsError::Shell(error.into());
    let keys = SqliteKeys::open(SqliteKeys::path_beside(&path), options.clone(), clock.clone()).await;
    let store = SqliteStore::store(&path, options, clock).await.map_err(opened)?;
    let unclear = Tool::irreversible("unclear", "Does not say", |_: Value, _: Call| async {
        Err::<Value, _>(ToolError::ambiguous("no answer"))
    });
    let mut limits = Limits::default();
    (limits.poll_ms, limits.lateness_ms, limits.handler_pause_ms) = (20, 20, 200);
    let shell = Shell::on(store.clone(), Arc::new(keys.map_err(opened)?))
        .limits(limits)
        .tool(unclear)
        .bus(Arc::new(LocalBus::default()))
        .consumer(Consumer::new(GROUPS[0], Log::open(folder)?))
        .consumer(Consumer::new(GROUPS[1], Ledger::open(folder)?))
        .open()
        .await?;
    println!("open");
    std::io::stdout().flush()?;
    let person = tokio::spawn(decide(shell.clone()));
    if finish {
        until_all_is_done(&shell, &store).await?;
        person.abort();
        shell.shutdown().await?;
        return Ok(());
    }
    let mut random = Random::new(seed);
    loop {
        let session = shell.session(format!("session-{}", random.below(SESSIONS)))?;
        let step = match random.below(4) {
            0 => Step::approval("ask", json!("go on?")),
            1 => Step::tool("act", "unclear", json!({})),
            _ => Step::timer("wait", Duration::from_millis(random.below(10))),
        };
        let plan = Plan::new([step]).map_err(|_| EventsError::Worker("drew no valid plan"))?;
        // A full mailbox takes no more for now.
        drop(session.submit(plan).await);
        tokio::time::sleep(Duration::from_millis(random.below(20))).await;
    }
}

/// Approves and resolves whatever rests.
async fn decide(shell: Shell) {
    loop {
        tokio::time::sleep(Duration::from_millis(10)).await;
        for rest in shell.rests().await.unwrap_or_default() {
            let turn = shell.turn(rest.turn);
            // What was decided in the meantime, here or elsewhere, needs nothing any more.
            match rest.needs {
                Needs::Approval { .. } => {
                    if let Ok(Some(approval)) = turn.approval().await {
                        drop(approval.approve(&Actor::Host).await);
                    }
                }
                Needs::Resolution { .. } => {
                    let applied = Resolution::Applied(json!(null));
                    drop(turn.resolve(rest.step.as_str(), applied, &Actor::Host).await);
                }
                _ => {}
            }
        }
    }
}

/// Waits until no session has work, and both groups have done all that was told.
async fn until_all_is_done(shell: &Shell, store: &Store) -> Result<(), EventsError> {
    loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let entries = shell.sessions(SessionFilter::default(), None, 1000).await?;
        let idle = |entry: &agent_shell_core::ports::SessionEntry| {
            entry.mark.status == SessionStatus::Idle && entry.waiting_mail == 0
        };
        if !entries.iter().all(idle) {
            continue;
        }
        let sessions: Vec<_> = entries.iter().map(|entry| entry.id).collect();
        let mut done = true;
        for group in GROUPS {
            let group = GroupName::new(group).map_err(agent_shell_core::Error::from)?;
            let marks = store.marks.load(&group, &sessions).await?;
            done &= entries.iter().zip(marks).all(|(entry, mark)| mark.done == entry.sequence);
        }
        if done {
            return Ok(());
        }
    }
}

/// Writes a line for each event; it may write one twice.
struct Log(Mutex<File>);

impl Log {
    fn open(folder: &Path) -> Result<Self, EventsError> {
        Ok(Self(Mutex::new(OpenOptions::new().create(true).append(true).open(log(folder))?)))
    }
}

#[async_trait]
impl EventHandler for Log {
    async fn handle(&self, event: Envelope) -> Result<(), HandlerError> {
        let line = format!("{} {}\n", event.session, event.sequence);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes())?;
        Ok(())
    }
}

/// Counts each event in a table of its own in the journal's file, in one transaction with the mark.
struct Ledger(Mutex<Connection>);

impl Ledger {
    fn open(folder: &Path) -> Result<Self, EventsError> {
        // The store was opened before, so that the file is its own.
        let connection = Connection::open(journal(folder))?;
        connection.busy_timeout(Duration::from_secs(20))?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS ledger (place INTEGER PRIMARY KEY, session TEXT, sequence INTEGER)",
        )?;
        Ok(Self(Mutex::new(connection)))
    }
}

#[async_trait]
impl EventHandler for Ledger {
    async fn handle(&self, event: Envelope) -> Result<(), HandlerError> {
        tokio::task::block_in_place(|| {
            let mut connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let behavior = rusqlite::TransactionBehavior::Immediate;
            let transaction = connection.transaction_with_behavior(behavior)?;
            let sequence = event.sequence.cast_signed();
            let raised = transaction.execute(
                "INSERT INTO marks (consumers, session, done, seen) VALUES (?1, ?2, ?3, ?3) \
                 ON CONFLICT DO UPDATE SET done = excluded.done, seen = max(seen, excluded.seen) \
                 WHERE done < excluded.done",
                (GROUPS[1], event.session.to_bytes(), sequence),
            )?;
            if raised > 0 {
                let effect = "INSERT INTO ledger (session, sequence) VALUES (?1, ?2)";
                transaction.execute(effect, (event.session.to_string(), sequence))?;
            }
            transaction.commit()?;
            Ok(())
        })
    }
}
