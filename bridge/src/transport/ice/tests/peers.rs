//! Two whole agents over a network that loses, repeats, delays and reorders, by seed: ours against an
//! independent one, and against itself.

use std::collections::BTreeMap;
use std::time::Instant;

use super::*;

const CLIENT: &str = "203.0.113.9:4000";
const MOVED: &str = "203.0.113.77:7777";
/// What stands for an authenticated media packet.
const MEDIA: &[u8] = &[0x80, 111];

/// A datagram on its way: from, to, bytes.
type Datagram = (SocketAddr, SocketAddr, Vec<u8>);

trait Agent {
    fn receive(&mut self, now: Time, datagram: &Datagram);
    fn handle_timeout(&mut self, now: Time);
    fn poll_timeout(&mut self) -> Option<Time>;
    fn poll_transmit(&mut self) -> Option<Datagram>;
    /// Local and remote address that it would send media from and to.
    fn media_path(&self, now: Time) -> Option<(SocketAddr, SocketAddr)>;
}

/// One of ours.
struct Ours {
    ice: IceTransport,
    sockets: Vec<SocketAddr>,
    local: Credentials,
    events: Vec<IceEvent>,
    accepted: BTreeSet<SocketAddr>,
}

impl Ours {
    fn new(now: Time, address: &str, controlling: bool, mut random: Random) -> Ours {
        let local = Credentials::generate(&mut random, "", WorkerId(1));
        let sockets: Vec<SocketAddr> = vec![address.parse().unwrap()];
        let config = Arc::new(IceConfig::default());
        let ice = IceTransport::new(
            config,
            WorkerId(1),
            local.clone(),
            controlling,
            sockets.clone().into(),
            random,
            now,
        );
        Ours {
            ice,
            sockets,
            local,
            events: Vec::new(),
            accepted: BTreeSet::new(),
        }
    }

    fn drain_events(&mut self) {
        while let Some(event) = self.ice.poll_event() {
            match event {
                IceEvent::PathValidated(path) => assert!(self.accepted.insert(path.remote)),
                IceEvent::PathRemoved(path) => assert!(self.accepted.remove(&path.remote)),
                _ => {}
            }
            self.events.push(event);
        }
        for remote in &self.accepted {
            assert!(self.ice.accepts(Path {
                socket: SocketId(0),
                remote: *remote
            }));
        }
    }
}

impl Agent for Ours {
    fn receive(&mut self, now: Time, (from, to, bytes): &Datagram) {
        assert!(self.sockets.contains(to));
        let path = Path {
            socket: SocketId(0),
            remote: *from,
        };
        if bytes == MEDIA {
            if self.ice.accepts(path) {
                let _ = self.ice.note_authenticated_media(now, path);
            }
        } else {
            let message = StunMessage::parse(bytes).unwrap();
            // Duplicates and late answers are refused; nothing else is, as nobody attacks here.
            let _ = match message.class() {
                Class::Request => self.ice.handle_request(now, path, &message),
                _ => self.ice.handle_response(now, path, &message),
            };
        }
        self.drain_events();
    }

    fn handle_timeout(&mut self, now: Time) {
        self.ice.handle_timeout(now);
        self.drain_events();
    }

    fn poll_timeout(&mut self) -> Option<Time> {
        self.ice.poll_timeout()
    }

    fn poll_transmit(&mut self) -> Option<Datagram> {
        let mut out = [0; stun::MAX_WRITTEN];
        let (path, len) = self.ice.poll_transmit(&mut out)?;
        Some((
            self.sockets[usize::from(path.socket.0)],
            path.remote,
            out[..len].to_vec(),
        ))
    }

    fn media_path(&self, now: Time) -> Option<(SocketAddr, SocketAddr)> {
        self.ice
            .send_path(now)
            .map(|path| (self.sockets[usize::from(path.socket.0)], path.remote))
    }
}

/// The `is` crate's agent.
struct Theirs {
    ice: is::IceAgent,
    origin: Instant,
    path: Option<(SocketAddr, SocketAddr)>,
}

