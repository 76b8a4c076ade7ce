//! Requests as a focus sends them over XMPP, and their answers.

use std::sync::Arc;
use std::time::Duration;

use causeway_bridge::control::api::ControlOutput;
use causeway_bridge::export::{ExportCommand, ExportKind};
use causeway_bridge::ids::SourceName;
use causeway_colibri::{Handler, HandlerOptions, IqService, Process, WebsocketUrls};
use causeway_xmpp::{Element, Item, StreamParser};

use crate::world::{Bridge, World};

const COLIBRI2: &str = "jitsi:colibri2";
const STANZAS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
const ICE_UDP: &str = "urn:xmpp:jingle:transports:ice-udp:1";
const FOCUS: &str = "jvbbrewery@internal.auth.meet.test/focus";
const CAPTURED: &str = include_str!("data/stanzas.txt");

fn element(text: &str) -> Element {
    let stream = format!(
        "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>{text}"
    );
    let mut bytes = stream.as_bytes();
    let mut parser = StreamParser::default();
    loop {
        match parser.next(&mut bytes).expect("well-formed") {
            Some(Item::Stanza(stanza)) => return stanza,
            Some(_) => {}
            None => panic!("no stanza: {text}"),
        }
    }
}

struct Focus {
    world: World,
    service: IqService<Bridge>,
}

impl Focus {
    fn new(sctp: bool) -> Focus {
        let world = World::enabled(sctp);
        let handler = Handler::new(HandlerOptions {
            sctp,
            websockets: Some(WebsocketUrls {
                domains: vec!["bridge.example:443".into()],
                tls: true,
                server_id: "jvb1".into(),
            }),
        });
        let rooms = ["JvbBrewery@internal.auth.meet.test", "other@muc.meet.test"];
        let rooms = rooms.map(str::to_owned).to_vec();
        let process = Arc::clone(&world.bridge);
        let service = IqService::new(process, handler, "2.3.1".into(), rooms);
        Focus { world, service }
    }

    fn send(&self, stanza: &str) -> Element {
        let answer = self.service.answer(&element(stanza)).expect("an answer");
        // Everything that is sent must be readable, and nothing is lost in between.
        let read = element(&answer.to_string());
        assert_eq!(element(&read.to_string()).to_string(), read.to_string());
        answer
    }

    fn ask(&self, kind: &str, content: &str) -> Element {
        self.send(&format!(
            "<iq from='{FOCUS}' to='b@x/y' type='{kind}' id='k-1'>{content}</iq>"
        ))
    }

    fn modify(&self, attributes: &str, content: &str) -> Element {
        self.ask(
            "get",
            &format!(
                "<conference-modify xmlns='{COLIBRI2}' {attributes}>{content}</conference-modify>"
            ),
        )
    }
}

/// Creates an endpoint.
fn ep(id: &str) -> String {
    format!(
        "<endpoint id='{id}' create='true'><transport ice-controlling='true'/><sources/><capability name='source-names'/></endpoint>"
    )
}

fn modified(answer: &Element) -> &Element {
    assert_eq!(answer.attribute("type"), Some("result"), "{answer}");
    answer
        .child("conference-modified", COLIBRI2)
        .expect("conference-modified")
}

/// Condition, reason, endpoint id.
fn failed(answer: &Element) -> (String, Option<String>, Option<String>) {
    assert_eq!(answer.attribute("type"), Some("error"), "{answer}");
    assert_eq!(answer.attribute("id"), Some("k-1"));
    assert_eq!(answer.attribute("to"), Some(FOCUS));
    let error = answer.children().next().expect("an error first");
    assert!(error.is("error", "jabber:client"));
    let condition = error.children().next().expect("a condition first");
    assert_eq!(condition.ns(), STANZAS);
    let own = error.child("error", COLIBRI2);
    let endpoint = error.child("endpoint", COLIBRI2);
    (
        condition.name().to_owned(),
        own.and_then(|own| own.attribute("reason"))
            .map(str::to_owned),
        endpoint
            .and_then(|endpoint| endpoint.attribute("id"))
            .map(str::to_owned),
    )
}

fn condition(answer: &Element) -> String {
    failed(answer).0
}

