//! Randomness, as a port.

/// Where random bytes come from. A simulation supplies a seeded source.
///
/// What a host runs in earnest must be fit for cryptography: ids, nonces and keys are made of it.
pub trait Entropy: Send + Sync + 'static {
    /// Fills `bytes` with random bytes. It must not block for long and can't fail: a source that can't deliver
    /// stops the process, for going on with predictable keys would be worse.
    fn fill(&self, bytes: &mut [u8]);

    /// A random number below `bound`, or 0 when `bound` is 0. The bias is below `bound` in 2^64.
    fn below(&self, bound: u64) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        ((u128::from(u64::from_le_bytes(bytes)) * u128::from(bound)) >> 64) as u64
    }
}
