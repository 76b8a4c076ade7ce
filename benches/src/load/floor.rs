//! The least that forwarding could cost on this machine: a process that receives, opens, seals for every receiver and
//! sends, with the same code for these and in the same trains as the bridge, and does nothing else. If clients send feedback, it
//! receives and opens that too.
//!
//! There is no signaling: who sends what to whom is in a file, keys follow from the numbers of clients, and a client tells
//! its address with a hello.

use std::fs;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::Path as FilePath;
use std::time::{Duration, Instant};

use causeway_bridge::ids::{Path, SocketId};
use causeway_bridge::net::{ReceiveBatch, SendBatch, enable_gro, has_gso};
use causeway_bridge::srtp::{Inbound, KeyingMaterial, MASTER_KEY, MASTER_SALT, Outbound, Profile};
use causeway_bridge::wire::demux::{Class, classify};
use causeway_bridge::wire::rtp::RtpHeader;
use causeway_bridge::worker::egress::{ChainHint, Egress};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use serde::{Deserialize, Serialize};
use socket2::SockRef;

use super::stamp::Stamp;
use super::{Map, codec};

/// What begins a hello; the number of the client follows. Not a protocol that shares the port.
pub const HELLO: [u8; 4] = *b"HELO";
/// Said on standard error, with the address.
pub const READY: &str = "floor ready at ";
/// As large as that of the bridge.
const SOCKET_BUFFER: usize = 10 << 20;
/// Receive calls between two times of sending, as in the bridge.
const RECEIVES_PER_TURN: usize = 8;
/// It ends by itself if nothing comes for so long.
const IDLE: Duration = Duration::from_secs(60);

/// Who gets a stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stream {
    pub ssrc: u32,
    /// If it shares the SSRC with others: what stands for it in the stamps of its packets.
    pub layer: Option<u8>,
    /// Number of the client that sends it.
    pub from: u32,
    /// Numbers of the clients that get it.
    pub to: Vec<u32>,
}

/// All that the floor knows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Routes {
    pub clients: u32,
    pub aes_cm: bool,
    pub streams: Vec<Stream>,
}

/// A client's hello.
pub fn hello(number: u32) -> [u8; 8] {
    let mut hello = [0; 8];
    hello[..4].copy_from_slice(&HELLO);
    hello[4..].copy_from_slice(&number.to_be_bytes());
    hello
}

/// The number in a hello.
fn read_hello(datagram: &[u8]) -> Option<u32> {
    let (front, number) = datagram.split_first_chunk::<4>()?;
    (*front == HELLO).then_some(u32::from_be_bytes(number.try_into().ok()?))
}

/// Keys of a client, from its side.
pub fn keys(number: u32, profile: Profile) -> KeyingMaterial {
    let fill = |direction: u8| {
        let mut key = [direction; MASTER_KEY];
        key[..4].copy_from_slice(&number.to_be_bytes());
        key
    };
    KeyingMaterial {
        profile,
        local_key: fill(1),
        local_salt: [1; MASTER_SALT],
        remote_key: fill(2),
        remote_salt: [2; MASTER_SALT],
    }
}

struct Client {
    inbound: Inbound,
    outbound: Outbound,
    path: Option<Path>,
    chain: ChainHint,
}

/// Who gets what comes on an SSRC.
#[derive(Default)]
struct Receivers {
    /// All of it.
    whole: Vec<u32>,
    /// Layers of it.
    layers: Vec<(u8, Vec<u32>)>,
}

struct Floor {
    clients: Vec<Client>,
    by_address: Map<SocketAddr, u32>,
    receivers: Map<u32, Receivers>,
    egress: Egress,
    scratch: [u8; 2_048],
    gcm: bool,
}

/// Runs until it is ended.
///
/// # Errors
/// A text for people.
pub fn run(routes: &FilePath, local: SocketAddr) -> Result<(), String> {
    let text =
        fs::read_to_string(routes).map_err(|error| format!("{}: {error}", routes.display()))?;
    let routes: Routes = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let mut floor = Floor::new(&routes)?;
    floor
        .serve(local)
        .map_err(|error| format!("the network fails: {error}"))
}