#[test]
fn a_captured_call_gets_the_answers_that_its_focus_needs() {
    let focus = Focus::new(true);
    let mut captured = CAPTURED.lines();
    let mut next = || {
        let stanza = captured.next().expect("one more");
        let request = element(stanza);
        let answer = focus.send(stanza);
        assert_eq!(answer.attribute("id"), request.attribute("id"));
        assert_eq!(answer.attribute("to"), Some(FOCUS));
        answer
    };
    let health = next();
    assert_eq!(health.attribute("type"), Some("result"));
    assert_eq!(health.children().count(), 0);

    let created = next();
    let created = modified(&created);
    let endpoint = created.child("endpoint", COLIBRI2).expect("the endpoint");
    assert_eq!(endpoint.attribute("id"), Some("50a07479"));
    let outer = endpoint.child("transport", COLIBRI2).expect("transport");
    let inner = outer.child("transport", ICE_UDP).expect("inner transport");
    assert!(inner.attribute("ufrag").is_some() && inner.attribute("pwd").is_some());
    assert!(inner.child("rtcp-mux", ICE_UDP).is_some());
    let print = inner.child("fingerprint", "urn:xmpp:jingle:apps:dtls:0");
    let print = print.expect("a fingerprint");
    assert_eq!(print.attribute("setup"), Some("actpass"));
    assert_eq!(print.text().len(), 32 * 3 - 1);
    let candidate = inner.child("candidate", ICE_UDP).expect("a candidate");
    assert_eq!(candidate.attribute("ip"), Some("10.77.0.1"));
    assert_eq!(candidate.attribute("generation"), Some("0"));
    let socket = inner.child("web-socket", "http://jitsi.org/protocol/colibri");
    let url = socket
        .and_then(|socket| socket.attribute("url"))
        .expect("a URL");
    assert!(
        url.starts_with("wss://bridge.example:443/colibri-ws/jvb1/"),
        "{url}"
    );
    let feedback = created
        .child("sources", COLIBRI2)
        .expect("feedback sources");
    let names: Vec<_> = feedback
        .children()
        .filter_map(|source| source.attribute("id"))
        .collect();
    assert_eq!(names, ["jvb-a0", "jvb-v0"]);

    let updated = next();
    let updated = modified(&updated);
    assert_eq!(
        updated.to_string(),
        "<conference-modified xmlns='jitsi:colibri2'><endpoint id='50a07479'/></conference-modified>"
    );
    let expired = next();
    assert!(modified(&expired).to_string().contains("expire='true'"));
    // The conference was left without endpoints, so that the last one knows nothing of it.
    let gone = next();
    assert!(gone.to_string().contains("conference_not_found"), "{gone}");
    // Relays are off.
    let relay = next();
    assert!(
        relay.to_string().contains("conference_not_found"),
        "{relay}"
    );
}

#[test]
fn colibri2_cases_1_2_4_conferences_are_found_or_not() {
    let focus = Focus::new(false);
    let missing = (
        "item-not-found".into(),
        Some("conference_not_found".into()),
        None,
    );
    for kind in ["get", "set"] {
        let request = "<conference-modify xmlns='jitsi:colibri2' meeting-id='m1'/>";
        assert_eq!(failed(&focus.ask(kind, request)), missing);
    }
    let created = focus.modify("meeting-id='m1' create='true'", "");
    let sources = modified(&created).child("sources", COLIBRI2);
    assert_eq!(sources.map(|sources| sources.children().count()), Some(2));
    let again = focus.modify("meeting-id='m1' create='true'", "");
    let exists = (
        "conflict".into(),
        Some("conference_already_exists".into()),
        None,
    );
    assert_eq!(failed(&again), exists);
}

#[test]
fn colibri2_case_5_a_name_must_be_an_address() {
    let focus = Focus::new(false);
    for name in ["not a jid", "example.com"] {
        let answer = focus.modify(&format!("meeting-id='m1' create='true' name='{name}'"), "");
        assert_eq!(condition(&answer), "bad-request");
    }
    assert_eq!(
        condition(&focus.modify("meeting-id='m1'", "")),
        "item-not-found"
    );
}

