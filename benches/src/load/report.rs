//! What a run found, as data.

use serde::{Deserialize, Serialize};

use super::stats::{Stats, Times};

/// Version of the file format.
pub const FORMAT: u32 = 1;

/// Times of one kind, in ms.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Spread {
    /// How many there are.
    pub count: u64,
    /// The middle one.
    pub p50: f64,
    /// 99 of 100 are not longer.
    pub p99: f64,
    /// 999 of 1,000 are not longer.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

impl From<&Times> for Spread {
    fn from(times: &Times) -> Spread {
        let millis = |micros: u64| micros as f64 / 1_000.0;
        Spread {
            count: times.count(),
            p50: millis(times.quantile(0.5)),
            p99: millis(times.quantile(0.99)),
            p999: millis(times.quantile(0.999)),
            max: millis(times.max()),
        }
    }
}

/// One second of a run.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Sample {
    /// Seconds since the start of the run.
    pub at: f64,
    /// Length in seconds.
    pub seconds: f64,
    /// Whether it belongs to the measurement.
    pub measured: bool,
    /// Connected clients at its end.
    pub connected: u32,
    /// RTP packets per second that clients sent.
    pub packets_in: f64,
    /// RTP packets per second that clients received.
    pub packets_out: f64,
    /// Mbit/s that clients sent.
    pub mbits_in: f64,
    /// Mbit/s that clients received.
    pub mbits_out: f64,
    /// Packets that were missing, in percent of those that should have come.
    pub missing_percent: f64,
    /// One-way latency through the bridge.
    pub latency: Spread,
    /// How late the generator sent.
    pub send_lag: Spread,
    /// CPU time of the bridge in percent of one core.
    pub cpu_percent: f64,
    /// Resident memory of the bridge in MB.
    pub memory_mb: f64,
    /// CPU time of the generator in percent of one core.
    pub generator_cpu_percent: f64,
    /// Video streams that moved in the last second.
    pub moving: usize,
}

/// What was asked for.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Participants.
    pub clients: usize,
    /// Conferences.
    pub meetings: u32,
    /// Codec of cameras and screens.
    pub codec: String,
    /// SRTP profile.
    pub profile: String,
    /// What bridge channels ran over.
    pub channel: String,
    /// Datagrams that lines of clients lost on purpose, each way.
    pub loss_percent: f64,
    /// Time that lines of clients took on purpose, each way.
    pub delay_ms: f64,
    /// How long each spoke, if participants took turns.
    pub turn_seconds: Option<f64>,
    /// Participants that left and joined again per second.
    pub replaced_per_second: Option<f64>,
    /// Whether the bridge rewrites SSRCs.
    pub rewriting: bool,
    /// Whether the kernel merged what clients received.
    pub gro: bool,
    /// What an attacker sent meanwhile, with the rate that was asked for.
    pub flood: Option<String>,
    /// Datagrams per second that it was.
    pub flood_per_second: Option<f64>,
    /// ms over which the packets of a frame were spread.
    pub spread_ms: f64,
    /// Threads of the generator for media.
    pub threads: usize,
    /// Seconds before the measurement.
    pub warmup_seconds: f64,
}

/// How clients got in.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Joining {
    /// Clients that connected.
    pub connected: usize,
    /// Clients that did not.
    pub failed: usize,
    /// The first reason.
    pub first_error: Option<String>,
    /// From the first request until DTLS was done.
    pub connect: Spread,
    /// From the first request until the first audio or complete frame.
    pub first_media: Spread,
    /// From the first request until the first complete frame.
    pub first_frame: Spread,
    /// Clients that left during the measurement and were back.
    pub replaced: usize,
    /// Clients that left and could not come back.
    pub replacements_failed: usize,
    /// Bridge channels that were opened.
    pub channels: usize,
    /// Bridge channels that broke.
    pub channels_lost: usize,
}

/// What arrived during the measurement.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Traffic {
    /// RTP packets that clients sent.
    pub sent_packets: u64,
    /// RTP packets that reached clients.
    pub forwarded_packets: u64,
    /// The same per second.
    pub forwarded_per_second: f64,
    /// Mbit/s with SRTP, without UDP and IP.
    pub forwarded_mbits: f64,
    /// Packets that probe for bandwidth, within `forwarded_packets`.
    pub probe_packets: u64,
    /// Places that were empty when a later packet came.
    pub missing_packets: u64,
    /// Of these: filled by a packet that was late.
    pub late_packets: u64,
    /// Of these: filled by a retransmission.
    pub repaired_packets: u64,
    /// Of these: never filled.
    pub lost_packets: u64,
    /// The same in percent of what should have come.
    pub lost_percent: f64,
    /// Packets that came twice.
    pub duplicate_packets: u64,
    /// Packets that could not be opened or that nobody sent.
    pub bad_packets: u64,
    /// Datagrams that the kernel threw away because the generator did not read fast enough.
    pub generator_drops: u64,
    /// Datagrams that the kernel threw away because the bridge did not read fast enough.
    pub bridge_drops: u64,
    /// Packets of clients that the bridge asked for again.
    pub nacked_by_bridge: u64,
    /// Packets that clients asked for again.
    pub nacked_by_clients: u64,
    /// Keyframe requests of clients.
    pub keyframe_requests: u64,
    /// Keyframe requests that reached senders.
    pub keyframes_asked: u64,
}

