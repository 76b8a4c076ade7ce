//! Looks at everything once a second, and at the end.

use std::time::Duration;

use causeway_bridge::time::Time;
use crossbeam_channel::bounded;

use super::clock::Clock;
use super::process::{self, Usage};
use super::report::{FORMAT, Generator, Picture, Process, Report, Sample, Traffic, percent};
use super::run::Threads;
use super::stats::Stats;
use super::thread::Order;

const PERIOD: Duration = Duration::from_secs(1);
/// How long threads may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was used up to a moment.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Time,
    target: Option<Usage>,
    own: Option<Usage>,
    ticks: Option<(u64, u64)>,
}

/// A stretch of time that is measured.
pub struct Window {
    begin: Mark,
    end: Mark,
    stats: Stats,
    moving: usize,
    /// Datagrams that the kernel dropped before the generator read them.
    pub generator_drops: u64,
    /// The same for the bridge.
    pub bridge_drops: u64,
}

/// Collects samples.
pub struct Meter {
    clock: Clock,
    pid: Option<u32>,
    progress: bool,
    begin: Time,
    last: Mark,
    /// Clients that are connected.
    pub connected: u32,
    samples: Vec<Sample>,
    /// Since the window was opened, and since the start.
    window: Stats,
    total: Stats,
    moving: usize,
    unready: usize,
}

impl Meter {
    pub fn new(clock: Clock, pid: Option<u32>, progress: bool) -> Meter {
        Meter {
            clock,
            pid,
            progress,
            begin: clock.now(),
            last: mark(clock, pid),
            connected: 0,
            samples: Vec::new(),
            window: Stats::default(),
            total: Stats::default(),
            moving: 0,
            unready: 0,
        }
    }

    /// What the process under test used so far.
    pub fn usage(&self) -> Option<Usage> {
        process::usage(self.pid?)
    }

    /// The run begins.
    pub fn begin(&mut self) {
        self.begin = self.clock.now();
        self.last = mark(self.clock, self.pid);
        if self.progress {
            println!("{}", super::table::HEAD);
        }
    }

    /// Begins to measure.
    pub fn open(&mut self) -> Window {
        self.window.clear();
        let begin = mark(self.clock, self.pid);
        Window {
            begin,
            end: begin,
            stats: Stats::default(),
            moving: 0,
            generator_drops: 0,
            bridge_drops: 0,
        }
    }

    /// Ends the measurement.
    pub fn close(&mut self, mut window: Window, threads: &Threads, measured: bool) -> Window {
        self.sample(threads, measured);
        window.end = self.last;
        window.stats = std::mem::take(&mut self.window);
        window.moving = self.moving;
        window
    }

    /// Sleeps until the next sample is due, at most until `end`.
    pub fn wait(&self, end: Time) {
        let next = self.last.at + PERIOD;
        std::thread::sleep(next.min(end) - self.clock.now());
    }

    /// Takes a sample if one is due.
    pub fn tick(&mut self, threads: &Threads, measured: bool) {
        if self.clock.now() >= self.last.at + PERIOD {
            self.sample(threads, measured);
        }
    }

    /// Takes a sample now. Returns the number of clients that wait for a layer.
    pub fn sample(&mut self, threads: &Threads, measured: bool) -> usize {
        let (sender, summaries) = bounded(threads.handles.len() + 1);
        for handle in threads.all() {
            handle.give(Order::Report(sender.clone()));
        }
        drop(sender);
        let mut stats = Stats::default();
        let (mut waiting, mut moving, mut unready) = (0, 0, 0);
        while let Ok(summary) = summaries.recv_timeout(PATIENCE) {
            stats.add(&summary.stats);
            waiting += summary.waiting;
            moving += summary.moving;
            unready += summary.unready;
        }
        (self.moving, self.unready) = (moving, unready);
        let mark = mark(self.clock, self.pid);
        let sample = self.describe(&stats, mark, measured);
        self.last = mark;
        self.window.add(&stats);
        self.total.add(&stats);
        if sample.seconds >= 0.5 {
            if self.progress {
                println!("{}", super::table::line(&sample));
            }
            self.samples.push(sample);
        }
        waiting
    }

