//! Sockets, clocks, threads, queues: everything that is not deterministic lives here.
//!
//! [`Bridge::start`] binds the sockets and starts the threads: one per worker, a few for handshakes, one that feeds
//! events to the control plane. Whoever holds a [`Bridge`] reaches the control plane with
//! [`Bridge::with_control`].

use std::collections::VecDeque;
use std::net::{SocketAddr, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use crossbeam_queue::ArrayQueue;
use mio::{Poll, Waker};

use crate::config::BridgeConfig;
use crate::control::api::Environment;
use crate::control::api::{ControlOutput, Notice};
use crate::control::{Control, ControlAccess};
use crate::export::ExportCommand;
use crate::ids::{EndpointKey, WorkerId};
use crate::limits;
use crate::messages::{Command, Event, PoolCommand};
use crate::random::Random;
use crate::stats::WorkerStats;
use crate::time::Time;
use crate::transport::pool::{Pool, PoolConfig, PoolOutput};
use crate::transport::secure::Certificate;
use crate::worker::Worker;

mod shared;
mod sockets;
mod steering;
mod sys;
mod worker_thread;

pub use self::shared::Clock;
pub use self::sockets::{
    BindError, Interface, Offloads, interface_addresses, interfaces, offloads,
};
pub use self::sys::{ReceiveBatch, SendBatch, Sent, enable_gro, enable_timestamps, has_gso};

use self::shared::{Inbox, Shared};
use self::sockets::WorkerSockets;
use self::steering::Steering;
use self::worker_thread::{WAKE, WorkerThread};

/// What the bridge needs from the program around it. All methods are called with the control plane locked: they must
/// only queue.
pub trait Host: Send + Sync {
    /// Text for an endpoint's websocket.
    fn websocket_send(&self, endpoint: EndpointKey, text: Arc<str>);
    /// The endpoint's websocket must close with this code and reason.
    fn websocket_close(&self, endpoint: EndpointKey, code: u16, reason: &'static str);
    /// A media export begins, changes or ends.
    fn export(&self, command: ExportCommand);
    /// Something happened that an embedder may want to know.
    fn notice(&self, notice: &Notice);
    /// A thread of the bridge ended by a defect, named like `worker-0`; called on that thread. What it served is gone, and the
    /// bridge can not be mended: end the process, so that participants are moved and it starts anew (T80).
    fn failed(&self, thread: &str);
}

/// A host without websockets and media exports.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHost;

impl Host for NoHost {
    fn websocket_send(&self, _: EndpointKey, _: Arc<str>) {}
    fn websocket_close(&self, _: EndpointKey, _: u16, _: &'static str) {}
    fn export(&self, _: ExportCommand) {}
    fn notice(&self, _: &Notice) {}
    fn failed(&self, _: &str) {}
}

/// A running bridge. Dropping the last handle stops it.
#[derive(Clone)]
pub struct Bridge(Arc<Inner>);

/// How long a worker had something to do.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct WorkerTime {
    /// CPU time used.
    pub used: Duration,
    /// Time in which it could have run, but others had the cores.
    pub waited: Duration,
}

/// CPU time.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct CpuTimes {
    /// Of each worker; empty once the bridge stopped.
    pub workers: Vec<WorkerTime>,
    /// Of all threads of the process.
    pub process: Duration,
}

struct Inner {
    shared: Arc<Shared>,
    state: Mutex<State>,
    host: Arc<dyn Host>,
    addresses: Vec<SocketAddr>,
    stopping: AtomicBool,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct State {
    control: Control,
    /// Commands that did not fit into a worker's queue, in order.
    waiting: Vec<VecDeque<Command>>,
}

/// Commands kept for a worker whose queue is full; beyond this the worker is taken for dead and they are dropped.
const MAX_WAITING: usize = 1 << 17;
/// When a certificate that could not be made is tried again. The old one is valid for days.
const RENEWAL_RETRY: Duration = Duration::from_secs(600);
/// Period of statistics.
const STATS_INTERVAL: Duration = Duration::from_secs(1);

impl Bridge {
    /// Binds and starts.
    pub fn start(config: BridgeConfig, host: Arc<dyn Host>) -> Result<Bridge, BindError> {
        let clock = Clock::start();
        let mut random = config.seed.map_or_else(Random::from_os, Random::from_seed);
        let config = Arc::new(config);
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let workers = config
            .net
            .workers
            .unwrap_or(cores)
            .clamp(1, limits::MAX_WORKERS);
        let pool_threads = config
            .net
            .pool_threads
            .unwrap_or(workers / 2)
            .clamp(1, limits::MAX_WORKERS);

        let wanted = sockets::local_addresses(&config.net)?;
        let (sockets, addresses) = sockets::bind_all(&wanted, workers, &config.net)?;
        let first = sockets.first().map_or(&[][..], |worker| &worker.members);
        report_receive_buffer(first, config.net.receive_buffer);

        let (event_sender, event_receiver) = crossbeam_channel::bounded(limits::CONTROL_EVENTS);
        let mut pool_receivers = Vec::new();
        let mut pools = Vec::new();
        for _ in 0..pool_threads {
            let (sender, receiver) = crossbeam_channel::bounded(limits::POOL_QUEUE);
            pools.push(sender);
            pool_receivers.push(receiver);
        }
        let mut polls = Vec::new();
        let mut inboxes = Vec::new();
        for _ in 0..workers {
            let poll = Poll::new().map_err(BindError::Thread)?;
            let waker = Waker::new(poll.registry(), WAKE).map_err(BindError::Thread)?;
            inboxes.push(Inbox::new(waker));
            polls.push(poll);
        }
        let shared = Arc::new(Shared {
            clock,
            workers: inboxes,
            pools,
            events: event_sender,
            routes: ArrayQueue::new(limits::WORKER_RING),
        });

        let certificate = Arc::new(Certificate::generate(std::time::SystemTime::now())?);
        let environment = Environment {
            workers,
            pool_threads,
            locals: addresses.clone(),
            fingerprint: certificate.fingerprint().clone(),
        };
        let control = Control::new(Arc::clone(&config), environment, random.fork());
        let state = State {
            control,
            waiting: (0..workers).map(|_| VecDeque::new()).collect(),
        };

        let clones: std::io::Result<_> = first.iter().map(UdpSocket::try_clone).collect();
        let clones = clones.map_err(BindError::Thread)?;
        let steering = Steering::new(clones, workers, &mut random);
        let locals: Arc<[SocketAddr]> = addresses.clone().into();
        let mut threads = Vec::new();
        for (index, (sockets, poll)) in sockets.into_iter().zip(polls).enumerate() {
            let WorkerSockets { members, strangers } = sockets;
            let gso = config.net.gso && members.first().is_some_and(sys::has_gso);
            let mut all = members.iter().chain(&strangers);
            let gro = config.net.gro && all.all(|socket| sys::enable_gro(socket).is_ok());
            let worker = Worker::new(
                WorkerId(index as u8),
                Arc::clone(&config),
                Arc::clone(&locals),
                workers,
                random.fork(),
                clock.now(),
            );
            let thread = WorkerThread {
                worker,
                members,
                strangers,
                poll,
                shared: Arc::clone(&shared),
                gso,
                gro,
            };
            thread.register().map_err(BindError::Thread)?;
            let name = format!("worker-{index}");
            threads.push(spawn(name, Arc::clone(&host), move || thread.run())?);
        }
        for (index, receiver) in pool_receivers.into_iter().enumerate() {
            let pool_config = PoolConfig {
                certificate: Arc::clone(&certificate),
                profiles: config.transport.srtp_profiles.clone(),
                accept_sha1: config.transport.accept_sha1_fingerprints,
                handshake_timeout: config.transport.handshake_timeout,
                sctp_held: limits::SCTP_HELD_IN_ALL / pool_threads,
            };
            let pool = Pool::new(pool_config, clock.origin(), random.fork());
            let shared = Arc::clone(&shared);
            let name = format!("handshake-{index}");
            threads.push(spawn(name, Arc::clone(&host), move || {
                run_pool(pool, &receiver, &shared)
            })?);
        }
        let inner = Arc::new(Inner {
            shared,
            state: Mutex::new(state),
            host,
            addresses,
            stopping: AtomicBool::new(false),
            threads: Mutex::new(Vec::new()),
        });
        let weak = Arc::downgrade(&inner);
        let host = Arc::clone(&inner.host);
        threads.push(spawn("control".into(), host, move || {
            run_control(&weak, &event_receiver, Some(steering))
        })?);
        *lock(&inner.threads) = threads;
        Ok(Bridge(inner))
    }

    /// The bound addresses.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.0.addresses
    }

    /// Number of workers.
    pub fn workers(&self) -> usize {
        self.0.shared.workers.len()
    }

    /// The bridge's clock.
    pub fn clock(&self) -> Clock {
        self.0.shared.clock
    }

    /// What each worker last reported, at most about a second old.
    pub fn stats(&self) -> Vec<WorkerStats> {
        let workers = (0..self.workers()).map(|worker| WorkerId(worker as u8));
        self.with_control(|control, _| {
            workers
                .filter_map(|worker| control.worker_stats(worker).cloned())
                .collect()
        })
    }

    /// CPU time used so far, by each worker and by the whole process.
    pub fn cpu_times(&self) -> CpuTimes {
        let threads = lock(&self.0.threads);
        // Workers were started first.
        let workers = threads.iter().zip(&self.0.shared.workers);
        let workers = workers.filter_map(|(thread, inbox)| {
            Some(WorkerTime {
                used: sys::thread_cpu_time(thread)?,
                waited: inbox.waited(),
            })
        });
        CpuTimes {
            workers: workers.collect(),
            process: sys::process_cpu_time().unwrap_or_default(),
        }
    }

    /// Workers that have not begun a turn for longer than `patience`: they hang or are gone. An idle worker begins one at least
    /// every 500 ms.
    pub fn stalled(&self, patience: Duration) -> Vec<WorkerId> {
        let now = self.0.shared.clock.now();
        let workers = self.0.shared.workers.iter().zip(0u8..);
        workers
            .filter(|(inbox, _)| now - inbox.last_turn() > patience)
            .map(|(_, index)| WorkerId(index))
            .collect()
    }

    /// Stops all threads and waits for them. Endpoints are not told.
    pub fn stop(&self) {
        for worker in 0..self.workers() {
            self.0.send_until_taken(WorkerId(worker as u8));
        }
        for pool in &self.0.shared.pools {
            let _ = pool.send(PoolCommand::Stop);
        }
        // The control thread sees it within a second.
        self.0.stopping.store(true, Ordering::SeqCst);
        let threads = std::mem::take(&mut *lock(&self.0.threads));
        let me = std::thread::current().id();
        for thread in threads {
            if thread.thread().id() != me {
                let _ = thread.join();
            }
        }
    }
}

impl ControlAccess for Bridge {
    fn with_control<R>(&self, work: impl FnOnce(&mut Control, Time) -> R) -> R {
        self.0.with_control(work)
    }
}

impl Inner {
    fn with_control<R>(&self, f: impl FnOnce(&mut Control, Time) -> R) -> R {
        let mut state = lock(&self.state);
        let result = f(&mut state.control, self.shared.clock.now());
        self.dispatch(&mut state);
        result
    }

    /// Sends what the control plane wants sent. Runs under its lock, so the order is kept.
    fn dispatch(&self, state: &mut State) {
        while let Some(output) = state.control.poll_output() {
            match output {
                ControlOutput::Worker(worker, command) => {
                    let Some(waiting) = state.waiting.get_mut(usize::from(worker.0)) else {
                        continue;
                    };
                    if waiting.len() < MAX_WAITING {
                        waiting.push_back(command);
                    } else {
                        tracing::error!(
                            worker = worker.0,
                            "the worker takes no commands: dropped one"
                        );
                    }
                }
                ControlOutput::Pool(thread, command) => {
                    if let Some(pool) = self.shared.pools.get(thread)
                        && pool.try_send(command).is_err()
                    {
                        tracing::error!(
                            thread,
                            "the handshake pool takes no commands: dropped one"
                        );
                    }
                }
                ControlOutput::WebSocket(endpoint, text) => {
                    self.host.websocket_send(endpoint, text)
                }
                ControlOutput::CloseWebSocket(endpoint, code, reason) => {
                    self.host.websocket_close(endpoint, code, reason);
                }
                ControlOutput::Export(command) => self.host.export(command),
                ControlOutput::Notice(notice) => self.host.notice(&notice),
            }
        }
        for (worker, waiting) in state.waiting.iter_mut().enumerate() {
            while let Some(command) = waiting.pop_front() {
                if let Err(command) = self.shared.send_command(WorkerId(worker as u8), command) {
                    waiting.push_front(command);
                    break;
                }
            }
        }
    }

    fn send_until_taken(&self, worker: WorkerId) {
        let mut command = Command::Stop;
        let ended = |inbox: &Inbox| inbox.ended.load(Ordering::Acquire);
        while let Err(refused) = self.shared.send_command(worker, command) {
            if self
                .shared
                .workers
                .get(usize::from(worker.0))
                .is_none_or(ended)
            {
                return;
            }
            command = refused;
            std::thread::yield_now();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for worker in 0..self.shared.workers.len() {
            self.send_until_taken(WorkerId(worker as u8));
        }
        for pool in &self.shared.pools {
            let _ = pool.try_send(PoolCommand::Stop);
        }
    }
}

/// Feeds events and time to the control plane until the bridge is gone.
fn run_control(
    bridge: &std::sync::Weak<Inner>,
    events: &Receiver<Event>,
    mut steering: Option<Steering>,
) {
    let mut next_stats = Time::ZERO;
    let mut renewal = Time::ZERO + Certificate::MAX_AGE;
    let mut wait = Duration::ZERO;
    loop {
        let first = match events.recv_timeout(wait) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let Some(bridge) = bridge.upgrade() else {
            return;
        };
        let steer = steer(&mut steering, &bridge.shared);
        let mut state = lock(&bridge.state);
        if bridge.stopping.load(Ordering::SeqCst) {
            return;
        }
        let now = bridge.shared.clock.now();
        // A bounded number per round, so that requests get the lock in between.
        for event in first.into_iter().chain(events.try_iter().take(256)) {
            state.control.handle_event(now, event);
        }
        if state.control.poll_timeout().is_some_and(|at| at <= now) {
            state.control.handle_timeout(now);
        }
        if now >= next_stats {
            next_stats = now + STATS_INTERVAL;
            state.control.collect_stats();
        }
        if now >= renewal {
            renewal = now + renew_certificate(&mut state.control);
        }
        bridge.dispatch(&mut state);
        let stuck = state.waiting.iter().any(|waiting| !waiting.is_empty());
        let deadline = state
            .control
            .poll_timeout()
            .unwrap_or(Time::FAR)
            .min(steer)
            .min(next_stats);
        wait = if stuck {
            Duration::from_millis(1)
        } else {
            (deadline - now).min(STATS_INTERVAL)
        };
    }
}

/// Tells the kernel what workers said about their paths; when to do so again.
fn steer(steering: &mut Option<Steering>, shared: &Shared) -> Time {
    let Some(active) = steering else {
        return Time::FAR;
    };
    while let Some((worker, path, owned)) = shared.routes.pop() {
        active.note(path, worker, owned);
    }
    if let Err(error) = active.update(shared.clock.now()) {
        tracing::info!(%error, "the kernel can not be told which worker a datagram is for: workers hand them over");
        *steering = None;
        return Time::FAR;
    }
    active.poll_timeout().unwrap_or(Time::FAR)
}

/// Gives endpoints that come from now on a new certificate; the time until the next one is due.
fn renew_certificate(control: &mut Control) -> Duration {
    match Certificate::generate(std::time::SystemTime::now()) {
        Ok(certificate) => {
            control.renew_certificate(&Arc::new(certificate));
            Certificate::MAX_AGE
        }
        Err(error) => {
            tracing::error!(%error, "the certificate stays in use and is renewed later");
            RENEWAL_RETRY
        }
    }
}

/// Runs one thread of the handshake pool until [`PoolCommand::Stop`].
fn run_pool(mut pool: Pool, commands: &Receiver<PoolCommand>, shared: &Shared) {
    let mut waiting: VecDeque<PoolOutput> = VecDeque::new();
    loop {
        let now = shared.clock.now();
        let deadline = pool
            .poll_timeout()
            .map_or(Duration::from_secs(1), |at| at - now);
        let wait = if waiting.is_empty() {
            deadline
        } else {
            Duration::from_millis(1).min(deadline)
        };
        match commands.recv_timeout(wait) {
            Ok(PoolCommand::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Ok(command) => pool.handle(shared.clock.now(), command),
            Err(RecvTimeoutError::Timeout) => {}
        }
        let now = shared.clock.now();
        if pool.poll_timeout().is_some_and(|at| at <= now) {
            pool.handle_timeout(now);
        }
        while let Some(output) = pool.poll_output() {
            waiting.push_back(output);
        }
        for _ in 0..waiting.len() {
            let Some(output) = waiting.pop_front() else {
                break;
            };
            let refused = match output {
                PoolOutput::Worker(worker, command) => {
                    shared.send_command(worker, command).err().map(|command| {
                        // A lost DTLS datagram is sent again by its timer; keys are not.
                        (!matches!(command, Command::SendDtls(..)))
                            .then_some(PoolOutput::Worker(worker, command))
                    })
                }
                PoolOutput::Event(event) => shared
                    .events
                    .try_send(event)
                    .err()
                    .map(|error| Some(PoolOutput::Event(error.into_inner()))),
            };
            if let Some(Some(output)) = refused {
                waiting.push_front(output);
                break;
            }
        }
    }
}

fn spawn(
    name: String,
    host: Arc<dyn Host>,
    f: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, BindError> {
    let thread = name.clone();
    let guarded = move || {
        if catch_unwind(AssertUnwindSafe(f)).is_err() {
            tracing::error!(thread, "a thread of the bridge ended by an internal error");
            host.failed(&thread);
        }
    };
    std::thread::Builder::new()
        .name(name)
        .spawn(guarded)
        .map_err(BindError::Thread)
}

/// A panic while the lock was held does not make what it protects unusable: the control plane's own state is checked
/// where it is used.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn report_receive_buffer(sockets: &[UdpSocket], wanted: usize) {
    let Some(socket) = sockets.first() else {
        return;
    };
    let given = sockets::receive_buffer(socket);
    if given < wanted {
        tracing::warn!(
            wanted,
            given,
            "the kernel gives a smaller socket receive buffer than configured: raise net.core.rmem_max and \
             net.core.wmem_max with sysctl to avoid loss under load"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_that_are_gone_are_told_from_those_that_run() {
        let mut config = BridgeConfig::default();
        config.net.bind = vec![([127, 0, 0, 1], 0).into()];
        config.net.workers = Some(1);
        config.net.receive_buffer = 1 << 16;
        let bridge = Bridge::start(config, Arc::new(NoHost)).expect("loopback is there");
        assert_eq!(bridge.stalled(Duration::from_secs(600)), []);
        bridge.stop();
        assert_eq!(bridge.stalled(Duration::ZERO), [WorkerId(0)]);
    }

    #[derive(Default)]
    struct Obituary(Mutex<Vec<String>>);

    impl Host for Obituary {
        fn websocket_send(&self, _: EndpointKey, _: Arc<str>) {}
        fn websocket_close(&self, _: EndpointKey, _: u16, _: &'static str) {}
        fn export(&self, _: ExportCommand) {}
        fn notice(&self, _: &Notice) {}
        fn failed(&self, thread: &str) {
            lock(&self.0).push(thread.to_owned());
        }
    }

    #[test]
    fn t80_the_host_learns_of_a_thread_that_ends_by_a_defect() {
        let host = Arc::new(Obituary::default());
        let threads = [
            spawn(
                "worker-7".into(),
                Arc::clone(&host) as Arc<dyn Host>,
                || panic!("on purpose"),
            ),
            spawn("worker-8".into(), Arc::clone(&host) as Arc<dyn Host>, || {}),
        ];
        for thread in threads {
            thread.unwrap().join().unwrap();
        }
        assert_eq!(*lock(&host.0), ["worker-7"]);
    }
}
