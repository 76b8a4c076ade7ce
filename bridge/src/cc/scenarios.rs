//! The estimator on emulated paths, with the bridge's own receive side as the peer.

use std::time::Duration;

use proptest::prelude::*;

use super::{Mechanism, SendSideEstimator};
use crate::config::EstimatorConfig;
use crate::random::Random;
use crate::receive::TwccReceiver;
use crate::sim::link::{Link, LinkConfig};
use crate::time::Time;
use crate::units::Bitrate;
use crate::wire::twcc::Feedback;

/// Layers of a camera, in kbit/s.
const LAYERS: [u64; 3] = [200, 700, 2_500];
const FRAME_MILLIS: u64 = 33;
const PACKET: usize = 1_200;

/// A bridge that sends the best layer that fits, the path, and a receiver.
struct World {
    now: Time,
    estimator: SendSideEstimator,
    receiver: TwccReceiver,
    down: Link<(u16, bool)>,
    up: Link<Vec<u8>>,
    layers: Vec<u64>,
    /// The layer that is sent, in kbit/s.
    layer: u64,
    changes: usize,
    /// Of each ms since the last [`World::mark`].
    estimates: Vec<u64>,
    delays: Vec<Duration>,
    /// The receiver sends feedback.
    answers: bool,
}

impl World {
    fn new(seed: u64, config: LinkConfig) -> World {
        World {
            now: Time::from_millis(1_000),
            estimator: SendSideEstimator::new(EstimatorConfig::default(), Mechanism::TransportCc),
            receiver: TwccReceiver::new(),
            down: Link::new(seed, config),
            up: Link::new(
                seed + 1,
                LinkConfig {
                    delay: config.delay,
                    ..LinkConfig::default()
                },
            ),
            layers: LAYERS.to_vec(),
            layer: 0,
            changes: 0,
            estimates: Vec::new(),
            delays: Vec::new(),
            answers: true,
        }
    }

    fn estimate(&self) -> u64 {
        self.estimator.estimate().expect("always known").as_bps() / 1_000
    }

    /// Begins a new period of measurement.
    fn mark(&mut self) {
        self.estimates.clear();
        self.delays.clear();
        self.changes = 0;
    }

    fn send(&mut self, mut bytes: usize, cluster: Option<super::ClusterId>, marker: bool) {
        while bytes > 0 {
            let size = bytes.min(PACKET);
            bytes -= size;
            let sequence = self.estimator.on_sent(self.now, size, cluster);
            self.down
                .send(self.now, size, (sequence, marker && bytes == 0));
        }
    }

    fn run(&mut self, seconds: u64) {
        for _ in 0..seconds * 1_000 {
            self.step();
        }
    }

    /// One ms.
    fn step(&mut self) {
        self.now += Duration::from_millis(1);
        let now = self.now;
        if now.as_millis().is_multiple_of(FRAME_MILLIS) {
            let estimate = self.estimate();
            let layer = self
                .layers
                .iter()
                .rev()
                .find(|layer| **layer <= estimate)
                .copied()
                .unwrap_or(0);
            self.changes += usize::from(layer != self.layer);
            self.layer = layer;
            let ideal = self.layers.last().copied().unwrap_or(0);
            self.estimator
                .set_demand(now, Bitrate::kbps(layer), Bitrate::kbps(ideal), false);
            self.send((layer * FRAME_MILLIS / 8) as usize, None, true);
        }
        if self.estimator.poll_timeout().is_some_and(|at| at <= now) {
            self.estimator.handle_timeout(now);
            while let Some(burst) = self.estimator.poll_probe(now) {
                self.send(burst.bytes, Some(burst.cluster), false);
            }
            if let Some(bytes) = self.estimator.poll_padding(now) {
                self.send(bytes, None, false);
            }
            assert!(
                self.estimator.poll_timeout().is_none_or(|at| at > now),
                "nothing is left to do"
            );
        }
        while let Some((sequence, marker)) = self.down.poll(now) {
            self.receiver.on_packet(now, sequence, marker);
        }
        let mut feedback = Vec::new();
        while self.receiver.poll_feedback(now, 1, 2, &mut feedback) {
            let packet = std::mem::take(&mut feedback);
            if self.answers {
                self.up.send(now, packet.len(), packet);
            }
        }
        while let Some(packet) = self.up.poll(now) {
            let feedback = Feedback::parse(&packet[12..]).expect("own feedback");
            self.estimator.on_rtt(self.down.config().delay * 2);
            self.estimator.on_feedback(now, &feedback);
        }
        self.estimates.push(self.estimate());
        self.delays.push(self.down.queue_delay());
    }

