//! A few participants with media through the daemon, made by the load generator. How fast that is belongs into its
//! reports; here it must be right.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use causeway_benches::load::cli;
use causeway_tests::eventually;
use causeway_tests::process::Process;
use causeway_tests::prosody::free_ports;
use causeway_tests::running::{ask, free_udp_port, media_address};
use serde_json::Value;

/// For anything that must happen, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs a scenario for a few seconds and returns its report.
fn report(name: &str, arguments: &[&str]) -> Value {
    let file: PathBuf = std::env::temp_dir().join(format!(
        "causeway-load-test-{}-{name}.json",
        std::process::id()
    ));
    let path = file.to_string_lossy().into_owned();
    let always = [
        "causeway-load",
        "run",
        "--daemon",
        env!("CARGO_BIN_EXE_causeway"),
        "--quiet",
        "--warmup",
        "4",
        "--seconds",
        "3",
        "--json",
        &path,
    ];
    let ran = cli::run(&[&always, arguments].concat());
    let text = std::fs::read_to_string(&file);
    let _ = std::fs::remove_file(&file);
    ran.expect("the scenario runs");
    serde_json::from_str(&text.expect("a report was written")).expect("reports are JSON")
}

fn number(report: &Value, path: &str) -> f64 {
    let value = report.pointer(path).and_then(Value::as_f64);
    value.unwrap_or_else(|| panic!("no {path} in {report}"))
}

/// Everybody got in, and what was sent came, once and whole.
fn assert_sound(report: &Value, clients: f64) {
    for (path, expected) in [
        ("/joining/connected", clients),
        ("/joining/failed", 0.0),
        ("/joining/channels", clients),
        ("/joining/channels_lost", 0.0),
        ("/traffic/lost_packets", 0.0),
        ("/traffic/bad_packets", 0.0),
        ("/traffic/duplicate_packets", 0.0),
    ] {
        assert_eq!(number(report, path), expected, "{path} in {report}");
    }
    let (packets, probes) = (
        number(report, "/traffic/forwarded_packets"),
        number(report, "/traffic/probe_packets"),
    );
    // The latency of each packet of media is known, and it is no negative time.
    let measured = number(report, "/latency/count") + number(report, "/repaired_latency/count");
    assert_eq!(measured, packets - probes, "{report}");
    assert!(number(report, "/latency/p50") > 0.0, "{report}");
    assert!(number(report, "/process/cpu_seconds") > 0.0, "{report}");
    assert!(number(report, "/process/memory_mb") > 0.0, "{report}");
}

#[test]
fn a_camera_reaches_all_receivers_in_the_layer_that_they_ask_for() {
    let report = report("broadcast", &["broadcast", "--size", "3"]);
    assert_sound(&report, 4.0);
    assert_eq!(number(&report, "/picture/moving"), 3.0, "{report}");
    for (path, expected) in [
        ("/picture/switch_down/count", 3.0),
        ("/picture/switch_up/count", 3.0),
        ("/picture/switches_missed", 0.0),
    ] {
        assert_eq!(number(&report, path), expected, "{path} in {report}");
    }
    // 720p has seven packets a frame, and the layers below three.
    let frames = number(&report, "/picture/frames");
    let packets = number(&report, "/latency/count");
    assert!(
        packets / frames > 6.5,
        "{packets} packets in {frames} frames: {report}"
    );
}

#[test]
fn a_meeting_works_with_rewritten_ssrcs_and_the_older_srtp_profile() {
    let arguments = [
        "meetings",
        "--count",
        "1",
        "--size",
        "3",
        "--srtp",
        "cm",
        "--ssrc-rewriting",
    ];
    let report = report("meeting", &arguments);
    assert_sound(&report, 3.0);
    // Each sees two others, and asked for one of them to be larger and smaller.
    assert_eq!(number(&report, "/picture/moving"), 6.0, "{report}");
    assert_eq!(number(&report, "/picture/switches_missed"), 0.0, "{report}");
    assert_eq!(number(&report, "/picture/switch_up/count"), 3.0, "{report}");
}

#[test]
fn spatial_layers_on_one_ssrc_and_data_channels_work_while_speakers_take_turns() {
    let arguments = [
        "meetings",
        "--count",
        "1",
        "--size",
        "3",
        "--codec",
        "av1-svc",
        "--channel",
        "sctp",
        "--turns",
        "1",
    ];
    let report = report("turns", &arguments);
    assert_sound(&report, 3.0);
    assert_eq!(number(&report, "/picture/moving"), 6.0, "{report}");
}

