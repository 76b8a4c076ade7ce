//! The rate that loss allows (libwebrtc: `LossBasedBweV2`, constants of M138).
//!
//! A path is described by two numbers: its *inherent loss*, which hits a share of the packets whatever is sent, and its
//! *bandwidth*, above which it drops the rest. What was sent and lost in the last seconds is more or less likely with such a pair.
//! With each observation a few bandwidths are compared: for each, one step of Newton's method takes the inherent loss towards what
//! is most likely with it, and the best by likelihood and a slight preference for higher rates becomes the estimate. Where loss is
//! high all the time the preference is reversed.
//!
//! So random loss is told from a full queue: the first does not depend on the rate, the second does. What arrives bounds the estimate
//! from below, and after a decrease it is held, then grows by steps.

use std::time::Duration;

use super::path_loss::PathLoss;
use crate::time::Time;

/// Observations that are kept, one for each quarter of a second at least.
const WINDOW: usize = 15;
const MIN_OBSERVATION: Duration = Duration::from_millis(250);
/// Nothing is said before so many.
const MIN_OBSERVATIONS: usize = 3;
/// An observation counts by this share of the one after it.
const TEMPORAL_WEIGHT: f64 = 0.9;

/// Bandwidths to try, as shares of the estimate; also what arrives, and what the delay allows.
const FACTORS: [f64; 3] = [1.02, 1.0, 0.95];
const CANDIDATES: usize = FACTORS.len() + 2;
/// A step of Newton's method goes this share of the way.
const NEWTON_STEP: f64 = 0.75;

const INITIAL_INHERENT: f64 = 0.01;
const MIN_INHERENT: f64 = 1e-3;
/// Inherent loss may be this …
const INHERENT_OFFSET: f64 = 0.05;
/// … and, at low rates, more: this by the rate in kbit/s.
const INHERENT_BALANCE: f64 = 100.0;
/// The same for the bound that mean loss alone puts on the rate.
const UPPER_OFFSET: f64 = 0.05;
const UPPER_BALANCE: f64 = 100.0;

/// Preference for higher rates: by kbit/s, and by their logarithm.
const BIAS: f64 = 0.000_2;
const LOG_BIAS: f64 = 0.02;
/// It turns round at this loss …
const BIAS_THRESHOLD: f64 = 0.2;
/// … within about this much.
const BIAS_SMOOTHING: f64 = 0.002;

/// The worst and the best observation do not count in mean loss, unless more than this many times the usual was sent in the worst.
const MEDIAN_FACTOR: f64 = 2.0;
/// The smallest number of observations of which the extremes are left out.
const MIN_TRIMMED: usize = 4;

/// In loss the estimate may exceed what arrives by this factor …
const RAMP_UP: f64 = 1.5;
/// … or by this one, if what arrives is less than [`RAMP_UP_THRESHOLD`] times the rate that is held.
const RAMP_UP_IN_HOLD: f64 = 1.2;
const RAMP_UP_THRESHOLD: f64 = 1.3;
/// It grows by this factor at most in [`INCREASE_WINDOW`].
const MAX_INCREASE: f64 = 1.3;
const INCREASE_WINDOW: Duration = Duration::from_millis(300);
/// No growth for this long after a decrease; twice as long after each further one.
const HOLD: Duration = Duration::from_millis(300);
const MAX_HOLD: Duration = Duration::from_secs(60);
/// Loss is that of the path if there is no more than this beyond.
const LOW: f64 = 0.02;
/// With more loss than this, nothing is probed.
const HIGH: f64 = 0.1;
/// A rate is tried for this long before not rising any more is taken for a limit.
const TRIAL: Duration = Duration::from_secs(2);

/// What the loss says about the estimate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum LossState {
    /// Nothing: the delay decides.
    #[default]
    Free,
    /// It limits, and the limit rises.
    Increasing,
    /// It limits.
    Decreasing,
}

/// What was sent in some time. Sizes in kB, rates in kbit/s.
#[derive(Clone, Copy, Default, Debug)]
struct Observation {
    size: f64,
    lost: f64,
    rate: f64,
}

impl Observation {
    fn loss(&self) -> f64 {
        match self.size > 0.0 {
            true => self.lost / self.size,
            false => 0.0,
        }
    }
}

