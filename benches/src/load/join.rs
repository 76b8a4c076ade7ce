//! How clients get in: their requests, their sockets, what they send.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use causeway_bridge::ids::WorkerId;
use causeway_bridge::net::{enable_gro, enable_timestamps};
use causeway_bridge::random::Random;
use causeway_bridge::time::Time;
use causeway_bridge::transport::ice::Credentials;
use causeway_bridge::transport::secure::Certificate;
use crossbeam_channel::{Receiver, Sender};
use serde_json::{Value, json};

use super::channel::Channel;
use super::client::{Client, Local, Sources};
use super::clock::Clock;
use super::flood::Victim;
use super::formats::{self, Kind, Picture};
use super::plan::{Part, Plan};
use super::rest::{self, Focus};
use super::run::Options;
use super::sender::{Audio, Video};
use super::stamp;
use super::thread::{Handle, Order};

/// Receive buffer of a client.
const RECEIVE_BUFFER: usize = 1 << 20;

/// What a client becomes when its requests are answered.
pub struct Joined {
    pub number: u32,
    /// What its endpoint id and its SSRCs are numbered by: not its number if it was there before.
    pub identity: u32,
    pub web_socket: Option<String>,
    pub address: SocketAddr,
    /// Where the bridge receives.
    pub bridge: SocketAddr,
    /// What a flood needs to know; of the first client only.
    pub victim: Option<Victim>,
}

/// Sends the requests of clients in the order in which they join.
pub struct Joiner<'a> {
    pub options: &'a Options,
    pub plan: &'a Plan,
    pub clock: Clock,
    pub begin: Time,
    pub focus: &'a Focus,
    pub run: String,
    pub certificate: Arc<Certificate>,
    pub connector: Handle,
    pub next: &'a AtomicUsize,
}

impl Joiner<'_> {
    /// Lets clients in until nobody is left. Several threads may do so at once.
    pub fn run(&self, results: &Sender<Result<Joined, String>>) {
        loop {
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(part) = self.plan.parts.get(at) else {
                return;
            };
            std::thread::sleep(self.begin + part.joins_at - self.clock.now());
            if results.send(self.join(at as u32, at as u32, part)).is_err() {
                return;
            }
        }
    }

    /// Lets one client in. See [`Joined::identity`].
    pub fn join(&self, number: u32, identity: u32, part: &Part) -> Result<Joined, String> {
        let text = |error: rest::RestError| error.0;
        let since = self.clock.now();
        let meeting = self.meeting(part);
        let id = formats::endpoint_id(identity);
        let created = self
            .focus
            .create_endpoint(&meeting, &id, self.options.rewriting, self.options.channel)
            .map_err(text)?;
        let mut random = Random::from_os();
        let credentials = Credentials::generate(&mut random, "", WorkerId(0));
        let sources = self.describe(identity, part, &id);
        let fingerprint = self.certificate.fingerprint();
        let connected =
            self.focus
                .connect_endpoint(&meeting, &id, &credentials, fingerprint, sources);
        connected.map_err(text)?;
        let mut remote = created.remote;
        let address = remote
            .candidates
            .first()
            .copied()
            .ok_or("the bridge has no candidates")?;
        // One path is enough, and a machine under test may have many addresses.
        remote.candidates.truncate(1);
        let socket = open_socket(address, self.options.gro)
            .map_err(|error| format!("no socket for a client: {error}"))?;
        let local = socket.local_addr().map_err(|error| error.to_string())?;
        let victim = match number {
            0 => Some(Victim {
                bridge: address,
                ufrag: remote.credentials.ufrag.to_string(),
                ssrc: stamp::ssrc(identity, 0),
                socket: socket.try_clone().map_err(|error| error.to_string())?,
            }),
            _ => None,
        };
        let now = self.clock.now();
        let client = Client::new(
            &self.clock,
            now,
            Local {
                number,
                identity,
                credentials,
                certificate: Arc::clone(&self.certificate),
                profiles: self.options.profiles.clone(),
                address: local,
                random: random.fork(),
                joining_since: since,
                sctp: self.options.channel == Channel::Sctp,
            },
            remote,
            sources_of(
                (number, identity),
                part,
                &self.plan.camera,
                now,
                self.options.spread,
                &mut random,
            ),
        );
        self.connector
            .give(Order::Adopt(Box::new(client), socket, None));
        Ok(Joined {
            number,
            identity,
            web_socket: created.web_socket,
            address: local,
            bridge: address,
            victim,
        })
    }

    fn meeting(&self, part: &Part) -> String {
        format!("{}-{}", self.run, part.meeting)
    }

    /// Lets clients leave and join again, as their numbers come. They come back as browsers do: as new endpoints, with new SSRCs.
    pub fn replace(&self, numbers: &Receiver<u32>, results: &Sender<Result<Joined, String>>) {
        let mut identities = BTreeMap::new();
        for (number, identity) in numbers.iter().zip(self.plan.parts.len() as u32..) {
            let Some(part) = self.plan.parts.get(number as usize) else {
                continue;
            };
            let before = identities.insert(number, identity).unwrap_or(number);
            let left = self
                .focus
                .expire_endpoint(&self.meeting(part), &formats::endpoint_id(before));
            let joined = left
                .map_err(|error| error.0)
                .and_then(|()| self.join(number, identity, part));
            if results.send(joined).is_err() {
                return;
            }
        }
    }

    fn describe(&self, identity: u32, part: &Part, id: &str) -> Value {
        let mut sources = Vec::new();
        if part.talks {
            sources.push(rest::describe_audio(identity, id));
        }
        if part.camera {
            sources.push(rest::describe_video(
                identity,
                id,
                Kind::Camera,
                &self.plan.camera,
            ));
        }
        if part.screen {
            sources.push(rest::describe_video(
                identity,
                id,
                Kind::Screen,
                &Picture::screen(self.plan.camera.codec),
            ));
        }
        json!(sources)
    }
}

/// What a participant with this number and this [`Joined::identity`] sends. Cameras of different participants are not in step.
pub fn sources_of(
    who: (u32, u32),
    part: &Part,
    camera: &Picture,
    now: Time,
    spread: Duration,
    random: &mut Random,
) -> Sources {
    let start = now + Duration::from_micros(random.below(33_333));
    let video = |kind, picture| Video::new(who, kind, picture, start, spread);
    let mut videos = Vec::new();
    if part.camera {
        videos.push(video(Kind::Camera, camera.clone()));
    }
    if part.screen {
        videos.push(video(Kind::Screen, Picture::screen(camera.codec)));
    }
    Sources {
        audio: part.talks.then(|| Audio::new(who, start, part.muted)),
        videos,
    }
}

/// A socket for one client, from which `to` is reached.
pub fn open_socket(to: SocketAddr, gro: bool) -> std::io::Result<UdpSocket> {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(to)?;
    socket.set_nonblocking(true)?;
    // The kernel caps it at its limit; what it drops is reported.
    let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER);
    enable_timestamps(&socket)?;
    if gro {
        enable_gro(&socket)?;
    }
    Ok(socket)
}
