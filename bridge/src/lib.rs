//! Causeway's selective forwarding unit as a library: conferences, endpoints, transports, media.
//!
//! There is no HTTP, XMPP, file or configuration format in it; the daemon adds those. See
//! `docs/architecture.md` for the way of a packet and the reasons behind the shape.
//!
//! The core is sans-IO: [`worker::Worker`] (data plane), [`transport::pool::Pool`] (handshakes) and
//! [`control::Control`] (model and signaling) take inputs and `now`, and return what to do. [`net`] is the
//! only place with sockets, clocks and threads; [`Bridge`] wires the three together.

#![deny(unsafe_code)]

pub mod allocation;
pub mod capture;
pub mod cc;
pub mod channel;
pub(crate) mod conference;
pub mod config;
pub mod control;
pub mod counters;
pub mod endpoint;
pub mod export;
pub mod ids;
pub mod limits;
pub mod media;
pub mod messages;
pub mod net;
pub(crate) mod prefetch;
pub mod projection;
pub mod random;
pub mod receive;
pub mod redaction;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
pub mod speech;
pub mod srtp;
pub mod stats;
pub mod time;
pub mod timeline;
pub mod token_bucket;
pub mod transport;
pub mod units;
pub mod wire;
pub mod worker;

pub use net::Bridge;
