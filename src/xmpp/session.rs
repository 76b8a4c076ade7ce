//! One connection from login to end.
//!
//! Two futures share it: one reads and answers in order, the other writes. Between them is a short queue; when the
//! server does not take our answers it fills, we stop reading, and the server has to wait (T70, F41).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use causeway_colibri::{IqService, Process};
use causeway_xmpp::{ConnectError, Connection, Element, Incoming, Item, Outgoing, ns, stanza};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};

use super::Counts;
use crate::config::XmppClient;

/// Answers that wait for the server.
const ANSWERS: usize = 64;
/// Time without a word from the server after which it is asked, and again after which it is given up. It is looked at in
/// this period, so a server that stalls is given up within three of them.
const SILENCE: Duration = Duration::from_secs(10);
/// Time after which a room that did not let us in is tried again.
const JOIN_AGAIN: Duration = Duration::from_secs(1);
const ROOM_CONFIG: &str = "http://jabber.org/protocol/muc#roomconfig";

/// What the reader has for the writer.
enum Note {
    /// To be sent.
    Answer(Element),
    /// The room of that number let us in; it is new if `created`.
    Joined { room: usize, created: bool },
    /// We are not in the room of that number.
    Out { room: usize },
}

/// What a connection needs.
pub struct Session<P> {
    pub id: String,
    pub settings: XmppClient,
    pub service: IqService<P>,
    pub presence: watch::Receiver<Element>,
    pub stopped: watch::Receiver<bool>,
    pub counts: Arc<Counts>,
}

/// Resolves when the connection shall end.
async fn told_to_stop(stopped: &mut watch::Receiver<bool>) {
    // Nobody who could tell is left: that is an end, too.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

impl<P: Process> Session<P> {
    /// Resolves when the connection shall end.
    pub async fn stopped(&mut self) {
        told_to_stop(&mut self.stopped).await;
    }

    /// Connects and serves until the connection shall end.
    pub async fn run(&mut self) -> Result<(), ConnectError> {
        let mut stopped = self.stopped.clone();
        let connection = tokio::select! {
            () = told_to_stop(&mut stopped) => return Ok(()),
            connection = Connection::open(&self.settings.account) => connection?,
        };
        tracing::info!(id = self.id, jid = connection.jid, "XMPP connected");
        self.counts.connected.fetch_add(1, Ordering::Relaxed);
        let joined: Vec<AtomicBool> = self.settings.rooms.iter().map(|_| false.into()).collect();
        let heard = AtomicBool::new(true);
        let (notes, waiting) = mpsc::channel(ANSWERS);
        let mut writer = Writer {
            settings: &self.settings,
            outgoing: connection.outgoing,
            presence: self.presence.clone(),
            joined: &joined,
            heard: &heard,
            counts: &self.counts,
        };
        let reader = read(
            &self.settings,
            &self.service,
            connection.incoming,
            &heard,
            &notes,
        );
        let stopped = self.stopped.clone();
        let result = tokio::select! {
            result = reader => result,
            result = writer.run(waiting, stopped) => result,
        };
        let joined = joined
            .iter()
            .filter(|joined| joined.load(Ordering::Relaxed));
        self.counts
            .joined
            .fetch_sub(joined.count() as u64, Ordering::Relaxed);
        self.counts.connected.fetch_sub(1, Ordering::Relaxed);
        self.counts.disconnects.fetch_add(1, Ordering::Relaxed);
        result
    }
}

/// Reads and answers until the stream ends.
async fn read<P: Process>(
    settings: &XmppClient,
    service: &IqService<P>,
    mut incoming: Incoming,
    heard: &AtomicBool,
    notes: &mpsc::Sender<Note>,
) -> Result<(), ConnectError> {
    loop {
        let item = incoming.next().await?;
        heard.store(true, Ordering::Relaxed);
        let note = match item {
            Item::Stanza(stanza) if stanza.is("presence", ns::CLIENT) => {
                about_ourselves(settings, &stanza)
            }
            Item::Stanza(stanza) if stanza.is("error", ns::STREAM) => {
                let name = stanza.children().next().map_or("", Element::name);
                return Err(ConnectError::Refused(name.to_owned()));
            }
            Item::Stanza(stanza) => service.answer(&stanza).map(Note::Answer),
            Item::TooLarge(sender) => {
                tracing::warn!(from = sender.from, "a stanza was too large");
                service.answer_too_large(&sender).map(Note::Answer)
            }
            Item::Begin => None,
            Item::End => return Err(ConnectError::Closed),
        };
        if let Some(note) = note
            && notes.send(note).await.is_err()
        {
            return Err(ConnectError::Closed);
        }
    }
}

/// What a presence says about our own place in a room.
fn about_ourselves(settings: &XmppClient, presence: &Element) -> Option<Note> {
    let from = presence.attribute("from")?;
    let bare = stanza::bare(from);
    let mut rooms = settings.rooms.iter();
    let room = rooms.position(|room| room.eq_ignore_ascii_case(bare))?;
    let statuses = presence.child("x", ns::MUC_USER);
    let has = |code| {
        statuses.is_some_and(|x| {
            x.all("status", ns::MUC_USER)
                .any(|status| status.attribute("code") == Some(code))
        })
    };
    let ours = has("110")
        || from
            .split_once('/')
            .is_some_and(|(_, nick)| nick == settings.nickname);
    match presence.attribute("type") {
        Some("error") => {
            let error = presence.child("error", ns::CLIENT);
            let condition = error.and_then(|error| error.children().next());
            let condition = condition.map_or("", Element::name);
            tracing::warn!(
                room = bare,
                condition,
                "the room does not let the bridge in"
            );
            Some(Note::Out { room })
        }
        Some("unavailable") if ours => Some(Note::Out { room }),
        None if ours => Some(Note::Joined {
            room,
            created: has("201"),
        }),
        _ => None,
    }
}

/// The writing half.
struct Writer<'a> {
    settings: &'a XmppClient,
    outgoing: Outgoing,
    presence: watch::Receiver<Element>,
    joined: &'a [AtomicBool],
    heard: &'a AtomicBool,
    counts: &'a Counts,
}

