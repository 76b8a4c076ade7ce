//! Cryptography as one DTLS attempt sees it: AWS-LC, with three seams of ours.
//!
//! - *Randomness* comes from the injected generator, except where the engine asks for bytes that must not
//!   be random. `rtc-dtls` draws the explicit nonce of AES-GCM records from its generator; eight random
//!   bytes repeat after some 2³² records (T18, CVE-2026-26014 in another library). It is the only draw of
//!   eight bytes, so such a draw is answered with epoch‖sequence (RFC 9325 §7.2.1). The only draw of
//!   twenty bytes is the server's cookie, which [`super::dtls`] has already handed out.
//! - *Signature verification* refuses keys of absurd size (T19) and remembers that the peer proved
//!   possession of its key (T17).
//! - *AEAD creation* tells when the record keys exist.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rtc_dtls::crypto_provider::providers::AwsLcRsProvider;
use rtc_dtls::crypto_provider::{
    ActiveKeyExchange, AeadAlgorithm, AeadCipher, CryptoAlgorithm, CryptoError, HashAlgorithm,
    HmacAlgorithm, KeyExchangeAlgorithm, Mac, PublicKey, PublicKeyEncoding, RTCCrypto,
    RTCCryptoProvider, RTCRandom, SignatureScheme,
};

use super::record::COOKIE_BYTES;
use crate::random::Random;

const EXPLICIT_NONCE_BYTES: usize = 8;
/// First explicit nonce: epoch 1, sequence 0. There is no second epoch, because there is no
/// renegotiation.
const FIRST_NONCE: u64 = 1 << 48;
/// Bytes of a DER `RSAPublicKey` with a 2,048-bit modulus, with some slack for odd exponents.
const MIN_RSA_KEY: usize = 256;
/// Bytes of a DER `RSAPublicKey` with a 4,096-bit modulus, with some slack.
const MAX_RSA_KEY: usize = 544;

/// The provider of one attempt.
pub(super) struct Provider {
    crypto: Crypto,
    draws: Draws,
}

struct Crypto {
    inner: AwsLcRsProvider,
    ciphers: AtomicU32,
    peer_proved: AtomicBool,
}

struct Draws(Mutex<DrawState>);

struct DrawState {
    random: Random,
    cookie: [u8; COOKIE_BYTES],
    nonce: u64,
}

impl Provider {
    pub(super) fn new(random: Random, cookie: [u8; COOKIE_BYTES]) -> Arc<Provider> {
        Arc::new(Provider {
            crypto: Crypto {
                inner: AwsLcRsProvider::new(),
                ciphers: AtomicU32::new(0),
                peer_proved: AtomicBool::new(false),
            },
            draws: Draws(Mutex::new(DrawState {
                random,
                cookie,
                nonce: FIRST_NONCE,
            })),
        })
    }

    /// Both directions have their record keys.
    pub(super) fn has_keys(&self) -> bool {
        self.crypto.ciphers.load(Ordering::Relaxed) >= 2
    }

    /// A signature by the peer's certificate was verified.
    pub(super) fn peer_proved_key(&self) -> bool {
        self.crypto.peer_proved.load(Ordering::Relaxed)
    }
}

impl RTCCryptoProvider for Provider {
    fn name(&self) -> &'static str {
        "causeway"
    }

    fn crypto(&self) -> &dyn RTCCrypto {
        &self.crypto
    }

    fn random(&self) -> &dyn RTCRandom {
        &self.draws
    }
}

impl RTCRandom for Draws {
    fn fill(&self, output: &mut [u8]) -> Result<(), CryptoError> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match output.len() {
            EXPLICIT_NONCE_BYTES => {
                output.copy_from_slice(&state.nonce.to_be_bytes());
                state.nonce += 1;
            }
            COOKIE_BYTES => output.copy_from_slice(&state.cookie),
            _ => state.random.fill(output),
        }
        Ok(())
    }
}

impl RTCCrypto for Crypto {
    fn supports(&self, algorithm: CryptoAlgorithm) -> bool {
        self.inner.crypto().supports(algorithm)
    }

    fn hash(&self, algorithm: HashAlgorithm, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.inner.crypto().hash(algorithm, data)
    }

    fn new_hmac(&self, algorithm: HmacAlgorithm, key: &[u8]) -> Result<Box<dyn Mac>, CryptoError> {
        self.inner.crypto().new_hmac(algorithm, key)
    }

    fn new_aead(
        &self,
        algorithm: AeadAlgorithm,
        key: &[u8],
    ) -> Result<Box<dyn AeadCipher>, CryptoError> {
        let cipher = self.inner.crypto().new_aead(algorithm, key)?;
        self.ciphers.fetch_add(1, Ordering::Relaxed);
        Ok(cipher)
    }

    fn start_key_exchange(
        &self,
        algorithm: KeyExchangeAlgorithm,
    ) -> Result<Box<dyn ActiveKeyExchange>, CryptoError> {
        self.inner.crypto().start_key_exchange(algorithm)
    }

    fn verify_signature(
        &self,
        scheme: SignatureScheme,
        public_key: PublicKey<'_>,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        if public_key.encoding == PublicKeyEncoding::RsaPkcs1Der
            && !(MIN_RSA_KEY..=MAX_RSA_KEY).contains(&public_key.bytes.len())
        {
            return Err(CryptoError::InvalidSignature);
        }
        self.inner
            .crypto()
            .verify_signature(scheme, public_key, message, signature)?;
        self.peer_proved.store(true, Ordering::Relaxed);
        Ok(())
    }
}
