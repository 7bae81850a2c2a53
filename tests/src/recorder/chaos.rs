//! Trouble on purpose: answers that come late, and connections that break after the effect was applied
//! and before it was answered, so that the caller can't know.

use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::random::Random;

/// How much trouble. The default is none. Only effects and probes meet it: the questions of an
/// operator (`truth`, `audit`) are always answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chaos {
    /// Fixes the sequence of draws. Which request meets which draw depends on the order of arrival.
    pub seed: u64,
    /// Of a thousand answers, how many come late.
    pub delay_per_thousand: u16,
    /// How late, in milliseconds.
    pub delay_ms: RangeInclusive<u64>,
    /// Of a thousand answers, how many never come because the connection breaks.
    pub drop_per_thousand: u16,
}

impl Default for Chaos {
    fn default() -> Self {
        Self { seed: 0, delay_per_thousand: 0, delay_ms: 1..=20, drop_per_thousand: 0 }
    }
}

/// What happens to one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    None,
    Late(Duration),
    Broken,
}

#[derive(Debug)]
pub(super) struct Dice {
    chaos: Chaos,
    random: Mutex<Random>,
}

impl Dice {
    pub(super) fn new(chaos: Chaos) -> Self {
        Self { random: Mutex::new(Random::new(chaos.seed)), chaos }
    }

    /// Three numbers for every answer, used or not, so that the draws stay in step.
    pub(super) fn draw(&self) -> Trouble {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        let [breaks, delays, length] = [(); 3].map(|()| random.next());
        drop(random);
        let (low, high) = (*self.chaos.delay_ms.start(), *self.chaos.delay_ms.end());
        if breaks % 1000 < u64::from(self.chaos.drop_per_thousand) {
            Trouble::Broken
        } else if delays % 1000 < u64::from(self.chaos.delay_per_thousand) {
            let span = high.saturating_sub(low).saturating_add(1).max(1);
            Trouble::Late(Duration::from_millis(low + length % span))
        } else {
            Trouble::None
        }
    }
}