    fn delay_percentile(&self, percent: usize) -> Duration {
        let mut delays = self.delays.clone();
        delays.sort_unstable();
        delays[delays.len() * percent / 100]
    }

    fn mean_estimate(&self) -> u64 {
        self.estimates.iter().sum::<u64>() / self.estimates.len() as u64
    }
}

/// A bottleneck with a buffer of `buffer` ms.
fn limited(kbps: u64, buffer: u64) -> LinkConfig {
    let rate = Bitrate::kbps(kbps);
    let queue_bytes = rate.bytes_in(Duration::from_millis(buffer)) as usize;
    LinkConfig {
        rate: Some(rate),
        queue_bytes,
        ..LinkConfig::default()
    }
}

/// A feedback about `statuses` from `base` on, all received.
fn feedback(base: u16, statuses: u16, reference: i32, delta: u8) -> Vec<u8> {
    let mut fci = base.to_be_bytes().to_vec();
    fci.extend_from_slice(&statuses.to_be_bytes());
    fci.extend_from_slice(&reference.to_be_bytes()[1..]);
    fci.push(0);
    for start in (0..statuses).step_by(0x1fff) {
        fci.extend_from_slice(&(0x2000 | (statuses - start).min(0x1fff)).to_be_bytes());
    }
    fci.resize(fci.len() + usize::from(statuses), delta);
    fci
}

fn estimator() -> SendSideEstimator {
    SendSideEstimator::new(EstimatorConfig::default(), Mechanism::TransportCc)
}

#[test]
fn media_plane_case_110_numbers_begin_at_one_and_wrap() {
    let mut estimator = estimator();
    for number in 1..=70_000u32 {
        assert_eq!(
            estimator.on_sent(Time::from_millis(u64::from(number)), 1_000, None),
            number as u16
        );
    }
}

#[test]
fn media_plane_case_118_padding_fills_the_gap_to_the_estimate() {
    let config = EstimatorConfig {
        initial: Bitrate::kbps(1_000),
        ..EstimatorConfig::default()
    };
    let mut estimator = SendSideEstimator::new(config, Mechanism::TransportCc);
    let start = Time::from_millis(1_000);
    estimator.set_demand(start, Bitrate::kbps(800), Bitrate::kbps(2_000), false);
    let mut bytes = 0;
    // The first large packet would start a probe.
    let media = [150; 10];
    for tick in 1..=100 {
        let now = start + Duration::from_millis(15) * tick;
        for size in media {
            estimator.on_sent(now, size, None);
        }
        if let Some(due) = estimator.poll_padding(now) {
            assert!(due < 1_500);
            // Packets have their size, whatever is due.
            for size in media {
                estimator.on_sent(now, size, None);
            }
            bytes += 1_500;
        }
    }
    assert!((36_000..=39_000).contains(&bytes), "200 kbit/s: {bytes}");

    // Everything that is wanted fits into the estimate.
    let now = start + Duration::from_secs(2);
    estimator.set_demand(now, Bitrate::kbps(800), Bitrate::kbps(900), false);
    assert_eq!(estimator.poll_padding(now + Duration::from_secs(1)), None);
}

#[test]
fn media_plane_case_119_the_first_large_packet_starts_a_probe() {
    let mut estimator = estimator();
    let mut now = Time::from_millis(1_000);
    estimator.on_sent(now, 199, None);
    assert_eq!(estimator.poll_probe(now), None);
    estimator.on_sent(now, 200, None);

    // (rate, first, last, packets)
    let mut clusters: Vec<(Bitrate, Time, Time, u32)> = Vec::new();
    while clusters.len() < 2 {
        while let Some(burst) = estimator.poll_probe(now) {
            if clusters.last().is_none_or(|(rate, ..)| *rate != burst.rate) {
                clusters.push((burst.rate, now, now, 0));
            }
            for _ in 0..burst.bytes.div_ceil(PACKET) {
                estimator.on_sent(now, PACKET, Some(burst.cluster));
                if let Some((_, _, last, packets)) = clusters.last_mut() {
                    *last = now;
                    *packets += 1;
                }
            }
        }
        now += Duration::from_millis(1);
        if now > Time::from_millis(1_500) {
            break;
        }
    }
    let rates: Vec<_> = clusters.iter().map(|(rate, ..)| *rate).collect();
    assert_eq!(rates, [Bitrate::kbps(2_500)]);
    for (_, first, last, packets) in clusters {
        assert!(packets >= 5);
        // From the first packet to the end of the last.
        assert!(
            (12..=20).contains(&(last - first).as_millis()),
            "{:?}",
            last - first
        );
    }
}