impl Floor {
    fn new(routes: &Routes) -> Result<Floor, String> {
        let profile = match routes.aes_cm {
            true => Profile::Aes128CmSha1_80,
            false => Profile::AeadAes128Gcm,
        };
        let mut clients: Vec<Client> = (0..routes.clients)
            .map(|number| {
                let KeyingMaterial {
                    local_key,
                    local_salt,
                    remote_key,
                    remote_salt,
                    ..
                } = &keys(number, profile);
                Client {
                    inbound: Inbound::new(profile, local_key, local_salt),
                    outbound: Outbound::new(profile, remote_key, remote_salt),
                    path: None,
                    chain: ChainHint::default(),
                }
            })
            .collect();
        let mut receivers: Map<u32, Receivers> = Map::default();
        for stream in &routes.streams {
            let client = clients
                .get_mut(stream.from as usize)
                .ok_or("a stream without client")?;
            client
                .inbound
                .allow(stream.ssrc)
                .map_err(|error| error.to_string())?;
            if stream.to.iter().any(|to| *to >= routes.clients) {
                return Err("a receiver that does not exist".to_owned());
            }
            let known = receivers.entry(stream.ssrc).or_default();
            match stream.layer {
                Some(layer) => known.layers.push((layer, stream.to.clone())),
                None => known.whole.clone_from(&stream.to),
            }
        }
        Ok(Floor {
            clients,
            by_address: Map::default(),
            receivers,
            egress: Egress::new(),
            scratch: [0; 2_048],
            gcm: !routes.aes_cm,
        })
    }

    fn serve(&mut self, local: SocketAddr) -> io::Result<()> {
        let socket = UdpSocket::bind(local)?;
        socket.set_nonblocking(true)?;
        let options = SockRef::from(&socket);
        // The kernel caps both at its limits.
        let _ = options.set_recv_buffer_size(SOCKET_BUFFER);
        let _ = options.set_send_buffer_size(SOCKET_BUFFER);
        let gro = enable_gro(&socket).is_ok();
        let mut gso = has_gso(&socket);
        let mut poll = Poll::new()?;
        let fd = socket.as_raw_fd();
        poll.registry()
            .register(&mut SourceFd(&fd), Token(0), Interest::READABLE)?;
        eprintln!("{READY}{}", socket.local_addr()?);
        let mut events = Events::with_capacity(8);
        let (mut receive, mut send) = (ReceiveBatch::new(gro), SendBatch::new());
        let mut more = true;
        let mut last = Instant::now();
        loop {
            let wait = if more {
                Duration::ZERO
            } else {
                Duration::from_secs(5)
            };
            match poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            if !events.is_empty() {
                more = true;
                last = Instant::now();
            } else if last.elapsed() > IDLE {
                return Ok(());
            }
            for _ in 0..RECEIVES_PER_TURN {
                if !more {
                    break;
                }
                let outcome =
                    receive.receive(&socket, |remote, datagram| self.handle(remote, datagram));
                // An error is what an ICMP message left behind.
                more = outcome.unwrap_or(true);
            }
            self.egress.complete();
            if !self.egress.is_empty() {
                let sent = send.send(&socket, SocketId(0), &self.egress, gso);
                gso &= !sent.gso_failed;
                self.egress.clear();
            }
        }
    }

    fn handle(&mut self, remote: SocketAddr, datagram: &[u8]) {
        let class = classify(datagram);
        if matches!(class, Some(Class::Rtp | Class::Rtcp)) {
            let Some(number) = self.by_address.get(&remote).copied() else {
                return;
            };
            if class == Some(Class::Rtp) {
                self.forward(number, datagram);
            } else if let Some(client) = self.clients.get_mut(number as usize) {
                // Opening is all that nobody can do without.
                let _ = client.inbound.open_rtcp(datagram, &mut self.scratch);
            }
        } else if let Some(number) = read_hello(datagram)
            && let Some(client) = self.clients.get_mut(number as usize)
        {
            let path = Path {
                socket: SocketId(0),
                remote,
            };
            client.path = Some(path);
            self.by_address.insert(remote, number);
            self.egress.push(path, datagram, &mut client.chain);
        }
    }

