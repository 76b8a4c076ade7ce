//! The whole bridge in numbers: what `/colibri/stats`, presence and metrics are made of (rest-and-stats spec §4).

use super::{Control, ControlCounters};
use crate::counters::{Counter, Counters};
use crate::ids::{ConferenceKey, EndpointKey};
use crate::stats::{EndpointStats, WorkerStats};
use crate::time::Time;

/// Conference sizes that are told apart; larger ones are one class.
pub const SIZES: usize = 21;
/// Loss of what an endpoint gets above which it counts as high.
const HIGH_LOSS: f64 = 0.1;

/// How many conferences have how many of something.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct BySize {
    /// Conferences with 0, 1, … of it; the last entry: with [`SIZES`] or more.
    pub conferences: [u64; SIZES + 1],
    /// Sum over all conferences.
    pub sum: u64,
}

impl BySize {
    fn add(&mut self, size: usize) {
        if let Some(class) = self.conferences.get_mut(size.min(SIZES)) {
            *class += 1;
        }
        self.sum += size as u64;
    }
}

/// State of the bridge at a moment. An *active* conference is one in which somebody sends audio or video. Visitors are
/// counted in [`Summary::visitors`] only.
#[derive(Clone, Default, Debug)]
pub struct Summary {
    /// Conferences.
    pub conferences: u64,
    /// Those in which nobody sends.
    pub inactive_conferences: u64,
    /// Those of them with two endpoints.
    pub p2p_conferences: u64,
    /// Endpoints of the largest one.
    pub largest_conference: u64,
    /// Conferences by number of endpoints.
    pub by_size: BySize,
    /// Conferences by number of endpoints that send audio.
    pub by_audio_senders: BySize,
    /// Conferences by number of endpoints that send video.
    pub by_video_senders: BySize,
    /// Endpoints.
    pub endpoints: u64,
    /// Visitors.
    pub visitors: u64,
    /// Endpoints of active conferences.
    pub active_endpoints: u64,
    /// Endpoints of the other ones.
    pub inactive_endpoints: u64,
    /// Endpoints of active conferences that send nothing.
    pub receive_only_endpoints: u64,
    /// Endpoints that send audio.
    pub sending_audio: u64,
    /// Endpoints that send video.
    pub sending_video: u64,
    /// Endpoints that are sent more than their estimate.
    pub oversending: u64,
    /// Endpoints that miss a source for lack of bandwidth.
    pub with_suspended_sources: u64,
    /// Endpoints of active conferences that lose more than a tenth.
    pub with_high_outgoing_loss: u64,
    /// Endpoints that sent REMB although it was not negotiated.
    pub with_spurious_remb: u64,
    /// Packets of endpoints that came, and that are missing, since the start of each.
    pub incoming: Reception,
    /// The same of what they get, by their reports.
    pub outgoing: Reception,
    /// From endpoints, bits per second.
    pub bitrate_in: u64,
    /// To endpoints, bits per second.
    pub bitrate_out: u64,
    /// From endpoints, per second.
    pub packet_rate_in: u64,
    /// To endpoints, per second.
    pub packet_rate_out: u64,
    /// Mean round-trip time in milliseconds of the endpoints that have one; 0 if none has.
    pub mean_rtt_ms: f64,
    /// What workers counted, summed.
    pub counters: Counters,
    /// What the control plane counted.
    pub control: ControlCounters,
}

/// Packets that came and that did not.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Reception {
    /// Came.
    pub received: u64,
    /// Did not.
    pub lost: u64,
}

impl Reception {
    /// Lost packets as a share of all, 0 to 1.
    pub fn loss(self) -> f64 {
        let all = self.received + self.lost;
        if all == 0 {
            0.0
        } else {
            self.lost as f64 / all as f64
        }
    }
}

impl std::ops::AddAssign for Reception {
    fn add_assign(&mut self, other: Reception) {
        self.received += other.received;
        self.lost += other.lost;
    }
}

/// A worker's latest report, and packets per second since the one before.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) stats: WorkerStats,
    at: Time,
    packet_rate_in: u64,
    packet_rate_out: u64,
}

impl Report {
    pub(super) fn new(now: Time, mut stats: WorkerStats, before: Option<&Report>) -> Report {
        stats.endpoints.sort_unstable_by_key(|stats| stats.endpoint);
        let rate = |counter: Counter| {
            let before = before.filter(|before| now > before.at)?;
            let more = stats.counters.get(counter);
            let more = more.saturating_sub(before.stats.counters.get(counter));
            let micros = now.since(before.at).as_micros();
            u64::try_from(u128::from(more) * 1_000_000 / micros.max(1)).ok()
        };
        Report {
            packet_rate_in: rate(Counter::RtpIn).unwrap_or(0),
            packet_rate_out: rate(Counter::RtpOut).unwrap_or(0),
            at: now,
            stats,
        }
    }