#[test]
fn a_path_without_a_limit_carries_what_is_wanted_at_once() {
    let mut world = World::new(1, LinkConfig::default());
    world.run(30);
    assert_eq!((world.layer, world.changes), (2_500, 1));
    assert!(world.estimate() >= 2_500);
}

#[test]
fn more_than_the_first_estimate_is_found_by_probing() {
    let mut world = World::new(1, LinkConfig::default());
    world.layers = vec![200, 700, 12_000];
    world.run(10);
    assert_eq!(world.layer, 12_000);
}

#[test]
fn a_path_of_500_kbit_settles_and_recovers_when_the_limit_goes() {
    for (seed, buffer) in [(1, 100), (2, 250), (3, 1_000)] {
        let mut world = World::new(seed, limited(500, buffer));
        world.run(10);
        world.mark();
        world.run(30);
        assert_eq!(
            (world.layer, world.changes),
            (200, 0),
            "a stable lower layer"
        );
        assert!(
            (400..=500).contains(&world.mean_estimate()),
            "{}",
            world.mean_estimate()
        );
        assert!(
            world.delay_percentile(95) < Duration::from_millis(80),
            "{:?}",
            world.delay_percentile(95)
        );

        let now = world.now;
        world.down.set_config(now, LinkConfig::default());
        world.run(10);
        assert_eq!(world.layer, 2_500);
        assert!(world.estimate() >= 2_000, "{}", world.estimate());
    }
}

#[test]
fn f08_a_drop_of_the_bandwidth_is_followed_and_its_end_is_found() {
    for (seed, buffer) in [(1, 100), (2, 2_000)] {
        let mut world = World::new(seed, limited(5_000, 100));
        world.layers = vec![150, 200, 700, 2_500, 4_000];
        world.run(15);
        assert!(world.layer >= 2_500);
        let before = world.layer;

        let narrow = limited(300, buffer);
        world.down.set_config(world.now, narrow);
        world.mark();
        world.run(2);
        assert!(
            world.layer <= 200,
            "video follows within 2 s: {}",
            world.layer
        );
        world.run(28);
        if buffer == 100 {
            assert!(
                world.delay_percentile(95) < Duration::from_millis(250),
                "{:?}",
                world.delay_percentile(95)
            );
        }

        world.down.set_config(world.now, limited(5_000, 100));
        world.run(10);
        assert!(
            world.estimate() * 10 >= before * 8,
            "{} of {before}",
            world.estimate()
        );
    }
}

#[test]
fn random_loss_on_an_ample_path_does_not_starve_the_stream() {
    for (seed, loss) in [(1, 0.05), (2, 0.05), (3, 0.15)] {
        let mut world = World::new(
            seed,
            LinkConfig {
                loss,
                ..LinkConfig::default()
            },
        );
        world.run(60);
        let lowest = world.estimates.iter().min().copied().unwrap_or(0);
        assert!(lowest >= 1_000, "seed {seed}: {lowest}");
        let measured = f64::from(world.estimator.loss(world.now));
        assert!((measured - loss).abs() < 0.02, "{measured}");
    }
}

#[test]
fn jitter_and_reordering_are_no_congestion() {
    let config = LinkConfig {
        jitter: Duration::from_millis(15),
        reorder: 0.01,
        ..LinkConfig::default()
    };
    let mut world = World::new(5, config);
    world.run(30);
    assert_eq!(world.layer, 2_500);
}

#[test]
fn without_feedback_the_estimate_shrinks_while_something_is_sent() {
    let mut world = World::new(1, LinkConfig::default());
    world.run(5);
    let before = world.estimate();
    world.answers = false;
    world.run(2);
    assert!(world.estimate() >= before, "two seconds are nothing");
    world.run(28);
    assert!(world.estimate() < before / 10, "{}", world.estimate());
    world.answers = true;
    world.run(15);
    assert_eq!(world.layer, 2_500);

    // Silence because nothing is sent is no news.
    world.layers = vec![0];
    world.run(2);
    let before = world.estimate();
    world.run(60);
    assert_eq!(world.estimate(), before);
}

#[test]
fn memory_does_not_grow_in_steady_state() {
    let mut world = World::new(1, limited(3_000, 250));
    world.run(30);
    let (_, capacity) = world.estimator.footprint();
    world.run(60);
    let (packets, later) = world.estimator.footprint();
    assert_eq!(capacity, later);
    assert!(packets < 500, "{packets}");
}

