//! Figures of an endpoint's media over time.

use std::collections::VecDeque;
use std::time::Duration;

use crate::config::TimelineConfig;
use crate::time::Time;
use crate::units::Bitrate;

/// A connection on which nothing is amiss gets a sample this often.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// A change of a rate by more than this share gets one at once.
const RATE_CHANGE: f64 = 0.25;
/// Loss from here on gets one at once.
const LOSS: f32 = 0.01;

/// What was counted for an endpoint since its start, and its present rates.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct Totals {
    /// Packets received from it.
    pub packets_in: u64,
    /// Packets sent to it.
    pub packets_out: u64,
    /// Rate received from it.
    pub incoming: Bitrate,
    /// Rate sent to it.
    pub outgoing: Bitrate,
    /// Loss of what it sends, 0 to 1.
    pub incoming_loss: f32,
    /// Loss of what it is sent, 0 to 1.
    pub outgoing_loss: f32,
    /// Round-trip time.
    pub rtt: Option<Duration>,
    /// Packets that it asked for again.
    pub nacks_in: u64,
    /// Packets that it was sent again.
    pub resent: u64,
    /// Packets that it was asked for again.
    pub nacks_out: u64,
    /// Packets that it sent again.
    pub repaired: u64,
    /// Its requests for keyframes.
    pub keyframe_requests: u64,
}

/// Figures of a stretch of time.
#[derive(Clone, PartialEq, Debug)]
pub struct Sample {
    /// When the stretch ended.
    pub at: Time,
    /// How long it was, ms.
    pub millis: u32,
    /// Rate received at its end, kbit/s.
    pub incoming_kbps: u32,
    /// Rate sent at its end, kbit/s.
    pub outgoing_kbps: u32,
    /// Largest loss of what the endpoint sends, 0 to 1.
    pub incoming_loss: f32,
    /// Largest loss of what it is sent, as it reports, 0 to 1.
    pub outgoing_loss: f32,
    /// Round-trip time at its end, ms; 0 = unknown.
    pub rtt_ms: u16,
    /// Packets that the endpoint asked for again.
    pub nacks_in: u16,
    /// Packets that it was sent again.
    pub resent: u16,
    /// Packets that it was asked for again.
    pub nacks_out: u16,
    /// Packets that it sent again.
    pub repaired: u16,
    /// Its requests for keyframes, those that were over its limit included.
    pub keyframe_requests: u16,
}

impl Sample {
    fn is_amiss(&self) -> bool {
        let counts = [
            self.nacks_in,
            self.resent,
            self.nacks_out,
            self.repaired,
            self.keyframe_requests,
        ];
        counts.iter().any(|count| *count > 0)
            || self.incoming_loss >= LOSS
            || self.outgoing_loss >= LOSS
    }

    /// The stretch that follows becomes part of this one.
    fn append(&mut self, next: &Sample) {
        let sum = |a: u16, b: u16| a.saturating_add(b);
        *self = Sample {
            millis: self.millis.saturating_add(next.millis),
            incoming_loss: self.incoming_loss.max(next.incoming_loss),
            outgoing_loss: self.outgoing_loss.max(next.outgoing_loss),
            nacks_in: sum(self.nacks_in, next.nacks_in),
            resent: sum(self.resent, next.resent),
            nacks_out: sum(self.nacks_out, next.nacks_out),
            repaired: sum(self.repaired, next.repaired),
            keyframe_requests: sum(self.keyframe_requests, next.keyframe_requests),
            ..next.clone()
        };
    }
}

/// The samples of an endpoint. When there are too many, the older ones become coarser: the whole time stays covered.
#[derive(Clone, Default, Debug)]
pub struct Samples {
    kept: VecDeque<(u32, Sample)>,
    /// When the last sample ended, and what was counted by then.
    last: Option<(Time, Box<Totals>)>,
}

impl Samples {
    /// Takes a sample if it tells something; true if it got `number`.
    pub(super) fn take(&mut self, most: usize, now: Time, totals: Totals, number: u32) -> bool {
        if most == 0 || totals.packets_in == 0 && totals.packets_out == 0 {
            return false;
        }
        let Some((at, before)) = &mut self.last else {
            self.last = Some((now, Box::new(totals)));
            return false;
        };
        let more =
            |now: u64, before: u64| u16::try_from(now.saturating_sub(before)).unwrap_or(u16::MAX);
        let kbps = |rate: Bitrate| u32::try_from(rate.as_bps() / 1_000).unwrap_or(u32::MAX);
        let sample = Sample {
            at: now,
            millis: u32::try_from(now.since(*at).as_millis()).unwrap_or(u32::MAX),
            incoming_kbps: kbps(totals.incoming),
            outgoing_kbps: kbps(totals.outgoing),
            incoming_loss: totals.incoming_loss,
            outgoing_loss: totals.outgoing_loss,
            rtt_ms: totals
                .rtt
                .map_or(0, |rtt| u16::try_from(rtt.as_millis()).unwrap_or(u16::MAX)),
            nacks_in: more(totals.nacks_in, before.nacks_in),
            resent: more(totals.resent, before.resent),
            nacks_out: more(totals.nacks_out, before.nacks_out),
            repaired: more(totals.repaired, before.repaired),
            keyframe_requests: more(totals.keyframe_requests, before.keyframe_requests),
        };
        let differs = |now: Bitrate, before: Bitrate| {
            let (now, before) = (now.as_bps() as f64, before.as_bps() as f64);
            (now - before).abs() > RATE_CHANGE * before.max(10_000.0)
        };
        let moved =
            totals.packets_in != before.packets_in || totals.packets_out != before.packets_out;
        let tells = sample.is_amiss()
            || differs(totals.incoming, before.incoming)
            || differs(totals.outgoing, before.outgoing)
            || moved && now.since(*at) >= HEARTBEAT;
        if !tells {
            return false;
        }
        (*at, **before) = (now, totals);
        if self.kept.len() >= most {
            self.thin();
        }
        self.kept.push_back((number, sample));
        true
    }

    /// Makes one of each two in the older half.
    fn thin(&mut self) {
        let newer = self.kept.split_off(self.kept.len() / 2);
        let mut older = std::mem::take(&mut self.kept).into_iter();
        while let Some((number, mut sample)) = older.next() {
            let mut last = number;
            if let Some((number, next)) = older.next() {
                sample.append(&next);
                last = number;
            }
            self.kept.push_back((last, sample));
        }
        self.kept.extend(newer);
    }

    pub(super) fn expire(&mut self, config: &TimelineConfig, now: Time) {
        while self
            .kept
            .front()
            .is_some_and(|(_, oldest)| now.since(oldest.at) > config.max_age)
        {
            self.kept.pop_front();
        }
        if self.kept.capacity() > 16 && self.kept.len() < self.kept.capacity() / 4 {
            self.kept.shrink_to(self.kept.len() * 2);
        }
    }

    pub(super) fn since(&self, since: u32) -> impl Iterator<Item = (u32, &Sample)> {
        let late = self.kept.iter().filter(move |(number, _)| *number >= since);
        late.map(|(number, sample)| (*number, sample))
    }
}
