//! The estimator: ties delay, loss and probes together.

use std::time::Duration;

use super::acked::Throughput;
use super::app_limited::AppLimited;
use super::delay::{DelayDetector, QUEUE_MICROS, Usage};
use super::history::{Acknowledged, History, State};
use super::loss::{Known, LossBased};
use super::probe::{ClusterId, ProbeBurst, ProbeResult, Prober};
use super::rate_control::RateControl;
use super::reported_loss::ReportedLoss;
use crate::config::EstimatorConfig;
use crate::limits::SENT_HISTORY;
use crate::prefetch::prefetch;
use crate::receive::LossWindow;
use crate::time::Time;
use crate::units::Bitrate;
use crate::wire::twcc::{Feedback, REFERENCE_MICROS};

/// The first packet of at least this size starts the first probe.
const START_SIZE: usize = 200;
/// A probe whose result is above this share of its rate is followed by one at twice its result.
const FURTHER: f64 = 0.7;
/// How long a result is waited for.
const RESULT_TIMEOUT: Duration = Duration::from_secs(1);
/// Probing goes to this multiple of what is wanted, so that a result with margins is still enough.
const DEMAND_MARGIN: f64 = 1.25;
/// While more is wanted than the estimate allows, a probe is sent this often. libwebrtc: 5 s in an
/// application limit; shorter, so that a path that recovers is used within ten seconds (F08).
const DEMAND_INTERVAL: Duration = Duration::from_secs(3);
/// A slower probe, in bits/s, would take long to find a path that recovered; this one is five packets of padding.
const LEAST_PROBE: f64 = 300_000.0;
/// Demand that rises is probed for at once, but not more often than this.
const RISE_INTERVAL: Duration = Duration::from_secs(1);
/// No probes so shortly after overuse.
const QUIET_AFTER_OVERUSE: Duration = Duration::from_millis(500);
/// Overuse this long after the last may be due to a burst, which drains …
const BURST_INTERVAL: Duration = Duration::from_secs(2);
/// … within this time.
const BURST: Duration = Duration::from_secs(1);
/// A drop below this share of the estimate, in an application limit, may be an error of measurement …
const DROP: f64 = 0.66;
/// … and is probed at this share of the old estimate …
const DROP_PROBE: f64 = 0.85;
/// … not more often than this …
const DROP_INTERVAL: Duration = Duration::from_secs(5);
/// … nor when the limit ended longer ago than this.
const DROP_LIMITED: Duration = Duration::from_secs(3);
/// Without any feedback for this long …
const SILENCE: Duration = Duration::from_secs(3);
/// … the estimate shrinks by this factor …
const SILENCE_FACTOR: f64 = 0.8;
/// … in this interval.
const SILENCE_INTERVAL: Duration = Duration::from_secs(1);
/// Padding is sent in this interval (`videobridge.cc.padding-period`).
const PADDING_INTERVAL: Duration = Duration::from_millis(15);
/// A burst takes the room of padding for this long at most.
const PADDING_MEMORY: Duration = Duration::from_millis(500);
/// Round-trip time while it is unknown.
const DEFAULT_RTT: Duration = Duration::from_millis(200);
/// A round-trip time beyond this is clamped.
const MAX_RTT: Duration = Duration::from_secs(7);
/// The receiver's clock may differ from ours by this much between two feedbacks.
const MAX_CLOCK_JUMP: i64 = 10_000_000;
/// Statuses that a receiver may report for each packet that it is sent. One is normal; reordering
/// repeats some (T47).
const STATUSES_PER_PACKET: usize = 8;

/// What the receiver reports about what it is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mechanism {
    /// Arrival times of all packets (`transport-cc`): everything here applies.
    TransportCc,
    /// Its own estimate (`goog-remb`): this is taken, bounded by reported loss.
    Remb,
}

