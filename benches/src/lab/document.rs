//! `docs/quality.md` and its pictures.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;

use super::measure::{Outcome, Sample};
use super::scenarios::{Part, Scenario};

/// Where the table is in the document.
const BEGIN: &str = "<!-- figures: causeway-lab --into docs/quality.md -->\n";
const END: &str = "<!-- end of figures -->";
/// Folder of the pictures, beside the document.
const FOLDER: &str = "quality";

/// Puts the results into the document, in place of those that are there, and the pictures beside it.
///
/// # Errors
/// A text for people.
pub fn write(document: &Path, results: &[(Scenario, Outcome)]) -> Result<(), String> {
    let error = |error: io::Error| format!("{}: {error}", document.display());
    let text = fs::read_to_string(document).map_err(error)?;
    let (front, rest) = text
        .split_once(BEGIN)
        .ok_or("the document has no place for figures")?;
    let (_, back) = rest.split_once(END).ok_or("the figures have no end")?;
    let mut body = String::new();
    for part in Part::ALL {
        let mut of_part = results.iter().filter(|(it, _)| it.part == part).peekable();
        if of_part.peek().is_none() {
            continue;
        }
        let _ = write!(body, "\n### {}\n\n{}", part.title(), table(of_part.clone()));
        for (Scenario { name, what, .. }, _) in of_part {
            let _ = write!(body, "\n![{what}]({FOLDER}/{name}.svg)\n");
        }
    }
    body.push('\n');
    fs::write(document, format!("{front}{BEGIN}{body}{END}{back}")).map_err(error)?;
    let folder = document.with_file_name(FOLDER);
    fs::create_dir_all(&folder).map_err(error)?;
    for (scenario, outcome) in results {
        let file = folder.join(format!("{}.svg", scenario.name));
        fs::write(file, picture(scenario, outcome)).map_err(error)?;
    }
    Ok(())
}

/// The results as Markdown.
pub fn table<'a>(results: impl Iterator<Item = &'a (Scenario, Outcome)>) -> String {
    let mut out = String::from(
        "| scenario | estimate / capacity % | received / capacity % | queue p50 / p95 ms | lost % | audio lost % | freezes > 0.5 s (longest pause, ms) | \
         switches per minute | time in 720p / 360p / 180p % | to 720p s | fairness |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for (scenario, outcome) in results {
        let percent =
            |share: Option<f64>| share.map_or("–".to_owned(), |it| format!("{:.0}", 100.0 * it));
        let [low, middle, high] = outcome.encodings.map(|share| 100.0 * share);
        let _ = writeln!(
            out,
            "| {} | {} | {} | {:.0} / {:.0} | {:.2} | {:.2} | {} ({}) | {:.1} | {high:.0} / {middle:.0} / {low:.0} | {} | {} |",
            scenario.what,
            percent(outcome.utilisation),
            percent(outcome.filled),
            outcome.queue.0,
            outcome.queue.1,
            outcome.lost_percent,
            100.0 * outcome.audio_lost,
            outcome.freezes.0,
            outcome.freezes.1,
            outcome.switches_per_minute,
            outcome
                .top_after
                .map_or("–".to_owned(), |after| format!("{after:.1}")),
            outcome
                .fairness
                .map_or("–".to_owned(), |fairness| format!("{fairness:.2}")),
        );
    }
    out
}

/// Every sample in a line.
pub fn trace(outcome: &Outcome) -> String {
    let mut out =
        String::from("seconds,capacity kbps,estimate kbps,received kbps,encoding,queue ms\n");
    for sample in &outcome.samples {
        let Sample {
            at,
            capacity,
            estimate,
            received,
            encoding,
            queue,
        } = sample;
        let capacity = capacity.map_or(String::new(), |kbps| format!("{kbps:.0}"));
        let _ = writeln!(
            out,
            "{at:.1},{capacity},{estimate:.0},{received:.0},{encoding},{queue:.1}"
        );
    }
    out
}

/// Points of a line at most.
const MOST_POINTS: usize = 1_000;
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 50.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 40.0;

/// Capacity, estimate and what arrived, over time.
pub fn picture(scenario: &Scenario, outcome: &Outcome) -> String {
    let samples = &outcome.samples;
    let largest = samples.iter().map(|sample| sample.capacity.unwrap_or(0.0));
    let largest = largest.fold(0.0, f64::max);
    // An estimate far above what is wanted says nothing: the picture ends there.
    let wanted = samples
        .iter()
        .map(|sample| sample.received)
        .fold(500.0, f64::max);
    let top = if largest > 0.0 {
        largest.min(2.0 * wanted) * 1.2
    } else {
        2.0 * wanted
    };
    let end = samples.last().map_or(1.0, |sample| sample.at);
    let x = |at: f64| LEFT + (WIDTH - LEFT - 10.0) * at / end;
    let y = |kbps: f64| TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - kbps.min(top) / top);
    // Points that nobody could tell apart.
    let every = samples.len().div_ceil(MOST_POINTS).max(1);
    let line = |colour: &str, figure: &dyn Fn(&Sample) -> Option<f64>| {
        let points: Vec<String> = samples
            .iter()
            .step_by(every)
            .filter_map(|sample| Some(format!("{:.1},{:.1}", x(sample.at), y(figure(sample)?))))
            .collect();
        format!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>\n",
            points.join(" ")
        )
    };
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n<text x=\"{LEFT}\" y=\"18\" font-size=\"13\">{}</text>\n",
        scenario.what
    );
    for step in 0..=4 {
        let kbps = top * f64::from(step) / 4.0;
        let at = y(kbps);
        let _ = writeln!(
            out,
            "<path d=\"M{LEFT} {at:.1}H{:.1}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{kbps:.0}</text>",
            WIDTH - 10.0,
            LEFT - 5.0,
            at + 4.0
        );
    }
    for second in (0..=end as u32).step_by(if end > 150.0 { 30 } else { 10 }) {
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{second} s</text>",
            x(f64::from(second)),
            HEIGHT - BOTTOM + 14.0
        );
    }
    // Means of a second: frames and probes come in bursts.
    let mut window = std::collections::VecDeque::new();
    let smooth: Vec<f64> = samples
        .iter()
        .map(|sample| {
            window.push_back(sample.received);
            if window.len() > 10 {
                window.pop_front();
            }
            window.iter().sum::<f64>() / window.len() as f64
        })
        .collect();
    out += &line("#999", &|sample| sample.capacity);
    out += &line("#0a7", &|sample| {
        smooth.get((sample.at * 10.0).round() as usize - 1).copied()
    });
    out += &line("#d50", &|sample| Some(sample.estimate));
    let legend = [
        ("capacity", "#999"),
        ("received", "#0a7"),
        ("estimate", "#d50"),
    ];
    for (index, (name, colour)) in legend.iter().enumerate() {
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\">{name} (kbit/s)</text>",
            LEFT + 150.0 * index as f64,
            HEIGHT - 6.0
        );
    }
    out.push_str("</svg>\n");
    out
}
