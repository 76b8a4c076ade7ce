//! Certificate fingerprints (RFC 8122) and the rule by which they decide.

use std::fmt;

use aws_lc_rs::digest;

/// A certificate fingerprint (RFC 8122).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fingerprint {
    /// Hash name in lower case, such as `sha-256`.
    pub hash: String,
    /// Digest bytes.
    pub digest: Vec<u8>,
}

/// Why text is not a fingerprint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FingerprintError {
    /// Not pairs of hexadecimal digits with colons between.
    #[error("not colon-separated hexadecimal bytes")]
    Syntax,
    /// The digest does not have the length of its hash function.
    #[error("digest length does not fit the hash function")]
    Length,
}

/// Longest digest that is accepted, in bytes (SHA-512).
const MAX_DIGEST: usize = 64;

/// Accepted hash functions, strongest first.
const HASHES: [Hash; 4] = [Hash::Sha512, Hash::Sha384, Hash::Sha256, Hash::Sha1];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha512,
    Sha384,
    Sha256,
    Sha1,
}

impl Hash {
    const fn name(self) -> &'static str {
        match self {
            Hash::Sha512 => "sha-512",
            Hash::Sha384 => "sha-384",
            Hash::Sha256 => "sha-256",
            Hash::Sha1 => "sha-1",
        }
    }

    fn from_name(name: &str) -> Option<Hash> {
        HASHES.into_iter().find(|hash| hash.name() == name)
    }

    fn digest(self, der: &[u8]) -> digest::Digest {
        let algorithm = match self {
            Hash::Sha512 => &digest::SHA512,
            Hash::Sha384 => &digest::SHA384,
            Hash::Sha256 => &digest::SHA256,
            Hash::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        };
        digest::digest(algorithm, der)
    }
}

impl Fingerprint {
    /// Reads `AA:BB:…` in either case; `hash` is the name of the function in either case. A hash
    /// function we do not know is kept (it never matches anything); a known one must have its length.
    pub fn parse(text: &str, hash: &str) -> Result<Fingerprint, FingerprintError> {
        let bytes = text.trim().as_bytes();
        if bytes.len() > MAX_DIGEST * 3 - 1 || bytes.len() % 3 != 2 {
            return Err(FingerprintError::Syntax);
        }
        let nibble = |byte: u8| (byte as char).to_digit(16).ok_or(FingerprintError::Syntax);
        let mut digest = Vec::with_capacity(bytes.len() / 3 + 1);
        for group in bytes.chunks(3) {
            match group {
                [high, low] | [high, low, b':'] => {
                    digest.push((nibble(*high)? * 16 + nibble(*low)?) as u8);
                }
                _ => return Err(FingerprintError::Syntax),
            }
        }
        let hash = hash.trim().to_ascii_lowercase();
        let expected = Hash::from_name(&hash).map(|hash| hash.digest(b"").as_ref().len());
        if expected.is_some_and(|length| length != digest.len()) {
            return Err(FingerprintError::Length);
        }
        Ok(Fingerprint { hash, digest })
    }

    /// The sha-256 fingerprint of a DER certificate.
    pub fn sha256(der: &[u8]) -> Fingerprint {
        Fingerprint {
            hash: Hash::Sha256.name().to_owned(),
            digest: Hash::Sha256.digest(der).as_ref().to_vec(),
        }
    }
}

/// `AA:BB:…` in upper case, without the hash's name.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.digest.iter().enumerate() {
            let colon = if i == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

/// Whether a leaf certificate is one of the signaled ones.
///
/// Only the fingerprints of the strongest accepted hash function that was signaled count; sha-1 is
/// accepted only if `accept_sha1`. No usable fingerprint means no match (media-plane §1.9, T17).
pub(super) fn matches(signaled: &[Fingerprint], leaf: &[u8], accept_sha1: bool) -> bool {
    let strongest = HASHES
        .into_iter()
        .filter(|hash| *hash != Hash::Sha1 || accept_sha1)
        .find(|hash| {
            signaled
                .iter()
                .any(|fingerprint| fingerprint.hash == hash.name())
        });
    let Some(hash) = strongest else {
        return false;
    };
    let digest = hash.digest(leaf);
    signaled
        .iter()
        .any(|fingerprint| fingerprint.hash == hash.name() && fingerprint.digest == digest.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_in_either_case_reads_the_same_and_is_written_in_upper_case() {
        let digest: Vec<u8> = (0xf0..=0xff).chain(0..16).collect();
        let upper = Fingerprint {
            hash: "sha-256".into(),
            digest,
        }
        .to_string();
        assert!(upper.starts_with("F0:F1:"));
        let lower = Fingerprint::parse(&upper.to_lowercase(), "SHA-256").expect("valid");
        assert_eq!(lower.hash, "sha-256");
        assert_eq!(lower.to_string(), upper);
    }

    #[test]
    fn text_that_is_no_fingerprint_is_refused() {
        for text in [
            "", "A", "AAB", "AA:", ":AA", "AA:BB:", "AA-BB", "GG", "AA:+1", "ÄA", "A€",
        ] {
            assert_eq!(
                Fingerprint::parse(text, "sha-7"),
                Err(FingerprintError::Syntax),
                "{text:?}"
            );
        }
        let long = ["AA"; 65].join(":");
        assert_eq!(
            Fingerprint::parse(&long, "sha-7"),
            Err(FingerprintError::Syntax)
        );
        assert_eq!(
            Fingerprint::parse("AA:BB", "sha-256"),
            Err(FingerprintError::Length)
        );
    }

    #[test]
    fn media_plane_case_31_only_the_strongest_signaled_hash_counts() {
        let leaf = b"certificate";
        let of = |hash: Hash, input: &[u8]| Fingerprint {
            hash: hash.name().into(),
            digest: hash.digest(input).as_ref().to_vec(),
        };
        let good1 = of(Hash::Sha1, leaf);
        let good256 = of(Hash::Sha256, leaf);
        let bad256 = of(Hash::Sha256, b"another");
        let bad512 = of(Hash::Sha512, b"another");
        let unknown = Fingerprint {
            hash: "sha3-256".into(),
            digest: vec![1; 32],
        };

        assert!(matches(std::slice::from_ref(&good256), leaf, false));
        assert!(matches(&[bad256.clone(), good256.clone()], leaf, false));
        assert!(matches(&[unknown.clone(), good256.clone()], leaf, false));
        assert!(!matches(&[good1.clone(), bad256], leaf, true));
        assert!(!matches(&[good256, bad512], leaf, true));
        assert!(!matches(&[unknown], leaf, true));
        assert!(
            !matches(&[], leaf, true),
            "T17: an empty list never matches"
        );
        assert!(matches(std::slice::from_ref(&good1), leaf, true));
        assert!(!matches(&[good1], leaf, false), "sha-1 only if configured");
    }
}