impl Theirs {
    fn new(address: &str, controlling: bool) -> Theirs {
        let mut ice = is::IceAgent::new(is::IceCreds::new());
        ice.set_controlling(controlling);
        let host = is::Candidate::host(address.parse().unwrap(), "udp").unwrap();
        ice.add_local_candidate(host).unwrap();
        Theirs {
            ice,
            origin: Instant::now(),
            path: None,
        }
    }

    fn credentials(&self) -> Credentials {
        let own = self.ice.local_credentials();
        Credentials {
            ufrag: own.ufrag.as_str().into(),
            password: own.pass.as_str().into(),
        }
    }

    fn set_remote(&mut self, remote: &Credentials) {
        let (ufrag, pass) = (remote.ufrag.to_string(), remote.password.to_string());
        self.ice
            .set_remote_credentials(is::IceCreds { ufrag, pass });
        let host = is::Candidate::host(BRIDGE.parse().unwrap(), "udp").unwrap();
        self.ice.add_remote_candidate(host);
    }

    fn instant(&self, now: Time) -> Instant {
        self.origin + (now - Time::ZERO)
    }

    fn drain_events(&mut self) {
        while let Some(event) = self.ice.poll_event() {
            if let is::IceAgentEvent::NominatedSend {
                source,
                destination,
                ..
            } = event
            {
                self.path = Some((source, destination));
            }
        }
    }
}

impl Agent for Theirs {
    fn receive(&mut self, now: Time, (from, to, bytes): &Datagram) {
        if bytes != MEDIA {
            let packet = is::stun::StunPacket {
                proto: is::Protocol::Udp,
                source: *from,
                destination: *to,
                message: is::stun::StunMessage::parse(bytes).unwrap(),
            };
            self.ice.handle_packet(self.instant(now), packet);
        }
        self.drain_events();
    }

    fn handle_timeout(&mut self, now: Time) {
        self.ice.handle_timeout(self.instant(now));
        self.drain_events();
    }

    fn poll_timeout(&mut self) -> Option<Time> {
        let at = self.ice.poll_timeout()?;
        let micros = at.saturating_duration_since(self.origin).as_micros();
        Some(Time::from_micros(u64::try_from(micros).unwrap()))
    }

    fn poll_transmit(&mut self) -> Option<Datagram> {
        let transmit = self.ice.poll_transmit()?;
        Some((
            transmit.source,
            transmit.destination,
            transmit.contents.to_vec(),
        ))
    }

    fn media_path(&self, _now: Time) -> Option<(SocketAddr, SocketAddr)> {
        self.path
    }
}

/// What the network does to datagrams.
#[derive(Clone, Copy, Debug)]
struct Link {
    loss: f64,
    duplicates: f64,
    /// Shortest and longest delay; reordering comes from the difference.
    delay: (u64, u64),
}

impl Link {
    const GOOD: Link = Link {
        loss: 0.0,
        duplicates: 0.0,
        delay: (10, 10),
    };

    fn random(random: &mut Random) -> Link {
        let delay = 1 + random.below(150);
        Link {
            loss: random.unit() * 0.3,
            duplicates: random.unit() * 0.2,
            delay: (delay, delay + random.below(150)),
        }
    }
}

/// Two agents, the bridge's side first, and a NAT in front of the second.
struct World<B> {
    now: Time,
    bridge: Ours,
    client: B,
    link: Link,
    random: Random,
    /// The client's address as the bridge sees it.
    public: SocketAddr,
    /// On their way, by arrival.
    queue: BTreeMap<(Time, u64), Datagram>,
    count: u64,
    /// The client sends media every 20 ms from then on.
    media: Option<Time>,
}

impl<B: Agent> World<B> {
    fn new(seed: u64, client: B, bridge_controlling: bool) -> World<B> {
        let mut random = Random::from_seed(seed);
        let now = Time::from_millis(5_000);
        let bridge = Ours::new(now, BRIDGE, bridge_controlling, random.fork());
        let link = Link::random(&mut random);
        let public = CLIENT.parse().unwrap();
        let (queue, count) = (BTreeMap::new(), 0);
        World {
            now,
            bridge,
            client,
            link,
            random,
            public,
            queue,
            count,
            media: None,
        }
    }

