//! Where workers leave packets for an export.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crossbeam_queue::ArrayQueue;

use crate::ids::{EndpointId, SourceName};
use crate::limits;
use crate::worker::packet::MediaPacket;

/// An audio packet and whose it is.
#[derive(Clone, Debug)]
pub struct Exported {
    /// Name of its source.
    pub source: SourceName,
    /// Id of the endpoint that owns the source.
    pub owner: EndpointId,
    /// The voices in it shall be told apart.
    pub diarize: bool,
    /// The packet: Opus, or RED with Opus in it.
    pub packet: Arc<MediaPacket>,
}

/// A bounded queue from workers to one export. A worker never waits: when the queue is full the oldest packet goes.
pub struct Tap {
    queue: ArrayQueue<Exported>,
    dropped: AtomicU64,
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Default for Tap {
    fn default() -> Tap {
        Tap {
            queue: ArrayQueue::new(limits::EXPORT_TAP),
            dropped: AtomicU64::new(0),
            wake: OnceLock::new(),
        }
    }
}

impl Tap {
    /// Calls `wake` after each packet, on the worker's thread: it must only wake somebody. Only the first call counts.
    pub fn on_packet(&self, wake: impl Fn() + Send + Sync + 'static) {
        let _ = self.wake.set(Box::new(wake));
    }

    /// Puts a packet in.
    pub fn push(&self, packet: Exported) {
        if self.queue.force_push(packet).is_some() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(wake) = self.wake.get() {
            wake();
        }
    }

    /// The oldest packet.
    pub fn pop(&self) -> Option<Exported> {
        self.queue.pop()
    }

    /// Packets that were displaced by newer ones.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Tap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tap")
            .field("waiting", &self.queue.len())
            .finish_non_exhaustive()
    }
}
