//! Scorers that look at what a case took.

use std::time::Duration;

use async_trait::async_trait;

use super::super::score::{Score, Scored, Scorer, Seen};

/// Whether a case stays within a bound. Within it the score is 1; a case that takes twice as much has 0.5, and so on.
#[derive(Debug, Clone, Copy)]
pub struct Within {
    of: Of,
    bound: u64,
}

#[derive(Debug, Clone, Copy)]
enum Of {
    Cost,
    Latency,
    Tokens,
}

impl Within {
    /// The scorer `cost`: billionths of a US dollar that the answers of models cost. Not known when an answer did not say.
    pub fn nano_usd(bound: u64) -> Self {
        Self { of: Of::Cost, bound }
    }

    /// The scorer `latency`: from the submit to the end, in whole milliseconds.
    pub fn latency(bound: Duration) -> Self {
        Self { of: Of::Latency, bound: u64::try_from(bound.as_millis()).unwrap_or(u64::MAX) }
    }

    /// The scorer `tokens`: those of requests and answers. Not known when an answer did not say.
    pub fn tokens(bound: u64) -> Self {
        Self { of: Of::Tokens, bound }
    }
}

#[async_trait]
impl Scorer for Within {
    fn name(&self) -> &str {
        match self.of {
            Of::Cost => "cost",
            Of::Latency => "latency",
            Of::Tokens => "tokens",
        }
    }

    async fn score(&self, seen: Seen<'_>) -> Scored {
        let (took, unit) = match self.of {
            Of::Cost => (seen.run.spent.cost_nano_usd, "nano-USD"),
            Of::Latency => (Some(seen.run.latency_ms), "ms"),
            Of::Tokens => (seen.run.spent.tokens(), "tokens"),
        };
        match took {
            None => Scored::unknown("an answer did not say what it used"),
            Some(took) => {
                let reason = format!("{took} {unit}, and {} are allowed", self.bound);
                Scored::new(Score::share(self.bound, took), reason)
            }
        }
    }
}
