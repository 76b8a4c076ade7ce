//! Two bridges under the same loads, in turn on the same machine: the table of `docs/performance.md`.

use std::fmt::Write;

use super::figures::Place;
use super::plan::Scenario;
use super::report::Report;

/// Where the table is in the document.
pub const PLACE: Place = Place {
    begin: "<!-- beside: causeway-load beside --into docs/performance.md -->\n",
    end: "<!-- end of beside -->",
};

/// A load that both get.
pub struct Row {
    pub what: &'static str,
    pub scenario: Scenario,
    pub size: u32,
    pub count: Option<u32>,
    /// Clients take rewritten SSRCs, as Jitsi has it unless told otherwise.
    pub rewriting: bool,
}

const fn row(what: &'static str, scenario: Scenario, size: u32) -> Row {
    Row {
        what,
        scenario,
        size,
        count: None,
        rewriting: true,
    }
}

const fn meetings(what: &'static str, count: u32, size: u32) -> Row {
    Row {
        count: Some(count),
        ..row(what, Scenario::Meetings, size)
    }
}

/// All rows: small enough for a bridge that takes a core for fifteen thousand packets a second.
pub const ROWS: [Row; 7] = [
    row("one camera to 50", Scenario::Broadcast, 50),
    meetings("4 meetings of 3", 4, 3),
    meetings("2 meetings of 5", 2, 5),
    Row {
        rewriting: false,
        ..meetings("2 meetings of 5, SSRCs kept", 2, 5)
    },
    row("a meeting of 20, 19 tiles each", Scenario::Large, 20),
    row("audio, 3 talk to 50", Scenario::Audio, 50),
    row("200 connected and silent", Scenario::Idle, 200),
];

/// What a bridge did under one load, over all rounds.
struct Sum {
    seconds: f64,
    cpu_seconds: f64,
    /// Packets of media that reached clients. Probes for bandwidth are none: a bridge that sends more of them does not do more.
    packets: f64,
    p50: f64,
    p99: f64,
    lost: f64,
    frozen: f64,
    memory: f64,
}

impl Sum {
    fn new<'a>(reports: impl Iterator<Item = &'a Report> + Clone) -> Sum {
        let count = reports.clone().count().max(1) as f64;
        let sum = |figure: fn(&Report) -> f64| reports.clone().map(figure).sum::<f64>();
        Sum {
            seconds: sum(|it| it.seconds),
            cpu_seconds: sum(|it| it.process.cpu_seconds),
            packets: sum(|it| {
                let traffic = &it.traffic;
                traffic
                    .forwarded_packets
                    .saturating_sub(traffic.probe_packets) as f64
            }),
            p50: sum(|it| it.latency.p50) / count,
            p99: sum(|it| it.latency.p99) / count,
            lost: sum(|it| it.traffic.lost_percent) / count,
            frozen: sum(|it| it.picture.frozen_percent) / count,
            memory: reports.map(|it| it.process.memory_mb).fold(0.0, f64::max),
        }
    }

    fn micros_per_packet(&self) -> f64 {
        self.cpu_seconds * 1e6 / self.packets.max(1.0)
    }

    fn cores_percent(&self) -> f64 {
        100.0 * self.cpu_seconds / self.seconds.max(1e-6)
    }

    /// How many times as much CPU time `self` took for the same work as `other`.
    fn multiple_of(&self, other: &Sum) -> f64 {
        match self.packets > 0.0 && other.packets > 0.0 {
            true => self.micros_per_packet() / other.micros_per_packet().max(1e-9),
            false => self.cores_percent() / other.cores_percent().max(1e-9),
        }
    }
}

/// The table. Of each pair the first report is of the bridge called `name`, the second of a Causeway.
pub fn table(name: &str, rows: &[(&Row, Vec<[Report; 2]>)]) -> String {
    let all = || rows.iter().flat_map(|(_, pairs)| pairs).flatten();
    let machine = all().next().map_or("", |report| &report.machine);
    let others = all().map(|report| report.generator.others_percent);
    let others = others.sum::<f64>() / all().count().max(1) as f64;
    let mut out = format!(
        "Measured on: {machine}; both bridges and the generator on the same machine, of which other programs took {others:.0} % of a core meanwhile.\n\n\
         | load | bridge | media packets/s out | CPU µs per packet | CPU % of a core | CPU time, multiple | latency p50 / p99 ms | lost % | frozen % | memory MB |\n\
         |---|---|---|---|---|---|---|---|---|---|\n"
    );
    for (row, pairs) in rows {
        let clients = pairs
            .first()
            .map_or(0, |[report, _]| report.settings.clients);
        let sums = [0, 1].map(|at| Sum::new(pairs.iter().map(move |pair| &pair[at])));
        for (sum, bridge) in sums.iter().zip([name, "Causeway"]) {
            let media = sum.packets > 0.0;
            let if_media = |text: String| if media { text } else { "–".to_owned() };
            let _ = writeln!(
                out,
                "| {} ({clients} clients) | {bridge} | {:.0} | {} | {:.1} | {:.1} | {} | {} | {} | {:.0} |",
                row.what,
                sum.packets / sum.seconds.max(1e-6),
                if_media(format!("{:.1}", sum.micros_per_packet())),
                sum.cores_percent(),
                sum.multiple_of(&sums[1]),
                if_media(format!("{:.1} / {:.1}", sum.p50, sum.p99)),
                if_media(format!("{:.3}", sum.lost)),
                if_media(format!("{:.1}", sum.frozen)),
                sum.memory,
            );
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(cpu_seconds: f64, packets: u64, probes: u64) -> Report {
        let mut report = Report {
            seconds: 10.0,
            ..Report::default()
        };
        report.process.cpu_seconds = cpu_seconds;
        report.traffic.forwarded_packets = packets + probes;
        report.traffic.probe_packets = probes;
        report
    }

    #[test]
    fn the_other_bridge_is_a_multiple_of_a_causeway_and_probes_are_no_work_done() {
        let pair = |rounds: u32| {
            let one = || [report(8.0, 100_000, 300_000), report(0.5, 100_000, 0)];
            (0..rounds).map(|_| one()).collect::<Vec<_>>()
        };
        for rounds in [1, 2] {
            let table = table("JVB 9", &[(&ROWS[0], pair(rounds))]);
            let cells = |line: &str| -> Vec<String> {
                line.split('|').map(|cell| cell.trim().to_owned()).collect()
            };
            let lines: Vec<_> = table.lines().skip(4).map(cells).collect();
            assert_eq!(lines.len(), 2, "{table}");
            assert_eq!(lines[0][2..7], ["JVB 9", "10000", "80.0", "80.0", "16.0"]);
            assert_eq!(lines[1][2..7], ["Causeway", "10000", "5.0", "5.0", "1.0"]);
        }
    }

    #[test]
    fn without_media_the_time_is_compared_and_every_row_has_as_many_columns_as_the_head() {
        let rows: Vec<_> = ROWS
            .iter()
            .map(|row| (row, vec![[report(0.2, 0, 0), report(0.1, 0, 0)]]))
            .collect();
        let table = table("other", &rows);
        let lines: Vec<_> = table.lines().skip(2).collect();
        assert_eq!(lines.len(), 2 * ROWS.len() + 2);
        assert!(lines.iter().all(|line| line.matches('|').count() == 11));
        assert!(lines[2].contains("| – | 2.0 | 2.0 | – |"), "{table}");
    }
}
