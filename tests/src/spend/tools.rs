//! Tools of every class that cost something and often fail.

use std::sync::Arc;
use std::time::Duration;

use agent_shell_core::data::Amounts;
use agent_shell_core::{Call, ProbeAnswer, Retry, Tool, ToolError};
use serde::Deserialize;
use serde_json::{Value, json};

use super::words::{Line, Log, attempt_of};
use crate::random::Random;

const ATTEMPT: Duration = Duration::from_millis(300);
const RETRY: Retry = Retry { attempts: 4, base_ms: 4, max_ms: 40 };

/// What the tools call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    Look,
    Put,
    Book,
    Send,
}

#[derive(Deserialize, schemars::JsonSchema)]
struct Input {
    n: u64,
}

impl Service {
    /// An irreversible one is called less often: each that fails waits for a person.
    pub(super) const ALL: [Self; 8] =
        [Self::Look, Self::Look, Self::Look, Self::Put, Self::Put, Self::Book, Self::Book, Self::Send];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Look => "look",
            Self::Put => "put",
            Self::Book => "book",
            Self::Send => "send",
        }
    }

    /// What a call costs at most, in billionths of a US dollar.
    fn most_nano_usd(self) -> u64 {
        match self {
            Self::Look => 2_000,
            Self::Put => 5_000,
            Self::Book => 7_000,
            Self::Send => 9_000,
        }
    }
}

/// Every tool.
pub(super) fn tools(seed: u64, log: &Arc<Log>) -> Vec<Tool> {
    [Service::Look, Service::Put, Service::Book, Service::Send]
        .into_iter()
        .map(|service| tool(seed, service, log.clone()))
        .collect()
}

fn tool(seed: u64, service: Service, log: Arc<Log>) -> Tool {
    let run = move |input: Input, call: Call| act(seed, service, log.clone(), input, call);
    let probe = move |_: Input, call: Call| async move {
        let mut random = Random::of(&[seed, number_of(&call)]);
        match random.below(4) {
            0 => Err(ToolError::retry("the target does not say")),
            1 => Ok(ProbeAnswer::NotApplied),
            _ => Ok(ProbeAnswer::Applied(json!({ "n": 0 }))),
        }
    };
    let (name, description) = (service.name(), "Costs something");
    let tool = match service {
        Service::Look => Tool::pure(name, description, run),
        Service::Put => Tool::idempotent(name, description, run),
        Service::Book => Tool::probed(name, description, run, probe),
        Service::Send => Tool::irreversible(name, description, run),
    };
    tool.attempt_deadline(ATTEMPT).retry(RETRY).costs_at_most(service.most_nano_usd())
}

async fn act(
    seed: u64,
    service: Service,
    log: Arc<Log>,
    input: Input,
    call: Call,
) -> Result<Value, ToolError> {
    let mut random = Random::of(&[seed, number_of(&call), call.attempt.into(), call.epoch.number()]);
    tokio::time::sleep(Duration::from_millis(random.below(40))).await;
    let most = service.most_nano_usd();
    let bill = |nano_usd| {
        let amounts = Amounts { nano_usd, tool_calls: 1, ..Amounts::ZERO };
        log.say(&Line::Billed { attempt: attempt_of(&call).digest(), amounts });
    };
    match random.below(100) {
        0..8 => Err(ToolError::refused("the target says no")),
        8..16 => Err(ToolError::retry("the target has no time")),
        16..20 => {
            bill(most);
            Err(ToolError::ambiguous("the line went dead"))
        }
        20..23 => {
            bill(most);
            std::future::pending().await
        }
        _ => {
            bill(most - random.below(most / 2));
            tokio::time::sleep(Duration::from_millis(random.below(20))).await;
            Ok(json!({ "n": input.n }))
        }
    }
}

fn number_of(call: &Call) -> u64 {
    u64::from_str_radix(call.key().get(..16).unwrap_or_default(), 16).unwrap_or_default()
}
