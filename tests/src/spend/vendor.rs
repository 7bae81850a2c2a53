//! A vendor of answers without a memory: what it says follows from the conversation, what goes wrong from the attempt. It
//! writes down what it bills before it says anything.

use std::sync::Arc;
use std::time::Duration;

use agent_shell_core::data::{Amounts, Answer, Message, Said, ToolCall, Usage};
use agent_shell_core::ports::{
    AnswerStream, Chunk, ModelBound, ModelCapabilities, ModelError, ModelErrorKind, ModelRequest,
};
use agent_shell_core::{Call, Model};
use async_trait::async_trait;
use futures::{StreamExt, stream};
use serde_json::json;

use super::tools::Service;
use super::words::{Line, Log, attempt_of};
use crate::random::Random;

/// How long a question may take.
pub(super) const QUESTION: Duration = Duration::from_millis(600);

pub(super) struct Vendor {
    pub(super) seed: u64,
    /// In how many answers one uses more than was said to be the most.
    pub(super) overrun_in: u64,
    pub(super) log: Arc<Log>,
}

/// What one request costs: another price for each.
struct Price {
    /// Tokens that a request has at most: its bytes.
    most_in: u64,
    most_out: u64,
    /// Billionths of a US dollar for a token.
    of_input: u64,
    of_output: u64,
}

impl Price {
    fn of(request: &ModelRequest) -> Self {
        let mut random = Random::new(number_of(request));
        let most_in = serde_json::to_vec(request).map_or(u64::MAX >> 8, |bytes| bytes.len() as u64);
        let most_out = request.prompt.settings.output_tokens;
        Self { most_in, most_out, of_input: 1 + random.below(8), of_output: 5 + random.below(36) }
    }

    fn cost(&self, input: u64, output: u64) -> u64 {
        input * self.of_input + output * self.of_output
    }
}

impl Vendor {
    fn bill(&self, call: &Call, price: &Price, (input, output): (u64, u64)) {
        let (tokens, nano_usd) = (input + output, price.cost(input, output));
        let amounts = Amounts { nano_usd, tokens, ..Amounts::ZERO };
        self.log.say(&Line::Billed { attempt: attempt_of(call).digest(), amounts });
    }
}

#[async_trait]
impl Model for Vendor {
    fn capabilities(&self) -> ModelCapabilities {
        let mut capabilities = ModelCapabilities::default();
        capabilities.tools = true;
        capabilities
    }

    fn bound(&self, request: &ModelRequest) -> Option<ModelBound> {
        let price = Price::of(request);
        let cost_nano_usd = Some(price.cost(price.most_in, price.most_out));
        Some(ModelBound { tokens: price.most_in + price.most_out, cost_nano_usd })
    }

    async fn ask(&self, request: Arc<ModelRequest>, call: Call) -> Result<AnswerStream, ModelError> {
        let price = Price::of(&request);
        let mut random =
            Random::of(&[self.seed, number_of(&request), call.attempt.into(), call.epoch.number()]);
        let input = price.most_in / 4;
        tokio::time::sleep(Duration::from_millis(5 + random.below(120))).await;
        let unavailable = || ModelError::new(ModelErrorKind::Unavailable, "the vendor is not well");
        match random.below(100) {
            0..4 => {
                self.bill(&call, &price, (input, random.below(price.most_out)));
                std::future::pending().await
            }
            4..8 => {
                self.bill(&call, &price, (input, 0));
                Err(unavailable())
            }
            8..10 => {
                self.bill(&call, &price, (input, 7));
                let mut error = unavailable();
                error.usage = Box::new(usage(&price, input, 7));
                Err(error)
            }
            10..13 => Err(ModelError::new(ModelErrorKind::RateLimited, "too many questions")),
            13..17 => {
                self.bill(&call, &price, (input, 20));
                let parts = ["That ", "is what I", " meant to"].map(|text| Ok(Chunk::Text(text.into())));
                Ok(stream::iter(parts).boxed())
            }
            17 => Err(ModelError::new(ModelErrorKind::InvalidRequest, "the vendor does not like this one")),
            _ => {
                // Not at once, when every turn asks: all of them would be refused.
                let overruns = request.messages.len() > 2 && random.below(self.overrun_in) == 0;
                if overruns {
                    self.log.say(&Line::Overran { attempt: attempt_of(&call).digest() });
                }
                let used = match random.below(10) {
                    _ if overruns => (price.most_in + 1 + random.below(price.most_in), price.most_out + 9),
                    0 => (price.most_in, price.most_out),
                    1..4 => (input, price.most_out * 9 / 10),
                    _ => (input, 10 + random.below(60)),
                };
                self.bill(&call, &price, used);
                let mut answer = answer(&request);
                answer.usage = usage(&price, used.0, used.1);
                if random.percent(5) && !overruns {
                    answer.usage.cost_nano_usd = None;
                }
                if random.percent(3) && !overruns {
                    answer.usage.output_tokens = None;
                }
                let mut parts: Vec<_> = Vec::new();
                let text = answer.text();
                if !text.is_empty() {
                    parts.push(Ok(Chunk::Text(text)));
                }
                parts.push(Ok(Chunk::Answer(Box::new(answer))));
                Ok(stream::iter(parts).boxed())
            }
        }
    }
}

fn usage(price: &Price, input: u64, output: u64) -> Usage {
    let mut usage = Usage::default();
    (usage.input_tokens, usage.output_tokens) = (Some(input), Some(output));
    usage.cost_nano_usd = Some(price.cost(input, output));
    usage
}

/// What it answers: some rounds of calls after what the user said, and then a text.
fn answer(request: &ModelRequest) -> Answer {
    let is_user = |message: &Arc<Message>| matches!(**message, Message::User(_));
    let turn = request.messages.iter().rposition(is_user).unwrap_or(0);
    let said = |message: &&Arc<Message>| matches!(***message, Message::Model(_));
    let round = request.messages[turn..].iter().filter(said).count() as u64;
    let mut random = Random::of(&[number_of(request), round]);
    let rounds =
        Random::new(digest_number(&request.messages[..=turn.min(request.messages.len() - 1)])).below(5);
    if round > rounds {
        return Answer::new(vec![Said::text("It is done.")]);
    }
    let calls = (0..1 + random.below(3)).map(|place| {
        let service = random.pick(&Service::ALL).copied().unwrap_or(Service::Look);
        Said::Call(ToolCall::new(
            format!("c{round}-{place}"),
            service.name(),
            json!({ "n": random.below(1 << 40) }),
        ))
    });
    Answer::new(calls.collect())
}

/// A number that follows from the request.
fn number_of(request: &ModelRequest) -> u64 {
    digest_number(&request.messages)
}

fn digest_number(messages: &[Arc<Message>]) -> u64 {
    // The digest of the last message and the number of messages tell requests of a conversation apart.
    let bytes = serde_json::to_vec(&messages[messages.len().saturating_sub(3)..]).unwrap_or_default();
    let digest = agent_shell_core::words::Digest::of(bytes);
    let first = digest.as_bytes().first_chunk::<8>().copied().unwrap_or_default();
    u64::from_be_bytes(first).wrapping_add(messages.len() as u64)
}
