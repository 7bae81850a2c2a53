//! The tools of the run. Each acts on the recorder, once a call, with pauses before and after the act in which a kill
//! may fall.

use std::sync::Arc;
use std::time::Duration;

use agent_shell_core::backends::SystemClock;
use agent_shell_core::{Call, ProbeAnswer, Retry, Tool, ToolError};
use serde_json::{Value, json};
use tokio::task::JoinError;

use super::scenario::{ToolKind, Work, output_of};
use crate::random::Random;
use crate::recorder::{Class, ClientError, Effect, Fence, Probe, RecorderClient, Refusal, StepName, Verdict};

/// How long one attempt may take. Some answers of the recorder come later.
pub(super) const ATTEMPT: Duration = Duration::from_millis(300);

pub(super) const RETRY: Retry = Retry { attempts: 12, base_ms: 4, max_ms: 40 };

/// The name of the step that a call belongs to, as the recorder knows it.
fn name_of(call: &Call) -> StepName {
    StepName { turn: call.turn.to_string(), step: call.step.to_string() }
}

/// Every tool, acting on this recorder.
pub(super) fn tools(client: &RecorderClient) -> Vec<Tool> {
    let client = Arc::new(client.clone().with_timeout(Duration::from_secs(2)));
    ToolKind::ALL.into_iter().map(|kind| tool(kind, &client)).collect()
}

fn tool(kind: ToolKind, client: &Arc<RecorderClient>) -> Tool {
    let asked = client.clone();
    let client = client.clone();
    let run = move |work: Work, call: Call| act(kind, client.clone(), work, call);
    let probe = move |work: Work, call: Call| ask(asked.clone(), output_of(kind, &work), call);
    let description = "Acts on the recorder";
    let mut tool = match kind.class() {
        Class::Pure => Tool::pure(kind.name(), description, run),
        Class::Idempotent => Tool::idempotent(kind.name(), description, run),
        Class::Probed => Tool::probed(kind.name(), description, run, probe),
        Class::Irreversible => Tool::irreversible(kind.name(), description, run),
    };
    if kind.asks_first() {
        tool = tool.ask_first();
    }
    if kind.is_held() {
        tool = tool.held();
    }
    tool.attempt_deadline(ATTEMPT).retry(RETRY)
}

async fn act(
    kind: ToolKind,
    client: Arc<RecorderClient>,
    work: Work,
    call: Call,
) -> Result<Value, ToolError> {
    if work.refuse {
        return Err(ToolError::refused("refused on purpose"));
    }
    let act = Act { class: kind.class(), payload: json!({}), output: output_of(kind, &work) };
    act.on(client, call).await
}

/// One act on the recorder.
pub(super) struct Act {
    pub(super) class: Class,
    /// An object: what the recorder is told besides.
    pub(super) payload: Value,
    /// What the tool says when it is done.
    pub(super) output: Value,
}

impl Act {
    /// Acts.
    pub(super) async fn on(self, client: Arc<RecorderClient>, call: Call) -> Result<Value, ToolError> {
        let Self { class, mut payload, output } = self;
        let [before, after] = pauses(&call);
        tokio::time::sleep(before).await;
        let deadline = call.deadline;
        let StepName { turn, step } = name_of(&call);
        payload["deadline_ms"] = json!(deadline.wall);
        let effect = Effect {
            class,
            turn,
            step,
            key: call.key().to_owned(),
            epoch: call.epoch.number(),
            attempt: call.attempt.into(),
            payload,
        };
        // The thread may begin late, when nobody waits for it any more: then it must not act.
        let verdict = tokio::task::spawn_blocking(move || {
            if deadline.has_passed(&SystemClock::new()) {
                return Err(ClientError::NotSent(std::io::ErrorKind::TimedOut.into()));
            }
            client.effect(&effect)
        });
        let verdict = verdict.await;
        tokio::time::sleep(after).await;
        concluded(verdict, output)
    }
}

/// What is known after a call.
fn concluded(
    verdict: Result<Result<Verdict, ClientError>, JoinError>,
    output: Value,
) -> Result<Value, ToolError> {
    match verdict? {
        Ok(Verdict::Applied(_) | Verdict::Counted(_)) => Ok(output),
        // The key is this step's own: its effect is there.
        Ok(Verdict::Refused(Refusal::UsedKey)) => Err(ToolError::Applied { output }),
        Ok(Verdict::Refused(Refusal::StaleEpoch)) => Err(ToolError::retry("the epoch is stale")),
        Err(error @ ClientError::Unanswered(_)) => Err(ToolError::ambiguous(error.to_string())),
        Err(error) => Err(ToolError::retry(error.to_string())),
    }
}

/// Asks the recorder whether a call was applied; then its output is this.
pub(super) async fn ask(
    client: Arc<RecorderClient>,
    output: Value,
    call: Call,
) -> Result<ProbeAnswer, ToolError> {
    let StepName { turn, step } = name_of(&call);
    let fence = Some(Fence { turn, step, epoch: call.epoch.number() });
    let probe = Probe { key: call.key().to_owned(), fence };
    let answer = tokio::task::spawn_blocking(move || client.probe(&probe)).await??;
    Ok(match answer {
        Some(_) => ProbeAnswer::Applied(output),
        None => ProbeAnswer::NotApplied,
    })
}

/// How long an attempt dawdles before and after the act; it follows from the key and the attempt. Every other act is
/// done at once, so that it races with whatever is written at the same time.
fn pauses(call: &Call) -> [Duration; 2] {
    let key = u64::from_str_radix(call.key().get(..16).unwrap_or_default(), 16).unwrap_or_default();
    let mut random = Random::of(&[key, call.attempt.into()]);
    [(); 2].map(|()| {
        let longest_ms = match random.below(10) {
            0..5 => 0,
            5..9 => 10,
            _ => 60,
        };
        Duration::from_micros(random.below(longest_ms * 1000))
    })
}
