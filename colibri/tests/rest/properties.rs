//! Whatever JSON comes: no panic, an answer, and no effect of what is refused (T69).

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::world::World;

/// As long as sha-256 makes it.
const DIGEST: &str = "00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF";

/// How often a value is of a kind that its key does not have: one in this many.
const WILD: u32 = 150;

fn text(texts: &[&'static str]) -> BoxedStrategy<Value> {
    let texts = texts.to_vec();
    prop::sample::select(texts).prop_map(Value::from).boxed()
}

fn flag() -> BoxedStrategy<Value> {
    any::<bool>().prop_map(Value::from).boxed()
}

fn ssrc() -> BoxedStrategy<Value> {
    prop_oneof![30 => (0u64..40).prop_map(Value::from), 1 => Just(json!(u32::MAX)), 1 => Just(json!(1u64 << 32)), 1 => Just(json!("7"))].boxed()
}

/// A list of such objects.
fn list(object: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Value> {
    prop::collection::vec(object, 0..3)
        .prop_map(Value::from)
        .boxed()
}

/// An object with these members; how likely each is comes second, in percent.
fn object(members: Vec<(&'static str, u32, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    let wild = text(&["text"]).prop_union(
        prop::sample::select(vec![
            json!([]),
            json!({}),
            json!(1.5),
            Value::Null,
            json!(true),
        ])
        .boxed(),
    );
    let members: Vec<_> = members
        .into_iter()
        .map(|(key, percent, own)| {
            let value = prop_oneof![WILD => own, 1 => wild.clone()];
            prop::option::weighted(f64::from(percent) / 100.0, value)
                .prop_map(move |value| (key, value))
        })
        .collect();
    members
        .prop_map(|members| {
            let members = members
                .into_iter()
                .filter_map(|(key, value)| Some((key.to_owned(), value?)));
            Value::Object(members.collect::<Map<_, _>>())
        })
        .boxed()
}

fn media() -> BoxedStrategy<Value> {
    let format = object(vec![
        ("id", 99, prop_oneof![20 => (0u64..128).prop_map(Value::from), 1 => Just(json!(128)), 2 => Just(json!("96"))].boxed()),
        ("name", 99, text(&["opus", "VP8", "rtx", "red", "nonsense"])),
        ("clockrate", 90, text(&["48000", "90000"])),
        ("parameters", 95, object(vec![("apt", 95, text(&["96", "100"]))])),
        ("rtcp-fbs", 50, list(object(vec![("type", 90, text(&["nack", "ccm"])), ("subtype", 50, text(&["pli", "fir"]))]))),
    ]);
    let extension = object(vec![
        ("id", 95, prop_oneof![20 => (1u64..17).prop_map(Value::from), 1 => Just(json!(0)), 1 => Just(json!(300))].boxed()),
        ("uri", 95, text(&["urn:ietf:params:rtp-hdrext:ssrc-audio-level", "urn:ietf:params:rtp-hdrext:sdes:mid", "urn:x"])),
    ]);
    object(vec![
        ("type", 99, text(&["audio", "video", "data"])),
        ("payload-types", 80, list(format)),
        ("rtp-hdrexts", 50, list(extension)),
        ("extmap-allow-mixed", 50, flag()),
    ])
}

fn source() -> BoxedStrategy<Value> {
    let ssrcs = || {
        prop::collection::vec(ssrc(), 0..5)
            .prop_map(Value::from)
            .boxed()
    };
    let group = object(vec![
        ("semantics", 95, text(&["SIM", "FID", "FEC-FR", ""])),
        ("sources", 95, ssrcs()),
    ]);
    object(vec![
        ("type", 99, text(&["audio", "video"])),
        ("id", 99, text(&["a0", "v0", "v1", "x0", "x1"])),
        ("sources", 95, ssrcs()),
        ("ssrc-groups", 20, list(group)),
        ("synthetic", 10, flag()),
    ])
}

fn transport() -> BoxedStrategy<Value> {
    let candidate = object(vec![
        ("type", 97, text(&["host", "srflx"])),
        ("ip", 95, text(&["192.0.2.1", "::1", "host.example"])),
        (
            "port",
            95,
            prop_oneof![20 => (0u64..70_000).prop_map(Value::from), 1 => Just(json!("x"))].boxed(),
        ),
        ("generation", 90, text(&["0", "1"])),
        ("component", 90, text(&["1"])),
        ("protocol", 90, text(&["udp", "tcp"])),
    ]);
    let fingerprint = object(vec![
        (
            "fingerprint",
            95,
            text(&[
                DIGEST, DIGEST, DIGEST, DIGEST, DIGEST, DIGEST, "AA:BB", "zz",
            ]),
        ),
        ("hash", 95, text(&["sha-256"])),
        (
            "setup",
            90,
            text(&["active", "passive", "actpass", "bogus"]),
        ),
    ]);
    let inner = object(vec![
        ("xmlns", 95, text(&["urn:xmpp:jingle:transports:ice-udp:1"])),
        ("ufrag", 80, text(&["Qw1r", "Qw1r", "Qw1r", ""])),
        ("pwd", 80, text(&["abcdefabcdefabcdefabcdef"])),
        ("ice-generation", 20, text(&["0", "1", "-1"])),
        ("candidates", 50, list(candidate)),
        ("fingerprints", 50, list(fingerprint)),
    ]);
    let sctp = object(vec![
        ("port", 50, Just(json!(5000)).boxed()),
        ("role", 50, text(&["SERVER", "client"])),
    ]);
    object(vec![
        ("ice-controlling", 50, flag()),
        ("ice-restart", 10, flag()),
        ("sctp", 20, sctp),
        ("transport", 70, inner),
    ])
}

fn endpoint() -> BoxedStrategy<Value> {
    let capability = text(&[
        "source-names",
        "source-names",
        "source-names",
        "ssrc-rewriting",
        "rtp-mid-demux",
    ]);
    object(vec![
        ("id", 99, text(&["a", "b", "c", "x/y"])),
        (
            "create",
            40,
            prop_oneof![4 => Just(json!(true)), 1 => Just(json!(false))].boxed(),
        ),
        ("expire", 10, flag()),
        ("muc-role", 10, text(&["visitor", "participant", "king"])),
        (
            "capabilities",
            90,
            prop::collection::vec(capability, 1..4)
                .prop_map(Value::from)
                .boxed(),
        ),
        ("medias", 40, list(media())),
        ("transport", 85, transport()),
        ("sources", 40, list(source())),
        (
            "force-mute",
            20,
            object(vec![("audio", 70, flag()), ("video", 70, flag())]),
        ),
        (
            "initial-last-n",
            20,
            object(vec![(
                "value",
                97,
                (-2i64..30).prop_map(Value::from).boxed(),
            )]),
        ),
    ])
}

fn request() -> BoxedStrategy<Value> {
    let relay = object(vec![("id", 90, text(&["r"])), ("expire", 50, flag())]);
    let connect = object(vec![("id", 90, text(&["c"])), ("expire", 50, flag())]);
    object(vec![
        ("meeting-id", 99, text(&["m1", "m1", "m1", "m1", "m2"])),
        ("create", 20, flag()),
        ("expire", 4, flag()),
        ("name", 20, text(&["room@example.com", "room@example.com", "no jid"])),
        ("rtcstats-enabled", 5, flag()),
        ("endpoints", 97, prop_oneof![1 => Just(json!([])), 20 => endpoint().prop_map(|one| json!([one])), 3 => list(endpoint())].boxed()),
        ("relays", 2, list(relay)),
        ("connects", 2, list(connect)),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn t69_requests_are_answered_and_refused_ones_have_no_effect(requests in prop::collection::vec(request(), 1..20)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let world = World::enabled(true);
            // Somebody who is never sent away, so that there always is a conference to change.
            let stays = json!({ "id": "stays", "create": true, "capabilities": ["source-names"], "transport": {} });
            world.post(json!({ "meeting-id": "m1", "create": true, "endpoints": [stays] })).await;
            for request in requests {
                let before = world.state();
                let (status, answer) = world.post(request.clone()).await;
                match status {
                    200 => {
                        let asked = request["endpoints"].as_array().map_or(0, Vec::len);
                        let answered = answer["endpoints"].as_array().map_or(0, Vec::len);
                        assert_eq!(answered, asked, "{request} {answer}");
                    }
                    400 => {
                        assert!(answer["error"].is_string(), "{request} {answer}");
                        assert_eq!(world.state(), before, "{request} {answer}");
                    }
                    other => panic!("{other} {request} {answer}"),
                }
            }
        });
    }

    #[test]
    fn t69_any_bytes_get_an_answer(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let world = World::enabled(true);
            let body = String::from_utf8_lossy(&body);
            let path = "/colibri/v2/conferences";
            let (status, answer) = world.send("POST", path, Some("application/json"), &body).await;
            assert_eq!(status, 400);
            assert!(answer["error"].is_string());
        });
    }
}
