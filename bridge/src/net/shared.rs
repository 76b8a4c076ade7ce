//! What the threads share: the clock, and bounded queues towards each other.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use crossbeam_queue::ArrayQueue;
use mio::Waker;

use crate::ids::{Path, WorkerId};
use crate::limits;
use crate::messages::{Command, Event, PoolCommand, RingMessage};
use crate::time::Time;

/// The one clock: monotonic, since the bridge started.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Starts at zero now.
    pub fn start() -> Clock {
        Clock(Instant::now())
    }

    /// The moment at which it showed zero.
    pub(super) fn origin(&self) -> Instant {
        self.0
    }

    /// The current time.
    pub fn now(&self) -> Time {
        Time::from_micros(u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}

/// A worker as others see it.
pub(super) struct Inbox {
    pub commands: ArrayQueue<Command>,
    pub ring: ArrayQueue<(WorkerId, RingMessage)>,
    pub waker: Waker,
    /// The worker is about to wait or waits.
    pub sleeping: AtomicBool,
    /// When its last turn began, in µs of the shared clock.
    turn: AtomicU64,
    /// The worker takes nothing any more.
    pub ended: AtomicBool,
    /// The kernel's id of the worker's thread; 0 = not known.
    thread: AtomicU64,
}

impl Inbox {
    pub fn new(waker: Waker) -> Inbox {
        Inbox {
            commands: ArrayQueue::new(limits::WORKER_COMMANDS),
            ring: ArrayQueue::new(limits::WORKER_RING),
            waker,
            sleeping: AtomicBool::new(false),
            turn: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            thread: AtomicU64::new(0),
        }
    }

    /// The calling thread is the worker's.
    pub fn runs_here(&self) {
        let link = std::fs::read_link("/proc/thread-self").ok();
        let id = link.and_then(|link| link.file_name()?.to_str()?.parse().ok());
        self.thread.store(id.unwrap_or(0), Ordering::Relaxed);
    }

    /// How long the worker's thread was ready to run while others had the cores; zero where the kernel does not tell.
    pub fn waited(&self) -> Duration {
        let thread = self.thread.load(Ordering::Relaxed);
        let text = std::fs::read_to_string(format!("/proc/self/task/{thread}/schedstat"));
        let text = text.unwrap_or_default();
        let nanos = text.split_whitespace().nth(1);
        Duration::from_nanos(nanos.and_then(|nanos| nanos.parse().ok()).unwrap_or(0))
    }

    /// The worker begins a turn.
    pub fn turn_begins(&self, now: Time) {
        self.turn.store(now.as_micros(), Ordering::Relaxed);
    }

    /// When the worker began its last turn.
    pub fn last_turn(&self) -> Time {
        Time::from_micros(self.turn.load(Ordering::Relaxed))
    }

    pub fn wake(&self) {
        if self.sleeping.swap(false, Ordering::SeqCst) {
            // An error here can only mean that the worker's poll is gone, and so is the worker.
            let _ = self.waker.wake();
        }
    }
}

/// Shared by all threads.
pub(super) struct Shared {
    pub clock: Clock,
    pub workers: Vec<Inbox>,
    pub pools: Vec<Sender<PoolCommand>>,
    pub events: Sender<Event>,
    /// Paths that a worker's endpoints got (true) or lost, for [`super::steering`].
    pub routes: ArrayQueue<(WorkerId, Path, bool)>,
}

impl Shared {
    /// Puts a message into a worker's ring; false if it is full.
    pub fn send_ring(&self, to: WorkerId, from: WorkerId, message: RingMessage) -> bool {
        let Some(inbox) = self.workers.get(usize::from(to.0)) else {
            return false;
        };
        let accepted = inbox.ring.push((from, message)).is_ok();
        inbox.wake();
        accepted
    }

    /// Puts a command into a worker's queue; gives it back if the queue is full.
    pub fn send_command(&self, to: WorkerId, command: Command) -> Result<(), Command> {
        let Some(inbox) = self.workers.get(usize::from(to.0)) else {
            return Ok(());
        };
        let outcome = inbox.commands.push(command);
        inbox.wake();
        outcome
    }
}
