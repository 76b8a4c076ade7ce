//! A focus: invites everybody who enters the room to a session with the bridge, and tells each about the sources
//! of the others. It speaks Colibri2 to the bridge and Jingle to the clients, both over XMPP, as Jicofo does.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use causeway_xmpp::{Connection, Element, Item};

use super::ROOM;
use crate::brewery::{COLIBRI, COLIBRI2};
use crate::prosody::{self, AUTH_DOMAIN, BREWERY, ROOM_DOMAIN};

const FOCUS: &str = "http://jitsi.org/protocol/focus";
const ICE: &str = "urn:xmpp:jingle:transports:ice-udp:1";
const DTLS: &str = "urn:xmpp:jingle:apps:dtls:0";
const JINGLE: &str = "urn:xmpp:jingle:1";
const MUC: &str = "http://jabber.org/protocol/muc";
const RTP: &str = "urn:xmpp:jingle:apps:rtp:1";
const SOURCES: &str = "urn:xmpp:jingle:apps:rtp:ssma:0";

/// For the bridge to be there, on a busy machine.
const STARTUP: Duration = Duration::from_secs(30);

/// What is offered, in the form that Jingle and Colibri2 share.
const AUDIO: &str = "\
    <payload-type xmlns='urn:xmpp:jingle:apps:rtp:1' id='111' name='opus' clockrate='48000' channels='2'>\
      <parameter name='minptime' value='10'/><parameter name='useinbandfec' value='1'/>\
      <rtcp-fb xmlns='urn:xmpp:jingle:apps:rtp:rtcp-fb:0' type='transport-cc'/>\
    </payload-type>\
    <rtp-hdrext xmlns='urn:xmpp:jingle:apps:rtp:rtp-hdrext:0' id='1' uri='urn:ietf:params:rtp-hdrext:ssrc-audio-level'/>\
    <rtp-hdrext xmlns='urn:xmpp:jingle:apps:rtp:rtp-hdrext:0' id='5' \
      uri='http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01'/>";
const VIDEO: &str = "\
    <payload-type xmlns='urn:xmpp:jingle:apps:rtp:1' id='100' name='VP8' clockrate='90000'>\
      <rtcp-fb xmlns='urn:xmpp:jingle:apps:rtp:rtcp-fb:0' type='ccm' subtype='fir'/>\
      <rtcp-fb xmlns='urn:xmpp:jingle:apps:rtp:rtcp-fb:0' type='nack'/>\
      <rtcp-fb xmlns='urn:xmpp:jingle:apps:rtp:rtcp-fb:0' type='nack' subtype='pli'/>\
      <rtcp-fb xmlns='urn:xmpp:jingle:apps:rtp:rtcp-fb:0' type='transport-cc'/>\
    </payload-type>\
    <payload-type xmlns='urn:xmpp:jingle:apps:rtp:1' id='96' name='rtx' clockrate='90000'>\
      <parameter name='apt' value='100'/>\
    </payload-type>\
    <rtp-hdrext xmlns='urn:xmpp:jingle:apps:rtp:rtp-hdrext:0' id='3' \
      uri='http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time'/>\
    <rtp-hdrext xmlns='urn:xmpp:jingle:apps:rtp:rtp-hdrext:0' id='5' \
      uri='http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01'/>";

/// How clients reach the bridge besides media.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Channel {
    /// A data channel over SCTP.
    Sctp,
    /// A websocket.
    WebSocket,
}

/// A focus that runs until its server ends.
#[derive(Debug)]
pub(super) struct Focus {
    jid: String,
    log: Arc<Mutex<Vec<String>>>,
}

impl Focus {
    /// Logs in, opens the room, and waits for the bridge.
    ///
    /// # Panics
    ///
    /// Panics if one of them is not there in time.
    pub(super) fn start(port: u16, channel: Channel) -> Focus {
        let log = Arc::<Mutex<Vec<String>>>::default();
        let (ready, is_ready) = mpsc::channel();
        let kept = log.clone();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let connection = prosody::login(port).await;
                let jid = connection.jid.clone();
                let mut conference = Conference::new(connection, channel, kept);
                conference.enter_rooms().await;
                // Ends with the server.
                let mut ready = Some((ready, jid));
                while let Ok(item) = conference.connection.incoming.next().await {
                    if let Item::Stanza(stanza) = item {
                        conference.note("<", &stanza.to_string());
                        conference.take(&stanza).await;
                    }
                    if conference.bridge.is_some()
                        && let Some((ready, jid)) = ready.take()
                    {
                        ready.send(jid).expect("the test waits for it");
                    }
                }
            });
        });
        let Ok(jid) = is_ready.recv_timeout(STARTUP) else {
            panic!("the focus sees no bridge: {:#?}", log.lock());
        };
        Focus { jid, log }
    }

    /// Its full address.
    pub(super) fn jid(&self) -> &str {
        &self.jid
    }
}

