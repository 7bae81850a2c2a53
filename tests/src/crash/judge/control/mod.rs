//! What comes of meddling: the promises of sagas, steering, guards and hand-offs, judged from the records and from what the
//! recorder saw. Nothing here knows how a turn had to end.

mod acts;
mod child;
mod fork;
mod guard;
mod hand_off;
mod steer;
#[cfg(test)]
mod tests;
pub(crate) mod turn;
mod undo;

use std::collections::{BTreeMap, BTreeSet};

use agent_shell_core::data::{Body, ChildOf, MailKind};
use agent_shell_core::ports::SessionFilter;
use agent_shell_core::runtime::HistoryEntry;
use agent_shell_core::words::{Pseudonym, Seq, SessionId, StepId, TurnId};
use agent_shell_core::{FailureCode, Outcome, Shell};

use self::turn::Turn;
use super::journal::SessionLog;
use super::{Rule, Verdict, late};
use crate::crash::CrashError;
use crate::crash::book::Book;
use crate::crash::harness::Run;
use crate::crash::scenario::{TurnKey, session_name};
use crate::crash::words::Deed;
use crate::recorder::{Audit, Class, StepAudit, StepName};

/// The records of a session with whose turns people meddle.
pub(crate) struct Log {
    pub(crate) id: SessionId,
    pub(crate) name: String,
    pub(crate) origin: Origin,
    pub(crate) entries: Vec<HistoryEntry>,
    pub(crate) turns: Vec<Turn>,
}

/// Where a session comes from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Origin {
    /// Turns are submitted to it.
    Submitted,
    /// A turn of another session had it made.
    Child(ChildOf),
    /// It goes on from a record of another one.
    Fork { parent: SessionId, seq: Seq, copies: u64, effects: bool },
}

/// What the recorder saw, and who may act.
pub(crate) struct Acts<'a> {
    pub(crate) audit: &'a Audit,
    pub(crate) people: &'a BTreeSet<Pseudonym>,
    /// Whether processes were stopped: then an irreversible act may come late.
    pub(crate) stops: bool,
}

impl Acts<'_> {
    /// The calls of a turn, by step.
    fn of_turn(&self, turn: TurnId) -> impl Iterator<Item = (&str, &StepAudit)> {
        let id = turn.to_string();
        let first = StepName { turn: id.clone(), step: String::new() };
        let all = self.audit.steps().range(first..).take_while(move |(name, _)| name.turn == id);
        all.map(|(name, done)| (name.step.as_str(), done))
    }

    /// The calls of a step.
    fn step(&self, turn: TurnId, step: &StepId) -> Option<&StepAudit> {
        self.audit.step(&StepName { turn: turn.to_string(), step: step.to_string() })
    }

    /// How often an effect was applied, late acts of stopped processes apart.
    fn times(&self, class: Class, done: &StepAudit) -> u64 {
        if self.stops && class == Class::Irreversible { late::in_time(done) } else { done.applied }
    }

    /// When a step acted, in wall time, late acts apart.
    fn in_time<'a>(&'a self, turn: &Turn, step: &StepId) -> impl Iterator<Item = u64> + use<'a> {
        let done = self.step(turn.id, step);
        let applications = done.into_iter().flat_map(|done| &done.applications);
        applications.filter(|application| !late::is_late(application)).map(|application| application.at_ms)
    }
}

/// Reads the sessions with whose turns people meddled.
pub(super) async fn read(shell: &Shell, run: &Run, verdict: &mut Verdict) -> Result<Vec<Log>, CrashError> {
    let plain: BTreeSet<String> = run.plain_sessions().map(session_name).collect();
    let (mut logs, mut after) = (Vec::new(), None);
    loop {
        let page = shell.sessions(SessionFilter::default(), after, 256).await?;
        let Some(last) = page.last() else { return Ok(logs) };
        after = Some(last.id);
        for entry in &page {
            match read_one(shell, entry.id, &plain).await {
                Ok(log) => logs.extend(log),
                Err(error) => {
                    verdict.say(Rule::Chain, format!("session {} can't be read: {error:?}", entry.id));
                }
            }
        }
    }
}

async fn read_one(
    shell: &Shell,
    id: SessionId,
    plain: &BTreeSet<String>,
) -> Result<Option<Log>, agent_shell_core::Error> {
    let (mut history, mut entries) = (shell.history(id).await?, Vec::new());
    loop {
        let page = history.next(512).await?;
        if page.is_empty() {
            break;
        }
        entries.extend(page);
        if name_of(&entries).is_none_or(|name| plain.contains(&name)) {
            return Ok(None);
        }
    }
    // What was made for a child that did not start is empty.
    Ok((!entries.is_empty()).then(|| Log::new(id, entries)))
}

