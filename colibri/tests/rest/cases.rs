//! Numbered cases of the colibri2 spec (§6.2), as far as they concern the model and its JSON form.

use causeway_bridge::config::BridgeConfig;
use causeway_bridge::control::api::ControlOutput;
use causeway_bridge::ids::{Path, SocketId};
use causeway_bridge::messages::{Command, Event};
use causeway_colibri::RestOptions;
use serde_json::{Value, json};

use crate::world::World;

/// A new endpoint without media.
fn endpoint(id: &str) -> Value {
    json!({ "id": id, "create": true, "capabilities": ["source-names"], "transport": {} })
}

/// A world with conference `m1`, in which these endpoints are.
pub async fn meeting(endpoints: &[&str]) -> World {
    let world = World::enabled(true);
    let create = json!({ "meeting-id": "m1", "create": true });
    assert_eq!(world.post(create).await.0, 200);
    for id in endpoints {
        assert_eq!(world.endpoint(endpoint(id)).await.0, 200);
    }
    world
}

/// An inner transport with these members.
fn transport(members: Value) -> Value {
    let mut inner = json!({ "xmlns": "urn:xmpp:jingle:transports:ice-udp:1" });
    for (name, value) in members.as_object().unwrap() {
        inner[name] = value.clone();
    }
    json!({ "transport": inner })
}

/// The commands to workers since the last look.
fn commands(world: &World) -> Vec<Command> {
    let outputs = world.take_outputs().into_iter();
    outputs
        .filter_map(|output| match output {
            ControlOutput::Worker(_, command) => Some(command),
            _ => None,
        })
        .collect()
}

pub fn refused(answer: &(u16, Value), text: &str, reason: Option<&str>) {
    let (status, body) = answer;
    assert_eq!(*status, 400, "{body}");
    assert_eq!(
        body["error"],
        format!("Failed to create conference: {text}")
    );
    assert_eq!(body.get("reason").and_then(Value::as_str), reason, "{body}");
}

#[tokio::test]
async fn colibri2_cases_1_2_4_lookup() {
    let world = World::enabled(true);
    let modify = world.post(json!({ "meeting-id": "m1" })).await;
    let text = "Conference not found for ID: m1";
    refused(&modify, text, Some("conference_not_found"));
    let create = json!({ "meeting-id": "m1", "create": true });
    assert_eq!(world.post(create.clone()).await.0, 200);
    let text = "Conference already exists for ID: m1";
    refused(
        &world.post(create).await,
        text,
        Some("conference_already_exists"),
    );
}

#[tokio::test]
async fn colibri2_cases_3_12_feedback_sources_are_constant() {
    let world = World::enabled(true);
    let (_, created) = world
        .post(json!({ "meeting-id": "m1", "create": true }))
        .await;
    let keys: Vec<_> = created.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["sources"]);
    let names = |at: usize| created["sources"][at]["sources"][0]["name"].clone();
    assert_eq!((names(0), names(1)), (json!("jvb-a0"), json!("jvb-v0")));
    let (_, more) = world.endpoint(endpoint("b")).await;
    assert_eq!(more["sources"], created["sources"]);
    let (_, update) = world.endpoint(json!({ "id": "b", "transport": {} })).await;
    assert_eq!(update, json!({ "endpoints": [{ "id": "b" }] }));
}

#[tokio::test]
async fn colibri2_case_5_names_are_jids() {
    let world = World::enabled(true);
    for name in ["not a jid", "example.com", "a@b/c", "@b", ""] {
        let create = json!({ "meeting-id": "m1", "create": true, "name": name });
        refused(
            &world.post(create).await,
            "Invalid conference name (not a JID)",
            None,
        );
    }
    assert_eq!(world.patch(json!({})).await.0, 404);
}

#[tokio::test]
async fn colibri2_case_6_what_can_not_be_read_is_refused_and_changes_nothing() {
    let world = meeting(&["a"]).await;
    let before = world.state();
    for body in [
        json!({ "meeting-id": "" }),
        json!({ "meeting-id": "  " }),
        json!({ "meeting-id": "m1", "endpoints": [{ "create": true }] }),
        json!({ "meeting-id": "m1", "endpoints": [{ "id": "a", "medias": [{ "type": "foo" }] }] }),
        json!({ "meeting-id": "m1", "endpoints": [{ "id": "a", "muc-role": "king" }] }),
        json!({ "meeting-id": "m1", "endpoints": [{ "id": "a", "transport": { "sctp": { "role": "x" } } }] }),
        json!({ "meeting-id": "m1", "endpoints": [{ "id": "a", "initial-last-n": { "value": "x" } }] }),
        json!({ "meeting-id": "m1", "endpoints": [{ "id": "a", "force-mute": null }] }),
        json!({ "meeting-id": "m1", "create": "TRUE" }),
    ] {
        assert_eq!(world.post(body.clone()).await.0, 400, "{body}");
    }
    assert_eq!(world.state(), before);
}

