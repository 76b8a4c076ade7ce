//! One run of a scenario against a bridge.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use causeway_bridge::random::Random;
use causeway_bridge::srtp::Profile;
use causeway_bridge::transport::secure::Certificate;
use crossbeam_channel::{Receiver, bounded, unbounded};

use super::channel::{Channels, Wants};
use super::clock::Clock;
use super::flood::{self, Flood};
use super::formats::{self, Kind};
use super::join::{Joined, Joiner};
use super::meter::{Meter, Window};
use super::plan::Plan;
use super::process::dropped;
use super::report::{Joining, Report};
use super::rest::Focus;
use super::thread::{self, Event, Handle, Order, Role, Route};

/// Requests that are on their way at once.
const FOCUS_THREADS: usize = 8;
/// How long clients may take to connect after the last request.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a layer may take to change.
const SWITCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause before the next switch.
const SWITCH_PAUSE: Duration = Duration::from_secs(1);

/// How a run is done.
#[derive(Clone, Debug)]
pub struct Options {
    /// Control API of the bridge, such as `http://127.0.0.1:8080`.
    pub rest: String,
    /// Its process, if it runs on this machine.
    pub pid: Option<u32>,
    /// What it is called in the report.
    pub name: String,
    /// `ws://HOST:PORT` instead of what the bridge advertises.
    pub web_socket: Option<String>,
    /// Open bridge channels.
    pub channels: bool,
    /// Length of the measurement.
    pub seconds: Duration,
    /// Time before it in which everybody is connected.
    pub warmup: Duration,
    /// Threads for media.
    pub threads: usize,
    /// SRTP profiles that clients offer.
    pub profiles: Vec<Profile>,
    /// Clients understand SSRC rewriting.
    pub rewriting: bool,
    /// Packets of a frame are spread over this time.
    pub spread: Duration,
    /// Let the kernel merge what clients receive.
    pub gro: bool,
    /// What an attacker sends meanwhile.
    pub flood: Option<Flood>,
    /// Print a line every second.
    pub progress: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            rest: String::new(),
            pid: None,
            name: "bridge".to_owned(),
            web_socket: None,
            channels: true,
            seconds: Duration::from_secs(20),
            warmup: Duration::from_secs(5),
            threads: 1,
            profiles: vec![Profile::AeadAes128Gcm, Profile::Aes128CmSha1_80],
            rewriting: false,
            spread: Duration::ZERO,
            gro: false,
            flood: None,
            progress: true,
        }
    }
}

/// What a run gave.
pub struct Outcome {
    pub report: Report,
    /// Who received what in the measurement.
    pub routes: Vec<Route>,
}

/// The threads of the generator.
pub struct Threads {
    pub handles: Vec<Handle>,
    connector: Handle,
    running: Vec<JoinHandle<()>>,
    pub events: Receiver<Event>,
}

impl Threads {
    pub fn start(clock: Clock, media: usize, gro: bool) -> Result<Threads, String> {
        let (sender, events) = unbounded();
        let (mut handles, mut running) = (Vec::new(), Vec::new());
        let text = |error: std::io::Error| format!("can not start a thread: {error}");
        for number in 0..media.max(1) {
            let name = format!("load-media-{number}");
            let (handle, thread) =
                thread::start(&name, Role::Media, clock, sender.clone(), gro).map_err(text)?;
            handles.push(handle);
            running.push(thread);
        }
        let role = Role::Connector(handles.clone());
        let (connector, thread) =
            thread::start("load-connect", role, clock, sender, gro).map_err(text)?;
        running.push(thread);
        Ok(Threads {
            handles,
            connector,
            running,
            events,
        })
    }

    /// The thread that drives a client.
    pub fn of(&self, client: u32) -> &Handle {
        &self.handles[client as usize % self.handles.len()]
    }

    /// All threads, that for connecting included.
    pub fn all(&self) -> impl Iterator<Item = &Handle> {
        self.handles.iter().chain([&self.connector])
    }

    /// Who received what since the last call.
    pub fn routes(&self) -> Vec<Route> {
        let (sender, routes) = bounded(self.handles.len());
        for handle in &self.handles {
            handle.give(Order::Routes(sender.clone()));
        }
        drop(sender);
        let mut all: Vec<Route> = routes.iter().flatten().collect();
        all.sort_unstable();
        all
    }

