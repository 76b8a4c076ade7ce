//! Local addresses and the sockets bound to them.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

use super::sys;
use crate::config::NetConfig;
use crate::limits;

/// Receive buffer for what strangers send, bytes: some thousand checks and handshakes.
const STRANGERS_BUFFER: usize = 2 << 20;

/// Why the network could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// An address could not be bound.
    #[error(
        "can not bind UDP {address}: {source}. Is another bridge running on this port, and does the address belong to this machine?"
    )]
    Bind {
        /// Which.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// There is nothing to bind.
    #[error(
        "no usable network address found: connect an interface or name addresses to bind explicitly"
    )]
    NoAddress,
    /// Interfaces could not be listed.
    #[error("can not list network interfaces: {0}")]
    Interfaces(io::Error),
    /// More addresses than supported.
    #[error("{0} local addresses are more than the {max} that can be bound", max = limits::MAX_SOCKETS)]
    TooMany(usize),
    /// The DTLS certificate could not be made.
    #[error(transparent)]
    Certificate(#[from] crate::transport::secure::CertificateError),
    /// A thread could not be started.
    #[error("can not start a thread: {0}")]
    Thread(io::Error),
}

/// A local network interface's address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface {
    /// Name, such as `eth0`.
    pub name: String,
    /// One of its addresses.
    pub address: IpAddr,
}

/// All addresses of interfaces that are up, without loopback ones.
pub fn interfaces() -> Result<Vec<Interface>, BindError> {
    let mut interfaces: Vec<Interface> = if_addrs::get_if_addrs()
        .map_err(BindError::Interfaces)?
        .into_iter()
        .filter(|interface| !interface.is_loopback())
        .map(|interface| Interface {
            address: interface.ip(),
            name: interface.name,
        })
        .collect();
    interfaces.sort_by_key(|interface| (interface.address.is_ipv6(), interface.address));
    interfaces.dedup_by_key(|interface| interface.address);
    Ok(interfaces)
}

/// Addresses of interfaces that are up, without loopback and link-local ones (media-plane spec §1.1).
pub fn interface_addresses() -> Result<Vec<IpAddr>, BindError> {
    let mut addresses: Vec<IpAddr> = if_addrs::get_if_addrs()
        .map_err(BindError::Interfaces)?
        .into_iter()
        .filter(|interface| !interface.is_loopback() && !interface.is_link_local())
        .map(|interface| interface.ip())
        .filter(|ip| !ip.is_unspecified() && !ip.is_multicast())
        .collect();
    addresses.sort_by_key(|ip| (ip.is_ipv6(), *ip));
    addresses.dedup();
    Ok(addresses)
}

/// What the kernel does for trains of datagrams.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offloads {
    /// Sends a train with one call (UDP_SEGMENT, Linux 4.18).
    pub gso: bool,
    /// Merges what arrives of one flow (UDP_GRO, Linux 5.0).
    pub gro: bool,
}

/// Asks the kernel with a socket that is not used for anything else.
pub fn offloads() -> Offloads {
    let probe = std::net::UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0));
    Offloads {
        gso: probe.as_ref().is_ok_and(sys::has_gso),
        gro: probe
            .as_ref()
            .is_ok_and(|socket| sys::enable_gro(socket).is_ok()),
    }
}

/// The addresses to bind.
pub(super) fn local_addresses(config: &NetConfig) -> Result<Vec<SocketAddr>, BindError> {
    let addresses: Vec<SocketAddr> = if config.bind.is_empty() {
        interface_addresses()?
            .into_iter()
            .map(|ip| SocketAddr::new(ip, config.port))
            .collect()
    } else {
        config.bind.clone()
    };
    match addresses.len() {
        0 => Err(BindError::NoAddress),
        count if count > limits::MAX_SOCKETS => Err(BindError::TooMany(count)),
        _ => Ok(addresses),
    }
}

/// A worker's sockets, by local address.
#[derive(Debug, Default)]
pub(super) struct WorkerSockets {
    /// For its endpoints, and for all that is sent.
    pub members: Vec<UdpSocket>,
    /// For what comes from anywhere else, see [`super::steering`].
    pub strangers: Vec<UdpSocket>,
}

/// Sockets of all workers, and the addresses that were bound (a port 0 is replaced by the one that the system chose, the same
/// for every socket). To each address those for members are bound first, then those for strangers, both in the order of workers.
pub(super) fn bind_all(
    addresses: &[SocketAddr],
    workers: usize,
    config: &NetConfig,
) -> Result<(Vec<WorkerSockets>, Vec<SocketAddr>), BindError> {
    let mut bound = Vec::with_capacity(addresses.len());
    let mut sockets: Vec<WorkerSockets> = (0..workers).map(|_| WorkerSockets::default()).collect();
    for address in addresses {
        let mut actual = *address;
        let mut next = |buffer| {
            let bound = bind(actual, buffer).and_then(|socket| {
                actual = socket.local_addr()?;
                Ok(socket)
            });
            bound.map_err(|source| BindError::Bind {
                address: actual,
                source,
            })
        };
        for worker in &mut sockets {
            worker.members.push(next(config.receive_buffer)?);
        }
        for worker in &mut sockets {
            worker.strangers.push(next(STRANGERS_BUFFER)?);
        }
        bound.push(actual);
    }
    Ok((sockets, bound))
}

fn bind(address: SocketAddr, buffer: usize) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    // The kernel caps both at its limits; the receive side is checked and reported by the caller.
    let _ = socket.set_recv_buffer_size(buffer);
    let _ = socket.set_send_buffer_size(buffer);
    let socket = {
        socket.bind(&address.into())?;
        UdpSocket::from(socket)
    };
    let _ = sys::ignore_path_mtu(&socket, address.is_ipv6());
    Ok(socket)
}

/// The receive buffer that the kernel really gave, in bytes.
pub(super) fn receive_buffer(socket: &UdpSocket) -> usize {
    // The kernel reports twice what it uses for payload.
    socket2::SockRef::from(socket)
        .recv_buffer_size()
        .map_or(0, |size| size / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_workers_share_the_port_that_was_chosen() {
        let addresses = ["127.0.0.1:0".parse().expect("address")];
        let (sockets, bound) = bind_all(&addresses, 3, &NetConfig::default()).expect("binds");
        assert_eq!(sockets.len(), 3);
        assert_ne!(bound[0].port(), 0);
        assert!(
            sockets
                .iter()
                .flat_map(|worker| worker.members.iter().chain(&worker.strangers))
                .all(|socket| socket.local_addr().ok() == Some(bound[0]))
        );
    }

    #[test]
    fn an_address_that_is_not_ours_is_named_in_the_error() {
        let addresses = ["192.0.2.1:10000".parse().expect("address")];
        let error = bind_all(&addresses, 1, &NetConfig::default()).expect_err("refused");
        assert!(error.to_string().contains("192.0.2.1:10000"));
    }
}