#[tokio::test]
async fn colibri2_cases_8_9_what_is_unknown_is_ignored() {
    let world = meeting(&["a"]).await;
    let answer = world
        .patch(json!({
            "surprise": { "endpoints": [{ "id": "z", "expire": true }] },
            "traceparent": { "trace_id": "0", "parent_id": "0", "trace_flags": "00" },
            "endpoints": [{
                "id": "a",
                "capabilities": ["telepathy"],
                "medias": [{ "type": "audio", "rtp-hdrexts": [{ "id": 3, "uri": "urn:unknown" }] }],
            }],
        }))
        .await;
    assert_eq!(answer, (200, json!({ "endpoints": [{ "id": "a" }] })));
}

#[tokio::test]
async fn colibri2_cases_11_66_an_endpoint_gets_a_transport() {
    let world = World::enabled(true);
    let mut new = endpoint("a");
    new["medias"] = json!([{
        "type": "audio",
        "payload-types": [{ "id": 111, "name": "opus", "clockrate": 48000, "channels": 2 }],
    }]);
    let create = json!({ "meeting-id": "m1", "create": true, "endpoints": [new] });
    let (status, answer) = world.post(create).await;
    assert_eq!(status, 200, "{answer}");
    let inner = &answer["endpoints"][0]["transport"]["transport"];
    assert!(inner["ufrag"].is_string() && inner["pwd"].is_string());
    assert_eq!(inner["rtcp-mux"], true);
    let print = &inner["fingerprints"][0];
    assert_eq!(
        (&print["hash"], &print["setup"]),
        (&json!("sha-256"), &json!("actpass"))
    );
    let candidate = inner["candidates"][0].as_object().unwrap();
    assert!(candidate.values().all(Value::is_string), "{candidate:?}");
    assert_eq!(candidate["generation"], "0");
    let (path, password) = inner["web-sockets"][0]
        .as_str()
        .unwrap()
        .split_once("?pwd=")
        .unwrap();
    assert!(path.ends_with("/a"), "{path}");
    assert_eq!(password.len(), 24);
    assert!(answer["sources"][0]["sources"][0]["ssrc"].is_u64());
}

#[tokio::test]
async fn colibri2_cases_13_15_creates_that_are_refused() {
    let world = meeting(&["a"]).await;
    let again = world.endpoint(endpoint("a")).await;
    refused(&again, "Endpoint with ID a already exists", None);
    let mut nameless = endpoint("b");
    nameless["capabilities"] = json!(["ssrc-rewriting"]);
    let nameless = world.endpoint(nameless).await;
    refused(&nameless, "Source name support is mandatory.", None);
}

#[tokio::test]
async fn colibri2_case_18_sctp_can_be_off() {
    let world = World::enabled(false);
    let mut new = endpoint("a");
    new["transport"]["sctp"] = json!({});
    let create = json!({ "meeting-id": "m1", "create": true, "endpoints": [new] });
    refused(
        &world.post(create).await,
        "SCTP support is not configured",
        None,
    );
}

#[tokio::test]
async fn colibri2_case_19_an_update_answers_with_the_id_alone() {
    let world = meeting(&["a"]).await;
    let answer = world
        .endpoint(json!({
            "id": "a",
            "transport": transport(json!({ "ufrag": "Qw1r", "pwd": "abcdefabcdefabcdefabcdef" })),
            "sources": [{ "type": "audio", "id": "a-a0", "sources": [{ "ssrc": 1111, "name": "a-a0" }] }],
            "initial-last-n": { "value": 20 },
        }))
        .await;
    assert_eq!(answer, (200, json!({ "endpoints": [{ "id": "a" }] })));
}

