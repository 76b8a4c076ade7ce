//! A focus that looks for the bridge in the brewery room and gives it orders.

use std::time::Duration;

use causeway_xmpp::{Connection, Element, Item};
use tokio::time::timeout;

use crate::prosody::{BREWERY, Prosody};

/// Namespace of requests to the bridge.
pub const COLIBRI2: &str = "jitsi:colibri2";
/// Namespace of its statistics.
pub const COLIBRI: &str = "http://jitsi.org/protocol/colibri";
/// For anything that must happen, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Name of the bridge in its rooms.
pub const NICK: &str = "bridge1";

/// A focus in the brewery.
pub struct Focus {
    connection: Connection,
}

impl std::fmt::Debug for Focus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.connection.jid)
    }
}

impl Focus {
    /// Logs in and joins.
    ///
    /// # Panics
    ///
    /// Panics if that fails.
    pub async fn join(prosody: &Prosody) -> Focus {
        let connection = prosody.login().await;
        let mut focus = Focus { connection };
        focus.enter(BREWERY).await;
        focus
    }

    /// Joins one more room.
    ///
    /// # Panics
    ///
    /// Panics without a connection.
    pub async fn enter(&mut self, room: &str) {
        self.send(&format!(
            "<presence to='{room}/focus'><x xmlns='http://jabber.org/protocol/muc'/></presence>"
        ))
        .await;
    }

    /// Sends a stanza.
    ///
    /// # Panics
    ///
    /// Panics without a connection.
    pub async fn send(&mut self, text: &str) {
        let sent = self.connection.outgoing.send(text).await;
        sent.expect("connected");
    }

    /// The next stanza that is what is waited for.
    ///
    /// # Panics
    ///
    /// Panics if it never comes.
    pub async fn next(&mut self, what: &str, is: impl Fn(&Element) -> bool) -> Element {
        let found = async {
            loop {
                match self.connection.incoming.next().await.expect("connected") {
                    Item::Stanza(stanza) if is(&stanza) => return stanza,
                    _ => {}
                }
            }
        };
        timeout(PATIENCE, found)
            .await
            .unwrap_or_else(|_| panic!("never came: {what}"))
    }

    /// Waits for the bridge's presence, and answers with its statistics.
    ///
    /// # Panics
    ///
    /// Panics if it never comes.
    pub async fn sees_the_bridge(&mut self) -> Vec<(String, String)> {
        self.sees(&format!("{BREWERY}/{NICK}")).await
    }

    /// The statistics in the presence of an occupant.
    ///
    /// # Panics
    ///
    /// Panics if none come.
    pub async fn sees(&mut self, occupant: &str) -> Vec<(String, String)> {
        let presence = self
            .next("presence of the bridge", |stanza| {
                stanza.name() == "presence"
                    && stanza.attribute("from") == Some(occupant)
                    && stanza.child("stats", COLIBRI).is_some()
            })
            .await;
        let stats = presence.child("stats", COLIBRI).expect("just seen");
        let text = |stat: &Element, name| stat.attribute(name).unwrap_or_default().to_owned();
        stats
            .children()
            .map(|stat| (text(stat, "name"), text(stat, "value")))
            .collect()
    }

    /// Waits until the bridge is out of the room.
    ///
    /// # Panics
    ///
    /// Panics if it stays.
    pub async fn sees_the_bridge_leave(&mut self) {
        let bridge = format!("{BREWERY}/{NICK}");
        self.next("the bridge leaves", |stanza| {
            stanza.name() == "presence"
                && stanza.attribute("from") == Some(&*bridge)
                && stanza.attribute("type") == Some("unavailable")
        })
        .await;
    }

    /// Sends the bridge a request in the brewery.
    ///
    /// # Panics
    ///
    /// Panics without a connection.
    pub async fn ask(&mut self, id: &str, content: &str) {
        self.ask_in(BREWERY, id, content).await;
    }

    /// Sends the bridge a request in this room.
    ///
    /// # Panics
    ///
    /// Panics without a connection.
    pub async fn ask_in(&mut self, room: &str, id: &str, content: &str) {
        self.send(&format!(
            "<iq to='{room}/{NICK}' type='get' id='{id}'>{content}</iq>"
        ))
        .await;
    }

    /// Waits for the answer to the request of that id.
    ///
    /// # Panics
    ///
    /// Panics if it never comes.
    pub async fn answer(&mut self, id: &str) -> Element {
        self.next("an answer", |stanza| {
            stanza.name() == "iq" && stanza.attribute("id") == Some(id)
        })
        .await
    }
}

/// A Colibri2 request.
pub fn modify(attributes: &str, content: &str) -> String {
    format!("<conference-modify xmlns='{COLIBRI2}' {attributes}>{content}</conference-modify>")
}

/// A member of the configuration `apis.xmpp-client.configs` for a bridge that joins these rooms.
pub fn client_config(prosody: &Prosody, rooms: &str) -> String {
    use crate::prosody::{AUTH_DOMAIN, PASSWORD};
    format!(
        "videobridge.apis.xmpp-client.configs.shard {{
           HOSTNAME = 127.0.0.1, PORT = \"{}\", DOMAIN = {AUTH_DOMAIN}, USERNAME = jvb, PASSWORD = {PASSWORD}
           MUC_JIDS = \"{rooms}\", MUC_NICKNAME = {NICK}
         }}\n",
        prosody.xmpp_port()
    )
}
