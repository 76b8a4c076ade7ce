//! A load generator: participants that speak the protocols of a bridge, without encoding or decoding media.
//!
//! ```text
//!  plan ──► run ──► rest (Colibri2)              one focus
//!            │  └─► channel (websockets)         one per client
//!            └────► thread ──► client (sans-IO)  ICE, DTLS, SRTP; sender, receiver
//!            meter ◄── stats ◄──┘
//! ```

mod arrivals;
mod beside;
mod capacity;
mod changes;
mod channel;
pub(crate) mod client;
pub(crate) mod clock;
pub(crate) mod codec;
mod compare;
mod encoder;
mod figures;
mod flood;
pub(crate) mod floor;
mod floor_run;
pub(crate) mod formats;
mod html;
mod inbounds;
pub(crate) mod join;
mod line;
mod meter;
mod outlet;
pub(crate) mod plan;
mod process;
mod receiver;
mod report;
mod rest;
mod run;
mod sender;
mod stamp;
pub(crate) mod stats;
mod stream;
mod structure;
mod table;
mod thread;

pub mod cli;

/// Maps on the way of packets. Their keys come from the bridge under test, which is trusted.
type Map<K, V> = std::collections::HashMap<K, V, std::hash::BuildHasherDefault<ahash::AHasher>>;
