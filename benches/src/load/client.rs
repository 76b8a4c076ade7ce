//! One participant: ICE, DTLS, SRTP, what it sends and what it receives. Sans-IO like the bridge.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use causeway_bridge::cc::{Mechanism, SendSideEstimator};
use causeway_bridge::config::{EstimatorConfig, IceConfig};
use causeway_bridge::ids::{Path, SocketId, WorkerId};
use causeway_bridge::limits;
use causeway_bridge::messages::RemoteIce;
use causeway_bridge::random::Random;
use causeway_bridge::srtp::{KeyingMaterial, Profile};
use causeway_bridge::time::Time;
use causeway_bridge::transport::ice::{Credentials, IceEvent, IceTransport};
use causeway_bridge::transport::secure::{
    Association, AssociationConfig, AssociationEvent, Certificate, Fingerprint, SctpRole, Setup,
};
use causeway_bridge::units::Bitrate;
use causeway_bridge::wire::demux::{Class, classify};
use causeway_bridge::wire::rtcp::{self, Compound, Element};
use causeway_bridge::wire::stun::{self, StunMessage};
use causeway_bridge::wire::twcc;
use causeway_bridge::worker::egress::{ChainHint, Egress};

use super::clock::Clock;
use super::floor;
use super::formats::{self, Kind};
use super::inbounds::Inbounds;
use super::outlet::Outlet;
use super::receiver::Receiver;
use super::sender::{Audio, Video};
use super::stats::Stats;

/// How often feedback is sent, as browsers do.
const FEEDBACK: Duration = Duration::from_millis(100);
/// How often missing packets are looked for.
const TICK: Duration = Duration::from_millis(20);
/// How often a client says hello to a floor until it answers.
const HELLO_AGAIN: Duration = Duration::from_millis(100);
/// What an encoder begins with, as in browsers.
const FIRST_BUDGET: Bitrate = Bitrate::kbps(300);
/// What audio takes of an uplink, with all headers, bits per second.
const AUDIO_RATE: f64 = 60_000.0;
/// What was carried for this long is steady.
const STEADY: Duration = Duration::from_secs(3);
/// The part of a packet of video that its encoder made.
const MADE: f64 = 0.92;
/// How often reports are sent.
const REPORT: Duration = Duration::from_secs(1);

/// What is known of the bridge's side before a client connects.
#[derive(Clone, Debug)]
pub struct Remote {
    pub credentials: Credentials,
    pub candidates: Vec<SocketAddr>,
    pub fingerprints: Vec<Fingerprint>,
}

/// What a client sends.
#[derive(Debug, Default)]
pub struct Sources {
    pub audio: Option<Audio>,
    pub videos: Vec<Video>,
}

/// Its own side.
pub struct Local {
    pub number: u32,
    /// See [`formats::ssrc`].
    pub identity: u32,
    pub credentials: Credentials,
    pub certificate: Arc<Certificate>,
    pub profiles: Vec<Profile>,
    pub address: SocketAddr,
    pub random: Random,
    /// When its first request was sent.
    pub joining_since: Time,
    /// Its bridge channel is a data channel.
    pub sctp: bool,
}

/// Ticks of different clients are spread.
pub fn phase(random: &mut Random) -> Duration {
    Duration::from_micros(random.below(FEEDBACK.as_micros() as u64))
}

/// What a call works with.
pub struct Context<'a> {
    pub now: Time,
    pub clock: &'a Clock,
    pub egress: &'a mut Egress,
    pub stats: &'a mut Stats,
    /// Time that lines of clients add on purpose: up, and both ways.
    pub delays: (Duration, Duration),
}

/// The way to the other side.
enum Link {
    /// A bridge.
    Ice(Box<IceTransport>),
    /// A floor.
    Fixed {
        path: Path,
        /// When the next hello is due; none after it was answered.
        next_hello: Option<Time>,
    },
}

impl Link {
    fn send_path(&self, now: Time) -> Option<Path> {
        match self {
            Link::Ice(ice) => ice.send_path(now),
            Link::Fixed { path, .. } => Some(*path),
        }
    }

