//! The bridge's own certificate.

use std::fmt;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rtc_dtls::crypto::CryptoPrivateKey;
use rtc_dtls::crypto_provider::RTCCryptoProvider as _;
use rtc_dtls::crypto_provider::providers::AwsLcRsProvider;

use super::Fingerprint;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Valid from so long before its generation: clocks of clients differ.
const VALID_BEFORE: Duration = DAY;
/// Valid until so long after its generation.
const VALID_AFTER: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Says nothing about the host.
const COMMON_NAME: &str = "causeway";

/// A self-signed ECDSA P-256 certificate with its key.
///
/// Generated at start and replaced by its owner when older than [`Certificate::MAX_AGE`]; an association
/// keeps the one it began with, so the fingerprint in signaling must be that of the same `Certificate`
/// (media-plane §1.9).
pub struct Certificate {
    inner: rtc_dtls::crypto::Certificate,
    fingerprint: Fingerprint,
}

/// A certificate could not be made; the cryptography library refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot generate a certificate: {0}")]
pub struct CertificateError(String);

impl Certificate {
    /// Replace a certificate that is older than this.
    pub const MAX_AGE: Duration = DAY;

    /// A new key and certificate, valid from one day before `wall` to seven days after it. The key comes
    /// from the operating system's randomness.
    pub fn generate(wall: SystemTime) -> Result<Certificate, CertificateError> {
        let error = |error: &dyn fmt::Display| CertificateError(error.to_string());
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|e| error(&e))?;
        let since_epoch = wall
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_err(|e| error(&e))?;
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, COMMON_NAME);
        params.not_before = epoch + since_epoch.saturating_sub(VALID_BEFORE);
        params.not_after = epoch + since_epoch + VALID_AFTER;
        let certificate = params.self_signed(&key).map_err(|e| error(&e))?;
        let der = certificate.der().clone();
        let private_key = CryptoPrivateKey::from_key_pair(&key, AwsLcRsProvider::new().crypto())
            .map_err(|e| error(&e))?;
        Ok(Certificate {
            fingerprint: Fingerprint::sha256(&der),
            inner: rtc_dtls::crypto::Certificate {
                certificate: vec![der],
                private_key,
            },
        })
    }

    /// Its sha-256 fingerprint, for signaling.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// DER encoding.
    pub fn der(&self) -> &[u8] {
        self.inner
            .certificate
            .first()
            .map_or(&[], |der| der.as_ref())
    }

    /// As the DTLS engine takes it.
    pub(super) fn engine(&self) -> rtc_dtls::crypto::Certificate {
        self.inner.clone()
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.fingerprint)
    }
}