    /// Takes a sample. Returns the number of clients that the other side does not know yet.
    pub fn unready(&mut self, threads: &Threads) -> usize {
        self.sample(threads, false);
        self.unready
    }

    fn describe(&self, stats: &Stats, now: Mark, measured: bool) -> Sample {
        let seconds = (now.at - self.last.at).as_secs_f64().max(1e-6);
        let rate = |count: u64| count as f64 / seconds;
        Sample {
            at: (now.at - self.begin).as_secs_f64(),
            seconds,
            measured,
            connected: self.connected,
            packets_in: rate(stats.sent_packets),
            packets_out: rate(stats.received_packets),
            mbits_in: rate(stats.sent_bytes) * 8e-6,
            mbits_out: rate(stats.received_bytes) * 8e-6,
            missing_percent: percent(
                stats.missing_packets.saturating_sub(stats.late_packets),
                stats.expected_packets(),
            ),
            latency: (&stats.latency).into(),
            send_lag: (&stats.send_lag).into(),
            cpu_percent: cpu(self.last.target, now.target) / seconds * 100.0,
            memory_mb: now.target.map_or(0.0, |usage| usage.memory as f64 / 1e6),
            generator_cpu_percent: cpu(self.last.own, now.own) / seconds * 100.0,
            moving: self.moving,
        }
    }

    /// All since the start.
    pub fn total(&self) -> &Stats {
        &self.total
    }

    pub fn take_samples(&mut self) -> Vec<Sample> {
        std::mem::take(&mut self.samples)
    }
}

fn mark(clock: Clock, pid: Option<u32>) -> Mark {
    Mark {
        at: clock.now(),
        target: pid.and_then(process::usage),
        own: process::usage(std::process::id()),
        ticks: process::machine_ticks(),
    }
}

/// CPU seconds between two looks.
fn cpu(before: Option<Usage>, after: Option<Usage>) -> f64 {
    let used = before
        .zip(after)
        .map(|(before, after)| after.cpu.saturating_sub(before.cpu));
    used.unwrap_or_default().as_secs_f64()
}

impl Window {
    /// The part of a report that a measurement gives.
    pub fn report(&self, name: &str, clients: usize) -> Report {
        let stats = &self.stats;
        let seconds = (self.end.at - self.begin.at).as_secs_f64().max(1e-6);
        let used = cpu(self.begin.target, self.end.target);
        let own = cpu(self.begin.own, self.end.own);
        let busy = self
            .begin
            .ticks
            .zip(self.end.ticks)
            .map_or(0.0, |(before, after)| {
                // Ticks of 10 ms.
                let busy = |ticks: (u64, u64)| ticks.1.saturating_sub(ticks.0);
                busy(after).saturating_sub(busy(before)) as f64 / 100.0
            });
        let micros = |packets: u64| match packets {
            0 => 0.0,
            packets => used * 1e6 / packets as f64,
        };
        let memory = self
            .end
            .target
            .map_or(0.0, |usage| usage.memory as f64 / 1e6);
        Report {
            format: FORMAT,
            machine: process::machine(),
            seconds,
            traffic: Traffic {
                generator_drops: self.generator_drops,
                bridge_drops: self.bridge_drops,
                ..Traffic::new(stats, seconds)
            },
            latency: (&stats.latency).into(),
            repaired_latency: (&stats.repaired_latency).into(),
            picture: Picture {
                frames: stats.frames,
                moving: self.moving,
                freezes: stats.freezes,
                frozen_percent: percent(stats.frozen_micros, stats.watched_micros),
                ..Picture::default()
            },
            process: Process {
                name: name.to_owned(),
                cpu_seconds: used,
                cpu_percent: used / seconds * 100.0,
                micros_per_packet: micros(stats.received_packets),
                micros_per_packet_in_and_out: micros(stats.received_packets + stats.sent_packets),
                memory_mb: memory,
                memory_per_client_kb: memory * 1e3 / clients.max(1) as f64,
                ..Process::default()
            },
            generator: Generator {
                send_lag: (&stats.send_lag).into(),
                receive_lag: (&stats.receive_lag).into(),
                cpu_percent: own / seconds * 100.0,
                others_percent: (busy - used - own).max(0.0) / seconds * 100.0,
            },
            ..Report::default()
        }
    }
}
