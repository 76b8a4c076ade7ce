//! What logs say about clients.

use std::fmt;
use std::net::SocketAddr;

/// A client's address as logs show it: as it is, or without anything that tells clients apart
/// (`videobridge.redact-remote-addresses`).
#[derive(Clone, Copy, Debug)]
pub struct ClientAddress(Option<SocketAddr>);

impl ClientAddress {
    /// Shows `address`, or hides it.
    pub fn new(address: SocketAddr, redact: bool) -> ClientAddress {
        ClientAddress((!redact).then_some(address))
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("xx.xx.xx.xx"),
        }
    }
}