    pub fn stop(self) {
        for handle in self.all() {
            handle.give(Order::Stop);
        }
        for thread in self.running {
            let _ = thread.join();
        }
    }
}

/// Runs a scenario.
///
/// # Errors
/// A text for people: the bridge can not be reached, refuses, or nobody connects.
pub fn run(options: &Options, plan: &Plan) -> Result<Outcome, String> {
    let focus = Focus::new(&options.rest);
    if !focus.is_alive() {
        return Err(format!(
            "no bridge answers at {}: is its REST interface enabled (videobridge.apis.rest.enabled)?",
            options.rest
        ));
    }
    let clock = Clock::new();
    let threads = Threads::start(clock, options.threads, options.gro)?;
    let channels = Channels::new().map_err(|error| format!("no threads for channels: {error}"))?;
    let mut session = Session {
        options,
        plan,
        clock,
        meter: Meter::new(clock, options.pid, options.progress),
        threads,
        channels,
        sockets: Vec::new(),
        bridge_ports: BTreeSet::new(),
        flood: None,
        run: format!("load-{:x}", Random::from_os().u32()),
    };
    let outcome = session.conduct(&focus);
    session.leave(&focus);
    outcome
}

/// Bridge channels of clients that are not connected yet.
type Urls = HashMap<u32, Option<String>>;

struct Session<'a> {
    options: &'a Options,
    plan: &'a Plan,
    clock: Clock,
    meter: Meter,
    threads: Threads,
    channels: Channels,
    /// Local addresses of clients.
    sockets: Vec<SocketAddr>,
    /// Where the bridge receives.
    bridge_ports: BTreeSet<u16>,
    flood: Option<flood::Running>,
    /// Part of all meeting ids.
    run: String,
}

