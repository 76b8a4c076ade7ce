//! A thread that drives clients on real sockets.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use causeway_bridge::ids::SocketId;
use causeway_bridge::net::{ReceiveBatch, SendBatch};
use causeway_bridge::random::Random;
use causeway_bridge::time::Time;
use causeway_bridge::worker::egress::{ChainHint, Egress};
use crossbeam_channel::{Receiver, Sender, unbounded};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use super::channel::notices;
use super::client::{Client, Context};
use super::clock::Clock;
use super::formats::Kind;
use super::line::{Line, LineConfig};
use super::stats::Stats;

const WAKE: Token = Token(usize::MAX);
const MAX_SLEEP: Duration = Duration::from_millis(200);
/// How often the wall clock is followed.
const SYNCHRONIZE: Duration = Duration::from_secs(1);

/// What the bridge channel of a client says.
#[derive(Clone, Debug)]
pub enum Notice {
    /// The greatest height that anybody wants of a source of this client.
    MaxHeight(Kind, i32),
    /// Where the bridge sends a source: media and retransmission SSRC.
    Mapped(u32, u32),
}

/// What a thread shall do.
pub enum Order {
    /// Drive this client; with what is on its line, if another thread drove it before.
    Adopt(Box<Client>, UdpSocket, Option<Box<ClientLine>>),
    /// See [`Notice`].
    Notice(u32, Notice),
    /// This client asked for an encoding of another one.
    Wish(u32, u32, u8),
    /// Share or no longer share the screen.
    Screen(u32, bool),
    /// Speak, or be muted.
    Speak(u32, bool),
    /// Say this on the data channel.
    Say(u32, String),
    /// This client is gone.
    Leave(u32),
    /// Hand over what was measured since the last time.
    Report(Sender<Summary>),
    /// Tell who receives what: receiver, sender, encoding, packets since the last time.
    Routes(Sender<Vec<Route>>),
    /// End.
    Stop,
}

/// That a client receives an encoding of another one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Route {
    pub from: u32,
    pub encoding: u8,
    pub to: u32,
    pub packets: u64,
}

/// What a thread measured.
#[derive(Default)]
pub struct Summary {
    pub stats: Stats,
    /// Clients that wait for a layer.
    pub waiting: usize,
    /// Clients that the other side does not know yet.
    pub unready: usize,
    /// Video streams that move.
    pub moving: usize,
}

/// What happens to clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    Connected(u32),
    Failed(u32),
}

/// The way to a thread.
#[derive(Clone)]
pub struct Handle {
    orders: Sender<Order>,
    waker: Arc<Waker>,
}

impl Handle {
    /// Queues an order. A thread that ended does not mind.
    pub fn give(&self, order: Order) {
        if self.orders.send(order).is_ok() {
            let _ = self.waker.wake();
        }
    }
}

/// What a thread is for.
pub enum Role {
    /// Connects clients, and hands those that are connected to the threads for media.
    Connector(Vec<Handle>),
    /// Media.
    Media,
}

/// The line of a client. With what was received come its source and the time of its arrival.
pub type ClientLine = Line<(SocketAddr, Time)>;

struct Slot {
    client: Box<Client>,
    socket: UdpSocket,
    /// If it does anything.
    line: Option<Box<ClientLine>>,
    /// Its entry in the queue of timers that counts.
    scheduled: Time,
}

struct Thread {
    role: Role,
    clock: Clock,
    poll: Poll,
    orders: Receiver<Order>,
    events: Sender<Event>,
    slots: Vec<Option<Slot>>,
    by_number: HashMap<u32, usize>,
    timers: BinaryHeap<Reverse<(Time, usize)>>,
    egress: Egress,
    send: SendBatch,
    stats: Stats,
    line: LineConfig,
    random: Random,
}

/// Starts a thread. `gro`: let the kernel merge what clients receive. All clients have lines of this kind.
pub fn start(
    name: &str,
    role: Role,
    clock: Clock,
    events: Sender<Event>,
    gro: bool,
    line: LineConfig,
) -> io::Result<(Handle, JoinHandle<()>)> {
    let poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
    let (sender, orders) = unbounded();
    let thread = Thread {
        role,
        clock,
        poll,
        orders,
        events,
        slots: Vec::new(),
        by_number: HashMap::new(),
        timers: BinaryHeap::new(),
        egress: Egress::new(),
        send: SendBatch::new(),
        stats: Stats::default(),
        line,
        random: Random::from_os(),
    };
    let running = std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || thread.run(gro))?;
    let handle = Handle {
        orders: sender,
        waker,
    };
    Ok((handle, running))
}

/// What lines add: up, and both ways.
fn delays(line: &LineConfig) -> (Duration, Duration) {
    (line.delay, 2 * line.delay)
}

fn take_notice(client: &mut Client, notice: Notice) {
    match notice {
        Notice::MaxHeight(kind, height) => {
            let mut videos = client.sources.videos.iter_mut();
            if let Some(video) = videos.find(|video| video.kind == kind) {
                video.set_max_height(height);
            }
        }
        Notice::Mapped(ssrc, rtx) => client.receiver.map(ssrc, rtx),
    }
}

