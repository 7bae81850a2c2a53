//! The model of the run. It remembers nothing: what it says follows from the seed and from what it is asked, and now and
//! then from chance, as models do. It fails in every way in which one can.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use agent_shell_core::data::{Answer, Arguments, CallStatus, Finish, Message, Opaque, Said, ToolCall};
use agent_shell_core::ports::{
    AnswerStream, Chunk, ModelBound, ModelCapabilities, ModelError, ModelErrorKind, ModelRequest,
};
use agent_shell_core::{Call, Model};
use async_trait::async_trait;
use futures::StreamExt;
use serde_json::{Value, json};

use super::budgets;
use super::talking::SUMMARISE;
use super::truth::{LifeId, Mishap, Truth};
use super::work::{PEEK, STAMP};
use crate::random::Random;

/// The tools that it calls, of every effect class, with and without a person's consent.
const TOOLS: [&str; 14] = [
    "look", "look", "look", "put", "put", "book", "book", "send", "pay", "wire", "publish", PEEK, STAMP,
    STAMP,
];

pub(super) struct SimModel {
    pub(super) truth: Truth,
    /// In which life of a process it is asked.
    pub(super) life: LifeId,
}

#[async_trait]
impl Model for SimModel {
    fn capabilities(&self) -> ModelCapabilities {
        let mut capabilities = ModelCapabilities::default();
        capabilities.tools = true;
        capabilities
    }

    fn bound(&self, request: &ModelRequest) -> Option<ModelBound> {
        budgets::bound(self.truth.settings().seed, request)
    }

    async fn ask(&self, request: Arc<ModelRequest>, call: Call) -> Result<AnswerStream, ModelError> {
        self.truth.questioned(&request, &call);
        self.truth.pause().await;
        let mishap = self.truth.draw_mishap(is_summary(&request));
        let mut answer = self.answer(&request);
        self.uses(&request, &mut answer);
        match mishap {
            Mishap::Fails(kind) if self.truth.chance(50) => return Err(error(kind)),
            Mishap::Hangs => return pending().await,
            Mishap::Slow => self.truth.lie(Duration::from_millis(400)).await,
            // No message on standard error, as a hook would write for `panic!`.
            Mishap::Panics => std::panic::resume_unwind(Box::new("it panics on purpose")),
            Mishap::Length => answer.finish = Finish::Length,
            Mishap::Declines => answer.finish = Finish::Declined,
            Mishap::EmptySummary => answer = Answer::new(vec![Said::text(" ")]),
            _ => {}
        }
        let speaking = self.truth.speaks(self.life, &call, answer.text());
        let mut parts: Vec<Result<Chunk, ModelError>> = chunks(&answer).into_iter().map(Ok).collect();
        match mishap {
            Mishap::CutOff => {}
            Mishap::Fails(kind) => parts.push(Err(error(kind))),
            _ => {
                self.truth.said(&call, &answer);
                parts.push(Ok(Chunk::Answer(Box::new(answer))));
            }
        }
        let truth = self.truth.clone();
        let parts = futures::stream::iter(parts).then(move |part| {
            let (truth, speaking) = (truth.clone(), speaking.clone());
            async move {
                truth.pause().await;
                match &part {
                    Ok(Chunk::Text(text)) => speaking.says(text.len()),
                    Ok(Chunk::Answer(_)) => speaking.says(0),
                    _ => {}
                }
                part
            }
        });
        Ok(parts.boxed())
    }
}

fn error(kind: ModelErrorKind) -> ModelError {
    let error = ModelError::new(kind, "it fails on purpose");
    if kind == ModelErrorKind::RateLimited { error.retry_after(Duration::from_millis(150)) } else { error }
}

/// The text of an answer in some parts, behind what it thought.
fn chunks(answer: &Answer) -> Vec<Chunk> {
    let thought = answer.said.iter().filter_map(|part| match part {
        Said::Thinking { text, .. } => Some(Chunk::Thinking(text.clone())),
        _ => None,
    });
    let text: Vec<char> = answer.text().chars().collect();
    let parts = text.chunks(text.len().div_ceil(3).max(1)).map(|part| Chunk::Text(part.iter().collect()));
    thought.chain(parts).collect()
}

fn is_summary(request: &ModelRequest) -> bool {
    matches!(request.messages.last().map(|last| &**last), Some(Message::Note(text)) if text.starts_with(SUMMARISE))
}

