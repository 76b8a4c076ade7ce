//! The table of `docs/performance.md`: every scenario, measured one after the other.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::plan::Scenario;
use super::report::Report;

/// Where the table is in the document.
const BEGIN: &str = "<!-- figures: causeway-load figures --into docs/performance.md -->\n";
const END: &str = "<!-- end of figures -->";

/// A row to be measured.
pub struct Row {
    pub what: &'static str,
    pub scenario: Scenario,
    pub size: Option<u32>,
    pub aes_cm: bool,
    /// Also measure the floor.
    pub floor: bool,
}

const fn row(what: &'static str, scenario: Scenario) -> Row {
    Row {
        what,
        scenario,
        size: None,
        aes_cm: false,
        floor: true,
    }
}

/// All rows.
pub const ROWS: [Row; 9] = [
    row("one camera to 50", Scenario::Broadcast),
    Row {
        aes_cm: true,
        ..row("the same with AES-CM and HMAC-SHA1", Scenario::Broadcast)
    },
    Row {
        size: Some(500),
        ..row("one camera to 500", Scenario::Broadcast)
    },
    row("four meetings of 5", Scenario::Meetings),
    row("a meeting of 100, 20 tiles each", Scenario::Large),
    row("audio, 3 talk to 500", Scenario::Audio),
    Row {
        floor: false,
        ..row(
            "a meeting of 100, five share screens in turn",
            Scenario::Screens,
        )
    },
    Row {
        floor: false,
        ..row("500 join within 10 s", Scenario::Joins)
    },
    Row {
        floor: false,
        ..row("5,000 connected and silent", Scenario::Idle)
    },
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
        let mean = |figures: &[f64]| figures.iter().sum::<f64>() / figures.len().max(1) as f64;
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

    #[test]
    fn a_table_takes_the_place_of_the_old_one() {
        let old = format!("a\n{BEGIN}old\n{END}\nb\n");
        let new = format!("a\n{BEGIN}new\n{END}\nb\n");
        assert_eq!(replace(&old, "new\n"), Some(new));
        assert_eq!(replace("a\nb\n", "new\n"), None);
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
