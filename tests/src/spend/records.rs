//! What the journal says beside the ledger: each durable outcome was settled with it, and each failure for want of a budget
//! was a refusal.

use std::collections::{BTreeSet, HashMap};

use agent_shell_core::data::AttemptId;
use agent_shell_core::data::{Answer, Body};
use agent_shell_core::ports::{OperationKind, SessionFilter};
use agent_shell_core::runtime::HistoryEntry;
use agent_shell_core::words::{Digest, SessionId, StepId, TurnId};
use agent_shell_core::{FailureCode, Outcome, Shell};
use serde::Serialize;

use super::SpendError;
use super::judge::{Settled, Told, Verdict};

/// What the journal holds.
#[derive(Debug, Default, Serialize)]
pub(super) struct Counts {
    pub(super) turns: u64,
    pub(super) answered: u64,
    pub(super) failed: u64,
    /// Of those that failed, for want of a budget.
    pub(super) of_budget: u64,
    pub(super) expired: u64,
    pub(super) abandoned: u64,
    pub(super) cancelled: u64,
    /// Cancelled before their start.
    pub(super) withdrawn: u64,
    /// Turns that ran at once, at most, as the records' times say.
    pub(super) at_once: i64,
    /// Answers of models that are durable.
    pub(super) answers: u64,
    /// Outcomes of tools that are durable.
    pub(super) outcomes: u64,
    /// Steps that failed for want of a budget.
    pub(super) refused_steps: u64,
    /// The highest epoch of a session.
    pub(super) epochs: u64,
    pub(super) records: u64,
}

pub(super) async fn check(
    shell: &Shell,
    told: &Told,
    settled: &HashMap<Digest, Settled>,
    verdict: &mut Verdict,
) -> Result<(), SpendError> {
    let refused = told.was_refused();
    let refused: BTreeSet<(TurnId, StepId)> = refused
        .iter()
        .filter_map(|attempt| told.asked.get(attempt))
        .map(|asked| (asked.id.turn, asked.id.step.clone()))
        .collect();
    let mut instants: Vec<(u64, i64)> = Vec::new();
    for session in shell.sessions(SessionFilter::default(), None, usize::MAX >> 1).await? {
        let mut history = shell.history(session.id).await?;
        let (mut started, mut ended) = (0, 0);
        loop {
            let entries = history.next(512).await?;
            if entries.is_empty() {
                break;
            }
            for entry in entries {
                verdict.counts.records += 1;
                verdict.counts.epochs = verdict.counts.epochs.max(entry.epoch.number());
                match &entry.body {
                    Body::TurnStarted { .. } => {
                        started += 1;
                        instants.push((entry.time.as_millis(), 1));
                    }
                    Body::TurnEnded { outcome, answer, .. } => {
                        ended += 1;
                        instants.push((entry.time.as_millis(), -1));
                        count(outcome, answer.is_some(), &mut verdict.counts);
                    }
                    Body::TurnWithdrawn { .. } => {
                        verdict.counts.withdrawn += 1;
                        verdict.counts.turns += 1;
                    }
                    _ => one(session.id, &entry, told, settled, &refused, verdict),
                }
            }
        }
        verdict.counts.turns += started;
        if started != ended {
            verdict.say(format!("session {}: {started} turns started, and {ended} ended", session.id));
        }
    }
    instants.sort_unstable();
    let running = instants.iter().scan(0, |running, (_, change)| {
        *running += change;
        Some(*running)
    });
    verdict.counts.at_once = running.max().unwrap_or(0);
    Ok(())
}

fn count(outcome: &Outcome, answered: bool, counts: &mut Counts) {
    match outcome {
        _ if answered => counts.answered += 1,
        Outcome::Answered(_) => counts.answered += 1,
        Outcome::Failed(failure) => {
            counts.failed += 1;
            counts.of_budget += u64::from(failure.code == FailureCode::Budget);
        }
        Outcome::Expired => counts.expired += 1,
        Outcome::Abandoned { .. } => counts.abandoned += 1,
        Outcome::Cancelled => counts.cancelled += 1,
        _ => {}
    }
}

fn one(
    session: SessionId,
    entry: &HistoryEntry,
    told: &Told,
    settled: &HashMap<Digest, Settled>,
    refused: &BTreeSet<(TurnId, StepId)>,
    verdict: &mut Verdict,
) {
    let found = |turn: TurnId, step: &StepId, attempt: u32| {
        let id = AttemptId { session, turn, step: step.clone(), epoch: entry.epoch, attempt };
        let digest = id.digest();
        (told.billed.get(&digest), settled.get(&digest), id)
    };
    match &entry.body {
        Body::ModelAnswered { turn, step, attempt, answer, .. } => {
            verdict.counts.answers += 1;
            let (billed, settled, id) = found(*turn, step, *attempt);
            let (Some(billed), Some(settled)) = (billed, settled) else {
                return verdict.say(format!("{id:?}: answered, and neither billed nor settled"));
            };
            let Ok(answer) = serde_json::from_value::<Answer>((*answer.value()).clone()) else {
                return verdict.say(format!("{id:?}: the record holds no answer"));
            };
            let usage = answer.usage;
            let tokens = usage.input_tokens.zip(usage.output_tokens).map(|(input, output)| input + output);
            // What the vendor did not say counts at its bound; what it said is what it billed.
            let expected = (
                tokens.map_or(settled.reserved.tokens, |_| billed.tokens),
                usage.cost_nano_usd.map_or(settled.reserved.nano_usd, |_| billed.nano_usd),
                1,
            );
            let spent = (settled.amounts.tokens, settled.amounts.nano_usd, settled.amounts.steps);
            if settled.kind != OperationKind::Settled || spent != expected {
                let kind = settled.kind;
                verdict.say(format!(
                    "{id:?}: answered, billed {billed:?}, and settled as {spent:?}, not as {expected:?} ({kind:?})"
                ));
            }
        }
        Body::StepSucceeded { turn, step, attempt, .. } => {
            verdict.counts.outcomes += 1;
            // What a probe has found was an attempt of an earlier epoch, maybe.
            let (billed, settled, id) = found(*turn, step, *attempt);
            let Some(settled) = settled else {
                if billed.is_some() {
                    verdict.say(format!("{id:?}: succeeded, was billed, and not settled"));
                }
                return;
            };
            let most = settled.reserved;
            let spent = settled.amounts;
            let whole = (spent.nano_usd, spent.tool_calls, spent.steps) == (most.nano_usd, 1, 1);
            if settled.kind != OperationKind::Settled || !whole {
                verdict.say(format!("{id:?}: succeeded, and settled as {spent:?} ({:?})", settled.kind));
            }
        }
        Body::StepFailed { turn, step, failure, .. }
            if failure.code == FailureCode::Budget
                && ["were asked for", "an overrun closed"]
                    .iter()
                    .any(|why| failure.message.contains(why)) =>
        {
            verdict.counts.refused_steps += 1;
            if !refused.contains(&(*turn, step.clone())) {
                verdict
                    .say(format!("turn {turn} step {step}: failed for want of a budget that nobody refused"));
            }
        }
        _ => {}
    }
}
