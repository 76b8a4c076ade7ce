//! The table of `docs/performance.md`: every scenario, measured one after the other.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::channel::Channel;
use super::codec::Codec;
use super::flood::Kind;
use super::plan::Scenario;
use super::report::Report;

/// Where the table is in the document.
const BEGIN: &str = "<!-- figures: causeway-load figures --into docs/performance.md -->\n";
const END: &str = "<!-- end of figures -->";

/// The chart that belongs to it.
pub const CHART: &str = "performance.svg";

/// A row to be measured.
pub struct Row {
    pub what: &'static str,
    pub scenario: Scenario,
    pub size: Option<u32>,
    pub count: Option<u32>,
    pub workers: Option<u16>,
    pub aes_cm: bool,
    pub codec: Codec,
    pub channel: Channel,
    /// Percent lost and ms taken by the lines of clients, each way.
    pub loss: f64,
    pub delay: f64,
    /// Seconds that each speaks.
    pub turns: Option<f64>,
    /// Participants per second that leave and come back.
    pub churn: Option<f64>,
    pub flood: Option<Kind>,
    /// Also measure the floor.
    pub floor: bool,
}

const fn row(what: &'static str, scenario: Scenario) -> Row {
    Row {
        what,
        scenario,
        size: None,
        count: None,
        workers: None,
        aes_cm: false,
        codec: Codec::Vp8,
        channel: Channel::Websocket,
        loss: 0.0,
        delay: 0.0,
        turns: None,
        churn: None,
        flood: None,
        floor: true,
    }
}

const fn broadcast(what: &'static str, size: u32) -> Row {
    Row {
        size: Some(size),
        ..row(what, Scenario::Broadcast)
    }
}

const fn meetings(what: &'static str, count: u32) -> Row {
    Row {
        count: Some(count),
        ..row(what, Scenario::Meetings)
    }
}

const fn alone(row: Row) -> Row {
    Row {
        floor: false,
        ..row
    }
}

const fn flooded(what: &'static str, kind: Kind, scenario: Scenario) -> Row {
    Row {
        flood: Some(kind),
        ..alone(row(what, scenario))
    }
}

/// All rows.
pub const ROWS: [Row; 19] = [
    broadcast("one camera to 10", 10),
    broadcast("one camera to 50", 50),
    Row {
        aes_cm: true,
        ..broadcast("one camera to 50, AES-CM and HMAC-SHA1", 50)
    },
    broadcast("one camera to 100", 100),
    broadcast("one camera to 200", 200),
    broadcast("one camera to 500", 500),
    broadcast("one camera to 800", 800),
    meetings("4 meetings of 5", 4),
    meetings("20 meetings of 5", 20),
    Row {
        workers: Some(1),
        ..alone(meetings("20 meetings of 5, one worker", 20))
    },
    row("a meeting of 100, 20 tiles each", Scenario::Large),
    row("audio, 3 talk to 500", Scenario::Audio),
    alone(row(
        "a meeting of 100, five share screens in turn",
        Scenario::Screens,
    )),
    alone(row("500 join within 10 s", Scenario::Joins)),
    alone(row("5,000 connected and silent", Scenario::Idle)),
    flooded(
        "one camera to 50, 600,000 random datagrams/s",
        Kind::Garbage,
        Scenario::Broadcast,
    ),
    flooded(
        "one camera to 50, 300,000 forged checks/s",
        Kind::Stun,
        Scenario::Broadcast,
    ),
    flooded(
        "one camera to 50, 200,000 forged SRTP packets/s",
        Kind::Srtp,
        Scenario::Broadcast,
    ),
    flooded(
        "500 join within 10 s, 10,000 ClientHellos/s",
        Kind::Hello,
        Scenario::Joins,
    ),
];

/// The table.
pub fn table(rows: &[(&Row, Report)]) -> String {
    let machine = rows.first().map_or("", |(_, report)| &report.machine);
    let mut out = format!(
        "Measured on: {machine}; bridge and generator on the same machine.\n\n\
         | scenario | packets/s out | Mbit/s out | CPU µs per packet | floor µs (without / with feedback) | multiple | latency p50 / p99 ms | lost % | \
         join p50 / p99 ms | memory MB (kB per client) | CPU % of a core |\n|---|---|---|---|---|---|---|---|---|---|---|\n"
    );
    for (row, report) in rows {
        let (traffic, process, joining) = (&report.traffic, &report.process, &report.joining);
        let media = traffic.forwarded_packets > 0;
        let if_media = |text: String| if media { text } else { "–".to_owned() };
        let (micros, floor, multiple) = match &report.floor {
            Some(floor) => (
                mean(&floor.bridge_micros_per_packet),
                format!(
                    "{:.2} / {:.2}",
                    mean(&floor.micros_per_packet),
                    mean(&floor.micros_with_feedback)
                ),
                format!("{:.2} / {:.2}", floor.ratio, floor.ratio_with_feedback),
            ),
            None => (process.micros_per_packet, "–".to_owned(), "–".to_owned()),
        };
        let _ = writeln!(
            out,
            "| {} ({} clients) | {:.0} | {:.0} | {} | {floor} | {multiple} | {} | {} | {:.1} / {:.0} | {:.0} ({:.0}) | {:.1} |",
            row.what,
            report.settings.clients,
            traffic.forwarded_per_second,
            traffic.forwarded_mbits,
            if_media(format!("{micros:.2}")),
            if_media(format!(
                "{:.2} / {:.1}",
                report.latency.p50, report.latency.p99
            )),
            if_media(format!("{:.3}", traffic.lost_percent)),
            joining.connect.p50,
            joining.connect.p99,
            process.memory_mb,
            process.memory_per_client_kb,
            process.cpu_percent,
        );
    }
    out
}

