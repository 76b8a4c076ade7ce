//! The life of one accepted socket.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use causeway_bridge::control::ControlAccess;
use causeway_bridge::limits::MAX_MESSAGE_BYTES;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tracing::debug;

use super::WebSocketOptions;
use super::deflate::{Agreement, Refused};
use super::frames::is_too_many;
use super::limits::{CONTROL_FRAMES_PER_SECOND, GOODBYE, LINGER};
use super::registry::{Counters, Next, Registration, WebSockets};
use super::socket::{self, Socket};

/// Why a socket ends.
#[derive(Debug)]
enum Ending {
    /// The peer closed, with that code.
    Peer(u16),
    /// We close, with that code and reason.
    Close(u16, Cow<'static, str>),
    /// The same, and nothing can be read any more.
    Fail(u16, Cow<'static, str>),
    /// The connection is gone.
    Lost,
}

impl Ending {
    /// RFC 6455 §7.4.1; 1006 = without a close frame.
    fn code(&self) -> u16 {
        match self {
            Ending::Peer(code) | Ending::Close(code, _) | Ending::Fail(code, _) => *code,
            Ending::Lost => 1006,
        }
    }
}

/// What a socket's task needs.
pub(super) struct Connection<'a, A> {
    pub(super) access: &'a A,
    pub(super) sockets: &'a WebSockets,
    pub(super) options: &'a WebSocketOptions,
    /// How texts are compressed; `None` = not at all.
    pub(super) compression: Option<Agreement>,
}

impl<A: ControlAccess> Connection<'_, A> {
    /// Serves a socket that is registered, until it ends.
    pub(super) async fn run(&self, socket: Socket, registration: Registration) {
        let (mut sink, mut stream) = socket.split();
        let heard = AtomicBool::new(false);
        // Reading and writing do not wait for each other: a peer that does not read is still heard.
        let ending = tokio::select! {
            ending = self.receive(&mut stream, &registration, &heard) => ending,
            ending = self.transmit(&mut sink, &registration, &heard) => ending,
        };
        let counters = &self.sockets.counters;
        if matches!(ending, Ending::Fail(..) | Ending::Lost) {
            Counters::add(&counters.errors);
        }
        let was_current = self.access.with_control(|control, now| {
            let current = self.sockets.remove(&registration);
            if current {
                control.websocket_closed(now, registration.key);
            }
            current
        });
        if was_current {
            Counters::add(match ending.code() {
                1000 | 1001 | 1005 => &counters.close_normal,
                _ => &counters.close_abnormal,
            });
        }
        debug!(endpoint = ?registration.key, ?ending, was_current, "websocket ended");
        take_leave(sink, stream, ending).await;
    }

