//! One export: its session, and its websocket while there is one.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::ready;
use std::time::Duration;

use causeway_bridge::control::ControlAccess;
use causeway_bridge::export::{Action, ExportSetup, Session, SessionCounters};
use causeway_bridge::time::Time;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tracing::{debug, info, warn};

use super::target::{self, Socket};
use super::{Change, Environment};

/// How long the last words may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// An open websocket.
struct Open {
    sink: SplitSink<Socket, Message>,
    stream: SplitStream<Socket>,
    /// Something may not have left yet.
    unflushed: bool,
}

type Attempt = Pin<Box<dyn Future<Output = Result<Box<Socket>, String>> + Send>>;

/// What happened.
enum Step {
    Change(Option<Change>),
    Packets,
    Attempted(Result<Box<Socket>, String>),
    Heard(Option<Result<Message, tokio_tungstenite::tungstenite::Error>>),
    Sent(Result<(), tokio_tungstenite::tungstenite::Error>),
    Due,
}

/// Runs an export until `changes` ends.
pub(super) async fn run<A: ControlAccess>(
    environment: Arc<Environment<A>>,
    setup: ExportSetup,
    mut changes: mpsc::UnboundedReceiver<Change>,
) {
    let (meeting, id) = (
        &setup.meeting_id,
        setup.settings.id.escape_debug().to_string(),
    );
    let origin = Instant::now();
    let now = || {
        let micros = origin.elapsed().as_micros();
        Time::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    };
    let packets = Arc::new(Notify::new());
    let wake = Arc::clone(&packets);
    setup.tap.on_packet(move || wake.notify_one());
    let options = environment.options.session;
    let mut session = Session::new(now(), &setup, options, &environment.version);
    let mut counted = (SessionCounters::default(), 0);
    let mut socket: Option<Open> = None;
    let mut attempt: Option<Attempt> = None;
    // A peer that is gone is told of once, and not with each retry.
    let mut complained = false;
    loop {
        while let Some(action) = session.poll_action(now()) {
            match action {
                Action::Connect => {
                    let settings = setup.settings.clone();
                    let environment = Arc::clone(&environment);
                    attempt = Some(Box::pin(async move {
                        let allowed = &environment.options.allowed_networks;
                        target::open(&settings, allowed).await.map(Box::new)
                    }));
                }
                Action::Disconnect => {
                    info!(%meeting, id, "media export: no pong, connecting anew");
                    socket = None;
                    session.disconnected(now());
                }
                Action::End => {
                    if let Some(socket) = socket.take() {
                        let _ = timeout(GOODBYE, take_leave(socket, &mut session)).await;
                    }
                    count(&environment, &session, &setup, &mut counted);
                    return;
                }
            }
        }
        count(&environment, &session, &setup, &mut counted);
        let due = session.poll_timeout();
        let wait = due.map(|due| origin + Duration::from_micros(due.as_micros()));
        if let Some(open) = &mut socket {
            // What is handed to the socket below may stay there when something else happens first.
            open.unflushed |= session.has_event();
        }
        let step = {
            let (sink, stream, unflushed) = match &mut socket {
                Some(open) => (Some(&mut open.sink), Some(&mut open.stream), open.unflushed),
                None => (None, None, false),
            };
            let (opening, hearing) = (attempt.is_some(), stream.is_some());
            let sending = sink.is_some() && unflushed;
            tokio::select! {
                change = changes.recv() => Step::Change(change),
                outcome = until(attempt.as_mut()), if opening => Step::Attempted(outcome),
                heard = next(stream), if hearing => Step::Heard(heard),
                sent = transmit(sink, &mut session), if sending => Step::Sent(sent),
                () = packets.notified() => Step::Packets,
                () = sleep_until(wait.unwrap_or(origin)), if wait.is_some() => Step::Due,
            }
        };
        let mut lost = None;
        match step {
            Step::Change(Some(change)) => session.update(change.exports, change.requests),
            Step::Change(None) => {
                attempt = None;
                session.stop();
            }
            Step::Packets => {
                while let Some(exported) = setup.tap.pop() {
                    session.media(now(), &exported);
                }
            }
            Step::Attempted(outcome) => {
                attempt = None;
                match outcome {
                    Ok(opened) => {
                        info!(%meeting, id, "media export connected");
                        complained = false;
                        let (sink, stream) = (*opened).split();
                        socket = Some(Open {
                            sink,
                            stream,
                            unflushed: false,
                        });
                        session.connected(now());
                    }
                    Err(error) => lost = Some(error),
                }
            }
            Step::Heard(Some(Ok(Message::Text(text)))) => {
                if let Some(received) = session.receive(now(), &text) {
                    environment.access.with_control(|control, now| {
                        control.export_received(now, setup.key, received);
                    });
                }
            }
            Step::Heard(Some(Ok(Message::Close(frame)))) => {
                let code = frame.map_or(1005, |frame| frame.code.into());
                if code == 1011 {
                    environment.totals.internal_error();
                }
                lost = Some(format!("the peer closed with {code}"));
            }
            // The library answers pings when it is flushed.
            Step::Heard(Some(Ok(_))) => {
                if let Some(open) = &mut socket {
                    open.unflushed = true;
                }
            }
            Step::Heard(Some(Err(error))) | Step::Sent(Err(error)) => {
                lost = Some(error.to_string());
            }
            Step::Heard(None) => lost = Some("the connection ended".to_owned()),
            Step::Sent(Ok(())) => {
                if let Some(open) = &mut socket {
                    open.unflushed = false;
                }
            }
            Step::Due => {}
        }
        if let Some(why) = lost {
            socket = None;
            session.disconnected(now());
            if session.has_given_up() {
                warn!(%meeting, id, why, "media export given up after too many attempts");
            } else if complained {
                debug!(%meeting, id, why, "media export still not connected");
            } else {
                warn!(%meeting, id, why, "media export not connected, trying on");
                complained = true;
            }
        }
    }
}

