//! The three forms of `/metrics`: OpenMetrics 1.0.0, Prometheus 0.0.4 and JSON (rest-and-stats spec §2.10, §5.1).
//!
//! Own code, because no library writes the second with creation times and the third at all, and all three must come
//! from the same list.

use std::fmt::Write;

use causeway_bridge::control::{BySize, SIZES};
use serde_json::{Map, Value, json};

/// One metric.
pub(super) struct Metric {
    /// With its prefix, without suffix.
    pub name: String,
    pub help: &'static str,
    pub value: Reading,
}

/// What a metric shows.
pub(super) enum Reading {
    Counter(u64),
    Count(u64),
    Share(f64),
    Flag(bool),
    /// Counts per class, not cumulative, and the upper bounds of all classes but the last.
    Histogram {
        bounds: Vec<f64>,
        classes: Vec<u64>,
        sum: f64,
    },
    /// A text with the name of its label.
    Info(&'static str, String),
}

impl From<&BySize> for Reading {
    fn from(by_size: &BySize) -> Reading {
        Reading::Histogram {
            bounds: (0..SIZES).map(|size| size as f64).collect(),
            classes: by_size.conferences.to_vec(),
            sum: by_size.sum as f64,
        }
    }
}

/// A form of `/metrics`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// Prometheus text 0.0.4.
    Text,
    /// One flat JSON object.
    Json,
}

impl Format {
    /// The form that an `Accept` header asks for: the supported type with the highest `q`, the first of those. Without
    /// header, or if nothing in it is supported, the plainest.
    pub fn negotiate(accept: Option<&str>) -> Format {
        let mut best: Option<(f32, Format)> = None;
        for range in accept.unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let format = match kind.as_str() {
                "application/openmetrics-text" | "*/*" | "application/*" => Format::OpenMetrics,
                "text/plain" | "text/*" => Format::Text,
                "application/json" => Format::Json,
                _ => continue,
            };
            let quality = parts
                .find_map(|part| part.strip_prefix("q="))
                .map_or(Some(1.0), |quality| quality.parse::<f32>().ok())
                .filter(|quality| *quality > 0.0);
            if let Some(quality) = quality
                && best.is_none_or(|(best, _)| quality > best)
            {
                best = Some((quality, format));
            }
        }
        best.map_or(Format::Text, |(_, format)| format)
    }

    /// The media type of the form.
    pub const fn content_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => "application/openmetrics-text;charset=utf-8;version=1.0.0",
            Format::Text => "text/plain;charset=utf-8;version=0.0.4",
            Format::Json => "application/json",
        }
    }

    /// Writes metrics. `created` is the start of counting in seconds since 1970; `prefix` is left out of names in JSON.
    pub(super) fn write(self, metrics: &[Metric], created: f64, prefix: &str) -> String {
        match self {
            Format::OpenMetrics => open_metrics(metrics, created),
            Format::Text => text(metrics, created),
            Format::Json => {
                let members = metrics.iter().map(|metric| {
                    let name = metric.name.strip_prefix(prefix).unwrap_or(&metric.name);
                    json_member(name, &metric.value, created)
                });
                Value::Object(members.collect::<Map<_, _>>()).to_string()
            }
        }
    }
}

/// A number as both text forms have it: `1.0` rather than `1`.
fn number(value: f64) -> String {
    if value.is_finite() {
        format!("{value:?}")
    } else if value.is_nan() {
        "NaN".to_owned()
    } else {
        (if value > 0.0 { "+Inf" } else { "-Inf" }).to_owned()
    }
}

/// Upper bounds with the number of values up to each.
fn cumulative(bounds: &[f64], classes: &[u64]) -> Vec<(String, f64)> {
    let bounds = bounds.iter().copied().chain([f64::INFINITY]);
    let mut total = 0;
    bounds
        .zip(classes)
        .map(|(bound, count)| {
            total += count;
            (number(bound), total as f64)
        })
        .collect()
}

