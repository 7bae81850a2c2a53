//! Pseudorandom numbers from a seed, so that one seed draws the same again.

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The sequence of this seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The sequence of a seed and what else tells it from its siblings; the order of the parts counts.
    pub fn of(parts: &[u64]) -> Self {
        let mixed = parts.iter().fold(0, |mixed, part| Self::new(mixed ^ part).next().rotate_left(23));
        Self::new(mixed)
    }

    /// The next number.
    #[allow(clippy::should_implement_trait, reason = "an endless sequence needs no Option")]
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 when there is none. The bias of the remainder is far below what a test could see.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next().checked_rem(bound).unwrap_or(0)
    }

    /// True in so many of a hundred draws.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of the items; the first when there is only one.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len() as u64) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_again() {
        let draws = |parts: &[u64]| -> Vec<u64> {
            let mut random = Random::of(parts);
            (0..4).map(|_| random.next()).collect()
        };
        assert_eq!(draws(&[1, 2]), draws(&[1, 2]));
        assert_ne!(draws(&[1, 2]), draws(&[2, 1]));
        assert_eq!(Random::new(7).below(0), 0);
    }
}
