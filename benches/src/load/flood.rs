//! What an attacker sends while calls go on.

use std::fmt;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use causeway_bridge::ids::{Path, SocketId};
use causeway_bridge::net::SendBatch;
use causeway_bridge::random::Random;
use causeway_bridge::wire::extensions::HeaderBuilder;
use causeway_bridge::wire::stun::{self, BindingRequest, RoleClaim};
use causeway_bridge::worker::egress::{ChainHint, Egress};
use clap::ValueEnum;

use super::codec::FORMATS;
use super::join::open_socket;

/// Sources of a flood from strangers.
const STRANGERS: usize = 64;
/// Datagrams from one source before the next has its turn.
const BURST: usize = 64;
/// Largest datagram of a flood.
const LARGEST: usize = 200;
/// It keeps its rate within such slices.
const SLICE: Duration = Duration::from_millis(1);

/// What it consists of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Kind {
    /// Random bytes from strangers
    Garbage,
    /// Connectivity checks from strangers that name a live ufrag, with a wrong message integrity
    Stun,
    /// RTP from a participant's own address with its SSRC, and nothing else that is right
    Srtp,
    /// DTLS ClientHellos from strangers
    Hello,
    /// The same from a participant's own address
    OwnHello,
}

/// A flood and its datagrams per second: `garbage` or `garbage=600000`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flood {
    pub kind: Kind,
    pub rate: u64,
}

impl Flood {
    /// One as strong as a core of the bridge has to stand.
    pub fn new(kind: Kind) -> Flood {
        let rate = kind.rate();
        Flood { kind, rate }
    }
}

impl FromStr for Flood {
    type Err = String;

    fn from_str(text: &str) -> Result<Flood, String> {
        let (kind, rate) = text.split_once('=').unwrap_or((text, ""));
        let kind = Kind::from_str(kind, false)?;
        if rate.is_empty() {
            return Ok(Flood::new(kind));
        }
        let rate = rate
            .parse()
            .ok()
            .filter(|rate| (1..=2_000_000).contains(rate));
        let rate = rate.ok_or(
            "a rate is a number of datagrams per second up to 2000000, such as garbage=600000",
        )?;
        Ok(Flood { kind, rate })
    }
}

impl fmt::Display for Flood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.kind.to_possible_value();
        let name = name.as_ref().map_or("", |name| name.get_name());
        write!(f, "{name}={}", self.rate)
    }
}

impl Kind {
    /// What a core of the bridge has to stand.
    fn rate(self) -> u64 {
        match self {
            Kind::Garbage => 600_000,
            Kind::Stun => 300_000,
            Kind::Srtp => 200_000,
            Kind::Hello | Kind::OwnHello => 10_000,
        }
    }

    fn is_from_strangers(self) -> bool {
        !matches!(self, Kind::Srtp | Kind::OwnHello)
    }
}

/// Whom it is about.
pub struct Victim {
    /// Where the bridge receives.
    pub bridge: SocketAddr,
    /// The bridge's ufrag for a participant.
    pub ufrag: String,
    /// What that participant sends.
    pub ssrc: u32,
    /// Its own socket.
    pub socket: UdpSocket,
}

/// A flood that goes on until it is stopped.
pub struct Running {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
    since: Instant,
}

impl Flood {
    /// # Errors
    /// There are no sockets or threads left.
    pub fn start(self, victim: Victim) -> io::Result<Running> {
        let sockets = match self.kind.is_from_strangers() {
            true => (0..STRANGERS)
                .map(|_| open_socket(victim.bridge, false))
                .collect::<io::Result<_>>()?,
            false => vec![victim.socket.try_clone()?],
        };
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let work = move || self.send(&victim, &sockets, &stopped);
        let thread = std::thread::Builder::new().name("load-flood".to_owned());
        Ok(Running {
            stop,
            thread: thread.spawn(work)?,
            since: Instant::now(),
        })
    }

    fn send(self, victim: &Victim, sockets: &[UdpSocket], stop: &AtomicBool) -> u64 {
        let path = Path {
            socket: SocketId(0),
            remote: victim.bridge,
        };
        let (mut egress, mut batch) = (Egress::new(), SendBatch::new());
        let mut random = Random::from_os();
        let mut datagram = [0; LARGEST];
        let (begin, mut sent) = (Instant::now(), 0);
        let mut turns = sockets.iter().cycle();
        while !stop.load(Ordering::Relaxed) {
            let due = begin.elapsed().as_micros() as u64 * self.rate / 1_000_000;
            if sent >= due {
                std::thread::sleep(SLICE);
                continue;
            }
            // What could not be sent in time is not sent later.
            sent = sent.max(due.saturating_sub(self.rate / 10));
            let Some(socket) = turns.next() else { break };
            let mut hint = ChainHint::default();
            for _ in 0..BURST.min((due - sent) as usize) {
                let len = self.kind.write(victim, &mut random, &mut datagram);
                egress.push(path, &datagram[..len], &mut hint);
                sent += 1;
            }
            batch.send(socket, SocketId(0), &egress, false);
            egress.clear();
        }
        sent
    }
}

