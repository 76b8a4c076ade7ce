//! The bridge channel of every client: what is said, and websockets to say it (bridge-channel spec §3). Data channels are part of
//! [`super::client`].

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_tungstenite::tungstenite::Message;

use super::formats::Kind;
use super::thread::{Handle, Notice, Order};

/// How clients talk with the bridge.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, clap::ValueEnum)]
pub enum Channel {
    /// A websocket for each
    #[default]
    Websocket,
    /// An SCTP data channel for each, as browsers do today
    Sctp,
    /// Not at all
    None,
}

/// What a client wants to receive.
#[derive(Clone, PartialEq, Debug)]
pub struct Wants {
    /// −1 = all.
    pub last_n: i32,
    /// Of every source that is not on stage.
    pub max_height: i32,
    /// Source that is larger than others, and its height.
    pub stage: Option<(String, i32)>,
}

impl Wants {
    /// As a message of the bridge channel.
    pub fn message(&self) -> String {
        let mut message = json!({
            "colibriClass": "ReceiverVideoConstraints",
            "lastN": self.last_n,
            "defaultConstraints": {"maxHeight": self.max_height},
        });
        if let Some((source, height)) = &self.stage {
            message["onStageSources"] = json!([source]);
            message["constraints"] = json!({source: {"maxHeight": height}});
        }
        message.to_string()
    }
}

/// All websockets.
pub struct Channels {
    runtime: Runtime,
    outgoing: HashMap<u32, UnboundedSender<String>>,
    counters: Arc<Counters>,
}

#[derive(Default)]
struct Counters {
    open: AtomicUsize,
    lost: AtomicUsize,
    first_error: Mutex<Option<String>>,
}

impl Channels {
    pub fn new() -> io::Result<Channels> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("load-channel")
            .enable_all()
            .build()?;
        Ok(Channels {
            runtime,
            outgoing: HashMap::new(),
            counters: Arc::default(),
        })
    }

    /// Opens the channel of a client; what it hears goes to `to`.
    pub fn open(&mut self, number: u32, url: String, to: Handle) {
        let (sender, outgoing) = unbounded_channel();
        self.outgoing.insert(number, sender);
        let counters = Arc::clone(&self.counters);
        self.runtime.spawn(async move {
            let open = &counters;
            if let Err(error) = converse(number, &url, &to, outgoing, open).await {
                counters.lost.fetch_add(1, Ordering::Relaxed);
                let mut first = counters
                    .first_error
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert_with(|| error.to_string());
            }
        });
    }

    /// Tells the bridge what a client wants.
    pub fn want(&self, number: u32, wants: &Wants) {
        if let Some(sender) = self.outgoing.get(&number) {
            let _ = sender.send(wants.message());
        }
    }

    /// Closes the channel of a client.
    pub fn close_one(&mut self, number: u32) {
        self.outgoing.remove(&number);
    }

    /// Channels that were opened, and that broke.
    pub fn counts(&self) -> (usize, usize) {
        let get = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        (get(&self.counters.open), get(&self.counters.lost))
    }

    /// Why the first one broke.
    pub fn first_error(&self) -> Option<String> {
        let first = self.counters.first_error.lock();
        first.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends all.
    pub fn close(self) {
        drop(self.outgoing);
        self.runtime.shutdown_background();
    }
}

type ChannelError = tokio_tungstenite::tungstenite::Error;

async fn converse(
    number: u32,
    url: &str,
    to: &Handle,
    mut outgoing: UnboundedReceiver<String>,
    counters: &Counters,
) -> Result<(), ChannelError> {
    let (socket, _) = tokio_tungstenite::connect_async(url).await?;
    counters.open.fetch_add(1, Ordering::Relaxed);
    let (mut sink, mut stream) = socket.split();
    loop {
        tokio::select! {
            text = outgoing.recv() => match text {
                Some(text) => sink.send(Message::text(text)).await?,
                None => return sink.close().await,
            },
            message = stream.next() => match message {
                Some(Ok(Message::Text(text))) => hear(number, &text, to),
                // Pings are answered when the stream is read.
                Some(Ok(Message::Close(_))) | None => return Ok(()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
            },
        }
    }
}

fn hear(number: u32, text: &str, to: &Handle) {
    for notice in notices(text) {
        to.give(Order::Notice(number, notice));
    }
}

/// What a message means for the media.
pub fn notices(text: &str) -> Vec<Notice> {
    let Ok(message) = serde_json::from_str::<Value>(text) else {
        return Vec::new();
    };
    let number = |value: &Value, key: &str| value.get(key).and_then(Value::as_i64);
    match message.get("colibriClass").and_then(Value::as_str) {
        Some("SenderSourceConstraints") => {
            let source = message.get("sourceName").and_then(Value::as_str);
            let height =
                number(&message, "maxHeight").and_then(|height| i32::try_from(height).ok());
            let kinds = [Kind::Camera, Kind::Screen];
            let kind = kinds
                .into_iter()
                .find(|kind| source.is_some_and(|name| name.ends_with(kind.suffix())));
            let notice = kind
                .zip(height)
                .map(|(kind, height)| Notice::MaxHeight(kind, height));
            notice.into_iter().collect()
        }
        Some("VideoSourcesMap") => {
            let mapped = message.get("mappedSources").and_then(Value::as_array);
            let ssrc = |entry: &Value, key: &str| u32::try_from(number(entry, key)?).ok();
            mapped
                .into_iter()
                .flatten()
                .filter_map(|entry| Some(Notice::Mapped(ssrc(entry, "ssrc")?, ssrc(entry, "rtx")?)))
                .collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constraints_and_maps_of_the_bridge_are_understood() {
        let heard = notices(
            r#"{"colibriClass":"SenderSourceConstraints","sourceName":"1f000001-v0","maxHeight":360}"#,
        );
        assert!(matches!(heard[..], [Notice::MaxHeight(Kind::Camera, 360)]));
        let heard = notices(
            r#"{"colibriClass":"VideoSourcesMap","mappedSources":[
                {"source":"a-v0","owner":"a","ssrc":4294967295,"rtx":2,"videoType":"CAMERA"},
                {"source":"b-v0","owner":"b","ssrc":-1,"rtx":2}]}"#,
        );
        assert!(matches!(heard[..], [Notice::Mapped(u32::MAX, 2)]));
        assert!(notices("nonsense").is_empty() && notices("{}").is_empty());
    }

    #[test]
    fn wants_name_the_stage() {
        let wants = Wants {
            last_n: 20,
            max_height: 180,
            stage: Some(("a-v0".to_owned(), 720)),
        };
        let message: Value = serde_json::from_str(&wants.message()).expect("JSON");
        assert_eq!(message["constraints"]["a-v0"]["maxHeight"], 720);
        assert_eq!(message["lastN"], 20);
    }
}