impl Thread {
    fn run(mut self, gro: bool) {
        let mut events = Events::with_capacity(1_024);
        let mut batch = ReceiveBatch::new(gro);
        let mut synchronized = self.clock.now();
        loop {
            let due = self
                .timers
                .peek()
                .map_or(MAX_SLEEP, |Reverse((at, _))| *at - self.clock.now());
            if let Err(error) = self.poll.poll(&mut events, Some(due.min(MAX_SLEEP)))
                && error.kind() != io::ErrorKind::Interrupted
            {
                eprintln!("waiting for the network failed: {error}");
                return;
            }
            for event in &events {
                if event.token() != WAKE {
                    self.receive(&mut batch, event.token().0);
                }
            }
            for _ in 0..1_000 {
                match self.orders.try_recv() {
                    Ok(Order::Stop) => return,
                    Ok(order) => self.obey(order),
                    Err(_) => break,
                }
            }
            self.expire();
            let now = self.clock.now();
            if now - synchronized >= SYNCHRONIZE {
                synchronized = now;
                self.clock.synchronize();
            }
        }
    }

    fn receive(&mut self, batch: &mut ReceiveBatch, index: usize) {
        loop {
            let Some(Some(slot)) = self.slots.get_mut(index) else {
                return;
            };
            let (clock, egress, stats) = (&self.clock, &mut self.egress, &mut self.stats);
            let (client, line) = (&mut slot.client, &mut slot.line);
            let delays = delays(&self.line);
            let more = batch.receive_stamped(&slot.socket, |remote, datagram, arrival| {
                let now = clock.now();
                let arrived = arrival.map_or(now, |wall| clock.arrival(wall, now));
                if let Some(line) = line {
                    line.receive(now, (remote, arrived), datagram);
                    return;
                }
                let mut context = Context {
                    now,
                    clock,
                    egress: &mut *egress,
                    stats: &mut *stats,
                    delays,
                };
                client.handle_datagram(&mut context, remote, arrived, datagram);
            });
            self.after(index);
            // An error is what an ICMP message left behind: the next call goes on.
            if !more.unwrap_or(true) {
                return;
            }
        }
    }

    fn expire(&mut self) {
        while let Some(Reverse((at, index))) = self.timers.peek().copied() {
            let now = self.clock.now();
            if at > now {
                return;
            }
            self.timers.pop();
            let Some(Some(slot)) = self.slots.get_mut(index) else {
                continue;
            };
            if slot.scheduled != at {
                continue;
            }
            slot.scheduled = Time::FAR;
            let mut context = Context {
                now,
                clock: &self.clock,
                egress: &mut self.egress,
                stats: &mut self.stats,
                delays: delays(&self.line),
            };
            if slot.client.poll_timeout() <= now {
                slot.client.handle_timeout(&mut context);
            }
            self.after(index);
        }
    }

    /// Sends what a client wrote, and asks when it is to be called again.
    fn after(&mut self, index: usize) {
        let Some(Some(slot)) = self.slots.get_mut(index) else {
            return;
        };
        let now = self.clock.now();
        if let Some(line) = &mut slot.line {
            while let Some(((remote, arrived), datagram)) = line.poll_received(now) {
                let mut context = Context {
                    now,
                    clock: &self.clock,
                    egress: &mut self.egress,
                    stats: &mut self.stats,
                    delays: delays(&self.line),
                };
                slot.client
                    .handle_datagram(&mut context, remote, arrived, &datagram);
            }
            for (path, datagrams) in self.egress.chains() {
                datagrams.for_each(|datagram| line.send(now, path, datagram));
            }
            self.egress.clear();
            let mut hint = ChainHint::default();
            while let Some((path, datagram)) = line.poll_sent(now) {
                self.egress.push(path, &datagram, &mut hint);
            }
        }
        if !self.egress.is_empty() {
            // One by one, as clients are in different places.
            let sent = self
                .send
                .send(&slot.socket, SocketId(0), &self.egress, false);
            self.stats.send_errors += sent.refused;
            self.egress.clear();
        }
        for text in slot.client.take_heard() {
            for notice in notices(&text) {
                take_notice(&mut slot.client, notice);
            }
            self.stats.channel_messages += 1;
        }
        let connecting = matches!(self.role, Role::Connector(_));
        if connecting && (slot.client.is_connected() || slot.client.has_failed()) {
            self.hand_over(index);
            return;
        }
        let line = slot.line.as_ref().map(|line| line.poll_timeout());
        let at = slot.client.poll_timeout().min(line.unwrap_or(Time::FAR));
        if at < slot.scheduled {
            slot.scheduled = at;
            self.timers.push(Reverse((at, index)));
        }
    }

