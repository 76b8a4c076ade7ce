//! Probe clusters: short bursts above the estimate whose arrival tells what the path carries (libwebrtc:
//! `BitrateProber` and `ProbeBitrateEstimator`).

use std::collections::VecDeque;
use std::time::Duration;

use super::history::Acknowledged;
use crate::time::Time;
use crate::units::Bitrate;

/// A cluster has at least this many packets …
const MIN_PACKETS: u32 = 5;
/// … and this length.
const MIN_DURATION: Duration = Duration::from_millis(15);
/// Time between two bursts of a cluster.
const BURST_INTERVAL: Duration = Duration::from_millis(2);
/// Bytes that are worth a burst: so that slow clusters do not fall apart into tiny packets.
const MIN_BURST: u64 = 200;
/// A burst never makes up for more than this of a late call.
const MAX_LATENESS: Duration = Duration::from_millis(20);
/// A cluster that is not complete by then is dropped.
const CLUSTER_TIMEOUT: Duration = Duration::from_secs(5);
/// Clusters that wait.
const MAX_PENDING: usize = 5;
/// Clusters whose result may still come.
const MAX_RESULTS: usize = 8;

/// Share of a cluster's packets and bytes that has to arrive.
const MIN_ARRIVED: f64 = 0.80;
/// Packets may arrive faster than they were sent by this factor.
const MAX_RATIO: f64 = 2.0;
/// Arriving slower than this share of the sending rate, a cluster filled the path …
const UNSATURATED: f64 = 0.9;
/// … and this share of the arrival rate is the result.
const UTILISATION: f64 = 0.95;
/// Intervals longer than this are no burst.
const MAX_INTERVAL: i64 = 1_000_000;

/// Which cluster a packet is part of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClusterId(pub(super) u16);

/// Bytes to send now for a cluster, as RTX duplicates or padding; see
/// [`super::SendSideEstimator::poll_probe`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProbeBurst {
    /// To be handed back with each packet.
    pub cluster: ClusterId,
    /// Rate of the cluster.
    pub rate: Bitrate,
    /// Bytes that are due. May be overshot by a part of a packet.
    pub bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Cluster {
    id: ClusterId,
    /// Bits/s.
    rate: f64,
    /// Bytes that make it complete.
    bytes: u64,
    requested: Time,
    started: Option<Time>,
    /// When a burst was last asked for.
    polled: Option<Time>,
    sent_bytes: u64,
    sent_packets: u32,
}

impl Cluster {
    /// Bytes that the rate carries within `time`.
    fn bytes_in(&self, time: Duration) -> u64 {
        (self.rate * time.as_secs_f64() / 8.0) as u64
    }

    /// The time that the rate needs for what was sent.
    fn covered(&self) -> Duration {
        Duration::from_secs_f64(self.sent_bytes as f64 * 8.0 / self.rate.max(1.0))
    }

    fn is_complete(&self) -> bool {
        self.sent_bytes >= self.bytes && self.sent_packets >= MIN_PACKETS
    }
}

/// What a cluster showed.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct ProbeResult {
    /// Bits/s that the path carries.
    pub(super) rate: f64,
    /// It carries no more than that; otherwise nothing is known beyond.
    pub(super) filled: bool,
}

/// What is known about the arrival of one cluster. Times in µs.
#[derive(Clone, Copy, Debug)]
struct Arrivals {
    id: ClusterId,
    /// Bytes that make the cluster complete.
    expected: u64,
    packets: u32,
    bytes: u64,
    first_sent: i64,
    last_sent: i64,
    last_sent_bytes: u64,
    first_arrival: i64,
    last_arrival: i64,
    first_arrival_bytes: u64,
}

/// Sends clusters one after the other, and computes their results.
#[derive(Debug, Default)]
pub(super) struct Prober {
    pending: VecDeque<Cluster>,
    arrivals: VecDeque<Arrivals>,
    next_id: u16,
}

impl Prober {
    /// Queues a cluster, unless too many wait.
    pub(super) fn request(&mut self, now: Time, rate: f64) {
        if self.pending.len() >= MAX_PENDING {
            return;
        }
        self.next_id = self.next_id.wrapping_add(1);
        let bytes = (rate * MIN_DURATION.as_secs_f64() / 8.0) as u64;
        self.pending.push_back(Cluster {
            id: ClusterId(self.next_id),
            rate,
            bytes: bytes.max(u64::from(MIN_PACKETS) * MIN_BURST),
            requested: now,
            started: None,
            polled: None,
            sent_bytes: 0,
            sent_packets: 0,
        });
    }