    fn send(&mut self, datagram: &Datagram) {
        for chance in [1.0, self.link.duplicates] {
            if self.random.unit() < chance && self.random.unit() >= self.link.loss {
                let (min, max) = self.link.delay;
                let delay = ms(min + self.random.below(max - min + 1));
                self.count += 1;
                self.queue
                    .insert((self.now + delay, self.count), datagram.clone());
            }
        }
    }

    fn drain(&mut self) {
        while let Some(datagram) = self.bridge.poll_transmit() {
            self.send(&datagram);
        }
        let local: SocketAddr = CLIENT.parse().unwrap();
        while let Some((from, to, bytes)) = self.client.poll_transmit() {
            let from = if from == local { self.public } else { from };
            self.send(&(from, to, bytes));
        }
    }

    fn deliver(&mut self, (from, to, bytes): Datagram) {
        if to == BRIDGE.parse::<SocketAddr>().unwrap() {
            self.bridge.receive(self.now, &(from, to, bytes));
        } else if to == self.public {
            self.client
                .receive(self.now, &(from, CLIENT.parse().unwrap(), bytes));
        }
    }

    /// Runs until `done` or for `limit`; says whether it was done.
    fn run_until(&mut self, limit: Duration, done: impl Fn(&World<B>) -> bool) -> bool {
        let end = self.now + limit;
        let mut turns = 0;
        // The independent agent has no timeout before its first call.
        self.client.handle_timeout(self.now);
        loop {
            self.drain();
            if done(self) {
                return true;
            }
            let next = [
                self.queue.keys().next().map(|(at, _)| *at),
                self.bridge.poll_timeout(),
                self.client.poll_timeout(),
                self.media,
            ];
            let next = next
                .into_iter()
                .flatten()
                .min()
                .unwrap_or(end)
                .max(self.now);
            if next >= end {
                self.now = end;
                return done(self);
            }
            turns += 1;
            assert!(turns < 200_000, "somebody spins: {:?}", self.bridge.ice);
            self.now = next;
            while let Some(entry) = self.queue.first_entry() {
                if entry.key().0 > next {
                    break;
                }
                let datagram = entry.remove();
                self.deliver(datagram);
                self.drain();
            }
            if self.media.is_some_and(|at| at <= next) {
                self.media = Some(next + ms(20));
                if let Some((_, to)) = self.client.media_path(next) {
                    self.send(&(self.public, to, MEDIA.to_vec()));
                }
            }
            if self.bridge.poll_timeout().is_some_and(|at| at <= next) {
                self.bridge.handle_timeout(next);
            }
            if self.client.poll_timeout().is_none_or(|at| at <= next) {
                self.client.handle_timeout(next);
            }
        }
    }

