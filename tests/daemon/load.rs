//! A few participants with media through the daemon, made by the load generator. How fast that is belongs into its
//! reports; here it must be right.

use std::path::PathBuf;

use causeway_benches::load::cli;
use serde_json::Value;

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