#[tokio::test]
async fn colibri2_cases_20_21_22_unknown_endpoints() {
    let world = meeting(&["a"]).await;
    let text = "Endpoint not found for ID: z";
    for part in [json!({ "transport": {} }), json!({ "sources": [] })] {
        let mut update = part;
        update["id"] = "z".into();
        refused(
            &world.endpoint(update).await,
            text,
            Some("unknown_endpoint"),
        );
    }
    for part in [
        json!({ "id": "z", "force-mute": { "audio": true } }),
        json!({ "id": "z", "initial-last-n": { "value": 1 } }),
    ] {
        let answer = world.endpoint(part).await;
        assert_eq!(answer, (200, json!({ "endpoints": [{ "id": "z" }] })));
    }
    let both = json!({ "endpoints": [
        { "id": "a", "force-mute": { "audio": true } },
        { "id": "z", "force-mute": { "audio": true } },
    ] });
    let answer = world.patch(both).await;
    assert_eq!(
        answer,
        (200, json!({ "endpoints": [{ "id": "a" }, { "id": "z" }] }))
    );
}

#[tokio::test]
async fn colibri2_cases_23_24_43_requests_of_a_shape_that_is_not_done() {
    let world = meeting(&["a", "b"]).await;
    let before = world.state();
    let two = json!({ "endpoints": [{ "id": "a", "transport": {} }, { "id": "b", "force-mute": { "audio": true } }] });
    let text =
        "Creating or updating media, sources or transport for more than one endpoint in a request.";
    refused(
        &world.patch(two).await,
        text,
        Some("feature_not_implemented"),
    );
    let mixed = json!({ "endpoints": [{ "id": "a" }], "relays": [{ "id": "r", "expire": true }] });
    let text = "Using both 'relay' and 'endpoint' in a request";
    refused(
        &world.patch(mixed).await,
        text,
        Some("feature_not_implemented"),
    );
    for relay in [
        json!({ "id": "r", "create": true }),
        json!({ "id": "r", "expire": true }),
    ] {
        let answer = world.patch(json!({ "relays": [relay] })).await;
        refused(&answer, "Octo is disabled in configuration.", None);
    }
    assert_eq!(world.state(), before);
}

#[tokio::test]
async fn colibri2_cases_25_26_endpoints_end_and_their_conference_with_the_last() {
    let world = meeting(&["a", "b"]).await;
    let ended = |ids: &[&str]| -> Value {
        let ids = ids.iter().map(|id| json!({ "id": id, "expire": true }));
        json!({ "endpoints": ids.collect::<Vec<_>>() })
    };
    let answer = world.patch(ended(&["a", "z"])).await;
    assert_eq!(answer, (200, ended(&["a", "z"])));
    assert_eq!(world.patch(ended(&["b"])).await, (200, ended(&["b"])));
    let later = world.post(json!({ "meeting-id": "m1" })).await;
    let text = "Conference not found for ID: m1";
    refused(&later, text, Some("conference_not_found"));
}

#[tokio::test]
async fn colibri2_case_27_sources_are_replaced_as_a_whole() {
    let world = meeting(&["a"]).await;
    let source =
        |kind: &str, id: &str, ssrc: u32| json!({ "type": kind, "id": id, "sources": [ssrc] });
    let (audio, video) = (source("audio", "a0", 1), source("video", "v0", 2));
    let mut known = Vec::new();
    for (update, expected) in [
        (Some(json!([audio, video])), vec!["a0", "v0"]),
        (Some(json!([audio])), vec!["a0"]),
        (None, vec!["a0"]),
        (Some(json!([])), vec![]),
    ] {
        let mut endpoint = json!({ "id": "a" });
        if let Some(sources) = update {
            endpoint["sources"] = sources;
        }
        assert_eq!(world.endpoint(endpoint).await.0, 200);
        for command in commands(&world) {
            if let Command::Sources(_, sources) = command {
                known = sources
                    .sources
                    .iter()
                    .map(|source| source.name.as_str().to_owned())
                    .collect();
            }
        }
        assert_eq!(known, expected);
    }
}

#[tokio::test]
async fn colibri2_case_28_visitors_have_no_sources() {
    let world = meeting(&[]).await;
    let visitor = |id: &str, sources: Value| {
        let mut visitor = endpoint(id);
        visitor["muc-role"] = "visitor".into();
        visitor["sources"] = sources;
        visitor
    };
    let one = json!([{ "type": "audio", "id": "v-a0", "sources": [7] }]);
    let before = world.state();
    let answer = world.endpoint(visitor("v", one)).await;
    refused(
        &answer,
        "Attempt to set sources for visitor endpoint v",
        None,
    );
    assert_eq!(world.state(), before);
    assert_eq!(world.endpoint(visitor("v", json!([]))).await.0, 200);
}

