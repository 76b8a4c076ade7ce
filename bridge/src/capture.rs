//! A look at what one endpoint sends and gets, decrypted, for operators.
//!
//! [`channel`] makes two ends. The [`CaptureTap`] goes to the endpoint's worker with [`Command::Capture`] and copies each packet into a
//! buffer that it takes from a fixed stock; it allocates nothing and waits for nobody, and when the stock is used up it counts the
//! packet as dropped. The [`Reader`] belongs to whoever keeps the packets. It ends when the tap is gone, that is when the endpoint
//! left, the capture was switched off, or the bridge stopped.
//!
//! [`Command::Capture`]: crate::messages::Command::Capture

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::ids::{Path, SocketId};
use crate::limits::{CAPTURE_FRAMES, PACKET_BUFFER};
use crate::time::Time;

/// What a buffer says before its first packet.
const NOWHERE: Path = Path {
    socket: SocketId(0),
    remote: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
};

/// Which way a packet goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From the endpoint to the bridge.
    Incoming,
    /// From the bridge to the endpoint.
    Outgoing,
}

/// One packet, RTP or RTCP in the clear.
#[derive(Clone)]
pub struct Frame {
    /// When it was handled.
    pub time: Time,
    /// Which way it goes.
    pub direction: Direction,
    /// The bridge's socket and the endpoint's address.
    pub path: Path,
    len: u16,
    data: [u8; PACKET_BUFFER],
}

impl Frame {
    fn empty() -> Frame {
        Frame {
            time: Time::ZERO,
            direction: Direction::Incoming,
            path: NOWHERE,
            len: 0,
            data: [0; PACKET_BUFFER],
        }
    }

    /// The packet as it is before it is sealed, or after it was opened.
    pub fn packet(&self) -> &[u8] {
        self.data.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl std::fmt::Debug for Frame {
    /// Without the packet: it is what somebody says (T63).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frame")
            .field("time", &self.time)
            .field("direction", &self.direction)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// The worker's end.
pub struct CaptureTap {
    stock: Receiver<Box<Frame>>,
    filled: Sender<Box<Frame>>,
    dropped: Arc<AtomicU64>,
}

impl CaptureTap {
    /// Copies a packet, if there is room for it.
    #[cold]
    pub fn take(&self, time: Time, direction: Direction, path: Path, packet: &[u8]) {
        let Ok(mut frame) = self.stock.try_recv() else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let len = packet.len().min(PACKET_BUFFER);
        frame.data[..len].copy_from_slice(&packet[..len]);
        frame.len = len as u16;
        frame.time = time;
        frame.direction = direction;
        frame.path = path;
        // There is room for the whole stock; it fails only when nobody reads any more.
        let _ = self.filled.try_send(frame);
    }
}

impl std::fmt::Debug for CaptureTap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CaptureTap").finish_non_exhaustive()
    }
}

/// What a [`Reader`] finds.
#[derive(Debug)]
pub enum Next {
    /// The oldest packet; give it back with [`Reader::done`].
    Frame(Box<Frame>),
    /// None came for as long as was to be waited.
    Nothing,
    /// None will come any more.
    End,
}

/// The end of whoever keeps the packets.
pub struct Reader {
    stock: Sender<Box<Frame>>,
    filled: Receiver<Box<Frame>>,
    dropped: Arc<AtomicU64>,
}

impl Reader {
    /// The next packet; waits for one if there is none, but not for longer than `patience`.
    pub fn next(&self, patience: Duration) -> Next {
        match self.filled.recv_timeout(patience) {
            Ok(frame) => Next::Frame(frame),
            Err(RecvTimeoutError::Timeout) => Next::Nothing,
            Err(RecvTimeoutError::Disconnected) => Next::End,
        }
    }

    /// No packet waits.
    pub fn is_empty(&self) -> bool {
        self.filled.is_empty()
    }

    /// Gives a buffer back.
    pub fn done(&self, frame: Box<Frame>) {
        // There is room for the whole stock; it fails only when the tap is gone.
        let _ = self.stock.try_send(frame);
    }

    /// Packets that found no room so far.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("waiting", &self.filled.len())
            .finish_non_exhaustive()
    }
}

/// Two ends with [`CAPTURE_FRAMES`] buffers between them.
pub fn channel() -> (CaptureTap, Reader) {
    let (stock_in, stock_out) = bounded(CAPTURE_FRAMES);
    let (filled_in, filled_out) = bounded(CAPTURE_FRAMES);
    for _ in 0..CAPTURE_FRAMES {
        // There is room.
        let _ = stock_in.try_send(Box::new(Frame::empty()));
    }
    let dropped = Arc::new(AtomicU64::new(0));
    let tap = CaptureTap {
        stock: stock_out,
        filled: filled_in,
        dropped: Arc::clone(&dropped),
    };
    let reader = Reader {
        stock: stock_in,
        filled: filled_out,
        dropped,
    };
    (tap, reader)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_in_order_with_what_is_known_about_them() {
        let (tap, reader) = channel();
        let (path, time) = (NOWHERE, Time::from_millis(7));
        tap.take(time, Direction::Incoming, path, b"one");
        tap.take(time, Direction::Outgoing, path, &[1; PACKET_BUFFER + 1]);
        drop(tap);
        let Next::Frame(frame) = reader.next(Duration::ZERO) else {
            panic!("there is one");
        };
        assert_eq!(frame.packet(), b"one");
        assert_eq!((frame.time, frame.direction), (time, Direction::Incoming));
        let Next::Frame(frame) = reader.next(Duration::ZERO) else {
            panic!("there is another");
        };
        assert_eq!(frame.packet(), [1; PACKET_BUFFER]);
        assert_eq!(frame.direction, Direction::Outgoing);
        assert!(matches!(reader.next(Duration::MAX), Next::End));
    }

    #[test]
    fn a_reader_that_is_too_slow_costs_packets_and_nothing_else() {
        let (tap, reader) = channel();
        for number in 0..CAPTURE_FRAMES + 3 {
            let packet = (number as u32).to_be_bytes();
            tap.take(Time::ZERO, Direction::Incoming, NOWHERE, &packet);
        }
        assert_eq!(reader.dropped(), 3);
        let Next::Frame(frame) = reader.next(Duration::ZERO) else {
            panic!("the stock is full");
        };
        assert_eq!(frame.packet(), 0u32.to_be_bytes());
        reader.done(frame);
        // Its buffer is the only one that is free.
        for _ in 0..2 {
            tap.take(Time::ZERO, Direction::Incoming, NOWHERE, b"x");
        }
        assert_eq!(reader.dropped(), 4);
        let mut count = 0;
        while let Next::Frame(frame) = reader.next(Duration::ZERO) {
            count += 1;
            reader.done(frame);
        }
        assert_eq!(count, CAPTURE_FRAMES);
    }

    #[test]
    fn a_tap_whose_reader_is_gone_takes_packets_and_keeps_none() {
        let (tap, reader) = channel();
        drop(reader);
        for _ in 0..2 * CAPTURE_FRAMES {
            tap.take(Time::ZERO, Direction::Incoming, NOWHERE, b"x");
        }
    }
}
