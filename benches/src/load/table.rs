//! What people read in a terminal.

use std::fmt::Write;

use super::capacity::Verdict;
use super::report::{Report, Sample, Spread};

/// Names of the columns of [`line`].
pub const HEAD: &str = "  time  clients    in/s    out/s  Mbit/s  missing  latency ms: p50    p99     max   bridge CPU      RSS   lag p99";

/// One second.
pub fn line(sample: &Sample) -> String {
    format!(
        "{:>5.0}s {:>8} {:>7.0} {:>8.0} {:>7.1} {:>7.3}% {:>16.2} {:>6.2} {:>7.1} {:>11.1}% {:>5.0} MB {:>6.1} ms{}",
        sample.at,
        sample.connected,
        sample.packets_in,
        sample.packets_out,
        sample.mbits_out,
        sample.missing_percent,
        sample.latency.p50,
        sample.latency.p99,
        sample.latency.max,
        sample.cpu_percent,
        sample.memory_mb,
        sample.send_lag.p99,
        if sample.measured {
            ""
        } else {
            "  (not measured)"
        },
    )
}

fn spread(spread: &Spread) -> String {
    if spread.count == 0 {
        return "none".to_owned();
    }
    format!(
        "p50 {:.2}  p99 {:.2}  p99.9 {:.2}  max {:.1} ms  ({})",
        spread.p50, spread.p99, spread.p999, spread.max, spread.count
    )
}

/// The rows of a summary: what, and how much.
pub fn rows(report: &Report) -> Vec<(&'static str, String)> {
    let (joining, traffic, picture) = (&report.joining, &report.traffic, &report.picture);
    let (process, generator) = (&report.process, &report.generator);
    let mut rows = vec![
        (
            "clients",
            format!(
                "{} connected, {} failed, in {} meetings; {} bridge channels, {} lost",
                joining.connected,
                joining.failed,
                report.settings.meetings,
                joining.channels,
                joining.channels_lost
            ),
        ),
        ("join: connected after", spread(&joining.connect)),
        ("join: first media after", spread(&joining.first_media)),
        ("join: first frame after", spread(&joining.first_frame)),
        (
            "forwarded",
            format!(
                "{} packets in {:.1} s: {:.0}/s, {:.1} Mbit/s ({} probes)",
                traffic.forwarded_packets,
                report.seconds,
                traffic.forwarded_per_second,
                traffic.forwarded_mbits,
                traffic.probe_packets
            ),
        ),
        (
            "loss",
            format!(
                "{} lost ({:.4} %), {} repaired, {} late, {} twice, {} bad; {} datagrams not read by the bridge",
                traffic.lost_packets,
                traffic.lost_percent,
                traffic.repaired_packets,
                traffic.late_packets,
                traffic.duplicate_packets,
                traffic.bad_packets,
                traffic.bridge_drops
            ),
        ),
        ("latency", spread(&report.latency)),
        (
            "video",
            format!(
                "{} frames, {} streams move, {} freezes, frozen {:.3} %",
                picture.frames, picture.moving, picture.freezes, picture.frozen_percent
            ),
        ),
        (
            "generator",
            format!(
                "sends late: p99 {:.2} ms, reads late: p99 {:.2} ms, {} datagrams dropped unread, {:.0} % of a core (others {:.0} %)",
                generator.send_lag.p99,
                generator.receive_lag.p99,
                traffic.generator_drops,
                generator.cpu_percent,
                generator.others_percent
            ),
        ),
    ];
    if let (Some(flood), Some(rate)) = (&report.settings.flood, report.settings.flood_per_second) {
        rows.push(("flood", format!("{flood}: {rate:.0} datagrams/s were sent")));
    }
    if traffic.repaired_packets > 0 {
        rows.push(("latency of repairs", spread(&report.repaired_latency)));
    }
    if picture.switch_up.count + picture.switch_down.count > 0 || picture.switches_missed > 0 {
        rows.push(("layer switch down", spread(&picture.switch_down)));
        rows.push(("layer switch up", spread(&picture.switch_up)));
        rows.push(("switches missed", picture.switches_missed.to_string()));
    }
    if process.memory_mb > 0.0 {
        rows.push((
            "bridge CPU",
            format!(
                "{:.1} % of a core, {:.2} ms per join",
                process.cpu_percent, process.cpu_ms_per_join
            ),
        ));
        rows.push((
            "bridge memory",
            format!(
                "{:.1} MB before, {:.1} MB at the end: {:.0} kB per client",
                process.memory_before_mb, process.memory_mb, process.memory_per_client_kb
            ),
        ));
    }
    if process.memory_mb > 0.0 && traffic.forwarded_packets > 0 {
        rows.push((
            "CPU per forwarded packet",
            format!(
                "{:.2} µs ({:.2} µs per packet in and out)",
                process.micros_per_packet, process.micros_per_packet_in_and_out
            ),
        ));
    }
    if let Some(floor) = &report.floor {
        let list = |figures: &[f64]| {
            let texts: Vec<_> = figures
                .iter()
                .map(|figure| format!("{figure:.2}"))
                .collect();
            texts.join(", ")
        };
        rows.push((
            "floor",
            format!(
                "{} µs, with feedback {} µs; the bridge in the same rounds {} µs",
                list(&floor.micros_per_packet),
                list(&floor.micros_with_feedback),
                list(&floor.bridge_micros_per_packet)
            ),
        ));
        rows.push((
            "multiple of the floor",
            format!(
                "{:.2}, with feedback {:.2}",
                floor.ratio, floor.ratio_with_feedback
            ),
        ));
    }
    if let Some(error) = &joining.first_error {
        rows.push(("first error", error.clone()));
    }
    rows
}

/// One run of several in a line.
pub fn brief(report: &Report, verdict: &Verdict) -> String {
    let verdict = match verdict {
        Verdict::Good => "good".to_owned(),
        Verdict::Bad(why) => format!("too much: {why}"),
        Verdict::Unknown(why) => format!("unknown: {why}"),
    };
    format!(
        "{:>8.0} packets/s, {:>7.1} Mbit/s, latency p99 {:>6.2} ms, lost {:.3} %, bridge {:>5.1} % of a core, {:>5.0} MB: {verdict}",
        report.traffic.forwarded_per_second,
        report.traffic.forwarded_mbits,
        report.latency.p99,
        report.traffic.lost_percent,
        report.process.cpu_percent,
        report.process.memory_mb,
    )
}

/// The whole summary.
pub fn summary(report: &Report) -> String {
    let mut out = format!("\n{} on {}\n", report.scenario, report.machine);
    for (what, how_much) in rows(report) {
        let _ = writeln!(out, "  {what:<26} {how_much}");
    }
    out
}
