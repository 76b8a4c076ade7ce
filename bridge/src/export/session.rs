//! One export: when to connect, what to send, what was said.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::events::{self, CustomParameters, Event, Heard, Media, OPUS, Start, Text};
use super::{ExportSettings, ExportSetup, Exported, Pings, Received};
use crate::ids::SourceName;
use crate::limits::{
    EXPORT_MESSAGES_PER_SECOND, EXPORT_QUEUE, MAX_EXPORT_EVENTS, MAX_EXPORT_STREAMS,
};
use crate::projection::Payload;
use crate::time::Time;
use crate::token_bucket::TokenBucket;
use crate::worker::packet::AUDIO_LEVEL;

/// Ticks of the Opus clock in a second.
const CLOCK: u128 = 48_000;
/// A source whose clock is so far from ours, in ticks, begins a new one.
const CLOCK_JUMP: u64 = 10 * 48_000;
/// Shortest interval and timeout of pings.
const MIN_PING: Duration = Duration::from_millis(100);

/// How lost connections are made anew (`videobridge.exporter`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionOptions {
    /// Wait before the second retry; the first is made at once. Doubles with each.
    pub base_delay: Duration,
    /// Longest wait.
    pub max_delay: Duration,
    /// A connection that lived so long makes the next retry the first.
    pub stable: Duration,
    /// Retries in a row; `None` = no limit.
    pub max_attempts: Option<u32>,
}

impl Default for SessionOptions {
    fn default() -> SessionOptions {
        SessionOptions {
            base_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(30),
            stable: Duration::from_secs(30),
            max_attempts: None,
        }
    }
}

/// What the driver shall do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Open the websocket; tell the outcome with [`Session::connected`] or [`Session::disconnected`].
    Connect,
    /// Close the websocket, for the peer is silent, and tell with [`Session::disconnected`].
    Disconnect,
    /// Send what waits, close the websocket and forget the session.
    End,
}

/// What a session counted.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SessionCounters {
    /// Connections that failed or were lost.
    pub failures: u64,
    /// Sources begun.
    pub starts: u64,
    /// Packets put out.
    pub packets_sent: u64,
    /// Packets dropped because the peer does not keep up.
    pub packets_dropped: u64,
    /// Transcripts received.
    pub transcripts: u64,
    /// Packets received.
    pub media: u64,
    /// Starts and stops received.
    pub sending_changes: u64,
    /// Infos received.
    pub infos: u64,
    /// Pongs and events that are not known received.
    pub others: u64,
    /// Received texts that could not be read.
    pub malformed: u64,
    /// Received texts beyond [`EXPORT_MESSAGES_PER_SECOND`].
    pub over_budget: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// The next attempt is due at that time.
    Waiting(Time),
    Connecting,
    /// Since that time.
    Open(Time),
    /// Too many attempts failed.
    GivenUp,
    Stopping,
    Ended,
}

/// A source as the peer knows it.
#[derive(Debug)]
struct Stream {
    ssrc: u32,
    /// RTP timestamp of the latest packet, and where that is on the session's time line.
    latest: u32,
    position: u64,
}

impl Stream {
    /// Where a packet is on the time line that all sources share; `clock` is where it would be if it came without delay.
    fn place(&mut self, timestamp: u32, clock: u64) -> u64 {
        let step = i64::from(timestamp.wrapping_sub(self.latest) as i32);
        let mut position = self.position.saturating_add_signed(step);
        if position.abs_diff(clock) > CLOCK_JUMP {
            position = clock;
        } else if step < 0 {
            // Late: what comes next is placed from the newest.
            return position;
        }
        self.latest = timestamp;
        self.position = position;
        position
    }
}

/// A waiting event.
#[derive(Debug)]
struct Waiting {
    text: String,
    media: bool,
}

/// One export's protocol, without a socket.
///
/// After each call, and when [`Session::poll_timeout`] is due, do what [`Session::poll_action`] says and send
/// [`Session::next_event`] as far as the socket takes it.
#[derive(Debug)]
pub struct Session {
    options: SessionOptions,
    audio: bool,
    pings: Option<Pings>,
    exports: Vec<SourceName>,
    requests: Vec<SourceName>,
    /// The first event of each connection.
    info: String,
    began: Time,
    state: State,
    attempts: u32,
    sequence: u64,
    streams: BTreeMap<SourceName, Stream>,
    queue: VecDeque<Waiting>,
    waiting_media: usize,
    ping: u32,
    next_ping: Time,
    /// Until when the pong to the latest ping must come.
    pong_due: Option<Time>,
    budget: TokenBucket,
    counters: SessionCounters,
}