/// Estimate of the bandwidth towards one receiver.
#[derive(Debug)]
pub struct SendSideEstimator {
    config: EstimatorConfig,
    mechanism: Mechanism,
    history: History,
    delay: DelayDetector,
    throughput: Throughput,
    rate_control: RateControl,
    loss_based: LossBased,
    reported_loss: ReportedLoss,
    app_limited: AppLimited,
    prober: Prober,
    loss: LossWindow,
    /// Result of all parts, bits/s.
    target: f64,
    remb: Option<f64>,
    rtt: Option<Duration>,

    allocated: f64,
    ideal: f64,
    held: bool,
    padding_at: Option<Time>,
    /// Bytes that could be sent besides what was; negative after a burst.
    padding_due: f64,

    started: bool,
    /// Rate of the last probe, while its result may lead to another.
    probing: Option<(f64, Time)>,
    last_probe: Option<Time>,
    last_overuse: Option<Time>,
    /// When the present series of overuses began.
    burst_since: Time,
    last_drop_probe: Option<Time>,

    /// Packets are sent and nothing has been heard since.
    silent_since: Option<Time>,
    last_sent: Time,
    /// Statuses that feedback may still have.
    credit: usize,
    /// Reference time of the last feedback: as received, and unwrapped in µs; and when it came.
    reference: Option<(i32, i64, Time)>,
    /// Scratch space of one feedback.
    acknowledged: Vec<Acknowledged>,
}

impl SendSideEstimator {
    /// Nothing sent yet.
    pub fn new(config: EstimatorConfig, mechanism: Mechanism) -> SendSideEstimator {
        let bounds = (
            config.min.as_bps() as f64,
            config.max.max(config.min).as_bps() as f64,
        );
        let initial = (config.initial.as_bps() as f64).clamp(bounds.0, bounds.1);
        SendSideEstimator {
            config,
            mechanism,
            history: History::new(),
            delay: DelayDetector::default(),
            throughput: Throughput::default(),
            rate_control: RateControl::new(initial, bounds),
            loss_based: LossBased::new(bounds),
            reported_loss: ReportedLoss::default(),
            app_limited: AppLimited::default(),
            prober: Prober::default(),
            loss: LossWindow::default(),
            target: initial,
            remb: None,
            rtt: None,
            allocated: 0.0,
            ideal: 0.0,
            held: false,
            padding_at: None,
            padding_due: 0.0,
            started: false,
            probing: None,
            last_probe: None,
            last_overuse: None,
            burst_since: Time::ZERO,
            last_drop_probe: None,
            silent_since: None,
            last_sent: Time::ZERO,
            credit: 0,
            reference: None,
            acknowledged: Vec::new(),
        }
    }

    /// The transport-wide sequence number of a packet that is sent now, beginning with 1. `size` is that of
    /// the datagram, in bytes; `probe` the cluster of [`ProbeBurst`] that it is sent for.
    ///
    /// To be called in the order of sending, in the same step as the sending itself: feedback about a
    /// packet that is not known here yet is lost.
    pub fn on_sent(&mut self, now: Time, size: usize, probe: Option<ClusterId>) -> u16 {
        let number = self.number(now, size, probe);
        if !self.started && size >= START_SIZE && self.mechanism == Mechanism::TransportCc {
            self.started = true;
            // JVB sends two of three and six times as much (case 119), 42 KB with its default: more than a path of 300 kbit/s carries
            // in a second. If this one gets through, further ones follow at once.
            self.probe(now, self.config.initial.as_bps() as f64);
        }
        number
    }

    /// The same for a packet of audio, before which nothing is probed: there may be no video to probe with.
    pub fn on_audio_sent(&mut self, now: Time, size: usize) -> u16 {
        self.number(now, size, None)
    }

    fn number(&mut self, now: Time, size: usize, probe: Option<ClusterId>) -> u16 {
        self.app_limited.on_sent(now, size, self.target);
        // Media that is sent during a cluster loads the path like padding does. Padding that comes when its
        // cluster is complete belongs to it all the same.
        let cluster = self.prober.on_sent(size).or(probe);
        self.last_sent = now;
        if self.padding_at.is_some() {
            let least = -self.padded_rate() * PADDING_MEMORY.as_secs_f64() / 8.0;
            self.padding_due = (self.padding_due - size as f64).max(least);
        }
        self.silent_since.get_or_insert(now);
        self.credit = (self.credit + STATUSES_PER_PACKET).min(STATUSES_PER_PACKET * SENT_HISTORY);
        self.history
            .push(now, u32::try_from(size).unwrap_or(u32::MAX), cluster) as u16
    }

