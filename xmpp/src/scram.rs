//! SCRAM (RFC 5802, RFC 7677), the client's side, without channel binding.

use std::num::NonZeroU32;

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2};
use data_encoding::BASE64;

/// Rounds that a server may ask for: fewer make passwords easy to guess, more keep us busy (T72).
const ROUNDS: std::ops::RangeInclusive<u32> = 4_096..=600_000;
/// Longest salt in bytes.
const MAX_SALT_BYTES: usize = 1_024;
/// Longest nonce of a server in bytes.
const MAX_NONCE_BYTES: usize = 1_024;

/// The hash function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hash {
    /// SCRAM-SHA-1.
    Sha1,
    /// SCRAM-SHA-256.
    Sha256,
}

impl Hash {
    fn hmac(self) -> hmac::Algorithm {
        match self {
            Hash::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Hash::Sha256 => hmac::HMAC_SHA256,
        }
    }

    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Hash::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Hash::Sha256 => &digest::SHA256,
        }
    }

    fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            Hash::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
            Hash::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
        }
    }
}

/// A login that began.
#[derive(Debug)]
pub struct Scram {
    hash: Hash,
    nonce: String,
    first_bare: String,
}

/// A login that waits for the server's signature.
#[derive(Debug)]
pub struct Proven {
    signature: Vec<u8>,
}

impl Scram {
    /// Begins with a nonce of printable characters, without comma, that was never used before.
    pub fn new(hash: Hash, user: &str, nonce: String) -> Scram {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        Scram {
            hash,
            first_bare: format!("n={user},r={nonce}"),
            nonce,
        }
    }

    /// The first message.
    pub fn first(&self) -> String {
        format!("n,,{}", self.first_bare)
    }

    /// The answer to the server's first message, or why that is not acceptable.
    pub fn prove(self, server: &[u8], password: &str) -> Result<(String, Proven), &'static str> {
        let server = std::str::from_utf8(server).map_err(|_| "the challenge is no text")?;
        let mut nonce = None;
        let mut salt = None;
        let mut rounds = None;
        for part in server.split(',') {
            match part.split_once('=') {
                Some(("r", value)) => nonce = Some(value),
                Some(("s", value)) => salt = BASE64.decode(value.as_bytes()).ok(),
                Some(("i", value)) => rounds = value.parse::<u32>().ok(),
                Some(("m", _)) => return Err("the challenge demands an unknown extension"),
                _ => {}
            }
        }
        let nonce = nonce.ok_or("the challenge has no nonce")?;
        if nonce.len() <= self.nonce.len()
            || nonce.len() > MAX_NONCE_BYTES
            || !nonce.starts_with(&self.nonce)
        {
            return Err("the challenge has the wrong nonce");
        }
        let salt = salt
            .filter(|salt| (1..=MAX_SALT_BYTES).contains(&salt.len()))
            .ok_or("the challenge has no proper salt")?;
        let rounds = rounds
            .filter(|rounds| ROUNDS.contains(rounds))
            .and_then(NonZeroU32::new)
            .ok_or("the challenge asks for too few or too many rounds")?;

        let mut salted = vec![0; self.hash.digest().output_len()];
        pbkdf2::derive(
            self.hash.pbkdf2(),
            rounds,
            &salt,
            password.as_bytes(),
            &mut salted,
        );
        let sign = |key: &[u8], text: &[u8]| {
            let key = hmac::Key::new(self.hash.hmac(), key);
            hmac::sign(&key, text)
        };
        let client_key = sign(&salted, b"Client Key");
        let stored_key = digest::digest(self.hash.digest(), client_key.as_ref());
        let without_proof = format!("c=biws,r={nonce}");
        let signed = format!("{},{server},{without_proof}", self.first_bare);
        let client_signature = sign(stored_key.as_ref(), signed.as_bytes());
        let proof: Vec<u8> = client_key
            .as_ref()
            .iter()
            .zip(client_signature.as_ref())
            .map(|(key, signature)| key ^ signature)
            .collect();
        let server_key = sign(&salted, b"Server Key");
        let signature = sign(server_key.as_ref(), signed.as_bytes());
        let proven = Proven {
            signature: signature.as_ref().to_vec(),
        };
        Ok((
            format!("{without_proof},p={}", BASE64.encode(&proof)),
            proven,
        ))
    }
}

impl Proven {
    /// Whether the server's last message shows that it knows the password too.
    pub fn verify(&self, server: &[u8]) -> bool {
        let Ok(server) = std::str::from_utf8(server) else {
            return false;
        };
        server
            .split(',')
            .find_map(|part| part.strip_prefix("v="))
            .and_then(|value| BASE64.decode(value.as_bytes()).ok())
            .is_some_and(|given| {
                constant_time::verify_slices_are_equal(&given, &self.signature).is_ok()
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_5802() {
        let scram = Scram::new(Hash::Sha1, "user", "fyko+d2lbbFgONRv9qkxdawL".into());
        assert_eq!(scram.first(), "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL");
        let challenge = b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096";
        let (answer, proven) = scram.prove(challenge, "pencil").expect("acceptable");
        assert_eq!(
            answer,
            "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="
        );
        assert!(proven.verify(b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ="));
        assert!(!proven.verify(b"v=rmF9pqV8S7suAoZWja4dJRkFsKA="));
        assert!(!proven.verify(b""));
    }

    #[test]
    fn the_example_of_rfc_7677() {
        let scram = Scram::new(Hash::Sha256, "user", "rOprNGfwEbeRWgbNEkqO".into());
        let challenge = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let (answer, proven) = scram.prove(challenge, "pencil").expect("acceptable");
        assert_eq!(
            answer,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert!(proven.verify(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
    }

    #[test]
    fn t72_challenges_that_a_server_may_not_send_are_refused() {
        for challenge in [
            "r=abcd,s=QSXCR+Q6sek8bf92,i=2147483648",
            "r=abcd,s=QSXCR+Q6sek8bf92,i=600001",
            "r=abcd,s=QSXCR+Q6sek8bf92,i=1",
            "r=abcd,s=QSXCR+Q6sek8bf92",
            "r=abcd,s=,i=4096",
            "r=abcd,s=?,i=4096",
            "r=abc,s=QSXCR+Q6sek8bf92,i=4096",
            "r=xyzd,s=QSXCR+Q6sek8bf92,i=4096",
            "s=QSXCR+Q6sek8bf92,i=4096",
            "m=x,r=abcd,s=QSXCR+Q6sek8bf92,i=4096",
            "",
        ] {
            let scram = Scram::new(Hash::Sha1, "user", "abc".into());
            assert!(
                scram.prove(challenge.as_bytes(), "pencil").is_err(),
                "{challenge}"
            );
        }
    }

    #[test]
    fn names_are_escaped() {
        let scram = Scram::new(Hash::Sha1, "a=b,c", "n".into());
        assert_eq!(scram.first(), "n,,n=a=3Db=2Cc,r=n");
    }
}
