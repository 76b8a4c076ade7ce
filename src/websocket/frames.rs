//! Bounds the frames of a message (T56).
//!
//! The websocket library puts fragments together and bounds their bytes, not their number: empty ones could go on
//! for ever. So the bytes pass here on their way to it, and their frame headers are counted.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::limits::MAX_FRAMES;

/// Longest frame header: flags, length in eight bytes, mask.
const LONGEST_HEADER: usize = 14;

/// Reads along: follows the frames (RFC 6455 §5.2) in a stream of bytes that comes in pieces of any size.
#[derive(Debug, Default)]
struct FrameCounter {
    /// The next frame's header, as far as it has come.
    header: [u8; LONGEST_HEADER],
    known: usize,
    /// Bytes of payload before it.
    payload: u64,
    /// Frames of the message that is not complete.
    frames: u32,
}

impl FrameCounter {
    /// Takes the next bytes; false if a message has more than [`MAX_FRAMES`].
    fn follow(&mut self, mut bytes: &[u8]) -> bool {
        while let Some(first) = bytes.first() {
            if self.payload > 0 {
                let skipped = self
                    .payload
                    .min(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
                self.payload -= skipped;
                bytes = &bytes[usize::try_from(skipped).unwrap_or(bytes.len())..];
                continue;
            }
            bytes = &bytes[1..];
            self.header[self.known] = *first;
            self.known += 1;
            if self.known == header_len(&self.header[..self.known]) {
                self.payload = payload_len(&self.header);
                self.known = 0;
                if !self.count() {
                    return false;
                }
            }
        }
        true
    }

    fn count(&mut self) -> bool {
        let (last, control) = (self.header[0] & 0x80 != 0, self.header[0] & 0x08 != 0);
        if control {
            return true;
        }
        self.frames += 1;
        let within = self.frames <= MAX_FRAMES;
        if last {
            self.frames = 0;
        }
        within
    }
}

/// How long a header is, as far as its beginning tells.
fn header_len(header: &[u8]) -> usize {
    let Some(second) = header.get(1) else {
        return 2;
    };
    let length = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mask = if second & 0x80 != 0 { 4 } else { 0 };
    2 + length + mask
}

fn payload_len(header: &[u8; LONGEST_HEADER]) -> u64 {
    let [_, second, a, b, c, d, e, f, g, h, ..] = *header;
    match second & 0x7f {
        126 => u16::from_be_bytes([a, b]).into(),
        127 => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
        short => short.into(),
    }
}

/// A connection that ends with an error when a message has more than [`MAX_FRAMES`].
#[derive(Debug)]
pub(super) struct Counted<S> {
    stream: S,
    counter: FrameCounter,
}

impl<S> Counted<S> {
    pub(super) fn new(stream: S) -> Counted<S> {
        Counted {
            stream,
            counter: FrameCounter::default(),
        }
    }
}

/// The error of reading from a [`Counted`] that has had enough.
pub(super) fn is_too_many(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::QuotaExceeded
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        if this.counter.follow(&buffer.filled()[before..]) {
            Poll::Ready(Ok(()))
        } else {
            Poll::Ready(Err(io::ErrorKind::QuotaExceeded.into()))
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A masked frame as clients send it.
    fn frame(flags: u8, payload: usize) -> Vec<u8> {
        let mut frame = vec![flags];
        match payload {
            0..126 => frame.push(0x80 | payload as u8),
            126..65_536 => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&(payload as u16).to_be_bytes());
            }
            _ => {
                frame.push(0x80 | 127);
                frame.extend_from_slice(&(payload as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(&[1, 2, 3, 4]);
        // Payload that looks like headers of fragments.
        frame.resize(frame.len() + payload, 0);
        frame
    }

    /// Whether the stream passes, in pieces of `size`.
    fn passes(stream: &[u8], size: usize) -> bool {
        let mut counter = FrameCounter::default();
        stream.chunks(size).all(|piece| counter.follow(piece))
    }

    #[test]
    fn t56_a_message_has_1024_frames_at_most_however_its_bytes_come() {
        let message = |fragments: u32| {
            let mut stream = frame(0x01, 10);
            for fragment in 1..fragments {
                let last = fragment == fragments - 1;
                stream.extend(frame(if last { 0x80 } else { 0 }, (fragment % 3) as usize));
                // Control frames may come between, and do not count.
                stream.extend(frame(0x89, 5));
            }
            stream
        };
        for size in [1, 2, 7, 1_000, usize::MAX] {
            let allowed = [message(MAX_FRAMES), message(MAX_FRAMES)].concat();
            assert!(passes(&allowed, size));
            assert!(!passes(&message(MAX_FRAMES + 1), size));
        }
    }

    #[test]
    fn payloads_of_any_length_are_skipped() {
        let mut stream = Vec::new();
        for round in 0..400 {
            for payload in [0, 1, 125, 126, 1_000, 65_535, 65_536] {
                stream.extend(frame(
                    0x81,
                    if round == 0 {
                        payload
                    } else {
                        payload.min(126)
                    },
                ));
            }
        }
        for size in [3, 1_500, usize::MAX] {
            assert!(passes(&stream, size));
        }
    }

    #[test]
    fn an_absurd_length_is_followed_without_harm() {
        let mut stream = vec![0x01, 0xff];
        stream.extend_from_slice(&[0xff; 8]);
        stream.resize(10_000, 0);
        assert!(passes(&stream, 100));
    }
}
