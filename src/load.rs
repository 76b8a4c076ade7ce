//! How much of its capacity the bridge uses: the stress level, and what is done when it is too much
//! (rest-and-stats spec §5.3).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::Duration;

use causeway_bridge::Bridge;
use causeway_bridge::allocation::LastNReducer;
use causeway_bridge::control::ControlAccess;
use causeway_bridge::net::CpuTimes;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::config::{self, LoadMeasurement};

/// Time between two measurements.
const PERIOD: Duration = Duration::from_millis(250);
/// Measurements from the first to the last of which the load is taken: one second.
const WINDOW: usize = 5;
/// Time between two decisions about the bridge-wide last-n.
const DECISION: Duration = Duration::from_secs(10);

/// CPU time at a moment.
#[derive(Clone, Debug)]
struct Measurement {
    at: Instant,
    times: CpuTimes,
    /// Stolen and all ticks of the machine.
    ticks: (u64, u64),
}

/// Shares between 0 and 1.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Load {
    /// The busier of: the mean worker, and the whole process on the cores that it may use. A worker that has to wait
    /// for a core is as busy as one that runs: neither has time for more.
    used: f64,
    steal: f64,
}

impl Load {
    fn between(old: &Measurement, new: &Measurement, cores: usize) -> Load {
        let wall = (new.at - old.at).as_secs_f64();
        let share = |old: Duration, new: Duration| new.saturating_sub(old).as_secs_f64() / wall;
        let workers = new.times.workers.len();
        let busy = old.times.workers.iter().zip(&new.times.workers);
        let busy = busy.map(|(old, new)| share(old.used, new.used) + share(old.waited, new.waited));
        let workers = busy.sum::<f64>() / workers.max(1) as f64;
        let process = share(old.times.process, new.times.process) / cores.max(1) as f64;
        let stolen = new.ticks.0.saturating_sub(old.ticks.0) as f64;
        let all = new.ticks.1.saturating_sub(old.ticks.1).max(1) as f64;
        Load {
            used: workers.max(process),
            steal: stolen / all,
        }
    }

    /// What is measured: a share of CPU time, or packets per second.
    fn level(self, options: &config::Load, packet_rate: u64) -> f64 {
        match options.measurement {
            LoadMeasurement::PacketRate => packet_rate as f64,
            LoadMeasurement::CpuUsage if options.detect_steal => self.used + self.steal,
            LoadMeasurement::CpuUsage => self.used,
        }
    }

    /// One when the threshold of what is measured is reached.
    fn stress(self, options: &config::Load, packet_rate: u64) -> f64 {
        let threshold = match options.measurement {
            LoadMeasurement::PacketRate => options.packet_threshold,
            LoadMeasurement::CpuUsage => options.cpu_threshold,
        };
        self.level(options, packet_rate) / threshold
    }
}

/// The latest stress level and steal.
#[derive(Debug)]
pub struct LoadMeter {
    options: config::Load,
    stress: AtomicU64,
    steal: AtomicU64,
    last_n_limit: AtomicI32,
}

impl LoadMeter {
    /// A meter that measured nothing so far.
    pub fn new(options: config::Load) -> LoadMeter {
        LoadMeter {
            options,
            stress: AtomicU64::new(0),
            steal: AtomicU64::new(0),
            last_n_limit: AtomicI32::new(-1),
        }
    }

    /// Share of what the bridge can safely carry. Zero before the first measurement.
    pub fn stress(&self) -> f64 {
        f64::from_bits(self.stress.load(Ordering::Relaxed))
    }

    /// Share of the machine's CPU time that the hypervisor gave to others.
    pub fn steal(&self) -> f64 {
        f64::from_bits(self.steal.load(Ordering::Relaxed))
    }

    /// The bridge-wide last-n that the reducer allows, −1 = any; `None` without a reducer.
    pub fn last_n_limit(&self) -> Option<i32> {
        let reducer = self.options.reducer.as_ref();
        reducer.map(|_| self.last_n_limit.load(Ordering::Relaxed))
    }

    /// Takes away video sources, or gives some back, if it is time.
    fn reduce(&self, reducer: &mut LastNReducer, bridge: &Bridge, level: f64) {
        let changed = bridge.with_control(|control, now| {
            let changed = reducer.sample(now, level, control.most_forwarded());
            if changed {
                control.set_last_n_limit(reducer.limit());
            }
            changed
        });
        if changed {
            let limit = reducer.limit();
            self.last_n_limit.store(limit, Ordering::Relaxed);
            tracing::info!(
                limit,
                level,
                "last-n of all receivers changed because of the load"
            );
        }
    }

    fn set(&self, load: Load, packet_rate: u64) {
        let store = |cell: &AtomicU64, value: f64| cell.store(value.to_bits(), Ordering::Relaxed);
        store(&self.stress, load.stress(&self.options, packet_rate));
        store(&self.steal, load.steal);
    }

