//! The handshake pool: DTLS and SCTP of many endpoints, away from the workers.