    fn hand_over(&mut self, index: usize) {
        let Some(slot) = self.slots.get_mut(index).and_then(Option::take) else {
            return;
        };
        let number = slot.client.number;
        self.by_number.remove(&number);
        let _ = self
            .poll
            .registry()
            .deregister(&mut SourceFd(&slot.socket.as_raw_fd()));
        if !slot.client.is_connected() {
            let _ = self.events.send(Event::Failed(number));
            return;
        }
        if let Role::Connector(media) = &self.role
            && let Some(handle) = media.get(number as usize % media.len().max(1))
        {
            handle.give(Order::Adopt(slot.client, slot.socket, slot.line));
            let _ = self.events.send(Event::Connected(number));
        }
    }

    fn obey(&mut self, order: Order) {
        let now = self.clock.now();
        match order {
            Order::Adopt(client, socket, line) => self.adopt(client, socket, line),
            Order::Notice(number, notice) => {
                let Some(index) = self.by_number.get(&number).copied() else {
                    return;
                };
                if let Some(Some(slot)) = self.slots.get_mut(index) {
                    take_notice(&mut slot.client, notice);
                }
                self.stats.channel_messages += 1;
            }
            Order::Speak(number, speaks) => {
                let Some(client) = self.client(number) else {
                    return;
                };
                if let Some(audio) = &mut client.sources.audio {
                    audio.set_muted(now, !speaks);
                }
                if let Some(index) = self.by_number.get(&number).copied() {
                    self.after(index);
                }
            }
            Order::Say(number, text) => {
                let Some(index) = self.by_number.get(&number).copied() else {
                    return;
                };
                if let Some(Some(slot)) = self.slots.get_mut(index) {
                    let mut context = Context {
                        now,
                        clock: &self.clock,
                        egress: &mut self.egress,
                        stats: &mut self.stats,
                        delays: delays(&self.line),
                    };
                    slot.client.say(&mut context, text);
                }
                self.after(index);
            }
            Order::Leave(number) => {
                let Some(index) = self.by_number.remove(&number) else {
                    return;
                };
                if let Some(slot) = self.slots.get_mut(index).and_then(Option::take) {
                    let mut source = SourceFd(&slot.socket.as_raw_fd());
                    let _ = self.poll.registry().deregister(&mut source);
                }
            }
            Order::Wish(number, from, encoding) => {
                if let Some(client) = self.client(number) {
                    client.receiver.wish(now, from, encoding);
                }
            }
            Order::Screen(number, shared) => {
                let Some(client) = self.client(number) else {
                    return;
                };
                let videos = client.sources.videos.iter_mut();
                for video in videos.filter(|video| video.kind == Kind::Screen) {
                    video.set_running(now, shared);
                }
                if let Some(index) = self.by_number.get(&number).copied() {
                    self.after(index);
                }
            }
            Order::Report(to) => {
                let clients = || {
                    self.slots
                        .iter()
                        .flatten()
                        .map(|slot| &slot.client.receiver)
                };
                let drives = |slot: &&Slot| !slot.client.is_ready();
                let summary = Summary {
                    unready: self.slots.iter().flatten().filter(drives).count(),
                    waiting: clients().filter(|receiver| receiver.is_waiting()).count(),
                    moving: clients()
                        .map(|receiver| receiver.moving(now, Duration::from_secs(1)))
                        .sum(),
                    stats: std::mem::take(&mut self.stats),
                };
                let _ = to.send(summary);
            }
            Order::Routes(to) => {
                let mut routes = Vec::new();
                for slot in self.slots.iter_mut().flatten() {
                    let to = slot.client.number;
                    let sources = std::mem::take(&mut slot.client.receiver.sources);
                    routes.extend(
                        sources
                            .into_iter()
                            .map(|((from, encoding), packets)| Route {
                                from,
                                encoding,
                                to,
                                packets,
                            }),
                    );
                }
                let _ = to.send(routes);
            }
            Order::Stop => {}
        }
    }

    fn client(&mut self, number: u32) -> Option<&mut Client> {
        let index = *self.by_number.get(&number)?;
        let slot = self.slots.get_mut(index)?.as_mut()?;
        Some(&mut slot.client)
    }

    fn adopt(&mut self, client: Box<Client>, socket: UdpSocket, line: Option<Box<ClientLine>>) {
        let index = self
            .slots
            .iter()
            .position(Option::is_none)
            .unwrap_or(self.slots.len());
        if index == self.slots.len() {
            self.slots.push(None);
        }
        let number = client.number;
        let registered = self.poll.registry().register(
            &mut SourceFd(&socket.as_raw_fd()),
            Token(index),
            Interest::READABLE,
        );
        if registered.is_err() {
            let _ = self.events.send(Event::Failed(number));
            return;
        }
        self.by_number.insert(number, index);
        let own =
            || (!self.line.is_plain()).then(|| Box::new(Line::new(self.line, self.random.fork())));
        let line = line.or_else(own);
        let mut slot = Slot {
            client,
            socket,
            line,
            scheduled: Time::FAR,
        };
        // It may have something to send already.
        let mut context = Context {
            now: self.clock.now(),
            clock: &self.clock,
            egress: &mut self.egress,
            stats: &mut self.stats,
            delays: delays(&self.line),
        };
        slot.client.handle_timeout(&mut context);
        self.slots[index] = Some(slot);
        self.after(index);
    }
}
