//! How much a bridge can take: the load is raised until quality breaks.

use std::time::{Duration, Instant};

use super::plan::{Scale, Scenario};
use super::report::Report;

/// What still counts as good.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Bounds {
    pub lost_percent: f64,
    pub latency_p99_ms: f64,
    pub frozen_percent: f64,
    /// Of the generator: beyond it a run says nothing about the bridge.
    pub lag_p99_ms: f64,
}

/// What a run says about the bridge.
#[derive(Clone, PartialEq, Debug)]
pub enum Verdict {
    Good,
    /// Why not.
    Bad(String),
    /// The generator was the limit.
    Unknown(String),
}

impl Bounds {
    pub fn judge(&self, report: &Report) -> Verdict {
        let (joining, traffic, generator) = (&report.joining, &report.traffic, &report.generator);
        let lag = generator.send_lag.p99.max(generator.receive_lag.p99);
        if lag > self.lag_p99_ms || traffic.generator_drops > 0 {
            return Verdict::Unknown(format!(
                "the generator was late by {lag:.1} ms and lost {} datagrams: give it more cores or threads",
                traffic.generator_drops
            ));
        }
        if joining.failed > 0 {
            return Verdict::Bad(format!("{} clients did not connect", joining.failed));
        }
        for (what, is, bound) in [
            (
                "% of the packets were lost",
                traffic.lost_percent,
                self.lost_percent,
            ),
            (
                "ms latency for one packet in a hundred",
                report.latency.p99,
                self.latency_p99_ms,
            ),
            (
                "% of the time video stood still",
                report.picture.frozen_percent,
                self.frozen_percent,
            ),
        ] {
            if is > bound {
                return Verdict::Bad(format!("{is:.2} {what}"));
            }
        }
        Verdict::Good
    }
}

/// A run that was made.
#[derive(Clone, PartialEq, Debug)]
pub struct Step {
    pub size: u32,
    pub verdict: Verdict,
    pub report: Report,
}

/// The size to begin with, and how it becomes part of a scale.
pub fn start(scenario: Scenario, scale: &Scale) -> u32 {
    match scenario {
        Scenario::Meetings => scale.count.unwrap_or(4),
        Scenario::Broadcast => scale.size.unwrap_or(50),
        Scenario::Large | Scenario::Screens => scale.size.unwrap_or(20),
        Scenario::Audio => scale.size.unwrap_or(100),
        Scenario::Joins => scale.size.unwrap_or(200),
        Scenario::Idle => scale.size.unwrap_or(1_000),
    }
}

/// The scale of a run of this size: meetings grow in number, everything else in size.
pub fn scaled(scenario: Scenario, scale: &Scale, size: u32) -> Scale {
    let mut scale = *scale;
    match scenario {
        Scenario::Meetings => scale.count = Some(size),
        _ => scale.size = Some(size),
    }
    scale
}

/// Doubles the size until a run is not good, then halves the gap until it is within a tenth, or until the time is over.
/// `most` is the largest size that is tried.
///
/// # Errors
/// Those of `run`.
pub fn find(
    first: u32,
    most: u32,
    time: Duration,
    bounds: &Bounds,
    mut run: impl FnMut(u32) -> Result<Report, String>,
) -> Result<Vec<Step>, String> {
    let end = Instant::now() + time;
    let (mut good, mut bad) = (0, None);
    let mut size = first.clamp(1, most.max(1));
    let mut steps = Vec::new();
    loop {
        let report = run(size)?;
        let verdict = bounds.judge(&report);
        match verdict {
            Verdict::Good => good = size,
            _ => bad = Some(size),
        }
        steps.push(Step {
            size,
            verdict,
            report,
        });
        size = match bad {
            None if good >= most => break,
            None => size.saturating_mul(2).min(most),
            Some(bad) if bad - good <= (bad / 10).max(1) => break,
            Some(bad) => good + (bad - good) / 2,
        };
        if Instant::now() >= end {
            break;
        }
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        lost_percent: 0.1,
        latency_p99_ms: 50.0,
        frozen_percent: 1.0,
        lag_p99_ms: 20.0,
    };

    fn sizes(limit: u32, first: u32, most: u32) -> (Vec<u32>, u32) {
        let steps = find(first, most, Duration::from_secs(60), &BOUNDS, |size| {
            let mut report = Report::default();
            report.latency.p99 = if size > limit { 60.0 } else { 1.0 };
            Ok(report)
        });
        let steps = steps.expect("no run fails");
        let good = steps.iter().filter(|step| step.verdict == Verdict::Good);
        let best = good.map(|step| step.size).max().unwrap_or(0);
        (steps.iter().map(|step| step.size).collect(), best)
    }

    #[test]
    fn the_limit_is_found_within_a_tenth() {
        let (tried, best) = sizes(330, 50, 10_000);
        assert_eq!(tried[..4], [50, 100, 200, 400]);
        assert!((300..=330).contains(&best), "{tried:?}");
        assert_eq!(sizes(7, 50, 10_000).1, 7);
    }

    #[test]
    fn it_ends_at_the_largest_size_that_may_be_tried() {
        assert_eq!(sizes(1_000_000, 50, 300), (vec![50, 100, 200, 300], 300));
    }

    #[test]
    fn a_late_generator_says_nothing_about_the_bridge() {
        let mut report = Report::default();
        report.traffic.lost_percent = 5.0;
        assert!(matches!(BOUNDS.judge(&report), Verdict::Bad(_)));
        report.generator.send_lag.p99 = 100.0;
        assert!(matches!(BOUNDS.judge(&report), Verdict::Unknown(_)));
    }
}