/// The last [`WINDOW`] of them.
#[derive(Default, Debug)]
struct Observations {
    ring: [Observation; WINDOW],
    count: usize,
}

impl Observations {
    fn push(&mut self, observation: Observation) {
        self.ring[self.count % WINDOW] = observation;
        self.count += 1;
    }

    /// With their weights, the newest first.
    fn iter(&self) -> impl Iterator<Item = (f64, &Observation)> {
        let mut weight = 1.0 / TEMPORAL_WEIGHT;
        (1..=self.count.min(WINDOW)).map(move |age| {
            weight *= TEMPORAL_WEIGHT;
            (weight, &self.ring[(self.count - age) % WINDOW])
        })
    }

    fn median_rate(&self) -> f64 {
        let mut rates = [0.0; WINDOW];
        let mut count = 0;
        for (_, observation) in self.iter().filter(|(_, it)| it.rate > 0.0) {
            rates[count] = observation.rate;
            count += 1;
        }
        let rates = &mut rates[..count];
        rates.sort_unstable_by(f64::total_cmp);
        match (rates.get(count / 2), count % 2) {
            (None, _) => 0.0,
            (Some(middle), 1) => *middle,
            (Some(middle), _) => (rates[count / 2 - 1] + middle) / 2.0,
        }
    }

    /// Mean loss without the extremes.
    fn mean_loss(&self) -> f64 {
        let (mut size, mut lost) = (0.0, 0.0);
        let mut best: Option<(f64, &Observation)> = None;
        let mut worst: Option<(f64, &Observation)> = None;
        for (weight, observation) in self.iter() {
            size += weight * observation.size;
            lost += weight * observation.lost;
            let loss = observation.loss();
            if worst.is_none_or(|(_, worst)| loss > worst.loss()) {
                worst = Some((weight, observation));
            }
            if best.is_none_or(|(_, best)| loss < best.loss()) {
                best = Some((weight, observation));
            }
        }
        if let (Some(best), Some(worst)) = (best, worst)
            && self.count >= MIN_TRIMMED
            && self.median_rate() * MEDIAN_FACTOR > worst.1.rate
            && best.1.loss() < worst.1.loss()
        {
            for (weight, extreme) in [best, worst] {
                size -= weight * extreme.size;
                lost -= weight * extreme.lost;
            }
        }
        match size > 1e-9 {
            true => (lost / size).clamp(0.0, 1.0),
            false => 0.0,
        }
    }
}

/// A description of a path.
#[derive(Clone, Copy, Debug)]
struct Model {
    /// kbit/s.
    bandwidth: f64,
    inherent: f64,
}

impl Model {
    /// Probability that a packet is lost when `rate` is sent.
    fn loss_at(&self, rate: f64) -> f64 {
        let beyond = match rate > self.bandwidth {
            true => (rate - self.bandwidth) / rate,
            false => 0.0,
        };
        let loss = self.inherent + (1.0 - self.inherent) * beyond;
        loss.clamp(1e-6, 1.0 - 1e-6)
    }

    /// With an inherent loss that may be true.
    fn feasible(self, path_loss: f64) -> Model {
        let most = path_loss + INHERENT_OFFSET + INHERENT_BALANCE / self.bandwidth.max(1e-3);
        Model {
            inherent: self.inherent.max(MIN_INHERENT).min(most.min(1.0)),
            ..self
        }
    }

    /// With an inherent loss that is more likely.
    fn improved(self, observations: &Observations, path_loss: f64) -> Model {
        let (mut first, mut second) = (0.0, 0.0);
        for (weight, seen) in observations.iter() {
            let loss = self.loss_at(seen.rate);
            let arrived = seen.size - seen.lost;
            first += weight * (seen.lost / loss - arrived / (1.0 - loss));
            second -= weight * (seen.lost / loss.powi(2) + arrived / (1.0 - loss).powi(2));
        }
        let step = NEWTON_STEP * first / second.min(-1e-6);
        Model {
            inherent: self.inherent - step,
            ..self
        }
        .feasible(path_loss)
    }