    /// Asks the processor for what [`SendSideEstimator::on_sent`] needs.
    #[inline]
    pub(crate) fn prefetch(&self) {
        prefetch(&self.history);
        prefetch(&self.app_limited);
        prefetch(&self.prober);
        prefetch(&self.target);
        prefetch(&self.ideal);
        prefetch(&self.silent_since);
        prefetch(&self.credit);
    }

    /// Asks the processor for what [`SendSideEstimator::prefetch`] led to.
    #[inline]
    pub(crate) fn prefetch_more(&self) {
        self.history.prefetch();
    }

    /// Whether media was sent, so that probing begins.
    pub fn has_started(&self) -> bool {
        self.started
    }

    /// Transport-wide feedback of the receiver.
    ///
    /// It is ignored when it is about numbers that were never sent, or about more packets than a receiver
    /// has reason to report (T47). False in the first case.
    pub fn on_feedback(&mut self, now: Time, feedback: &Feedback<'_>) -> bool {
        let Some(first) = self.history.extend(feedback.base_sequence()) else {
            return false;
        };
        let count = usize::from(feedback.status_count());
        if self.mechanism != Mechanism::TransportCc || count == 0 || count > self.credit {
            return true;
        }
        self.credit -= count;
        let clock = self.unwrap_reference(now, feedback.reference_time());

        let mut acknowledged = std::mem::take(&mut self.acknowledged);
        acknowledged.clear();
        let newest = self.history.newest();
        let (mut received, mut lost) = (0, 0);
        for (number, status) in (first..=newest).zip(feedback.packets()) {
            let Some(packet) = self.history.get(number) else {
                continue;
            };
            match (status.arrival, packet.state) {
                (_, State::Received) | (None, State::Lost) => {}
                (None, State::InFlight) => {
                    self.history.set_state(number, State::Lost);
                    self.loss_based.add(packet.sent, packet.size, true);
                    lost += 1;
                }
                (Some(arrival), state) => {
                    self.history.set_state(number, State::Received);
                    if state == State::Lost {
                        self.loss.recovered(now);
                        self.loss_based.recovered(packet.size);
                    } else {
                        self.loss_based.add(packet.sent, packet.size, false);
                        received += 1;
                    }
                    acknowledged.push(Acknowledged {
                        number,
                        sent: packet.sent,
                        arrival: clock.saturating_add(arrival),
                        size: packet.size,
                        cluster: packet.cluster,
                    });
                }
            }
        }
        self.loss.received(now, received);
        self.loss.lost(now, lost);
        if received + lost > 0 {
            self.silent_since = acknowledged
                .last()
                .filter(|last| last.number < newest)
                .map(|_| now);
        }
        acknowledged.sort_unstable_by_key(|packet| (packet.arrival, packet.number));
        self.on_acknowledged(now, &acknowledged);
        self.acknowledged = acknowledged;

        self.loss_based.update(Known {
            delay_based: self.rate_control.rate(),
            acked: self.throughput.rate(),
            app_limited: self.app_limited.check(now, self.target),
            queued: self
                .last_overuse
                .is_some_and(|last| now - last < BURST_INTERVAL),
        });
        self.combine(now);
        true
    }

    /// The receiver reported, in a report block, that of `expected` further packets `lost` did not arrive. With transport-wide
    /// feedback loss is known from there.
    pub fn on_loss_report(&mut self, now: Time, expected: u32, lost: u32) {
        if self.mechanism == Mechanism::Remb {
            let rtt = self.rtt.unwrap_or(DEFAULT_RTT);
            self.reported_loss
                .on_report(now, (expected, lost), self.target, rtt);
            self.combine(now);
        }
    }

