//! One direction of a network path: rate limit, queue, delay, jitter, loss, duplication, reordering.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::random::Random;
use crate::time::Time;
use crate::units::Bitrate;

/// What a link does to packets.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LinkConfig {
    /// Rate of the bottleneck; `None` = no bottleneck.
    pub rate: Option<Bitrate>,
    /// Bytes that may pass at once after a pause, like the bucket of a shaper (`tbf`); zero = a wire.
    pub burst_bytes: usize,
    /// Bytes that wait in front of the bottleneck; packets beyond are dropped.
    pub queue_bytes: usize,
    /// Propagation delay.
    pub delay: Duration,
    /// Added to the delay, uniform from zero to this; it does not reorder.
    pub jitter: Duration,
    /// Probability that a packet is lost behind the bottleneck.
    pub loss: f64,
    /// Probability that a packet arrives twice.
    pub duplicate: f64,
    /// Probability that a packet is held back for [`LinkConfig::reorder_delay`], and so overtaken.
    pub reorder: f64,
    /// See [`LinkConfig::reorder`].
    pub reorder_delay: Duration,
}

impl Default for LinkConfig {
    /// No bottleneck, 20 ms, nothing lost.
    fn default() -> Self {
        LinkConfig {
            rate: None,
            burst_bytes: 0,
            queue_bytes: 64 * 1024,
            delay: Duration::from_millis(20),
            jitter: Duration::ZERO,
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            reorder_delay: Duration::from_millis(5),
        }
    }
}

struct Queued<T> {
    size: usize,
    sent: Time,
    payload: T,
}

/// A link that carries payloads of type `T`. The same seed and calls give the same deliveries.
pub struct Link<T> {
    config: LinkConfig,
    random: Random,
    queue: VecDeque<Queued<T>>,
    queued_bytes: usize,
    /// Until when the packets that left the queue keep the bottleneck busy, had it no burst.
    busy_until: Time,
    /// Bits of the packet at the head that are already through, times 10⁶, from an earlier rate.
    progress: u128,
    in_flight: BTreeMap<(Time, u64), T>,
    deliveries: u64,
    last_delivery: Time,
    dropped: u64,
    lost: u64,
    queue_delay: Duration,
}

impl<T: Clone> Link<T> {
    /// An idle link.
    pub fn new(seed: u64, config: LinkConfig) -> Link<T> {
        Link {
            config,
            random: Random::from_seed(seed),
            queue: VecDeque::new(),
            queued_bytes: 0,
            busy_until: Time::ZERO,
            progress: 0,
            in_flight: BTreeMap::new(),
            deliveries: 0,
            last_delivery: Time::ZERO,
            dropped: 0,
            lost: 0,
            queue_delay: Duration::ZERO,
        }
    }

    /// Changes the link; packets that wait are subject to the new rate.
    pub fn set_config(&mut self, now: Time, config: LinkConfig) {
        self.serve(now);
        self.config = config;
        self.serve(now);
    }

    /// How it is configured.
    pub fn config(&self) -> &LinkConfig {
        &self.config
    }

    /// Sends a packet of `size` bytes on the wire.
    pub fn send(&mut self, now: Time, size: usize, payload: T) {
        self.serve(now);
        if self.config.rate.is_some() && self.queued_bytes + size > self.config.queue_bytes {
            self.dropped += 1;
            return;
        }
        self.queued_bytes += size;
        self.queue.push_back(Queued {
            size,
            sent: now,
            payload,
        });
        self.serve(now);
    }