    fn poll_timeout(&self) -> Option<Time> {
        match self {
            Link::Ice(ice) => ice.poll_timeout(),
            Link::Fixed { next_hello, .. } => *next_hello,
        }
    }
}

/// A participant.
pub struct Client {
    pub number: u32,
    link: Link,
    association: Option<Box<Association>>,
    sctp: bool,
    /// What is to be said when the data channel is open, and what was heard on it.
    unsaid: Vec<String>,
    heard: Vec<String>,
    outlet: Option<Outlet>,
    inbounds: Inbounds,
    pub sources: Sources,
    pub receiver: Receiver,
    /// Recent estimates of what the uplink carries, bits per second, each below those that follow: the first is the least.
    estimates: VecDeque<(Time, f64)>,
    /// SSRC that its RTCP comes from.
    own_ssrc: u32,
    joining_since: Time,
    failed: bool,
    /// There is no path to the other side any more: what is due waits for one.
    stranded: bool,
    next_tick: Time,
    next_feedback: Time,
    next_report: Time,
    scratch: Box<[u8; 2_048]>,
}

impl Client {
    /// A client that begins to connect.
    pub fn new(
        clock: &Clock,
        now: Time,
        mut local: Local,
        remote: Remote,
        sources: Sources,
    ) -> Client {
        let config = IceConfig {
            allow_loopback_remotes: true,
            ..IceConfig::default()
        };
        let sockets: Arc<[SocketAddr]> = vec![local.address].into();
        let mut ice = IceTransport::new(
            Arc::new(config),
            WorkerId(0),
            local.credentials,
            false,
            sockets,
            local.random.fork(),
            now,
        );
        ice.set_remote(
            now,
            RemoteIce {
                credentials: Some(remote.credentials),
                candidates: remote.candidates,
                generation: None,
            },
        );
        let config = AssociationConfig {
            certificate: local.certificate,
            profiles: local.profiles,
            accept_sha1: false,
            handshake_timeout: limits::HANDSHAKE_TIMEOUT,
            sctp: local.sctp.then_some(SctpRole::Client),
            base: clock.zero(),
        };
        let mut association = Association::new(config, local.random.fork());
        association.set_remote(now, remote.fingerprints, Some(Setup::Passive));
        let phase = phase(&mut local.random);
        Client {
            association: Some(Box::new(association)),
            sctp: local.sctp,
            ..Client::with(
                (local.number, local.identity),
                Link::Ice(Box::new(ice)),
                sources,
                now,
                phase,
                local.joining_since,
            )
        }
    }

    /// A client of a floor, which needs no more than to be known. It sends reports and feedback with this phase, or none, since nobody
    /// reads them.
    pub fn fixed(
        now: Time,
        number: u32,
        keys: KeyingMaterial,
        remote: SocketAddr,
        sources: Sources,
        feedback: Option<Duration>,
    ) -> Client {
        let link = Link::Fixed {
            path: Path {
                socket: SocketId(0),
                remote,
            },
            next_hello: Some(now),
        };
        let phase = feedback.unwrap_or_default();
        let mut client = Client::with((number, number), link, sources, now, phase, now);
        client.use_keys(keys);
        client.receiver.from_floor = true;
        if feedback.is_none() {
            client.next_tick = Time::FAR;
            client.next_report = Time::FAR;
        }
        client
    }

    fn with(
        (number, identity): (u32, u32),
        link: Link,
        sources: Sources,
        now: Time,
        phase: Duration,
        joining_since: Time,
    ) -> Client {
        let audio = sources.audio.as_ref().map(|audio| audio.ssrc);
        Client {
            number,
            link,
            association: None,
            sctp: false,
            unsaid: Vec::new(),
            heard: Vec::new(),
            outlet: None,
            inbounds: Inbounds::default(),
            sources,
            receiver: Receiver::new(joining_since),
            estimates: VecDeque::new(),
            own_ssrc: audio.unwrap_or_else(|| formats::ssrc(identity, Kind::Audio, 0)),
            joining_since,
            failed: false,
            stranded: false,
            next_tick: now + phase,
            next_feedback: now + phase,
            next_report: now + phase,
            scratch: Box::new([0; 2_048]),
        }
    }