    fn forward(&mut self, number: u32, datagram: &[u8]) -> Option<()> {
        let header = RtpHeader::parse(datagram).ok()?;
        let from = self.clients.get_mut(number as usize)?;
        let opened = from
            .inbound
            .open_rtp(&header, datagram, &mut self.scratch)
            .ok()?;
        let packet = self.scratch.get(..opened.len)?;
        let start = usize::from(header.payload_start);
        let (front, payload) = packet.split_at_checked(start)?;
        let receivers = self.receivers.get(&header.ssrc)?;
        let to = match receivers.layers.is_empty() {
            true => &receivers.whole,
            false => {
                let stamp =
                    payload.get(codec::layered_stamp_at(header.payload_type, payload)?..)?;
                let layer = Stamp::read(stamp)?.encoding;
                let mut layers = receivers.layers.iter();
                &layers.find(|(known, _)| *known == layer)?.1
            }
        };
        for to in to {
            let Some(to) = self.clients.get_mut(*to as usize) else {
                continue;
            };
            let (Some(path), outbound) = (to.path, &mut to.outbound) else {
                continue;
            };
            let slot = self.egress.slot(packet.len() + outbound.overhead())?;
            slot[..start].copy_from_slice(front);
            let (ssrc, index) = (header.ssrc, opened.index);
            let sealed = if self.gcm {
                let sealed = outbound.seal_rtp_from(ssrc, index, slot, start, payload);
                sealed.map(|len| (len, None))
            } else {
                slot[start..packet.len()].copy_from_slice(payload);
                outbound.seal_rtp_later(ssrc, index, slot, start, packet.len())
            };
            if let Ok(sealed) = sealed {
                self.egress.commit_sealed(path, sealed, &mut to.chain);
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use causeway_bridge::wire::extensions::HeaderBuilder;

    fn address(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    #[test]
    fn what_one_client_sends_reaches_those_that_get_it_with_their_own_keys() {
        for profile in [Profile::AeadAes128Gcm, Profile::Aes128CmSha1_80] {
            let routes = Routes {
                clients: 3,
                aes_cm: profile == Profile::Aes128CmSha1_80,
                streams: vec![Stream {
                    ssrc: 7,
                    layer: None,
                    from: 0,
                    to: vec![1, 2],
                }],
            };
            let mut floor = Floor::new(&routes).expect("routes that fit");
            for number in 0..3 {
                floor.handle(address(1_000 + number as u16), &hello(number));
            }
            floor.egress.clear();
            let mut packet = vec![0; 200];
            let header = HeaderBuilder {
                sequence: 5,
                ssrc: 7,
                payload_type: 100,
                ..HeaderBuilder::default()
            };
            let start = header.write(&mut packet, &[(5, &[1, 2])]).expect("room");
            let mut own = keys(0, profile).outbound();
            let sealed = own.seal_rtp(7, 5, &mut packet, start, 120).expect("room");
            floor.handle(address(1_000), &packet[..sealed]);
            floor.egress.complete();
            let mut reached = Vec::new();
            for (path, datagrams) in floor.egress.chains() {
                let number = u32::from(path.remote.port()) - 1_000;
                for datagram in datagrams {
                    let mut inbound = keys(number, profile).inbound();
                    inbound.allow(7).expect("room");
                    let header = RtpHeader::parse(datagram).expect("RTP");
                    let mut out = [0; 200];
                    let opened = inbound
                        .open_rtp(&header, datagram, &mut out)
                        .expect("sealed for it");
                    assert_eq!(opened.len, 120);
                    reached.push(number);
                }
            }
            assert_eq!(reached, [1, 2]);
        }
    }
}