#[test]
fn colibri2_cases_6_29_30_malformed_requests_are_answered_and_change_nothing() {
    let focus = Focus::new(true);
    modified(&focus.modify("meeting-id='m1' create='true'", &ep("a")));
    let before = focus.world.state();
    let rtp = "xmlns='urn:xmpp:jingle:apps:rtp:1'";
    let ssma = "xmlns='urn:xmpp:jingle:apps:rtp:ssma:0'";
    let header = "xmlns='urn:xmpp:jingle:apps:rtp:rtp-hdrext:0'";
    let hdrext = "uri='urn:ietf:params:rtp-hdrext:sdes:mid'";
    for content in [
        "<endpoint/>".to_owned(),
        format!("<endpoint id='{}'/>", "x".repeat(300)),
        "<endpoint id='a'><media/></endpoint>".to_owned(),
        "<endpoint id='a'><media type='foo'/></endpoint>".to_owned(),
        "<endpoint id='a' muc-role='king'/>".to_owned(),
        "<endpoint id='a'><transport><sctp role='x'/></transport></endpoint>".to_owned(),
        "<endpoint id='a'><transport><sctp port='x'/></transport></endpoint>".to_owned(),
        "<endpoint id='a'><initial-last-n value='x'/></endpoint>".to_owned(),
        "<endpoint id='a'><initial-last-n/></endpoint>".to_owned(),
        "<connects><connect id='t' url='http://x' protocol='mediajson' type='recorder'/></connects>".to_owned(),
        "<connects><connect id='t' url='wss://x' protocol='y' type='recorder'/></connects>".to_owned(),
        "<connects><connect id='t' url='wss://x' protocol='mediajson' type='y'/></connects>".to_owned(),
        "<connects><connect id='t' url='wss://x' protocol='mediajson' type='recorder'><http-header name='a b' value='c'/></connect></connects>".to_owned(),
        "<connects><connect id='t' url='wss://x' protocol='mediajson' type='recorder'><ping interval='1'/></connect></connects>".to_owned(),
        "<relay/>".to_owned(),
        "<traceparent xmlns='jitsi:opentelemetry' trace_id='0'/>".to_owned(),
        format!("<endpoint id='a'><media type='video'><payload-type {rtp} id='96' name='rtx'/></media></endpoint>"),
        format!("<endpoint id='a'><media type='video'><payload-type {rtp} id='128' name='VP8'/></media></endpoint>"),
        format!("<endpoint id='a'><media type='video'><payload-type {rtp} id='x' name='VP8'/></media></endpoint>"),
        format!("<endpoint id='a'><media type='video'><payload-type {rtp} id='96'/></media></endpoint>"),
        format!("<endpoint id='a'><media type='video'><rtp-hdrext {header} id='300' {hdrext}/></media></endpoint>"),
        format!("<endpoint id='a'><media type='video'><rtp-hdrext {header} id='3'/></media></endpoint>"),
        format!("<endpoint id='a'><sources><media-source id='v' type='video'><source {ssma} ssrc='zz'/></media-source></sources></endpoint>"),
        format!("<endpoint id='a'><sources><media-source id='v' type='video'><source {ssma} ssrc='4294967296'/></media-source></sources></endpoint>"),
        format!("<endpoint id='a'><sources><media-source id='v' type='video'><source {ssma} ssrc='1' videoType='x'/></media-source></sources></endpoint>"),
        format!("<endpoint id='a'><sources><media-source id='v' type='video'><ssrc-group {ssma} semantics='FID'><source ssrc='1'/></ssrc-group></media-source></sources></endpoint>"),
        "<endpoint id='a'><sources><media-source type='video'/></sources></endpoint>".to_owned(),
        "<endpoint id='a'><sources><media-source id='v'/></sources></endpoint>".to_owned(),
        format!("<endpoint id='a'><transport><transport xmlns='{ICE_UDP}'><candidate ip='192.0.2.1' port='1'/></transport></transport></endpoint>"),
        "<endpoint id='a' expire='true'/>".repeat(20),
    ] {
        let answer = focus.modify("meeting-id='m1'", &content);
        assert_eq!(condition(&answer), "bad-request", "{content}");
    }
    for attributes in ["", "meeting-id=' '"] {
        assert_eq!(condition(&focus.modify(attributes, "")), "bad-request");
    }
    assert_eq!(focus.world.state(), before);
}

#[test]
fn colibri2_cases_7_8_9_booleans_unknown_things_and_traces() {
    let focus = Focus::new(false);
    let trace =
        "<traceparent xmlns='jitsi:opentelemetry' trace_id='0' parent_id='0' trace_flags='00'/>";
    modified(&focus.modify("meeting-id='m1' create='TRUE' unknown='x'", trace));
    let one = ep("a").replace("create='true'", "create='1'");
    let unknown = (
        "item-not-found".into(),
        Some("unknown_endpoint".into()),
        Some("a".into()),
    );
    assert_eq!(failed(&focus.modify("meeting-id='m1'", &one)), unknown);
    modified(&focus.modify("meeting-id='m1'", &ep("a")));
    let odd = "<endpoint id='a'><nonsense><sources/></nonsense><capability name='x'/><media type='audio'>\
               <rtp-hdrext xmlns='urn:xmpp:jingle:apps:rtp:rtp-hdrext:0' id='3' uri='urn:x'/></media></endpoint>";
    modified(&focus.modify("meeting-id='m1'", odd));
}

