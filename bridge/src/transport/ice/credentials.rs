//! Username fragments and passwords, and the routing that is hidden in our own.

use std::fmt;
use std::sync::Arc;

use crate::ids::WorkerId;
use crate::limits::{MAX_ICE_CREDENTIAL_BYTES, MAX_WORKERS};
use crate::random::Random;
use crate::wire::stun::TransactionId;

/// Random characters of a local ufrag: 71 bits. It is a capability that off-path attackers can not
/// guess, and unique in the process (T06).
const UFRAG_RANDOM: usize = 12;
/// Characters of a local password: 142 bits (T06).
const PASSWORD_LEN: usize = 24;
/// Each of the two characters that name the worker is one of this many letters.
const WORKER_RADIX: u8 = 8;
const _: () = assert!(MAX_WORKERS <= WORKER_RADIX as usize * WORKER_RADIX as usize);

/// ufrag and password of one side.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Username fragment, 4–256 ICE characters.
    pub ufrag: Arc<str>,
    /// Password, 22–256 ICE characters.
    pub password: Arc<str>,
}

impl Credentials {
    /// New local credentials of an endpoint on `worker`: the ufrag is `prefix`, two characters that name
    /// the worker and 71 random bits, the password has 142.
    pub fn generate(random: &mut Random, prefix: &str, worker: WorkerId) -> Credentials {
        let letter = |digit: u8| char::from(b'a' + digit % WORKER_RADIX);
        let (high, low) = (letter(worker.0 / WORKER_RADIX), letter(worker.0));
        let tail = random.alphanumeric(UFRAG_RANDOM);
        Credentials {
            ufrag: format!("{prefix}{high}{low}{tail}").into(),
            password: random.alphanumeric(PASSWORD_LEN).into(),
        }
    }

    /// Whether both parts have a length that can be worked with.
    pub(super) fn is_usable(&self) -> bool {
        let range = 1..=MAX_ICE_CREDENTIAL_BYTES;
        range.contains(&self.ufrag.len()) && range.contains(&self.password.len())
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.ufrag.escape_debug())
    }
}

/// The worker whose endpoint has this local ufrag; `None` if it is not of our making.
///
/// A local ufrag is the configured prefix, two characters that name the worker, and at least 64
/// random bits: any worker finds the right one without shared state.
pub fn worker_of_ufrag(prefix: &str, ufrag: &[u8]) -> Option<WorkerId> {
    let own = ufrag.strip_prefix(prefix.as_bytes())?;
    let [high, low, tail @ ..] = own else {
        return None;
    };
    if tail.len() != UFRAG_RANDOM {
        return None;
    }
    let digit = |letter: u8| {
        letter
            .checked_sub(b'a')
            .filter(|digit| *digit < WORKER_RADIX)
    };
    let worker = digit(*high)? * WORKER_RADIX + digit(*low)?;
    (usize::from(worker) < MAX_WORKERS).then_some(WorkerId(worker))
}

/// The worker that sent the check with this transaction id. Anything may be in an id from the network:
/// the worker need not exist.
pub fn worker_of_transaction(transaction: &TransactionId) -> WorkerId {
    WorkerId(transaction[0])
}

/// The tag ([`super::IceTransport::with_tag`]) of the endpoint that sent the check with this transaction
/// id.
pub fn tag_of_transaction(transaction: &TransactionId) -> u32 {
    let [_, a, b, c, d, ..] = *transaction;
    u32::from_be_bytes([a, b, c, d])
}

/// A new transaction id: worker, tag and 56 random bits. A response must also come from where the
/// request went to and carry MESSAGE-INTEGRITY, so that guessing the id alone gains nothing.
pub(super) fn new_transaction(random: &mut Random, worker: WorkerId, tag: u32) -> TransactionId {
    let mut id = [0; 12];
    random.fill(&mut id);
    id[0] = worker.0;
    id[1..5].copy_from_slice(&tag.to_be_bytes());
    id
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_worker_is_found_by_ufrag_and_transaction() {
        let mut random = Random::from_seed(1);
        for prefix in ["", "edge-", "a:", "ab"] {
            for worker in (0..MAX_WORKERS as u8).map(WorkerId) {
                let credentials = Credentials::generate(&mut random, prefix, worker);
                assert_eq!(
                    worker_of_ufrag(prefix, credentials.ufrag.as_bytes()),
                    Some(worker)
                );
                let transaction = new_transaction(&mut random, worker, 0x0102_0304);
                assert_eq!(worker_of_transaction(&transaction), worker);
                assert_eq!(tag_of_transaction(&transaction), 0x0102_0304);
            }
        }
    }

    #[test]
    fn foreign_ufrags_belong_to_nobody() {
        for ufrag in [
            "",
            "a",
            "aa",
            "aaABCDEFGHIJK",
            "aaABCDEFGHIJKLM",
            "ziABCDEFGHIJKL",
            "AaABCDEFGHIJKL",
        ] {
            assert_eq!(worker_of_ufrag("", ufrag.as_bytes()), None, "{ufrag}");
        }
        assert_eq!(worker_of_ufrag("edge-", b"aaABCDEFGHIJKL"), None);
        assert_eq!(worker_of_ufrag("", b"aaABCDEFGHIJKL"), Some(WorkerId(0)));
    }

    #[test]
    fn t06_credentials_are_long_unique_ice_characters() {
        let mut random = Random::from_seed(2);
        let mut seen = BTreeSet::new();
        let mut ones = 0u64;
        for _ in 0..100_000 {
            let Credentials { ufrag, password } =
                Credentials::generate(&mut random, "", WorkerId(5));
            assert!((4..=256).contains(&ufrag.len()) && (22..=256).contains(&password.len()));
            assert!(
                ufrag
                    .bytes()
                    .chain(password.bytes())
                    .all(|byte| byte.is_ascii_alphanumeric())
            );
            // Bits of the alphabet index would be better; the lowest bit of a character is balanced
            // closely enough (31 of 62 are odd) to show a stuck generator.
            ones += ufrag
                .bytes()
                .skip(2)
                .map(|byte| u64::from(byte & 1))
                .sum::<u64>();
            assert!(seen.insert(ufrag), "a ufrag was drawn twice");
        }
        let share = ones as f64 / (100_000.0 * UFRAG_RANDOM as f64);
        assert!((share - 0.5).abs() < 0.01, "share of ones {share}");
    }
}