    /// A packet is sent: the cluster that is being sent has it, be it media or padding.
    pub(super) fn on_sent(&mut self, bytes: usize) -> Option<ClusterId> {
        let cluster = self
            .pending
            .front_mut()
            .filter(|cluster| cluster.started.is_some())?;
        cluster.sent_bytes += bytes as u64;
        cluster.sent_packets += 1;
        let id = cluster.id;
        if cluster.is_complete() {
            self.pending.pop_front();
        }
        Some(id)
    }

    /// Drops clusters that could not be sent in time.
    pub(super) fn expire(&mut self, now: Time) {
        while self
            .pending
            .front()
            .is_some_and(|cluster| now - cluster.requested > CLUSTER_TIMEOUT)
        {
            self.pending.pop_front();
        }
    }

    pub(super) fn poll(&mut self, now: Time) -> Option<ProbeBurst> {
        self.expire(now);
        let cluster = self.pending.front_mut()?;
        if cluster
            .polled
            .is_some_and(|polled| now < polled + BURST_INTERVAL)
        {
            return None;
        }
        let covered = cluster.covered();
        let mut started = *cluster.started.get_or_insert(now);
        if now < started + covered {
            return None;
        }
        if now - started > covered + MAX_LATENESS {
            // Not everything at once after a late call.
            started = now - covered;
            cluster.started = Some(started);
        }
        if cluster.polled.replace(now).is_none() {
            if self.arrivals.len() >= MAX_RESULTS {
                self.arrivals.pop_front();
            }
            self.arrivals
                .push_back(Arrivals::new(cluster.id, cluster.bytes));
        }
        let burst = cluster.bytes_in(BURST_INTERVAL).max(MIN_BURST);
        let due = cluster.bytes_in(now - started) + burst;
        let left = cluster
            .bytes
            .saturating_sub(cluster.sent_bytes)
            .max(MIN_BURST);
        let bytes = due
            .saturating_sub(cluster.sent_bytes)
            .clamp(MIN_BURST, left) as usize;
        Some(ProbeBurst {
            cluster: cluster.id,
            rate: Bitrate::bps(cluster.rate as u64),
            bytes,
        })
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        let cluster = self.pending.front()?;
        let (Some(started), Some(polled)) = (cluster.started, cluster.polled) else {
            return Some(cluster.requested);
        };
        Some((started + cluster.covered()).max(polled + BURST_INTERVAL))
    }

    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// A packet of a cluster was acknowledged: what the cluster tells by now.
    pub(super) fn on_acknowledged(&mut self, packet: &Acknowledged) -> Option<ProbeResult> {
        let id = packet.cluster?;
        let cluster = self.arrivals.iter_mut().find(|cluster| cluster.id == id)?;
        cluster.add(packet);
        cluster.result()
    }
}

impl Arrivals {
    fn new(id: ClusterId, expected: u64) -> Arrivals {
        Arrivals {
            id,
            expected,
            packets: 0,
            bytes: 0,
            first_sent: i64::MAX,
            last_sent: i64::MIN,
            last_sent_bytes: 0,
            first_arrival: i64::MAX,
            last_arrival: i64::MIN,
            first_arrival_bytes: 0,
        }
    }

    fn add(&mut self, packet: &Acknowledged) {
        let (sent, bytes) = (packet.sent.as_micros() as i64, u64::from(packet.size));
        self.packets += 1;
        self.bytes += bytes;
        self.first_sent = self.first_sent.min(sent);
        if sent >= self.last_sent {
            (self.last_sent, self.last_sent_bytes) = (sent, bytes);
        }
        self.last_arrival = self.last_arrival.max(packet.arrival);
        if packet.arrival < self.first_arrival {
            (self.first_arrival, self.first_arrival_bytes) = (packet.arrival, bytes);
        }
    }

