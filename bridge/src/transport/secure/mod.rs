//! One endpoint's DTLS association with SCTP and its data channel on top.

/// `setup` of a fingerprint element (RFC 8842).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Setup {
    /// The DTLS client.
    Active,
    /// The DTLS server.
    Passive,
    /// Either.
    ActPass,
}

/// A certificate fingerprint (RFC 8122).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fingerprint {
    /// Hash name in lower case, such as `sha-256`.
    pub hash: String,
    /// Digest bytes.
    pub digest: Vec<u8>,
}

/// Why a handshake failed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FailureReason {
    /// Not complete within [`crate::limits::HANDSHAKE_TIMEOUT`].
    Timeout,
    /// The certificate is none of the signaled ones.
    FingerprintMismatch,
    /// No common SRTP profile.
    NoSrtpProfile,
    /// The peer broke the protocol or refused.
    Protocol,
}
