//! Conferences on one simulated bridge, with a faulty network and faulty participants, all from one seed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::driver::{Driver, Secure};
use super::peer::{Peer, formats, ssrcs};
use super::stream::Stream;
use crate::control::api::{
    ConferenceOptions, EndpointOptions, NewSource, RemoteTransport, RestartOutcome,
};
use crate::counters::Counter;
use crate::ids::{ConferenceKey, EndpointKey, WorkerId};
use crate::media::{EncodingDescription, MediaKind};
use crate::messages::{Command, Event};
use crate::random::Random;
use crate::sim::link::{Link, LinkConfig};
use crate::stats::EndpointStats;
use crate::time::Time;
use crate::transport::ice::Credentials;
use crate::wire::demux::{Class, classify};
use crate::wire::rtp::RtpHeader;
use crate::wire::stun::{self, StunMessage};

/// Steps are not shorter than this.
const QUANTUM: Duration = Duration::from_millis(1);
/// Faults happen until then, and not after.
const FAULTS: Duration = Duration::from_secs(14);
/// What must hold in the end is looked at from here on.
const CALM: Duration = Duration::from_secs(22);
pub const END: Duration = Duration::from_secs(30);
/// What an answer may be longer than its question.
const STUN_GROWTH: usize = 32;

type Datagram = (SocketAddr, Vec<u8>);

struct Seat {
    peer: Peer,
    up: Link<Datagram>,
    down: Link<Datagram>,
    quality: LinkConfig,
}

/// Highest index of a sealed stream, and its latest packets by index.
type Sealed = (u64, BTreeMap<u64, Vec<u8>>);

/// How much happened, so that a run that tested nothing is noticed.
#[derive(Clone, Copy, Default, Debug)]
pub struct Totals {
    pub rtp_sent: u64,
    pub handed_over: u64,
    pub joins: u64,
    pub moves: u64,
    pub restarts: u64,
}

impl std::ops::AddAssign for Totals {
    fn add_assign(&mut self, other: Totals) {
        self.rtp_sent += other.rtp_sent;
        self.handed_over += other.handed_over;
        self.joins += other.joins;
        self.moves += other.moves;
        self.restarts += other.restarts;
    }
}

pub struct World {
    totals: Totals,
    pub now: Time,
    random: Random,
    driver: Driver,
    conferences: Vec<ConferenceKey>,
    seats: Vec<Seat>,
    /// Who is or was at an address.
    addresses: BTreeMap<SocketAddr, EndpointKey>,
    /// From where an authentic check reached the bridge.
    validated: BTreeSet<SocketAddr>,
    /// Length of each request that reached the bridge.
    requests: BTreeMap<[u8; 12], usize>,
    /// Highest index and what was sent, by receiver and SSRC (T29).
    sealed: BTreeMap<(EndpointKey, u32), Sealed>,
    /// Conference of every SSRC that was ever signaled.
    owners: BTreeMap<u32, usize>,
    next_ssrc: u32,
    next_port: u16,
    next_fault: Time,
    faults: bool,
    next_talk: Time,
    calm: bool,
}

impl World {
    pub fn new(seed: u64) -> World {
        let mut random = Random::from_seed(seed);
        let workers = 1 + random.below(3) as usize;
        let spill_after = 1 + random.below(2) as usize;
        let local = "203.0.113.1:10000".parse().expect("an address");
        let mut driver = Driver::new(random.u64(), workers, spill_after, local);
        let conferences = ["a", "b"].map(|meeting| {
            let options = ConferenceOptions {
                meeting_id: meeting.into(),
                name: None,
            };
            driver
                .control
                .create_conference(Time::ZERO, options)
                .expect("a conference")
        });
        let mut world = World {
            totals: Totals::default(),
            now: Time::ZERO,
            driver,
            conferences: conferences.to_vec(),
            seats: Vec::new(),
            addresses: BTreeMap::new(),
            validated: BTreeSet::new(),
            requests: BTreeMap::new(),
            sealed: BTreeMap::new(),
            owners: BTreeMap::new(),
            next_ssrc: 1_000,
            next_port: 4_000,
            next_fault: Time::from_millis(3_000),
            faults: true,
            next_talk: Time::ZERO,
            calm: false,
            random,
        };
        for conference in 0..2 {
            for _ in 0..2 + world.random.below(2) {
                world.join(conference);
            }
        }
        world
    }

    /// Runs to the end; an error is a broken promise.
    pub fn run(&mut self) -> Result<Totals, String> {
        while self.now < Time::ZERO + END {
            self.step()?;
        }
        self.check_liveness()?;
        self.check_counts()?;
        for worker in &mut self.driver.workers {
            self.totals.handed_over += worker.counters().get(Counter::HandedOver);
        }
        Ok(self.totals)
    }