/// What the eye saw.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Picture {
    /// Complete frames.
    pub frames: u64,
    /// Video streams that moved at the end.
    pub moving: usize,
    /// Times that video stood still.
    pub freezes: u64,
    /// Time that it did, in percent of the time that was watched.
    pub frozen_percent: f64,
    /// From the wish for a higher layer until its first frame.
    pub switch_up: Spread,
    /// The same for a lower one.
    pub switch_down: Spread,
    /// Wishes that were not fulfilled.
    pub switches_missed: usize,
}

/// What the process under test used.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Process {
    /// What it was.
    pub name: String,
    /// What it says that it is.
    pub version: String,
    /// ms from its start until it was ready, if it was started for the run.
    pub ready_ms: Option<f64>,
    /// CPU time in the measurement, seconds.
    pub cpu_seconds: f64,
    /// In percent of one core.
    pub cpu_percent: f64,
    /// CPU time from the first request until everybody was connected, per client.
    pub cpu_ms_per_join: f64,
    /// CPU time per packet that reached a client.
    pub micros_per_packet: f64,
    /// CPU time per packet that came or went.
    pub micros_per_packet_in_and_out: f64,
    /// Resident memory before the first client, MB.
    pub memory_before_mb: f64,
    /// Resident memory at the end of the measurement, MB.
    pub memory_mb: f64,
    /// What every client added, kB.
    pub memory_per_client_kb: f64,
}

/// The state of the generator itself: if it was late, the figures say less.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Generator {
    /// How late it sent.
    pub send_lag: Spread,
    /// How long packets waited in the kernel until it read them; not part of the latency.
    pub receive_lag: Spread,
    /// CPU time in percent of one core.
    pub cpu_percent: f64,
    /// CPU time of all other processes on the machine, in percent of one core.
    pub others_percent: f64,
}

/// A whole run.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// See [`FORMAT`].
    pub format: u32,
    /// Name of the scenario.
    pub scenario: String,
    /// What it ran on.
    pub machine: String,
    /// Seconds since the Unix epoch at its start.
    pub started: u64,
    /// Length of the measurement, seconds.
    pub seconds: f64,
    /// What was asked for.
    pub settings: Settings,
    /// How clients got in.
    pub joining: Joining,
    /// What arrived.
    pub traffic: Traffic,
    /// One-way latency from the sender's kernel to the receiver's.
    pub latency: Spread,
    /// The same for packets that had to be repaired.
    pub repaired_latency: Spread,
    /// What the eye saw.
    pub picture: Picture,
    /// What the bridge used; empty if its process is not known.
    pub process: Process,
    /// The generator itself.
    pub generator: Generator,
    /// The same run through the floor, if there was one.
    pub floor: Option<Floor>,
    /// Every second of it.
    pub samples: Vec<Sample>,
}

/// What the same forwarding costs a program that does nothing else.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Floor {
    /// Its CPU time per packet, one figure for each round.
    pub micros_per_packet: Vec<f64>,
    /// That of the bridge in the same rounds.
    pub bridge_micros_per_packet: Vec<f64>,
    /// The bridge's mean by the floor's.
    pub ratio: f64,
    /// CPU time per packet of a floor that also receives and opens the feedback of receivers.
    pub micros_with_feedback: Vec<f64>,
    /// The bridge's mean by that.
    pub ratio_with_feedback: f64,
    /// Packets per second through the floor.
    pub forwarded_per_second: f64,
    /// Latency through the floor.
    pub latency: Spread,
}

impl Traffic {
    /// From what all threads saw in `seconds`.
    pub fn new(stats: &Stats, seconds: f64) -> Traffic {
        let per_second = |count: u64| count as f64 / seconds.max(0.001);
        Traffic {
            sent_packets: stats.sent_packets,
            forwarded_packets: stats.received_packets,
            forwarded_per_second: per_second(stats.received_packets),
            forwarded_mbits: per_second(stats.received_bytes) * 8e-6,
            probe_packets: stats.probe_packets,
            missing_packets: stats.missing_packets,
            late_packets: stats.late_packets,
            repaired_packets: stats.repaired_packets,
            lost_packets: stats.lost_packets(),
            lost_percent: percent(stats.lost_packets(), stats.expected_packets()),
            duplicate_packets: stats.duplicate_packets,
            bad_packets: stats.bad_packets + stats.foreign_packets,
            generator_drops: 0,
            bridge_drops: 0,
            nacked_by_bridge: stats.nacked_by_bridge,
            nacked_by_clients: stats.nacked_by_clients,
            keyframe_requests: stats.keyframe_requests,
            keyframes_asked: stats.keyframes_asked,
        }
    }
}

/// `part` in percent of `whole`.
pub fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}