    /// How well it explains what was seen, with the preference for higher rates.
    fn objective(&self, observations: &Observations, excess_loss: f64) -> f64 {
        let room = BIAS_THRESHOLD - excess_loss;
        let bias = (BIAS * self.bandwidth + LOG_BIAS * self.bandwidth.ln_1p()) * room
            / (BIAS_SMOOTHING + room.abs());
        let of_one = |(weight, seen): (f64, &Observation)| {
            let loss = self.loss_at(seen.rate);
            let arrived = seen.size - seen.lost;
            weight * (seen.lost * loss.ln() + arrived * (1.0 - loss).ln() + bias * seen.size)
        };
        observations.iter().map(of_one).sum()
    }
}

/// What else is known with an update, in bits/s.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// What the delay allows.
    pub(super) delay_based: f64,
    /// What arrives.
    pub(super) acked: Option<f64>,
    /// Too little is sent for what arrives to say anything about the path.
    pub(super) app_limited: bool,
    /// A queue built up lately.
    pub(super) queued: bool,
}

/// The estimate by loss. Rates within are in kbit/s, those of its interface in bits/s.
#[derive(Debug)]
pub(super) struct LossBased {
    bounds: (f64, f64),
    /// What is complete; and what was sent since.
    observations: Observations,
    partial: Observation,
    /// The newest packet of the last complete observation was sent then; at the beginning, the first of all.
    observed: Option<Time>,
    newest: Time,
    mean_loss: f64,
    path: PathLoss,

    model: Option<Model>,
    state: LossState,
    /// What is allowed.
    result: f64,
    /// No growth before this, beyond `hold_rate`; and how long the next hold will be.
    hold_until: Time,
    hold_rate: f64,
    next_hold: Duration,
    /// Growth is limited to this since then.
    window: Option<(f64, Time)>,
    /// A higher rate is tried since then.
    trial: Option<(f64, Time)>,
}

impl LossBased {
    /// Nothing seen yet; `bounds` of the estimate in bits/s.
    pub(super) fn new(bounds: (f64, f64)) -> LossBased {
        LossBased {
            bounds: (bounds.0 / 1e3, bounds.1 / 1e3),
            observations: Observations::default(),
            partial: Observation::default(),
            observed: None,
            newest: Time::ZERO,
            mean_loss: 0.0,
            path: PathLoss::default(),
            model: None,
            state: LossState::Free,
            result: bounds.1 / 1e3,
            hold_until: Time::ZERO,
            hold_rate: f64::INFINITY,
            next_hold: HOLD,
            window: None,
            trial: None,
        }
    }

    /// A packet of `size` bytes that was reported for the first time.
    pub(super) fn add(&mut self, sent: Time, size: u32, lost: bool) {
        let size = f64::from(size) / 1e3;
        self.partial.size += size;
        if lost {
            self.partial.lost += size;
        }
        self.observed.get_or_insert(sent);
        self.newest = self.newest.max(sent);
    }

    /// A packet that was reported as lost arrived after all.
    pub(super) fn recovered(&mut self, size: u32) {
        // If its loss is part of an older observation it stays there, as in libwebrtc.
        self.partial.lost = (self.partial.lost - f64::from(size) / 1e3).max(0.0);
    }

    /// A probe showed that the path carries `rate` bits/s: what says less is out of date.
    pub(super) fn on_probe(&mut self, rate: f64) {
        let rate = rate / 1e3;
        if let Some(model) = self.model.as_mut().filter(|model| model.bandwidth < rate) {
            model.bandwidth = rate;
            self.result = self.result.max(rate);
            self.hold_rate = self.hold_rate.max(rate);
            self.window = self.window.map(|(limit, since)| (limit.max(rate), since));
        }
    }

    /// To be called after each feedback.
    pub(super) fn update(&mut self, known: Known) {
        if !self.complete() {
            return;
        }
        if let Some((_, newest)) = self.observations.iter().next() {
            self.path.observe(
                (newest.rate, newest.size, newest.lost),
                self.mean_loss,
                self.mean_loss > UPPER_OFFSET && !known.queued,
            );
        }
        let delay_based = known.delay_based / 1e3;
        let acked = known.acked.map(|acked| acked / 1e3);
        let before = *self.model.get_or_insert_with(|| {
            self.result = delay_based;
            Model {
                bandwidth: delay_based,
                inherent: INITIAL_INHERENT,
            }
        });
        let mut best = self.best_candidate(before, delay_based, acked, known.app_limited);
        if self.mean_loss > best.inherent && !self.is_explained() {
            best.bandwidth = best.bandwidth.min(before.bandwidth);
        }
        if self.state != LossState::Free {
            best.bandwidth = self.careful(before.bandwidth, best.bandwidth, acked);
        }

        let least = acked.unwrap_or(0.0).max(self.bounds.0);
        let bounded = best.bandwidth.min(self.upper_bound()).min(delay_based);
        let bounded = bounded.max(least);
        self.model = Some(match bounded < best.bandwidth {
            true => Model {
                bandwidth: bounded,
                inherent: self.path.loss(),
            },
            false => Model {
                bandwidth: best.bandwidth.max(least),
                ..best
            },
        });
        self.conclude(bounded, delay_based, least);
    }