    fn step(&mut self) -> Result<(), String> {
        let mut next = self.driver.poll_timeout().min(self.next_talk);
        for seat in &self.seats {
            let links = seat
                .up
                .poll_timeout()
                .into_iter()
                .chain(seat.down.poll_timeout());
            next = links.fold(next.min(seat.peer.poll_timeout()), Time::min);
        }
        self.now = next.max(self.now + QUANTUM);
        let now = self.now;
        if self.faults && now >= self.next_fault {
            self.fault();
        }
        if self.faults && now >= Time::ZERO + FAULTS {
            self.faults = false;
            for seat in &mut self.seats {
                seat.up.set_config(now, LinkConfig::default());
                seat.down.set_config(now, LinkConfig::default());
            }
        }
        if !self.calm && now >= Time::ZERO + CALM {
            self.calm = true;
            for seat in &mut self.seats {
                let streams = seat.peer.video_streams.values_mut();
                for stream in streams.chain(seat.peer.audio_streams.values_mut()) {
                    stream.played.clear();
                }
            }
        }
        if now >= self.next_talk {
            self.next_talk = now + Duration::from_millis(1_500);
            let turn = now.as_millis() / 1_500;
            for conference in 0..2 {
                let members = self
                    .seats
                    .iter_mut()
                    .filter(|seat| seat.peer.conference == conference);
                let mut members: Vec<_> = members.collect();
                let speaker = turn as usize % members.len().max(1);
                for (at, seat) in members.iter_mut().enumerate() {
                    seat.peer.talking = at == speaker;
                }
            }
        }
        for seat in &mut self.seats {
            seat.peer.handle_timeout(now);
            while let Some(datagram) = seat.peer.out.pop_front() {
                let size = datagram.len();
                seat.up.send(now, size, (seat.peer.address, datagram));
            }
            while let Some((from, datagram)) = seat.up.poll(now) {
                if let Ok(message) = StunMessage::parse(&datagram)
                    && message.class() == stun::Class::Request
                {
                    self.validated.insert(from);
                    self.requests.insert(*message.transaction(), datagram.len());
                }
                self.driver.receive(now, from, datagram);
            }
        }
        self.driver.run(now);
        self.carry_secure();
        for (to, datagram) in std::mem::take(&mut self.driver.sent) {
            self.check_sent(to, &datagram)?;
            let size = datagram.len();
            if let Some(seat) = self.seats.iter_mut().find(|seat| seat.peer.address == to) {
                seat.down.send(now, size, (to, datagram));
            }
        }
        for index in 0..self.seats.len() {
            while let Some((to, datagram)) = self.seats[index].down.poll(now) {
                let peer = &mut self.seats[index].peer;
                if to == peer.address {
                    let received = peer.receive(now, &datagram);
                    received.map_err(|error| format!("{} at {now:?}: {error}", peer.id))?;
                }
            }
            self.check_conference(index)?;
        }
        Ok(())
    }

    fn carry_secure(&mut self) {
        for (key, message) in std::mem::take(&mut self.driver.secure) {
            let Some(seat) = self.seats.iter_mut().find(|seat| seat.peer.key == key) else {
                continue;
            };
            match message {
                Secure::Keys(keys) => {
                    seat.peer.set_keys(&keys);
                    let height = [180, 360, 720][self.random.below(3) as usize];
                    let wish = format!(
                        r#"{{"colibriClass":"ReceiverVideoConstraints","lastN":-1,"defaultConstraints":{{"maxHeight":{height}}}}}"#
                    );
                    // Behind `ChannelOpened`: the lane keeps its order.
                    self.driver.say(self.now, key, wish);
                }
                Secure::Text(text) => seat.peer.hear(&text),
            }
        }
    }

    /// What may leave the bridge at all.
    fn check_sent(&mut self, to: SocketAddr, datagram: &[u8]) -> Result<(), String> {
        let Some(receiver) = self
            .addresses
            .get(&to)
            .filter(|_| self.validated.contains(&to))
        else {
            return Err(format!(
                "T02: {} bytes to {to}, which was never checked",
                datagram.len()
            ));
        };
        match classify(datagram) {
            Some(Class::Stun) => {
                let message = StunMessage::parse(datagram).map_err(|error| error.to_string())?;
                if message.class() != stun::Class::Request {
                    let asked = self.requests.get(message.transaction());
                    if asked.is_none_or(|asked| datagram.len() > asked + STUN_GROWTH) {
                        return Err(format!("{} bytes answer {asked:?}", datagram.len()));
                    }
                }
            }
            Some(Class::Rtp) => {
                self.totals.rtp_sent += 1;
                let header = RtpHeader::parse(datagram).map_err(|error| error.to_string())?;
                let start = || (0x1_0000 + u64::from(header.sequence), BTreeMap::new());
                let stream = self
                    .sealed
                    .entry((*receiver, header.ssrc))
                    .or_insert_with(start);
                let ahead = header.sequence.wrapping_sub(stream.0 as u16) as i16;
                let index = stream.0.saturating_add_signed(ahead.into());
                stream.0 = stream.0.max(index);
                if let Some(before) = stream.1.insert(index, datagram.to_vec())
                    && before != datagram
                {
                    return Err(format!(
                        "T29: two packets for {receiver:?}, SSRC {}, index {index}",
                        header.ssrc
                    ));
                }
                while stream.1.len() > 3_000 {
                    stream.1.pop_first();
                }
            }
            Some(Class::Rtcp) => {}
            _ => return Err("a datagram of no known protocol".into()),
        }
        Ok(())
    }