fn name_of(entries: &[HistoryEntry]) -> Option<String> {
    match &entries.first()?.body {
        Body::SessionOpened { name, .. } => Some(name.to_string()),
        _ => None,
    }
}

impl Log {
    pub(crate) fn new(id: SessionId, entries: Vec<HistoryEntry>) -> Self {
        let (turns, name) = (turn::turns_of(&entries), name_of(&entries).unwrap_or_default());
        let origin = entries.iter().take(2).rev().find_map(|entry| match &entry.body {
            Body::SessionForked { parent, seq, copies, effects, .. } => {
                Some(Origin::Fork { parent: *parent, seq: *seq, copies: *copies, effects: *effects })
            }
            Body::SessionOpened { child_of: Some(of), .. } => Some(Origin::Child((**of).clone())),
            _ => None,
        });
        Self { id, name, origin: origin.unwrap_or(Origin::Submitted), entries, turns }
    }

    pub(crate) fn is_fork(&self) -> bool {
        matches!(self.origin, Origin::Fork { .. })
    }

    /// The same, as it is looked at for the promises of all sessions.
    pub(super) fn session_log(&self) -> SessionLog {
        let number = self.name.strip_prefix("crash-").and_then(|number| number.parse().ok());
        SessionLog::of(number.unwrap_or_default(), self.entries.iter().cloned())
    }
}

/// The turns of these sessions.
pub(super) fn turns(logs: &[Log]) -> BTreeSet<String> {
    logs.iter().flat_map(|log| &log.turns).map(|turn| turn.id.to_string()).collect()
}

/// Judges them.
pub(super) async fn check(
    (shell, run, book): (&Shell, &Run, &Book),
    logs: &[Log],
    acts: &Acts<'_>,
    verdict: &mut Verdict,
) -> Result<(), CrashError> {
    for log in logs {
        if log.origin == Origin::Submitted {
            steer::check(run.seed, run.owners, log, acts, verdict);
            hand_off::check(run.seed, log, verdict);
        }
        for turn in &log.turns {
            if !log.is_fork() {
                acts::check(turn, acts, verdict);
                undo::check(turn, acts, verdict);
                guard::check(turn, acts, verdict);
            }
            ended(turn, log.is_fork(), verdict);
        }
    }
    child::check(logs, verdict);
    fork::check(book, logs, acts, verdict);
    let submitted: Vec<&Log> = logs.iter().filter(|log| log.origin == Origin::Submitted).collect();
    accepted(shell, book, &submitted, verdict).await?;
    deeds(book, logs, verdict);
    if run.kills >= ENOUGH && run.controls > 0 {
        seen(verdict);
    }
    Ok(())
}

/// A turn ends once, for a reason.
fn ended(turn: &Turn, in_fork: bool, verdict: &mut Verdict) {
    use FailureCode::*;
    let id = turn.id;
    let [end] = &turn.ends[..] else {
        let last = turn.records.last().map(|entry| entry.body.kind());
        let rule = if turn.ends.is_empty() { Rule::Stuck } else { Rule::Outcome };
        return verdict
            .say(rule, format!("turn {id} has {} ends; its last record: {last:?}", turn.ends.len()));
    };
    let was = |wanted: fn(&Body) -> bool| turn.records.iter().any(|entry| wanted(&entry.body));
    let has_reason = match &end.outcome {
        Outcome::Answered(_) => true,
        Outcome::Cancelled => was(|body| matches!(body, Body::TurnCancelled { .. })),
        Outcome::Expired => was(|body| matches!(body, Body::TurnExpired { .. })),
        Outcome::Failed(failure) => {
            let codes = [
                NotApplied,
                UnresolvedInput,
                Denied,
                Guard,
                ResolvedNotApplied,
                DeadlineExceeded,
                Skipped,
                Child,
            ];
            codes.contains(&failure.code) || (in_fork && failure.code == EffectsOff)
        }
        _ => false,
    };
    verdict.counts.cancelled += u64::from(end.outcome == Outcome::Cancelled);
    verdict.counts.expired += u64::from(end.outcome == Outcome::Expired);
    if !has_reason {
        verdict.say(Rule::Outcome, format!("turn {id} ended as {:?}, and nothing led there", end.outcome));
    }
}