    /// Completes an observation, if it is long enough.
    fn complete(&mut self) -> bool {
        let Some(observed) = self.observed else {
            return false;
        };
        let duration = self.newest - observed;
        if duration < MIN_OBSERVATION {
            return false;
        }
        self.observed = Some(self.newest);
        let complete = std::mem::take(&mut self.partial);
        self.observations.push(Observation {
            // kB in s are 8 kbit/s.
            rate: complete.size * 8.0 / duration.as_secs_f64(),
            ..complete
        });
        self.mean_loss = self.observations.mean_loss();
        true
    }

    fn best_candidate(
        &self,
        before: Model,
        delay_based: f64,
        acked: Option<f64>,
        app_limited: bool,
    ) -> Model {
        let limit = match self.window {
            Some((limit, _)) if self.state != LossState::Free => limit,
            _ => self.bounds.1,
        };
        let limit = limit.max(before.bandwidth);
        let path_loss = self.path.loss();
        let mut candidates = [None; CANDIDATES];
        for (place, factor) in candidates.iter_mut().zip(FACTORS) {
            *place = Some(factor * before.bandwidth);
        }
        candidates[FACTORS.len()] = acked.filter(|_| !app_limited || self.in_trial());
        candidates[FACTORS.len() + 1] = Some(delay_based).filter(|it| *it > before.bandwidth);
        let (mut best, mut most) = (before, f64::NEG_INFINITY);
        for bandwidth in candidates.into_iter().flatten() {
            let candidate = Model {
                bandwidth: bandwidth.min(limit),
                ..before
            };
            let candidate = candidate.feasible(path_loss);
            let candidate = candidate.improved(&self.observations, path_loss);
            let objective = candidate.objective(&self.observations, self.excess_loss());
            if objective > most {
                (best, most) = (candidate, objective);
            }
        }
        best
    }

    /// What remains of a rise while loss limits.
    fn careful(&self, before: f64, mut bandwidth: f64, acked: Option<f64>) -> f64 {
        if let Some((limit, since)) = self.window
            && since + INCREASE_WINDOW > self.newest
        {
            bandwidth = bandwidth.min(limit);
        }
        let Some(acked) = acked.filter(|_| self.is_rise(before, bandwidth)) else {
            return bandwidth;
        };
        if self.is_explained() {
            return bandwidth;
        }
        let factor = match acked < RAMP_UP_THRESHOLD * self.hold_rate {
            true if self.hold_rate.is_finite() => RAMP_UP_IN_HOLD,
            _ => RAMP_UP,
        };
        let bandwidth = bandwidth.min(factor * acked).max(before);
        match self.state {
            // The least that tells a rise from a standstill: then it is tried.
            LossState::Decreasing if bandwidth == before => before + 1e-3,
            _ => bandwidth,
        }
    }

    fn conclude(&mut self, bounded: f64, delay_based: f64, least: f64) {
        let limits = bounded < delay_based;
        if self.state == LossState::Decreasing && self.hold_until > self.newest && limits {
            self.hold_rate = self.hold_rate.max(least);
            self.result = self.hold_rate.min(bounded);
            return;
        }
        let limits = limits && bounded < self.bounds.1;
        if limits && self.is_rise(self.result, bounded) && self.may_keep_rising(bounded) {
            if self.trial.is_none_or(|(rate, _)| bounded > rate) {
                self.trial = Some((bounded, self.newest));
            }
            self.state = LossState::Increasing;
        } else if limits {
            if self.state != LossState::Decreasing {
                self.hold_until = self.newest + self.next_hold;
                self.hold_rate = bounded;
                self.next_hold = (self.next_hold * 2).min(MAX_HOLD);
            }
            self.trial = None;
            self.state = LossState::Decreasing;
        } else {
            self.hold_until = Time::ZERO;
            self.hold_rate = f64::INFINITY;
            self.next_hold = HOLD;
            self.trial = None;
            self.state = LossState::Free;
        }
        self.result = bounded;
        let over = |(_, since): (f64, Time)| since + INCREASE_WINDOW < self.newest;
        if self.state != LossState::Free && self.window.is_none_or(over) {
            let bandwidth = self.model.map_or(bounded, |model| model.bandwidth);
            self.window = Some(((bandwidth * MAX_INCREASE).max(self.bounds.0), self.newest));
        }
    }