    /// Measures for as long as it is polled.
    pub async fn run(&self, bridge: Bridge) {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let mut turns = interval(PERIOD);
        // A measurement that comes late covers the time that passed.
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut window: VecDeque<Measurement> = VecDeque::new();
        let mut reducer = self.options.reducer.map(LastNReducer::new);
        let mut decision = Instant::now() + DECISION;
        loop {
            turns.tick().await;
            let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
            window.push_back(Measurement {
                at: Instant::now(),
                times: bridge.cpu_times(),
                ticks: ticks(&stat),
            });
            if window.len() > WINDOW {
                window.pop_front();
            }
            if let (Some(old), Some(new)) = (window.front(), window.back())
                && new.at > old.at
            {
                let packet_rate = bridge.with_control(|control, _| control.packet_rate());
                let load = Load::between(old, new, cores);
                self.set(load, packet_rate);
                if let Some(reducer) = &mut reducer
                    && new.at >= decision
                {
                    decision = new.at + DECISION;
                    self.reduce(reducer, &bridge, load.level(&self.options, packet_rate));
                }
            }
        }
    }
}

/// Stolen and all ticks from the text of `/proc/stat`; zeros if it has none.
fn ticks(stat: &str) -> (u64, u64) {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "));
    let numbers = line.unwrap_or_default().split_whitespace();
    let numbers: Vec<u64> = numbers.filter_map(|number| number.parse().ok()).collect();
    let stolen = numbers.get(7).copied().unwrap_or(0);
    (stolen, numbers.iter().sum())
}

#[cfg(test)]
mod tests {
    use causeway_bridge::net::WorkerTime;

    use super::*;

    fn at(
        start: Instant,
        ms: u64,
        workers: &[u64],
        process: u64,
        ticks: (u64, u64),
    ) -> Measurement {
        Measurement {
            at: start + Duration::from_millis(ms),
            times: CpuTimes {
                workers: workers
                    .iter()
                    .map(|used| WorkerTime {
                        used: Duration::from_millis(*used),
                        waited: Duration::ZERO,
                    })
                    .collect(),
                process: Duration::from_millis(process),
            },
            ticks,
        }
    }

    #[test]
    fn rest_and_stats_case_22_stress_is_the_share_of_safe_capacity() {
        let start = Instant::now();
        let idle = at(start, 0, &[100, 100], 300, (0, 0));
        for (workers, process, stress) in [
            // Half of both workers, and a little elsewhere on two cores.
            ([550, 550], 1_210, 0.455 / 0.9),
            // One is busy, one idle: room for other conferences.
            ([1_100, 100], 1_300, 0.5 / 0.9),
            ([1_100, 1_100], 2_300, 1.0 / 0.9),
            // Handshakes alone.
            ([100, 100], 2_300, 1.0 / 0.9),
        ] {
            let busy = at(start, 1_000, &workers, process, (0, 100));
            let measured = Load::between(&idle, &busy, 2).stress(&config::Load::default(), 0);
            assert!((measured - stress).abs() < 1e-9, "{workers:?} {measured}");
        }
    }

    #[test]
    fn a_worker_that_waits_for_a_core_is_busy() {
        let start = Instant::now();
        let old = at(start, 0, &[0], 0, (0, 0));
        let mut new = at(start, 1_000, &[300], 300, (0, 1));
        new.times.workers[0].waited = Duration::from_millis(600);
        let measured = Load::between(&old, &new, 8).stress(&config::Load::default(), 0);
        assert!((measured - 1.0).abs() < 1e-9, "{measured}");
    }

    #[test]
    fn two_workers_on_a_large_machine_can_be_overloaded() {
        let start = Instant::now();
        let old = at(start, 0, &[0, 0], 0, (0, 0));
        let new = at(start, 500, &[500, 500], 1_000, (0, 1));
        assert!(Load::between(&old, &new, 64).stress(&config::Load::default(), 0) > 1.0);
    }

    #[test]
    fn rest_and_stats_case_24_steal_adds_to_the_load() {
        let before = "cpu  1000 0 0 9000 0 0 0 0 0 0\ncpu0 1 2 3\n";
        let after = "cpu  1000 0 0 9900 0 0 0 100 0 0\n";
        let start = Instant::now();
        let old = at(start, 0, &[0], 0, ticks(before));
        let new = at(start, 1_000, &[0], 0, ticks(after));
        let load = Load::between(&old, &new, 1);
        assert!((load.steal - 0.1).abs() < 1e-9);
        let mut options = config::Load::default();
        assert!((load.stress(&options, 0) - 0.1 / 0.9).abs() < 1e-9);
        options.detect_steal = false;
        assert_eq!(load.stress(&options, 0), 0.0);
        assert_eq!(ticks("intr 1 2\n"), (0, 0));
    }

    #[test]
    fn rest_and_stats_case_23_packets_may_be_what_counts() {
        let options = config::Load {
            measurement: LoadMeasurement::PacketRate,
            packet_threshold: 1_000.0,
            ..config::Load::default()
        };
        let idle = Load {
            used: 0.0,
            steal: 0.0,
        };
        assert_eq!(idle.stress(&options, 500), 0.5);
    }
}
