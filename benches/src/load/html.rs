//! A report as one page that needs nothing else.

use std::fmt::Write;

use super::report::{Report, Sample};
use super::table;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 180.0;
const LEFT: f64 = 52.0;
const BOTTOM: f64 = 24.0;
const TOP: f64 = 10.0;

const STYLE: &str = "
:root { color-scheme: light dark; --back: #fff; --ink: #1c2430; --soft: #5d6b7c; --line: #d9e0e8; --panel: #f5f7fa;
  --c0: #2563a8; --c1: #c4591c; --c2: #2c8150; }
@media (prefers-color-scheme: dark) { :root { --back: #12161c; --ink: #e4e9f0; --soft: #93a1b3; --line: #303a47;
  --panel: #1a2028; --c0: #6aa8ec; --c1: #ee9156; --c2: #63bd8b; } }
body { background: var(--back); color: var(--ink); font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1200px;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1rem; margin: 0 0 .3rem; font-weight: 600; }
p.sub { color: var(--soft); margin: .2rem 0 1.4rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: .8rem; margin-bottom: 1.6rem; }
.tile { background: var(--panel); border-radius: 8px; padding: .8rem 1rem; }
.tile b { display: block; font-size: 1.5rem; font-variant-numeric: tabular-nums; } .tile span { color: var(--soft); font-size: .85rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr)); gap: 1.4rem; }
svg { width: 100%; height: auto; } svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
.grid { stroke: var(--line); } .span { fill: var(--panel); } polyline { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.key { font-size: .85rem; color: var(--soft); } .key i { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin: 0 .35em 0 .9em; }
table { border-collapse: collapse; margin-top: 1.6rem; width: 100%; } td { border-top: 1px solid var(--line); padding: .4rem .6rem;
  vertical-align: top; font-variant-numeric: tabular-nums; } td:first-child { color: var(--soft); white-space: nowrap; }
";

type Line = (&'static str, fn(&Sample) -> f64);

/// A chart: title, unit, lines.
const CHARTS: [(&str, &str, &[Line]); 6] = [
    (
        "Latency through the bridge",
        "ms",
        &[
            ("median", |it| it.latency.p50),
            ("99 %", |it| it.latency.p99),
            ("99.9 %", |it| it.latency.p999),
        ],
    ),
    (
        "Packets per second",
        "",
        &[("out", |it| it.packets_out), ("in", |it| it.packets_in)],
    ),
    (
        "CPU in percent of a core",
        "%",
        &[
            ("bridge", |it| it.cpu_percent),
            ("generator", |it| it.generator_cpu_percent),
        ],
    ),
    (
        "Memory of the bridge",
        "MB",
        &[("resident", |it| it.memory_mb)],
    ),
    (
        "Packets missing at first",
        "%",
        &[("missing", |it| it.missing_percent)],
    ),
    (
        "How late the generator sent",
        "ms",
        &[
            ("median", |it| it.send_lag.p50),
            ("99 %", |it| it.send_lag.p99),
        ],
    ),
];

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// A number as short as it may be.
fn short(value: f64) -> String {
    match value {
        v if v >= 10_000.0 => format!("{:.0}k", v / 1e3),
        v if v >= 100.0 || v == 0.0 => format!("{v:.0}"),
        v if v >= 1.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

/// The page.
pub fn page(report: &Report) -> String {
    let mut out = String::from("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">");
    let title = format!("{}: {}", report.process.name, report.scenario);
    let _ = write!(
        out,
        "<meta name=\"viewport\" content=\"width=device-width\"><title>{0}</title><style>{STYLE}</style><h1>{0}</h1>\
         <p class=\"sub\">{1} clients in {2} meetings, {3:.0} s measured, {4}. {5}</p>",
        escape(&title),
        report.settings.clients,
        report.settings.meetings,
        report.seconds,
        escape(&report.settings.profile),
        escape(&report.machine)
    );
    tiles(&mut out, report);
    out.push_str("<div class=\"charts\">");
    for (title, unit, lines) in CHARTS {
        chart(&mut out, title, unit, lines, &report.samples);
    }
    out.push_str("</div><table>");
    for (what, how_much) in table::rows(report) {
        let _ = write!(
            out,
            "<tr><td>{}</td><td>{}</td></tr>",
            escape(what),
            escape(&how_much)
        );
    }
    out.push_str("</table></html>\n");
    out
}

fn tiles(out: &mut String, report: &Report) {
    let mut tiles = Vec::new();
    if report.process.memory_mb > 0.0 && report.traffic.forwarded_packets > 0 {
        let micros = report.process.micros_per_packet;
        tiles.push((format!("{micros:.2} µs"), "CPU per forwarded packet"));
    }
    if let Some(floor) = &report.floor {
        tiles.push((format!("{:.2} ×", floor.ratio), "multiple of the floor"));
    }
    let per_second = report.traffic.forwarded_per_second;
    tiles.push((format!("{per_second:.0}/s"), "packets forwarded"));
    tiles.push((format!("{:.2} ms", report.latency.p99), "latency, 99 %"));
    tiles.push((format!("{:.3} %", report.traffic.lost_percent), "lost"));
    tiles.push((
        format!("{:.2} %", report.picture.frozen_percent),
        "video frozen",
    ));
    if report.process.memory_mb > 0.0 {
        let kilobytes = report.process.memory_per_client_kb;
        tiles.push((format!("{kilobytes:.0} kB"), "memory per client"));
    }
    out.push_str("<div class=\"tiles\">");
    for (value, what) in tiles {
        let _ = write!(
            out,
            "<div class=\"tile\"><b>{value}</b><span>{what}</span></div>"
        );
    }
    out.push_str("</div>");
}

fn chart(out: &mut String, title: &str, unit: &str, lines: &[Line], samples: &[Sample]) {
    let end = samples.last().map_or(1.0, |sample| sample.at).max(1.0);
    let all = lines
        .iter()
        .flat_map(|(_, value)| samples.iter().map(value));
    let top = scale(all.fold(0.0, f64::max));
    let x = |at: f64| LEFT + at / end * (WIDTH - LEFT - 8.0);
    let y = |value: f64| TOP + (1.0 - value / top) * (HEIGHT - TOP - BOTTOM);
    let _ = write!(
        out,
        "<figure style=\"margin:0\"><h2>{title}</h2><div class=\"key\">"
    );
    for (index, (name, _)) in lines.iter().enumerate() {
        let _ = write!(out, "<i style=\"background:var(--c{index})\"></i>{name}");
    }
    let _ = write!(
        out,
        "</div><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">"
    );
    let measured: Vec<_> = samples.iter().filter(|sample| sample.measured).collect();
    if let (Some(first), Some(last)) = (measured.first(), measured.last()) {
        let (from, to) = (x((first.at - first.seconds).max(0.0)), x(last.at));
        let _ = write!(
            out,
            "<rect class=\"span\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\"><title>measured</title></rect>",
            to - from,
            HEIGHT - TOP - BOTTOM
        );
    }
    for part in 0..=4 {
        let value = top * f64::from(part) / 4.0;
        let _ = write!(
            out,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{0:.1}\" y2=\"{0:.1}\"/><text x=\"{1:.1}\" y=\"{2:.1}\" \
             text-anchor=\"end\">{3}</text>",
            y(value),
            LEFT - 6.0,
            y(value) + 4.0,
            short(value)
        );
    }
    for part in 0..=4 {
        let at = end * f64::from(part) / 4.0;
        let _ = write!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{at:.0} s</text>",
            x(at).min(WIDTH - 16.0),
            HEIGHT - 6.0
        );
    }
    for (index, (_, value)) in lines.iter().enumerate() {
        let points: Vec<_> = samples
            .iter()
            .map(|sample| format!("{:.1},{:.1}", x(sample.at), y(value(sample))))
            .collect();
        let _ = write!(
            out,
            "<polyline style=\"stroke:var(--c{index})\" points=\"{}\"/>",
            points.join(" ")
        );
    }
    for sample in samples {
        let values: Vec<_> = lines
            .iter()
            .map(|(name, value)| format!("{name} {} {unit}", short(value(sample))))
            .collect();
        let width = (x(sample.seconds) - LEFT).max(2.0);
        let _ = write!(
            out,
            "<rect fill=\"transparent\" x=\"{:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{:.1}\"><title>{:.0} s: {}</title></rect>",
            x(sample.at) - width / 2.0,
            HEIGHT - TOP - BOTTOM,
            sample.at,
            values.join(", ")
        );
    }
    out.push_str("</svg></figure>");
}

/// A round number that is not less.
fn scale(most: f64) -> f64 {
    if most <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(most.log10().floor());
    let steps = [1.0, 2.0, 4.0, 5.0, 8.0, 10.0];
    steps
        .into_iter()
        .map(|step| step * power)
        .find(|top| *top >= most * 0.999)
        .unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_its_figures_its_charts_and_no_link_to_elsewhere() {
        let mut report = Report::default();
        report.process.name = "<script>".to_owned();
        report.process.memory_mb = 10.0;
        report.traffic.forwarded_packets = 1;
        report.process.micros_per_packet = 3.25;
        report.samples = (1..5)
            .map(|at| Sample {
                at: f64::from(at),
                seconds: 1.0,
                measured: at > 2,
                ..Sample::default()
            })
            .collect();
        let page = page(&report);
        assert!(page.contains("3.25 µs") && !page.contains("<script"));
        assert_eq!(page.matches("<polyline").count(), 11);
        assert!(!page.contains("http"), "everything is in the page");
    }

    #[test]
    fn axes_end_at_round_numbers() {
        assert_eq!(
            [0.0, 0.3, 7.0, 1_000.0].map(scale),
            [1.0, 0.4, 8.0, 1_000.0]
        );
    }
}