impl SimModel {
    /// What it says to this, most times.
    fn answer(&self, request: &ModelRequest) -> Answer {
        let last = json!(request.messages.last());
        let asked = last.to_string().bytes().fold(request.messages.len() as u64, |mixed, byte| {
            (mixed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let chance = if self.truth.chance(30) { self.truth.number() } else { 0 };
        let mut random = Random::of(&[self.truth.settings().seed, asked, chance]);
        if is_summary(request) {
            let long = if random.percent(10) { 900 } else { 10 + random.below(200) };
            return Answer::new(vec![Said::text(words(long))]);
        }
        let mut said = Vec::new();
        if random.percent(35) {
            let opaque = random.percent(70).then(|| opaque(&mut random));
            said.push(Said::Thinking { text: words(random.below(60)), opaque });
        }
        if random.percent(6) {
            said.push(Said::Opaque(opaque(&mut random)));
        }
        let again = failed_call(request).filter(|_| random.percent(65));
        if let Some(call) = again {
            said.push(Said::Call(call));
        } else if random.percent(55) {
            if random.percent(40) {
                said.push(Said::text(words(1 + random.below(50))));
            }
            let most = if random.percent(8) { 6 } else { 3 };
            said.extend((0..1 + random.below(most)).map(|place| Said::Call(call(&mut random, place))));
        } else if request.prompt.answer.is_some() && random.percent(60) {
            said.push(Said::text(json!({ "n": random.below(100) }).to_string()));
        } else {
            said.push(Said::text(words(1 + random.below(300))));
        }
        let mut answer = Answer::new(said);
        answer.model = random.percent(30).then(|| "sim-1".to_owned());
        answer
    }

    /// What an answer used, as far as the vendor says: no more than was said to be the most, but for some in some runs.
    fn uses(&self, request: &ModelRequest, answer: &mut Answer) {
        let text = answer.text().len() as u64;
        let mut random = Random::of(&[self.truth.settings().seed, text, request.messages.len() as u64]);
        let bound = self.bound(request);
        let most = bound.map_or(900, |bound| bound.tokens);
        let cost = bound.and_then(|bound| bound.cost_nano_usd);
        answer.usage.input_tokens = random.percent(80).then(|| random.below(most / 2));
        answer.usage.output_tokens = random.percent(70).then(|| random.below(most / 2));
        answer.usage.cost_nano_usd = cost.filter(|_| random.percent(60)).map(|cost| random.below(cost + 1));
        if self.truth.settings().overruns && random.percent(4) {
            answer.usage.input_tokens = Some(most / 2 + random.below(most));
            answer.usage.output_tokens = Some(most / 2 + random.below(200));
            answer.usage.cost_nano_usd = cost.map(|cost| cost + random.below(cost));
        }
    }
}

fn words(length: u64) -> String {
    "so \"it\" goes, ünd on ".chars().cycle().take(length as usize).collect()
}

fn opaque(random: &mut Random) -> Opaque {
    Opaque::new("sim", json!({ "signature": random.next().to_string() }))
}

fn call(random: &mut Random, place: u64) -> ToolCall {
    let id = format!("c{place}");
    let mut call = match random.below(100) {
        0..7 => ToolCall::new(id, "no_such_tool", json!({ "own": random.below(3) })),
        7..13 => ToolCall::new(id, "look", json!({ "own": "text" })),
        13..17 => {
            let mut call = ToolCall::new(id, "put", Value::Null);
            call.arguments = Arguments::Unreadable("{\"own\": ".into());
            call
        }
        17..32 => {
            let tool = TOOLS[random.below(4) as usize];
            ToolCall::new(id, tool, json!({ "own": 7, "of": [], "refuse": true }))
        }
        _ => {
            let tool = TOOLS[random.below(TOOLS.len() as u64) as usize];
            ToolCall::new(
                id,
                tool,
                json!({ "own": random.below(1000), "of": [random.below(9)], "refuse": false }),
            )
        }
    };
    call.opaque = random.percent(20).then(|| opaque(random));
    call
}

/// A call of which it was just told that it failed.
fn failed_call(request: &ModelRequest) -> Option<ToolCall> {
    let [.., calls, results] = &request.messages[..] else { return None };
    let (Message::Model(said), Message::Results(results)) = (&**calls, &**results) else { return None };
    let failed =
        results.iter().find(|result| matches!(result.status, CallStatus::Failed | CallStatus::Rejected))?;
    said.iter().find_map(|part| match part {
        Said::Call(call) if call.id == failed.call => Some(call.clone()),
        _ => None,
    })
}