#[test]
fn the_receivers_own_estimate_is_taken_and_bounded_by_loss() {
    let mut estimator = SendSideEstimator::new(EstimatorConfig::default(), Mechanism::Remb);
    let now = Time::from_millis(1_000);
    assert_eq!(estimator.estimate(), None);
    estimator.on_remb(now, Bitrate::kbps(900));
    assert_eq!(estimator.estimate(), Some(Bitrate::kbps(900)));
    estimator.on_loss_report(now, 100, 20);
    assert_eq!(estimator.estimate(), Some(Bitrate::kbps(810)));
    estimator.on_remb(now, Bitrate::INFINITE);
    assert_eq!(estimator.estimate(), Some(Bitrate::kbps(810)));
    estimator.on_remb(now, Bitrate::ZERO);
    assert_eq!(estimator.estimate(), Some(EstimatorConfig::default().min));
}

#[test]
fn t47_feedback_about_packets_that_were_never_sent_changes_nothing() {
    let mut estimator = estimator();
    let now = Time::from_millis(1_000);
    let before = estimator.estimate();
    let forged = feedback(1, 40_000, 0, 0);
    let forged = Feedback::parse(&forged).expect("well formed");
    for _ in 0..1_000 {
        estimator.on_feedback(now, &forged);
    }
    for _ in 0..100 {
        estimator.on_sent(now, 1_000, None);
    }
    // More statuses than a receiver has reason to send: not even looked at.
    estimator.on_feedback(now, &forged);
    assert_eq!(estimator.acked_rate(), None);
    assert_eq!(estimator.estimate(), before);
}

#[test]
fn t47_forged_arrivals_never_leave_the_bounds() {
    let config = EstimatorConfig::default();
    let mut world = World::new(1, limited(1_000, 250));
    let mut random = Random::from_seed(47);
    for step in 0..60_000u32 {
        world.step();
        if step % 50 == 0 {
            let base = random.u32() as u16;
            let forged = feedback(
                base,
                random.below(300) as u16,
                random.u32() as i32 >> 8,
                random.u32() as u8,
            );
            world
                .estimator
                .on_feedback(world.now, &Feedback::parse(&forged).expect("well formed"));
            world
                .estimator
                .on_rtt(Duration::from_micros(random.u64() >> random.below(64)));
        }
        let estimate = world.estimator.estimate().expect("always known");
        assert!((config.min..=config.max).contains(&estimate), "{estimate}");
    }
}

proptest! {
    /// T47: whatever is fed in, the estimate is within its bounds, nothing panics, and no timer spins.
    #[test]
    fn t47_any_input_keeps_the_estimate_within_its_bounds(
        inputs in proptest::collection::vec((0u8..8, any::<u32>(), 0u64..3_000_000), 1..200),
        garbage in proptest::collection::vec(any::<u8>(), 8..120),
        remb: bool,
    ) {
        let config = EstimatorConfig::default();
        let mechanism = if remb { Mechanism::Remb } else { Mechanism::TransportCc };
        let mut estimator = SendSideEstimator::new(config, mechanism);
        let mut now = Time::ZERO;
        for (kind, value, wait) in inputs {
            match kind {
                0 | 1 => {
                    for _ in 0..value % 50 {
                        estimator.on_sent(now, value as usize % 70_000, None);
                    }
                }
                2 => {
                    let mut fci = garbage.clone();
                    fci[..2].copy_from_slice(&(value as u16 % 512).to_be_bytes());
                    if let Ok(feedback) = Feedback::parse(&fci) {
                        estimator.on_feedback(now, &feedback);
                    }
                }
                3 => {
                    let reference = (value as i32) << (value % 24) >> 8;
                    let fci = feedback(value as u16 % 256, value as u16 % 200, reference, value as u8);
                    if let Ok(feedback) = Feedback::parse(&fci) {
                        estimator.on_feedback(now, &feedback);
                    }
                }
                4 => estimator.on_loss_report(now, value >> 16, value & 0xFFFF),
                5 => estimator.on_rtt(Duration::from_micros(u64::from(value) << (value % 30))),
                6 => estimator.on_remb(now, Bitrate::bps(u64::from(value) << (value % 33))),
                _ => {
                    let ideal = Bitrate::kbps(u64::from(value) << (value % 30));
                    estimator.set_demand(now, Bitrate::kbps(u64::from(value % 9_000)), ideal, value % 2 == 0);
                }
            }
            now += Duration::from_micros(wait);
            estimator.handle_timeout(now);
            if let Some(burst) = estimator.poll_probe(now) {
                prop_assert!(burst.bytes > 0 && burst.bytes < 100_000);
            }
            prop_assert!(estimator.poll_padding(now).is_none_or(|bytes| bytes < 100_000));
            prop_assert!(estimator.poll_timeout().is_none_or(|at| at > now));
            prop_assert!(estimator.estimate().is_none_or(|rate| (config.min..=config.max).contains(&rate)));
        }
    }
}