    /// Handles what comes.
    async fn receive(
        &self,
        stream: &mut SplitStream<Socket>,
        registration: &Registration,
        heard: &AtomicBool,
    ) -> Ending {
        let mut control_frames = ControlFrames::new();
        let idle_timeout = match self.options.idle_timeout {
            Duration::ZERO => Duration::MAX,
            some => some,
        };
        loop {
            let Ok(received) = timeout(idle_timeout, stream.next()).await else {
                return Ending::Close(1001, "Connection Idle Timeout".into());
            };
            heard.store(true, Ordering::Relaxed);
            match received {
                Some(Ok(Message::Text(text))) => {
                    if text.len() > MAX_MESSAGE_BYTES {
                        return Ending::Close(1009, too_large(text.len()).into());
                    }
                    Counters::add(&self.sockets.counters.received);
                    self.access.with_control(|control, now| {
                        if self.sockets.is_current(registration) {
                            control.websocket_message(now, registration.key, &text);
                        }
                    });
                }
                Some(Ok(Message::Binary(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {
                    if !control_frames.admit() {
                        return Ending::Close(1008, "Too many control frames".into());
                    }
                }
                Some(Ok(Message::Close(frame))) => {
                    return Ending::Peer(frame.map_or(1005, |frame| frame.code.into()));
                }
                Some(Err(error)) => return failure(error),
                None => return Ending::Lost,
            }
        }
    }

    /// Sends what waits, and pings.
    async fn transmit(
        &self,
        sink: &mut SplitSink<Socket, Message>,
        registration: &Registration,
        heard: &AtomicBool,
    ) -> Ending {
        let outbox = &registration.outbox;
        let period = self.options.ping_interval.max(Duration::from_secs(1));
        let mut ticks = interval_at(Instant::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut spoken = false;
        loop {
            let next = tokio::select! {
                biased;
                next = outbox.next() => Some(next),
                _ = ticks.tick(), if self.options.send_pings => None,
            };
            let (message, text) = match next {
                Some(Next::Close(code, reason)) => return Ending::Close(code, reason.into()),
                Some(Next::Text(text)) => (socket::message(&text, self.compression), Some(text)),
                None => {
                    // Silence from us makes proxies give up, silence from the peer may be its death.
                    let was_heard = heard.swap(false, Ordering::Relaxed);
                    if std::mem::take(&mut spoken) && was_heard {
                        continue;
                    }
                    (Message::Ping(Default::default()), None)
                }
            };
            let sent = tokio::select! {
                biased;
                // A frame that is half written stays in the library's buffer, before the close frame.
                (code, reason) = outbox.closing() => return Ending::Close(code, reason.into()),
                sent = sink.send(message) => sent,
            };
            if let Err(error) = sent {
                return failure(error);
            }
            if let Some(text) = text {
                spoken = true;
                outbox.written(&text);
                Counters::add(&self.sockets.counters.sent);
            }
        }
    }
}

/// Closes a socket that was never registered.
pub(super) async fn dismiss(socket: Socket, code: u16, reason: &'static str) {
    let (sink, stream) = socket.split();
    take_leave(sink, stream, Ending::Close(code, reason.into())).await;
}

/// Closes the connection politely, within bounds.
async fn take_leave(
    mut sink: SplitSink<Socket, Message>,
    mut stream: SplitStream<Socket>,
    ending: Ending,
) {
    let farewell = async {
        let readable = !matches!(ending, Ending::Fail(..));
        match ending {
            Ending::Lost => return,
            // The library answers a close frame by itself, while it reads on.
            Ending::Peer(_) => {}
            Ending::Close(code, reason) | Ending::Fail(code, reason) => {
                let frame = CloseFrame {
                    code: code.into(),
                    reason: reason.as_ref().into(),
                };
                if sink.send(Message::Close(Some(frame))).await.is_err() {
                    return;
                }
            }
        }
        if readable {
            // What is left unread would reset the connection and take our close frame with it.
            while let Some(Ok(_)) = stream.next().await {}
        } else {
            sleep(LINGER).await;
        }
    };
    // A peer that does not let go is dropped.
    let _ = timeout(GOODBYE, farewell).await;
}

/// How to end after an error.
fn failure(error: socket::Error) -> Ending {
    use tokio_tungstenite::tungstenite::Error::{
        AlreadyClosed, Capacity, ConnectionClosed, Io, Protocol, Utf8,
    };
    use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};

    let error = match error {
        socket::Error::Library(error) => error,
        socket::Error::Compressed(refused) => {
            return match refused {
                // As far as it was read.
                Refused::TooLong => Ending::Fail(1009, too_large(MAX_MESSAGE_BYTES + 1).into()),
                Refused::TooManyBlocks => Ending::Fail(1008, "Too many blocks".into()),
                Refused::Corrupt => Ending::Fail(1007, "Invalid compressed data".into()),
            };
        }
    };
    match error {
        Capacity(CapacityError::MessageTooLong { size, .. }) => {
            Ending::Fail(1009, too_large(size).into())
        }
        Io(error) if is_too_many(&error) => Ending::Fail(1008, "Too many frames".into()),
        Utf8(_) => Ending::Fail(1007, "Invalid UTF-8".into()),
        ConnectionClosed
        | AlreadyClosed
        | Io(_)
        | Protocol(ProtocolError::ResetWithoutClosingHandshake) => Ending::Lost,
        _ => Ending::Fail(1002, "Protocol error".into()),
    }
}

fn too_large(size: usize) -> String {
    format!(
        "Text message too large: {} > {}",
        grouped(size),
        grouped(MAX_MESSAGE_BYTES)
    )
}

/// A number with its digits in groups of three, as clients know it from the reason of 1009.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bounds pings and pongs (T56).
struct ControlFrames {
    second: Instant,
    count: u32,
}

impl ControlFrames {
    fn new() -> ControlFrames {
        ControlFrames {
            second: Instant::now(),
            count: 0,
        }
    }

    fn admit(&mut self) -> bool {
        let now = Instant::now();
        if now.duration_since(self.second) >= Duration::from_secs(1) {
            (self.second, self.count) = (now, 0);
        }
        self.count += 1;
        self.count <= CONTROL_FRAMES_PER_SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_of_1009_groups_digits() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (65_537, "65,537"),
            (1_000_000, "1,000,000"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }
}
