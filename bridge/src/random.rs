//! Injected randomness.
//!
//! Every random choice of the core comes from a [`Random`] that its creator seeded: from the operating
//! system in production, from a number in a simulation. ChaCha12 is a CSPRNG, so ICE credentials,
//! websocket passwords and transaction ids may be drawn from it.

use rand_chacha::ChaCha12Rng;
use rand_core::{RngCore, SeedableRng};

const ALPHANUMERIC: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A seeded cryptographic random generator.
#[derive(Clone)]
pub struct Random(ChaCha12Rng);

impl Random {
    /// Seeded by the operating system.
    pub fn from_os() -> Random {
        Random(ChaCha12Rng::from_os_rng())
    }

    /// The same seed gives the same sequence on every platform.
    pub fn from_seed(seed: u64) -> Random {
        Random(ChaCha12Rng::seed_from_u64(seed))
    }

    /// An independent generator whose sequence depends on this one's state.
    pub fn fork(&mut self) -> Random {
        Random(ChaCha12Rng::from_rng(&mut self.0))
    }

    /// 32 random bits.
    pub fn u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// 64 random bits.
    pub fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in `0..bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 {
            return 0;
        }
        // The bias of a 128-bit product is below 2^-64 * bound.
        ((u128::from(self.0.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Fills `out` with random bytes.
    pub fn fill(&mut self, out: &mut [u8]) {
        self.0.fill_bytes(out);
    }

    /// `len` characters drawn uniformly from `A-Z a-z 0-9`: ICE characters, and safe in a URL.
    pub fn alphanumeric(&mut self, len: usize) -> String {
        (0..len)
            .map(|_| char::from(ALPHANUMERIC[self.below(62) as usize]))
            .collect()
    }
}

impl std::fmt::Debug for Random {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Random")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_sequences_and_forks_differ() {
        let (mut a, mut b) = (Random::from_seed(7), Random::from_seed(7));
        assert_eq!(a.alphanumeric(24), b.alphanumeric(24));
        let mut fork = a.fork();
        assert_ne!(fork.u64(), a.u64());
    }

    #[test]
    fn below_stays_below() {
        let mut random = Random::from_seed(1);
        assert!((0..1000).all(|_| random.below(3) < 3));
        assert_eq!(random.below(0), 0);
    }
}
