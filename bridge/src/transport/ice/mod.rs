//! ICE (RFC 8445) for many endpoints on few sockets.
//!
//! [`IceTransport`] is one endpoint's full ICE agent, sans-IO. STUN messages that the worker routed to it
//! (requests by the ufrag, see [`worker_of_ufrag`]; responses by the transaction id, see
//! [`worker_of_transaction`] and [`tag_of_transaction`]) go in; answers, checks and [`IceEvent`]s come
//! out. Two questions matter to media: [`IceTransport::accepts`] (may a datagram come from there?) and
//! [`IceTransport::send_path`] (where does media go now?).
//!
//! - Nothing that does not authenticate is answered, costs memory or changes anything (T01, T03).
//! - A path is good for *receiving* once the peer authenticated itself on it, and for *sending* once a
//!   check of ours was answered on it (T04), for as long as the peer keeps answering (T48).
//! - Clients signal no candidates: all paths are learned from their checks, although the bridge is the
//!   controlling agent and nominates.
//! - Where the client's media comes from, ours goes: a browser that moved to another network does not come
//!   back to the pair that was nominated once. The rules are with [`IceTransport`].
//! - A restart is a second session beside the current one, until it works (media-plane §1.8).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::IceConfig;
use crate::counters::Counter;
use crate::ids::{Path, WorkerId};
use crate::random::Random;

mod address;
mod candidates;
mod credentials;
mod pair;
mod session;
mod transport;

#[cfg(test)]
mod tests;

pub use address::{canonical, is_private};
pub use candidates::local_candidates;
pub use credentials::{Credentials, tag_of_transaction, worker_of_transaction, worker_of_ufrag};
pub use transport::IceTransport;

/// What happened to an endpoint's ICE.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum IceEvent {
    /// Requests to this local ufrag belong to this endpoint from now on.
    UfragAdded(Arc<str>),
    /// And no longer.
    UfragRemoved(Arc<str>),
    /// The peer authenticated itself on this path: datagrams that come on it belong to this endpoint,
    /// whoever had it before (T05; tell that one with [`IceTransport::path_taken`]).
    PathValidated(Path),
    /// Datagrams that come on it no longer belong to this endpoint.
    PathRemoved(Path),
    /// The first path that can be sent on: DTLS may start. Comes once.
    Connected(Path),
    /// [`IceTransport::send_path`] is another one now.
    SendPathChanged(Path),
    /// The peer answers no more: nothing is sent until [`IceEvent::ConsentRegained`] (T48).
    ConsentLost,
    /// It answers again.
    ConsentRegained,
    /// No path worked for long after the peer's credentials were known. Comes at most once; a check that
    /// succeeds later still connects.
    Failed,
    /// A restart is over.
    RestartEnded {
        /// Which one.
        generation: u32,
        /// Whether its session is the current one now; otherwise the one before it lives on.
        success: bool,
    },
    /// Round trip of a check of ours.
    RoundTrip(Duration),
}

/// Why a STUN message had no effect and gets no answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Refusal {
    /// A request to a ufrag that this endpoint does not have.
    UnknownUfrag,
    /// MESSAGE-INTEGRITY is absent or wrong, or the peer's part of USERNAME is wrong.
    Integrity,
    /// Authentic, but without PRIORITY or with something that must be understood and is not.
    Malformed,
    /// A response to nothing that was asked on this path, an indication, or another method.
    Unexpected,
}

impl Refusal {
    /// The counter of such messages.
    pub const fn counter(self) -> Counter {
        match self {
            Refusal::UnknownUfrag => Counter::DropStunUnknownUfrag,
            Refusal::Integrity => Counter::DropStunIntegrity,
            Refusal::Malformed => Counter::DropStunMalformed,
            Refusal::Unexpected => Counter::DropStunUnexpected,
        }
    }
}

/// What all sessions of one endpoint use.
struct Shared {
    config: Arc<IceConfig>,
    sockets: Arc<[SocketAddr]>,
    worker: WorkerId,
    tag: u32,
    random: Random,
    /// Signaled addresses that are relays.
    relayed: Vec<SocketAddr>,
}

impl Shared {
    /// Time from one consent check to the next (RFC 7675 §5.1: randomised by 0.8–1.2).
    fn consent_pause(&mut self) -> Duration {
        self.config
            .consent_interval
            .mul_f64(0.8 + 0.4 * self.random.unit())
    }

    fn is_relayed(&self, remote: SocketAddr) -> bool {
        self.relayed.contains(&remote)
    }
}
