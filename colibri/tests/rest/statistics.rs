//! `/colibri/stats` and `/metrics` (rest-and-stats spec §4, §5, §9).

use std::collections::BTreeMap;
use std::time::Duration;

use causeway_bridge::control::ControlAccess;
use causeway_bridge::counters::{Counter, Counters};
use causeway_bridge::ids::{ConferenceKey, EndpointKey, WorkerId};
use causeway_bridge::messages::Event;
use causeway_bridge::stats::{EndpointStats, MediaStats, WorkerStats};
use causeway_bridge::units::Bitrate;
use causeway_colibri::RestOptions;
use serde_json::{Map, Value, json};

use crate::world::World;

/// Names with their types, as the reference implementation answered them when idle.
fn recorded(part: &str) -> Map<String, Value> {
    let all: Value = serde_json::from_str(include_str!("data/statistics.json")).unwrap();
    all[part].as_object().unwrap().clone()
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "text",
        _ => "object",
    }
}

async fn stats(world: &World) -> Value {
    world.send("GET", "/colibri/stats", None, "").await.1
}

async fn metrics(world: &World, accept: Option<&str>) -> (String, String) {
    let accept: Vec<_> = accept
        .map(|accept| ("accept", accept))
        .into_iter()
        .collect();
    let (status, kind, body) = world.get("/metrics", &accept).await;
    assert_eq!(status, 200);
    (kind, body)
}

/// `# TYPE` lines: name and type.
fn types(text: &str) -> BTreeMap<&str, &str> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    lines.filter_map(|line| line.split_once(' ')).collect()
}

/// Everything about the endpoint as its worker would report it.
fn report(endpoint: EndpointKey, media: MediaStats) -> EndpointStats {
    EndpointStats {
        endpoint,
        conference: ConferenceKey(0),
        connected: true,
        remote: None,
        rtt: None,
        incoming: Bitrate::ZERO,
        outgoing: Bitrate::ZERO,
        outgoing_loss: 0.0,
        incoming_loss: 0.0,
        estimate: None,
        forwarded: Vec::new(),
        packets_in: 0,
        packets_out: 0,
        media,
        happened: Vec::new(),
        missed: 0,
    }
}

fn worker_reports(world: &World, endpoints: Vec<EndpointStats>, counters: Counters) {
    let stats = WorkerStats {
        endpoints,
        counters,
        ..WorkerStats::default()
    };
    world.event(Event::Stats(WorkerId(0), Box::new(stats)));
}

async fn meeting(endpoints: &[&str]) -> World {
    let world = World::enabled(true);
    let create = json!({ "meeting-id": "m1", "create": true });
    assert_eq!(world.post(create).await.0, 200);
    for id in endpoints {
        let endpoint =
            json!({ "id": id, "create": true, "capabilities": ["source-names"], "transport": {} });
        assert_eq!(world.endpoint(endpoint).await.0, 200);
    }
    world
}

#[tokio::test]
async fn rest_and_stats_case_10_all_keys_have_their_types() {
    let idle = World::enabled(true);
    let busy = meeting(&["a", "b"]).await;
    let mut counters = Counters::default();
    counters.add(Counter::RtpIn, 1000);
    worker_reports(
        &busy,
        vec![report(busy.key("m1", "a"), MediaStats::default())],
        counters,
    );
    for world in [&idle, &busy] {
        let stats = stats(world).await;
        let types: Map<String, Value> = stats
            .as_object()
            .unwrap()
            .iter()
            .map(|(key, value)| (key.clone(), kind(value).into()))
            .collect();
        assert_eq!(Value::Object(types), Value::Object(recorded("stats")));
    }
}