    /// T71: whatever a receiver played came from its own conference.
    fn check_conference(&self, index: usize) -> Result<(), String> {
        let peer = &self.seats[index].peer;
        for stream in peer
            .video_streams
            .values()
            .chain(peer.audio_streams.values())
        {
            for ssrc in stream.sources() {
                if self.owners.get(&ssrc) != Some(&peer.conference) {
                    return Err(format!(
                        "T71: {} got SSRC {ssrc} of another conference",
                        peer.id
                    ));
                }
            }
        }
        Ok(())
    }

    /// Nothing is counted twice or lost, whoever left in between; and everybody who is here sends.
    fn check_counts(&mut self) -> Result<(), String> {
        for worker in &mut self.driver.workers {
            worker.handle_command(self.now, Command::CollectStats);
            let Some(Event::Stats(_, stats)) = worker.outputs().events.pop_back() else {
                return Err("a worker does not answer".into());
            };
            let total = |counter| stats.counters.get(counter);
            let sum = |of: fn(&EndpointStats) -> u64| stats.endpoints.iter().map(of).sum::<u64>();
            let received = sum(|it| it.packets_in) + total(Counter::GonePacketsIn);
            let sent = sum(|it| it.packets_out) + total(Counter::GonePacketsOut);
            if (received, sent) != (total(Counter::RtpIn), total(Counter::RtpOut)) {
                return Err(format!(
                    "{received} in and {sent} out: {:?}",
                    stats.counters
                ));
            }
            let sends = |it: &EndpointStats| it.media.sending_audio && it.media.sending_video;
            if let Some(silent) = stats.endpoints.iter().find(|it| !sends(it)) {
                return Err(format!("sends nothing: {silent:?}"));
            }
            let video_time = total(Counter::GoneVideoMillis);
            if total(Counter::KeyframesIn) == 0 && !stats.endpoints.is_empty() {
                return Err("no keyframe was counted".into());
            }
            if total(Counter::GonePacketsIn) > 1_000 && video_time == 0 {
                return Err("no video time was counted".into());
            }
        }
        Ok(())
    }

    fn check_liveness(&self) -> Result<(), String> {
        for seat in &self.seats {
            let receiver = &seat.peer;
            if !receiver.connected() {
                return Err(format!("{} is not connected in the end", receiver.id));
            }
            for other in &self.seats {
                let sender = &other.peer;
                if sender.conference != receiver.conference || sender.id == receiver.id {
                    continue;
                }
                let (audio, video, _) = ssrcs(sender.base_ssrc());
                let played = |streams: &BTreeMap<u32, Stream>, ssrc: u32| {
                    streams
                        .values()
                        .any(|stream| stream.played.contains_key(&ssrc))
                };
                if !video
                    .iter()
                    .any(|ssrc| played(&receiver.video_streams, *ssrc))
                {
                    return Err(format!(
                        "{} has no video of {} in the end",
                        receiver.id, sender.id
                    ));
                }
                if !played(&receiver.audio_streams, audio) {
                    return Err(format!(
                        "{} does not hear {} in the end",
                        receiver.id, sender.id
                    ));
                }
            }
        }
        Ok(())
    }

    fn credentials(&mut self) -> Credentials {
        Credentials::generate(&mut self.random, "", WorkerId(0))
    }

    fn address(&mut self) -> SocketAddr {
        self.next_port += 1;
        SocketAddr::from((
            [198, 51, 100, 1 + self.random.below(200) as u8],
            self.next_port,
        ))
    }