impl Session {
    /// A session that wants to connect at once. `version` is what the bridge calls itself.
    pub fn new(now: Time, setup: &ExportSetup, options: SessionOptions, version: &str) -> Session {
        let ExportSettings {
            audio,
            pings,
            exports,
            requests,
            ..
        } = &setup.settings;
        let info = Event::Info {
            application: "causeway",
            version,
            meeting_id: setup.meeting_id.as_str(),
        };
        Session {
            options,
            audio: *audio,
            pings: pings.map(|pings| Pings {
                interval: pings.interval.max(MIN_PING),
                timeout: pings.timeout.max(MIN_PING),
            }),
            exports: exports.clone(),
            requests: requests.clone(),
            info: info.to_json(),
            began: now,
            state: State::Waiting(now),
            attempts: 0,
            sequence: 0,
            streams: BTreeMap::new(),
            queue: VecDeque::new(),
            waiting_media: 0,
            ping: 0,
            next_ping: Time::FAR,
            pong_due: None,
            budget: TokenBucket::new(EXPORT_MESSAGES_PER_SECOND, EXPORT_MESSAGES_PER_SECOND),
            counters: SessionCounters::default(),
        }
    }

    /// What it counted so far.
    pub fn counters(&self) -> SessionCounters {
        self.counters
    }

    /// Whether it will never connect again, because too many attempts failed.
    pub fn has_given_up(&self) -> bool {
        self.state == State::GivenUp
    }

    /// What to do now.
    pub fn poll_action(&mut self, now: Time) -> Option<Action> {
        match self.state {
            State::Waiting(due) if due <= now => {
                self.state = State::Connecting;
                Some(Action::Connect)
            }
            State::Open(_) if self.pong_due.is_some_and(|due| due <= now) => {
                self.pong_due = None;
                self.next_ping = Time::FAR;
                Some(Action::Disconnect)
            }
            State::Open(_) => {
                self.ping_if_due(now);
                None
            }
            State::Stopping => {
                self.state = State::Ended;
                Some(Action::End)
            }
            _ => None,
        }
    }

    /// When [`Session::poll_action`] is to be asked again.
    pub fn poll_timeout(&self) -> Option<Time> {
        match self.state {
            State::Waiting(due) => Some(due),
            State::Open(_) => {
                let due = self.pong_due.map_or(self.next_ping, |due| due);
                Some(due).filter(|due| *due != Time::FAR)
            }
            _ => None,
        }
    }

    /// The websocket is open.
    pub fn connected(&mut self, now: Time) {
        if self.state != State::Connecting {
            return;
        }
        self.state = State::Open(now);
        let info = self.info.clone();
        self.put(info);
        if !self.exports.is_empty() || !self.requests.is_empty() {
            self.announce_sources();
        }
        if let Some(pings) = self.pings {
            self.next_ping = now + pings.interval;
        }
    }

    /// There is no websocket, or no longer.
    pub fn disconnected(&mut self, now: Time) {
        match self.state {
            State::Connecting => {}
            State::Open(since) => {
                if now - since >= self.options.stable {
                    self.attempts = 0;
                }
            }
            _ => return,
        }
        self.counters.failures += 1;
        self.counters.packets_dropped += self.waiting_media as u64;
        self.queue.clear();
        self.waiting_media = 0;
        self.streams.clear();
        self.pong_due = None;
        self.next_ping = Time::FAR;
        if self
            .options
            .max_attempts
            .is_some_and(|most| self.attempts >= most)
        {
            self.state = State::GivenUp;
            return;
        }
        let delay = match self.attempts {
            0 => Duration::ZERO,
            n => {
                let factor = 2u32.saturating_pow(n - 1);
                self.options
                    .base_delay
                    .saturating_mul(factor)
                    .min(self.options.max_delay)
            }
        };
        self.attempts = self.attempts.saturating_add(1);
        self.state = State::Waiting(now + delay);
    }

    /// The lists of sources changed: the peer is told.
    pub fn update(&mut self, exports: Vec<SourceName>, requests: Vec<SourceName>) {
        self.exports = exports;
        self.requests = requests;
        if matches!(self.state, State::Open(_)) {
            self.announce_sources();
        }
    }

    /// Ends: what media waits is dropped, the peer is told.
    pub fn stop(&mut self) {
        if matches!(self.state, State::Open(_)) {
            self.queue.retain(|waiting| !waiting.media);
            self.waiting_media = 0;
            self.put(Event::SessionEnd.to_json());
        } else {
            self.queue.clear();
        }
        self.state = State::Stopping;
    }

