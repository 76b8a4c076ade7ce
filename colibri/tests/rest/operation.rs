//! Drain, shutdown, XMPP connections, `/debug` and `/stats` (rest-and-stats spec §9).

use serde_json::{Value, json};

use crate::world::World;

async fn meeting() -> World {
    let world = World::enabled(true);
    let endpoint = json!({ "id": "a", "create": true, "stats-id": "Alice-x1", "capabilities": ["source-names"], "transport": {} });
    let create = json!({ "meeting-id": "m1", "name": "room@example.com", "create": true, "endpoints": [endpoint] });
    assert_eq!(world.post(create).await.0, 200);
    world
}

#[tokio::test]
async fn rest_and_stats_case_26_drain_changes_nothing_but_what_is_told() {
    let world = World::enabled(true);
    for (action, drain) in [("enable", true), ("disable", false)] {
        let path = format!("/colibri/drain/{action}");
        // As `curl -d ""` sends it.
        let form = Some("application/x-www-form-urlencoded");
        assert_eq!(world.send("POST", &path, form, "").await.0, 200);
        assert_eq!(world.send("GET", &path, None, "").await.0, 405);
        let (_, told) = world.send("GET", "/colibri/drain", None, "").await;
        assert_eq!(told, json!({ "drain": drain }));
        let (_, stats) = world.send("GET", "/colibri/stats", None, "").await;
        assert_eq!(stats["drain"], drain);
        let create = json!({ "meeting-id": action, "create": true });
        assert_eq!(world.post(create).await.0, 200);
    }
}

#[tokio::test]
async fn rest_and_stats_case_27_bodies_of_shutdown() {
    for (body, status) in [
        (json!({ "graceful-shutdown": true }), 200),
        (json!({ "graceful-shutdown": "true" }), 200),
        (json!({ "graceful-shutdown": "false" }), 200),
        (json!({}), 400),
        (json!({ "x": 1 }), 400),
        (json!({ "graceful-shutdown": "maybe" }), 400),
        (json!([]), 400),
    ] {
        let world = World::enabled(true);
        let got = world
            .json("POST", "/colibri/shutdown", body.clone())
            .await
            .0;
        assert_eq!(got, status, "{body}");
        let (_, stats) = world.send("GET", "/colibri/stats", None, "").await;
        let asked = body["graceful-shutdown"].clone();
        let graceful = status == 200 && (asked == true || asked == "true");
        assert_eq!(stats["graceful_shutdown"], graceful, "{body}");
        assert_eq!(stats["shutting_down"], status == 200 && !graceful, "{body}");
    }
    let world = World::enabled(true);
    let text = world.send(
        "POST",
        "/colibri/shutdown",
        Some("text/plain"),
        r#"{"graceful-shutdown":true}"#,
    );
    assert_eq!(text.await.0, 415);
}

#[tokio::test]
async fn rest_and_stats_s5_no_new_conferences_while_shutting_down() {
    let world = meeting().await;
    let force = json!({ "graceful-shutdown": false });
    assert_eq!(world.json("POST", "/colibri/shutdown", force).await.0, 200);
    let (status, answer) = world
        .post(json!({ "meeting-id": "m2", "create": true }))
        .await;
    assert_eq!(
        (status, &answer["reason"]),
        (400, &json!("graceful_shutdown"))
    );
}

#[tokio::test]
async fn rest_and_stats_case_37_xmpp_connections() {
    let world = World::enabled(true);
    world.bridge.offer_xmpp();
    let send = |action: &str, body: Value| {
        let path = format!("/colibri/muc-client/{action}");
        let world = &world;
        async move { world.json("POST", &path, body).await.0 }
    };
    let shard = json!({
        "id": "shard1", "HOSTNAME": "10.0.0.1", "port": 5222, "username": "jvb", "password": "x",
        "muc_jids": "jvbbrewery@internal.auth.example.com", "muc_nickname": "jvb-1",
    });
    assert_eq!(send("add", shard.clone()).await, 200);
    assert_eq!(send("add", shard).await, 200);
    let settings = world.bridge.xmpp_settings("shard1").unwrap();
    assert_eq!(settings["hostname"], "10.0.0.1");
    assert_eq!(settings["muc-nickname"], "jvb-1");
    assert!(!settings.contains_key("port"), "numbers are ignored");
    let list = || world.send("GET", "/colibri/muc-client/list", None, "");
    assert_eq!(list().await, (200, json!(["shard1"])));
    for bad in [
        json!({ "id": "x" }),
        json!({ "id": 5 }),
        json!({}),
        json!([]),
        json!("x"),
    ] {
        assert_eq!(send("add", bad.clone()).await, 400, "{bad}");
    }
    assert_eq!(send("remove", json!({ "id": "shard1" })).await, 200);
    assert_eq!(send("remove", json!({ "id": "shard1" })).await, 400);
    assert_eq!(list().await, (200, json!([])));
}