    /// From now on what is sent follows the other side's transport-wide feedback. It needs keys.
    pub fn adapt(&mut self) {
        let config = EstimatorConfig {
            initial: FIRST_BUDGET,
            ..EstimatorConfig::default()
        };
        if let Some(outlet) = &mut self.outlet {
            let estimator = SendSideEstimator::new(config, Mechanism::TransportCc);
            outlet.estimator = Some(Box::new(estimator));
        }
        self.follow(Time::ZERO);
    }

    /// What the uplink carries, if that is followed.
    pub fn estimate(&self) -> Option<Bitrate> {
        self.outlet.as_ref()?.estimator.as_ref()?.estimate()
    }

    /// Keeps encoders to what the uplink carries.
    fn follow(&mut self, now: Time) {
        let videos = &mut self.sources.videos;
        let estimator = self.outlet.as_mut().and_then(|it| it.estimator.as_mut());
        let Some(estimator) = estimator else { return };
        let estimate = estimator.estimate().map_or(0.0, |it| it.as_bps() as f64);
        let estimates = &mut self.estimates;
        while estimates.front().is_some_and(|(at, _)| now - *at > STEADY) {
            estimates.pop_front();
        }
        while estimates
            .back()
            .is_some_and(|(_, known)| *known >= estimate)
        {
            estimates.pop_back();
        }
        estimates.push_back((now, estimate));
        let steady = estimates.front().map_or(estimate, |(_, least)| *least);
        let count = videos.len().max(1) as f64;
        let budget = |estimate: f64| (estimate - AUDIO_RATE) * MADE / count;
        let (mut sent, mut wanted) = (AUDIO_RATE, AUDIO_RATE);
        for video in videos {
            video.set_budget(budget(estimate), budget(steady));
            let rates = video.rates();
            sent += rates.0 / MADE;
            wanted += rates.1 / MADE;
        }
        let rate = |bps: f64| Bitrate::bps(bps as u64);
        estimator.set_demand(now, rate(sent), rate(wanted), false);
    }

    /// Finds out whether the uplink carries more.
    fn probe(&mut self, context: &mut Context<'_>, path: Path) {
        let now = context.now;
        let Some(outlet) = &mut self.outlet else {
            return;
        };
        let Some(video) = self.sources.videos.first_mut() else {
            return;
        };
        loop {
            let Some(estimator) = &mut outlet.estimator else {
                return;
            };
            if estimator.poll_timeout().is_none_or(|at| at > now) {
                return;
            }
            estimator.handle_timeout(now);
            let burst = estimator.poll_probe(now);
            let bytes = match burst {
                Some(burst) => Some(burst.bytes),
                None => estimator.poll_padding(now),
            };
            let Some(bytes) = bytes else { return };
            outlet.cluster = burst.map(|burst| burst.cluster);
            let before = outlet.packets;
            video.probe(now, (context.egress, path), outlet, bytes);
            outlet.cluster = None;
            if outlet.packets == before {
                return;
            }
        }
    }

    /// Whether media can flow.
    pub fn is_connected(&self) -> bool {
        self.outlet.is_some()
    }

    /// Whether the other side knows it.
    pub fn is_ready(&self) -> bool {
        match self.link {
            Link::Ice(_) => self.is_connected(),
            Link::Fixed { next_hello, .. } => next_hello.is_none(),
        }
    }

    /// Whether it never will.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// Packets and bytes that it sent so far.
    fn sent(&self) -> (u64, u64) {
        self.outlet
            .as_ref()
            .map_or((0, 0), |outlet| (outlet.packets, outlet.bytes))
    }