/// Keys that the exporter of the Helm chart decodes, by Go types. One that does not fit fails its whole scrape.
mod exporter {
    pub const INTS: &str = "threads largest_conference conferences p2p_conferences participants endpoints_sending_video \
        total_conference_seconds total_conferences_created total_conferences_completed \
        total_data_channel_messages_received total_data_channel_messages_sent \
        total_colibri_web_socket_messages_received total_colibri_web_socket_messages_sent total_participants \
        octo_conferences octo_endpoints total_bytes_received_octo total_bytes_sent_octo total_packets_received_octo \
        total_packets_sent_octo total_ice_succeeded total_ice_succeeded_relayed total_ice_failed \
        endpoints_with_suspended_sources inactive_endpoints inactive_conferences local_active_endpoints \
        muc_clients_connected muc_clients_configured mucs_configured mucs_joined local_endpoints \
        total_packets_received total_packets_sent total_bytes_received total_bytes_sent preemptive_kfr_sent \
        preemptive_kfr_suppressed total_keyframes_received total_dominant_speaker_changes endpoints_with_spurious_remb \
        receive_only_endpoints total_visitors visitors num_eps_oversending num_eps_no_msg_transport_after_delay \
        total_layering_changes_received total_relays endpoints_with_high_outgoing_loss \
        total_video_stream_milliseconds_received num_relays_no_msg_transport_after_delay endpoints \
        endpoints_reconnected endpoints_disconnected endpoints_sending_audio dtls_failed_endpoints";
    pub const FLOATS: &str = "bit_rate_download bit_rate_upload packet_rate_download packet_rate_upload rtt_aggregate \
        stress_level octo_receive_bitrate octo_send_bitrate octo_receive_packet_rate octo_send_packet_rate \
        outgoing_loss overall_loss incoming_loss average_participant_stress";
    pub const BOOLS: &str = "drain shutting_down graceful_shutdown healthy";
    pub const STRINGS: &str = "version current_timestamp";
    /// Strings that are there if they are configured.
    pub const OPTIONAL: [&str; 2] = ["region", "relay_id"];
}

#[tokio::test]
async fn rest_and_stats_case_11_the_exporter_of_the_helm_chart_can_decode_them() {
    let idle = World::enabled(true);
    let busy = meeting(&["a", "b"]).await;
    let media = MediaStats {
        sending_video: true,
        received: 90,
        lost: 10,
        ..MediaStats::default()
    };
    let mut sender = report(busy.key("m1", "a"), media);
    sender.incoming = Bitrate::kbps(1_500);
    sender.rtt = Some(Duration::from_micros(12_345));
    let mut counters = Counters::default();
    counters.add(Counter::RtpIn, 1_001);
    counters.add(Counter::GoneBytesIn, 1 << 50);
    worker_reports(&busy, vec![sender], counters);
    for world in [&idle, &busy] {
        let stats = stats(world).await;
        let fits = |keys: &str, fits: fn(&Value) -> bool| {
            for key in keys.split_whitespace() {
                assert!(fits(&stats[key]), "{key}: {}", stats[key]);
            }
        };
        fits(exporter::INTS, Value::is_i64);
        fits(exporter::FLOATS, Value::is_number);
        fits(exporter::BOOLS, Value::is_boolean);
        fits(exporter::STRINGS, Value::is_string);
        for key in exporter::OPTIONAL {
            assert_eq!(stats.get(key), None);
        }
    }
}

#[tokio::test]
async fn release_is_there_if_configured() {
    let options = RestOptions {
        rest_enabled: true,
        release: Some("7".into()),
        ..RestOptions::default()
    };
    let world = World::new(true, options);
    assert_eq!(stats(&world).await["release"], "7");
}

#[tokio::test]
async fn rest_and_stats_cases_12_13_14_conferences_are_active_or_not() {
    let world = meeting(&["a", "b"]).await;
    let (a, b) = (world.key("m1", "a"), world.key("m1", "b"));
    let silent = |key| report(key, MediaStats::default());
    worker_reports(&world, vec![silent(a), silent(b)], Counters::default());
    let numbers = |stats: &Value, keys: &[&str]| -> Vec<u64> {
        keys.iter()
            .map(|key| stats[key].as_u64().unwrap())
            .collect()
    };
    let keys = [
        "inactive_conferences",
        "p2p_conferences",
        "inactive_endpoints",
        "local_active_endpoints",
        "receive_only_endpoints",
    ];
    assert_eq!(numbers(&stats(&world).await, &keys), [1, 1, 2, 0, 0]);
    let video = MediaStats {
        sending_video: true,
        ..MediaStats::default()
    };
    let mut sender = report(a, video);
    sender.incoming = Bitrate::kbps(1_000);
    worker_reports(&world, vec![sender, silent(b)], Counters::default());
    let now = stats(&world).await;
    assert_eq!(numbers(&now, &keys), [0, 0, 0, 2, 1]);
    let keys = [
        "bit_rate_download",
        "endpoints_sending_video",
        "endpoints_sending_audio",
        "participants",
        "largest_conference",
    ];
    assert_eq!(numbers(&now, &keys), [1000, 1, 0, 2, 2]);
    let (_, text) = metrics(&world, Some("text/plain")).await;
    assert!(
        text.contains("\njitsi_jvb_incoming_bitrate 1000000.0\n"),
        "{text}"
    );
    // 20: the sum over the classes is the number of endpoints.
    assert!(text.contains("\njitsi_jvb_conferences_by_size_sum 2.0\n"));
    assert!(text.contains("\njitsi_jvb_conferences_by_size_bucket{le=\"1.0\"} 0.0\n"));
    assert!(text.contains("\njitsi_jvb_conferences_by_size_bucket{le=\"2.0\"} 1.0\n"));
}

