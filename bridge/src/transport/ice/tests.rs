//! An agent against a client whose every message the test writes, in virtual time. `peers` has two whole
//! agents over a bad network instead.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::ids::SocketId;
use crate::messages::RemoteIce;
use crate::time::Time;
use crate::wire::stun::{self, BindingRequest, Class, RoleClaim, StunMessage, TransactionId};

mod checks;
mod paths;
mod peers;
mod restart;
mod server;

/// The bridge's only address.
const BRIDGE: &str = "198.51.100.1:10000";

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn path(remote: &str) -> Path {
    Path {
        socket: SocketId(0),
        remote: remote.parse().unwrap(),
    }
}

fn credentials(ufrag: &str) -> Credentials {
    Credentials {
        ufrag: ufrag.into(),
        password: format!("{ufrag}-password-of-24-chars!").into(),
    }
}

/// A datagram that the agent sent.
#[derive(Clone)]
struct Sent {
    at: Time,
    path: Path,
    bytes: Vec<u8>,
}

impl Sent {
    fn message(&self) -> StunMessage<'_> {
        StunMessage::parse(&self.bytes).unwrap()
    }

    fn is_check(&self) -> bool {
        self.message().class() == Class::Request
    }
}

/// How the client's request differs from an ordinary one.
#[derive(Clone)]
struct Request {
    local: Credentials,
    remote_ufrag: String,
    transaction: TransactionId,
    priority: u32,
    role: RoleClaim,
    use_candidate: bool,
}

impl Request {
    fn write(&self) -> Vec<u8> {
        let mut out = [0; stun::MAX_WRITTEN];
        let request = BindingRequest {
            transaction: &self.transaction,
            remote_ufrag: &self.local.ufrag,
            local_ufrag: &self.remote_ufrag,
            priority: self.priority,
            role: self.role,
            use_candidate: self.use_candidate,
        };
        let key = stun::integrity_key(&self.local.password);
        let len = stun::write_request(&mut out, &request, &key).unwrap();
        out[..len].to_vec()
    }
}

/// The agent, the clock and what a client knows.
struct Scene {
    ice: IceTransport,
    now: Time,
    /// The agent's credentials that the client uses.
    local: Credentials,
    /// The client's own ones.
    client: Credentials,
    /// Paths on which the client answers checks at once.
    answering: BTreeSet<SocketAddr>,
    sent: Vec<Sent>,
    events: Vec<IceEvent>,
    transactions: u64,
}

impl Scene {
    /// A controlling agent that does not know its client yet.
    fn new() -> Scene {
        Scene::with(IceConfig::default(), true, &[BRIDGE])
    }

    fn with(config: IceConfig, controlling: bool, sockets: &[&str]) -> Scene {
        let mut random = Random::from_seed(1);
        let local = Credentials::generate(&mut random, &config.ufrag_prefix, WorkerId(3));
        let sockets: Vec<SocketAddr> = sockets.iter().map(|text| text.parse().unwrap()).collect();
        let now = Time::from_millis(1_000);
        let ice = IceTransport::new(
            Arc::new(config),
            WorkerId(3),
            local.clone(),
            controlling,
            sockets.into(),
            random,
            now,
        );
        let mut scene = Scene {
            ice: ice.with_tag(77),
            now,
            local,
            client: credentials("client"),
            answering: BTreeSet::new(),
            sent: Vec::new(),
            events: Vec::new(),
            transactions: 0,
        };
        scene.drain();
        scene.events.clear();
        scene
    }

    /// The same with known remote credentials.
    fn started() -> Scene {
        let mut scene = Scene::new();
        scene.set_remote(None, &[]);
        scene
    }

    /// The same with the nominated path `remote`, some seconds later.
    fn connected(remote: &str) -> Scene {
        let mut scene = Scene::started();
        scene.answer_on(remote);
        scene.ping(remote);
        scene.run(ms(500));
        assert_eq!(scene.ice.selected_path(), Some(path(remote)));
        scene.sent.clear();
        scene.events.clear();
        scene
    }

    fn set_remote(&mut self, generation: Option<u32>, candidates: &[&str]) {
        let remote = RemoteIce {
            credentials: Some(self.client.clone()),
            candidates: candidates
                .iter()
                .map(|text| text.parse().unwrap())
                .collect(),
            generation,
        };
        self.ice.set_remote(self.now, remote);
        self.drain();
    }

    fn answer_on(&mut self, remote: &str) {
        self.answering.insert(remote.parse().unwrap());
    }

    fn mute(&mut self, remote: &str) {
        self.answering.remove(&remote.parse().unwrap());
    }

    /// An ordinary request with a new transaction id.
    fn request(&mut self) -> Request {
        self.transactions += 1;
        Request {
            local: self.local.clone(),
            remote_ufrag: self.client.ufrag.to_string(),
            transaction: std::array::from_fn(|at| (self.transactions >> (at % 8 * 8)) as u8),
            priority: 0x6e7f_1eff,
            role: RoleClaim::Controlled(1),
            use_candidate: false,
        }
    }