    /// Whether `after` is more than `before`, or as much in a rise, while loss limits.
    fn is_rise(&self, before: f64, after: f64) -> bool {
        match self.state {
            LossState::Free => false,
            LossState::Increasing => before <= after,
            LossState::Decreasing => before < after,
        }
    }

    fn in_trial(&self) -> bool {
        self.trial
            .is_some_and(|(_, since)| since + TRIAL >= self.newest)
    }

    fn may_keep_rising(&self, rate: f64) -> bool {
        self.state != LossState::Increasing
            || self.in_trial()
            || self.trial.is_some_and(|(tried, _)| tried < rate)
    }

    /// What mean loss alone allows.
    fn upper_bound(&self) -> f64 {
        let loss = self.excess_loss();
        match loss > UPPER_OFFSET {
            true => UPPER_BALANCE / (loss - UPPER_OFFSET),
            false => self.bounds.1,
        }
    }

    /// Whether the path loses as ever, and no more.
    fn is_explained(&self) -> bool {
        self.excess_loss() < LOW
    }

    /// Mean loss beyond that of the path.
    fn excess_loss(&self) -> f64 {
        (self.mean_loss - self.path.loss()).max(0.0)
    }

    /// What loss allows, in bits/s; `None` = it puts no limit.
    pub(super) fn bound(&self) -> Option<f64> {
        let limits = self.observations.count >= MIN_OBSERVATIONS && self.state != LossState::Free;
        limits.then_some(self.result * 1e3)
    }

