//! The table of `docs/performance.md`: every scenario, measured one after the other.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::channel::Channel;
use super::codec::Codec;
use super::flood::Kind;
use super::plan::Scenario;
use super::report::{Floor, Report};

/// Where a table is in a document: what stands before and after it.
pub struct Place {
    pub begin: &'static str,
    pub end: &'static str,
}

/// Where this one is.
pub const PLACE: Place = Place {
    begin: "<!-- figures: causeway-load figures --into docs/performance.md -->\n",
    end: "<!-- end of figures -->",
};

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

const fn meetings(what: &'static str, count: u32, size: u32) -> Row {
    Row {
        count: Some(count),
        size: Some(size),
        ..row(what, Scenario::Meetings)
    }
}

const fn coded(what: &'static str, codec: Codec) -> Row {
    Row {
        codec,
        ..broadcast(what, 50)
    }
}

const fn one_worker(row: Row) -> Row {
    Row {
        workers: Some(1),
        ..row
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
pub const ROWS: [Row; 35] = [
    broadcast("one camera to 10", 10),
    broadcast("one camera to 50", 50),
    Row {
        aes_cm: true,
        ..broadcast("one camera to 50, AES-CM and HMAC-SHA1", 50)
    },
    broadcast("one camera to 100", 100),
    broadcast("one camera to 200", 200),
    broadcast("one camera to 500", 500),
    broadcast("one camera to 1,000", 1_000),
    one_worker(broadcast("one camera to 200, one worker", 200)),
    coded("one camera to 50, VP9 simulcast", Codec::Vp9),
    coded("one camera to 50, VP9 K-SVC", Codec::Vp9Svc),
    coded("one camera to 50, AV1 simulcast", Codec::Av1),
    coded("one camera to 50, AV1 SVC", Codec::Av1Svc),
    coded("one camera to 50, H.264 simulcast", Codec::H264),
    meetings("20 meetings of 3", 20, 3),
    meetings("4 meetings of 5", 4, 5),
    meetings("10 meetings of 5", 10, 5),
    meetings("20 meetings of 5", 20, 5),
    meetings("30 meetings of 5", 30, 5),
    one_worker(meetings("4 meetings of 5, one worker", 4, 5)),
    one_worker(meetings("10 meetings of 5, one worker", 10, 5)),
    one_worker(meetings("20 meetings of 5, one worker", 20, 5)),
    meetings("8 meetings of 10", 8, 10),
    Row {
        channel: Channel::Sctp,
        ..alone(meetings("20 meetings of 5, data channels", 20, 5))
    },
    Row {
        turns: Some(3.0),
        ..alone(meetings(
            "20 meetings of 5, another speaks every 3 s",
            20,
            5,
        ))
    },
    Row {
        churn: Some(2.0),
        ..alone(meetings(
            "20 meetings of 5, 2 leave and return per s",
            20,
            5,
        ))
    },
    Row {
        loss: 2.0,
        delay: 50.0,
        ..alone(broadcast(
            "one camera to 50, lines lose 2 % and take 50 ms each way",
            50,
        ))
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

/// What a packet costs, by how much there is of something.
struct Chart {
    title: &'static str,
    lines: Vec<Line>,
}

struct Line {
    name: &'static str,
    colour: &'static str,
    /// How much, and µs.
    points: Vec<(f64, f64)>,
}

/// The charts that belong to the table: names of files, and SVG pictures.
pub fn charts(rows: &[(&Row, Report)]) -> Vec<(&'static str, String)> {
    let plain = |row: &Row, scenario| {
        let lines = row.loss == 0.0 && row.turns.is_none() && row.churn.is_none();
        let same = row.codec == Codec::Vp8 && !row.aes_cm && row.channel == Channel::Websocket;
        row.scenario == scenario && lines && same && row.flood.is_none()
    };
    let of_broadcast = rows
        .iter()
        .filter(|(row, _)| plain(row, Scenario::Broadcast) && row.workers.is_none())
        .map(|(_, report)| (report.settings.clients.saturating_sub(1), report));
    let of_meetings = |workers: Option<u16>| {
        rows.iter()
            .filter(move |(row, _)| {
                let fives = plain(row, Scenario::Meetings) && row.size == Some(5);
                fives && row.workers == workers
            })
            .map(|(_, report)| (report.settings.clients, report))
    };
    let mut by_meetings = against_floors("the bridge", of_meetings(None));
    let one = against_floors("with one worker", of_meetings(Some(1)));
    by_meetings.extend(one.into_iter().take(1).map(|line| Line {
        colour: "#06c",
        ..line
    }));
    let charts = [
        (
            "performance.svg",
            Chart {
                title: "CPU time per forwarded packet (µs), by receivers of one camera",
                lines: against_floors("the bridge", of_broadcast),
            },
        ),
        (
            "performance-meetings.svg",
            Chart {
                title: "CPU time per forwarded packet (µs), by participants in meetings of five",
                lines: by_meetings,
            },
        ),
    ];
    charts.map(|(name, chart)| (name, chart.draw())).into()
}

/// The bridge and the floors, by how much there is of something.
fn against_floors<'a>(
    name: &'static str,
    reports: impl Iterator<Item = (usize, &'a Report)>,
) -> Vec<Line> {
    let floors = reports.filter_map(|(count, report)| Some((count, report.floor.as_ref()?)));
    let floors: Vec<_> = floors.collect();
    let line = |name, colour, figures: fn(&Floor) -> &[f64]| Line {
        name,
        colour,
        points: floors
            .iter()
            .map(|(count, floor)| ((*count).max(1) as f64, mean(figures(floor))))
            .collect(),
    };
    vec![
        line(name, "#0b6", |floor| &floor.bridge_micros_per_packet),
        line("floor that gets feedback", "#e80", |floor| {
            &floor.micros_with_feedback
        }),
        line("floor", "#888", |floor| &floor.micros_per_packet),
    ]
}

impl Chart {
    fn draw(&self) -> String {
        const WIDTH: f64 = 640.0;
        const HEIGHT: f64 = 320.0;
        const EDGE: f64 = 48.0;
        let points = self.lines.iter().flat_map(|line| &line.points);
        let top = points.clone().map(|(_, micros)| *micros);
        let top = top.fold(1.0, f64::max).ceil();
        let counts = points.map(|(count, _)| *count);
        let least = counts.clone().fold(f64::MAX, f64::min);
        let decades = |count: f64| (count / least).log10();
        let last = counts.map(decades).fold(0.1, f64::max);
        let x = |count: f64| EDGE + (WIDTH - 2.0 * EDGE) * decades(count) / last;
        let y = |micros: f64| HEIGHT - EDGE - (HEIGHT - 2.0 * EDGE) * micros / top;
        let title = self.title;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
             font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
             <text x=\"{EDGE}\" y=\"20\">{title}</text>\n"
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
        let first = self.lines.first().map_or(&[][..], |line| &line.points[..]);
        for (count, _) in first {
            let (at, below) = (x(*count), HEIGHT - EDGE + 18.0);
            let _ = writeln!(
                out,
                "<text x=\"{at:.1}\" y=\"{below}\" text-anchor=\"middle\">{count}</text>"
            );
        }
        let step = (WIDTH - 2.0 * EDGE) / self.lines.len().max(1) as f64;
        for (index, line) in self.lines.iter().enumerate() {
            let points = line.points.iter();
            let points =
                points.map(|(count, micros)| format!("{:.1},{:.1}", x(*count), y(*micros)));
            let points = points.collect::<Vec<_>>().join(" ");
            let (left, colour, name) = (EDGE + step * index as f64, line.colour, line.name);
            let _ = writeln!(
                out,
                "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
                 <text x=\"{left:.0}\" y=\"{HEIGHT}\" dy=\"-8\" fill=\"{colour}\">{name}</text>"
            );
        }
        out.push_str("</svg>\n");
        out
    }
}

fn mean(figures: &[f64]) -> f64 {
    figures.iter().sum::<f64>() / figures.len().max(1) as f64
}

/// Puts the table into a document, in place of the one that is there.
///
/// # Errors
/// A text for people.
pub fn write_into(file: &Path, place: &Place, table: &str) -> Result<(), String> {
    let error = |what: &dyn std::fmt::Display| format!("{}: {what}", file.display());
    let text = fs::read_to_string(file).map_err(|e| error(&e))?;
    let text = replace(&text, place, table).ok_or_else(|| error(&"it has no place for figures"))?;
    fs::write(file, text).map_err(|e| error(&e))
}

fn replace(text: &str, Place { begin, end }: &Place, table: &str) -> Option<String> {
    let (front, rest) = text.split_once(begin)?;
    let (_, back) = rest.split_once(end)?;
    Some(format!("{front}{begin}{table}{end}{back}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_takes_the_place_of_the_old_one() {
        let Place { begin, end } = PLACE;
        let old = format!("a\n{begin}old\n{end}\nb\n");
        let new = format!("a\n{begin}new\n{end}\nb\n");
        assert_eq!(replace(&old, &PLACE, "new\n"), Some(new));
        assert_eq!(replace("a\nb\n", &PLACE, "new\n"), None);
    }

    #[test]
    fn charts_have_a_point_for_each_amount() {
        let rows: Vec<_> = ROWS
            .iter()
            .map(|row| {
                let mut report = Report::default();
                report.settings.clients = match row.scenario {
                    Scenario::Meetings => row.size.unwrap_or(1) * row.count.unwrap_or(1),
                    _ => 1 + row.size.unwrap_or(0),
                } as usize;
                report.floor = row.floor.then(Floor::default);
                (row, report)
            })
            .collect();
        let points = |(_, chart): (_, String)| -> Vec<usize> {
            let lines = chart
                .lines()
                .filter_map(|line| line.strip_prefix("<polyline points=\""));
            lines
                .map(|line| line.split('"').next().unwrap_or("").split(' ').count())
                .collect()
        };
        let charts: Vec<_> = charts(&rows).into_iter().map(points).collect();
        assert_eq!(charts, [vec![6, 6, 6], vec![4, 4, 4, 3]]);
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