impl Writer<'_> {
    async fn run(
        &mut self,
        mut notes: mpsc::Receiver<Note>,
        mut stopped: watch::Receiver<bool>,
    ) -> Result<(), ConnectError> {
        for room in &self.settings.rooms {
            let presence = self.presence_to(room);
            let join = presence.with_child(Element::new("x", ns::MUC));
            self.send(&join).await?;
        }
        let mut silence = interval_at(Instant::now() + SILENCE, SILENCE);
        silence.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut again = interval(JOIN_AGAIN);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut out = vec![false; self.settings.rooms.len()];
        let mut asked = false;
        loop {
            tokio::select! {
                biased;
                () = told_to_stop(&mut stopped) => return self.leave().await,
                note = notes.recv() => match note {
                    Some(Note::Answer(answer)) => self.send(&answer).await?,
                    Some(Note::Joined { room, created }) => {
                        out[room] = false;
                        self.joined(room, created).await?;
                    }
                    Some(Note::Out { room }) => {
                        out[room] = true;
                        if self.joined[room].swap(false, Ordering::Relaxed) {
                            self.counts.joined.fetch_sub(1, Ordering::Relaxed);
                        }
                    }
                    None => return Err(ConnectError::Closed),
                },
                changed = self.presence.changed() => {
                    if changed.is_err() {
                        return Err(ConnectError::Closed);
                    }
                    self.publish().await?;
                }
                _ = again.tick() => {
                    for (room, out) in self.settings.rooms.iter().zip(&out) {
                        if *out {
                            let join = self.presence_to(room).with_child(Element::new("x", ns::MUC));
                            self.send(&join).await?;
                        }
                    }
                }
                _ = silence.tick() => {
                    if self.heard.swap(false, Ordering::Relaxed) {
                        asked = false;
                    } else if asked {
                        return Err(ConnectError::Timeout);
                    } else {
                        asked = true;
                        self.ping().await?;
                    }
                }
            }
        }
    }

    async fn send(&mut self, element: &Element) -> Result<(), ConnectError> {
        self.outgoing.send(&element.to_string()).await
    }

    fn presence_to(&self, room: &str) -> Element {
        let address = format!("{room}/{}", self.settings.nickname);
        Element::new("presence", ns::CLIENT)
            .with("to", address)
            .with_child(self.presence.borrow().clone())
    }

    async fn publish(&mut self) -> Result<(), ConnectError> {
        self.presence.mark_unchanged();
        for (room, joined) in self.settings.rooms.iter().zip(self.joined) {
            if joined.load(Ordering::Relaxed) {
                let presence = self.presence_to(room).to_string();
                self.outgoing.send(&presence).await?;
            }
        }
        Ok(())
    }

    async fn joined(&mut self, room: usize, created: bool) -> Result<(), ConnectError> {
        if self.joined[room].swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        self.counts.joined.fetch_add(1, Ordering::Relaxed);
        let address = &self.settings.rooms[room];
        tracing::info!(room = address, "the bridge is in its room");
        if created {
            // A room that its first occupant does not configure lets nobody else in.
            self.send(&configure(address)).await?;
        }
        Ok(())
    }

    async fn ping(&mut self) -> Result<(), ConnectError> {
        let ping = Element::new("iq", ns::CLIENT)
            .with("type", "get")
            .with("id", "ping")
            .with("to", &self.settings.account.domain)
            .with_child(Element::new("ping", ns::PING));
        self.send(&ping).await
    }

    /// Says goodbye to everybody.
    async fn leave(&mut self) -> Result<(), ConnectError> {
        for room in &self.settings.rooms {
            let leave = Element::new("presence", ns::CLIENT)
                .with("to", format!("{room}/{}", self.settings.nickname))
                .with("type", "unavailable");
            self.outgoing.send(&leave.to_string()).await?;
        }
        let unavailable = Element::new("presence", ns::CLIENT).with("type", "unavailable");
        self.send(&unavailable).await?;
        self.outgoing.close().await
    }
}

/// Opens a new room to others, who may see who is who.
fn configure(room: &str) -> Element {
    let field = |name: &str, value: &str| {
        Element::new("field", ns::DATA_FORMS)
            .with("var", name)
            .with_child(Element::new("value", ns::DATA_FORMS).with_text(value))
    };
    let form = Element::new("x", ns::DATA_FORMS)
        .with("type", "submit")
        .with_child(field("FORM_TYPE", ROOM_CONFIG))
        .with_child(field("muc#roomconfig_whois", "anyone"));
    let query = Element::new("query", ns::MUC_OWNER).with_child(form);
    Element::new("iq", ns::CLIENT)
        .with("type", "set")
        .with("id", "configure")
        .with("to", room)
        .with_child(query)
}