    /// The client checks from `remote`.
    fn ping(&mut self, remote: &str) {
        let request = self.request().write();
        assert_eq!(self.deliver(remote, &request), Ok(()));
    }

    /// A datagram comes in; returns what the agent makes of it.
    fn deliver(&mut self, remote: &str, bytes: &[u8]) -> Result<(), Refusal> {
        self.deliver_to(path(remote), bytes)
    }

    fn deliver_to(&mut self, path: Path, bytes: &[u8]) -> Result<(), Refusal> {
        let message = StunMessage::parse(bytes).unwrap();
        let before = self.sent.len();
        let result = match message.class() {
            Class::Request => self.ice.handle_request(self.now, path, &message),
            _ => self.ice.handle_response(self.now, path, &message),
        };
        self.drain();
        // T01: nothing that is sent in return amplifies.
        for answer in self.sent[before..].iter().filter(|sent| !sent.is_check()) {
            assert!(answer.bytes.len() <= bytes.len() + 32);
            assert_eq!(answer.path, path);
            assert!(result.is_ok());
        }
        result
    }

    /// Media that authenticated comes in.
    fn media(&mut self, remote: &str) {
        assert!(self.ice.accepts(path(remote)), "the worker would drop it");
        let _ = self.ice.note_authenticated_media(self.now, path(remote));
        self.drain();
    }

    /// The client's success answer to a check.
    fn success(&self, check: &Sent) -> Vec<u8> {
        let mut out = [0; stun::MAX_WRITTEN];
        let key = stun::integrity_key(&self.client.password);
        let source = BRIDGE.parse().unwrap();
        let id = *check.message().transaction();
        let len = stun::write_success(&mut out, &id, source, &key).unwrap();
        out[..len].to_vec()
    }

    /// The client's error answer to a check.
    fn error(&self, check: &Sent, code: u16) -> Vec<u8> {
        let mut out = [0; stun::MAX_WRITTEN];
        let key = stun::integrity_key(&self.client.password);
        let id = *check.message().transaction();
        let len = stun::write_error(&mut out, &id, code, &[], &key).unwrap();
        out[..len].to_vec()
    }

    /// Takes all output; the client answers where it does.
    fn drain(&mut self) {
        let mut out = [0; stun::MAX_WRITTEN];
        while let Some((path, len)) = self.ice.poll_transmit(&mut out) {
            let sent = Sent {
                at: self.now,
                path,
                bytes: out[..len].to_vec(),
            };
            if sent.is_check() && self.answering.contains(&path.remote) {
                let answer = self.success(&sent);
                let message = StunMessage::parse(&answer).unwrap();
                assert_eq!(self.ice.handle_response(self.now, path, &message), Ok(()));
            }
            self.sent.push(sent);
        }
        while let Some(event) = self.ice.poll_event() {
            self.events.push(event);
        }
    }

    /// Lets time pass.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        let mut turns = 0;
        while let Some(next) = self.ice.poll_timeout().filter(|next| *next <= end) {
            turns += 1;
            assert!(turns < 100_000, "the agent spins: {:?}", self.ice);
            self.now = self.now.max(next);
            self.ice.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    /// Lets time pass while the client checks from `remote` every `interval`.
    fn run_with_pings(&mut self, time: Duration, interval: Duration, remote: &str) {
        let end = self.now + time;
        while self.now < end {
            self.ping(remote);
            self.run(interval);
        }
    }

    /// The checks sent so far.
    fn checks(&self) -> Vec<Sent> {
        self.sent
            .iter()
            .filter(|sent| sent.is_check())
            .cloned()
            .collect()
    }

    fn checks_to(&self, remote: &str) -> Vec<Sent> {
        let path = path(remote);
        self.checks()
            .into_iter()
            .filter(|sent| sent.path == path)
            .collect()
    }

    /// The answers sent so far.
    fn answers(&self) -> Vec<Sent> {
        self.sent
            .iter()
            .filter(|sent| !sent.is_check())
            .cloned()
            .collect()
    }

    fn send_path(&self) -> Option<Path> {
        self.ice.send_path(self.now)
    }

    fn count(&self, event: &IceEvent) -> usize {
        self.events.iter().filter(|known| *known == event).count()
    }
}

#[test]
fn ten_thousand_idle_agents_fit_into_memory() {
    let scene = Scene::connected("203.0.113.9:4000");
    // On the heap: one pair, one answer that waited once, both sides' credentials.
    let heap = size_of::<super::pair::Pair>() + 128 + 4 * 48;
    let bytes = size_of::<IceTransport>() + heap;
    assert!(bytes < 2_560, "{bytes} bytes");
    drop(scene);
}
