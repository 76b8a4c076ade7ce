//! One endpoint in the data plane: transport, what it sends, what it gets.

use std::sync::Arc;
use std::time::Duration;

use crate::allocation::{Allocation, Damper, EstimateTrigger, ReceiverSettings};
use crate::cc::{Mechanism, Pacer, SendSideEstimator};
use crate::channel::AudioSubscription;
use crate::config::BridgeConfig;
use crate::ids::{EndpointKey, Path, SourceKey, SourceName};
use crate::limits;
use crate::media::MediaKind;
use crate::messages::EndpointSetup;
use crate::projection::rtx::RetransmissionBudget;
use crate::projection::slots::SlotTable;
use crate::random::Random;
use crate::receive::{RateWindow, RttEstimator};
use crate::srtp;
use crate::time::Time;
use crate::timeline::Notebook;
use crate::token_bucket::TokenBucket;
use crate::transport::ice::IceTransport;
use crate::worker::Place;
use crate::worker::egress::ChainHint;

pub(crate) mod downlink;
pub(crate) mod early;
pub mod formats;
mod pacing;
#[cfg(test)]
mod recorded;
pub(crate) mod red;
pub(crate) mod uplink;

use self::downlink::Downlink;
use self::early::EarlyMedia;
use self::formats::FormatTable;
use self::uplink::Uplink;

/// Slots of a receiver with SSRC rewriting.
pub(crate) struct Slots {
    /// Each with the index of its stream.
    pub video: SlotTable<usize>,
    pub audio: SlotTable<usize>,
}

/// What the allocator remembers about a receiver between runs.
pub(crate) struct Receiver {
    pub settings: ReceiverSettings,
    pub allocation: Allocation,
    /// Effective constraints last told to the control plane.
    pub constraints: Vec<(SourceKey, i32)>,
    /// Names last told as `ForwardedSources`.
    pub forwarded: Vec<SourceName>,
    pub estimate: EstimateTrigger,
    pub damper: Damper,
    /// What its PLIs and FIRs may come to, for all sources together (T44).
    pub keyframe_requests: TokenBucket,
    pub last_run: Time,
    pub pending: bool,
}

/// When periodic work of an endpoint is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    pub report: Time,
    pub sender_report: Time,
    pub liveness: Time,
    pub estimate_event: Time,
    /// Deadline that the timer wheel holds, `Time::FAR` if none.
    pub armed: Time,
}

/// An endpoint.
pub(crate) struct Endpoint {
    pub key: EndpointKey,
    pub visitor: bool,
    pub pool: usize,
    pub ice: IceTransport,
    /// Its number among the worker's ICE agents.
    pub agent: u32,
    pub ice_connected: bool,
    /// Paths and ufrags in the worker's tables.
    pub paths: Vec<Path>,
    pub ufrags: Vec<Arc<str>>,
    pub inbound: Option<srtp::Inbound>,
    /// Media that came before the keys.
    pub early: EarlyMedia,
    pub formats: Arc<FormatTable>,
    pub uplink: Uplink,
    pub downlink: Downlink,
    pub receiver: Receiver,
    pub slots: Option<Slots>,
    /// Stamp slots with their MIDs.
    pub mid_demux: bool,
    pub subscription: Option<AudioSubscription>,
    pub created: Time,
    pub last_activity: Option<Time>,
    /// What was last told: `None` = nothing yet.
    pub active: Option<bool>,
    /// Activity last told to the control plane.
    pub activity_told: Time,
    pub schedule: Schedule,
    /// For its timeline.
    pub notebook: Notebook,
    handshake_second: u64,
    handshake_datagrams: u32,
}

impl Endpoint {
    pub fn new(
        setup: &EndpointSetup,
        config: &Arc<BridgeConfig>,
        place: Place,
        mut random: Random,
        now: Time,
    ) -> Endpoint {
        let ice = IceTransport::new(
            Arc::new(config.ice.clone()),
            place.worker,
            setup.credentials.clone(),
            setup.controlling,
            place.sockets,
            random.fork(),
            now,
        )
        .with_tag(place.agent);
        let slots = setup.ssrc_rewriting.then(|| Slots {
            video: SlotTable::new(MediaKind::Video, config.allocation.video_slots),
            audio: SlotTable::new(MediaKind::Audio, config.allocation.audio_slots),
        });
        // Spread the periodic work of endpoints that were created together (T81).
        let jitter = Duration::from_micros(random.below(500_000));
        Endpoint {
            key: setup.key,
            visitor: setup.visitor,
            pool: setup.pool,
            ice,
            agent: place.agent,
            ice_connected: false,
            paths: Vec::new(),
            ufrags: Vec::new(),
            inbound: None,
            early: EarlyMedia::default(),
            formats: Arc::default(),
            uplink: Uplink::new(config),
            downlink: Downlink {
                srtp: None,
                path: None,
                estimator: SendSideEstimator::new(config.estimator, Mechanism::TransportCc),
                pacer: Pacer::default(),
                chain: ChainHint::default(),
                video: slab::Slab::new(),
                audio: slab::Slab::new(),
                retransmissions: RetransmissionBudget::new(),
                rtt: RttEstimator::new(),
                ice_rtt: None,
                rate: RateWindow::default(),
                numbered_audio: RateWindow::default(),
                packets: 0,
                bytes: 0,
                lost: 0,
                nacks: 0,
                resent: 0,
                keyframe_requests: 0,
                spurious_remb: false,
                capture: None,
                reported_loss: 0.0,
            },
            receiver: Receiver {
                settings: ReceiverSettings::new(&config.allocation),
                allocation: Allocation::default(),
                constraints: Vec::new(),
                forwarded: Vec::new(),
                estimate: EstimateTrigger::default(),
                damper: Damper::default(),
                keyframe_requests: TokenBucket::new(
                    limits::KEYFRAME_REQUESTS_PER_SECOND,
                    limits::KEYFRAME_REQUEST_BURST,
                ),
                last_run: now,
                pending: true,
            },
            slots,
            mid_demux: setup.mid_demux,
            subscription: None,
            created: now,
            last_activity: None,
            active: None,
            activity_told: Time::ZERO,
            schedule: Schedule {
                report: now + jitter,
                sender_report: now + jitter,
                liveness: now + config.liveness.check_interval + jitter,
                // Well before the control plane looks for it, and not so long that it is stale then.
                estimate_event: now + config.channel.connection_stats_interval * 9 / 10,
                armed: Time::FAR,
            },
            notebook: Notebook::default(),
            handshake_second: 0,
            handshake_datagrams: 0,
        }
    }

    /// Whether another DTLS datagram may be handed to the pool: before the handshake is complete there is a
    /// limit (T16).
    pub fn admit_dtls(&mut self, now: Time) -> bool {
        if self.inbound.is_some() {
            return true;
        }
        let second = now.as_millis() / 1000;
        if second != self.handshake_second {
            self.handshake_second = second;
            self.handshake_datagrams = 0;
        }
        self.handshake_datagrams += 1;
        self.handshake_datagrams <= limits::WORKER_DTLS_PER_SECOND
    }

    /// The earliest moment at which the endpoint has something to do.
    pub fn deadline(&self) -> Time {
        let fixed = self
            .schedule
            .report
            .min(self.schedule.liveness)
            .min(self.schedule.estimate_event)
            .min(self.uplink.due());
        [self.ice.poll_timeout(), self.downlink.poll_timeout()]
            .into_iter()
            .flatten()
            .fold(fixed, Time::min)
    }
}