#[tokio::test]
async fn colibri2_case_29_a_bad_part_spoils_its_request_only() {
    let world = meeting(&["a"]).await;
    let before = world.state();
    let media = |format: Value| json!([{ "type": "video", "payload-types": [format] }]);
    let fid = json!([{ "type": "video", "id": "v0", "sources": [1], "ssrc-groups": [{ "semantics": "FID", "sources": [1] }] }]);
    for (part, value) in [
        ("medias", media(json!({ "id": "96", "name": "rtx" }))),
        ("medias", media(json!({ "id": "96" }))),
        ("medias", media(json!({ "id": "x", "name": "VP8" }))),
        ("sources", fid),
        // Fits by itself, but comes with a transport that does not.
        ("force-mute", json!({ "audio": true })),
    ] {
        let mut update = json!({ "id": "a" });
        if part == "force-mute" {
            let long = "x".repeat(300);
            update["transport"] = transport(json!({ "ufrag": long, "pwd": "p" }));
            update["medias"] = media(json!({ "id": 100, "name": "VP8" }));
            update["sources"] = json!([{ "type": "audio", "id": "a0", "sources": [9] }]);
        }
        update[part] = value;
        assert_eq!(world.endpoint(update.clone()).await.0, 400, "{update}");
        assert_eq!(world.state(), before, "{update}");
    }
    let answer = world
        .endpoint(json!({ "id": "a", "medias": media(json!({ "id": 100, "name": "VP8" })) }))
        .await;
    assert_eq!(answer.0, 200);
}

#[tokio::test]
async fn colibri2_cases_30_31_70_transports_of_which_nothing_can_be_used() {
    let world = meeting(&["a"]).await;
    commands(&world);
    let candidate = |members: &[(&str, &str)]| {
        let mut candidate = json!({ "component": "1", "protocol": "udp", "port": "5000", "ip": "192.0.2.9", "type": "host", "generation": "0" });
        for (name, value) in members {
            if value.is_empty() {
                candidate.as_object_mut().unwrap().shift_remove(*name);
            } else {
                candidate[*name] = (*value).into();
            }
        }
        json!({ "id": "a", "transport": transport(json!({ "candidates": [candidate] })) })
    };
    for ignored in [
        [("generation", "")],
        [("ip", "host.example")],
        [("protocol", "tcp")],
    ] {
        assert_eq!(world.endpoint(candidate(&ignored)).await.0, 200);
    }
    let print =
        json!([{ "fingerprint": vec!["AB"; 32].join(":"), "hash": "sha-256", "setup": "bogus" }]);
    let setup = json!({ "id": "a", "transport": transport(json!({ "fingerprints": print })) });
    assert_eq!(world.endpoint(setup).await.0, 200);
    let foreign = json!({ "id": "a", "transport": { "transport": { "ufrag": "u", "pwd": "p" } } });
    assert_eq!(world.endpoint(foreign).await.0, 200);
    assert!(commands(&world).is_empty());
    assert_eq!(world.endpoint(candidate(&[("type", "")])).await.0, 400);
    assert_eq!(world.endpoint(candidate(&[])).await.0, 200);
    let told = commands(&world);
    assert!(matches!(told.as_slice(), [Command::RemoteIce(_, ice)] if ice.candidates.len() == 1));
}

#[tokio::test]
async fn colibri2_case_32_private_candidates_only_for_who_asks() {
    let mut config = BridgeConfig::default();
    config.ice.advertise_private = false;
    config.ice.mappings = vec![(
        "10.77.0.1".parse().unwrap(),
        "203.0.113.5".parse().unwrap(),
        None,
    )];
    let options = RestOptions {
        rest_enabled: true,
        ..RestOptions::default()
    };
    let world = World::with(true, options, config);
    world
        .post(json!({ "meeting-id": "m1", "create": true }))
        .await;
    for (id, capability, private) in [
        ("a", "source-names", false),
        ("b", "private-address-connectivity", true),
    ] {
        let mut new = endpoint(id);
        new["capabilities"] = json!(["source-names", capability]);
        let (_, answer) = world.endpoint(new).await;
        let candidates = answer["endpoints"][0]["transport"]["transport"]["candidates"]
            .as_array()
            .unwrap();
        let host = candidates
            .iter()
            .any(|candidate| candidate["ip"] == "10.77.0.1");
        assert_eq!(host, private, "{answer}");
        let mapped = candidates
            .iter()
            .find(|candidate| candidate["ip"] == "203.0.113.5")
            .unwrap();
        let related = if private { "10.77.0.1" } else { "0.0.0.0" };
        assert_eq!(mapped["rel-addr"], related);
    }
}