#[test]
fn colibri2_cases_12_16_17_18_sctp_and_feedback() {
    let focus = Focus::new(true);
    let first = focus.modify("meeting-id='m1' create='true'", &ep("a"));
    let with_sctp = ep("b").replace(
        "<transport ice-controlling='true'/>",
        "<transport><sctp/></transport>",
    );
    let second = focus.modify("meeting-id='m1'", &with_sctp);
    assert!(
        second
            .to_string()
            .contains("<sctp port='5000' role='server'/>")
    );
    let feedback = |answer: &Element| modified(answer).child("sources", COLIBRI2).cloned();
    assert!(feedback(&first).is_some());
    assert_eq!(feedback(&first), feedback(&second));
    let client = with_sctp
        .replace("'b'", "'c'")
        .replace("<sctp/>", "<sctp role='CLIENT'/>");
    assert_eq!(
        condition(&focus.modify("meeting-id='m1'", &client)),
        "feature-not-implemented"
    );
    let off = Focus::new(false);
    assert_eq!(
        condition(&off.modify("meeting-id='m1' create='true'", &with_sctp)),
        "feature-not-implemented"
    );
}

#[test]
fn colibri2_case_36_an_ice_restart_before_ice_keeps_what_is_there() {
    let focus = Focus::new(false);
    let created = focus.modify("meeting-id='m1' create='true'", &ep("a"));
    let restarted = focus.modify(
        "meeting-id='m1'",
        "<endpoint id='a'><transport ice-restart='true'/></endpoint>",
    );
    let transport = |answer: &Element| {
        let endpoint = modified(answer).child("endpoint", COLIBRI2).cloned();
        endpoint.and_then(|endpoint| endpoint.child("transport", COLIBRI2).cloned())
    };
    assert!(transport(&created).is_some());
    assert_eq!(transport(&created), transport(&restarted));
}

#[test]
fn colibri2_cases_52_53_after_an_expire_everything_is_answered_in_order() {
    let focus = Focus::new(false);
    for _ in 0..25 {
        modified(&focus.modify("meeting-id='m1' create='true'", &ep("a")));
        modified(&focus.modify("meeting-id='m1' expire='true'", ""));
        let late = focus.modify(
            "meeting-id='m1'",
            "<endpoint id='a'><force-mute/></endpoint>",
        );
        assert_eq!(failed(&late).1.as_deref(), Some("conference_not_found"));
    }
}

/// The stanzas that come in one piece, and their answers.
fn in_one_segment(focus: &Focus, stanzas: &[String]) -> Vec<Element> {
    let stream = format!(
        "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>{}",
        stanzas.concat()
    );
    let mut bytes = stream.as_bytes();
    let mut parser = StreamParser::default();
    let mut answers = Vec::new();
    while let Some(item) = parser.next(&mut bytes).expect("well-formed") {
        if let Item::Stanza(stanza) = item {
            answers.push(focus.service.answer(&stanza).expect("an answer"));
        }
    }
    answers
}

#[test]
fn colibri2_cases_52_53_54_requests_of_one_segment_are_answered_in_order() {
    let focus = Focus::new(false);
    let modify = |id: usize, attributes: &str, content: &str| {
        format!(
            "<iq from='{FOCUS}' to='b@x/y' type='get' id='k-{id}'>\
             <conference-modify xmlns='{COLIBRI2}' meeting-id='m1' {attributes}>{content}</conference-modify></iq>"
        )
    };
    let create = "create='true' name='room@conference.meet.test'";
    let answers = in_one_segment(
        &focus,
        &[
            modify(0, create, &ep("a")),
            modify(1, "", &ep("b")),
            modify(2, "expire='true'", ""),
            modify(3, create, &ep("a")),
            modify(4, "expire='true'", ""),
            modify(5, "", "<endpoint id='a'><transport/></endpoint>"),
        ],
    );
    assert_eq!(answers.len(), 6);
    for (index, answer) in answers.iter().enumerate() {
        assert_eq!(answer.attribute("id"), Some(&*format!("k-{index}")));
        let kind = if index == 5 { "error" } else { "result" };
        assert_eq!(answer.attribute("type"), Some(kind), "{answer}");
    }
    for (answer, id) in [(0, "a"), (1, "b"), (3, "a")] {
        let endpoint = modified(&answers[answer]).child("endpoint", COLIBRI2);
        assert_eq!(endpoint.and_then(|it| it.attribute("id")), Some(id));
    }
    let late = answers[5].to_string();
    assert!(late.contains("conference_not_found"), "{late}");
}