impl Drop for Focus {
    fn drop(&mut self) {
        if thread::panicking()
            && let Ok(log) = self.log.lock()
        {
            eprintln!("---- stanzas of the focus");
            for line in log.iter() {
                eprintln!("{line}");
            }
        }
    }
}

/// `source` or `ssrc-group` with its media type.
type Described = (&'static str, Element);

/// Someone in the room.
#[derive(Default)]
struct Member {
    /// The session was accepted.
    accepted: bool,
    /// What they send.
    sources: Vec<Described>,
    /// What they know of the others, by owner.
    told: BTreeMap<String, Vec<Described>>,
}

struct Conference {
    connection: Connection,
    channel: Channel,
    log: Arc<Mutex<Vec<String>>>,
    /// The bridge's address in the brewery.
    bridge: Option<String>,
    created: bool,
    members: BTreeMap<String, Member>,
    /// Whose endpoint was asked for, by the id of the request.
    allocations: HashMap<String, String>,
    requests: u32,
}

impl Conference {
    fn new(connection: Connection, channel: Channel, log: Arc<Mutex<Vec<String>>>) -> Conference {
        Conference {
            connection,
            channel,
            log,
            bridge: None,
            created: false,
            members: BTreeMap::new(),
            allocations: HashMap::new(),
            requests: 0,
        }
    }

    fn note(&self, direction: &str, text: &str) {
        if let Ok(mut log) = self.log.lock() {
            log.push(format!("{direction} {text}"));
        }
    }

    async fn send(&mut self, text: &str) {
        self.note(">", text);
        // Without a server the loop over what it sends ends.
        let _ = self.connection.outgoing.send(text).await;
    }

    /// Sends a request, and answers with its id.
    async fn ask(&mut self, to: &str, kind: &str, content: &str) -> String {
        self.requests += 1;
        let id = format!("focus-{}", self.requests);
        self.send(&format!(
            "<iq to='{to}' type='{kind}' id='{id}'>{content}</iq>"
        ))
        .await;
        id
    }

    async fn enter_rooms(&mut self) {
        self.send(&format!(
            "<presence to='{BREWERY}/focus'><x xmlns='{MUC}'/></presence>"
        ))
        .await;
        self.send(&format!(
            "<presence to='{ROOM}@{ROOM_DOMAIN}/focus'><x xmlns='{MUC}'/>\
             <conference-properties xmlns='{FOCUS}'>\
             <property key='support-terminate-restart' value='false'/><property key='bridge-count' value='1'/>\
             </conference-properties></presence>"
        ))
        .await;
    }

    async fn take(&mut self, stanza: &Element) {
        let from = stanza.attribute("from").unwrap_or_default();
        let kind = stanza.attribute("type").unwrap_or_default();
        let (room, nick) = from.split_once('/').unwrap_or((from, ""));
        match (stanza.name(), kind) {
            ("presence", "") if room == BREWERY && stanza.child("stats", COLIBRI).is_some() => {
                self.bridge = Some(from.to_owned());
            }
            ("presence", _) if room.starts_with(ROOM) && nick != "focus" => match kind {
                "" if !self.members.contains_key(nick) => self.enters(nick).await,
                "unavailable" => self.leaves(nick).await,
                _ => {}
            },
            ("iq", "result") => {
                let id = stanza.attribute("id").unwrap_or_default();
                if let Some(nick) = self.allocations.remove(id) {
                    self.invite(&nick, stanza).await;
                }
            }
            ("iq", "get" | "set") => self.answer(stanza, from, nick).await,
            _ => {}
        }
    }

    /// Answers a request of a client, and does what it asks for.
    async fn answer(&mut self, request: &Element, from: &str, nick: &str) {
        let id = request.attribute("id").unwrap_or_default();
        let mut answer = Element::new("iq", "jabber:client")
            .with("type", "result")
            .with("to", from)
            .with("id", id);
        if request.child("conference", FOCUS).is_some() {
            answer.push(
                Element::new("conference", FOCUS)
                    .with("room", format!("{ROOM}@{ROOM_DOMAIN}"))
                    .with("ready", "true")
                    .with("focusjid", format!("focus@{AUTH_DOMAIN}")),
            );
            self.send(&answer.to_string()).await;
        } else if let Some(jingle) = request.child("jingle", JINGLE) {
            self.send(&answer.to_string()).await;
            self.jingle(jingle, nick).await;
        } else {
            let error = "<error type='cancel'>\
                <feature-not-implemented xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>";
            self.send(&format!(
                "<iq type='error' to='{from}' id='{id}'>{error}</iq>"
            ))
            .await;
        }
    }

    // ---- the bridge -----------------------------------------------------------------------------------

    async fn modify(&mut self, content: &str) -> String {
        let create = if self.created { "" } else { "create='true'" };
        self.created = true;
        let bridge = self
            .bridge
            .clone()
            .expect("nobody is let in before the bridge is there");
        let modify = format!(
            "<conference-modify xmlns='{COLIBRI2}' meeting-id='meeting-1' name='{ROOM}@{ROOM_DOMAIN}' {create}>\
             {content}</conference-modify>"
        );
        self.ask(&bridge, "get", &modify).await
    }

    async fn enters(&mut self, nick: &str) {
        self.members.insert(nick.to_owned(), Member::default());
        let sctp = match self.channel {
            Channel::Sctp => "<sctp/>",
            Channel::WebSocket => "",
        };
        let id = self
            .modify(&format!(
                "<endpoint id='{nick}' create='true' stats-id='{nick}'>\
                 <media type='audio'>{AUDIO}</media><media type='video'>{VIDEO}</media>\
                 <transport ice-controlling='true'>{sctp}</transport><sources/>\
                 <capability name='source-names'/></endpoint>"
            ))
            .await;
        self.allocations.insert(id, nick.to_owned());
    }

    async fn leaves(&mut self, nick: &str) {
        if self.members.remove(nick).is_some() {
            self.modify(&format!("<endpoint id='{nick}' expire='true'/>"))
                .await;
            self.tell_everybody().await;
        }
    }

    /// Tells the bridge what somebody sends and, once, how they are reached.
    async fn update(&mut self, nick: &str, transport: &str) {
        let mut sources = String::new();
        for (name, media, elements) in by_name(&self.members[nick].sources) {
            let _ = write!(sources, "<media-source type='{media}' id='{name}'>");
            for element in elements {
                let _ = write!(sources, "{element}");
            }
            sources.push_str("</media-source>");
        }
        self.modify(&format!(
            "<endpoint id='{nick}'>{transport}<sources>{sources}</sources></endpoint>"
        ))
        .await;
    }

    // ---- the clients ----------------------------------------------------------------------------------

    /// Invites somebody whose endpoint the bridge has made.
    async fn invite(&mut self, nick: &str, answer: &Element) {
        let modified = answer
            .child("conference-modified", COLIBRI2)
            .expect("an answer of that kind");
        let own = modified.child("sources", COLIBRI2);
        let transport = modified
            .child("endpoint", COLIBRI2)
            .and_then(|endpoint| endpoint.child("transport", COLIBRI2))
            .expect("a new endpoint has a transport");
        let ice = transport.child("transport", ICE).expect("with ICE");
        let offered = |more: Option<&str>| {
            let mut offered = ice.without_content();
            for child in ice.children() {
                // A client takes the websocket if there is one.
                if self.channel == Channel::WebSocket || child.name() != "web-socket" {
                    offered.push(child.clone());
                }
            }
            if let Some(port) = more {
                offered.push(
                    Element::new("sctpmap", "urn:xmpp:jingle:transports:dtls-sctp:1")
                        .with("number", port)
                        .with("protocol", "webrtc-datachannel")
                        .with("streams", 1024),
                );
            }
            offered
        };
        let mut contents = String::new();
        let mut group = String::new();
        for (media, description) in [("audio", AUDIO), ("video", VIDEO)] {
            // Streams of the bridge itself, under a label by which clients know that they are nobody's.
            let mixed = own
                .into_iter()
                .flat_map(|sources| sources.children())
                .filter(|source| source.attribute("type") == Some(media))
                .flat_map(|source| source.all("source", SOURCES))
                .map(|source| {
                    let label = format!("mixedmslabel mixedlabel{media}0");
                    owned(&source.clone().with_child(msid(&label)), "jvb").to_string()
                })
                .collect::<String>();
            let transport = offered(None);
            let _ = write!(
                contents,
                "<content creator='initiator' name='{media}' senders='both'>\
                 <description xmlns='{RTP}' media='{media}'>{description}<rtcp-mux/>{mixed}</description>\
                 {transport}</content>"
            );
            let _ = write!(group, "<content name='{media}'/>");
        }
        if let Some(sctp) = transport.child("sctp", COLIBRI2) {
            let transport = offered(Some(sctp.attribute("port").expect("SCTP has a port")));
            let _ = write!(
                contents,
                "<content creator='initiator' name='data' senders='both'>\
                 <description xmlns='urn:xmpp:jingle:transports:webrtc-datachannel:0'/>{transport}</content>"
            );
            group.push_str("<content name='data'/>");
        }
        let to = format!("{ROOM}@{ROOM_DOMAIN}/{nick}");
        let jingle = format!(
            "<jingle xmlns='{JINGLE}' action='session-initiate' sid='{nick}' initiator='focus@{AUTH_DOMAIN}'>\
             {contents}<group xmlns='urn:xmpp:jingle:apps:grouping:0' semantics='BUNDLE'>{group}</group></jingle>"
        );
        self.ask(&to, "set", &jingle).await;
    }

    async fn jingle(&mut self, jingle: &Element, nick: &str) {
        let Some(member) = self.members.get_mut(nick) else {
            return;
        };
        let named = described(jingle);
        match jingle.attribute("action").unwrap_or_default() {
            "session-accept" => {
                member.accepted = true;
                member.sources = named;
                let transport = accepted_transport(jingle);
                self.update(nick, &transport).await;
            }
            "source-add" => {
                member.sources.extend(named);
                self.update(nick, "").await;
            }
            "source-remove" => {
                member.sources.retain(|source| !same(&named, source));
                self.update(nick, "").await;
            }
            // The bridge learns the client's addresses from its checks.
            _ => return,
        }
        self.tell_everybody().await;
    }

    /// Sends everybody what has changed for them since they were told last.
    async fn tell_everybody(&mut self) {
        let now: BTreeMap<String, Vec<Described>> = self
            .members
            .iter()
            .map(|(nick, member)| (nick.clone(), without_simulcast(&member.sources)))
            .collect();
        let mut news = Vec::new();
        for (nick, member) in self
            .members
            .iter_mut()
            .filter(|(_, member)| member.accepted)
        {
            let mut others = now.clone();
            others.remove(nick);
            for (action, left, right) in [
                ("source-remove", &member.told, &others),
                ("source-add", &others, &member.told),
            ] {
                let contents = difference(left, right);
                if !contents.is_empty() {
                    news.push((nick.clone(), action, contents));
                }
            }
            member.told = others;
        }
        for (nick, action, contents) in news {
            let to = format!("{ROOM}@{ROOM_DOMAIN}/{nick}");
            let jingle = format!(
                "<jingle xmlns='{JINGLE}' action='{action}' sid='{nick}'>{contents}</jingle>"
            );
            self.ask(&to, "set", &jingle).await;
        }
    }
}

/// The sources and groups that a client describes.
fn described(jingle: &Element) -> Vec<Described> {
    let mut found = Vec::new();
    for content in jingle.all("content", JINGLE) {
        let media = match content.attribute("name") {
            Some("audio") => "audio",
            Some("video") => "video",
            _ => continue,
        };
        let parts = content
            .children()
            .filter(|child| child.name() == "description")
            .flat_map(Element::children)
            .filter(|part| part.ns() == SOURCES);
        found.extend(parts.map(|part| (media, part.clone())));
    }
    found
}

/// The transport of an accepted session for the bridge: without candidates, as Jicofo leaves them out.
fn accepted_transport(jingle: &Element) -> String {
    let ice = jingle
        .all("content", JINGLE)
        .find_map(|content| content.child("transport", ICE))
        .expect("a session that is accepted has a transport");
    let mut transport = ice.without_content();
    for fingerprint in ice.all("fingerprint", DTLS) {
        transport.push(fingerprint.clone());
    }
    transport.push(Element::new("rtcp-mux", ICE));
    format!("<transport>{transport}</transport>")
}

/// The SSRCs that a group names, or the one of a source.
fn ssrcs(element: &Element) -> Vec<&str> {
    match element.name() {
        "ssrc-group" => element
            .children()
            .filter_map(|source| source.attribute("ssrc"))
            .collect(),
        _ => element.attribute("ssrc").into_iter().collect(),
    }
}

/// Whether one of these is of the same SSRCs in the same role.
fn same(these: &[Described], (_, one): &Described) -> bool {
    these.iter().any(|(_, other)| {
        other.name() == one.name()
            && other.attribute("semantics") == one.attribute("semantics")
            && ssrcs(other) == ssrcs(one)
    })
}

/// All elements of each named source.
fn by_name(all: &[Described]) -> Vec<(&str, &'static str, Vec<&Element>)> {
    let mut names: Vec<(&str, &'static str, Vec<&Element>)> = Vec::new();
    for (media, source) in all.iter().filter(|(_, one)| one.name() == "source") {
        let name = source.attribute("name").expect("sources have names");
        match names.iter_mut().find(|(is, ..)| *is == name) {
            Some((_, _, elements)) => elements.push(source),
            None => names.push((name, media, vec![source])),
        }
    }
    for (_, group) in all.iter().filter(|(_, one)| one.name() == "ssrc-group") {
        let first = ssrcs(group).into_iter().next();
        let owner = names.iter_mut().find(|(_, _, elements)| {
            elements
                .iter()
                .any(|source| source.attribute("ssrc") == first)
        });
        if let Some((_, _, elements)) = owner {
            elements.push(group);
        }
    }
    names
}

/// What others are told of a sender: receivers get one stream and its RTX stream, whatever the sender sends.
fn without_simulcast(all: &[Described]) -> Vec<Described> {
    let groups = |semantics| {
        all.iter()
            .map(|(_, one)| one)
            .filter(move |one| one.attribute("semantics") == Some(semantics))
            .map(ssrcs)
    };
    let upper: Vec<&str> = groups("SIM")
        .flat_map(|layers| layers.into_iter().skip(1))
        .collect();
    let mut left_out = upper.clone();
    for pair in groups("FID") {
        if upper.contains(&pair[0]) {
            left_out.extend(pair);
        }
    }
    all.iter()
        .filter(|(_, one)| one.attribute("semantics") != Some("SIM"))
        .filter(|(_, one)| !ssrcs(one).iter().any(|ssrc| left_out.contains(ssrc)))
        .cloned()
        .collect()
}

/// Contents with what is on the left and not on the right; empty if there is nothing.
fn difference(
    left: &BTreeMap<String, Vec<Described>>,
    right: &BTreeMap<String, Vec<Described>>,
) -> String {
    let mut contents = String::new();
    for media in ["audio", "video"] {
        let mut parts = String::new();
        for (owner, sources) in left {
            let known = right.get(owner).map(Vec::as_slice).unwrap_or_default();
            for source in sources.iter().filter(|one| one.0 == media) {
                if !same(known, source) {
                    let _ = write!(parts, "{}", owned(&source.1, owner));
                }
            }
        }
        if !parts.is_empty() {
            let _ = write!(
                contents,
                "<content creator='initiator' name='{media}' senders='both'>\
                 <description xmlns='{RTP}' media='{media}'>{parts}</description></content>"
            );
        }
    }
    contents
}

/// A source with the name of its owner, as clients want it.
fn owned(source: &Element, owner: &str) -> Element {
    let source = source.clone();
    if source.name() == "source" {
        let owner = match owner {
            "jvb" => owner.to_owned(),
            nick => format!("{ROOM}@{ROOM_DOMAIN}/{nick}"),
        };
        source
            .with_child(Element::new("ssrc-info", "http://jitsi.org/jitmeet").with("owner", owner))
    } else {
        source
    }
}

fn msid(value: &str) -> Element {
    Element::new("parameter", SOURCES)
        .with("name", "msid")
        .with("value", value)
}
