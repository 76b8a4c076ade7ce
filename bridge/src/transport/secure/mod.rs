//! One endpoint's DTLS association with SCTP and its data channel on top.
//!
//! ```text
//!  datagram ─► dtls ─► sctp ─► channel text        (Association drives the three)
//!               │
//!               └─► keying material for SRTP
//! ```
//!
//! The protocol engines are `rtc-dtls` and `rtc-sctp`. Both are treated as hostile (T21): what reaches
//! them has first passed a strict gate of ours (modules `flight` and `guard`) that bounds memory and time,
//! every call is under `catch_unwind`, and an error costs a packet, or before authentication an attempt, never
//! the transport.
//!
//! The module knows nothing of ICE, sockets or conferences. It takes datagrams from validated addresses
//! and gives datagrams, keys and text. It is deterministic in virtual time up to the random numbers that
//! the cryptography library and `rtc-sctp` draw for themselves (key pairs, signatures, initial TSN).

mod association;
mod attempt;
mod budget;
mod certificate;
mod dtls;
mod fingerprint;
mod flight;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
mod guard;
mod hello;
mod provider;
mod record;
mod sctp;

#[cfg(test)]
mod tests;

pub use association::{Association, AssociationConfig, AssociationEvent, SctpRole, SendError};
pub use certificate::{Certificate, CertificateError};
pub use fingerprint::{Fingerprint, FingerprintError};

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

/// Why a handshake failed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FailureReason {
    /// Not complete within [`AssociationConfig::handshake_timeout`].
    Timeout,
    /// The certificate is none of the signaled ones.
    FingerprintMismatch,
    /// No common SRTP profile.
    NoSrtpProfile,
    /// The peer broke the protocol or refused.
    Protocol,
}

impl FailureReason {
    /// All reasons, in the order of [`FailureReason::index`].
    pub const ALL: [FailureReason; 4] = [
        FailureReason::Timeout,
        FailureReason::FingerprintMismatch,
        FailureReason::NoSrtpProfile,
        FailureReason::Protocol,
    ];

    /// Position in [`FailureReason::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// snake_case name for metrics.
    pub const fn name(self) -> &'static str {
        match self {
            FailureReason::Timeout => "timeout",
            FailureReason::FingerprintMismatch => "fingerprint_mismatch",
            FailureReason::NoSrtpProfile => "no_srtp_profile",
            FailureReason::Protocol => "protocol",
        }
    }
}