#[tokio::test]
async fn colibri2_cases_34_35_flags_reach_the_worker() {
    let world = meeting(&["a"]).await;
    commands(&world);
    for (mute, expected) in [
        (json!({ "audio": true }), Some((true, false))),
        (json!({ "audio": true }), None),
        (json!({}), Some((false, false))),
    ] {
        world
            .endpoint(json!({ "id": "a", "force-mute": mute }))
            .await;
        let told = match commands(&world).as_slice() {
            [] => None,
            [Command::ForceMute { audio, video, .. }] => Some((*audio, *video)),
            other => panic!("{other:?}"),
        };
        assert_eq!(told, expected);
    }
    world
        .endpoint(json!({ "id": "a", "initial-last-n": { "value": 0 } }))
        .await;
    assert!(matches!(
        commands(&world).as_slice(),
        [Command::InitialLastN(_, 0)]
    ));
}

#[tokio::test]
async fn colibri2_cases_36_37_69_ice_restart() {
    let world = meeting(&["a"]).await;
    let restart = || world.endpoint(json!({ "id": "a", "transport": { "ice-restart": true } }));
    // As recorded, where the key was not read.
    assert_eq!(
        restart().await,
        (200, json!({ "endpoints": [{ "id": "a" }] }))
    );
    let path = Path {
        socket: SocketId(0),
        remote: "198.51.100.9:4000".parse().unwrap(),
    };
    world.event(Event::IceConnected(world.key("m1", "a"), path));
    let inner = |answer: (u16, Value)| answer.1["endpoints"][0]["transport"]["transport"].clone();
    let first = inner(restart().await);
    assert_eq!(first["ice-generation"], "1");
    let again = inner(restart().await);
    assert_eq!(
        (&again["ufrag"], &again["pwd"]),
        (&first["ufrag"], &first["pwd"])
    );
    commands(&world);
    for (generation, used) in [("7", false), ("1", true)] {
        let remote = json!({ "ufrag": "Qw1r", "pwd": "abcdefabcdefabcdefabcdef", "ice-generation": generation });
        world
            .endpoint(json!({ "id": "a", "transport": transport(remote) }))
            .await;
        let told = commands(&world);
        assert_eq!(
            matches!(told.as_slice(), [Command::RemoteIce(..)]),
            used,
            "{told:?}"
        );
    }
    assert_eq!(inner(restart().await)["ice-generation"], "2");
}

#[tokio::test]
async fn colibri2_case_38_ice_restart_can_be_off() {
    let mut config = BridgeConfig::default();
    config.ice.restart_enabled = false;
    let options = RestOptions {
        rest_enabled: true,
        ..RestOptions::default()
    };
    let world = World::with(true, options, config);
    world
        .post(json!({ "meeting-id": "m1", "create": true, "endpoints": [endpoint("a")] }))
        .await;
    let answer = world
        .endpoint(json!({ "id": "a", "transport": { "ice-restart": true } }))
        .await;
    assert_eq!(answer, (200, json!({ "endpoints": [{ "id": "a" }] })));
}

#[tokio::test]
async fn colibri2_cases_50_to_53_order_is_kept_and_everything_answered() {
    let world = meeting(&["a"]).await;
    // 52, 53: whatever follows an expire finds no conference; a create makes another.
    assert_eq!(
        world.patch(json!({ "expire": true })).await,
        (200, json!({}))
    );
    let late = world
        .post(json!({ "meeting-id": "m1", "endpoints": [{ "id": "a", "transport": {} }] }))
        .await;
    refused(
        &late,
        "Conference not found for ID: m1",
        Some("conference_not_found"),
    );
    // 50: a full answer, and then it is gone.
    let short =
        json!({ "meeting-id": "m1", "create": true, "expire": true, "endpoints": [endpoint("a")] });
    let (status, answer) = world.post(short).await;
    assert_eq!(status, 200);
    assert!(answer["endpoints"][0]["transport"].is_object() && answer["sources"].is_array());
    assert_eq!(world.patch(json!({})).await.0, 404);
    // 51: nothing left to wait for.
    world
        .post(json!({ "meeting-id": "m1", "create": true }))
        .await;
    assert_eq!(world.patch(json!({})).await, (200, json!({})));
    assert_eq!(world.patch(json!({})).await.0, 404);
}