#[tokio::test]
async fn rest_and_stats_case_38_debug() {
    let world = meeting().await;
    let get = |path: String| {
        let world = &world;
        async move { world.send("GET", &path, None, "").await }
    };
    let (_, short) = get("/debug".into()).await;
    let (id, conference) = short["conferences"]
        .as_object()
        .unwrap()
        .iter()
        .next()
        .unwrap();
    assert_eq!(
        *conference,
        json!({
            "id": id, "rtcstatsEnabled": true, "name": "room@example.com", "meeting_id": "m1",
            "endpoints": { "a": "Alice-x1" }, "relays": {},
        })
    );
    let keys: Vec<_> = short.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "shutdown_state",
            "drain",
            "time",
            "load_management",
            "conferences",
            "health"
        ]
    );
    assert!(short["load_management"]["stress"].is_string());
    for path in [
        "/debug?full=true".to_owned(),
        format!("/debug/{id}"),
        format!("/debug/{id}/a"),
    ] {
        let (_, full) = get(path.clone()).await;
        let conference = &full["conferences"][id];
        assert_eq!(
            conference["speech_activity"]["dominantEndpoint"], "null",
            "{path}"
        );
        assert_eq!(conference["expired"], false, "{path}");
        assert_eq!(
            conference["endpoints"]["a"]["stats_id"], "Alice-x1",
            "{path}"
        );
    }
    let (status, why) = get(format!("/debug/{id}/why?viewer=a&sender=b")).await;
    assert_eq!(
        (status, &why["findings"][0]["code"]),
        (200, &json!("not-here"))
    );
    let (status, _) = get("/debug/ffff/why?viewer=a&sender=b".into()).await;
    assert_eq!(status, 404);
    let (status, _) = get(format!("/debug/{id}/why?viewer=a")).await;
    assert_eq!(status, 400);
    let (status, timeline) = get(format!("/debug/{id}/a/timeline")).await;
    assert_eq!((status, &timeline["endpoint"]), (200, &json!("a")));
    assert_eq!(timeline["events"][0]["event"], "created");
    let next = timeline["next"].as_u64().unwrap();
    let (_, later) = get(format!("/debug/{id}/a/timeline?since={next}")).await;
    assert_eq!(
        (&later["events"], &later["samples"]),
        (&json!([]), &json!([]))
    );
    for (path, expected) in [
        (format!("/debug/{id}/z/timeline"), 404),
        ("/debug/ffff/a/timeline".to_owned(), 404),
        (format!("/debug/{id}/a/timeline?since=yesterday"), 400),
    ] {
        assert_eq!(get(path.clone()).await.0, expected, "{path}");
    }
    let (_, other) = get(format!("/debug/{id}/z")).await;
    assert_eq!(other["conferences"][id]["endpoints"], json!({}));
    let (status, unknown) = get("/debug/ffff".into()).await;
    assert_eq!(
        (status, &unknown["conferences"]),
        (200, &json!({ "ffff": "null" }))
    );
    for feature in [
        "payload-verification",
        "node-stats",
        "pool-stats",
        "queue-stats",
        "transit-stats",
        "task-pool-stats",
        "tossed-packet-stats",
        "xmpp-delay-stats",
        "ice-stats",
        "conference-packet-stats",
    ] {
        let (status, stats) = get(format!("/debug/stats/jvb/{feature}")).await;
        assert!(status == 200 && stats.is_object(), "{feature}");
    }
}

#[tokio::test]
async fn rest_and_stats_case_38_switches_keep_their_position() {
    let world = World::enabled(true);
    let at = |feature: &str| {
        let path = format!("/debug/features/jvb/{feature}");
        let world = &world;
        async move { world.get(&path, &[]).await }
    };
    for (method, on) in [("POST", "true"), ("GET", "false")] {
        let path = format!("/debug/features/jvb/node-stats/{on}");
        assert_eq!(world.send(method, &path, None, "").await.0, 200);
        assert_eq!(
            at("node-stats").await,
            (200, "text/plain".into(), on.into())
        );
    }
    assert_eq!(at("transit-stats").await.2, "true");
    for (path, status) in [
        ("/debug/features/jvb/transit-stats/false", 200),
        ("/debug/features/jvb/tossed-packet-stats/false", 404),
        ("/debug/features/jvb/ice-stats/true", 404),
        ("/debug/features/jvb/nosuch/true", 404),
    ] {
        assert_eq!(world.send("POST", path, None, "").await.0, status, "{path}");
    }
    assert_eq!(
        at("transit-stats").await.2,
        "true",
        "switching it has no effect"
    );
    assert_eq!(at("ice-stats").await.0, 404);
}