/// Adds what is new to the totals.
fn count<A>(
    environment: &Environment<A>,
    session: &Session,
    setup: &ExportSetup,
    counted: &mut (SessionCounters, u64),
) {
    let now = (session.counters(), setup.tap.dropped());
    if now != *counted {
        environment.totals.add(counted.0, now.0, now.1 - counted.1);
        *counted = now;
    }
}

async fn until(attempt: Option<&mut Attempt>) -> Result<Box<Socket>, String> {
    match attempt {
        Some(attempt) => attempt.await,
        None => std::future::pending().await,
    }
}

async fn next(
    stream: Option<&mut SplitStream<Socket>>,
) -> Option<Result<Message, tokio_tungstenite::tungstenite::Error>> {
    match stream {
        Some(stream) => stream.next().await,
        None => std::future::pending().await,
    }
}

/// Sends what waits, as far as the peer takes it. Whatever the socket took stays taken when this is dropped.
async fn transmit(
    sink: Option<&mut SplitSink<Socket, Message>>,
    session: &mut Session,
) -> Result<(), tokio_tungstenite::tungstenite::Error> {
    let Some(sink) = sink else {
        return std::future::pending().await;
    };
    poll_fn(|context| {
        loop {
            ready!(sink.poll_ready_unpin(context))?;
            match session.next_event() {
                Some(text) => sink.start_send_unpin(Message::text(text))?,
                None => return sink.poll_flush_unpin(context),
            }
        }
    })
    .await
}

/// Sends what waits and closes in order.
async fn take_leave(mut socket: Open, session: &mut Session) {
    if transmit(Some(&mut socket.sink), session).await.is_err() {
        return;
    }
    let frame = CloseFrame {
        code: 1000.into(),
        reason: "".into(),
    };
    if socket.sink.send(Message::Close(Some(frame))).await.is_ok() {
        while let Some(Ok(_)) = socket.stream.next().await {}
    }
}
