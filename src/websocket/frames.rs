//! What the websocket library does not do with frames. Their bytes pass here on their way to it.
//!
//! It puts fragments together and bounds their bytes, not their number: empty ones could go on for ever. So frame
//! headers are counted (T56).
//!
//! It refuses whatever has RSV1 set, and does not tell compressed messages from others. So where compression was
//! negotiated, the first frame of a compressed message (RFC 7692 §6) goes on as that of a binary message without
//! RSV1, and it is remembered whether that was a text. RSV1 anywhere else stays, and is refused.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::limits::MAX_FRAMES;

/// Longest frame header: flags, length in eight bytes, mask.
const LONGEST_HEADER: usize = 14;

/// Flags and opcodes in the first byte of a frame.
const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const CONTROL: u8 = 0x08;
const OPCODE: u8 = 0x0f;
const TEXT: u8 = 0x01;
const BINARY: u8 = 0x02;

/// Reads along: follows the frames (RFC 6455 §5.2) in a stream of bytes that comes in pieces of any size.
#[derive(Debug, Default)]
struct Follower {
    /// The next frame's header, as far as it has come.
    header: [u8; LONGEST_HEADER],
    known: usize,
    /// Bytes of payload before it.
    payload: u64,
    /// Frames of the message that is not complete.
    frames: u32,
    /// Whether messages may be compressed.
    compression: bool,
    /// For each message that began and that the library takes for a binary one: whether it is a compressed text. No
    /// more than begin in one read, as the library reads when it has no complete frame.
    binaries: VecDeque<bool>,
}

impl Follower {
    /// Takes the next bytes, and changes what the library has to see otherwise; false if a message has more than
    /// [`MAX_FRAMES`].
    fn follow(&mut self, mut bytes: &mut [u8]) -> bool {
        while !bytes.is_empty() {
            if self.payload > 0 {
                let skipped = self
                    .payload
                    .min(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
                self.payload -= skipped;
                let skipped = usize::try_from(skipped).unwrap_or(bytes.len());
                bytes = &mut bytes[skipped..];
                continue;
            }
            if self.known == 0 && self.compression {
                self.mark(&mut bytes[0]);
            }
            self.header[self.known] = bytes[0];
            bytes = &mut bytes[1..];
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

    /// Takes the first byte of a frame.
    fn mark(&mut self, first: &mut u8) {
        let (opcode, compressed) = (*first & OPCODE, *first & RSV1 != 0);
        if opcode == BINARY || (opcode == TEXT && compressed) {
            self.binaries.push_back(opcode == TEXT);
            *first = *first & !(RSV1 | OPCODE) | BINARY;
        }
    }

    fn count(&mut self) -> bool {
        let (last, control) = (self.header[0] & FIN != 0, self.header[0] & CONTROL != 0);
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

/// A connection whose frames are followed; it ends with an error when a message has more than [`MAX_FRAMES`].
#[derive(Debug)]
pub(super) struct Followed<S> {
    stream: S,
    follower: Follower,
}

impl<S> Followed<S> {
    pub(super) fn new(stream: S, compression: bool) -> Followed<S> {
        Followed {
            stream,
            follower: Follower {
                compression,
                ..Follower::default()
            },
        }
    }

    /// Whether the binary message that the library returned last is a compressed text. Call it once for each.
    pub(super) fn was_compressed_text(&mut self) -> bool {
        self.follower.binaries.pop_front().unwrap_or(false)
    }
}

/// The error of reading from a [`Followed`] that has had enough.
pub(super) fn is_too_many(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::QuotaExceeded
}

impl<S: AsyncRead + Unpin> AsyncRead for Followed<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        if this.follower.follow(&mut buffer.filled_mut()[before..]) {
            Poll::Ready(Ok(()))
        } else {
            Poll::Ready(Err(io::ErrorKind::QuotaExceeded.into()))
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Followed<S> {
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
        let mut follower = Follower::default();
        let mut stream = stream.to_vec();
        stream.chunks_mut(size).all(|piece| follower.follow(piece))
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

    #[test]
    fn compressed_messages_go_on_as_binary_ones_and_rsv1_elsewhere_stays() {
        // What comes, what goes on, and whether it is a message that began as a compressed text.
        let frames = [
            (0x81, 0x81, None),
            (0xc1, 0x82, Some(true)),
            (0x82, 0x82, Some(false)),
            (0xc2, 0x82, Some(false)),
            // In fragments; the last has RSV1, which is an error.
            (0x41, 0x02, Some(true)),
            (0x00, 0x00, None),
            (0xc9, 0xc9, None),
            (0xc0, 0xc0, None),
            // Further reserved bits and opcodes.
            (0xf1, 0xb2, Some(true)),
            (0xc3, 0xc3, None),
            (0xc8, 0xc8, None),
        ];
        for compression in [true, false] {
            for size in [1, 5, usize::MAX] {
                let mut follower = Follower {
                    compression,
                    ..Follower::default()
                };
                let mut stream: Vec<u8> = frames
                    .iter()
                    .flat_map(|(came, ..)| frame(*came, 200))
                    .collect();
                assert!(stream.chunks_mut(size).all(|piece| follower.follow(piece)));
                let expected = frames
                    .iter()
                    .flat_map(|(came, goes, _)| frame(if compression { *goes } else { *came }, 200))
                    .collect::<Vec<u8>>();
                assert_eq!(stream, expected);
                let marks = frames.iter().filter_map(|(_, _, text)| *text);
                let marks = marks.filter(|_| compression).collect::<Vec<bool>>();
                assert_eq!(Vec::from(follower.binaries), marks);
            }
        }
    }
}