#[test]
fn what_a_bad_line_loses_is_repaired_and_participants_come_back() {
    let arguments = [
        "broadcast",
        "--size",
        "3",
        "--codec",
        "vp9-svc",
        "--loss",
        "2",
        "--delay",
        "20",
        "--churn",
        "2",
    ];
    let report = report("line", &arguments);
    for (path, expected) in [
        ("/joining/connected", 4.0),
        ("/joining/failed", 0.0),
        ("/joining/replacements_failed", 0.0),
        ("/traffic/bad_packets", 0.0),
    ] {
        assert_eq!(number(&report, path), expected, "{path} in {report}");
    }
    assert!(number(&report, "/joining/replaced") > 0.0, "{report}");
    assert!(
        number(&report, "/traffic/repaired_packets") > 0.0,
        "{report}"
    );
    // The delay of the lines is not the bridge's.
    assert!(number(&report, "/latency/p50") < 20.0, "{report}");
}

/// One packet per second is too much here: receivers lose sources while the call lasts, and may have more when it is over.
#[test]
fn rest_and_stats_case_25_overload_takes_video_sources_away_and_gives_them_back() {
    let address = media_address();
    let udp = free_udp_port(address);
    let [http, public] = free_ports();
    let file = std::env::temp_dir().join(format!("causeway-reducer-{}.conf", std::process::id()));
    let text = format!(
        "videobridge {{
           apis.rest.enabled = true
           ice.udp.port = {udp}
           http-servers.private {{ host = 127.0.0.1, port = {http} }}
           http-servers.public {{ host = 127.0.0.1, port = {public} }}
           websockets {{ enabled = true, domain = \"127.0.0.1:{public}\" }}
           load-management {{
             reducer-enabled = true
             load-measurements {{ load-measurement = packet-rate, packet-rate {{ load-threshold = 1, recovery-threshold = 1 }} }}
             load-reducers.last-n.impact-time = 1 second
           }}
         }}
         ice4j.harvest {{ allowed-addresses = [\"{address}\"], mapping.aws.enabled = false }}"
    );
    std::fs::write(&file, text).expect("the folder is writable");
    let mut command = Command::new(env!("CARGO_BIN_EXE_causeway"));
    let process = Process::start("causeway", command.arg("--config").arg(&file));
    process.announced(PATIENCE, |line| line.contains("bridge ready").then_some(()));
    std::fs::remove_file(&file).expect("it was written");
    let get = |path: &str| {
        let socket = TcpStream::connect(("127.0.0.1", http)).expect("the control API");
        ask(socket, "GET", path, "", &Value::Null).1
    };
    let debug = || -> Value { serde_json::from_str(&get("/debug?full=true")).expect("JSON") };
    let limit = |debug: &Value| debug["load_management"]["reducer"]["jvbLastN"].as_i64();
    let first = debug();
    assert_eq!(limit(&first), Some(-1), "{first:#}");
    assert_eq!(first["load_management"]["reducer_enabled"], "true");
    assert!(get("/metrics").contains("\ncauseway_last_n_limit -1"));

    let rest = format!("--rest=http://127.0.0.1:{http}");
    let call = std::thread::spawn(move || {
        cli::run(&[
            "causeway-load",
            "run",
            "meetings",
            "--count=1",
            "--size=4",
            "--quiet",
            "--warmup=1",
            "--seconds=30",
            &rest,
        ])
    });
    // Three others are seen at first, and three quarters of them are two.
    let reduced = eventually("sources are taken away", PATIENCE, debug, |debug| {
        matches!(limit(debug), Some(1 | 2))
    });
    assert_eq!(reduced["load_management"]["state"], "OVERLOADED");
    let most = |debug: &Value| {
        let limit = limit(debug).and_then(|limit| usize::try_from(limit).ok());
        let conference = debug["conferences"].as_object()?.values().next()?;
        let endpoints = conference["endpoints"].as_object()?.values();
        let sent = endpoints.map(|endpoint| {
            let sources = endpoint["media"]["forwarded_sources"].as_object();
            sources
                .into_iter()
                .flatten()
                .filter(|(_, it)| it["target"].as_i64() >= Some(0))
                .count()
        });
        Some((sent.max()?, limit?))
    };
    eventually("nobody gets more", PATIENCE, debug, |debug| {
        most(debug).is_some_and(|(most, limit)| most == limit)
    });
    call.join().expect("no panic").expect("the call ends well");
    let lowest = limit(&debug());
    eventually("it may be more again", PATIENCE, debug, |debug| {
        debug["load_management"]["state"] == "NOT_OVERLOADED" && limit(debug) > lowest
    });
}