    fn endpoint(&self, endpoint: EndpointKey) -> Option<&EndpointStats> {
        let endpoints = &self.stats.endpoints;
        let found = endpoints.binary_search_by_key(&endpoint, |stats| stats.endpoint);
        endpoints.get(found.ok()?)
    }
}

impl Control {
    /// The bridge in numbers. What workers know is as old as their latest reports (see
    /// [`Control::collect_stats`]).
    pub fn summary(&self) -> Summary {
        let mut summary = Summary {
            conferences: self.conferences.len() as u64,
            control: self.counters(),
            ..Summary::default()
        };
        for report in self.stats.values() {
            summary.counters.merge(&report.stats.counters);
            summary.packet_rate_in += report.packet_rate_in;
            summary.packet_rate_out += report.packet_rate_out;
        }
        let mut round_trips = (0.0, 0u64);
        for conference in self.conferences.keys() {
            self.add_conference(*conference, &mut summary, &mut round_trips);
        }
        if round_trips.1 > 0 {
            summary.mean_rtt_ms = round_trips.0 / round_trips.1 as f64;
        }
        summary
    }

    /// An endpoint's media as its worker last reported it.
    pub(super) fn endpoint_stats_of(&self, endpoint: EndpointKey) -> Option<&EndpointStats> {
        let worker = self.endpoints.get(&endpoint)?.worker;
        self.stats.get(&worker)?.endpoint(endpoint)
    }

    /// Packets per second from and to all endpoints, by the workers' latest reports.
    pub fn packet_rate(&self) -> u64 {
        let rates = self.stats.values();
        rates
            .map(|report| report.packet_rate_in + report.packet_rate_out)
            .sum()
    }

    /// Video sources that the endpoint with the most of them is sent, by the workers' latest reports; `None` without
    /// endpoints.
    pub fn most_forwarded(&self) -> Option<usize> {
        let reports = self.stats.values();
        let endpoints = reports.flat_map(|report| &report.stats.endpoints);
        endpoints
            .map(|endpoint| {
                let sent = endpoint.forwarded.iter().filter(|it| it.target >= 0);
                sent.count()
            })
            .max()
    }

    fn add_conference(
        &self,
        conference: ConferenceKey,
        summary: &mut Summary,
        round_trips: &mut (f64, u64),
    ) {
        let (mut size, mut audio, mut video, mut silent, mut high_loss) = (0, 0, 0, 0, 0);
        for key in self.endpoints(conference) {
            let stats = self.endpoint_stats_of(key);
            if let Some(stats) = stats {
                summary.bitrate_in += stats.incoming.as_bps();
                summary.bitrate_out += stats.outgoing.as_bps();
                if let Some(rtt) = stats.rtt {
                    round_trips.0 += rtt.as_secs_f64() * 1e3;
                    round_trips.1 += 1;
                }
            }
            if self.is_visitor(key) {
                summary.visitors += 1;
                continue;
            }
            size += 1;
            let Some(stats) = stats else {
                silent += 1;
                continue;
            };
            let media = stats.media;
            let outgoing = Reception {
                received: stats.packets_out.saturating_sub(media.reported_lost),
                lost: media.reported_lost,
            };
            summary.outgoing += outgoing;
            summary.incoming += Reception {
                received: media.received,
                lost: media.lost,
            };
            audio += usize::from(media.sending_audio);
            video += usize::from(media.sending_video);
            silent += u64::from(!media.sending_audio && !media.sending_video);
            high_loss += u64::from(outgoing.loss() > HIGH_LOSS);
            summary.oversending += u64::from(media.oversending);
            summary.with_suspended_sources += u64::from(media.has_suspended);
            summary.with_spurious_remb += u64::from(media.spurious_remb);
        }
        let endpoints = size as u64;
        summary.endpoints += endpoints;
        summary.largest_conference = summary.largest_conference.max(endpoints);
        summary.sending_audio += audio as u64;
        summary.sending_video += video as u64;
        summary.by_size.add(size);
        summary.by_audio_senders.add(audio);
        summary.by_video_senders.add(video);
        if audio + video > 0 {
            summary.active_endpoints += endpoints;
            summary.receive_only_endpoints += silent;
            summary.with_high_outgoing_loss += high_loss;
        } else {
            summary.inactive_conferences += 1;
            summary.p2p_conferences += u64::from(size == 2);
            summary.inactive_endpoints += endpoints;
        }
    }
}