    /// A packet of the conference. It is sent if the websocket is open and its source is exported.
    pub fn media(&mut self, now: Time, exported: &Exported) {
        let wanted = self.audio
            && matches!(self.state, State::Open(_))
            && (self.exports.is_empty() || self.exports.contains(&exported.source));
        let packet = &exported.packet;
        let payload = match &packet.descriptor {
            Payload::Red(red) => red.primary(packet.payload()),
            _ => packet.payload(),
        };
        if !wanted || payload.is_empty() {
            return;
        }
        let clock = (now - self.began).as_micros() * CLOCK / 1_000_000;
        let clock = u64::try_from(clock).unwrap_or(u64::MAX);
        let (ssrc, timestamp) = (packet.header.ssrc, packet.header.timestamp);
        let known = self.streams.get_mut(&exported.source);
        let position = match known.filter(|stream| stream.ssrc == ssrc) {
            Some(stream) => stream.place(timestamp, clock),
            None => {
                if self.streams.len() >= MAX_EXPORT_STREAMS {
                    self.streams.clear();
                }
                let stream = Stream {
                    ssrc,
                    latest: timestamp,
                    position: clock,
                };
                self.streams.insert(exported.source.clone(), stream);
                self.start(exported);
                clock
            }
        };
        self.sequence += 1;
        let level = packet.kept(AUDIO_LEVEL).and_then(|level| level.first());
        let event = Event::Media {
            sequence: Text(self.sequence),
            media: Media {
                tag: exported.source.as_str(),
                chunk: Text(packet.original),
                timestamp: Text(position),
                payload,
                audio_level: level.map(|level| level & 0x7F),
                vad: level.map(|level| level & 0x80 != 0),
            },
        };
        if self.waiting_media >= EXPORT_QUEUE
            && let Some(oldest) = self.queue.iter().position(|waiting| waiting.media)
        {
            self.queue.remove(oldest);
            self.waiting_media -= 1;
            self.counters.packets_dropped += 1;
        }
        self.queue.push_back(Waiting {
            text: event.to_json(),
            media: true,
        });
        self.waiting_media += 1;
    }

    fn start(&mut self, exported: &Exported) {
        self.sequence += 1;
        self.counters.starts += 1;
        let event = Event::Start {
            sequence: Text(self.sequence),
            start: Start {
                tag: exported.source.as_str(),
                media_format: OPUS,
                custom_parameters: CustomParameters {
                    endpoint_id: exported.owner.as_str(),
                },
                diarize: exported.diarize.then_some(true),
            },
        };
        let text = event.to_json();
        self.put(text);
    }

    /// A text from the peer; what of it concerns the conference.
    pub fn receive(&mut self, now: Time, text: &str) -> Option<Received> {
        if !self.budget.take(now, 1, 0) {
            self.counters.over_budget += 1;
            return None;
        }
        let Some(heard) = events::read(text) else {
            self.counters.malformed += 1;
            return None;
        };
        let counters = &mut self.counters;
        match heard {
            Heard::Received(received) => {
                *match &received {
                    Received::Transcript(_) => &mut counters.transcripts,
                    Received::Media { .. } => &mut counters.media,
                    Received::Sending { .. } => &mut counters.sending_changes,
                } += 1;
                return Some(received);
            }
            Heard::Pong(id) => {
                counters.others += 1;
                if id == u64::from(self.ping) {
                    self.pong_due = None;
                }
            }
            Heard::Info => counters.infos += 1,
            Heard::Other => counters.others += 1,
        }
        None
    }

    /// Whether [`Session::next_event`] has one.
    pub fn has_event(&self) -> bool {
        !self.queue.is_empty()
    }

    /// The next text to send.
    pub fn next_event(&mut self) -> Option<String> {
        let waiting = self.queue.pop_front()?;
        if waiting.media {
            self.waiting_media -= 1;
            self.counters.packets_sent += 1;
        }
        Some(waiting.text)
    }

    fn ping_if_due(&mut self, now: Time) {
        let Some(pings) = self.pings else {
            return;
        };
        if self.next_ping > now || self.pong_due.is_some() {
            return;
        }
        self.ping = self.ping.wrapping_add(1);
        self.put(Event::Ping { id: self.ping }.to_json());
        self.pong_due = Some(now + pings.timeout);
        self.next_ping = (self.next_ping + pings.interval).max(now);
    }

    fn announce_sources(&mut self) {
        let event = Event::Sources {
            exports: events::names(&self.exports),
            requests: events::names(&self.requests),
        };
        let text = event.to_json();
        self.put(text);
    }

    /// An event that is not media. They are few; a peer that does not even read those is as good as gone, and its pings
    /// will tell.
    fn put(&mut self, text: String) {
        if self.queue.len() - self.waiting_media < MAX_EXPORT_EVENTS {
            self.queue.push_back(Waiting { text, media: false });
        }
    }
}