#[tokio::test]
async fn visitors_are_local_endpoints_and_no_participants() {
    let world = meeting(&["a"]).await;
    let visitor = json!({ "id": "v", "create": true, "capabilities": ["source-names"], "transport": {}, "muc-role": "visitor" });
    assert_eq!(world.endpoint(visitor).await.0, 200);
    let now = stats(&world).await;
    assert_eq!(
        (&now["participants"], &now["visitors"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(
        (&now["local_endpoints"], &now["largest_conference"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(
        (&now["total_participants"], &now["total_visitors"]),
        (&json!(2), &json!(1))
    );
}

#[tokio::test]
async fn rest_and_stats_case_15_totals_move_when_things_end() {
    let world = meeting(&["a"]).await;
    assert_eq!(stats(&world).await["total_conferences_completed"], 0);
    world.advance(Duration::from_millis(61_500));
    assert_eq!(world.patch(json!({ "expire": true })).await.0, 200);
    let mut counters = Counters::default();
    counters.add(Counter::GoneBytesIn, 5_000);
    worker_reports(&world, Vec::new(), counters);
    let now = stats(&world).await;
    assert_eq!(now["total_conferences_completed"], 1);
    assert_eq!(now["total_conference_seconds"], 61);
    assert_eq!(now["total_bytes_received"], 5_000);
}

#[tokio::test]
async fn rest_and_stats_case_16_loss_is_since_the_start_of_each_endpoint() {
    let world = meeting(&["a"]).await;
    let media = MediaStats {
        sending_audio: true,
        received: 90,
        lost: 10,
        reported_lost: 15,
        ..MediaStats::default()
    };
    let mut lossy = report(world.key("m1", "a"), media);
    lossy.packets_out = 100;
    worker_reports(&world, vec![lossy], Counters::default());
    let now = stats(&world).await;
    assert_eq!(now["incoming_loss"], 0.1);
    assert_eq!(now["outgoing_loss"], 0.15);
    assert_eq!(now["overall_loss"], 0.125);
    assert_eq!(now["endpoints_with_high_outgoing_loss"], 1);
}

/// They need no interval: each report of a worker, one a second, changes them.
#[tokio::test]
async fn rest_and_stats_case_17_rates_are_those_of_the_last_report() {
    let world = meeting(&["a"]).await;
    for (ms, packets, expected) in [(0, 1_000, 0), (500, 1_250, 500), (1_000, 1_250, 0)] {
        world.advance(Duration::from_millis(ms));
        let mut counters = Counters::default();
        counters.add(Counter::RtpIn, packets);
        worker_reports(&world, Vec::new(), counters);
        assert_eq!(stats(&world).await["packet_rate_download"], expected);
    }
}

#[tokio::test]
async fn rest_and_stats_case_21_transit_times_are_counted_per_copy() {
    let world = World::enabled(true);
    let mut counters = Counters::default();
    counters.add(Counter::TransitUpTo5Ms, 9_990);
    counters.add(Counter::TransitUpTo500Ms, 10);
    counters.add(Counter::TransitMicros, 20_000_000);
    worker_reports(&world, Vec::new(), counters);
    let (_, text) = metrics(&world, Some("*/*")).await;
    for line in [
        "jitsi_jvb_rtp_transit_time_bucket{le=\"0.0\"} 0.0",
        "jitsi_jvb_rtp_transit_time_bucket{le=\"5.0\"} 9990.0",
        "jitsi_jvb_rtp_transit_time_bucket{le=\"50.0\"} 9990.0",
        "jitsi_jvb_rtp_transit_time_bucket{le=\"500.0\"} 10000.0",
        "jitsi_jvb_rtp_transit_time_bucket{le=\"+Inf\"} 10000.0",
        "jitsi_jvb_rtp_transit_time_count 10000.0",
        "jitsi_jvb_rtp_transit_time_sum 20000.0",
    ] {
        assert!(text.lines().any(|is| is == line), "{line}");
    }
    let (_, debug) = world
        .send("GET", "/debug/stats/jvb/transit-stats", None, "")
        .await;
    let rtp = &debug["e2e_packet_delay"]["rtp"];
    assert_eq!(rtp["average_delay_ms"], 2.0);
    assert_eq!(rtp["buckets"]["50_to_max_ms"], 10);
    assert_eq!(rtp["buckets"]["0_to_max_ms"], 10_000);
}

#[tokio::test]
async fn bridge_channel_case_27_refused_data_channels_are_counted() {
    let world = meeting(&["a"]).await;
    let refused = "jitsi_jvb_rejected_data_channels_total";
    for (more, total) in [(0, "0.0"), (1, "1.0"), (2, "3.0")] {
        if more > 0 {
            world.event(Event::ChannelsRefused(world.key("m1", "a"), more));
        }
        let (_, text) = metrics(&world, Some("text/plain")).await;
        let line = format!("{refused} {total}");
        assert!(text.lines().any(|is| is == line), "{line}");
    }
}

#[tokio::test]
async fn rest_and_stats_case_19_the_form_is_negotiated() {
    let world = World::enabled(true);
    let open = "application/openmetrics-text;charset=utf-8;version=1.0.0";
    let text = "text/plain;charset=utf-8;version=0.0.4";
    let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    for (accept, expected) in [
        (Some("*/*"), open),
        (Some("application/openmetrics-text"), open),
        (Some(prometheus), open),
        (Some("text/plain"), text),
        (Some("text/plain;q=0.9,application/json;q=0.5"), text),
        (
            Some("text/plain;q=0.1, application/json"),
            "application/json",
        ),
        (Some("application/json"), "application/json"),
        (Some("image/png"), text),
        (Some("text/plain;q=0"), text),
        (None, text),
    ] {
        let (kind, body) = metrics(&world, accept).await;
        assert_eq!(kind, expected, "{accept:?}");
        assert_eq!(body.ends_with("# EOF\n"), expected == open, "{accept:?}");
    }
}

#[tokio::test]
async fn rest_and_stats_case_20_all_names_have_their_types_in_all_forms() {
    let world = World::enabled(true);
    for (accept, part) in [("*/*", "openmetrics"), ("text/plain", "text")] {
        let (_, body) = metrics(&world, Some(accept)).await;
        let got = types(&body);
        for (name, kind) in recorded(part) {
            assert_eq!(
                got.get(name.as_str()).copied(),
                kind.as_str(),
                "{part} {name}"
            );
        }
        for line in body.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            if let Some((_, label)) = name.split_once('{') {
                assert!(label.starts_with("le=\""), "{line}");
            }
        }
        let names: Vec<_> = body
            .lines()
            .filter(|line| line.starts_with("# TYPE"))
            .collect();
        assert_eq!(names.len(), got.len(), "no name occurs twice");
        assert!(
            got.keys()
                .all(|name| name.starts_with("jitsi_jvb_") || name.starts_with("causeway_"))
        );
    }
    let (_, body) = metrics(&world, Some("application/json")).await;
    let body: Map<String, Value> = serde_json::from_str(&body).unwrap();
    for (name, expected) in recorded("metrics_json") {
        let got = body.get(&name).map(kind);
        assert_eq!(got, expected.as_str(), "{name}");
    }
    let histogram = body["conferences_by_size"].as_object().unwrap();
    let keys: Vec<_> = histogram.keys().map(String::as_str).collect();
    assert_eq!(keys.first(), Some(&"bucket_le_0.0"));
    assert_eq!(keys[21..], ["bucket_le_+Inf", "count", "sum", "created"]);
    assert_eq!(
        body["tossed_packets_energy"].as_object().unwrap().len(),
        18 + 3
    );
}

#[tokio::test]
async fn rest_and_stats_cases_1_2_3_resources_can_be_switched_off() {
    let default = World::new(true, RestOptions::default());
    for (path, status) in [
        ("/about/health", 200),
        ("/about/version", 200),
        ("/metrics", 200),
        ("/debug", 200),
        ("/stats", 200),
        ("/colibri/drain", 200),
        ("/colibri/stats", 404),
        ("/colibri/muc-client/list", 404),
    ] {
        assert_eq!(
            default.send("GET", path, None, "").await.0,
            status,
            "{path}"
        );
    }
    let off = RestOptions {
        rest_enabled: true,
        health_enabled: false,
        version_enabled: false,
        drain_enabled: false,
        debug_enabled: false,
        metrics_enabled: false,
        rtcstats_enabled: false,
        ..RestOptions::default()
    };
    let off = World::new(true, off);
    for (path, status) in [
        ("/about/health", 404),
        ("/about/version", 404),
        ("/metrics", 404),
        ("/debug", 404),
        ("/debug/stats/jvb/ice-stats", 404),
        ("/stats", 404),
        ("/colibri/drain", 404),
        ("/colibri/shutdown", 404),
        ("/colibri/stats", 200),
    ] {
        assert_eq!(off.send("GET", path, None, "").await.0, status, "{path}");
    }
    assert!(
        off.bridge
            .with_control(|control, _| control.summary().conferences)
            == 0
    );
}