#[test]
fn colibri2_case_56_an_endpoint_that_never_sends_anything_is_gone_after_2_to_3_minutes() {
    let focus = Focus::new(false);
    modified(&focus.modify("meeting-id='m1' create='true'", &ep("a")));
    modified(&focus.modify("meeting-id='m1'", &ep("b")));
    let update = |id: &str| {
        let content = format!("<endpoint id='{id}'><transport/></endpoint>");
        focus.modify("meeting-id='m1'", &content)
    };
    let b = focus.world.key("m1", "b");
    // One of them is heard of all the time.
    for _ in 0..11 {
        focus.world.pass(Duration::from_secs(10));
        focus.world.activity(b);
    }
    modified(&update("a"));
    for _ in 0..7 {
        focus.world.pass(Duration::from_secs(10));
        focus.world.activity(b);
    }
    let unknown = (
        "item-not-found".into(),
        Some("unknown_endpoint".into()),
        Some("a".into()),
    );
    assert_eq!(failed(&update("a")), unknown);
    modified(&update("b"));
}

#[test]
fn colibri2_case_57_no_new_conferences_while_the_bridge_ends() {
    let focus = Focus::new(false);
    modified(&focus.modify("meeting-id='m1' create='true'", &ep("a")));
    focus.world.bridge.shutdown(true);
    let refused = focus.modify("meeting-id='m2' create='true'", &ep("a"));
    let ending = (
        "service-unavailable".into(),
        Some("graceful_shutdown".into()),
        None,
    );
    assert_eq!(failed(&refused), ending);
    modified(&focus.modify("meeting-id='m1'", &ep("b")));
}

#[test]
fn colibri2_cases_59_61_62_rest_and_stats_case_9_other_requests() {
    let focus = Focus::new(false);
    for kind in ["get", "set"] {
        let health = focus.ask(
            kind,
            "<healthcheck xmlns='http://jitsi.org/protocol/healthcheck'/>",
        );
        assert_eq!(
            health.to_string(),
            format!("<iq type='result' id='k-1' to='{FOCUS}'/>")
        );
    }
    focus.world.bridge.set_trouble(Some("2 workers hang"));
    let health = "<healthcheck xmlns='http://jitsi.org/protocol/healthcheck'/>";
    let ill = focus.ask("get", health);
    assert_eq!(condition(&ill), "internal-server-error");
    assert!(ill.to_string().contains("2 workers hang"), "{ill}");
    focus.world.bridge.set_trouble(None);
    assert_eq!(
        focus.ask("get", health).attribute("type"),
        Some("result"),
        "failures do not stick"
    );
    let version = focus.ask("get", "<query xmlns='jabber:iq:version'/>");
    assert!(
        version
            .to_string()
            .contains("<name>JVB</name><version>2.3.1</version>")
    );
    let info = focus.ask(
        "get",
        "<query xmlns='http://jabber.org/protocol/disco#info' node='n'/>",
    );
    assert!(
        info.to_string()
            .contains("<feature var='http://jitsi.org/protocol/healthcheck'/>")
    );
    for name in ["graceful-shutdown", "force-shutdown"] {
        let content = format!("<{name} xmlns='http://jitsi.org/protocol/colibri'/>");
        assert_eq!(
            condition(&focus.ask("set", &content)),
            "service-unavailable"
        );
    }
    assert_eq!(
        condition(&focus.ask("get", "<x xmlns='urn:x'/>")),
        "feature-not-implemented"
    );
    for (kind, content) in [("get", ""), ("nonsense", "<x xmlns='urn:x'/>")] {
        assert_eq!(condition(&focus.ask(kind, content)), "bad-request");
    }
}