#[tokio::test]
async fn colibri2_cases_65_67_68_statuses() {
    let world = meeting(&["a"]).await;
    let list = "/colibri/v2/conferences";
    assert_eq!(world.post(json!({})).await.0, 400);
    assert_eq!(
        world
            .post(json!({ "meeting-id": "r", "create": "true" }))
            .await
            .0,
        400
    );
    assert_eq!(
        world.send("POST", list, Some("text/plain"), "{}").await.0,
        415
    );
    for (method, path, status) in [
        ("GET", "/colibri/v2/conferences", 501),
        ("GET", "/colibri/v2/conferences/m1", 501),
        ("GET", "/colibri/v2/conferences/unknown", 404),
        ("DELETE", "/colibri/v2/conferences/m1", 405),
        ("GET", "/colibri/conferences", 404),
        ("GET", "/colibri/mucs", 404),
    ] {
        assert_eq!(
            world.send(method, path, None, "").await.0,
            status,
            "{method} {path}"
        );
    }
    let kind = Some("application/json");
    assert_eq!(
        world
            .send("PATCH", "/colibri/v2/conferences/nope", kind, "{}")
            .await
            .0,
        404
    );
    assert_eq!(world.post(json!({ "meeting-id": "nope" })).await.0, 400);
    assert_eq!(
        world.patch(json!({ "expire": true })).await,
        (200, json!({}))
    );
    assert_eq!(world.patch(json!({ "expire": true })).await.0, 404);
}

#[tokio::test]
async fn colibri2_cases_14_33_a_refused_create_leaves_nothing() {
    let world = World::enabled(true);
    let bare = json!({ "id": "a", "create": true, "capabilities": ["source-names"] });
    let create = |endpoint| json!({ "meeting-id": "m3", "create": true, "endpoints": [endpoint] });
    assert_eq!(world.post(create(bare)).await.0, 400);
    assert_eq!(world.post(create(endpoint("a"))).await.0, 200);
}

#[tokio::test]
async fn colibri2_cases_16_17_sctp() {
    let world = World::enabled(true);
    world
        .post(json!({ "meeting-id": "m1", "create": true }))
        .await;
    for (sctp, status) in [
        (json!({ "role": "client" }), 400),
        (json!({ "port": 5001 }), 400),
        (json!({}), 200),
    ] {
        let mut endpoint = endpoint("a");
        endpoint["transport"]["sctp"] = sctp;
        let (got, answer) = world
            .post(json!({ "meeting-id": "m1", "endpoints": [endpoint] }))
            .await;
        assert_eq!(got, status, "{answer}");
        if status == 200 {
            let sctp = &answer["endpoints"][0]["transport"]["sctp"];
            assert_eq!(*sctp, json!({ "port": 5000, "role": "SERVER" }));
        }
    }
}

#[tokio::test]
async fn colibri2_case_57_graceful_shutdown_refuses_new_conferences() {
    let world = World::enabled(true);
    world
        .post(json!({ "meeting-id": "m1", "create": true, "endpoints": [endpoint("a")] }))
        .await;
    let (status, _) = world
        .send(
            "POST",
            "/colibri/shutdown",
            Some("application/json"),
            r#"{"graceful-shutdown":true}"#,
        )
        .await;
    assert_eq!(status, 200);
    let (status, answer) = world
        .post(json!({ "meeting-id": "m2", "create": true }))
        .await;
    assert_eq!(
        (status, &answer["reason"]),
        (400, &json!("graceful_shutdown"))
    );
    let more = json!({ "meeting-id": "m1", "endpoints": [endpoint("b")] });
    assert_eq!(world.post(more).await.0, 200);
}

#[tokio::test]
async fn t61_t69_bodies_are_bounded_and_what_is_off_is_404() {
    let world = World::enabled(true);
    let long = json!({ "meeting-id": "x".repeat(1 << 20) });
    assert_eq!(world.post(long).await.0, 413);
    let many: Vec<Value> = (0..17).map(|n| json!({ "id": n.to_string() })).collect();
    let many = json!({ "meeting-id": "m", "create": true, "endpoints": many });
    assert_eq!(world.post(many).await.0, 400);
    let off = World::new(true, RestOptions::default());
    assert_eq!(off.post(json!({})).await.0, 404);
    assert_eq!(off.send("GET", "/about/health", None, "").await.0, 200);
}
