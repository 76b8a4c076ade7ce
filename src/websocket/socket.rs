//! A websocket that reads and writes compressed messages: what the library gives and takes, and [`deflate`] between.
//!
//! [`deflate`]: super::deflate

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::{Sink, SinkExt, Stream, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Bytes, Message};

use super::deflate::{Agreement, Deflater, Refused, inflated};
use super::frames::Followed;
use super::limits::{MAX_READ, READ_BUFFER};

/// An accepted websocket.
pub(super) struct Socket(WebSocketStream<Followed<TokioIo<Upgraded>>>);

/// Why reading or writing failed.
#[derive(Debug)]
pub(super) enum Error {
    /// The library says so.
    Library(tungstenite::Error),
    /// A compressed text is refused.
    Compressed(Refused),
}

impl From<tungstenite::Error> for Error {
    fn from(error: tungstenite::Error) -> Error {
        Error::Library(error)
    }
}

impl Socket {
    /// A connection that was upgraded; `compression` says whether the peer may compress.
    pub(super) async fn new(upgraded: Upgraded, compression: bool) -> Socket {
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_READ))
            .max_frame_size(Some(MAX_READ))
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0);
        let stream = Followed::new(TokioIo::new(upgraded), compression);
        Socket(WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await)
    }
}

impl Stream for Socket {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let received = ready!(self.0.poll_next_unpin(cx));
        Poll::Ready(received.map(|received| match received? {
            Message::Binary(message) if self.0.get_mut().was_compressed_text() => {
                let text = inflated(&message).map_err(Error::Compressed)?;
                let text = String::from_utf8(text)
                    .map_err(|error| tungstenite::Error::Utf8(error.to_string()))?;
                Ok(Message::text(text))
            }
            other => Ok(other),
        }))
    }
}

impl Sink<Message> for Socket {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.poll_ready_unpin(cx).map_err(Error::Library)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        self.0.start_send_unpin(message).map_err(Error::Library)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.poll_flush_unpin(cx).map_err(Error::Library)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.poll_close_unpin(cx).map_err(Error::Library)
    }
}

/// A text as it is sent, compressed if that was agreed upon and is worth it.
pub(super) fn message(text: &Arc<str>, compression: Option<Agreement>) -> Message {
    let compressed = compression
        .filter(|agreement| agreement.covers(text))
        .and_then(|_| COMPRESSOR.with_borrow_mut(|compressor| compressor.compressed(text)));
    let Some(compressed) = compressed else {
        return Message::text(&**text);
    };
    let mut frame = Frame::message(compressed, OpCode::Data(Data::Text), true);
    frame.header_mut().rsv1 = true;
    Message::Frame(frame)
}

thread_local! {
    /// One for each thread that serves sockets: it is large, and no message needs one of its own.
    static COMPRESSOR: RefCell<Compressor> = RefCell::new(Compressor {
        deflater: Deflater::new(),
        latest: None,
    });
}

/// Compresses a text that goes to many sockets once.
struct Compressor {
    deflater: Deflater,
    /// The latest text, and how it is sent. As long as it is held, no other text lies at its address.
    latest: Option<(Arc<str>, Option<Bytes>)>,
}

impl Compressor {
    fn compressed(&mut self, text: &Arc<str>) -> Option<Bytes> {
        if let Some((latest, compressed)) = &self.latest
            && Arc::ptr_eq(latest, text)
        {
            return compressed.clone();
        }
        let compressed = self.deflater.deflated(text.as_bytes()).map(Bytes::from);
        self.latest = Some((Arc::clone(text), compressed.clone()));
        compressed
    }
}