    fn result(&self) -> Option<ProbeResult> {
        if f64::from(self.packets) < MIN_ARRIVED * f64::from(MIN_PACKETS)
            || (self.bytes as f64) < MIN_ARRIVED * self.expected as f64
        {
            return None;
        }
        let sent_in = self.last_sent.saturating_sub(self.first_sent);
        let arrived_in = self.last_arrival.saturating_sub(self.first_arrival);
        if !(1..=MAX_INTERVAL).contains(&sent_in) || !(1..=MAX_INTERVAL).contains(&arrived_in) {
            return None;
        }
        let rate = |bytes: u64, micros: i64| bytes as f64 * 8e6 / micros as f64;
        let sent = rate(self.bytes - self.last_sent_bytes, sent_in);
        let arrived = rate(self.bytes - self.first_arrival_bytes, arrived_in);
        if arrived > MAX_RATIO * sent {
            return None;
        }
        let filled = arrived < UNSATURATED * sent;
        Some(ProbeResult {
            rate: match filled {
                true => UTILISATION * arrived,
                false => sent.min(arrived),
            },
            filled,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends one cluster in packets of `size`: (µs, bytes) of each.
    fn send(prober: &mut Prober, size: usize) -> Vec<(u64, usize)> {
        let mut packets = Vec::new();
        while let Some(now) = prober.poll_timeout() {
            let Some(burst) = prober.poll(now) else { break };
            for _ in 0..burst.bytes.div_ceil(size) {
                if prober.on_sent(size).is_none() {
                    return packets;
                }
                packets.push((now.as_micros(), size));
            }
        }
        packets
    }

    #[test]
    fn a_cluster_is_sent_at_its_rate() {
        for (rate, size) in [(15e6, 1_200), (7.5e6, 1_200), (800e3, 267), (300e3, 250)] {
            let mut prober = Prober::default();
            prober.request(Time::ZERO, rate);
            let packets = send(&mut prober, size);
            assert!(packets.len() >= 5);
            let bytes: usize = packets.iter().map(|(_, bytes)| bytes).sum();
            assert!(bytes as f64 * 8.0 >= rate * 0.015, "at least 15 ms");
            let last = packets.last().map_or(0, |(at, _)| *at);
            let rate_sent = (bytes - size) as f64 * 8e6 / last as f64;
            assert!(
                (0.8..1.5).contains(&(rate_sent / rate)),
                "{rate}: {rate_sent}"
            );
        }
    }

    #[test]
    fn a_cluster_that_cannot_be_sent_is_dropped_and_asks_in_vain_at_most_every_2_ms() {
        let mut prober = Prober::default();
        prober.request(Time::ZERO, 1e6);
        let (mut polls, mut now) = (0, Time::ZERO);
        while let Some(at) = prober.poll_timeout() {
            now = at;
            polls += 1;
            prober.poll(now);
        }
        assert!(
            now >= Time::ZERO + CLUSTER_TIMEOUT && polls < 3_000,
            "{now:?} {polls}"
        );
    }

    #[test]
    fn clusters_that_wait_and_results_that_are_due_are_bounded() {
        let mut prober = Prober::default();
        for round in 0..100 {
            (0..10).for_each(|_| prober.request(Time::from_millis(round * 6_000), 1e6));
            assert_eq!(prober.pending.len(), MAX_PENDING);
            while prober.poll(Time::from_millis(round * 6_000)).is_some() {
                while !prober.is_idle() && prober.on_sent(1_000).is_some() {}
            }
            assert!(prober.arrivals.len() <= MAX_RESULTS);
        }
    }

    #[test]
    fn the_result_is_the_rate_of_arrival_with_a_margin_if_the_path_was_full() {
        let result = |spacing: i64, lost: usize| {
            let mut prober = Prober::default();
            prober.request(Time::ZERO, 4e6);
            let packets = send(&mut prober, 1_000);
            let arrived = packets
                .iter()
                .enumerate()
                .skip(lost)
                .map(|(number, (sent, size))| Acknowledged {
                    number: number as u64,
                    sent: Time::from_micros(*sent),
                    arrival: number as i64 * spacing,
                    size: *size as u32,
                    cluster: Some(ClusterId(1)),
                });
            arrived
                .filter_map(|packet| Some(prober.on_acknowledged(&packet)?.rate))
                .last()
        };
        let free = result(2_000, 0).expect("complete");
        assert!((3.5e6..4.1e6).contains(&free), "{free}");
        let full = result(8_000, 0).expect("complete");
        assert!((full - 0.95e6).abs() < 1e3, "{full}");
        assert_eq!(result(2_000, 3), None, "too much is missing");
        assert_eq!(result(100, 0), None, "faster than it was sent: nonsense");
    }
}
