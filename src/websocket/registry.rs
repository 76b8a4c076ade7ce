//! Which socket belongs to which endpoint, and what waits to be sent on it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use causeway_bridge::ids::EndpointKey;
use causeway_bridge::limits::WEBSOCKET_SEND_BUFFER;
use tokio::sync::Notify;

/// The open websockets. Its methods only queue, so they may be called with the control plane locked; it never
/// locks the control plane itself.
#[derive(Default)]
pub struct WebSockets {
    registry: Mutex<Registry>,
    pub(super) counters: Counters,
}

#[derive(Default)]
struct Registry {
    sockets: BTreeMap<EndpointKey, Registration>,
    /// Number of the latest socket.
    latest: u64,
}

/// One socket's place: it is its endpoint's current one as long as its number stands in the registry.
#[derive(Clone)]
pub(super) struct Registration {
    pub(super) key: EndpointKey,
    pub(super) number: u64,
    pub(super) outbox: Arc<Outbox>,
}

/// Counts since the start.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) received: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) close_normal: AtomicU64,
    pub(super) close_abnormal: AtomicU64,
    pub(super) errors: AtomicU64,
    overflows: AtomicU64,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// What was counted (bridge-channel spec §3.8).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WebSocketStats {
    /// Sockets that are their endpoint's current one.
    pub open: u64,
    /// Texts received.
    pub messages_received: u64,
    /// Texts sent.
    pub messages_sent: u64,
    /// Current sockets that ended with 1000, 1001 or 1005.
    pub close_normal: u64,
    /// Current sockets that ended otherwise.
    pub close_abnormal: u64,
    /// Sockets that failed: violations of the protocol, lost connections.
    pub errors: u64,
    /// Sockets closed because their client did not read.
    pub overflows: u64,
}

impl WebSockets {
    /// Without sockets.
    pub fn new() -> Arc<WebSockets> {
        Arc::default()
    }

    /// Queues a text for an endpoint's websocket. If it has none, the text is dropped; if too much waits on it
    /// already, the socket is closed with 1013.
    pub fn send(&self, key: EndpointKey, text: Arc<str>) {
        let registry = self.registry();
        if let Some(socket) = registry.sockets.get(&key)
            && socket.outbox.push(text) == Pushed::Overflow
        {
            Counters::add(&self.counters.overflows);
        }
    }

    /// Closes an endpoint's websocket; from now on it has none. What waits to be sent is dropped.
    pub fn close(&self, key: EndpointKey, code: u16, reason: &'static str) {
        if let Some(socket) = self.registry().sockets.remove(&key) {
            socket.outbox.close(code, reason);
        }
    }

    /// What was counted since the start.
    pub fn stats(&self) -> WebSocketStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters {
            received,
            sent,
            close_normal,
            close_abnormal,
            errors,
            overflows,
        } = &self.counters;
        WebSocketStats {
            open: self.registry().sockets.len() as u64,
            messages_received: get(received),
            messages_sent: get(sent),
            close_normal: get(close_normal),
            close_abnormal: get(close_abnormal),
            errors: get(errors),
            overflows: get(overflows),
        }
    }

    /// Makes a new socket the endpoint's current one and closes the one before. Call with the control plane
    /// locked, before it is told.
    pub(super) fn open(&self, key: EndpointKey) -> Registration {
        let mut registry = self.registry();
        registry.latest += 1;
        let registration = Registration {
            key,
            number: registry.latest,
            outbox: Arc::default(),
        };
        if let Some(old) = registry.sockets.insert(key, registration.clone()) {
            old.outbox.close(1000, "replaced");
        }
        registration
    }

    /// Whether a socket is its endpoint's current one. Call with the control plane locked: then it stays so.
    pub(super) fn is_current(&self, socket: &Registration) -> bool {
        self.registry()
            .sockets
            .get(&socket.key)
            .is_some_and(|current| current.number == socket.number)
    }

    /// Removes a socket that ended; false if it was not the current one any more. Call with the control plane
    /// locked.
    pub(super) fn remove(&self, socket: &Registration) -> bool {
        let mut registry = self.registry();
        let current = registry
            .sockets
            .get(&socket.key)
            .is_some_and(|current| current.number == socket.number);
        if current {
            registry.sockets.remove(&socket.key);
        }
        current
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What waits to be sent on one socket. Has one writer, the socket's task.
#[derive(Default)]
pub(super) struct Outbox {
    queue: Mutex<Queue>,
    changed: Notify,
}

#[derive(Default)]
struct Queue {
    texts: VecDeque<Arc<str>>,
    /// Bytes in `texts` and in the text that is being written.
    bytes: usize,
    closing: Option<(u16, &'static str)>,
}

/// Outcome of [`Outbox::push`].
#[derive(PartialEq, Eq, Debug)]
enum Pushed {
    Queued,
    Closing,
    Overflow,
}

/// What the writer does next.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// Send it, then call [`Outbox::written`].
    Text(Arc<str>),
    /// Close with that code and reason.
    Close(u16, &'static str),
}

impl Outbox {
    fn push(&self, text: Arc<str>) -> Pushed {
        let mut queue = self.queue();
        if queue.closing.is_some() {
            return Pushed::Closing;
        }
        let outcome = if queue.bytes + text.len() > WEBSOCKET_SEND_BUFFER {
            queue.texts = VecDeque::new();
            queue.closing = Some((1013, "Send buffer full"));
            Pushed::Overflow
        } else {
            queue.bytes += text.len();
            queue.texts.push_back(text);
            Pushed::Queued
        };
        self.changed.notify_one();
        outcome
    }

    fn close(&self, code: u16, reason: &'static str) {
        let mut queue = self.queue();
        queue.texts = VecDeque::new();
        queue.closing.get_or_insert((code, reason));
        self.changed.notify_one();
    }

    /// The next thing to do; loses nothing when cancelled.
    pub(super) async fn next(&self) -> Next {
        loop {
            {
                let mut queue = self.queue();
                if let Some((code, reason)) = queue.closing {
                    return Next::Close(code, reason);
                }
                if let Some(text) = queue.texts.pop_front() {
                    return Next::Text(text);
                }
            }
            self.changed.notified().await;
        }
    }

    /// Resolves when the socket must close, also while a text is being written.
    pub(super) async fn closing(&self) -> (u16, &'static str) {
        loop {
            if let Some(closing) = self.queue().closing {
                return closing;
            }
            self.changed.notified().await;
        }
    }

    /// A text went out.
    pub(super) fn written(&self, text: &str) {
        let mut queue = self.queue();
        queue.bytes = queue.bytes.saturating_sub(text.len());
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