    pub fn poll_timeout(&self) -> Time {
        let ice = self.link.poll_timeout();
        let association = self
            .association
            .as_ref()
            .and_then(|association| association.poll_timeout());
        let transport = ice
            .into_iter()
            .chain(association)
            .min()
            .unwrap_or(Time::FAR);
        if self.outlet.is_none() || self.stranded {
            return transport;
        }
        let audio = self.sources.audio.as_ref().map(Audio::poll_timeout);
        let videos = self.sources.videos.iter().filter_map(Video::poll_timeout);
        let media = audio.into_iter().chain(videos).min().unwrap_or(Time::FAR);
        let mut own = self.next_report;
        if self.receiver.is_busy() {
            own = own.min(self.next_tick);
        }
        let outlet = self.outlet.as_ref();
        let probe = outlet.and_then(|it| it.estimator.as_ref()?.poll_timeout());
        transport
            .min(media)
            .min(own)
            .min(probe.unwrap_or(Time::FAR))
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        match &mut self.link {
            Link::Ice(ice) => {
                if ice.poll_timeout().is_some_and(|at| at <= now) {
                    ice.handle_timeout(now);
                }
            }
            Link::Fixed { path, next_hello } => {
                if next_hello.is_some_and(|at| at <= now) {
                    *next_hello = Some(now + HELLO_AGAIN);
                    let hello = floor::hello(self.number);
                    context
                        .egress
                        .push(*path, &hello, &mut ChainHint::default());
                }
            }
        }
        if let Some(association) = &mut self.association
            && association.poll_timeout().is_some_and(|at| at <= now)
        {
            association.handle_timeout(now);
        }
        self.transmit(context);
        self.send_media(context);
    }

    fn send_media(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        let before = self.sent();
        let path = self.link.send_path(now);
        self.stranded = path.is_none();
        let (Some(path), Some(outlet)) = (path, &mut self.outlet) else {
            return;
        };
        let audio = self.sources.audio.as_mut();
        let lag = audio.and_then(|audio| audio.handle_timeout(now, (context.egress, path), outlet));
        let mut lags = [lag, None, None];
        for (video, lag) in self.sources.videos.iter_mut().zip(&mut lags[1..]) {
            *lag = video.handle_timeout(now, (context.egress, path), outlet);
        }
        for lag in lags.into_iter().flatten() {
            context.stats.send_lag.record(lag);
        }
        self.probe(context, path);
        if self.next_tick <= now {
            self.next_tick = now + TICK;
            self.repair(context, path);
            if self.next_feedback <= now {
                self.next_feedback = now + FEEDBACK;
                self.feedback(context, path);
            }
        }
        if self.next_report <= now {
            self.next_report = now + REPORT;
            self.report(context, path);
        }
        let after = self.sent();
        context.stats.sent_packets += after.0 - before.0;
        context.stats.sent_bytes += after.1 - before.1;
    }

    /// Asks for what is missing.
    fn repair(&mut self, context: &mut Context<'_>, path: Path) {
        let Some(outlet) = &mut self.outlet else {
            return;
        };
        let own = self.own_ssrc;
        let mut buffer = [0; 1_200];
        for stream in self.receiver.videos() {
            let lost = stream.nacks(context.now);
            let mut compound = Compound::new(&mut buffer);
            let mut wrote = false;
            if !lost.is_empty() {
                context.stats.nacked_by_clients += lost.len() as u64;
                wrote |= compound.nack(own, stream.ssrc, lost);
            }
            if stream.wants_keyframe(context.now) {
                context.stats.keyframe_requests += 1;
                wrote |= compound.pli(own, stream.ssrc);
            }
            if wrote {
                let len = compound.len();
                outlet.rtcp((context.egress, path), &buffer[..len]);
            }
        }
    }

    fn feedback(&mut self, context: &mut Context<'_>, path: Path) {
        let Some(outlet) = &mut self.outlet else {
            return;
        };
        let media = self.receiver.any_ssrc().unwrap_or(self.own_ssrc);
        let egress = &mut *context.egress;
        self.receiver
            .arrivals
            .report(self.own_ssrc, media, |packet| {
                outlet.rtcp((&mut *egress, path), packet);
            });
    }