    /// The round-trip time to the receiver.
    pub fn on_rtt(&mut self, rtt: Duration) {
        let rtt = rtt.min(MAX_RTT);
        self.rtt = Some(rtt);
        self.rate_control.set_rtt(rtt);
    }

    /// The receiver's own estimate.
    pub fn on_remb(&mut self, now: Time, estimate: Bitrate) {
        if self.mechanism == Mechanism::Remb {
            self.remb = Some(estimate.as_bps() as f64);
            self.combine(now);
        }
    }

    /// What the receiver reports.
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// What may be sent; `None` while nothing is known ([`Mechanism::Remb`] before the first one).
    pub fn estimate(&self) -> Option<Bitrate> {
        let known = self.mechanism == Mechanism::TransportCc || self.remb.is_some();
        known.then(|| {
            Bitrate::bps(self.target as u64)
                .clamp(self.config.min, self.config.max.max(self.config.min))
        })
    }

    /// The rate for [`super::Pacer`]: `factor` times the estimate, or what is allocated where that is more (libwebrtc:
    /// `GoogCcNetworkController::GetPacingRates`).
    pub fn pacing_rate(&self, factor: f64) -> Bitrate {
        Bitrate::bps((self.target.max(self.allocated) * factor) as u64)
    }

    /// The rate of what is sent by allocation, and of what would be sent without a limit. As long as the
    /// second is above the estimate, padding and probes look for more. `held` tells that the first is about to rise: padding takes
    /// the place of what is to come, so that the estimate is not out of date when it comes.
    pub fn set_demand(&mut self, now: Time, allocated: Bitrate, ideal: Bitrate, held: bool) {
        self.held = held;
        let max = self.config.max.as_bps() as f64;
        let before = self.ideal;
        self.allocated = (allocated.as_bps() as f64).min(max);
        self.ideal = (ideal.as_bps() as f64).min(max);
        let rested = self
            .last_probe
            .is_none_or(|last| now - last >= RISE_INTERVAL);
        if self.ideal > before && rested {
            self.probe_for_demand(now);
        }
        self.schedule_padding(now);
    }

    /// Bytes to send now for a probe cluster, if any. To be called until it returns `None`; what is sent
    /// is to be passed to [`SendSideEstimator::on_sent`] with the cluster's id.
    pub fn poll_probe(&mut self, now: Time) -> Option<ProbeBurst> {
        self.prober.poll(now)
    }

    /// Bytes of padding to send now, if any, to fill the gap between what is sent (all of it: media, repairs and padding) and the
    /// estimate while more than the estimate is wanted (media-plane §2.23). More than that, by a part of a packet, is made up for later.
    pub fn poll_padding(&mut self, now: Time) -> Option<usize> {
        let at = self.padding_at.filter(|at| *at <= now)?;
        let wanted = self.padding_rate() > 0.0;
        self.padding_at = wanted.then(|| now + PADDING_INTERVAL);
        // A late call makes up for one interval, not for a burst.
        let elapsed = (now - at + PADDING_INTERVAL).min(2 * PADDING_INTERVAL);
        let bytes = |time: Duration| self.padded_rate() * time.as_secs_f64() / 8.0;
        self.padding_due = (self.padding_due + bytes(elapsed)).min(bytes(2 * PADDING_INTERVAL));
        (wanted && self.padding_due >= 1.0 && self.prober.is_idle())
            .then_some(self.padding_due as usize)
    }

    /// Does what is due by time alone.
    pub fn handle_timeout(&mut self, now: Time) {
        self.prober.expire(now);
        if let Some(since) = self.silent_since
            && now - since >= SILENCE
            && self.mechanism == Mechanism::TransportCc
        {
            if now - self.last_sent < SILENCE_INTERVAL {
                self.silent_since = Some(now - (SILENCE - SILENCE_INTERVAL));
                self.rate_control
                    .set_rate(now, self.target * SILENCE_FACTOR);
            } else {
                // Nothing is sent, so nothing can be heard.
                self.silent_since = None;
            }
            self.combine(now);
        }
        if self.demand_probe_at().is_some_and(|at| at <= now) {
            self.probe_for_demand(now);
        }
    }

