//! The event socket: tells a page who is in its room.
//!
//! A websocket and not an event stream, because browsers allow only six plain HTTP/1.1 connections per
//! server over all tabs: the seventh tab of a conference would never get an answer.

use std::sync::Arc;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use causeway_bridge::ids::EndpointId;
use serde::Deserialize;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::Demo;
use super::error::ApiError;
use super::limits::{EVENT_IDLE_TIMEOUT, EVENT_WRITE_TIMEOUT, MAX_EVENT_MESSAGE, SEAT_GRACE};
use super::names::RoomName;
use super::rooms::Who;

/// Close code for a participant that is no longer in the room.
const REMOVED: u16 = 4001;
/// Close code for a page that is silent (RFC 6455 §7.4.1: going away).
const SILENT: u16 = 1001;

/// Query of the upgrade request.
#[derive(Debug, Deserialize)]
pub struct Secret {
    token: String,
}

/// `GET …/{room}/{endpoint}/events?token=…`
pub async fn events(
    State(demo): State<Demo>,
    Path((room, endpoint)): Path<(String, String)>,
    Query(secret): Query<Secret>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, ApiError> {
    let who = Who {
        room: RoomName::new(&room)?,
        endpoint: EndpointId::new(endpoint),
        token: secret.token,
    };
    let roster = demo.rooms().subscribe(&who)?;
    let subscription = Subscription { demo, who };
    Ok(upgrade
        .max_message_size(MAX_EVENT_MESSAGE)
        .max_frame_size(MAX_EVENT_MESSAGE)
        .on_upgrade(move |socket| serve(socket, roster, subscription)))
}

/// Counts the socket as open while it lives, also if the upgrade never completes.
struct Subscription {
    demo: Demo,
    who: Who,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let absence = self.demo.rooms().unsubscribe(&self.who);
        // Without a runtime the process is ending.
        if let (Some(absence), Ok(runtime)) = (absence, Handle::try_current()) {
            let (demo, who) = (self.demo.clone(), self.who.clone());
            runtime.spawn(async move {
                sleep(SEAT_GRACE).await;
                demo.rooms().vacate(&*demo.0.sfu, &who, absence);
            });
        }
    }
}

async fn serve(
    mut socket: WebSocket,
    mut roster: watch::Receiver<Arc<str>>,
    subscription: Subscription,
) {
    roster.mark_changed();
    let mut pings = interval(subscription.demo.0.ping_interval);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_heard = Instant::now();
    loop {
        let message = tokio::select! {
            changed = roster.changed() => {
                let member = changed.is_ok()
                    && subscription.demo.rooms().is_member(&subscription.who);
                if !member {
                    return close(socket, REMOVED, "no longer in the room").await;
                }
                let text = roster.borrow_and_update().to_string();
                Message::Text(text.into())
            }
            received = socket.recv() => match received {
                Some(Ok(_)) => {
                    last_heard = Instant::now();
                    continue;
                }
                Some(Err(_)) | None => return,
            },
            _ = pings.tick() => {
                if last_heard.elapsed() >= EVENT_IDLE_TIMEOUT {
                    return close(socket, SILENT, "silent").await;
                }
                Message::Ping(Default::default())
            }
        };
        match timeout(EVENT_WRITE_TIMEOUT, socket.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

async fn close(mut socket: WebSocket, code: u16, reason: &'static str) {
    let frame = CloseFrame {
        code,
        reason: reason.into(),
    };
    // The peer may be gone; there is nobody left to tell.
    let _ = timeout(
        EVENT_WRITE_TIMEOUT,
        socket.send(Message::Close(Some(frame))),
    )
    .await;
}