    /// Sender reports, and receiver reports about what comes.
    fn report(&mut self, context: &mut Context<'_>, path: Path) {
        let now = context.now;
        let Some(outlet) = &mut self.outlet else {
            return;
        };
        let ntp = context.clock.ntp(now);
        let mut blocks = self.receiver.reports(now);
        let mut buffer = [0; 1_200];
        let mut compound = Compound::new(&mut buffer);
        let audio = self
            .sources
            .audio
            .as_ref()
            .map(|audio| audio.report(now, ntp));
        let videos = self
            .sources
            .videos
            .iter()
            .flat_map(|video| video.reports(now, ntp));
        let mut wrote = true;
        for info in audio.into_iter().chain(videos) {
            let rest = blocks.split_off(blocks.len().min(rtcp::MAX_REPORT_BLOCKS));
            wrote &= compound.sender_report(&info, &blocks);
            blocks = rest;
        }
        if compound.is_empty() || !blocks.is_empty() {
            for blocks in blocks.chunks(rtcp::MAX_REPORT_BLOCKS).take(1) {
                wrote &= compound.receiver_report(self.own_ssrc, blocks);
            }
            if compound.is_empty() {
                wrote &= compound.receiver_report(self.own_ssrc, &[]);
            }
        }
        wrote &= compound.cname(self.own_ssrc, "causeway-load");
        debug_assert!(wrote, "reports fit into a datagram");
        let len = compound.len();
        outlet.rtcp((context.egress, path), &buffer[..len]);
    }

    /// Takes a datagram that the kernel got at `arrived`.
    pub fn handle_datagram(
        &mut self,
        context: &mut Context<'_>,
        remote: SocketAddr,
        arrived: Time,
        datagram: &[u8],
    ) {
        let path = Path {
            socket: SocketId(0),
            remote,
        };
        match classify(datagram) {
            Some(Class::Rtp) => self.handle_rtp(context, arrived, datagram),
            Some(Class::Rtcp) => self.handle_rtcp(context, path, datagram),
            Some(Class::Stun) => {
                if let Link::Ice(ice) = &mut self.link
                    && let Ok(message) = StunMessage::parse(datagram)
                {
                    // What is refused gets no answer.
                    let _ = match message.class() {
                        stun::Class::Request => ice.handle_request(context.now, path, &message),
                        _ => ice.handle_response(context.now, path, &message),
                    };
                }
                self.transmit(context);
            }
            Some(Class::Dtls) => {
                if let Some(association) = &mut self.association {
                    association.handle_datagram(context.now, datagram);
                }
                self.transmit(context);
            }
            None => match &mut self.link {
                Link::Fixed { next_hello, .. } if datagram.starts_with(&floor::HELLO) => {
                    *next_hello = None;
                }
                _ => context.stats.bad_packets += 1,
            },
        }
    }

    fn handle_rtp(&mut self, context: &mut Context<'_>, arrived: Time, datagram: &[u8]) {
        let stats = &mut *context.stats;
        stats.received_packets += 1;
        stats.received_bytes += datagram.len() as u64;
        stats
            .receive_lag
            .record((context.now - arrived).saturating_sub(context.delays.1));
        // What the lines of both clients add is not the bridge's.
        let arrived = arrived - context.delays.0;
        let out = &mut self.scratch[..];
        match self.inbounds.open(datagram, out) {
            Some((header, len)) => {
                self.receiver
                    .receive(context.now, arrived, &header, &out[..len], stats);
            }
            None => stats.bad_packets += 1,
        }
    }