#[test]
fn colibri2_case_60_t68_only_occupants_of_the_configured_rooms_are_obeyed() {
    let focus = Focus::new(false);
    for from in [
        "other@internal.auth.meet.test/focus",
        "jvbbrewery@muc.meet.test/focus",
        "internal.auth.meet.test",
        "u@auth.meet.test/r",
        "",
    ] {
        for content in [
            "<conference-modify xmlns='jitsi:colibri2' meeting-id='m1' create='true'/>",
            "<healthcheck xmlns='http://jitsi.org/protocol/healthcheck'/>",
            "<query xmlns='jabber:iq:version'/>",
        ] {
            let answer = focus.send(&format!(
                "<iq from='{from}' type='get' id='1'>{content}</iq>"
            ));
            assert!(
                answer.to_string().contains("<error type='auth'><forbidden"),
                "{answer}"
            );
        }
        let ping = focus.send(&format!(
            "<iq from='{from}' type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>"
        ));
        assert_eq!(ping.attribute("type"), Some("result"));
    }
}

/// That both are joined and get presence is tested with a real server.
#[test]
fn colibri2_case_64_requests_come_from_each_of_the_rooms() {
    let focus = Focus::new(false);
    for (index, room) in ["jvbbrewery@internal.auth.meet.test", "OTHER@muc.meet.test"]
        .into_iter()
        .enumerate()
    {
        let answer = focus.send(&format!(
            "<iq from='{room}/focus' type='get' id='1'>\
             <conference-modify xmlns='{COLIBRI2}' meeting-id='m{index}' create='true'/></iq>"
        ));
        assert_eq!(answer.attribute("to"), Some(&*format!("{room}/focus")));
        modified(&answer);
    }
}

#[test]
fn answers_and_presence_are_not_answered() {
    let focus = Focus::new(false);
    for stanza in [
        "<iq type='result' id='1'/>",
        "<iq type='error' id='1'/>",
        "<presence/>",
        "<message><body>hi</body></message>",
    ] {
        assert_eq!(focus.service.answer(&element(stanza)), None);
    }
}

#[test]
fn colibri2_case_48_connects_over_xmpp() {
    let focus = Focus::new(false);
    let endpoint = "<endpoint id='a' create='true' diarize='true'><transport/><capability name='source-names'/></endpoint>";
    let created = focus.modify("meeting-id='m1' create='true'", endpoint);
    assert_eq!(created.attribute("type"), Some("result"));
    focus.world.take_outputs();
    // Example E6 of the spec.
    let connects = "<connects>\
        <connect id='transcriber' url='wss://stt.example/7c1e' protocol='mediajson' type='transcriber' audio='true' create='true'>\
        <http-header name='Authorization' value='Bearer x'/><ping interval='10000' timeout='3000'/></connect>\
        <connect id='translator-9f3a11c0-a0-0' url='wss://mt.example/7c1e' protocol='mediajson' type='translator' audio='true' create='true'>\
        <exports><export name='9f3a11c0-a0'/></exports><requests><request name='9f3a11c0-a0.fr'/></requests></connect>\
        </connects>";
    let answer = focus.modify("meeting-id='m1'", connects);
    let modified = answer.child("conference-modified", COLIBRI2).unwrap();
    assert_eq!(modified.children().count(), 0);
    let begun: Vec<_> = focus
        .world
        .take_outputs()
        .into_iter()
        .filter_map(|output| match output {
            ControlOutput::Export(ExportCommand::Open(setup)) => Some(setup.settings),
            _ => None,
        })
        .collect();
    let [transcriber, translator] = &begun[..] else {
        panic!("{begun:?}");
    };
    assert_eq!(transcriber.url, "wss://stt.example/7c1e");
    assert_eq!(transcriber.kind, ExportKind::Transcriber);
    assert!(transcriber.audio && transcriber.exports.is_empty());
    assert_eq!(
        transcriber.headers,
        [("Authorization".to_owned(), "Bearer x".to_owned())]
    );
    let pings = transcriber.pings.unwrap();
    assert_eq!(pings.interval, Duration::from_secs(10));
    assert_eq!(pings.timeout, Duration::from_secs(3));
    assert_eq!(translator.exports, [SourceName::from("9f3a11c0-a0")]);
    assert_eq!(translator.requests, [SourceName::from("9f3a11c0-a0.fr")]);

    let again = focus.modify("meeting-id='m1'", connects);
    assert_eq!(condition(&again), "bad-request");
    let changed = connects.replace(" create='true'", "").replace("stt", "x");
    let answer = focus.modify("meeting-id='m1'", &changed);
    assert_eq!(condition(&answer), "feature-not-implemented");
    let empty = focus.modify("meeting-id='m1'", "<connects/>");
    assert_eq!(empty.attribute("type"), Some("result"));
}