impl Session<'_> {
    fn meeting(&self, number: u32) -> String {
        format!("{}-{number}", self.run)
    }

    fn conduct(&mut self, focus: &Focus) -> Result<Outcome, String> {
        let started = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let before = self.meter.usage();
        let (joining, early) = self.join(focus)?;
        let after_joining = self.meter.usage();
        let mut window = early;
        if self.plan.measures_joins {
            (window.generator_drops, window.bridge_drops) = self.drops();
        } else {
            self.pause(self.options.warmup);
            window = self.measure();
        }
        let flooded = self.flood.take().map(flood::Running::stop);
        let routes = self.threads.routes();
        let (down_missed, up_missed) = match self.plan.switches && self.options.channels {
            true => (self.switch(0), self.switch(2)),
            false => (0, 0),
        };
        let total = self.meter.total();
        let mut report = window.report(&self.options.name, self.plan.parts.len());
        report.scenario = self.plan.scenario.name().to_owned();
        report.started = started.as_secs();
        report.settings = self.options.settings(self.plan);
        report.settings.flood_per_second = flooded;
        report.joining = joining;
        report.joining.connect = (&total.connect).into();
        report.joining.first_media = (&total.first_media).into();
        report.joining.first_frame = (&total.first_frame).into();
        (report.joining.channels, report.joining.channels_lost) = self.channels.counts();
        if report.joining.first_error.is_none() {
            report.joining.first_error = self.channels.first_error();
        }
        report.picture.switch_down = (&total.switch_down).into();
        report.picture.switch_up = (&total.switch_up).into();
        report.picture.switches_missed = down_missed + up_missed;
        if let (Some(before), Some(joined)) = (before, after_joining) {
            let clients = report.joining.connected.max(1) as f64;
            let process = &mut report.process;
            process.memory_before_mb = before.memory as f64 / 1e6;
            process.memory_per_client_kb =
                (process.memory_mb * 1e6 - before.memory as f64) / clients / 1e3;
            process.cpu_ms_per_join =
                (joined.cpu.saturating_sub(before.cpu)).as_secs_f64() * 1e3 / clients;
        }
        report.samples = self.meter.take_samples();
        Ok(Outcome { report, routes })
    }

    /// Lets everybody in. Also returns what was measured meanwhile.
    fn join(&mut self, focus: &Focus) -> Result<(Joining, Window), String> {
        for meeting in 0..self.plan.meetings {
            let created = focus.create_conference(&self.meeting(meeting));
            created.map_err(|error| format!("the bridge refuses a conference: {error}"))?;
        }
        let certificate = Certificate::generate(SystemTime::now());
        let certificate = Arc::new(certificate.map_err(|error| error.to_string())?);
        let begin = self.clock.now();
        self.meter.begin();
        let next = AtomicUsize::new(0);
        let (sender, joined) = unbounded();
        let joiner = Joiner {
            options: self.options,
            plan: self.plan,
            clock: self.clock,
            begin,
            focus,
            run: self.run.clone(),
            certificate,
            connector: self.threads.connector.clone(),
            next: &next,
        };
        let count = self.plan.parts.len();
        let mut joining = Joining::default();
        let window = std::thread::scope(|scope| {
            for _ in 0..FOCUS_THREADS.min(count) {
                let (joiner, sender) = (&joiner, sender.clone());
                scope.spawn(move || joiner.run(&sender));
            }
            drop(sender);
            let mut urls = Urls::new();
            let mut last = self.clock.now();
            let mut answered = 0;
            let window = self.meter.open();
            let least = match self.plan.measures_joins {
                true => self.options.seconds,
                false => Duration::ZERO,
            };
            while joining.connected + joining.failed < count || self.clock.now() - begin < least {
                while let Ok(result) = joined.try_recv() {
                    last = self.clock.now();
                    answered += 1;
                    self.note(result, &mut joining, &mut urls);
                }
                let tick = Duration::from_millis(20);
                let mut event = self.threads.events.recv_timeout(tick).ok();
                while let Some(happened) = event {
                    match happened {
                        Event::Connected(number) => {
                            joining.connected += 1;
                            last = self.clock.now();
                            // Its answer came before it could connect.
                            while let Ok(result) = joined.try_recv() {
                                answered += 1;
                                self.note(result, &mut joining, &mut urls);
                            }
                            if let Some(Some(url)) = urls.remove(&number) {
                                self.open_channel(number, &url);
                            }
                        }
                        Event::Failed(_) => {
                            joining.failed += 1;
                            joining
                                .first_error
                                .get_or_insert("ICE or DTLS failed".to_owned());
                        }
                    }
                    event = self.threads.events.try_recv().ok();
                }
                self.meter.connected = joining.connected as u32;
                self.meter.tick(&self.threads, self.plan.measures_joins);
                let quiet = self.clock.now() - last;
                if quiet > CONNECT_TIMEOUT && (answered == count || quiet > 2 * CONNECT_TIMEOUT) {
                    joining.failed = count - joining.connected;
                    joining
                        .first_error
                        .get_or_insert("no connection in time".to_owned());
                    break;
                }
            }
            self.meter
                .close(window, &self.threads, self.plan.measures_joins)
        });
        match joining.connected {
            0 => Err(format!(
                "nobody could connect: {}",
                joining.first_error.unwrap_or_default()
            )),
            _ => Ok((joining, window)),
        }
    }

    /// Takes the answer to a client's requests.
    fn note(&mut self, result: Result<Joined, String>, joining: &mut Joining, urls: &mut Urls) {
        match result {
            Ok(joined) => {
                urls.insert(joined.number, joined.web_socket);
                self.sockets.push(joined.address);
                self.bridge_ports.insert(joined.bridge.port());
                if let (Some(flood), Some(victim)) = (self.options.flood, joined.victim) {
                    match flood.start(victim) {
                        Ok(running) => self.flood = Some(running),
                        Err(error) => eprintln!("causeway-load: no flood: {error}"),
                    }
                }
            }
            Err(error) => {
                joining.failed += 1;
                joining.first_error.get_or_insert(error);
            }
        }
    }

    fn open_channel(&mut self, number: u32, url: &str) {
        if !self.options.channels {
            return;
        }
        let url = match (&self.options.web_socket, url.find("/colibri")) {
            (Some(base), Some(path)) => format!("{}{}", base.trim_end_matches('/'), &url[path..]),
            _ => url.to_owned(),
        };
        self.channels
            .open(number, url, self.threads.of(number).clone());
        let wanted = self.wants(number, None);
        self.channels.want(number, &wanted);
    }

    /// What a participant wants, with another height on stage if one is given.
    fn wants(&self, number: u32, height: Option<i32>) -> Wants {
        let wanted = self.plan.parts[number as usize].wanted;
        let stage = wanted.stage.map(|(client, own)| {
            let name = formats::source_name(&formats::endpoint_id(client), Kind::Camera);
            (name, height.unwrap_or(own))
        });
        Wants {
            last_n: wanted.last_n,
            max_height: height.map_or(wanted.max_height, |height| height.min(wanted.max_height)),
            stage,
        }
    }

    /// Lets time pass.
    fn pause(&mut self, time: Duration) {
        let end = self.clock.now() + time;
        while self.clock.now() < end {
            self.meter.wait(end);
            self.meter.tick(&self.threads, false);
        }
    }

    fn measure(&mut self) -> Window {
        self.threads.routes();
        self.meter.sample(&self.threads, false);
        let window = self.meter.open();
        let drops = self.drops();
        let begin = self.clock.now();
        let end = begin + self.options.seconds;
        let sharing = self.plan.sharing.clone();
        let mut shared = 0;
        while self.clock.now() < end {
            // Each shares for an equal part of the time.
            let part = self.options.seconds / (sharing.len() as u32).max(1);
            if shared < sharing.len() && self.clock.now() >= begin + part * shared as u32 {
                self.share(&sharing, shared);
                shared += 1;
            }
            self.meter.wait(end);
            self.meter.tick(&self.threads, true);
        }
        let mut window = self.meter.close(window, &self.threads, true);
        let after = self.drops();
        window.generator_drops = after.0.saturating_sub(drops.0);
        window.bridge_drops = after.1.saturating_sub(drops.1);
        window
    }

    /// The next participant shares the screen, the one before no longer does, and everybody puts it on stage.
    fn share(&mut self, sharing: &[u32], at: usize) {
        if let Some(before) = at.checked_sub(1).and_then(|before| sharing.get(before)) {
            self.threads.of(*before).give(Order::Screen(*before, false));
        }
        let number = sharing[at];
        self.threads.of(number).give(Order::Screen(number, true));
        let name = formats::source_name(&formats::endpoint_id(number), Kind::Screen);
        for other in (0..self.plan.parts.len() as u32).filter(|other| *other != number) {
            let mut wants = self.wants(other, None);
            wants.stage = Some((name.clone(), 1_080));
            self.channels.want(other, &wants);
        }
    }

    /// Everybody who has a stage asks for this encoding of it. Returns how many did not get it.
    fn switch(&mut self, encoding: u8) -> usize {
        let height = self
            .plan
            .camera
            .layers
            .get(usize::from(encoding))
            .map(|layer| i32::from(layer.height));
        self.pause(SWITCH_PAUSE);
        for (number, part) in (0..).zip(&self.plan.parts) {
            if let Some((stage, _)) = part.wanted.stage {
                self.threads
                    .of(number)
                    .give(Order::Wish(number, stage, encoding));
                let wants = self.wants(number, height);
                self.channels.want(number, &wants);
            }
        }
        let end = self.clock.now() + SWITCH_TIMEOUT;
        loop {
            self.meter
                .wait(self.clock.now() + Duration::from_millis(100));
            let waiting = self.meter.sample(&self.threads, false);
            if waiting == 0 || self.clock.now() >= end {
                return waiting;
            }
        }
    }

    /// Datagrams that the kernel threw away so far: for our sockets, and for those of a bridge on this machine.
    fn drops(&self) -> (u64, u64) {
        let own = self.sockets.iter().map(SocketAddr::port).collect();
        let bridge = match self.options.pid {
            Some(_) => dropped(&self.bridge_ports),
            None => 0,
        };
        (dropped(&own), bridge)
    }

    fn leave(self, focus: &Focus) {
        let meetings: Vec<_> = (0..self.plan.meetings)
            .map(|meeting| self.meeting(meeting))
            .collect();
        self.channels.close();
        self.flood.map(flood::Running::stop);
        self.threads.stop();
        for meeting in meetings {
            // The bridge may be gone.
            let _ = focus.expire_conference(&meeting);
        }
    }
}

impl Options {
    fn settings(&self, plan: &Plan) -> super::report::Settings {
        super::report::Settings {
            clients: plan.parts.len(),
            meetings: plan.meetings,
            codec: plan.camera.codec.name().to_owned(),
            profile: match self.profiles.first() {
                Some(Profile::Aes128CmSha1_80) => "AES_CM_128_HMAC_SHA1_80",
                _ => "AEAD_AES_128_GCM",
            }
            .to_owned(),
            rewriting: self.rewriting,
            gro: self.gro,
            flood: self.flood.map(|flood| flood.to_string()),
            flood_per_second: None,
            spread_ms: self.spread.as_secs_f64() * 1e3,
            threads: self.threads,
            warmup_seconds: self.warmup.as_secs_f64(),
        }
    }
}
