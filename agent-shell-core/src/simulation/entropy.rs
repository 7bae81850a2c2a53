//! Randomness from a seed.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::words::Entropy;

/// Numbers that a seed gives: SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
/// They are predictable, so nothing that they seal is secret.
pub struct SeededEntropy {
    state: Mutex<u64>,
}

impl SeededEntropy {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Self {
        Self { state: Mutex::new(seed) }
    }

    /// The sequence of a seed and of what tells it from its siblings; the order of the parts counts.
    pub fn of(parts: &[u64]) -> Self {
        let mixed = parts.iter().fold(0, |mixed, part| Self::new(mixed ^ part).number().rotate_left(23));
        Self::new(mixed)
    }

    /// The next number.
    pub fn number(&self) -> u64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// True in so many of a thousand draws.
    pub fn per_thousand(&self, rate: u32) -> bool {
        rate > 0 && self.below(1000) < u64::from(rate)
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let number = self.number().to_le_bytes();
            chunk.copy_from_slice(&number[..chunk.len()]);
        }
    }
}

impl fmt::Debug for SeededEntropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SeededEntropy(..)")
    }
}