    fn join(&mut self, conference: usize) {
        self.totals.joins += 1;
        let now = self.now;
        let base = self.next_ssrc;
        self.next_ssrc += 10;
        let id = format!("p{base}");
        let options = EndpointOptions {
            diarize: false,
            id: id.as_str().into(),
            stats_id: None,
            ice_controlling: true,
            ssrc_rewriting: true,
            mid_demux: false,
            visitor: false,
            private_addresses: false,
            sctp: true,
        };
        let red = self.random.below(2) == 0;
        let control = &mut self.driver.control;
        let key = control
            .create_endpoint(now, self.conferences[conference], options)
            .expect("an endpoint");
        control
            .add_formats(now, key, formats(red))
            .expect("formats");
        let (audio, video, rtx) = ssrcs(base);
        let encoding = |(ssrc, rtx_ssrc)| EncodingDescription { ssrc, rtx_ssrc };
        let source = |kind, name: &str, encodings| NewSource {
            name: format!("{id}-{name}").as_str().into(),
            kind,
            video_type: None,
            encodings,
            synthetic: false,
        };
        let video_encodings = video.into_iter().zip(rtx.map(Some)).map(encoding).collect();
        let sources = vec![
            source(MediaKind::Audio, "a0", vec![encoding((audio, None))]),
            source(MediaKind::Video, "v0", video_encodings),
        ];
        control.set_sources(now, key, sources).expect("sources");
        let remote = control
            .local_transport(key)
            .expect("a transport")
            .credentials;
        let local = self.credentials();
        let transport = RemoteTransport {
            credentials: Some(local.clone()),
            ..RemoteTransport::default()
        };
        self.driver
            .control
            .set_remote_transport(now, key, transport)
            .expect("a transport");
        self.driver.settle(now);
        self.owners
            .extend((base..base + 10).map(|ssrc| (ssrc, conference)));
        let address = self.address();
        self.addresses.insert(address, key);
        let random = self.random.fork();
        let peer = Peer::new(
            now,
            random,
            (id, conference, key),
            address,
            (local, remote),
            base,
            red,
        );
        let quality = self.quality();
        self.seats.push(Seat {
            peer,
            up: Link::new(self.random.u64(), quality),
            down: Link::new(self.random.u64(), quality),
            quality,
        });
    }

    fn quality(&mut self) -> LinkConfig {
        let mut part = |most: f64| most * self.random.unit();
        LinkConfig {
            delay: Duration::from_secs_f64(0.005 + part(0.08)),
            jitter: Duration::from_secs_f64(part(0.01)),
            loss: part(0.06),
            duplicate: part(0.03),
            reorder: part(0.05),
            reorder_delay: Duration::from_secs_f64(part(0.06)),
            ..LinkConfig::default()
        }
    }

    fn fault(&mut self) {
        let now = self.now;
        self.next_fault = now + Duration::from_millis(300 + self.random.below(1_500));
        let at = self.random.below(self.seats.len() as u64) as usize;
        self.stranger();
        match self.random.below(7) {
            0 => {
                let gone = self.seats.remove(at).peer;
                self.driver.control.expire_endpoint(now, gone.key);
                self.driver.settle(now);
                self.join(gone.conference);
            }
            1 if self.seats.len() < 8 => {
                let conference = self.random.below(2) as usize;
                self.join(conference);
            }
            2 => {
                self.totals.moves += 1;
                let address = self.address();
                self.addresses.insert(address, self.seats[at].peer.key);
                self.seats[at].peer.move_to(now, address);
            }
            3 => {
                let worker = self.random.below(self.driver.workers.len() as u64) as usize;
                let pause = Duration::from_millis(200 + self.random.below(1_800));
                self.driver.stall(worker, now + pause);
            }
            4 => self.restart_ice(at),
            5 => {
                let outage = LinkConfig {
                    loss: 1.0,
                    ..self.seats[at].quality
                };
                self.seats[at].down.set_config(now, outage);
            }
            _ => {
                for index in 0..self.seats.len() {
                    let quality = self.quality();
                    self.seats[index].up.set_config(now, quality);
                    self.seats[index].down.set_config(now, quality);
                }
            }
        }
    }

    /// Somebody who knows a ufrag, but no password, from an address of its own.
    fn stranger(&mut self) {
        let address = self.address();
        let at = self.random.below(self.seats.len() as u64) as usize;
        let guess = self.credentials();
        let peer = &mut self.seats[at].peer;
        let remote = std::mem::replace(&mut peer.remote, guess);
        peer.remote.ufrag = remote.ufrag.clone();
        let check = peer.binding_request();
        peer.remote = remote;
        self.driver.receive(self.now, address, check);
    }

    fn restart_ice(&mut self, at: usize) {
        let now = self.now;
        let local = self.credentials();
        let peer = &mut self.seats[at].peer;
        if let RestartOutcome::Started(transport) = self.driver.control.restart_ice(now, peer.key) {
            let remote = RemoteTransport {
                credentials: Some(local.clone()),
                ice_generation: transport.ice_generation,
                ..RemoteTransport::default()
            };
            let set = self
                .driver
                .control
                .set_remote_transport(now, peer.key, remote);
            set.expect("the restart's transport");
            peer.restart(now, local, transport.credentials);
            self.totals.restarts += 1;
        }
        self.driver.settle(now);
    }
}
