//! One run of a scenario against a bridge.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use causeway_bridge::random::Random;
use causeway_bridge::srtp::Profile;
use causeway_bridge::time::Time;
use causeway_bridge::transport::secure::Certificate;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::changes::{Change, Changes};
use super::channel::{Channel, Channels, Wants};
use super::clock::Clock;
use super::flood::{self, Flood};
use super::formats::{self, Kind};
use super::join::{Joined, Joiner};
use super::line::LineConfig;
use super::meter::{Meter, Window};
use super::plan::Plan;
use super::process::{dropped, usage};
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
    /// Bridge channels of clients.
    pub channel: Channel,
    /// What the lines of clients do to what they send and receive.
    pub line: LineConfig,
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
            channel: Channel::Websocket,
            line: LineConfig::default(),
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
    pub fn start(
        clock: Clock,
        media: usize,
        gro: bool,
        line: LineConfig,
    ) -> Result<Threads, String> {
        let (sender, events) = unbounded();
        let (mut handles, mut running) = (Vec::new(), Vec::new());
        let text = |error: std::io::Error| format!("can not start a thread: {error}");
        for number in 0..media.max(1) {
            let name = format!("load-media-{number}");
            let (handle, thread) =
                thread::start(&name, Role::Media, clock, sender.clone(), gro, line)
                    .map_err(text)?;
            handles.push(handle);
            running.push(thread);
        }
        let role = Role::Connector(handles.clone());
        let (connector, thread) =
            thread::start("load-connect", role, clock, sender, gro, line).map_err(text)?;
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
    let Some(version) = focus.version() else {
        return Err(format!(
            "no bridge answers at {}/about/version: does it run, is its port (videobridge.http-servers.private) that one, and \
             videobridge.rest.version.enabled not off?",
            options.rest
        ));
    };
    if let Some(pid) = options.pid.filter(|pid| usage(*pid).is_none()) {
        return Err(format!(
            "there is no process {pid} on this machine: --pid is the bridge's own, not that of a script around it"
        ));
    }
    let clock = Clock::new();
    let threads = Threads::start(clock, options.threads, options.gro, options.line)?;
    let channels = Channels::new().map_err(|error| format!("no threads for channels: {error}"))?;
    let certificate = Certificate::generate(SystemTime::now());
    let mut session = Session {
        certificate: Arc::new(certificate.map_err(|error| error.to_string())?),
        joining: Joining::default(),
        urls: Urls::new(),
        answered: 0,
        heard: clock.now(),
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
        identities: BTreeMap::new(),
    };
    let mut outcome = session.conduct(&focus);
    if let Ok(outcome) = &mut outcome {
        outcome.report.process.version = version;
    }
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
    /// Those of clients that came back ([`Joined::identity`]).
    identities: BTreeMap<u32, u32>,
    certificate: Arc<Certificate>,
    joining: Joining,
    urls: Urls,
    /// Answers to requests to join, and when the last thing happened.
    answered: usize,
    heard: Time,
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
        let early = self.join(focus)?;
        let after_joining = self.meter.usage();
        let mut window = early;
        if self.plan.measures_joins {
            (window.generator_drops, window.bridge_drops) = self.drops();
        } else {
            self.pause(self.options.warmup);
            window = self.measure(focus);
        }
        let flooded = self.flood.take().map(flood::Running::stop);
        let routes = self.threads.routes();
        let (down_missed, up_missed) =
            match self.plan.switches && self.options.channel != Channel::None {
                true => (self.switch(0), self.switch(2)),
                false => (0, 0),
            };
        let total = self.meter.total();
        let mut report = window.report(&self.options.name, self.plan.parts.len());
        report.scenario = self.plan.scenario.name().to_owned();
        report.started = started.as_secs();
        report.settings = self.options.settings(self.plan);
        report.settings.flood_per_second = flooded;
        report.joining = std::mem::take(&mut self.joining);
        report.joining.connect = (&total.connect).into();
        report.joining.first_media = (&total.first_media).into();
        report.joining.first_frame = (&total.first_frame).into();
        let (opened, lost) = self.channels.counts();
        report.joining.channels = opened + total.channels_open as usize;
        report.joining.channels_lost = lost + total.channels_lost as usize;
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

    fn joiner<'b>(&self, focus: &'b Focus, next: &'b AtomicUsize) -> Joiner<'b>
    where
        Self: 'b,
    {
        Joiner {
            options: self.options,
            plan: self.plan,
            clock: self.clock,
            begin: self.clock.now(),
            focus,
            run: self.run.clone(),
            certificate: Arc::clone(&self.certificate),
            connector: self.threads.connector.clone(),
            next,
        }
    }

    /// Lets everybody in. Returns what was measured meanwhile.
    fn join(&mut self, focus: &Focus) -> Result<Window, String> {
        for meeting in 0..self.plan.meetings {
            let created = focus.create_conference(&self.meeting(meeting));
            created.map_err(|error| format!("the bridge refuses a conference: {error}"))?;
        }
        self.meter.begin();
        let next = AtomicUsize::new(0);
        let (sender, joined) = unbounded();
        let joiner = self.joiner(focus, &next);
        let begin = joiner.begin;
        let count = self.plan.parts.len();
        let least = match self.plan.measures_joins {
            true => self.options.seconds,
            false => Duration::ZERO,
        };
        let window = std::thread::scope(|scope| {
            for _ in 0..FOCUS_THREADS.min(count) {
                let (joiner, sender) = (&joiner, sender.clone());
                scope.spawn(move || joiner.run(&sender));
            }
            drop(sender);
            self.heard = self.clock.now();
            let window = self.meter.open();
            while self.joining.connected + self.joining.failed < count
                || self.clock.now() - begin < least
            {
                self.let_in(&joined, Duration::from_millis(20));
                self.meter.connected = self.joining.connected as u32;
                self.meter.tick(&self.threads, self.plan.measures_joins);
                let quiet = self.clock.now() - self.heard;
                let answered = self.answered == count;
                if quiet > CONNECT_TIMEOUT && (answered || quiet > 2 * CONNECT_TIMEOUT) {
                    self.joining.failed = count - self.joining.connected;
                    self.fails("no connection in time");
                    break;
                }
            }
            self.meter
                .close(window, &self.threads, self.plan.measures_joins)
        });
        match self.joining.connected {
            0 => Err(format!(
                "nobody could connect: {}",
                self.joining.first_error.take().unwrap_or_default()
            )),
            _ => Ok(window),
        }
    }

    fn fails(&mut self, why: &str) {
        self.joining
            .first_error
            .get_or_insert_with(|| why.to_owned());
    }

    /// Takes answers to requests, and clients that connected or failed; waits for the first of these.
    fn let_in(&mut self, joined: &Receiver<Result<Joined, String>>, wait: Duration) {
        self.note_answers(joined);
        let mut event = self.threads.events.recv_timeout(wait).ok();
        while let Some(happened) = event {
            self.heard = self.clock.now();
            match happened {
                Event::Connected(number) => {
                    self.joining.connected += 1;
                    // Its answer came before it could connect.
                    self.note_answers(joined);
                    if let Some(url) = self.urls.remove(&number) {
                        self.open_channel(number, url.as_deref());
                    }
                }
                Event::Failed(_) => {
                    self.joining.failed += 1;
                    self.fails("ICE or DTLS failed");
                }
            }
            event = self.threads.events.try_recv().ok();
        }
    }

    fn note_answers(&mut self, joined: &Receiver<Result<Joined, String>>) {
        while let Ok(result) = joined.try_recv() {
            self.heard = self.clock.now();
            self.answered += 1;
            self.note(result);
        }
    }

    /// Takes the answer to a client's requests.
    fn note(&mut self, result: Result<Joined, String>) {
        match result {
            Ok(joined) => {
                self.urls.insert(joined.number, joined.web_socket);
                if joined.identity != joined.number {
                    self.identities.insert(joined.number, joined.identity);
                    self.follow(joined.number);
                }
                self.sockets.push(joined.address);
                self.bridge_ports.insert(joined.bridge.port());
                if self.flood.is_none()
                    && let (Some(flood), Some(victim)) = (self.options.flood, joined.victim)
                {
                    match flood.start(victim) {
                        Ok(running) => self.flood = Some(running),
                        Err(error) => eprintln!("causeway-load: no flood: {error}"),
                    }
                }
            }
            Err(error) => {
                self.joining.failed += 1;
                self.fails(&error);
            }
        }
    }

    /// Those who had a client on stage that came back put the new endpoint there.
    fn follow(&self, client: u32) {
        for (number, part) in (0..).zip(&self.plan.parts) {
            let staged = part.wanted.stage.is_some_and(|(stage, _)| stage == client);
            if staged && number != client {
                self.want(number, &self.wants(number, None));
            }
        }
    }

    /// Name of a source of a client.
    fn source(&self, client: u32, kind: Kind) -> String {
        let identity = self.identities.get(&client).copied().unwrap_or(client);
        formats::source_name(&formats::endpoint_id(identity), kind)
    }

    /// Opens the bridge channel of a client that is connected; data channels open by themselves.
    fn open_channel(&mut self, number: u32, url: Option<&str>) {
        if let (Channel::Websocket, Some(url)) = (self.options.channel, url) {
            let url = match (&self.options.web_socket, url.find("/colibri")) {
                (Some(base), Some(path)) => {
                    format!("{}{}", base.trim_end_matches('/'), &url[path..])
                }
                _ => url.to_owned(),
            };
            self.channels
                .open(number, url, self.threads.of(number).clone());
        }
        let wanted = self.wants(number, None);
        self.want(number, &wanted);
    }

    /// Tells the bridge what a client wants.
    fn want(&self, number: u32, wants: &Wants) {
        match self.options.channel {
            Channel::Websocket => self.channels.want(number, wants),
            Channel::Sctp => self
                .threads
                .of(number)
                .give(Order::Say(number, wants.message())),
            Channel::None => {}
        }
    }

    /// What a participant wants, with another height on stage if one is given.
    fn wants(&self, number: u32, height: Option<i32>) -> Wants {
        let wanted = self.plan.parts[number as usize].wanted;
        let stage = wanted.stage.map(|(client, own)| {
            let name = self.source(client, Kind::Camera);
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

    fn measure(&mut self, focus: &Focus) -> Window {
        self.threads.routes();
        self.meter.sample(&self.threads, false);
        let window = self.meter.open();
        let drops = self.drops();
        let begin = self.clock.now();
        let end = begin + self.options.seconds;
        let mut changes = Changes::new(self.plan, begin, self.options.seconds);
        let before = (self.joining.connected, self.joining.failed);
        let next = AtomicUsize::new(0);
        let joiner = self.joiner(focus, &next);
        let (replaced, numbers) = unbounded();
        let (results, joined) = unbounded();
        let mut window = std::thread::scope(|scope| {
            if self.plan.churn.is_some() {
                scope.spawn(|| joiner.replace(&numbers, &results));
            }
            while self.clock.now() < end {
                while let Some(change) = changes.poll(self.clock.now()) {
                    self.make(change, &replaced);
                }
                if self.plan.churn.is_some() {
                    self.let_in(&joined, Duration::from_millis(20));
                } else {
                    self.meter.wait(end.min(changes.poll_timeout()));
                }
                self.meter.tick(&self.threads, true);
            }
            drop(replaced);
            self.meter.close(window, &self.threads, true)
        });
        let came = self.joining.connected - before.0;
        self.joining.connected = before.0;
        self.joining.replaced = came;
        self.joining.replacements_failed = self.joining.failed - before.1;
        self.joining.failed = before.1;
        let after = self.drops();
        window.generator_drops = after.0.saturating_sub(drops.0);
        window.bridge_drops = after.1.saturating_sub(drops.1);
        window
    }

    fn make(&mut self, change: Change, replaced: &Sender<u32>) {
        match change {
            Change::Share(before, number) => self.share(before, number),
            Change::Speak(before, next) => self.speak(before, next),
            Change::Replace(number) => {
                self.threads.of(number).give(Order::Leave(number));
                self.channels.close_one(number);
                // It is served as long as the measurement lasts.
                let _ = replaced.send(number);
            }
        }
    }

    /// A participant shares the screen, the one before no longer does, and everybody puts it on stage.
    fn share(&mut self, before: Option<u32>, number: u32) {
        if let Some(before) = before {
            self.threads.of(before).give(Order::Screen(before, false));
        }
        self.threads.of(number).give(Order::Screen(number, true));
        let name = self.source(number, Kind::Screen);
        for other in (0..self.plan.parts.len() as u32).filter(|other| *other != number) {
            let mut wants = self.wants(other, None);
            wants.stage = Some((name.clone(), 1_080));
            self.want(other, &wants);
        }
    }

    /// A participant speaks, the one before no longer does; all others in that meeting put the speaker on stage.
    fn speak(&mut self, before: u32, next: u32) {
        self.threads.of(before).give(Order::Speak(before, false));
        self.threads.of(next).give(Order::Speak(next, true));
        let Some(meeting) = self.plan.parts.get(next as usize).map(|part| part.meeting) else {
            return;
        };
        for (number, part) in (0..).zip(&self.plan.parts) {
            let Some((_, height)) = part.wanted.stage.filter(|_| part.meeting == meeting) else {
                continue;
            };
            let speaker = if number == next { before } else { next };
            let mut wants = self.wants(number, None);
            let name = self.source(speaker, Kind::Camera);
            wants.stage = Some((name, height));
            self.want(number, &wants);
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
                self.want(number, &wants);
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
            channel: match self.channel {
                Channel::Websocket => "websocket",
                Channel::Sctp => "sctp",
                Channel::None => "none",
            }
            .to_owned(),
            loss_percent: 100.0 * self.line.loss,
            delay_ms: self.line.delay.as_secs_f64() * 1e3,
            turn_seconds: plan.turns.map(|every| every.as_secs_f64()),
            replaced_per_second: plan.churn.map(|every| 1.0 / every.as_secs_f64()),
            flood: self.flood.map(|flood| flood.to_string()),
            flood_per_second: None,
            spread_ms: self.spread.as_secs_f64() * 1e3,
            threads: self.threads,
            warmup_seconds: self.warmup.as_secs_f64(),
        }
    }
}