    /// The next packet that has arrived by `now`.
    pub fn poll(&mut self, now: Time) -> Option<T> {
        self.serve(now);
        let first = self.in_flight.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// When [`Link::poll`] may return something.
    pub fn poll_timeout(&self) -> Option<Time> {
        let arrival = self.in_flight.first_key_value().map(|((at, _), _)| *at);
        let departure = self.queue.front().and_then(|head| self.departure(head));
        arrival.into_iter().chain(departure).min()
    }

    /// Packets dropped by the full queue.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Packets lost at random.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// How long the last packet waited for and passed the bottleneck.
    pub fn queue_delay(&self) -> Duration {
        self.queue_delay
    }

    /// When the bottleneck began with the packet at the head: before it came, where a burst was saved up.
    fn start(&self, head: &Queued<T>) -> Time {
        let rate = self.config.rate.unwrap_or_default().as_bps();
        let saved = (self.config.burst_bytes as u64 * 8_000_000)
            .checked_div(rate)
            .map_or(Duration::ZERO, Duration::from_micros);
        self.busy_until.max(head.sent - saved)
    }

    /// When the packet at the head is through; `None` = never (rate zero).
    fn departure(&self, head: &Queued<T>) -> Option<Time> {
        let start = self.start(head);
        let Some(rate) = self.config.rate else {
            return Some(self.busy_until.max(head.sent));
        };
        let bits = (head.size as u128 * 8_000_000).saturating_sub(self.progress);
        let rate = u128::from(rate.as_bps());
        let micros = (rate > 0).then(|| bits.div_ceil(rate))?;
        Some(start + Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)))
    }

    /// Moves packets through the bottleneck up to `now`.
    fn serve(&mut self, now: Time) {
        while let Some(head) = self.queue.front() {
            let start = self.start(head);
            match self.departure(head) {
                Some(at) if at <= now => {
                    self.busy_until = at;
                    // What was saved up lets it pass at once.
                    let at = at.max(head.sent);
                    self.progress = 0;
                    if let Some(packet) = self.queue.pop_front() {
                        self.queued_bytes -= packet.size;
                        self.queue_delay = at - packet.sent;
                        self.launch(at, packet.payload);
                    }
                }
                _ => {
                    // Keep what is done at this rate, in case it changes.
                    let rate = self.config.rate.unwrap_or_default().as_bps();
                    self.progress += (now - start).as_micros() * u128::from(rate);
                    self.busy_until = self.busy_until.max(now);
                    return;
                }
            }
        }
    }

    /// A packet is through the bottleneck at `at`.
    fn launch(&mut self, at: Time, payload: T) {
        if self.random.unit() < self.config.loss {
            self.lost += 1;
            return;
        }
        let jitter = self.config.jitter.mul_f64(self.random.unit());
        let mut arrival = (at + self.config.delay + jitter).max(self.last_delivery);
        if self.random.unit() < self.config.reorder {
            arrival += self.config.reorder_delay;
        } else {
            self.last_delivery = arrival;
        }
        if self.random.unit() < self.config.duplicate {
            self.deliver(arrival, payload.clone());
        }
        self.deliver(arrival, payload);
    }

    fn deliver(&mut self, at: Time, payload: T) {
        self.in_flight.insert((at, self.deliveries), payload);
        self.deliveries += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    /// All deliveries until nothing is left: (ms, payload).
    fn drain(link: &mut Link<u32>) -> Vec<(u64, u32)> {
        let mut all = Vec::new();
        while let Some(now) = link.poll_timeout() {
            while let Some(payload) = link.poll(now) {
                all.push((now.as_millis(), payload));
            }
        }
        all
    }

    #[test]
    fn the_bottleneck_spreads_packets_and_its_queue_is_bounded() {
        let config = LinkConfig {
            rate: Some(Bitrate::kbps(800)), // 100 bytes per ms
            queue_bytes: 3_000,
            delay: Duration::from_millis(20),
            ..LinkConfig::default()
        };
        let mut link = Link::new(1, config);
        (0..5).for_each(|number| link.send(ms(0), 1_000, number));
        assert_eq!(drain(&mut link), [(30, 0), (40, 1), (50, 2)]);
        assert_eq!(link.dropped(), 2);
        link.send(ms(100), 1_000, 9);
        assert_eq!(drain(&mut link), [(130, 9)]);
    }

    #[test]
    fn what_a_shaper_saved_up_passes_at_once_and_the_rest_at_its_rate() {
        let config = LinkConfig {
            rate: Some(Bitrate::kbps(800)), // 100 bytes per ms
            burst_bytes: 2_000,
            queue_bytes: 10_000,
            delay: Duration::ZERO,
            ..LinkConfig::default()
        };
        let mut link = Link::new(1, config);
        (0..4).for_each(|number| link.send(ms(1_000), 1_000, number));
        let all = [(1_000, 0), (1_000, 1), (1_010, 2), (1_020, 3)];
        assert_eq!(drain(&mut link), all);
        // Half of it is saved up again.
        (0..2).for_each(|number| link.send(ms(1_030), 1_000, number));
        assert_eq!(drain(&mut link), [(1_030, 0), (1_040, 1)]);
        assert_eq!(link.dropped(), 0);
    }

    #[test]
    fn a_change_of_the_rate_applies_to_what_waits() {
        let slow = LinkConfig {
            rate: Some(Bitrate::kbps(80)),
            delay: Duration::ZERO,
            ..LinkConfig::default()
        };
        let mut link = Link::new(1, slow);
        link.send(ms(0), 1_000, 1);
        link.send(ms(0), 1_000, 2);
        // Half of the first is through.
        link.set_config(
            ms(50),
            LinkConfig {
                rate: Some(Bitrate::kbps(800)),
                ..slow
            },
        );
        assert_eq!(drain(&mut link), [(55, 1), (65, 2)]);
    }

    #[test]
    fn losses_duplicates_and_reordering_are_seeded() {
        let config = LinkConfig {
            loss: 0.2,
            duplicate: 0.1,
            reorder: 0.1,
            ..LinkConfig::default()
        };
        let run = |seed| {
            let mut link = Link::new(seed, config);
            (0..1_000).for_each(|number| link.send(ms(u64::from(number)), 100, number));
            drain(&mut link)
                .into_iter()
                .map(|(_, number)| number)
                .collect::<Vec<_>>()
        };
        let (first, second) = (run(1), run(1));
        assert_eq!(first, second);
        assert_ne!(first, run(2));
        assert!((850..910).contains(&first.len()), "{}", first.len());
        assert!(!first.is_sorted());
    }
}
