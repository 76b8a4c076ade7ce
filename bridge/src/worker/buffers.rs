//! Packet buffers that are used again.
//!
//! A received packet lives in an `Arc` that receivers, caches and other workers may hold. Whoever lets go of
//! it offers it to its own worker's pool, which keeps it if nobody else holds it: no lock, no shared free
//! list, and a buffer simply moves to the worker that used it last.

use std::sync::Arc;

use super::packet::MediaPacket;

/// Free packet buffers of one worker.
#[derive(Debug, Default)]
pub struct PacketPool {
    free: Vec<Arc<MediaPacket>>,
    created: u64,
    /// References that pacers hold, over all receivers of the worker.
    pub(crate) paced: usize,
}

/// Buffers kept free at most; more are given back to the allocator.
const MAX_FREE: usize = 4_096;

impl PacketPool {
    /// A buffer that nobody else holds; its content is arbitrary.
    pub fn take(&mut self) -> Arc<MediaPacket> {
        while let Some(mut packet) = self.free.pop() {
            if Arc::get_mut(&mut packet).is_some() {
                return packet;
            }
        }
        self.created += 1;
        Arc::new(MediaPacket::empty())
    }

    /// Gives a reference back. The buffer is kept if it was the last one.
    pub fn recycle(&mut self, mut packet: Arc<MediaPacket>) {
        if self.free.len() < MAX_FREE && Arc::get_mut(&mut packet).is_some() {
            self.free.push(packet);
        }
    }

    /// Buffers that had to be allocated since the start.
    pub fn created(&self) -> u64 {
        self.created
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_only_when_the_last_holder_lets_go() {
        let mut pool = PacketPool::default();
        let packet = pool.take();
        let held = Arc::clone(&packet);
        pool.recycle(packet);
        assert_eq!(pool.free.len(), 0);
        pool.recycle(held);
        assert_eq!(pool.free.len(), 1);
        let _again = pool.take();
        assert_eq!(pool.created(), 1);
    }
}