/// Everything that was accepted is there once, and has the outcome that was seen and that is read.
async fn accepted(
    shell: &Shell,
    book: &Book,
    logs: &[&Log],
    verdict: &mut Verdict,
) -> Result<(), CrashError> {
    let fates: BTreeMap<TurnId, _> = logs.iter().flat_map(|log| steer::fates(log)).collect();
    let mut by_key: BTreeMap<TurnKey, BTreeSet<TurnId>> = BTreeMap::new();
    for (id, (key, _)) in &fates {
        if let Some(key) = key {
            by_key.entry(*key).or_default().insert(*id);
        }
    }
    for (key, known) in book.turns.iter().filter(|(key, _)| key.is_controlled()) {
        let ids = by_key.get(key).cloned().unwrap_or_default();
        if ids.len() > 1 {
            verdict.say(Rule::Dedupe, format!("{key}: one dedupe key, and {} turns: {ids:?}", ids.len()));
        }
        verdict.counts.unanswered += known.unanswered;
        let Some((id, _)) = known.accepted else { continue };
        verdict.counts.accepted += 1;
        let Some((_, fate)) = fates.get(&id) else {
            verdict.say(Rule::Lost, format!("{key}: turn {id} was accepted, and is in no session"));
            continue;
        };
        let Some(outcome) = fate.outcomes.first() else {
            verdict.say(Rule::Stuck, format!("{key}: turn {id} has no outcome: {fate:?}"));
            continue;
        };
        verdict.counts.ended += 1;
        match outcome {
            Outcome::Answered(_) => verdict.counts.answered += 1,
            _ => verdict.counts.failed += 1,
        }
        let read = shell.turn(id).ended().await?;
        if read.as_ref() != Some(outcome) {
            verdict.say(Rule::Outcome, format!("{key}: ended as {outcome:?}, and is read as {read:?}"));
        }
        if let Some(seen) = known.outcome.as_ref().filter(|seen| *seen != outcome) {
            verdict
                .say(Rule::Outcome, format!("{key}: was seen to end as {seen:?}, and ended as {outcome:?}"));
        }
    }
    for key in by_key.keys().filter(|key| !book.turns.contains_key(key)) {
        verdict.say(Rule::Trouble, format!("{key}: nobody submitted it"));
    }
    Ok(())
}

/// What people were told is done is on record, or its refusal is.
fn deeds(book: &Book, logs: &[Log], verdict: &mut Verdict) {
    let entries = || logs.iter().flat_map(|log| &log.entries);
    let refused = |kind: MailKind| {
        entries()
            .filter(|entry| matches!(&entry.body, Body::MailRefused { mail_kind, .. } if *mail_kind == kind))
            .count()
    };
    let mut cancels = 0;
    for deed in &book.deeds {
        match deed {
            Deed::Cancelled { turn, reason } => {
                let is_it = |body: &Body| match body {
                    Body::TurnCancelled { turn: of, reason: why }
                    | Body::TurnWithdrawn { turn: of, reason: why } => of == turn && why == reason,
                    _ => false,
                };
                cancels += usize::from(!entries().any(|entry| is_it(&entry.body)));
            }
            Deed::Forked { .. } => {}
            Deed::HandedOff { session, reason } => {
                let log = logs.iter().find(|log| log.id == *session);
                let is_it = |entry: &&HistoryEntry| matches!(&entry.body, Body::SessionHandedOff { reason: why, .. } if why == reason);
                let times = log.map_or(0, |log| log.entries.iter().filter(is_it).count());
                if times == 0 {
                    verdict.say(
                        Rule::HandOff,
                        format!("session {session}: `{reason}` was posted, and is not there"),
                    );
                }
            }
        }
    }
    let refused = refused(MailKind::Cancel);
    if cancels > refused {
        let what = format!("{cancels} cancels that were posted led to nothing, and {refused} were refused");
        verdict.say(Rule::Lost, what);
    }
}

/// From so many kills on, each thing must have happened that the promises are about.
const ENOUGH: u64 = 100;

/// A run in which nothing happened proves nothing.
fn seen(verdict: &mut Verdict) {
    let counts = &verdict.counts;
    let all = [
        ("was said to a turn and taken up", counts.taken_up),
        ("interrupted a turn", counts.interrupted),
        ("was given up by an interruption", counts.superseded),
        ("was cancelled", counts.cancelled),
        ("was undone", counts.undone),
        ("was denied by a guard", counts.ruled_denied),
        ("was rewritten by a guard", counts.ruled_rewritten),
        ("was asked for by a guard", counts.ruled_asked),
        ("was handed over", counts.handed_off),
        ("was left to a child", counts.children),
        ("was forked", counts.forks),
    ];
    for (what, _) in all.into_iter().filter(|(_, times)| *times == 0) {
        verdict.say(Rule::Trouble, format!("nothing {what}: the run is too short to say anything of it"));
    }
}
