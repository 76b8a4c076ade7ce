//! Two reports side by side.

use std::fmt::Write;

use super::report::Report;

type Figure = (&'static str, fn(&Report) -> f64);

/// What is compared; lower is better, unless the name says otherwise.
const FIGURES: [Figure; 17] = [
    ("CPU µs per forwarded packet", |it| {
        it.process.micros_per_packet
    }),
    ("multiple of the floor", |it| {
        it.floor.as_ref().map_or(0.0, |floor| floor.ratio)
    }),
    ("CPU % of a core", |it| it.process.cpu_percent),
    ("CPU ms per join", |it| it.process.cpu_ms_per_join),
    ("ready after, ms", |it| it.process.ready_ms.unwrap_or(0.0)),
    ("memory before, MB", |it| it.process.memory_before_mb),
    ("memory at the end, MB", |it| it.process.memory_mb),
    ("memory per client, kB", |it| {
        it.process.memory_per_client_kb
    }),
    ("latency p50, ms", |it| it.latency.p50),
    ("latency p99, ms", |it| it.latency.p99),
    ("latency p99.9, ms", |it| it.latency.p999),
    ("lost %", |it| it.traffic.lost_percent),
    ("frozen %", |it| it.picture.frozen_percent),
    ("first media p50, ms", |it| it.joining.first_media.p50),
    ("layer switch up p50, ms", |it| it.picture.switch_up.p50),
    ("layer switch down p50, ms", |it| it.picture.switch_down.p50),
    ("forwarded packets/s (load)", |it| {
        it.traffic.forwarded_per_second
    }),
];

/// The table.
pub fn table(a: &Report, b: &Report) -> String {
    let mut out = String::new();
    for (name, report) in [("A", a), ("B", b)] {
        let _ = writeln!(
            out,
            "{name}: {} of {} clients, {} ({})",
            report.scenario, report.settings.clients, report.process.name, report.machine
        );
    }
    if a.scenario != b.scenario || a.settings != b.settings {
        let _ = writeln!(out, "The two runs had different settings.");
    }
    if a.machine != b.machine {
        let _ = writeln!(
            out,
            "The two machines differ: compare multiples of the floor only."
        );
    }
    let _ = writeln!(out, "{:<28} {:>12} {:>12} {:>8}", "", "A", "B", "B / A");
    for (name, figure) in FIGURES {
        let (left, right) = (figure(a), figure(b));
        if left == 0.0 && right == 0.0 {
            continue;
        }
        let ratio = match left > 0.0 {
            true => format!("{:.2}", right / left),
            false => "-".to_owned(),
        };
        let _ = writeln!(out, "{name:<28} {left:>12.3} {right:>12.3} {ratio:>8}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_side_by_side_with_their_ratio() {
        let (mut a, mut b) = (Report::default(), Report::default());
        a.process.micros_per_packet = 4.0;
        b.process.micros_per_packet = 3.0;
        b.traffic.lost_percent = 0.5;
        let table = table(&a, &b);
        let line = |name: &str| {
            table
                .lines()
                .find(|line| line.starts_with(name))
                .map(str::to_owned)
        };
        assert!(
            line("CPU µs").is_some_and(|line| line.ends_with("0.75")),
            "{table}"
        );
        assert!(
            line("lost").is_some_and(|line| line.ends_with('-')),
            "{table}"
        );
        assert_eq!(line("frozen"), None);
    }
}