#[tokio::test]
async fn rest_and_stats_case_39_packet_dumps_are_refused() {
    let world = meeting().await;
    let (_, short) = world.send("GET", "/debug", None, "").await;
    let id = short["conferences"]
        .as_object()
        .unwrap()
        .keys()
        .next()
        .unwrap();
    let dump = format!("/debug/features/endpoint/{id}/a/pcap-dump");
    assert_eq!(
        world
            .send("POST", &format!("{dump}/true"), None, "")
            .await
            .0,
        403
    );
    assert_eq!(world.get(&dump, &[]).await.2, "false");
    for unknown in [
        format!("/debug/features/endpoint/{id}/z/pcap-dump"),
        format!("/debug/features/endpoint/{id}/a/x"),
    ] {
        assert_eq!(
            world
                .send("POST", &format!("{unknown}/true"), None, "")
                .await
                .0,
            404
        );
        assert_eq!(world.get(&unknown, &[]).await.0, 404);
    }
}

#[tokio::test]
async fn old_paths_lead_to_the_new_ones() {
    let world = World::enabled(true);
    for (old, status, new) in [
        ("/colibri/debug?full=true", 301, "/debug?full=true"),
        ("/colibri/debug/ffff", 301, "/debug/ffff"),
        ("/debug/stats/ice-stats", 302, "/debug/stats/jvb/ice-stats"),
        ("/debug/stats/jvb/", 302, "/debug/stats/jvb/jvb/"),
    ] {
        assert_eq!(
            world.location(old).await,
            (status, Some(new.to_owned())),
            "{old}"
        );
    }
}

#[tokio::test]
async fn rtcstats_shows_the_conferences_that_allow_it() {
    let world = meeting().await;
    let hidden = json!({ "meeting-id": "m2", "create": true, "rtcstats-enabled": false });
    assert_eq!(world.post(hidden).await.0, 200);
    let (_, stats) = world.send("GET", "/stats", None, "").await;
    let conferences = stats["conferences"].as_object().unwrap();
    let shown: Vec<_> = conferences.values().collect();
    assert_eq!(shown.len(), 1);
    assert_eq!(
        (&shown[0]["meeting_id"], &shown[0]["rtcstatsEnabled"]),
        (&json!("m1"), &json!(true))
    );
    let (_, debug) = world.send("GET", "/debug", None, "").await;
    assert_eq!(debug["conferences"].as_object().unwrap().len(), 2);
}

#[tokio::test]
async fn rest_and_stats_case_35_health_scripts_find_candidates() {
    let world = World::enabled(true);
    let endpoint = json!({ "id": "12345678", "create": true, "capabilities": ["source-names"], "transport": { "ice-controlling": true } });
    let (status, answer) = world.post(json!({ "meeting-id": "check", "name": "check@example.com", "create": true, "endpoints": [endpoint] })).await;
    assert_eq!(status, 200);
    let candidates = answer["endpoints"][0]["transport"]["transport"]["candidates"]
        .as_array()
        .unwrap();
    assert!(!candidates.is_empty() && candidates.iter().all(|it| it["ip"].is_string()));
}

#[tokio::test]
async fn rest_and_stats_case_36_what_is_not_there_and_what_is_not_json() {
    let world = meeting().await;
    let list = "/colibri/v2/conferences";
    let speakers = |meeting: &str| format!("{list}/{meeting}/dominant-speaker-identification");
    for (method, path, body, status) in [
        ("PATCH", format!("{list}/nope"), "{}", 404),
        ("PATCH", format!("{list}/m1"), "{", 400),
        ("PATCH", format!("{list}/m1"), "[]", 400),
        ("PATCH", format!("{list}/m1"), "", 400),
        ("POST", list.to_owned(), "null", 400),
        ("GET", list.to_owned(), "", 501),
        ("GET", speakers("nope"), "", 404),
    ] {
        let kind = Some("application/json");
        let answer = world.send(method, &path, kind, body).await;
        assert_eq!(answer.0, status, "{method} {path} {body}");
    }
    let (status, speech) = world.send("GET", &speakers("m1"), None, "").await;
    assert_eq!(status, 200);
    assert_eq!(speech["dominantEndpoint"], "null");
    assert_eq!(speech["endpointsInLastNOrder"], json!(["a"]));
}
