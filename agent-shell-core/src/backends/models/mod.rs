//! Models without a vendor: [`Scripted`] says what a test wrote down for it, [`Recorder`] writes down what a real model says,
//! and [`Recorded`] says that again, offline.
//!
//! They keep the whole contract of [`Model`](crate::ports::Model): answers are streamed, usage is counted, requests can be
//! bounded. They have no network, no key and no vendor's shape.

mod line;
mod recorded;
mod recorder;
mod reply;
mod script;
mod scripted;
#[cfg(test)]
mod tests;

use std::io::{self, Write};

use serde::Serialize;

pub use recorded::{Recorded, RecordingError};
pub use recorder::Recorder;
pub use reply::Reply;
pub use scripted::Scripted;

use crate::data::{Arguments, Said};
use crate::ports::{Chunk, ModelBound, ModelCapabilities, ModelRequest};

/// What these models can do unless told otherwise: everything, at a price that is not known.
fn able() -> ModelCapabilities {
    ModelCapabilities { tools: true, answer_format: true, media: true, ..ModelCapabilities::default() }
}

/// The parts in which an answer's text comes: word by word, each with the space after it.
fn parts(said: &[Said]) -> Vec<Chunk> {
    let words = |text: &str| text.split_inclusive(char::is_whitespace).map(String::from).collect::<Vec<_>>();
    let part = |said: &Said| match said {
        Said::Text { text, .. } => words(text).into_iter().map(Chunk::Text).collect(),
        Said::Thinking { text, .. } => words(text).into_iter().map(Chunk::Thinking).collect(),
        _ => Vec::new(),
    };
    said.iter().flat_map(part).collect()
}

/// The most that a request can use when no token is shorter than a byte.
fn bound(request: &ModelRequest, capabilities: &ModelCapabilities) -> ModelBound {
    let input = json_bytes(request);
    let output = request.prompt.settings.output_tokens;
    ModelBound { tokens: input.saturating_add(output), cost_nano_usd: cost(capabilities, input, output) }
}

/// What so many tokens cost, rounded up; none where the price is not known.
fn cost(capabilities: &ModelCapabilities, input: u64, output: u64) -> Option<u64> {
    let of = |tokens: u64, price: u64| u128::from(tokens) * u128::from(price);
    let input = of(input, capabilities.input_nano_usd_per_million?);
    let output = of(output, capabilities.output_nano_usd_per_million?);
    Some(u64::try_from(input.saturating_add(output).div_ceil(1_000_000)).unwrap_or(u64::MAX))
}

/// The bytes of what was said, whatever of it is written as JSON.
fn said_bytes(said: &[Said]) -> u64 {
    let of = |part: &Said| match part {
        Said::Text { text, .. } | Said::Thinking { text, .. } => text.len() as u64,
        Said::Call(call) => match &call.arguments {
            Arguments::Value(value) => call.tool.len() as u64 + json_bytes(value),
            Arguments::Unreadable(text) => (call.tool.len() + text.len()) as u64,
        },
        Said::Opaque(opaque) => json_bytes(opaque),
    };
    said.iter().map(of).sum()
}

/// The bytes of a value as JSON, which is never kept.
fn json_bytes(value: &impl Serialize) -> u64 {
    struct Count(u64);
    impl Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len() as u64;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // What has no JSON is longer than anything that has: it is bounded by nothing.
    serde_json::to_writer(&mut count, value).map_or(u64::MAX, |()| count.0)
}
