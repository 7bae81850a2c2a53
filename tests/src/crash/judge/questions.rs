//! Questions to models: those of a session continue each other byte for byte, and none is asked again once its answer is
//! durable.

use agent_shell_core::data::Body;
use agent_shell_core::runtime::HistoryEntry;
use agent_shell_core::words::{Digest, StepId};

use super::journal::{SessionLog, TurnLog};
use super::{Rule, Verdict};
use crate::crash::CrashError;
use crate::crash::harness::Run;
use crate::crash::talk::{Asked, by_step, path, read};

pub(super) fn check(run: &Run, sessions: &[SessionLog], verdict: &mut Verdict) -> Result<(), CrashError> {
    let asked = read(&path(&run.journal))?;
    let by_step = by_step(&asked);
    verdict.counts.questions = asked.len() as u64;
    for session in sessions {
        let mut before: Option<&Asked> = None;
        for turn in &session.turns {
            for (step, entry, attempt) in answers(turn) {
                verdict.counts.answers += 1;
                let questions = by_step.get(&(turn.id, step.clone())).map(Vec::as_slice).unwrap_or_default();
                let mut say = |problem: String| {
                    verdict.say(Rule::Question, format!("turn {} step {step}: {problem}", turn.id));
                };
                let answered = (entry.epoch, attempt);
                for late in questions.iter().filter(|late| (late.epoch, late.attempt) > answered) {
                    let again = (late.epoch, late.attempt);
                    say(format!("asked as {again:?} (epoch, attempt), and was answered as {answered:?}"));
                }
                let question = questions.iter().find(|asked| (asked.epoch, asked.attempt) == answered);
                let Some(&question) = question else {
                    say("was answered, and nobody asked".into());
                    continue;
                };
                let how = before.map(|before| continues(before, question));
                match &how {
                    Some(Err(problem)) => say((*problem).into()),
                    Some(Ok(Continued::Whole)) => verdict.counts.continued += 1,
                    Some(Ok(Continued::Summarised)) => verdict.counts.summarised += 1,
                    Some(Ok(Continued::Cut)) => verdict.counts.cut += 1,
                    Some(Ok(Continued::Aside)) | None => {}
                }
                if !question.is_summary {
                    before = Some(question);
                }
            }
        }
    }
    Ok(())
}

/// The answers of models, in their order.
fn answers(turn: &TurnLog) -> Vec<(&StepId, &HistoryEntry, u32)> {
    let of_step = turn.steps.values().flatten();
    let mut answers: Vec<_> = of_step
        .filter_map(|entry| match &entry.body {
            Body::ModelAnswered { step, attempt, .. } => Some((step, entry, *attempt)),
            _ => None,
        })
        .collect();
    answers.sort_by_key(|(_, entry, _)| entry.seq);
    answers
}

enum Continued {
    /// It begins with all that the one before showed.
    Whole,
    /// A summary stands for some of it.
    Summarised,
    /// Its oldest turns are let go.
    Cut,
    /// It asks for a summary.
    Aside,
}

/// How a question goes on after the last one that did not ask for a summary.
fn continues(before: &Asked, next: &Asked) -> Result<Continued, &'static str> {
    let (old, new) = (&before.messages, &next.messages);
    if next.prompt != before.prompt {
        return Err("has another beginning than the question before");
    }
    if next.is_summary {
        let shown = &new[..new.len().saturating_sub(1)];
        let is_beginning = old.starts_with(shown) || shown.starts_with(old);
        return if is_beginning { Ok(Continued::Aside) } else { Err("summarises what was not said") };
    }
    if new.starts_with(old) {
        return Ok(Continued::Whole);
    }
    let known = |digest: &Digest| old.contains(digest);
    // A conversation begins with what a user says, or with a summary.
    let mut beginnings = before.users.iter().chain(&before.summaries);
    let keeps_an_end = beginnings.any(|&place| place > 0 && new.starts_with(&old[place..]));
    let keeps_nothing = next.turn != before.turn && next.users.first() == Some(&0) && !new.iter().any(known);
    if keeps_an_end || keeps_nothing {
        return Ok(Continued::Cut);
    }
    if !next.summaries.iter().any(|&place| !known(&new[place])) {
        return Err("does not continue the question before");
    }
    if !before.users.iter().all(|&place| new.contains(&old[place])) {
        return Err("lacks what a user said, after a summary");
    }
    // What stayed stands in its order; what no question showed before comes after it, but for the summary.
    let mut rest = old.iter();
    let stayed = new.iter().enumerate().filter(|(place, _)| !next.summaries.contains(place));
    let stayed = stayed.take_while(|(_, digest)| rest.any(|shown| shown == *digest)).count();
    match stayed >= before.users.len() {
        true => Ok(Continued::Summarised),
        false => Err("has what was said in another order"),
    }
}