impl Reading {
    fn kind(&self) -> &'static str {
        match self {
            Reading::Counter(_) => "counter",
            Reading::Histogram { .. } => "histogram",
            Reading::Info(..) => "info",
            _ => "gauge",
        }
    }

    /// The lines with values, but for creation times.
    fn samples(&self, name: &str, out: &mut String) {
        let single = |suffix: &str, value: f64| format!("{name}{suffix} {}\n", number(value));
        match self {
            Reading::Counter(count) => out.push_str(&single("_total", *count as f64)),
            Reading::Count(count) => out.push_str(&single("", *count as f64)),
            Reading::Share(share) => out.push_str(&single("", *share)),
            Reading::Flag(flag) => out.push_str(&single("", f64::from(u8::from(*flag)))),
            Reading::Histogram {
                bounds,
                classes,
                sum,
            } => {
                for (bound, count) in cumulative(bounds, classes) {
                    let count = number(count);
                    line(out, format_args!("{name}_bucket{{le=\"{bound}\"}} {count}"));
                }
                let count: u64 = classes.iter().sum();
                out.push_str(&single("_count", count as f64));
                out.push_str(&single("_sum", *sum));
            }
            Reading::Info(label, text) => {
                let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
                let escaped = escaped.replace('\n', "\\n");
                line(
                    out,
                    format_args!("{name}_info{{{label}=\"{escaped}\"}} 1.0"),
                );
            }
        }
    }

    fn has_creation(&self) -> bool {
        matches!(self, Reading::Counter(_) | Reading::Histogram { .. })
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing into a string does not fail.
    let _ = writeln!(out, "{text}");
}

fn open_metrics(metrics: &[Metric], created: f64) -> String {
    let mut out = String::new();
    for Metric { name, help, value } in metrics {
        line(&mut out, format_args!("# TYPE {name} {}", value.kind()));
        line(&mut out, format_args!("# HELP {name} {help}"));
        value.samples(name, &mut out);
        if value.has_creation() {
            line(&mut out, format_args!("{name}_created {}", number(created)));
        }
    }
    out.push_str("# EOF\n");
    out
}

fn text(metrics: &[Metric], created: f64) -> String {
    let mut out = String::new();
    for Metric { name, help, value } in metrics {
        // This form knows no suffixes: what a sample is called is the name of its metric.
        let (suffix, kind) = match value {
            Reading::Counter(_) => ("_total", "counter"),
            Reading::Info(..) => ("_info", "gauge"),
            value => ("", value.kind()),
        };
        line(&mut out, format_args!("# HELP {name}{suffix} {help}"));
        line(&mut out, format_args!("# TYPE {name}{suffix} {kind}"));
        value.samples(name, &mut out);
    }
    for Metric { name, help, value } in metrics {
        if value.has_creation() {
            line(&mut out, format_args!("# HELP {name}_created {help}"));
            line(&mut out, format_args!("# TYPE {name}_created gauge"));
            line(&mut out, format_args!("{name}_created {}", number(created)));
        }
    }
    out
}

fn json_member(name: &str, value: &Reading, created: f64) -> (String, Value) {
    let value = match value {
        Reading::Counter(count) => return (format!("{name}_total"), (*count).into()),
        Reading::Count(count) => (*count).into(),
        Reading::Share(share) => (*share).into(),
        Reading::Flag(flag) => (*flag).into(),
        Reading::Info(_, text) => text.as_str().into(),
        Reading::Histogram {
            bounds,
            classes,
            sum,
        } => {
            let buckets = cumulative(bounds, classes).into_iter();
            let mut members: Map<String, Value> = buckets
                .map(|(bound, count)| (format!("bucket_le_{bound}"), count.into()))
                .collect();
            let count: u64 = classes.iter().sum();
            members.insert("count".into(), json!(count as f64));
            members.insert("sum".into(), (*sum).into());
            members.insert("created".into(), created.into());
            Value::Object(members)
        }
    };
    (name.to_owned(), value)
}
