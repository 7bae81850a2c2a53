//! The follower: a process that drives nothing and follows every turn, and when it was killed goes on after what it has seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::Arc;

use agent_shell_core::data::Body;
use agent_shell_core::ports::{SessionFilter, SessionStatus};
use agent_shell_core::runtime::History;
use agent_shell_core::words::{Head, SessionId, TurnId};
use agent_shell_core::{ErrorKind, Followed, Shell, Turn};
use tokio::task::JoinSet;

use super::session::pause;
use super::trouble;
use crate::crash::CrashError;
use crate::crash::followed::{Seen, path, read};
use crate::crash::words::Assignment;

/// Follows every turn until this is dropped, or to the end of all.
pub(super) async fn follow(
    shell: &Shell,
    assignment: &Assignment,
    to_the_end: bool,
) -> Result<(), CrashError> {
    let file = path(&assignment.journal);
    let mut seen = read(&file)?;
    let failed = || CrashError::system(file.display().to_string());
    let log = Arc::new(OpenOptions::new().create(true).append(true).open(&file).map_err(failed())?);
    let mut histories: BTreeMap<SessionId, History> = BTreeMap::new();
    let mut heads: BTreeMap<SessionId, Head> = BTreeMap::new();
    let mut known: BTreeSet<TurnId> = BTreeSet::new();
    let mut followers = JoinSet::new();
    loop {
        let entries = shell.sessions(SessionFilter::default(), None, 1024).await?;
        for entry in &entries {
            if heads.insert(entry.id, entry.head) == Some(entry.head) {
                continue;
            }
            let mut history = match histories.remove(&entry.id) {
                Some(history) => history,
                None => shell.history(entry.id).await?,
            };
            loop {
                let records = history.next(4_096).await?;
                let begun = records.iter().filter_map(|record| match record.body {
                    Body::TurnStarted { turn, .. } => Some(turn),
                    _ => None,
                });
                for turn in begun.filter(|turn| known.insert(*turn)) {
                    let last = seen.remove(&turn).and_then(|seen| seen.last().copied());
                    if last.is_none_or(|last| !last.is_end) {
                        followers.spawn(one(shell.turn(turn), last, log.clone()));
                    }
                }
                if records.is_empty() {
                    break;
                }
            }
            histories.insert(entry.id, history);
        }
        while followers.try_join_next().is_some() {}
        let idle =
            entries.iter().all(|entry| entry.mark.status == SessionStatus::Idle && entry.waiting_mail == 0);
        if to_the_end && idle && followers.is_empty() {
            return Ok(());
        }
        pause(20).await;
    }
}

/// Follows one turn to its end, and writes down each record that it is told of.
async fn one(turn: Turn, last: Option<Seen>, log: Arc<File>) {
    let mut follow = match last {
        Some(last) => turn.follow_after(last.seq),
        None => turn.follow(),
    };
    loop {
        match follow.next().await {
            Ok(None) => return,
            Ok(Some(Followed::Durable { seq, entry })) => {
                let is_end =
                    matches!(&entry.body, Body::TurnEnded { turn: ended, .. } if *ended == turn.id());
                let line = Seen { seq, is_end }.line(turn.id());
                if let Err(error) = (&*log).write_all(line.as_bytes()) {
                    return trouble(format!("what a follower has seen can't be written: {error}"));
                }
            }
            Ok(Some(_)) => {}
            Err(error) if error.kind() == ErrorKind::ShuttingDown => return,
            Err(error) => {
                trouble(format!("following turn {}: {error:?}", turn.id()));
                pause(50).await;
            }
        }
    }
}