    /// Whether so much is lost that probes would make it worse.
    pub(super) fn is_high(&self) -> bool {
        self.excess_loss() > HIGH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sender that wants `wanted` bits/s, and whose delay allows `delay_based`.
    struct Sender {
        estimate: LossBased,
        now: Time,
        wanted: f64,
        delay_based: f64,
        queued: bool,
        /// What is lost of the next packet.
        owed: f64,
        lowest: f64,
    }

    impl Sender {
        fn new(wanted: f64) -> Sender {
            Sender {
                estimate: LossBased::new((30e3, 20e6)),
                now: Time::from_millis(1_000),
                wanted,
                delay_based: 5e6,
                queued: false,
                owed: 0.0,
                lowest: f64::INFINITY,
            }
        }

        fn allowed(&self) -> f64 {
            self.estimate
                .bound()
                .map_or(self.delay_based, |bound| bound.min(self.delay_based))
        }

        /// Seconds in which `loss` of the rate is lost, with feedback every 50 ms; the estimate at their end.
        fn run(&mut self, seconds: u64, loss: impl Fn(f64) -> f64) -> f64 {
            self.lowest = f64::INFINITY;
            for _ in 0..seconds * 20 {
                let rate = self.allowed().min(self.wanted);
                let share = loss(rate);
                let packets = (rate / 8.0 / 20.0 / 1_000.0).max(1.0) as u64;
                for packet in 0..packets {
                    self.owed += share;
                    let lost = self.owed >= 1.0;
                    self.owed -= f64::from(u8::from(lost));
                    let sent = self.now + Duration::from_micros(packet * 50_000 / packets);
                    self.estimate.add(sent, 1_000, lost);
                }
                self.now += Duration::from_millis(50);
                self.estimate.update(Known {
                    delay_based: self.delay_based,
                    acked: Some(rate * (1.0 - share)),
                    app_limited: self.wanted < 0.5 * self.allowed(),
                    queued: self.queued,
                });
                self.lowest = self.lowest.min(self.allowed());
            }
            self.allowed()
        }
    }

    /// A bottleneck without a queue.
    fn bottleneck(bandwidth: f64) -> impl Fn(f64) -> f64 {
        move |rate| (1.0 - bandwidth / rate).max(0.0)
    }

    #[test]
    fn little_loss_puts_no_bound() {
        let mut sender = Sender::new(3e6);
        sender.run(30, |_| 0.015);
        assert_eq!(sender.estimate.bound(), None);
        assert!(sender.lowest >= 3e6, "{}", sender.lowest);
    }

    #[test]
    fn random_loss_on_a_free_path_is_seen_through() {
        for loss in [0.05, 0.10, 0.15] {
            let mut sender = Sender::new(3e6);
            let estimate = sender.run(30, |_| loss);
            assert!(estimate >= 3e6, "{loss}: {estimate}");
            assert!(sender.lowest >= 0.9e6, "{loss}: {}", sender.lowest);
            sender.run(60, |_| loss);
            assert!(sender.lowest >= 2.5e6, "{loss}: {}", sender.lowest);
        }
    }

    #[test]
    fn a_bottleneck_without_a_queue_is_found_and_so_is_its_end() {
        for bandwidth in [300e3, 1e6] {
            let mut sender = Sender::new(3e6);
            sender.run(10, |_| 0.0);
            let estimate = sender.run(20, bottleneck(bandwidth));
            assert!(
                (0.8..1.3).contains(&(estimate / bandwidth)),
                "{bandwidth}: {estimate}"
            );
            assert!(
                sender.lowest >= 0.7 * bandwidth,
                "{bandwidth}: {} {estimate}",
                sender.lowest
            );
            // The hold has become long; probes would end it sooner.
            let estimate = sender.run(30, |_| 0.0);
            assert!(estimate >= 3e6, "{bandwidth}: {estimate}");
            assert_eq!(sender.estimate.bound(), None);
        }
    }

    #[test]
    fn a_bottleneck_is_found_behind_a_path_that_loses_as_well() {
        let mut sender = Sender::new(3e6);
        sender.run(30, |_| 0.1);
        let full = bottleneck(1e6);
        let estimate = sender.run(30, |rate| 1.0 - 0.9 * (1.0 - full(rate)));
        assert!((0.7e6..1.7e6).contains(&estimate), "{estimate}");
    }

    #[test]
    fn loss_beside_a_queue_is_never_the_paths_own() {
        let mut sender = Sender::new(3e6);
        sender.queued = true;
        sender.run(30, |_| 0.1);
        assert_eq!(sender.estimate.path.loss(), 0.0);
        // libwebrtc's bound: 100 kbit/s by what is lost beyond 5 %.
        let estimate = sender.allowed();
        assert!((1.8e6..2.3e6).contains(&estimate), "{estimate}");
    }

    #[test]
    fn growth_after_loss_goes_by_steps_and_a_probe_ends_them() {
        let mut sender = Sender::new(3e6);
        sender.run(10, bottleneck(500e3));
        let low = sender.allowed();
        let step = sender.run(1, |_| 0.0);
        assert!(step <= low * 1.3f64.powi(4), "{low} {step}");
        sender.run(10, bottleneck(500e3));
        sender.estimate.on_probe(2e6);
        assert_eq!(sender.allowed(), 2e6);
    }

    #[test]
    fn a_packet_that_was_only_late_is_not_lost() {
        let mut estimate = LossBased::new((30e3, 20e6));
        for at in 0..1_000 {
            let lost = at % 4 == 0;
            estimate.add(Time::from_millis(at * 10), 1_000, lost);
            if lost {
                estimate.recovered(1_000);
            }
            estimate.update(Known {
                delay_based: 2e6,
                acked: Some(800e3),
                app_limited: false,
                queued: false,
            });
        }
        assert_eq!((estimate.bound(), estimate.is_high()), (None, false));
    }

    #[test]
    fn extremes_stay_out_of_mean_loss_unless_far_more_was_sent() {
        let observations = |rate| {
            let mut observations = Observations::default();
            for place in 0..WINDOW {
                let burst = place == WINDOW - 2;
                observations.push(Observation {
                    size: 30.0,
                    lost: if burst { 15.0 } else { 0.3 },
                    rate: if burst { rate } else { 1_000.0 },
                });
            }
            observations.mean_loss()
        };
        assert!(observations(1_000.0) < 0.011, "{}", observations(1_000.0));
        assert!(observations(2_000.0) > 0.06, "{}", observations(2_000.0));
    }
}