/// What a packet costs by the number of receivers, as an SVG picture.
pub fn chart(rows: &[(&Row, Report)]) -> String {
    const WIDTH: f64 = 640.0;
    const HEIGHT: f64 = 320.0;
    const EDGE: f64 = 48.0;
    let points: Vec<(f64, [f64; 3])> = rows
        .iter()
        .filter(|(row, _)| row.scenario == Scenario::Broadcast && !row.aes_cm)
        .filter_map(|(_, report)| {
            let floor = report.floor.as_ref()?;
            let costs = [
                mean(&floor.bridge_micros_per_packet),
                mean(&floor.micros_with_feedback),
                mean(&floor.micros_per_packet),
            ];
            let receivers = report.settings.clients.saturating_sub(1).max(1);
            Some((receivers as f64, costs))
        })
        .collect();
    let costs = points.iter().flat_map(|(_, costs)| costs);
    let top = costs.copied().fold(1.0, f64::max).ceil();
    let decades = |count: f64| count.log10() - 1.0;
    let last = points.iter().map(|(count, _)| decades(*count));
    let last = last.fold(0.1, f64::max);
    let x = |count: f64| EDGE + (WIDTH - 2.0 * EDGE) * decades(count).max(0.0) / last;
    let y = |micros: f64| HEIGHT - EDGE - (HEIGHT - 2.0 * EDGE) * micros / top;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n<text x=\"{EDGE}\" y=\"20\">\
         CPU time per forwarded packet (µs), by receivers of one camera</text>\n"
    );
    for step in 0..=top as u32 {
        let at = y(f64::from(step));
        let (left, right) = (EDGE - 6.0, WIDTH - EDGE);
        let _ = writeln!(
            out,
            "<path d=\"M{EDGE} {at:.1}H{right}\" stroke=\"#ddd\"/>\
             <text x=\"{left}\" y=\"{at:.1}\" dy=\"4\" text-anchor=\"end\">{step}</text>"
        );
    }
    for (count, _) in &points {
        let (at, below) = (x(*count), HEIGHT - EDGE + 18.0);
        let _ = writeln!(
            out,
            "<text x=\"{at:.1}\" y=\"{below}\" text-anchor=\"middle\">{count}</text>"
        );
    }
    let lines = [
        ("the bridge", "#0b6"),
        ("floor that gets feedback", "#e80"),
        ("floor", "#888"),
    ];
    for (index, (name, colour)) in lines.iter().enumerate() {
        let line = points.iter();
        let line = line.map(|(count, costs)| format!("{:.1},{:.1}", x(*count), y(costs[index])));
        let (line, left) = (
            line.collect::<Vec<_>>().join(" "),
            EDGE + 190.0 * index as f64,
        );
        let _ = writeln!(
            out,
            "<polyline points=\"{line}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <text x=\"{left}\" y=\"{HEIGHT}\" dy=\"-8\" fill=\"{colour}\">{name}</text>"
        );
    }
    out.push_str("</svg>\n");
    out
}

fn mean(figures: &[f64]) -> f64 {
    figures.iter().sum::<f64>() / figures.len().max(1) as f64
}

/// Puts the table into a document, in place of the one that is there.
///
/// # Errors
/// A text for people.
pub fn write_into(file: &Path, table: &str) -> Result<(), String> {
    let error = |what: &dyn std::fmt::Display| format!("{}: {what}", file.display());
    let text = fs::read_to_string(file).map_err(|e| error(&e))?;
    let text = replace(&text, table).ok_or_else(|| error(&"it has no place for figures"))?;
    fs::write(file, text).map_err(|e| error(&e))
}

fn replace(text: &str, table: &str) -> Option<String> {
    let (front, rest) = text.split_once(BEGIN)?;
    let (_, back) = rest.split_once(END)?;
    Some(format!("{front}{BEGIN}{table}{END}{back}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::report::Floor;

    #[test]
    fn a_table_takes_the_place_of_the_old_one() {
        let old = format!("a\n{BEGIN}old\n{END}\nb\n");
        let new = format!("a\n{BEGIN}new\n{END}\nb\n");
        assert_eq!(replace(&old, "new\n"), Some(new));
        assert_eq!(replace("a\nb\n", "new\n"), None);
    }

    #[test]
    fn the_chart_has_a_point_for_each_number_of_receivers() {
        let rows: Vec<_> = ROWS
            .iter()
            .map(|row| {
                let mut report = Report::default();
                report.settings.clients = 1 + row.size.unwrap_or(0) as usize;
                report.floor = row.floor.then(Floor::default);
                (row, report)
            })
            .collect();
        let chart = chart(&rows);
        let lines = chart
            .lines()
            .filter_map(|line| line.strip_prefix("<polyline points=\""));
        let points = lines.map(|line| line.split('"').next().unwrap_or("").split(' ').count());
        assert_eq!(points.collect::<Vec<_>>(), [6, 6, 6]);
    }

    #[test]
    fn every_row_has_as_many_columns_as_the_head() {
        let rows: Vec<_> = ROWS.iter().map(|row| (row, Report::default())).collect();
        let table = table(&rows);
        let lines: Vec<_> = table.lines().skip(2).collect();
        assert_eq!(lines.len(), ROWS.len() + 2);
        assert!(
            lines.iter().all(|line| line.matches('|').count() == 12),
            "{table}"
        );
    }
}
