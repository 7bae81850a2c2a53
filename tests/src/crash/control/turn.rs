//! A turn with which people meddle: what is asked for, and what becomes of it besides. Both follow from the seed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::crash::scenario::TurnKey;
use crate::random::Random;

/// The input of a turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::crash) struct Input {
    #[serde(flatten)]
    pub(in crate::crash) key: TurnKey,
    /// Where it stands below the turn that was submitted: empty for that one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(in crate::crash) path: String,
}

impl Input {
    /// How many turns stand above it.
    pub(in crate::crash) fn depth(&self) -> usize {
        self.path.split('/').filter(|step| !step.is_empty()).count()
    }

    /// What the child is given that does one of its steps.
    pub(in crate::crash) fn below(&self, step: &str) -> Self {
        Self { key: self.key, path: format!("{}/{step}", self.path) }
    }

    /// A sequence of numbers for this turn, and for one purpose.
    pub(in crate::crash) fn random(&self, seed: u64, purpose: u64) -> Random {
        let path = self.path.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(131).wrapping_add(byte.into()));
        Random::of(&[seed, self.key.session, self.key.number, path, purpose, 0x636f_6e74])
    }
}

/// What a request does that meets a running turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::crash) enum Meets {
    Queues,
    Steers,
    Interrupts,
}

/// How a turn is submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::crash) struct Submission {
    pub(in crate::crash) meets: Meets,
    /// Whether it names its planner.
    pub(in crate::crash) names: bool,
    pub(in crate::crash) deadline: Option<Duration>,
    /// How long it is waited before it is submitted, so that it meets others at any time.
    pub(in crate::crash) pause_ms: u64,
}

impl Submission {
    pub(in crate::crash) fn draw(seed: u64, key: TurnKey) -> Self {
        if key.number == TurnKey::CLOSING {
            return Self { meets: Meets::Queues, names: true, deadline: None, pause_ms: 0 };
        }
        let mut random = Random::of(&[seed, key.session, key.number, 0x7375_626d]);
        let meets = match random.below(100) {
            0..50 => Meets::Queues,
            50..75 => Meets::Steers,
            _ => Meets::Interrupts,
        };
        let deadline = random.percent(6).then(|| Duration::from_millis(300 + random.below(1_700)));
        Self { meets, names: random.percent(40), deadline, pause_ms: random.below(120) }
    }

    /// Whether what is said may join the turn that runs.
    pub(in crate::crash) fn steers(self) -> bool {
        self.meets != Meets::Queues
    }
}