    /// When the next of [`SendSideEstimator::handle_timeout`], [`SendSideEstimator::poll_probe`] and
    /// [`SendSideEstimator::poll_padding`] has something to do.
    pub fn poll_timeout(&self) -> Option<Time> {
        let silence = self
            .silent_since
            .filter(|_| self.mechanism == Mechanism::TransportCc);
        let silence = silence.map(|since| since + SILENCE);
        [
            self.prober.poll_timeout(),
            self.padding_at,
            self.demand_probe_at(),
            silence,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The rate at which packets arrive, by the receiver's feedback.
    pub fn acked_rate(&self) -> Option<Bitrate> {
        self.throughput.rate().map(|rate| Bitrate::bps(rate as u64))
    }

    /// Share of the packets of the last minute that did not arrive, 0 to 1.
    pub fn loss(&self, now: Time) -> f32 {
        self.loss.fraction(now)
    }

    /// Entries and capacity of everything that grows, for tests of bounds.
    #[cfg(test)]
    pub(super) fn footprint(&self) -> (usize, usize) {
        (
            self.history.len(),
            self.history.capacity() + self.acknowledged.capacity(),
        )
    }

    /// Goes through packets that arrived, in order of arrival.
    fn on_acknowledged(&mut self, now: Time, acknowledged: &[Acknowledged]) {
        let mut probe = None;
        let mut overuse = false;
        for packet in acknowledged {
            self.throughput.add(packet);
            self.delay.add(now, packet);
            overuse |= self.delay.usage() == Usage::Over;
            probe = self.prober.on_acknowledged(packet).or(probe);
        }
        if acknowledged.is_empty() {
            return;
        }
        let acked = self.throughput.rate();
        let queue = self.delay.queue(now, acknowledged);
        let usage = match self.delay.usage() {
            _ if overuse && queue > QUEUE_MICROS => Usage::Over,
            Usage::Over => Usage::Normal,
            usage => usage,
        };
        match (usage, probe) {
            (Usage::Over, _) => {
                let rested = self
                    .last_overuse
                    .is_none_or(|last| now - last >= BURST_INTERVAL);
                if rested {
                    self.burst_since = now;
                }
                // One that lasts is none.
                let burst = now - self.burst_since < BURST;
                self.last_overuse = Some(now);
                self.probing = None;
                let recent = self.throughput.recent_rate();
                let sustained = self.throughput.sustained_rate().filter(|_| burst);
                self.rate_control
                    .on_overuse(now, recent, sustained.unwrap_or(0.0));
            }
            (_, Some(result)) => self.on_probe_result(now, result, acked),
            _ => {
                let limited = self.app_limited.check(now, self.target);
                self.rate_control.update(now, usage, acked, limited);
            }
        }
    }

    fn on_probe_result(&mut self, now: Time, result: ProbeResult, acked: Option<f64>) {
        // What arrives is the least that the path carries, whatever a short burst said.
        let least = acked.map_or(0.0, |acked| acked.min(self.target) * DROP_PROBE);
        // One that got through as it was sent says nothing against what is beyond.
        let known = if result.filled { 0.0 } else { self.target };
        let result = result.rate.max(least).max(known);
        self.rate_control.on_probe(now, result);
        self.loss_based.on_probe(result);
        if let Some((rate, _)) = self
            .probing
            .filter(|(_, sent)| now - *sent < RESULT_TIMEOUT)
            && result > rate * FURTHER
        {
            self.probing = None;
            // Another may still be on its way.
            if self.prober.is_idle() && self.wants_more(result) {
                self.probe(now, self.capped(2.0 * result));
            }
        }
    }

    /// Brings the parts together.
    fn combine(&mut self, now: Time) {
        let before = self.target;
        let allowed = match self.mechanism {
            Mechanism::TransportCc => self.rate_control.rate(),
            Mechanism::Remb => self.remb.unwrap_or(self.target),
        };
        self.reported_loss.release(allowed);
        let by_loss = self.loss_based.bound().or(self.reported_loss.bound());
        let bounded = by_loss.map_or(allowed, |bound| bound.min(allowed));
        let (min, max) = (
            self.config.min.as_bps() as f64,
            self.config.max.as_bps() as f64,
        );
        self.target = bounded.min(max).max(min);
        if self.target < before * DROP {
            self.on_drop(now, before);
        }
        self.schedule_padding(now);
    }

    fn schedule_padding(&mut self, now: Time) {
        if self.padding_rate() > 0.0 {
            self.padding_at.get_or_insert(now + PADDING_INTERVAL);
        } else {
            self.padding_at = None;
            self.padding_due = 0.0;
        }
    }

    /// A large drop while little was sent may rest on too few packets.
    fn on_drop(&mut self, now: Time, before: f64) {
        let limited = self.app_limited.check(now, self.target);
        let just_ended = self
            .app_limited
            .ended()
            .is_some_and(|ended| now - ended < DROP_LIMITED);
        let rested = self
            .last_drop_probe
            .is_none_or(|last| now - last >= DROP_INTERVAL);
        if (limited || just_ended) && rested && self.mechanism == Mechanism::TransportCc {
            self.last_drop_probe = Some(now);
            self.probe(now, before * DROP_PROBE);
        }
    }

    fn wants_more(&self, than: f64) -> bool {
        self.ideal > than
    }

    fn capped(&self, rate: f64) -> f64 {
        rate.min(self.ideal * DEMAND_MARGIN)
            .min(self.config.max.as_bps() as f64)
    }

    fn probe_for_demand(&mut self, now: Time) {
        let quiet = self
            .last_overuse
            .is_none_or(|last| now - last >= QUIET_AFTER_OVERUSE);
        if self.started && self.wants_more(self.target) && self.prober.is_idle() {
            if quiet && !self.loss_based.is_high() {
                self.probe(now, self.capped((2.0 * self.target).max(LEAST_PROBE)));
            } else {
                // Not now; the next turn comes after the interval.
                self.last_probe = Some(now);
            }
        }
    }

    /// When a probe towards what is wanted is due.
    fn demand_probe_at(&self) -> Option<Time> {
        let wanted = self.started && self.wants_more(self.target) && self.prober.is_idle();
        wanted.then(|| {
            self.last_probe
                .map_or(Time::ZERO, |last| last + DEMAND_INTERVAL)
        })
    }

    fn probe(&mut self, now: Time, rate: f64) {
        self.prober.request(now, rate);
        self.last_probe = Some(now);
        self.probing = Some((rate, now));
    }

    /// What is sent with padding, bits/s.
    fn padded_rate(&self) -> f64 {
        self.target.min(self.ideal)
    }

    fn padding_rate(&self) -> f64 {
        let fits = self.ideal <= self.target && !self.held;
        if self.mechanism != Mechanism::TransportCc || fits {
            return 0.0;
        }
        (self.ideal - self.allocated)
            .min(self.target - self.allocated)
            .max(0.0)
    }

    /// µs to add to the arrival times of a feedback, whose reference time wraps after 24 bits. Starts
    /// again if the receiver's clock jumps.
    fn unwrap_reference(&mut self, now: Time, raw: i32) -> i64 {
        let raw_micros = i64::from(raw) * REFERENCE_MICROS;
        let unwrapped = match self.reference {
            None => raw_micros,
            Some((last_raw, last, at)) => {
                let ticks = (raw.wrapping_sub(last_raw) << 8) >> 8;
                let elapsed = i64::from(ticks) * REFERENCE_MICROS;
                if (elapsed - (now - at).as_micros() as i64).abs() <= MAX_CLOCK_JUMP {
                    last.saturating_add(elapsed)
                } else {
                    self.delay.reset();
                    self.throughput.clear();
                    raw_micros
                }
            }
        };
        self.reference = Some((raw, unwrapped, now));
        unwrapped - raw_micros
    }
}