    fn run(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    /// Lets a random time pass.
    fn run_up_to(&mut self, millis: u64) {
        let time = ms(self.random.below(millis));
        self.run(time);
    }

    /// Whether both would send media to each other.
    fn is_connected(&self) -> bool {
        let to_client = (BRIDGE.parse().unwrap(), self.public);
        let to_bridge = (CLIENT.parse().unwrap(), BRIDGE.parse().unwrap());
        self.bridge.media_path(self.now) == Some(to_client)
            && self.client.media_path(self.now) == Some(to_bridge)
    }

    /// How long the client can take to be connected again: one consent round, and luck.
    fn assert_connects(&mut self, within: Duration, what: &str) {
        let connected = self.run_until(within, World::is_connected);
        assert!(connected, "{what}: {:?}\n{:?}", self.link, self.bridge.ice);
    }
}

fn remote(credentials: Credentials, candidates: &[&str], generation: Option<u32>) -> RemoteIce {
    RemoteIce {
        credentials: Some(credentials),
        candidates: candidates
            .iter()
            .map(|text| text.parse().unwrap())
            .collect(),
        generation,
    }
}

/// Signals both sides to each other, one after the other, with a pause between.
fn signal_theirs(world: &mut World<Theirs>, candidates: &[&str]) {
    let theirs = remote(world.client.credentials(), candidates, None);
    let ours = world.bridge.local.clone();
    let pause = ms(world.random.below(3_000));
    if world.random.below(2) == 0 {
        world.bridge.ice.set_remote(world.now, theirs);
        world.run(pause);
        world.client.set_remote(&ours);
    } else {
        world.client.set_remote(&ours);
        world.run(pause);
        world.bridge.ice.set_remote(world.now, theirs);
    }
}

/// The seeds of one test; `ICE_SEEDS` says how many, for a longer search.
fn seeds(first: u64) -> std::ops::Range<u64> {
    let count = std::env::var("ICE_SEEDS")
        .ok()
        .and_then(|count| count.parse().ok());
    first..first + count.unwrap_or(100)
}

/// A role for either side from two bits of a seed.
fn roles(seed: u64) -> (bool, bool) {
    match seed % 8 {
        // What Jicofo does.
        0..5 => (true, false),
        5 => (false, true),
        6 => (true, true),
        _ => (false, false),
    }
}

#[test]
fn an_independent_agent_connects_over_any_network() {
    for seed in seeds(0) {
        let (ours, theirs) = match roles(seed) {
            // Of two controlled agents RFC 8445 §7.3.1.1 has the one with the larger tie-breaker switch;
            // the other agent wants the one with the smaller to, so both or none do.
            (false, false) => (true, false),
            roles => roles,
        };
        let mut world = World::new(seed, Theirs::new(CLIENT, theirs), ours);
        let candidates: &[&str] = if world.random.below(4) == 0 {
            &[CLIENT]
        } else {
            &[]
        };
        signal_theirs(&mut world, candidates);
        world.assert_connects(ms(30_000), &format!("seed {seed}"));
        let (bridge, client) = (
            world.bridge.ice.is_controlling(),
            world.client.ice.controlling(),
        );
        world.link = Link::GOOD;
        world.run(ms(10_000));
        assert!(world.is_connected(), "seed {seed}");
        assert_ne!(bridge, client, "seed {seed}: one of each role");
    }
}

#[test]
fn an_independent_agent_follows_a_restart() {
    for seed in seeds(100_000) {
        let mut world = World::new(seed, Theirs::new(CLIENT, false), true);
        world.link.loss = world.link.loss.min(0.15);
        signal_theirs(&mut world, &[]);
        world.assert_connects(ms(30_000), &format!("seed {seed}"));
        world.media = Some(world.now);
        world.run_up_to(5_000);

        let moves = world.random.below(2) == 0;
        let fresh = Credentials::generate(&mut world.random, "", WorkerId(1));
        assert!(world.bridge.ice.restart(world.now, 1, fresh.clone()));
        world.run_up_to(3_000);
        assert!(
            world.bridge.media_path(world.now).is_some(),
            "seed {seed}: media goes on"
        );
        world.client.ice.ice_restart(is::IceCreds::new(), true);
        world.client.set_remote(&fresh);
        if moves {
            world.public = MOVED.parse().unwrap();
        }
        world.run_up_to(500);
        let theirs = remote(world.client.credentials(), &[], Some(1));
        world.bridge.ice.set_remote(world.now, theirs);
        let restarted = world.run_until(ms(19_000), |world| {
            world.bridge.ice.generation() == 1 && world.is_connected()
        });
        assert!(
            restarted,
            "seed {seed}: {:?}\n{:?}",
            world.link, world.bridge.ice
        );
        let ended = IceEvent::RestartEnded {
            generation: 1,
            success: true,
        };
        assert_eq!(
            world
                .bridge
                .events
                .iter()
                .filter(|event| **event == ended)
                .count(),
            1
        );
    }
}

#[test]
fn f09_an_independent_agent_survives_nat_rebinding() {
    for seed in seeds(200_000) {
        let mut world = World::new(seed, Theirs::new(CLIENT, false), true);
        // The other agent checks every three seconds: ten of its checks are not all lost.
        world.link.loss = world.link.loss.min(0.15);
        signal_theirs(&mut world, &[]);
        world.assert_connects(ms(30_000), &format!("seed {seed}"));
        world.media = Some(world.now);
        world.run(ms(5_000));
        world.run_up_to(5_000);
        for moved in [MOVED, "203.0.113.78:7777", MOVED] {
            world.public = moved.parse().unwrap();
            world.assert_connects(ms(30_000), &format!("seed {seed}, {moved}"));
            world.run_up_to(10_000);
        }
        assert_eq!(
            world
                .bridge
                .events
                .iter()
                .filter(|e| matches!(e, IceEvent::Connected(_)))
                .count(),
            1
        );
    }
}

#[test]
fn f06_agents_find_each_other_again_after_an_outage() {
    for seed in seeds(300_000) {
        let mut world = World::new(seed, Theirs::new(CLIENT, false), true);
        signal_theirs(&mut world, &[]);
        world.assert_connects(ms(30_000), &format!("seed {seed}"));
        let link = world.link;
        world.link.loss = 1.0;
        world.queue.clear();
        let outage = ms(1_000 + world.random.below(59_000));
        world.run(outage);
        // T48: on this side of 15 s media may go on, beyond it must not.
        let last = world.bridge.media_path(world.now).is_some();
        assert!(
            !last || outage < crate::limits::CONSENT_EXPIRY,
            "seed {seed}"
        );
        world.link = link;
        world.assert_connects(ms(30_000), &format!("seed {seed}, outage {outage:?}"));
    }
}

#[test]
fn two_of_ours_connect_over_any_network() {
    for seed in seeds(400_000) {
        let (bridge, client) = roles(seed);
        let mut random = Random::from_seed(seed * 31);
        let client = Ours::new(Time::from_millis(5_000), CLIENT, client, random.fork());
        let mut world = World::new(seed, client, bridge);
        // Nothing makes these clients check again after seven lost transmissions.
        world.link.loss = world.link.loss.min(0.15);
        let ours = remote(world.bridge.local.clone(), &[BRIDGE], None);
        let theirs = remote(world.client.local.clone(), &[], None);
        world.client.ice.set_remote(world.now, ours);
        world.run(ms(random.below(4_000)));
        world.bridge.ice.set_remote(world.now, theirs);
        world.assert_connects(ms(30_000), &format!("seed {seed}"));

        let selected = world.run_until(ms(30_000), |world| {
            world.bridge.ice.selected_path().is_some() && world.client.ice.selected_path().is_some()
        });
        assert!(selected, "seed {seed}: both know the nominated pair");
        assert_ne!(
            world.bridge.ice.is_controlling(),
            world.client.ice.is_controlling()
        );

        // Both restart at once, and the client's address changes on the way.
        let fresh = [1, 2].map(|_| Credentials::generate(&mut random, "", WorkerId(1)));
        let [bridge, client] = fresh;
        assert!(world.bridge.ice.restart(world.now, 1, bridge.clone()));
        assert!(world.client.ice.restart(world.now, 1, client.clone()));
        world
            .client
            .ice
            .set_remote(world.now, remote(bridge, &[BRIDGE], Some(1)));
        world.run(ms(random.below(2_000)));
        world
            .bridge
            .ice
            .set_remote(world.now, remote(client, &[], Some(1)));
        if seed % 2 == 0 {
            world.public = MOVED.parse().unwrap();
        }
        let restarted = world.run_until(ms(17_000), |world| {
            let generations = (world.bridge.ice.generation(), world.client.ice.generation());
            generations == (1, 1) && world.is_connected()
        });
        assert!(
            restarted,
            "seed {seed}: {:?}\n{:?}",
            world.bridge.ice, world.client.ice
        );
    }
}

#[test]
fn equal_seeds_give_equal_runs() {
    let run = || {
        let client = Ours::new(
            Time::from_millis(5_000),
            CLIENT,
            false,
            Random::from_seed(8),
        );
        let mut world = World::new(5, client, true);
        let ours = remote(world.bridge.local.clone(), &[BRIDGE], None);
        let theirs = remote(world.client.local.clone(), &[], None);
        world.client.ice.set_remote(world.now, ours);
        world.bridge.ice.set_remote(world.now, theirs);
        world.run(ms(30_000));
        (world.count, format!("{:?}", world.bridge.ice))
    };
    assert_eq!(run(), run());
}
