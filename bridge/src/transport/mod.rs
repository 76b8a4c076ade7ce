//! From a datagram to an authenticated peer: ICE, DTLS, SCTP.

pub mod ice;
pub mod pool;
pub mod secure;
