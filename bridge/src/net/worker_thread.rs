//! One worker's thread: sockets, queues and the clock around a [`Worker`].

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use std::os::fd::AsRawFd;

use super::shared::{Inbox, Shared};
use super::sys::{ReceiveBatch, SendBatch};
use crate::counters::Counter;
use crate::ids::{Path, SocketId, WorkerId};
use crate::messages::{Command, PoolCommand, RingMessage};
use crate::time::Time;
use crate::worker::Worker;

/// Token of the waker; sockets have their index.
pub(super) const WAKE: Token = Token(usize::MAX);
/// Receive calls per socket and turn, so that one busy socket does not starve timers and queues.
const RECEIVES_PER_TURN: usize = 8;
/// The same for strangers: what calls send is read in between.
const STRANGERS_PER_TURN: usize = 1;
/// Queue entries per turn.
const MESSAGES_PER_TURN: usize = 1_024;
/// Longest sleep, so that a lost wake-up can never hang a worker.
const MAX_SLEEP: Duration = Duration::from_millis(500);

pub(super) struct WorkerThread {
    pub worker: Worker,
    /// For its endpoints, by local address.
    pub members: Vec<UdpSocket>,
    /// For everybody else.
    pub strangers: Vec<UdpSocket>,
    pub poll: Poll,
    pub shared: Arc<Shared>,
    pub gso: bool,
    pub gro: bool,
}

/// Tells others that the worker is gone, however it ends.
struct End<'a>(&'a Inbox);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Release);
    }
}

impl WorkerThread {
    pub fn register(&self) -> std::io::Result<()> {
        for (index, socket) in self.members.iter().chain(&self.strangers).enumerate() {
            let fd = socket.as_raw_fd();
            self.poll
                .registry()
                .register(&mut SourceFd(&fd), Token(index), Interest::READABLE)?;
        }
        Ok(())
    }

    /// Runs until [`Command::Stop`].
    pub fn run(mut self) {
        let mut events = Events::with_capacity(64);
        let mut receive = ReceiveBatch::new(self.gro);
        let mut send = SendBatch::new();
        let id = self.worker.id();
        let mut readable = vec![true; self.members.len() + self.strangers.len()];
        let shared = Arc::clone(&self.shared);
        let inbox = &shared.workers[usize::from(id.0)];
        let _end = End(inbox);
        inbox.runs_here();
        loop {
            let timeout = self.sleep_time(&readable);
            if let Err(error) = self.poll.poll(&mut events, timeout)
                && error.kind() != std::io::ErrorKind::Interrupted
            {
                tracing::error!(worker = id.0, %error, "waiting for the network failed");
                std::thread::sleep(Duration::from_millis(10));
            }
            inbox.sleeping.store(false, Ordering::SeqCst);
            for event in &events {
                if let Some(flag) = readable.get_mut(event.token().0) {
                    *flag = true;
                }
            }
            let now = shared.clock.now();
            inbox.turn_begins(now);
            let sent = self.worker.counters().get(Counter::RtpOut);
            // Before datagrams: a client that was told of its endpoint may have sent its first check already, and so may one whose
            // check another worker just answered.
            let mut stop = self.take_commands(inbox, now);
            for _ in 0..MESSAGES_PER_TURN {
                let Some((from, message)) = inbox.ring.pop() else {
                    break;
                };
                self.worker.handle_ring(now, from, message);
            }
            for (index, readable) in readable.iter_mut().enumerate() {
                if index == self.members.len() {
                    // Reading what calls send took its time.
                    stop |= self.take_commands(inbox, now);
                }
                if *readable {
                    *readable = self.receive(&mut receive, index, now);
                }
            }
            if self.worker.poll_timeout().is_some_and(|at| at <= now) {
                self.worker.handle_timeout(now);
            }
            self.worker.end_turn(now);
            // Before the network: other workers must know a path when its client gets the answer to its check.
            self.deliver();
            self.flush(&mut send);
            let sent_in_turn = self.worker.counters().get(Counter::RtpOut) - sent;
            self.count_transit(sent_in_turn, shared.clock.now() - now);
            if stop {
                return;
            }
        }
    }

    /// Does what the control plane wants; whether that is to stop.
    fn take_commands(&mut self, inbox: &Inbox, now: Time) -> bool {
        let mut stop = false;
        for _ in 0..MESSAGES_PER_TURN {
            let Some(command) = inbox.commands.pop() else {
                break;
            };
            stop |= matches!(command, Command::Stop);
            self.worker.handle_command(now, command);
        }
        stop
    }