impl Running {
    /// Datagrams per second that it was.
    pub fn stop(self) -> f64 {
        self.stop.store(true, Ordering::Relaxed);
        let seconds = self.since.elapsed().as_secs_f64();
        self.thread.join().unwrap_or(0) as f64 / seconds.max(0.001)
    }
}

impl Kind {
    /// Writes the next datagram; its length.
    fn write(self, victim: &Victim, random: &mut Random, out: &mut [u8; LARGEST]) -> usize {
        match self {
            Kind::Garbage => {
                for part in out[..64].chunks_mut(8) {
                    part.copy_from_slice(&random.u64().to_be_bytes());
                }
                64
            }
            Kind::Stun => {
                let mut transaction = [0; 12];
                transaction[..8].copy_from_slice(&random.u64().to_be_bytes());
                let request = BindingRequest {
                    transaction: &transaction,
                    remote_ufrag: &victim.ufrag,
                    local_ufrag: "evil",
                    priority: 1 << 30,
                    role: RoleClaim::Controlling(7),
                    use_candidate: true,
                };
                let len = stun::write_request(out, &request, &stun::integrity_key("wrong"));
                len.unwrap_or(0)
            }
            Kind::Srtp => {
                let header = HeaderBuilder {
                    marker: true,
                    payload_type: FORMATS[0].payload_type,
                    sequence: random.u32() as u16,
                    timestamp: random.u32(),
                    ssrc: victim.ssrc,
                };
                let start = header.write(out, &[]).unwrap_or(0);
                out[start..].fill(random.u32() as u8);
                out.len()
            }
            Kind::Hello | Kind::OwnHello => client_hello(random, out),
        }
    }
}

/// A ClientHello that offers no encryption (RFC 6347 §4.2.1, TLS_NULL_WITH_NULL_NULL).
fn client_hello(random: &mut Random, out: &mut [u8; LARGEST]) -> usize {
    const BODY: usize = 42;
    let mut hello = vec![22, 0xfe, 0xfd, 0, 0];
    hello.extend_from_slice(&random.u64().to_be_bytes()[..6]);
    hello.extend_from_slice(&(BODY as u16 + 12).to_be_bytes());
    // Handshake type, length, message number, and all in one fragment.
    hello.extend_from_slice(&[1, 0, 0, BODY as u8, 0, 0, 0, 0, 0, 0, 0, BODY as u8]);
    hello.extend_from_slice(&[0xfe, 0xfd]);
    for _ in 0..4 {
        hello.extend_from_slice(&random.u64().to_be_bytes());
    }
    // No session, no cookie, one cipher suite, no compression.
    hello.extend_from_slice(&[0, 0, 0, 2, 0, 0, 1, 0]);
    out[..hello.len()].copy_from_slice(&hello);
    hello.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use causeway_bridge::wire::demux::{Class, classify};

    #[test]
    fn floods_are_named_with_or_without_a_rate() {
        let flood: Flood = "stun=7".parse().expect("well formed");
        assert_eq!((flood.kind, flood.rate), (Kind::Stun, 7));
        assert_eq!("own-hello".parse::<Flood>().map(|it| it.rate), Ok(10_000));
        assert_eq!(flood.to_string(), "stun=7");
        for wrong in ["", "stun=-1", "stun=3000000", "rain"] {
            assert!(wrong.parse::<Flood>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn datagrams_are_what_they_say() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback is there");
        let victim = Victim {
            bridge: socket.local_addr().expect("bound"),
            ufrag: "abcd".to_owned(),
            ssrc: 77,
            socket,
        };
        let mut out = [0; LARGEST];
        let mut random = Random::from_seed(1);
        let mut class = |kind: Kind| {
            let len = kind.write(&victim, &mut random, &mut out);
            classify(&out[..len])
        };
        assert_eq!(class(Kind::Stun), Some(Class::Stun));
        assert_eq!(class(Kind::Srtp), Some(Class::Rtp));
        assert_eq!(class(Kind::Hello), Some(Class::Dtls));
    }
}
