//! Forks without effects: each is made once, begins with what its parent had recorded, and touches nothing.

use std::collections::{BTreeMap, BTreeSet};

use agent_shell_core::data::Body;
use agent_shell_core::runtime::HistoryEntry;
use agent_shell_core::words::{SessionId, StepId};
use serde_json::Value;

use super::turn::Turn;
use super::{Acts, Log, Origin};
use crate::crash::book::Book;
use crate::crash::judge::{Rule, Verdict};
use crate::crash::words::Deed;
use crate::recorder::Class;

/// Records before the copies: that the session is opened, and what it is forked from.
const BEFORE_COPIES: u64 = 2;

pub(super) fn check(book: &Book, logs: &[Log], acts: &Acts<'_>, verdict: &mut Verdict) {
    let mut names: BTreeMap<&str, SessionId> = BTreeMap::new();
    for log in logs.iter().filter(|log| log.is_fork()) {
        verdict.counts.forks += 1;
        let mut found = Vec::new();
        if let Some(other) = names.insert(&log.name, log.id) {
            found.push(format!("has the name of session {other}"));
        }
        touches_nothing(log, acts, &mut found);
        begins_with(logs, log, verdict, &mut found);
        for problem in found {
            verdict.say(Rule::Fork, format!("session {} (`{}`): {problem}", log.id, log.name));
        }
    }
    for deed in &book.deeds {
        if let Deed::Forked { name, fork } = deed
            && !logs.iter().any(|log| log.is_fork() && log.id == *fork && log.name == *name)
        {
            verdict.say(Rule::Fork, format!("session {fork} (`{name}`): was made, and is not there"));
        }
    }
}

/// Nothing of it is in the recorder, and nothing on record says that it was to be.
fn touches_nothing(log: &Log, acts: &Acts<'_>, found: &mut Vec<String>) {
    let Origin::Fork { copies, .. } = &log.origin else { return };
    for turn in &log.turns {
        for (step, done) in acts.of_turn(turn.id) {
            if done.classes.iter().any(|class| *class != Class::Pure) {
                found.push(format!("turn {} step {step} acted {} times", turn.id, done.calls));
            }
        }
        for entry in turn.records.iter().filter(|entry| entry.seq.number() > BEFORE_COPIES + copies) {
            if let Body::StepStarted { .. } | Body::ChildStarted { .. } | Body::UndoPlanned { .. } =
                entry.body
            {
                let (seq, kind) = (entry.seq, entry.body.kind());
                found.push(format!("turn {}: record {seq} is `{kind}`, and effects are off", turn.id));
            }
        }
    }
}

/// It begins with what its parent had recorded of the turn that ran; what calls brought that it did not make, its parent had
/// brought about.
fn begins_with(logs: &[Log], log: &Log, verdict: &mut Verdict, found: &mut Vec<String>) {
    let Origin::Fork { parent, seq, copies, effects } = &log.origin else { return };
    if *effects {
        found.push("was made with effects, and none were asked for".into());
    }
    let Some(parent) = logs.iter().find(|log| log.id == *parent) else {
        return found.push(format!("there is no session {parent} from which it is forked"));
    };
    let forked = |entry: &&HistoryEntry| matches!(entry.body, Body::SessionForked { .. });
    if log.entries.iter().filter(forked).count() != 1
        || !log.entries.get(1).is_some_and(|entry| forked(&entry))
    {
        found.push("is not forked by its second record alone".into());
    }
    let is_copy = |entry: &&HistoryEntry| entry.seq.number() <= BEFORE_COPIES + copies;
    let copied: Vec<&HistoryEntry> = log.entries.iter().skip(2).take_while(is_copy).collect();
    // The turn that ran there: one that had started and not ended.
    let ran = parent.turns.iter().find(|turn| {
        let (first, last) = (turn.records.first(), turn.records.last());
        first.is_some_and(|first| first.seq <= *seq) && last.is_some_and(|last| last.seq > *seq)
    });
    let before = ran.map(|turn| turn.records.iter().filter(|entry| entry.seq <= *seq));
    let expected: BTreeMap<_, _> = before.into_iter().flatten().filter_map(outcome).collect();
    let expected: BTreeMap<_, _> = expected.into_iter().filter(|(step, _)| !is_undoing(ran, step)).collect();
    let brought: BTreeMap<_, _> = copied.iter().filter_map(|entry| outcome(entry)).collect();
    verdict.counts.copied += brought.len() as u64;
    if expected != brought {
        found.push(format!("begins with the outcomes {brought:?}, and its parent had {expected:?}"));
    }
    withheld(parent, log, &copied, found);
}

/// The output of a step that ended well with this record.
fn outcome(entry: &HistoryEntry) -> Option<(StepId, Value)> {
    match &entry.body {
        Body::StepSucceeded { step, output, .. } => Some((step.clone(), (*output.value()).clone())),
        _ => None,
    }
}

fn is_undoing(turn: Option<&Turn>, step: &StepId) -> bool {
    turn.is_some_and(|turn| turn.undoes(step).is_some())
}

/// What a call that was not made brought is what a call of the same tool had brought the parent.
fn withheld(parent: &Log, log: &Log, copied: &[&HistoryEntry], found: &mut Vec<String>) {
    let mut known: BTreeSet<(String, String)> = BTreeSet::new();
    for turn in &parent.turns {
        for entry in &turn.records {
            let output = match &entry.body {
                Body::StepSucceeded { output, .. } => (*output.value()).clone(),
                Body::StepResolved { resolution: agent_shell_core::Resolution::Applied(output), .. } => {
                    output.clone()
                }
                _ => continue,
            };
            let tool = entry.body.step().and_then(|step| turn.tool(step));
            known.extend(tool.map(|tool| (tool.to_string(), output.to_string())));
        }
    }
    let returned = |step: &StepId| {
        copied.iter().any(|entry| matches!(&entry.body, Body::StepReturned { step: of, .. } if of == step))
    };
    let last = copied.last().map(|entry| entry.seq);
    for turn in &log.turns {
        for entry in turn.records.iter().filter(|entry| last.is_none_or(|last| entry.seq > last)) {
            let Body::StepReturned { step, output, .. } = &entry.body else { continue };
            let Some(tool) = turn.tool(step).filter(|_| turn.acts(step) && !returned(step)) else { continue };
            let output = output.value();
            if !known.contains(&(tool.to_string(), output.to_string())) {
                found.push(format!("turn {} step {step} brought {output}, which nobody had", turn.id));
            }
        }
    }
}