    /// Counts how long the packets of a turn took from socket to socket: not more than the turn.
    fn count_transit(&mut self, packets: u64, turn: Duration) {
        if packets == 0 {
            return;
        }
        let class = match turn.as_millis() {
            0..5 => Counter::TransitUpTo5Ms,
            5..50 => Counter::TransitUpTo50Ms,
            50..500 => Counter::TransitUpTo500Ms,
            _ => Counter::TransitLonger,
        };
        let micros = u64::try_from(turn.as_micros()).unwrap_or(u64::MAX);
        let counters = self.worker.counters();
        counters.add(class, packets);
        counters.add(Counter::TransitMicros, packets.saturating_mul(micros));
    }

    /// How long to wait: not at all while there is work, otherwise until the next timer. Announces sleep first, so
    /// that whoever queues something afterwards wakes us.
    fn sleep_time(&self, readable: &[bool]) -> Option<Duration> {
        let inbox = &self.shared.workers[usize::from(self.worker.id().0)];
        if readable.contains(&true) {
            return Some(Duration::ZERO);
        }
        inbox.sleeping.store(true, Ordering::SeqCst);
        if !inbox.ring.is_empty() || !inbox.commands.is_empty() {
            return Some(Duration::ZERO);
        }
        let now = self.shared.clock.now();
        let timer = self.worker.poll_timeout().map_or(MAX_SLEEP, |at| at - now);
        Some(timer.min(MAX_SLEEP))
    }

    /// Reads from a socket; whether more may be waiting.
    fn receive(&mut self, batch: &mut ReceiveBatch, index: usize, now: Time) -> bool {
        let (socket, local, calls) = match self.members.get(index) {
            Some(socket) => (socket, index, RECEIVES_PER_TURN),
            None => {
                let index = index - self.members.len();
                (&self.strangers[index], index, STRANGERS_PER_TURN)
            }
        };
        let local = SocketId(local as u8);
        for _ in 0..calls {
            let worker = &mut self.worker;
            let outcome = batch.receive(socket, |remote, data| {
                let path = Path {
                    socket: local,
                    remote,
                };
                worker.handle_datagram(now, path, data);
            });
            match outcome {
                Ok(true) => {}
                Ok(false) => return false,
                Err(_) => {
                    // Such as ECONNREFUSED from an ICMP message: it says nothing about the socket (T12).
                    self.worker.counters().count(Counter::ReceiveErrors);
                    return true;
                }
            }
        }
        true
    }

    fn flush(&mut self, send: &mut SendBatch) {
        if self.worker.egress().is_empty() {
            return;
        }
        for (index, socket) in self.members.iter().enumerate() {
            let sent = send.send(
                socket,
                SocketId(index as u8),
                self.worker.egress(),
                self.gso,
            );
            if sent.gso_failed {
                tracing::warn!(
                    worker = self.worker.id().0,
                    "the network refuses segmentation offload: sending datagrams one by one from now on"
                );
                self.gso = false;
            }
            let counters = self.worker.counters();
            counters.add(Counter::DatagramsOut, sent.datagrams);
            counters.add(Counter::BytesOut, sent.bytes);
            counters.add(Counter::SendErrors, sent.refused);
        }
        self.worker.egress().clear();
    }

    fn deliver(&mut self) {
        let id = self.worker.id();
        let shared = &self.shared;
        let out = self.worker.outputs();
        let mut dropped = 0;
        // Routes are told to all others; the first of them is enough to know.
        let first = WorkerId(u8::from(id.0 == 0));
        while let Some((to, message)) = out.rings.pop_front() {
            if let RingMessage::Route(path, owned) = message
                && to == first
            {
                // What is lost here is handed over by workers.
                let _ = shared.routes.push((id, path, owned));
            }
            if !shared.send_ring(to, id, message) {
                dropped += 1;
            }
        }
        while let Some((tap, exported)) = out.exports.pop_front() {
            tap.push(exported);
        }
        while let Some(event) = out.events.pop_front() {
            if let Err(error) = shared.events.try_send(event) {
                // The control plane is behind: keep it for the next turn.
                out.events.push_front(error.into_inner());
                break;
            }
        }
        let mut refused = 0;
        for _ in 0..out.pool.len() {
            let Some((thread, command)) = out.pool.pop_front() else {
                break;
            };
            let Some(queue) = shared.pools.get(thread) else {
                continue;
            };
            if let Err(error) = queue.try_send(command) {
                match error.into_inner() {
                    PoolCommand::Datagram(..) => refused += 1,
                    // Anything else happens once and must arrive.
                    command => out.pool.push_back((thread, command)),
                }
            }
        }
        self.worker.counters().add(Counter::DropRingFull, dropped);
        self.worker.counters().add(Counter::DropDtlsLimit, refused);
    }
}