    fn handle_rtcp(&mut self, context: &mut Context<'_>, path: Path, datagram: &[u8]) {
        context.stats.rtcp_packets += 1;
        let now = context.now;
        let before = self.sent();
        let Some(len) = self.inbounds.open_rtcp(datagram, &mut self.scratch[..]) else {
            context.stats.bad_packets += 1;
            return;
        };
        let Some(outlet) = &mut self.outlet else {
            return;
        };
        let mut followed = false;
        for element in rtcp::elements(&self.scratch[..len]).map_while(Result::ok) {
            let videos = &mut self.sources.videos;
            match element {
                Element::Pli { media, .. } => {
                    context.stats.keyframes_asked += 1;
                    videos.iter_mut().any(|video| video.ask_keyframe(media));
                }
                Element::Fir { entries, .. } => {
                    for (ssrc, _) in entries {
                        context.stats.keyframes_asked += 1;
                        videos.iter_mut().any(|video| video.ask_keyframe(ssrc));
                    }
                }
                Element::Nack { media, lost, .. } => {
                    for video in videos {
                        let out = (&mut *context.egress, path);
                        if let Some(count) = video.resend(now, out, outlet, media, lost.clone()) {
                            context.stats.nacked_by_bridge += count;
                            break;
                        }
                    }
                }
                Element::TransportFeedback { body, .. } => {
                    if let Some(estimator) = &mut outlet.estimator
                        && let Ok(feedback) = twcc::Feedback::parse(body)
                    {
                        estimator.on_feedback(now, &feedback);
                        followed = true;
                    }
                }
                Element::SenderReport { ssrc, ntp, .. } => {
                    self.receiver.note_sender_report(now, ssrc, ntp);
                }
                _ => {}
            }
        }
        if followed {
            self.follow(now);
        }
        let after = self.sent();
        context.stats.sent_packets += after.0 - before.0;
        context.stats.sent_bytes += after.1 - before.1;
    }

    /// Lets out what ICE and DTLS want to send.
    fn transmit(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        let Link::Ice(ice) = &mut self.link else {
            return;
        };
        let mut buffer = [0; stun::MAX_WRITTEN];
        while let Some((path, len)) = ice.poll_transmit(&mut buffer) {
            context
                .egress
                .push(path, &buffer[..len], &mut ChainHint::default());
        }
        while let Some(event) = ice.poll_event() {
            match (event, &mut self.association) {
                (IceEvent::Connected(_), Some(association)) => {
                    association.writable(now);
                }
                (IceEvent::Failed, _) => self.failed = true,
                _ => {}
            }
        }
        let Some(association) = &mut self.association else {
            return;
        };
        let path = self.link.send_path(now);
        while let Some(datagram) = association.poll_transmit() {
            if let Some(path) = path {
                context
                    .egress
                    .push(path, &datagram, &mut ChainHint::default());
            }
        }
        let (mut keys, mut opened) = (None, false);
        while let Some(event) = association.poll_event() {
            match event {
                AssociationEvent::Connected(material) => keys = Some(material),
                AssociationEvent::Failed(_) => self.failed = true,
                AssociationEvent::ChannelOpen => {
                    context.stats.channels_open += 1;
                    opened = true;
                }
                AssociationEvent::Message(text) => self.heard.push(text),
                AssociationEvent::ChannelClosed => context.stats.channels_lost += 1,
            }
        }
        if let Some(keys) = keys {
            self.use_keys(keys);
            context.stats.connect.record(now - self.joining_since);
            if !self.sctp {
                // The last flight was the bridge's: nothing can be asked of us any more.
                self.association = None;
            }
        }
        if opened {
            for text in std::mem::take(&mut self.unsaid) {
                self.say(context, text);
            }
        }
    }

    /// Says something on the data channel, as soon as that is open.
    pub fn say(&mut self, context: &mut Context<'_>, text: String) {
        let Some(association) = &mut self.association else {
            return;
        };
        if !association.has_channel() {
            self.unsaid.push(text);
            return;
        }
        // A bridge that does not read any more is a broken channel.
        if association.send_text(context.now, &text).is_err() {
            context.stats.channels_lost += 1;
        }
        self.transmit(context);
    }

    /// What was heard on the data channel since the last call.
    pub fn take_heard(&mut self) -> Vec<String> {
        std::mem::take(&mut self.heard)
    }

    fn use_keys(&mut self, keys: KeyingMaterial) {
        self.outlet = Some(Outlet::new(keys.outbound()));
        self.inbounds = Inbounds::new(keys);
    }
}
